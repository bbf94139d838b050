"""Statement files and their lines, what they are matched with, and what is not as it should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.domain.matching import Line, Moved, Period, TransferId
from processor.store import locks
from processor.store.arrays import bigints

# A million transfers are read and joined at once: that takes longer than what a worker may, and more memory.
ALLOW_MORE: Final[LiteralString] = """
    SELECT set_config('statement_timeout', '5min', true), set_config('work_mem', '128MB', true)
"""
# Not in the transaction: one that has begun keeps its own.
ALLOW_LONG: Final[LiteralString] = (
    "SELECT set_config('transaction_timeout', '0', false),"
    " set_config('idle_in_transaction_session_timeout', '10min', false)"
)

_FILE: Final[LiteralString] = """
    SELECT
        id, name, format, bank_account, currency, from_on, to_on, opening_minor, closing_minor, total_minor, lines,
        new_lines, amount_minor, skipped, imported_by, imported_at
    FROM statement_file
"""
SELECT_FILE_BY_SHA256: Final[LiteralString] = _FILE + "WHERE sha256 = %b"
SELECT_FILES_OF_CURRENCY: Final[LiteralString] = _FILE + "WHERE currency = %b ORDER BY bank_account, from_on, to_on, id"
SELECT_NEWEST_FILES: Final[LiteralString] = _FILE + "ORDER BY id DESC LIMIT %b"

SELECT_CURRENCY_OF_ACCOUNT: Final[LiteralString] = """
    SELECT currency FROM statement_file WHERE bank_account = %b ORDER BY id LIMIT 1
"""

SELECT_KEYS: Final[LiteralString] = """
    SELECT line_key, booked_on FROM statement_line
    WHERE currency = %b AND bank_account = %b AND booked_on BETWEEN %b AND %b
"""

INSERT_FILE: Final[LiteralString] = """
    INSERT INTO statement_file (
        sha256, name, format, bank_account, currency, from_on, to_on, opening_minor, closing_minor, total_minor, lines,
        new_lines, amount_minor, skipped, imported_by, imported_at
    ) VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b) RETURNING id
"""

COPY_LINES: Final[LiteralString] = """
    COPY statement_line (
        file_id, number, bank_account, currency, line_key, booked_on, direction, amount_minor, is_reversal,
        bank_reference, reference, end_to_end_id, batch, counterparty, text
    ) FROM STDIN
"""

SELECT_TOTAL: Final[LiteralString] = """
    SELECT coalesce(sum(CASE direction WHEN 'credit' THEN amount_minor ELSE -amount_minor END), 0)
    FROM statement_line WHERE currency = %b AND bank_account = %b AND booked_on BETWEEN %b AND %b
"""

# Every line is matched or has an open break, but for those of a file that is being imported.
SELECT_OPEN_LINES: Final[LiteralString] = """
    SELECT
        id, booked_on, direction = 'credit', amount_minor,
        array_remove(ARRAY[reference, end_to_end_id, batch, counterparty, text, bank_reference], NULL), is_reversal
    FROM statement_line
    WHERE currency = %(currency)b AND (
        file_id = %(file_id)b
        OR id IN (SELECT line_id FROM reconciliation_break WHERE closed_at IS NULL AND currency = %(currency)b)
    )
"""

# Positions are given in order of acceptance, and nothing is decided before it is accepted.
SELECT_ACCEPTED: Final[LiteralString] = """
    SELECT position, accepted_at FROM command WHERE position >= %b ORDER BY position LIMIT 1
"""
SELECT_LAST_POSITION: Final[LiteralString] = "SELECT coalesce(max(position), 0) FROM command"

# The log is in order of decision, but for what was at work at the same time.
SELECT_DECIDED: Final[LiteralString] = """
    SELECT outcome.xid::text::bigint, decided_at FROM outcome
    WHERE outcome.xid >= %b::bigint::text::xid8 ORDER BY outcome.xid, outcome.position LIMIT 1
"""
SELECT_LAST_XID: Final[LiteralString] = """
    SELECT outcome.xid::text::bigint FROM outcome ORDER BY outcome.xid DESC, outcome.position DESC LIMIT 1
