"""What moved a customer's account, in the order of its versions, and how far it had come at an instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

# Versions are given under the account's lock, one after the other, so a page is a range of them, and reads as many rows
# as it has lines. Each side of a transfer has an index of its own; both are read in order, and merged.
_SELECT_LINES: Final[LiteralString] = """
    SELECT
        moved.version, moved.kind, other.name, moved.amount_minor, moved.balance_minor,
        command.id, command.reference, command.reason, outcome.decided_at
    FROM (
        (
            SELECT credit_version AS version, position, kind, debit_account_id AS other_id, amount_minor,
                credit_balance_minor AS balance_minor
            FROM transfer
            WHERE credit_account_id = %(account)b::bigint
                AND credit_version BETWEEN %(low)b::bigint AND %(high)b::bigint
                AND (%(kind)b::text IS NULL OR kind = %(kind)b::text)
            ORDER BY credit_version {order} LIMIT %(limit)b::bigint
        )
        UNION ALL
        (
            SELECT debit_version, position, kind, credit_account_id, -amount_minor, debit_balance_minor
            FROM transfer
            WHERE debit_account_id = %(account)b::bigint
                AND debit_version BETWEEN %(low)b::bigint AND %(high)b::bigint
                AND (%(kind)b::text IS NULL OR kind = %(kind)b::text)
            ORDER BY debit_version {order} LIMIT %(limit)b::bigint
        )
        ORDER BY version {order} LIMIT %(limit)b::bigint
    ) AS moved
    JOIN account AS other ON other.id = moved.other_id
    JOIN command ON command.position = moved.position
    JOIN outcome ON outcome.position = moved.position
    ORDER BY moved.version {order}
"""
SELECT_OLDEST: Final[LiteralString] = _SELECT_LINES.replace("{order}", "ASC")
SELECT_NEWEST: Final[LiteralString] = _SELECT_LINES.replace("{order}", "DESC")

SELECT_BALANCE: Final[LiteralString] = """
    SELECT credit_balance_minor FROM transfer
    WHERE credit_account_id = %(account)b::bigint AND credit_version = %(version)b::bigint
    UNION ALL
    SELECT debit_balance_minor FROM transfer
    WHERE debit_account_id = %(account)b::bigint AND debit_version = %(version)b::bigint
"""

# Bisected: some twenty probes of an index, and no index by time for every writer to keep up. Up to `low`, all is
# earlier than the instant. A version that is not there any more is as early as can be.
BISECT: Final[LiteralString] = """
    WITH RECURSIVE search (low, high) AS (
        SELECT 0::bigint, %(last)b::bigint + 1
        UNION ALL
        SELECT CASE WHEN probe.is_early THEN middle ELSE low END, CASE WHEN probe.is_early THEN high ELSE middle END
        FROM search
        CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS halved
        CROSS JOIN LATERAL (
            SELECT coalesce(
                (
                    SELECT outcome.decided_at < %(instant)b::timestamptz
                    FROM transfer JOIN outcome USING (position)
                    WHERE credit_account_id = %(account)b::bigint AND credit_version = middle
                ),
                (
                    SELECT outcome.decided_at < %(instant)b::timestamptz
                    FROM transfer JOIN outcome USING (position)
                    WHERE debit_account_id = %(account)b::bigint AND debit_version = middle
                ),
                true
            ) AS is_early
        ) AS probe
        WHERE high - low > 1
    )
    SELECT max(low) FROM search
"""

# From there on one by one, for as long as clocks may disagree. The outcome is a subquery, so that no more of them are
# read than versions until the first that fits.
SELECT_FIRST_SINCE: Final[LiteralString] = """
    SELECT version FROM (
        SELECT credit_version AS version, position FROM transfer
        WHERE credit_account_id = %(account)b::bigint
            AND credit_version > %(low)b::bigint AND credit_version <= %(last)b::bigint
        UNION ALL
        SELECT debit_version, position FROM transfer
        WHERE debit_account_id = %(account)b::bigint
            AND debit_version > %(low)b::bigint AND debit_version <= %(last)b::bigint
    ) AS moved
    WHERE (SELECT decided_at FROM outcome WHERE outcome.position = moved.position) >= %(instant)b::timestamptz
    ORDER BY version LIMIT 1
