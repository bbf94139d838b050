"""What a command did besides moving money: to a hold, to what its account may do, to another command."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection

SELECT_HOLD: Final[LiteralString] = """
    SELECT
        reserving.id, hold.amount_minor, hold.captured_minor, hold.state, hold.expires_at, settling.id,
        hold.settled_by = %(position)b
    FROM hold
    JOIN command AS reserving ON reserving.position = hold.id
    LEFT JOIN command AS settling ON settling.position = hold.settled_by
    WHERE hold.id = %(hold)b
"""

# What the account was allowed before is in its last change before this one; without any, it is as it was opened.
SELECT_CHANGE: Final[LiteralString] = """
    SELECT
        account.name, changed.status, changed.overdraft_limit_minor, changed.overdraft_fee_minor,
        changed.daily_count, changed.daily_amount_minor,
        before.status, before.overdraft_limit_minor, before.overdraft_fee_minor,
        before.daily_count, before.daily_amount_minor
    FROM account_change AS changed
    JOIN account ON account.id = changed.account_id
    LEFT JOIN LATERAL (
        SELECT * FROM account_change AS earlier
        WHERE earlier.account_id = changed.account_id
            AND (earlier.version, earlier.position) < (changed.version, changed.position)
        ORDER BY earlier.version DESC, earlier.position DESC LIMIT 1
    ) AS before ON true
    WHERE changed.position = %b
"""

SELECT_REVERSED: Final[LiteralString] = """
    SELECT command.id FROM reversal JOIN command ON command.position = reversal.reverses WHERE reversal.position = %b
"""
SELECT_REVERSED_BY: Final[LiteralString] = """
    SELECT command.id FROM reversal JOIN command ON command.position = reversal.position WHERE reversal.reverses = %b
"""


@dataclass(frozen=True, slots=True)
class TouchedHold:
    """The hold that a command is about, as it is now."""

    id: UUID
    amount_minor: int
    captured_minor: int
    state: str
    expires_at: datetime | None
    settled_by: UUID | None
    settled_here: bool | None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an account may do; without a limit of the day, both of them are ``None``."""

    status: str
    overdraft_limit_minor: int
    overdraft_fee_minor: int
    daily_count: int | None
    daily_amount_minor: int | None


@dataclass(frozen=True, slots=True)
class Changed:
    """What an account may do from a command on, and before it, unless that was how it was opened."""

    account: str
    after: Allowed
    before: Allowed | None


def hold(conn: Connection[Any], position: int, hold_id: int) -> TouchedHold | None:
    """The hold at the position ``hold_id``, as the command at ``position`` has to do with it."""
    row = conn.execute(SELECT_HOLD, {"position": position, "hold": hold_id}).fetchone()
    return TouchedHold(*row) if row else None


def change(conn: Connection[Any], position: int) -> Changed | None:
    """What the command changed of what its account may do."""
    row = conn.execute(SELECT_CHANGE, [position]).fetchone()
    if row is None:
        return None
    name, after, before = row[0], row[1:6], row[6:]
    return Changed(name, Allowed(*after), None if before[0] is None else Allowed(*before))


def reversed_one(conn: Connection[Any], position: int) -> UUID | None:
    """The command that the one at ``position`` has reversed."""
    return _id(conn, SELECT_REVERSED, position)


def reversed_by(conn: Connection[Any], position: int) -> UUID | None:
    """The reversal of the command at ``position``."""
    return _id(conn, SELECT_REVERSED_BY, position)


def _id(conn: Connection[Any], query: LiteralString, position: int) -> UUID | None:
    row = conn.execute(query, [position]).fetchone()
    return row[0] if row else None
