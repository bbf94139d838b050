"""The outcome log for people: reports over it, and what only it has: statements and balances of system accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from processor.domain.outcomes import Reason, Status
from processor.store.reading_statements import Line

# Every transaction below it has ended: the log up to there is as it will be for ever.
SELECT_WATERMARK: Final[LiteralString] = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

# And above it, nothing is: not even what is under way now.
SELECT_CEILING: Final[LiteralString] = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

# Bisected in the log's order, which is that of the decisions but for seconds. Up to `low`, all is earlier than the
# instant; from `high` on, all is later.
BISECT: Final[LiteralString] = """
    WITH RECURSIVE search (low, high) AS (
        SELECT 0::bigint, %(below)b::bigint
        UNION ALL
        SELECT CASE WHEN probe.is_early THEN probe.xid ELSE low END, CASE WHEN probe.is_early THEN high ELSE middle END
        FROM search
        CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS halved
        CROSS JOIN LATERAL (
            SELECT coalesce(bool_and(is_early AND xid < high), false) AS is_early, min(xid) AS xid
            FROM (
                SELECT outcome.xid::text::bigint AS xid, decided_at < %(instant)b::timestamptz AS is_early FROM outcome
                WHERE outcome.xid >= middle::text::xid8 ORDER BY outcome.xid, outcome.position LIMIT 1
            ) AS following
        ) AS probe
        WHERE high - low > 1
    )
    SELECT max(low), min(high) FROM search
"""

# How far a page looks: at the next so many outcomes, wanted or not.
_SELECT_REACH: Final[LiteralString] = """
    SELECT xid::text::bigint, position FROM outcome
    WHERE (xid, position) {beyond} (%(xid)b::bigint::text::xid8, %(position)b::bigint)
        AND xid >= %(low)b::bigint::text::xid8 AND xid < %(high)b::bigint::text::xid8
    ORDER BY xid {order}, position {order} OFFSET %(look_ahead)b::bigint - 1 LIMIT 1
"""

# The command is looked up for each outcome, in their order, until the page is full: a join of both would be free to
# read all commands instead.
_SELECT_REPORT: Final[LiteralString] = """
    SELECT
        outcome.xid::text::bigint, outcome.position, asked.id, asked.client, asked.idempotency_key,
        asked.type, outcome.status, outcome.reason, outcome.decided_at, asked.accepted_at, asked.account,
        asked.from_account, asked.to_account, asked.amount_minor, asked.currency, asked.reference, asked.reason
    FROM outcome
    CROSS JOIN LATERAL (
        SELECT command.id, command.client_id, client.name AS client, idempotency_key, type, accepted_at, account,
            from_account, to_account, amount_minor, currency, reference, reason
        FROM command JOIN client ON client.id = command.client_id
        WHERE command.position = outcome.position LIMIT 1
    ) AS asked
    WHERE (outcome.xid, outcome.position) {beyond} (%(xid)b::bigint::text::xid8, %(position)b::bigint)
        AND (outcome.xid, outcome.position) {within} (%(to_xid)b::bigint::text::xid8, %(to_position)b::bigint)
        AND outcome.xid >= %(low)b::bigint::text::xid8 AND outcome.xid < %(high)b::bigint::text::xid8
        AND outcome.decided_at >= %(since)b::timestamptz
        AND (%(until)b::timestamptz IS NULL OR outcome.decided_at < %(until)b::timestamptz)
        AND (%(status)b::text IS NULL OR outcome.status = %(status)b::text)
        AND (%(type)b::text IS NULL OR asked.type = %(type)b::text)
        AND (%(client)b::text IS NULL OR asked.client = %(client)b::text)
        AND (
            %(account)b::text IS NULL
            OR %(account)b::text IN (asked.account, asked.from_account, asked.to_account)
        )
    ORDER BY outcome.xid {order}, outcome.position {order} LIMIT %(limit)b::bigint