"""

# Below 3 are the ids that all get when a dump is restored: among them there is no order, and each is looked at.
SELECT_DECIDED_LATE: Final[LiteralString] = """
    SELECT position FROM outcome
    WHERE (xid >= %(xid)b::bigint::text::xid8 OR xid < '3') AND position < %(before)b AND decided_at >= %(since)b
        AND status = 'applied'
"""

# In line, so that Postgres looks for the few that are asked for and not at all that there ever were.
_ACTIVE: Final[LiteralString] = """
    WITH active AS NOT MATERIALIZED (
        SELECT made.line_id, made.position, made.leg, made.amount_minor, made.id FROM statement_match AS made
        WHERE made.undoes IS NULL AND NOT EXISTS (SELECT FROM statement_match AS undone WHERE undone.undoes = made.id)
    )
"""

# Deposits and withdrawals only: what else moves money does so within the bank.
_TRANSFERS: Final[LiteralString] = (
    _ACTIVE  # noqa: S608 - both parts are constants
    + """
    SELECT
        transfer.position, transfer.leg, (outcome.decided_at AT TIME ZONE %(zone)b::text)::date,
        transfer.kind = 'deposit', transfer.amount_minor, command.account, command.reference,
        command.idempotency_key, command.id::text, taken.position IS NOT NULL
    FROM transfer
    JOIN outcome ON outcome.position = transfer.position
    JOIN command ON command.position = transfer.position
    LEFT JOIN (SELECT DISTINCT position, leg FROM active) AS taken
        ON taken.position = transfer.position AND taken.leg = transfer.leg
    WHERE transfer.currency = %(currency)b AND transfer.kind IN ('deposit', 'withdrawal')
    """
)
SELECT_TRANSFERS_SINCE: Final[LiteralString] = _TRANSFERS + "AND transfer.position >= %(first)b"
SELECT_TRANSFERS_AT: Final[LiteralString] = (
    _TRANSFERS + "AND transfer.position < %(first)b AND transfer.position = ANY(%(positions)b::bigint[])"
)

SELECT_KEPT_APART: Final[LiteralString] = """
    SELECT DISTINCT line_id, position, leg FROM statement_match
    WHERE undoes IS NOT NULL AND line_id = ANY(%b::bigint[])
"""

COPY_MATCHES: Final[LiteralString] = """
    COPY statement_match (line_id, position, leg, amount_minor, rule, made_by, reason, made_at) FROM STDIN
"""

_BREAK: Final[LiteralString] = """
    SELECT
        broken.id, broken.result, broken.line_id, broken.position, broken.leg, broken.file_id, broken.currency,
        broken.amount_minor, broken.detail, broken.since, line.bank_account, line.booked_on, line.direction,
        coalesce(line.end_to_end_id, line.reference, line.text), command.account, command.reference,
        coalesce(file.name, own.name), transfer.kind
    FROM reconciliation_break AS broken
    LEFT JOIN statement_line AS line ON line.id = broken.line_id
    LEFT JOIN statement_file AS file ON file.id = broken.file_id
    LEFT JOIN statement_file AS own ON own.id = line.file_id
    LEFT JOIN command ON command.position = broken.position
    LEFT JOIN transfer ON transfer.position = broken.position AND transfer.leg = broken.leg
    WHERE broken.closed_at IS NULL AND (%(currency)b::text IS NULL OR broken.currency = %(currency)b)
        AND (%(result)b::text IS NULL OR broken.result = %(result)b)
"""
SELECT_BREAKS: Final[LiteralString] = _BREAK + "ORDER BY broken.since, broken.id LIMIT %(limit)b"

COPY_BREAKS: Final[LiteralString] = """
    COPY reconciliation_break (
        result, line_id, position, leg, file_id, currency, amount_minor, detail, since, opened_at
    ) FROM STDIN
"""

CLOSE_BREAKS: Final[LiteralString] = """
    UPDATE reconciliation_break SET closed_at = %b WHERE id = ANY(%b::bigint[]) AND closed_at IS NULL
