"""The outbox of alerts: who claims a notice has it for a while, and whoever finds it afterwards may begin again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from psycopg import Connection

from processor.store.alerts import AlertRow

COUNT_DUE: Final[LiteralString] = """
    SELECT count(*) FROM alert_notice WHERE state = 'waiting' AND due_at <= %b
"""

# The oldest that nobody is busy with. To be found again if whoever took it dies: due_at moves, the state stays.
CLAIM: Final[LiteralString] = """
    WITH taken AS (
        UPDATE alert_notice SET attempts = attempts + 1, due_at = %(until)b
        WHERE change_id = (
            SELECT change_id FROM alert_notice WHERE state = 'waiting' AND due_at <= %(now)b
            ORDER BY due_at, change_id LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING change_id, attempts, delivered_to
    )
    SELECT
        taken.change_id, taken.attempts, taken.delivered_to, alert_change.kind, alert_change.changed_at,
        alert_change.changed_by, alert_change.reason,
        alert.id, proof, subject, account, position, severity, state, expected, found, since, advice, first_seen_at,
        last_seen_at, seen, acknowledged_at, acknowledged_by, acknowledge_reason, resolved_at, resolved_by,
        resolve_reason
    FROM taken
    JOIN alert_change ON alert_change.id = taken.change_id
    JOIN alert ON alert.id = alert_change.alert_id
"""

# Noted at once, one by one: what comes to nothing afterwards is not sent to this one again.
NOTE_DELIVERED: Final[LiteralString] = """
    UPDATE alert_notice SET delivered_to = array_append(delivered_to, %(target)b), due_at = %(until)b
    WHERE change_id = %(change_id)b
"""

PUT_OFF: Final[LiteralString] = """
    UPDATE alert_notice SET due_at = %(until)b, error = %(error)b WHERE change_id = %(change_id)b AND state = 'waiting'
"""

SETTLE: Final[LiteralString] = """
    UPDATE alert_notice SET state = %(state)b, settled_at = %(now)b, error = %(error)b
    WHERE change_id = %(change_id)b AND state = 'waiting'
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """A change of an alert that somebody is to be told of, and who knows of it already."""

    change_id: UUID
    attempts: int
    delivered_to: Collection[str]
    kind: str
    changed_at: datetime
    changed_by: str | None
    reason: str | None
    alert: AlertRow


def count_due(conn: Connection, *, now: datetime) -> int:
    """How many notices wait for somebody to deliver them."""
    row = conn.execute(COUNT_DUE, [now]).fetchone()
    return int(row[0]) if row else 0


def claim(conn: Connection, *, now: datetime, until: datetime) -> Notice | None:
    """Take the oldest notice that is due; nobody else does before ``until``."""
    row = conn.execute(CLAIM, {"now": now, "until": until}).fetchone()
    if row is None:
        return None
    change_id, attempts, delivered_to, kind, changed_at, changed_by, reason, *alert = row
    return Notice(change_id, attempts, delivered_to, kind, changed_at, changed_by, reason, AlertRow(*alert))


def note_delivered(conn: Connection, notice: Notice, target: str, *, until: datetime) -> None:
    """One of those who are to be told knows of it."""
    conn.execute(NOTE_DELIVERED, {"target": target, "until": until, "change_id": notice.change_id})


def put_off(conn: Connection, notice: Notice, *, until: datetime, error: str) -> None:
    """It did not work out: try again later."""
    conn.execute(PUT_OFF, {"until": until, "error": error, "change_id": notice.change_id})


def settle(conn: Connection, notice: Notice, *, state: str, error: str | None, now: datetime) -> None:
    """It is ``delivered`` to everybody, or ``undelivered`` for good."""
    conn.execute(SETTLE, {"state": state, "error": error, "now": now, "change_id": notice.change_id})