"""

# At most so many outcomes are looked at, and it is said if there are more.
COUNT_REPORT: Final[LiteralString] = """
    SELECT
        count(*) <= %(look_ahead)b::bigint,
        count(*) FILTER (
            WHERE looked.number <= %(look_ahead)b::bigint
                AND looked.decided_at >= %(since)b::timestamptz
                AND (%(until)b::timestamptz IS NULL OR looked.decided_at < %(until)b::timestamptz)
                AND (%(status)b::text IS NULL OR looked.status = %(status)b::text)
                AND (
                    num_nonnulls(%(type)b::text, %(client)b::text, %(account)b::text) = 0
                    OR (
                        SELECT (%(type)b::text IS NULL OR command.type = %(type)b::text)
                            AND (
                                %(client)b::text IS NULL
                                OR command.client_id = (SELECT id FROM client WHERE name = %(client)b::text)
                            )
                            AND (
                                %(account)b::text IS NULL
                                OR %(account)b::text IN (command.account, command.from_account, command.to_account)
                            )
                        FROM command WHERE command.position = looked.position
                    )
                )
        )
    FROM (
        SELECT position, decided_at, status, row_number() OVER () AS number FROM (
            SELECT position, decided_at, status FROM outcome
            WHERE xid >= %(low)b::bigint::text::xid8 AND xid < %(high)b::bigint::text::xid8
            ORDER BY xid, position LIMIT %(look_ahead)b::bigint + 1
        ) AS ahead
    ) AS looked
"""

# The transfers of a system account, which no index lists: along the log. What each moved is summed as far as it is
# read, those that are not wanted as well.
_SELECT_LINES: Final[LiteralString] = """
    SELECT
        page.xid, page.position, page.leg, page.moved_minor,
        page.kind, other.name, page.amount_minor, command.id, command.reference, command.reason, page.decided_at
    FROM (
        SELECT * FROM (
            SELECT *, sum(amount_minor) OVER (
                ORDER BY log_xid {order}, position {order}, leg {order} ROWS UNBOUNDED PRECEDING
            ) AS moved_minor
            FROM (
                SELECT
                    outcome.xid AS log_xid, outcome.xid::text::bigint AS xid, outcome.position, transfer.leg,
                    transfer.kind, outcome.decided_at,
                    CASE %(account)b::bigint WHEN debit_account_id THEN -amount_minor ELSE amount_minor END
                        AS amount_minor,
                    CASE %(account)b::bigint WHEN debit_account_id THEN credit_account_id ELSE debit_account_id END
                        AS other_id
                FROM outcome
                CROSS JOIN LATERAL (
                    SELECT leg, kind, amount_minor, debit_account_id, credit_account_id FROM transfer
                    WHERE transfer.position = outcome.position
                        AND %(account)b::bigint IN (debit_account_id, credit_account_id)
                    ORDER BY leg LIMIT 1000
                ) AS transfer
                WHERE (outcome.xid, outcome.position) {from} (%(xid)b::bigint::text::xid8, %(position)b::bigint)
                    AND (outcome.xid, outcome.position, leg)
                        {beyond} (%(xid)b::bigint::text::xid8, %(position)b::bigint, %(leg)b::bigint)
                    AND (outcome.xid, outcome.position)
                        {within} (%(to_xid)b::bigint::text::xid8, %(to_position)b::bigint)
                    AND outcome.xid >= %(low)b::bigint::text::xid8 AND outcome.xid < %(high)b::bigint::text::xid8
                    AND (%(since)b::timestamptz IS NULL OR outcome.decided_at >= %(since)b::timestamptz)
                    AND (%(until)b::timestamptz IS NULL OR outcome.decided_at < %(until)b::timestamptz)
            ) AS mine
        ) AS summed
        WHERE %(kind)b::text IS NULL OR kind = %(kind)b::text
        ORDER BY log_xid {order}, position {order}, leg {order} LIMIT %(limit)b::bigint
    ) AS page
    JOIN account AS other ON other.id = page.other_id
    JOIN command ON command.position = page.position
    ORDER BY page.log_xid {order}, page.position {order}, page.leg {order}
