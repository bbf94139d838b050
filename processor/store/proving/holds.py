"""Holds against their accounts' rows, and against the commands that placed, ended and failed to end them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from processor.store.arrays import bigints

# Open holds only, which have an index of their own: what is over costs nothing.
FIND_WRONG_HELD: Final[LiteralString] = """
    SELECT account.id, account.name, account.currency, account.held_minor, reserved.total_minor
    FROM account
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount_minor), 0)::numeric AS total_minor FROM hold
        WHERE hold.account_id = account.id AND hold.state = 'held'
    ) AS reserved
    WHERE account.id = ANY(%b::bigint[]) AND account.held_minor <> reserved.total_minor
    ORDER BY account.id
"""

# The other way round than a command is held to its hold: one that no command placed; a row that says it has ended, by a
# command that ended another one, or was refused, or is no such command; and attempts at its expiry that nobody made, or
# that were made and not counted: each has a key of its own, and without its number no other follows.
_UNFOUNDED: Final[LiteralString] = """
    SELECT hold.id, account.name, hold.state, hold.settled_by, command.type, outcome.status, outcome.decided_at,
        hold.attempts
    FROM hold
    JOIN account ON account.id = hold.account_id
    LEFT JOIN command AS placing_command ON placing_command.position = hold.id
    LEFT JOIN outcome AS placed ON placed.position = hold.id
    LEFT JOIN command ON command.position = hold.settled_by
    LEFT JOIN outcome ON outcome.position = hold.settled_by
    WHERE {which} AND (
        placing_command.type IS DISTINCT FROM 'place_hold' OR placed.status IS DISTINCT FROM 'applied'
        OR placing_command.account IS DISTINCT FROM account.name
        OR (
            hold.settled_by IS NOT NULL AND (
                outcome.status IS DISTINCT FROM 'applied' OR command.hold_id IS DISTINCT FROM placing_command.id
                OR command.type IS DISTINCT FROM CASE hold.state
                    WHEN 'captured' THEN 'capture_hold' WHEN 'released' THEN 'release_hold' ELSE 'expire_hold'
                END
            )
        )
        OR (hold.attempts > 0 AND NOT EXISTS (
            SELECT FROM command AS expiry JOIN outcome AS answer ON answer.position = expiry.position
            WHERE expiry.client_id = 0 AND expiry.idempotency_key = format('hold:%%s:%%s', hold.id, hold.attempts)
                AND (answer.status = 'failed' OR answer.reason = 'hold_not_expired')
        ))
        OR (hold.state = 'held' AND EXISTS (
            SELECT FROM command AS expiry JOIN outcome AS answer ON answer.position = expiry.position
            WHERE expiry.client_id = 0 AND expiry.idempotency_key = format('hold:%%s:%%s', hold.id, hold.attempts + 1)
        ))
    )
    ORDER BY hold.id
"""

FIND_UNFOUNDED: Final = sql.SQL(_UNFOUNDED).format(which=sql.SQL("hold.account_id = ANY(%(ids)b::bigint[])"))

# Those that commands at these positions placed or ended. Found first, and looked up then: hardly any command did.
FIND_NEW_UNFOUNDED: Final = sql.SQL(_UNFOUNDED).format(
    which=sql.SQL("""hold.id = ANY(ARRAY(
        SELECT id FROM hold WHERE id = ANY(%(positions)b::bigint[])
        UNION
        SELECT id FROM hold WHERE settled_by = ANY(%(positions)b::bigint[])
    ))""")
)

# Holds whose time was over before an instant, and that nobody gave back. Not those whose expiry is accepted and waits,
# in line or held with its account; and after one that failed, a person has some time.
SELECT_OVERDUE: Final[LiteralString] = """
    SELECT count(*), min(expires_at), (array_agg(id ORDER BY expires_at, id))[1]
    FROM (
        SELECT id, expires_at FROM hold
        WHERE state = 'held' AND expires_at IS NOT NULL AND expires_at < %(before)b
            AND (failed_at IS NULL OR failed_at < %(failed_before)b)
            AND NOT EXISTS (
                SELECT FROM command AS expiry
                WHERE expiry.client_id = 0
                    AND expiry.idempotency_key = format('hold:%%s:%%s', hold.id, hold.attempts + 1)
                    AND NOT EXISTS (SELECT FROM outcome WHERE outcome.position = expiry.position)
            )
        LIMIT %(limit)b
    ) AS overdue
"""


@dataclass(frozen=True, slots=True)
class WrongHeld:
    """An account whose row says that another amount is on hold than its holds do."""

    id: int
    name: str
    currency: str
    held_minor: int
    reserved_minor: int


@dataclass(frozen=True, slots=True)
class Unfounded:
    """A hold that was placed by no command, or ended by one that did not end it, or not tried as often as it says."""

    id: int
    account: str
    state: str
    settled_by: int | None
    type: str | None
    status: str | None
    decided_at: datetime | None
    attempts: int


def find_wrong_held(conn: Connection[Any], ids: Sequence[int]) -> list[WrongHeld]:
    """Those of the accounts whose row and holds do not agree."""
    return [
        WrongHeld(id_, name, currency, held_minor, int(reserved_minor))
        for id_, name, currency, held_minor, reserved_minor in conn.execute(FIND_WRONG_HELD, [bigints(ids)])
    ]


def find_unfounded(conn: Connection[Any], ids: Sequence[int]) -> list[Unfounded]:
    """The holds of these accounts that no command accounts for."""
    return [Unfounded(*row) for row in conn.execute(FIND_UNFOUNDED, {"ids": bigints(ids)})]


def find_new_unfounded(conn: Connection[Any], positions: Sequence[int]) -> list[Unfounded]:
    """The same of the holds that commands at these positions placed or ended."""
    return [Unfounded(*row) for row in conn.execute(FIND_NEW_UNFOUNDED, {"positions": bigints(positions)})]


def find_overdue(
    conn: Connection[Any], *, before: datetime, failed_before: datetime, limit: int
) -> tuple[int, datetime | None, int | None]:
    """How many open holds, ``limit`` at most, were over ``before`` an instant; since when the oldest is, and its id."""
    wanted = {"before": before, "failed_before": failed_before, "limit": limit}
    row = conn.execute(SELECT_OVERDUE, wanted).fetchone()
    return (row[0], row[1], row[2]) if row else (0, None, None)
