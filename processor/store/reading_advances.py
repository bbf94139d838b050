"""Answers to 'what was lent, and what is owed of it?': advances with their schedules, and lists of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from processor.domain.advances import AdvanceState, Instalment, InstalmentState, arrears_minor

# The advance stands beside each of its instalments, of which there is always one: one statement is one snapshot, so
# that what is shown adds up whatever is collected meanwhile.
SELECT_SCHEDULE: Final[LiteralString] = """
    SELECT
        granting.id, advance.id, account.name, advance.currency, advance.amount_minor, advance.granted_at,
        advance.first_due_on, advance.paid_minor, advance.written_off_minor, advance.state,
        instalment.number, instalment.due_on, instalment.amount_minor, instalment.rolled_minor, instalment.paid_minor,
        instalment.state, instalment.settled_by, instalment.attempts, instalment.failed_at,
        settling.id, outcome.decided_at
    FROM command AS granting
    JOIN advance ON advance.id = granting.position
    JOIN account ON account.id = advance.account_id
    JOIN instalment ON instalment.advance_id = advance.id
    LEFT JOIN command AS settling ON settling.position = instalment.settled_by
    LEFT JOIN outcome ON outcome.position = instalment.settled_by
    WHERE granting.id = %s
    ORDER BY instalment.number
"""

# How far one page looks. A state that few advances are in must not cost a look at all of them; what is owed is looked
# for among the live ones only, which have an index of their own.
SELECT_REACH: Final[LiteralString] = """
    SELECT max(id), count(*)
    FROM (
        SELECT id FROM advance
        WHERE id > %(after)s
            AND (%(account)s::text IS NULL OR account_id = (SELECT id FROM account WHERE name = %(account)s))
            AND (NOT %(live)s OR state IN ('open', 'in_arrears'))
        ORDER BY id LIMIT %(look_ahead)s
    ) AS ahead
"""

# The page first, and then the instalments of what is on it: reckoned by Postgres, so that the schedules stay there.
SELECT_PAGE: Final[LiteralString] = """
    SELECT
        granting.id, page.id, account.name, page.currency, page.amount_minor, page.granted_at,
        page.first_due_on, page.paid_minor, page.written_off_minor, page.state, reckoned.arrears_minor, reckoned.missed,
        upcoming.due_on, upcoming.amount_minor - upcoming.paid_minor
    FROM (
        SELECT * FROM advance
        WHERE id > %(after)s AND id <= %(up_to)s
            AND (%(account)s::text IS NULL OR account_id = (SELECT id FROM account WHERE name = %(account)s))
            AND (%(state)s::text IS NULL OR state = %(state)s)
        ORDER BY id LIMIT %(limit)s
    ) AS page
    JOIN command AS granting ON granting.position = page.id
    JOIN account ON account.id = page.account_id
    CROSS JOIN LATERAL (
        SELECT
            sum(CASE state WHEN 'scheduled' THEN greatest(0, rolled_minor - paid_minor) ELSE 0 END)::bigint
                AS arrears_minor,
            count(*) FILTER (WHERE state = 'missed') AS missed,
            min(number) FILTER (WHERE state = 'scheduled') AS next_number
        FROM instalment WHERE advance_id = page.id
    ) AS reckoned
    LEFT JOIN instalment AS upcoming ON upcoming.advance_id = page.id AND upcoming.number = reckoned.next_number
    ORDER BY page.id
"""


@dataclass(frozen=True, slots=True)
class InstalmentRow(Instalment):
    """An instalment, which command settled it, and when."""

    settling_id: UUID | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AdvanceRow:
    """An advance as it is committed now. ``next_minor`` is what is left of the oldest scheduled instalment."""

    id: UUID
    position: int
    account: str
    currency: str
    amount_minor: int
    granted_at: datetime
    first_due_on: date
    paid_minor: int
    written_off_minor: int
    state: AdvanceState
    arrears_minor: int
    missed: int
    next_due_on: date | None
    next_minor: int | None

    @property
    def remaining_minor(self) -> int:
        """What is owed."""
        return self.amount_minor - self.paid_minor - self.written_off_minor


async def find_advance(conn: AsyncConnection, advance_id: UUID) -> tuple[AdvanceRow, Sequence[InstalmentRow]] | None:
    """The advance that the command of this id granted, and its whole schedule."""
    cursor = await conn.execute(SELECT_SCHEDULE, [advance_id])
    rows = await cursor.fetchall()
    if not rows:
        return None
    instalments = [_instalment(row[10:]) for row in rows]
    upcoming = next((each for each in instalments if each.is_scheduled), None)
    advance = _advance(
        rows[0][:10],
        arrears_minor(instalments),
        sum(each.state is InstalmentState.MISSED for each in instalments),
        upcoming.due_on if upcoming else None,
        upcoming.left_minor if upcoming else None,
    )
    return advance, instalments


async def list_advances(
    conn: AsyncConnection,
    *,
    account: str | None,
    state: AdvanceState | None,
    after: int,
    limit: int,
    look_ahead: int,
) -> tuple[list[AdvanceRow], int | None]:
    """
    The next ``limit`` advances above ``after``, of the account and in the state if one is given; and where to go on.

    Of those that may be in the state, ``look_ahead`` are looked at: fewer than ``limit`` are no sign of the end.
    """
    # Without a state, each that is looked at is shown: one more tells whether there is another page.
    look_ahead = limit + 1 if state is None else max(look_ahead, limit + 1)
    wanted = {
        "account": account,
        "state": state and state.value,
        "live": state is not None and state.is_live,
        "after": after,
        "limit": limit,
        "look_ahead": look_ahead,
    }
    cursor = await conn.execute(SELECT_REACH, wanted)
    up_to, seen = await cursor.fetchone() or (None, 0)
    if up_to is None:
        return [], None
    cursor = await conn.execute(SELECT_PAGE, wanted | {"up_to": up_to})
    page = [_advance(row[:10], *row[10:]) async for row in cursor]
    reached = page[-1].position if len(page) == limit else up_to
    return page, reached if reached < up_to or seen == look_ahead else None


def _advance(row: Sequence[Any], *reckoned: Any) -> AdvanceRow:
    """``reckoned`` is what follows from the instalments, in the order of ``AdvanceRow``."""
    id_, position, account, currency, amount_minor, granted_at, first_due_on, paid_minor, written_off_minor, state = row
    return AdvanceRow(
        id_,
        position,
        account,
        currency,
        amount_minor,
        granted_at,
        first_due_on,
        paid_minor,
        written_off_minor,
        AdvanceState(state),
        *reckoned,
    )


def _instalment(row: Sequence[Any]) -> InstalmentRow:
    number, due_on, amount_minor, rolled_minor, paid_minor, state, *settlement = row
    return InstalmentRow(number, due_on, amount_minor, rolled_minor, paid_minor, InstalmentState(state), *settlement)