"""

SELECT_BREAK_TOTALS: Final[LiteralString] = """
    SELECT
        coalesce(line.bank_account, file.bank_account), broken.currency, broken.result,
        CASE
            WHEN broken.since > %(now)b - interval '2 days' THEN '0-1'
            WHEN broken.since > %(now)b - interval '8 days' THEN '2-7'
            WHEN broken.since > %(now)b - interval '31 days' THEN '8-30'
            ELSE '>30'
        END AS bucket,
        count(*), sum(broken.amount_minor)
    FROM reconciliation_break AS broken
    LEFT JOIN statement_line AS line ON line.id = broken.line_id
    LEFT JOIN statement_file AS file ON file.id = broken.file_id
    WHERE broken.closed_at IS NULL AND (%(currency)b::text IS NULL OR broken.currency = %(currency)b)
    GROUP BY 1, 2, 3, 4 ORDER BY 2, 1 NULLS LAST, 3, 4
"""

SELECT_LINE_TOTALS: Final[LiteralString] = """
    SELECT bank_account, currency, sum(new_lines), sum(amount_minor) FROM statement_file
    WHERE %(currency)b::text IS NULL OR currency = %(currency)b
    GROUP BY 1, 2 ORDER BY 2, 1
"""

SELECT_MATCHED_LINES: Final[LiteralString] = (
    _ACTIVE  # noqa: S608 - both parts are constants
    + """
    SELECT
        line.id, line.bank_account, line.currency, line.booked_on, line.direction, line.amount_minor,
        coalesce(line.end_to_end_id, line.reference, line.text), made.position, made.leg, made.amount_minor, made.rule,
        made.made_by, made.reason, made.made_at
    FROM statement_line AS line
    JOIN active ON active.line_id = line.id
    JOIN statement_match AS made ON made.id = active.id
    WHERE line.id IN (
        SELECT DISTINCT line_id FROM active WHERE line_id > %(after)b ORDER BY line_id LIMIT %(limit)b
    )
    ORDER BY line.id, made.id
    """
)

SELECT_LINE: Final[LiteralString] = """
    SELECT id, bank_account, currency, booked_on, direction, amount_minor FROM statement_line WHERE id = %b
"""

SELECT_TRANSFER: Final[LiteralString] = """
    SELECT transfer.kind, transfer.currency, transfer.amount_minor, outcome.decided_at
    FROM transfer JOIN outcome ON outcome.position = transfer.position
    WHERE transfer.position = %b AND transfer.leg = %b
"""

SELECT_MATCHED_MINOR: Final[LiteralString] = (
    _ACTIVE
    + """
    SELECT
        coalesce(sum(amount_minor) FILTER (WHERE line_id = %(line_id)b), 0),
        coalesce(sum(amount_minor) FILTER (WHERE position = %(position)b AND leg = %(leg)b), 0)
    FROM active WHERE line_id = %(line_id)b OR (position = %(position)b AND leg = %(leg)b)
    """
)

SELECT_ACTIVE_OF_LINES: Final[LiteralString] = (
    _ACTIVE  # noqa: S608 - both parts are constants
    + """
    SELECT id, line_id, position, leg, amount_minor FROM active WHERE line_id = ANY(%b::bigint[])
    """
)
SELECT_ACTIVE_OF_TRANSFERS: Final[LiteralString] = (
    _ACTIVE  # noqa: S608 - both parts are constants
    + """
    SELECT id, line_id, position, leg, amount_minor FROM active WHERE position = ANY(%b::bigint[])
    """
)

INSERT_MATCH: Final[LiteralString] = """
    INSERT INTO statement_match (line_id, position, leg, amount_minor, rule, made_by, reason, made_at, undoes)
    VALUES (%b, %b, %b, %b, 'by_hand', %b, %b, %b, %b)
"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that was imported. ``total_minor`` is over all of its lines, ``amount_minor`` over the new ones."""

    id: int
    name: str
    format: str
    bank_account: str
    currency: str
    from_on: date
    to_on: date
    opening_minor: int | None
    closing_minor: int | None
    total_minor: int
    lines: int
    new_lines: int
    amount_minor: int
    skipped: int
    imported_by: str
    imported_at: datetime