"""

_SELECT_MOVED: Final[LiteralString] = """
    SELECT coalesce(sum(CASE %(account)b::bigint WHEN debit_account_id THEN -amount_minor ELSE amount_minor END), 0)
    FROM outcome
    CROSS JOIN LATERAL (
        SELECT leg, amount_minor, debit_account_id FROM transfer
        WHERE transfer.position = outcome.position AND %(account)b::bigint IN (debit_account_id, credit_account_id)
        ORDER BY leg LIMIT 1000
    ) AS transfer
    WHERE (outcome.xid, outcome.position) {from} (%(xid)b::bigint::text::xid8, %(position)b::bigint)
        AND (outcome.xid, outcome.position, leg)
            {beyond} (%(xid)b::bigint::text::xid8, %(position)b::bigint, %(leg)b::bigint)
        AND (outcome.xid, outcome.position) {within} (%(to_xid)b::bigint::text::xid8, %(to_position)b::bigint)
        AND outcome.xid >= %(low)b::bigint::text::xid8 AND outcome.xid < %(high)b::bigint::text::xid8
        AND (%(since)b::timestamptz IS NULL OR outcome.decided_at >= %(since)b::timestamptz)
        AND (%(until)b::timestamptz IS NULL OR outcome.decided_at < %(until)b::timestamptz)
"""

_OLDEST: Final[dict[str, LiteralString]] = {"from": ">=", "beyond": ">", "within": "<=", "order": "ASC"}
_NEWEST: Final[dict[str, LiteralString]] = {"from": "<=", "beyond": "<", "within": ">=", "order": "DESC"}


def _both(template: LiteralString) -> dict[bool, LiteralString]:
    """The statement oldest first and, under ``True``, newest first."""
    written: dict[bool, LiteralString] = {}
    for newest_first, words in ((False, _OLDEST), (True, _NEWEST)):
        statement = template
        for name, word in words.items():
            statement = statement.replace("{" + name + "}", word)
        written[newest_first] = statement
    return written


SELECT_REACH: Final = _both(_SELECT_REACH)
SELECT_REPORT: Final = _both(_SELECT_REPORT)
SELECT_LINES: Final = _both(_SELECT_LINES)
SELECT_MOVED: Final = _both(_SELECT_MOVED)

# The checkpoint, and the log from there to the instant: what is dated before it and came after the checkpoint is added,
# what is dated later and is in the checkpoint is taken off again. One statement is one snapshot, so the checkpoint
# cannot move meanwhile. So many outcomes at most: one more says that it is too far.
SELECT_SYSTEM_BALANCE: Final[LiteralString] = """
    WITH reached AS (
        SELECT coalesce(checkpoint.up_to_xid, '0'::xid8) AS xid,
            coalesce(checkpoint.credits_minor, 0) - coalesce(checkpoint.debits_minor, 0) AS balance_minor
        FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
        WHERE account.id = %(account)b::bigint
    ), between AS (
        SELECT xid, position, decided_at FROM outcome
        WHERE xid >= least((SELECT xid FROM reached), %(low)b::bigint::text::xid8)
            AND xid < greatest((SELECT xid FROM reached), %(high)b::bigint::text::xid8)
        ORDER BY xid, position LIMIT %(look_ahead)b::bigint + 1
    ), differing AS (
        SELECT position, CASE WHEN xid >= (SELECT xid FROM reached) THEN 1 ELSE -1 END AS sign FROM between
        WHERE (xid >= (SELECT xid FROM reached)) = (
            xid < %(below)b::bigint::text::xid8
            AND (%(instant)b::timestamptz IS NULL OR decided_at < %(instant)b::timestamptz)
        )
    )
    SELECT
        (SELECT count(*) FROM between) <= %(look_ahead)b::bigint,
        (SELECT balance_minor FROM reached) + coalesce(sum(sign * moved.amount_minor), 0)
    FROM differing
    CROSS JOIN LATERAL (
        SELECT CASE %(account)b::bigint WHEN debit_account_id THEN -amount_minor ELSE amount_minor END AS amount_minor
        FROM transfer
        WHERE transfer.position = differing.position AND %(account)b::bigint IN (debit_account_id, credit_account_id)
        LIMIT 1000
    ) AS moved
