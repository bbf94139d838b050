"""Holds whose time is over: read from rows, whatever a timer did or did not do."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString
from uuid import UUID

from psycopg import Connection

# The oldest first. An attempt that was accepted is left alone, whether it is decided or not: its key exists. After one
# that failed, a person has a day to look at it.
SELECT_EXPIRED: Final[LiteralString] = """
    SELECT hold.id, hold.expires_at, hold.attempts + 1, reserving.id, reserving.account, hold.currency
    FROM hold JOIN command AS reserving ON reserving.position = hold.id
    WHERE hold.state = 'held' AND hold.expires_at IS NOT NULL AND hold.expires_at <= %(now)b
        AND (hold.expires_at, hold.id) > (%(after_at)b, %(after)b)
        AND (hold.failed_at IS NULL OR hold.failed_at <= %(failed_before)b)
        AND NOT EXISTS (
            SELECT FROM command AS expiry
            WHERE expiry.client_id = 0 AND expiry.idempotency_key = format('hold:%%s:%%s', hold.id, hold.attempts + 1)
        )
    ORDER BY hold.expires_at, hold.id LIMIT %(limit)b
"""


@dataclass(frozen=True, slots=True)
class Expired:
    """A hold that is to be given back, for the so-manieth time."""

    position: int
    expires_at: datetime
    attempt: int
    id: UUID
    account: str
    currency: str

    @property
    def key(self) -> str:
        """The idempotency key of this attempt: two schedulers make one command of it."""
        return f"hold:{self.position}:{self.attempt}"


def find_expired(
    conn: Connection, *, now: datetime, failed_before: datetime, after: Expired | None, limit: int
) -> list[Expired]:
    """A page of the holds whose time is over, behind ``after``, the oldest first."""
    rows = conn.execute(
        SELECT_EXPIRED,
        {
            "now": now,
            "failed_before": failed_before,
            "after_at": after.expires_at if after else datetime.min.replace(tzinfo=UTC),
            "after": after.position if after else 0,
            "limit": limit,
        },
    )
    return [Expired(*row) for row in rows]