@dataclass(frozen=True, slots=True)
class NewBreak:
    """Something that is not as it should be: a line, a transfer or a file, of which just one is given."""

    result: str
    currency: str
    amount_minor: int
    detail: str
    since: datetime
    line_id: int | None = None
    transfer: TransferId | None = None
    file_id: int | None = None

    @property
    def subject(self) -> str:
        """The same for as long as it lasts."""
        if self.line_id is not None:
            return f"statement_line:{self.line_id}"
        if self.transfer is not None:
            return f"transfer:{self.transfer[0]}.{self.transfer[1]}"
        return f"statement_file:{self.file_id}"


@dataclass(frozen=True, slots=True)
class BreakRow:
    """An open break, with what a person wants to know of its line or transfer."""

    id: int
    what: NewBreak
    bank_account: str | None
    booked_on: date | None
    direction: str | None
    says: str | None
    account: str | None
    reference: str | None
    file: str | None


@dataclass(frozen=True, slots=True)
class MatchRow:
    """A line and one of the transfers that it is matched with."""

    line_id: int
    bank_account: str
    currency: str
    booked_on: date
    direction: str
    line_amount_minor: int
    says: str | None
    position: int
    leg: int
    amount_minor: int
    rule: str
    made_by: str
    reason: str | None
    made_at: datetime


@dataclass(frozen=True, slots=True)
class BreakTotal:
    """Open breaks of a result and an age in days, of a bank account; a transfer is of none."""

    bank_account: str | None
    currency: str
    result: str
    bucket: str
    count: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LineTotal:
    """All lines of a bank account."""

    bank_account: str
    currency: str
    count: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line by itself."""

    id: int
    bank_account: str
    currency: str
    booked_on: date
    direction: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer by itself."""

    kind: str
    currency: str
    amount_minor: int
    decided_at: datetime


def allow_long(conn: Connection) -> None:
    """Let this session's transactions last as long as the matching of a large file does."""
    conn.execute(ALLOW_LONG)


def lock(conn: Connection) -> None:
    """Let nobody else import or match until the transaction ends."""
    conn.execute(ALLOW_MORE)
    locks.lock_one(conn, locks.RECONCILIATION)


def find_file(conn: Connection, sha256: bytes) -> FileRow | None:
    """The file of these bytes, if it was imported."""
    row = conn.execute(SELECT_FILE_BY_SHA256, [sha256]).fetchone()
    return FileRow(*row) if row else None


def files_of_currency(conn: Connection, currency: str) -> list[FileRow]:
    """Every file in a currency, by account and in order of their days."""
    return [FileRow(*row) for row in conn.execute(SELECT_FILES_OF_CURRENCY, [currency])]


def newest_files(conn: Connection, limit: int) -> list[FileRow]:
    """The files that were imported last."""
    return [FileRow(*row) for row in conn.execute(SELECT_NEWEST_FILES, [limit])]


def currency_of(conn: Connection, bank_account: str) -> str | None:
    """What a bank account is in, once it has a file."""
    row = conn.execute(SELECT_CURRENCY_OF_ACCOUNT, [bank_account]).fetchone()
    return str(row[0]) if row else None


def line_keys(conn: Connection, currency: str, bank_account: str, from_on: date, to_on: date) -> dict[bytes, date]:
    """The keys of the lines that are there already, of these days, each with its day."""
    return dict(conn.execute(SELECT_KEYS, [currency, bank_account, from_on, to_on]).fetchall())


def insert_file(conn: Connection, values: Sequence[Any]) -> int:
    """Note a file, its values in the order of the statement, and return its id."""
    row = conn.execute(INSERT_FILE, values).fetchone()
    assert row is not None
    return int(row[0])


def insert_lines(conn: Connection, rows: Iterator[Sequence[Any]]) -> None:
    """Add lines, their values in the order of the statement."""
    with conn.cursor().copy(COPY_LINES) as copy:
        for row in rows:
            copy.write_row(row)


