"""Balances of system accounts: a checkpoint, and the tail of transfers after it. Nobody keeps totals on their rows."""

from datetime import datetime
from typing import Final, LiteralString

from psycopg import AsyncConnection, Connection

from processor.errors import BooksError
from processor.store import locks

# The log is read below the watermark: a transaction that is still under way may have drawn a low position, but no
# transaction below the oldest one under way can add a row any more.
# A slice of the log at a time: the step has the same size however long nobody made one.
ROLL_FORWARD: Final[LiteralString] = """
    WITH reached AS (
        SELECT account.id, coalesce(checkpoint.up_to_xid, '0'::xid8) AS xid,
            coalesce(checkpoint.credits_minor, 0) AS credits_minor, coalesce(checkpoint.debits_minor, 0) AS debits_minor
        FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
        WHERE account.kind <> 'customer'
    ), watermark AS (
        SELECT least(
            pg_snapshot_xmin(pg_current_snapshot()),
            (
                SELECT outcome.xid FROM outcome WHERE outcome.xid > (SELECT min(reached.xid) FROM reached)
                ORDER BY outcome.xid, outcome.position OFFSET %b LIMIT 1
            )
        ) AS xid
    ), tail AS (
        SELECT outcome.xid, transfer.debit_account_id, transfer.credit_account_id, transfer.amount_minor
        FROM outcome JOIN transfer USING (position)
        WHERE outcome.xid >= (SELECT min(xid) FROM reached) AND outcome.xid < (SELECT xid FROM watermark)
    ), moved AS (
        SELECT reached.id,
            coalesce(sum(tail.amount_minor) FILTER (WHERE tail.credit_account_id = reached.id), 0) AS credits_minor,
            coalesce(sum(tail.amount_minor) FILTER (WHERE tail.debit_account_id = reached.id), 0) AS debits_minor
        FROM reached JOIN tail
            ON tail.xid >= reached.xid AND reached.id IN (tail.debit_account_id, tail.credit_account_id)
        GROUP BY reached.id
    )
    INSERT INTO system_checkpoint (account_id, up_to_xid, credits_minor, debits_minor, made_at)
    SELECT reached.id, watermark.xid, reached.credits_minor + coalesce(moved.credits_minor, 0),
        reached.debits_minor + coalesce(moved.debits_minor, 0), %b
    FROM reached CROSS JOIN watermark LEFT JOIN moved USING (id)
    WHERE reached.xid < watermark.xid
    ON CONFLICT (account_id) DO UPDATE SET up_to_xid = excluded.up_to_xid, credits_minor = excluded.credits_minor,
        debits_minor = excluded.debits_minor, made_at = excluded.made_at
    RETURNING up_to_xid < pg_snapshot_xmin(pg_current_snapshot())
"""

# Transaction ids belong to a cluster: a dump that is restored in another brings ids that lie in the future there.
SELECT_FOREIGN: Final[LiteralString] = """
    SELECT greatest(
        (SELECT xid FROM outcome ORDER BY xid DESC, position DESC LIMIT 1),
        (SELECT max(up_to_xid) FROM system_checkpoint)
    ) > pg_snapshot_xmax(pg_current_snapshot())
"""

_SLICE: Final = 100_000
"""Outcomes of one step."""

SELECT_TOTALS: Final[LiteralString] = """
    WITH wanted AS (
        SELECT account.id, coalesce(checkpoint.up_to_xid, '0'::xid8) AS xid,
            coalesce(checkpoint.credits_minor, 0) AS credits_minor, coalesce(checkpoint.debits_minor, 0) AS debits_minor
        FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
        WHERE account.name = %b AND account.kind <> 'customer'
    ), tail AS (
        SELECT wanted.id,
            coalesce(sum(amount_minor) FILTER (WHERE credit_account_id = wanted.id), 0) AS credits_minor,
            coalesce(sum(amount_minor) FILTER (WHERE debit_account_id = wanted.id), 0) AS debits_minor
        FROM wanted JOIN outcome ON outcome.xid >= wanted.xid
        JOIN transfer ON transfer.position = outcome.position
            AND wanted.id IN (transfer.debit_account_id, transfer.credit_account_id)
        GROUP BY wanted.id
    )
    SELECT wanted.credits_minor + coalesce(tail.credits_minor, 0),
        wanted.debits_minor + coalesce(tail.debits_minor, 0)
    FROM wanted LEFT JOIN tail USING (id)
"""


def roll_forward(conn: Connection, *, now: datetime, outcomes: int = _SLICE) -> bool | None:
    """
    Bring every system account's checkpoint forward by so many ``outcomes`` at most, and say whether there are more.

    ``None`` if somebody else is at it. Raises ``BooksError`` if the log comes from another cluster.
    """
    with conn.transaction():
        if not locks.try_lock(conn, locks.ROLL_FORWARD):
            return None
        foreign = conn.execute(SELECT_FOREIGN).fetchone()
        if foreign and foreign[0]:
            raise BooksError("the log has transactions of another cluster: see 'After a restore' in docs/operations.md")
        moved = conn.execute(ROLL_FORWARD, [outcomes, now]).fetchall()
    return any(more for (more,) in moved)


async def totals(conn: AsyncConnection, name: str) -> tuple[int, int] | None:
    """Credits and debits of a system account in minor units, as committed now; ``None`` if there is no such account."""
    cursor = await conn.execute(SELECT_TOTALS, [name])
    row = await cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else None