"""


@dataclass(frozen=True, slots=True)
class Window:
    """
    A part of the log that nothing is added to any more.

    Outcomes of transactions from ``low`` to below ``high`` are looked at; of these, it has those that are dated from
    ``since`` to before ``until``.
    """

    low: int
    high: int
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the log: all up to this transfer is read."""

    xid: int
    position: int
    leg: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which commands a report is of; ``None`` stands for any."""

    status: str | None = None
    type: str | None = None
    account: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """A settled command in a report."""

    place: Place
    id: UUID
    client: str
    idempotency_key: str
    type: str
    status: Status
    refusal: Reason | None
    decided_at: datetime
    accepted_at: datetime
    account: str | None
    from_account: str | None
    to_account: str | None
    amount_minor: int | None
    currency: str
    reference: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class SystemRun:
    """A page of a system account's statement: what was moved on its part of the log, and where the next one begins."""

    opening_minor: int
    closing_minor: int
    lines: Sequence[Line]
    next: Place | None


async def watermark(conn: AsyncConnection) -> int:
    """The transaction below which the log is complete."""
    row = await (await conn.execute(SELECT_WATERMARK)).fetchone()
    return int(row[0]) if row else 0


async def ceiling(conn: AsyncConnection) -> int:
    """The transaction from which on the log has nothing yet."""
    row = await (await conn.execute(SELECT_CEILING)).fetchone()
    return int(row[0]) if row else 0


async def window(
    conn: AsyncConnection, below: int, since: datetime | None, until: datetime | None, *, tolerance: timedelta
) -> Window:
    """
    What was decided from ``since`` to before ``until``, in the log below the transaction ``below``.

    The log's order and that of the decisions' dates differ by less than ``tolerance``, but not in what a dump brought:
    there (below 3, which no transaction has), all is looked at.
    """
    low = 0 if since is None else (await _bisect(conn, below, since - tolerance))[0]
    high = below if until is None else max(3, (await _bisect(conn, below, until + tolerance))[1])
    return Window(low, min(high, below), since, until)


async def report(
    conn: AsyncConnection,
    window: Window,
    wanted: Wanted,
    *,
    after: Place | None,
    newest_first: bool,
    limit: int,
    look_ahead: int,
) -> tuple[list[Reported], Place | None]:
    """The next ``limit`` commands of the window, of ``look_ahead`` looked at; and where the next page begins."""
    params, reach = await _reach(conn, window, after, newest_first, look_ahead)
    params |= {
        "status": wanted.status,
        "type": wanted.type,
        "account": wanted.account,
        "client": wanted.client,
        "limit": limit + 1,
    }
    rows = [_reported(*row) async for row in await conn.execute(SELECT_REPORT[newest_first], params)]
    return (rows[:limit], rows[limit - 1].place) if len(rows) > limit else (rows, reach)


async def count(conn: AsyncConnection, window: Window, wanted: Wanted, *, look_ahead: int) -> tuple[int, bool]:
    """How many commands of the window are wanted; and whether that is all, or only what ``look_ahead`` outcomes had."""
    params = {
        "low": window.low,
        "high": window.high,
        "since": window.since,
        "until": window.until,
        "status": wanted.status,
        "type": wanted.type,
        "account": wanted.account,
        "client": wanted.client,
        "look_ahead": look_ahead,
    }
    row = await (await conn.execute(COUNT_REPORT, params)).fetchone()
    return (int(row[1]), bool(row[0])) if row else (0, True)


