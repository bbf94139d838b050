"""Answers to 'what is on hold, and what became of it?'."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from processor.domain.holds import HoldState

_SELECT: Final[LiteralString] = """
    SELECT
        reserving.id, hold.id, account.name, hold.currency, hold.amount_minor, hold.state, hold.captured_minor,
        placed.decided_at, hold.expires_at, settling.id, settled.decided_at
    FROM hold
    JOIN command AS reserving ON reserving.position = hold.id
    JOIN outcome AS placed ON placed.position = hold.id
    JOIN account ON account.id = hold.account_id
    LEFT JOIN command AS settling ON settling.position = hold.settled_by
    LEFT JOIN outcome AS settled ON settled.position = hold.settled_by
"""
SELECT_HOLD: Final[LiteralString] = _SELECT + "WHERE reserving.id = %s"

# How far one page looks. A state that few holds are in must not cost a look at all of them; those that are open have an
# index of their own.
SELECT_REACH: Final[LiteralString] = """
    SELECT max(id), count(*)
    FROM (
        SELECT id FROM hold
        WHERE id > %(after)s
            AND (%(account)s::text IS NULL OR account_id = (SELECT id FROM account WHERE name = %(account)s))
            AND (NOT %(open)s OR state = 'held')
        ORDER BY id LIMIT %(look_ahead)s
    ) AS ahead
"""

SELECT_PAGE: Final[LiteralString] = (
    _SELECT
    + """
    WHERE hold.id > %(after)s AND hold.id <= %(up_to)s
        AND (%(account)s::text IS NULL OR account.name = %(account)s)
        AND (%(state)s::text IS NULL OR hold.state = %(state)s)
    ORDER BY hold.id LIMIT %(limit)s
    """
)


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold as it is committed now, and the commands that placed and ended it."""

    id: UUID
    position: int
    account: str
    currency: str
    amount_minor: int
    state: HoldState
    captured_minor: int
    placed_at: datetime
    expires_at: datetime | None
    settling_id: UUID | None
    settled_at: datetime | None


async def find_hold(conn: AsyncConnection, hold_id: UUID) -> HoldRow | None:
    """The hold that the command of this id placed."""
    cursor = await conn.execute(SELECT_HOLD, [hold_id])
    row = await cursor.fetchone()
    return _hold(row) if row else None


async def list_holds(
    conn: AsyncConnection, *, account: str | None, state: HoldState | None, after: int, limit: int, look_ahead: int
) -> tuple[list[HoldRow], int | None]:
    """
    The next ``limit`` holds above ``after``, of the account and in the state if one is given; and where to go on.

    Of those that may be in the state, ``look_ahead`` are looked at: fewer than ``limit`` are no sign of the end.
    """
    # Without a state, each that is looked at is shown: one more tells whether there is another page.
    look_ahead = limit + 1 if state is None else max(look_ahead, limit + 1)
    wanted = {
        "account": account,
        "state": state and state.value,
        "open": state is HoldState.HELD,
        "after": after,
        "limit": limit,
        "look_ahead": look_ahead,
    }
    cursor = await conn.execute(SELECT_REACH, wanted)
    up_to, seen = await cursor.fetchone() or (None, 0)
    if up_to is None:
        return [], None
    cursor = await conn.execute(SELECT_PAGE, wanted | {"up_to": up_to})
    page = [_hold(row) async for row in cursor]
    reached = page[-1].position if len(page) == limit else up_to
    return page, reached if reached < up_to or seen == look_ahead else None


def _hold(row: tuple[Any, ...]) -> HoldRow:
    id_, position, account, currency, amount_minor, state, *rest = row
    return HoldRow(id_, position, account, currency, amount_minor, HoldState(state), *rest)