"""

# One of the two keys of the command's transfers is the account's: its legs have versions without a gap.
SELECT_OF_COMMAND: Final[LiteralString] = """
    SELECT min(version), max(version)
    FROM command
    JOIN transfer ON transfer.position = command.position
    CROSS JOIN LATERAL (
        SELECT CASE %(account)b::bigint
            WHEN credit_account_id THEN credit_version WHEN debit_account_id THEN debit_version
        END AS version
    ) AS mine
    WHERE command.id = %(command)b::uuid
"""

SELECT_ACCOUNT: Final[LiteralString] = """
    SELECT id, name, kind, currency, version, opened_at FROM account WHERE name = %b::text
"""


@dataclass(frozen=True, slots=True)
class StatementAccount:
    """Whose statement it is. ``version`` is how far the account has come now; a system account's is 0."""

    id: int
    name: str
    kind: str
    currency: str
    version: int
    opened_at: datetime

    @property
    def is_system(self) -> bool:
        """Whether it is one of the bank's own."""
        return self.id < 0


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer as one of its accounts sees it. ``version`` is ``None`` for a system account."""

    version: int | None
    kind: str
    counter_account: str
    amount_minor: int
    balance_minor: int
    command_id: UUID
    reference: str | None
    reason: str | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A page: the wanted lines of the versions ``first`` to ``last``, which is below if there are none."""

    first: int
    last: int
    opening_minor: int
    closing_minor: int
    lines: Sequence[Line]


async def find_account(conn: AsyncConnection, name: str) -> StatementAccount | None:
    """The account of this name, a system account as well."""
    row = await (await conn.execute(SELECT_ACCOUNT, [name])).fetchone()
    return StatementAccount(*row) if row else None


async def page(
    conn: AsyncConnection,
    account_id: int,
    first: int,
    last: int,
    *,
    newest_first: bool,
    kind: str | None,
    limit: int,
    look_ahead: int,
) -> Run:
    """
    The next ``limit`` lines of the versions ``first`` to ``last``, from the end that the order begins with.

    Of a ``kind``, as many as there are among ``look_ahead`` versions: the run is what was looked at.
    """
    reach = limit if kind is None else max(limit, look_ahead)
    if newest_first:
        first = max(first, last - reach + 1)
    else:
        last = min(last, first + reach - 1)
    wanted = {"account": account_id, "low": first, "high": last, "kind": kind, "limit": limit}
    cursor = await conn.execute(SELECT_NEWEST if newest_first else SELECT_OLDEST, wanted)
    lines = [Line(*row) async for row in cursor]
    if len(lines) == limit:
        end = lines[-1].version or 0
        first, last = (end, last) if newest_first else (first, end)
    opening_minor = await balance_after(conn, account_id, first - 1)
    closing_minor = await balance_after(conn, account_id, last) if last >= first else opening_minor
    return Run(first, last, opening_minor, closing_minor, lines)


async def balance_after(conn: AsyncConnection, account_id: int, version: int) -> int:
    """The posted balance after this version, in minor units; zero before the first one."""
    row = await (await conn.execute(SELECT_BALANCE, {"account": account_id, "version": version})).fetchone()
    return int(row[0]) if row else 0


async def first_since(
    conn: AsyncConnection, account_id: int, instant: datetime, *, last: int, tolerance: timedelta
) -> int:
    """
    The first version up to ``last`` that was decided at ``instant`` or later; ``last`` + 1 if there is none.

    Whatever comes behind it counts as later too, even if another machine's clock was behind by less than
    ``tolerance``: versions have an order, clocks have not.
    """
    wanted = {"account": account_id, "last": last, "instant": instant - tolerance}
    row = await (await conn.execute(BISECT, wanted)).fetchone()
    wanted = {"account": account_id, "low": row[0] if row else 0, "last": last, "instant": instant}
    row = await (await conn.execute(SELECT_FIRST_SINCE, wanted)).fetchone()
    return int(row[0]) if row else last + 1


async def versions_of(conn: AsyncConnection, account_id: int, command_id: UUID) -> tuple[int, int] | None:
    """The first and the last version that the command gave the account, if it moved any of its money."""
    row = await (await conn.execute(SELECT_OF_COMMAND, {"account": account_id, "command": command_id})).fetchone()
    return (row[0], row[1]) if row and row[0] is not None else None