async def system_page(
    conn: AsyncConnection,
    account_id: int,
    window: Window,
    balance_minor: int,
    *,
    after: Place | None,
    newest_first: bool,
    kind: str | None,
    limit: int,
    look_ahead: int,
) -> SystemRun:
    """
    The next ``limit`` lines of a system account, of ``look_ahead`` outcomes looked at.

    ``balance_minor`` is the balance at ``after``, or where the window begins in this order. The one at the next place
    is the page's closing balance or, newest first, its opening one.
    """
    params, reach = await _reach(conn, window, after, newest_first, look_ahead)
    params |= {"account": account_id, "leg": after.leg if after else (2**15 if newest_first else 0), "kind": kind}
    cursor = await conn.execute(SELECT_LINES[newest_first], params | {"limit": limit + 1})
    rows = await cursor.fetchall()
    if len(rows) > limit:
        rows = rows[:limit]
        reach = Place(*rows[-1][:3])
        moved = int(rows[-1][3])
    elif kind is None:
        moved = int(rows[-1][3]) if rows else 0
    else:
        row = await (await conn.execute(SELECT_MOVED[newest_first], params)).fetchone()
        moved = int(row[0]) if row else 0
    lines = [_line(row, balance_minor, newest_first=newest_first) for row in rows]
    if newest_first:
        return SystemRun(balance_minor - moved, balance_minor, lines, reach)
    return SystemRun(balance_minor, balance_minor + moved, lines, reach)


async def system_balance(
    conn: AsyncConnection, account_id: int, window: Window, below: int, instant: datetime | None, *, look_ahead: int
) -> int | None:
    """
    The balance of a system account over all that is dated before ``instant``, in the log below ``below``.

    ``window`` is where dates before and after the instant lie next to each other. ``None`` if more than ``look_ahead``
    outcomes lie between there and the account's checkpoint.
    """
    params = {
        "account": account_id,
        "low": window.low,
        "high": window.high,
        "below": below,
        "instant": instant,
        "look_ahead": look_ahead,
    }
    row = await (await conn.execute(SELECT_SYSTEM_BALANCE, params)).fetchone()
    return int(row[1]) if row and row[0] else None


async def _bisect(conn: AsyncConnection, below: int, instant: datetime) -> tuple[int, int]:
    row = await (await conn.execute(BISECT, {"below": below, "instant": instant})).fetchone()
    return (row[0], row[1]) if row else (0, below)


async def _reach(
    conn: AsyncConnection, window: Window, after: Place | None, newest_first: bool, look_ahead: int
) -> tuple[dict[str, Any], Place | None]:
    """From where to where a page looks, and where the next one begins if there may be more."""
    begin = after or (Place(window.high, 0) if newest_first else Place(window.low, -1))
    params: dict[str, Any] = {
        "xid": begin.xid,
        "position": begin.position,
        "low": window.low,
        "high": window.high,
        "since": window.since,
        "until": window.until,
        "look_ahead": look_ahead,
    }
    row = await (await conn.execute(SELECT_REACH[newest_first], params)).fetchone()
    end = Place(row[0], row[1]) if row else (Place(0, -1) if newest_first else Place(window.high, 0))
    # A page ends behind the last leg of its last command.
    reach = Place(end.xid, end.position, 0 if newest_first else 2**15) if row else None
    return params | {"to_xid": end.xid, "to_position": end.position}, reach


def _line(row: tuple[Any, ...], balance_minor: int, *, newest_first: bool) -> Line:
    *_, moved, kind, counter_account, amount_minor, command_id, reference, reason, decided_at = row
    after_minor = balance_minor - int(moved) + amount_minor if newest_first else balance_minor + int(moved)
    return Line(None, kind, counter_account, amount_minor, after_minor, command_id, reference, reason, decided_at)


def _reported(xid: int, position: int, *facts: Any) -> Reported:
    id_, client, idempotency_key, type_, status, refusal, *rest = facts
    return Reported(
        Place(xid, position), id_, client, idempotency_key, type_, Status(status), refusal and Reason(refusal), *rest
    )
