"""Finds pending commands whose message seems lost."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, LiteralString

from psycopg import Connection

from processor.store.books import InLine

# With the queue empty, every old pending command is stranded. Otherwise only those that the queue has passed: it is
# first in, first out, so a command below one that was decided should have been decided as well.
SELECT_STRANDED: Final[LiteralString] = """
    SELECT position, array_agg(account_key), coalesce(max(link_size), 1)
    FROM pending
    WHERE position IN (
        SELECT pending.position
        FROM pending JOIN command USING (position)
        -- An intake whose clock is ahead dates its commands in the future: those are looked after as well.
        WHERE (command.accepted_at < %(before)b OR command.accepted_at > %(now)b)
        AND (%(queue_is_empty)b OR pending.position < (SELECT max(position) FROM outcome))
        AND pending.position <> ALL(%(except_for)b::bigint[])
        ORDER BY pending.position LIMIT %(limit)b
    )
    GROUP BY position ORDER BY position
"""

SELECT_OLDEST: Final[LiteralString] = """
    SELECT accepted_at FROM command WHERE position = (SELECT min(position) FROM pending)
"""


def find_stranded(
    conn: Connection, *, now: datetime, before: datetime, queue_is_empty: bool, except_for: Collection[int], limit: int
) -> list[InLine]:
    """Pending commands accepted ``before`` an instant that no message seems to name, the oldest ``limit``, in order."""
    rows = conn.execute(
        SELECT_STRANDED,
        {
            "now": now,
            "before": before,
            "queue_is_empty": queue_is_empty,
            "except_for": list(except_for),
            "limit": limit,
        },
    )
    return [InLine(position, frozenset(keys), commands) for position, keys, commands in rows]


def oldest_pending(conn: Connection) -> datetime | None:
    """When the oldest command that has no outcome was accepted; ``None`` when nothing is pending."""
    row = conn.execute(SELECT_OLDEST).fetchone()
    return row[0] if row else None