def lines_total(conn: Connection, currency: str, bank_account: str, from_on: date, to_on: date) -> int:
    """Credits less debits of all lines of these days, whichever file they came in."""
    row = conn.execute(SELECT_TOTAL, [currency, bank_account, from_on, to_on]).fetchone()
    return int(row[0]) if row else 0


def open_lines(conn: Connection, currency: str, file_id: int | None) -> list[Line]:
    """The lines of a new file, and those that are not matched yet."""
    rows = conn.execute(SELECT_OPEN_LINES, {"currency": currency, "file_id": file_id})
    return [
        Line(id_, booked_on, is_credit, amount_minor, tuple(texts), is_reversal)
        for id_, booked_on, is_credit, amount_minor, texts, is_reversal in rows
    ]


def first_position(conn: Connection, since: datetime) -> int:
    """A position at or before the first command that was accepted ``since`` then: a few dozen looks at most."""
    row = conn.execute(SELECT_LAST_POSITION).fetchone()
    return _first_since(conn, SELECT_ACCEPTED, 1, int(row[0]) if row else 0, since)


def decided_late(conn: Connection, since: datetime, before: int) -> list[int]:
    """Positions below ``before`` that were decided ``since`` then: their commands waited long, as in a quarantine."""
    row = conn.execute(SELECT_LAST_XID).fetchone()
    # Clocks of workers differ, and transactions overlap: by far less than a day.
    xid = _first_since(conn, SELECT_DECIDED, 3, int(row[0]) if row else 0, since - timedelta(days=1))
    rows = conn.execute(SELECT_DECIDED_LATE, {"xid": xid, "before": before, "since": since})
    return [position for (position,) in rows]


def transfers(
    conn: Connection, currency: str, *, zone: str, first_position: int, positions: Sequence[int]
) -> Iterator[Moved]:
    """Deposits and withdrawals from a position on, and those at ``positions`` before it."""
    params = {"currency": currency, "zone": zone, "first": first_position, "positions": bigints(positions)}
    for query in (SELECT_TRANSFERS_SINCE, *([SELECT_TRANSFERS_AT] if positions else [])):
        with conn.cursor(binary=True) as cursor:
            for position, leg, day, is_deposit, amount_minor, account, *names, is_taken in cursor.execute(
                query, params
            ):
                said = tuple(name for name in names if name)
                yield Moved((position, leg), day, is_deposit, amount_minor, account, said, is_taken)


def kept_apart(conn: Connection, line_ids: Sequence[int]) -> set[tuple[int, TransferId]]:
    """Pairs that a person took apart."""
    rows = conn.execute(SELECT_KEPT_APART, [bigints(line_ids)])
    return {(line_id, (position, leg)) for line_id, position, leg in rows}


def insert_matches(conn: Connection, rows: Iterator[Sequence[Any]]) -> None:
    """Add matches, their values in the order of the statement."""
    with conn.cursor().copy(COPY_MATCHES) as copy:
        for row in rows:
            copy.write_row(row)


def periods(files: Sequence[FileRow]) -> list[Period]:
    """The days of the files."""
    return [Period(file.bank_account, file.from_on, file.to_on) for file in files]


def open_breaks(
    conn: Connection, *, currency: str | None = None, result: str | None = None, limit: int | None = None
) -> list[BreakRow]:
    """What is not as it should be, the oldest first."""
    rows = conn.execute(SELECT_BREAKS, {"currency": currency, "result": result, "limit": limit})
    return [_break(row) for row in rows]


def insert_breaks(conn: Connection, breaks: Sequence[NewBreak], *, now: datetime) -> None:
    """Open these breaks."""
    with conn.cursor().copy(COPY_BREAKS) as copy:
        for each in breaks:
            position, leg = each.transfer or (None, None)
            subject = (each.line_id, position, leg, each.file_id)
            copy.write_row([each.result, *subject, each.currency, each.amount_minor, each.detail, each.since, now])


def close_breaks(conn: Connection, ids: Sequence[int], *, now: datetime) -> None:
    """Close these breaks, which are there no more."""
    conn.execute(CLOSE_BREAKS, [now, bigints(ids)])


