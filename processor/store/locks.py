"""Advisory locks, of transactions only: a session's would leak through a pool."""

from collections.abc import Collection
from typing import Final, LiteralString

from psycopg import AsyncConnection, Connection, Cursor

from processor.store.arrays import bigints

MAX_KEYS: Final = 400
"""Locks of one transaction at most. Postgres's lock table is shared by all sessions, and fills for all at once."""

_SPACE: Final = 0x464C4F52
INTAKE: Final = (_SPACE, 2)
ROLL_FORWARD: Final = (_SPACE, 3)
LEADER: Final = (_SPACE, 4)
ALERTS: Final = (_SPACE, 5)
SEAL: Final = (_SPACE, 6)
RECONCILIATION: Final = (_SPACE, 9)
DEAD_LETTERS: Final = (_SPACE, 11)
"""Locks that are not an account's live in the two-integer space, which never meets the single-integer one."""

# The keys come sorted, and a function scan keeps their order: all workers wait in line, not in a ring. The clock is
# read after the last lock was taken, and tells how long that took.
LOCK_ACCOUNTS: Final[LiteralString] = """
    SELECT extract(epoch FROM clock_timestamp() - statement_timestamp())::double precision
    FROM (SELECT count(pg_advisory_xact_lock(key)) AS locks FROM unnest(%b::bigint[]) AS key OFFSET 0) AS taken
    WHERE locks >= 0
"""

LOCK_ONE: Final[LiteralString] = "SELECT pg_advisory_xact_lock(%s, %s)"

TRY_LOCK_ONE: Final[LiteralString] = "SELECT pg_try_advisory_xact_lock(%s, %s)"

TRY_LEAD: Final[LiteralString] = "SELECT pg_try_advisory_lock(%s, %s)"


def lock_accounts(conn: Connection, keys: Collection[int]) -> Cursor[tuple[float]]:
    """
    Hold the accounts to the end of the transaction; the cursor has how many seconds were waited for them.

    Read them in a later statement, never in this one: a statement that waited for a lock keeps its old snapshot.
    """
    ordered = sorted(set(keys))
    if len(ordered) > MAX_KEYS:
        raise ValueError(f"at most {MAX_KEYS} accounts are locked at once, not {len(ordered)}")
    return conn.execute(LOCK_ACCOUNTS, [bigints(ordered)])


async def lock_intake(conn: AsyncConnection) -> None:
    """Let no other intake commit between this transaction's positions: positions become visible in their order."""
    await conn.execute(LOCK_ONE, INTAKE)


def lock_one(conn: Connection, lock: tuple[int, int]) -> None:
    """Take the lock to the end of the transaction, when it is free."""
    conn.execute(LOCK_ONE, lock)


def try_lock(conn: Connection, lock: tuple[int, int]) -> bool:
    """Take the lock to the end of the transaction, or say that somebody else has it."""
    row = conn.execute(TRY_LOCK_ONE, lock).fetchone()
    return bool(row and row[0])


def try_lead(conn: Connection) -> bool:
    """Become the one scheduler that works, for as long as this connection lives: one of its own, never pooled."""
    row = conn.execute(TRY_LEAD, LEADER).fetchone()
    return bool(row and row[0])