def break_totals(conn: Connection, *, now: datetime, currency: str | None = None) -> list[BreakTotal]:
    """How many breaks are open, how much they are about, and how old they are."""
    rows = conn.execute(SELECT_BREAK_TOTALS, {"now": now, "currency": currency})
    return [
        BreakTotal(account, of, result, bucket, count, int(minor)) for account, of, result, bucket, count, minor in rows
    ]


def line_totals(conn: Connection, *, currency: str | None = None) -> list[LineTotal]:
    """How many lines there are, of each bank account."""
    rows = conn.execute(SELECT_LINE_TOTALS, {"currency": currency})
    return [LineTotal(account, of, int(count), int(minor)) for account, of, count, minor in rows]


def matched_lines(conn: Connection, *, after: int, limit: int) -> list[MatchRow]:
    """The next ``limit`` lines with an id above ``after``, a row for each transfer that one is matched with."""
    return [MatchRow(*row) for row in conn.execute(SELECT_MATCHED_LINES, {"after": after, "limit": limit})]


def find_line(conn: Connection, line_id: int) -> LineRow | None:
    """The line of this id."""
    row = conn.execute(SELECT_LINE, [line_id]).fetchone()
    return LineRow(*row) if row else None


def find_transfer(conn: Connection, transfer: TransferId) -> TransferRow | None:
    """The transfer of this id."""
    row = conn.execute(SELECT_TRANSFER, transfer).fetchone()
    return TransferRow(*row) if row else None


def matched_minor(conn: Connection, line_id: int, transfer: TransferId) -> tuple[int, int]:
    """What of the line is matched with anything, and what of the transfer."""
    params = {"line_id": line_id, "position": transfer[0], "leg": transfer[1]}
    row = conn.execute(SELECT_MATCHED_MINOR, params).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def connected(conn: Connection, line_id: int) -> list[tuple[int, int, TransferId, int]]:
    """
    The matches that hang together with a line's, which were one decision: id, line, transfer and amount of each.

    Those of the line, of the transfers in them, of the lines of those, and so on.
    """
    found: dict[int, tuple[int, int, TransferId, int]] = {}
    queries = [SELECT_ACTIVE_OF_LINES, SELECT_ACTIVE_OF_TRANSFERS]
    wanted = {line_id}
    while wanted:
        query = queries[0]
        queries.reverse()
        rows = conn.execute(query, [bigints(wanted)]).fetchall()
        new = [row for row in rows if row[0] not in found]
        found |= {id_: (id_, line, (position, leg), minor) for id_, line, position, leg, minor in new}
        wanted = {position if query is SELECT_ACTIVE_OF_LINES else line for _, line, position, _, _ in new}
    return [found[id_] for id_ in sorted(found)]


def insert_by_hand(
    conn: Connection,
    line_id: int,
    transfer: TransferId,
    amount_minor: int,
    *,
    by: str,
    reason: str,
    now: datetime,
    undoes: int | None = None,
) -> None:
    """Note what a person decided: a match, or that an earlier one is none."""
    conn.execute(INSERT_MATCH, [line_id, *transfer, amount_minor, by, reason, now, undoes])


def _first_since(conn: Connection, query: LiteralString, low: int, last: int, since: datetime) -> int:
    """The first number of those that ``query`` finds with a time of ``since`` or later; above ``last`` if none is."""
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        found = conn.execute(query, [middle]).fetchone()
        if found is None or found[1] >= since:
            high = middle
        else:
            low = found[0] + 1
    return low


def _break(row: tuple[Any, ...]) -> BreakRow:
    id_, result, line_id, position, leg, file_id, currency, amount_minor, detail, since, *about, kind = row
    transfer = None if position is None else (position, leg)
    what = NewBreak(result, currency, amount_minor, detail, since, line_id, transfer, file_id)
    bank_account, booked_on, direction, says, account, reference, file = about
    direction = direction or {"deposit": "credit", "withdrawal": "debit"}.get(kind)
    return BreakRow(id_, what, bank_account, booked_on, direction, says, account, reference, file)
