"""The snapshot that a run reads in, and what it is to look at, page by page."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store.arrays import bigints

# One snapshot for all that a run reads.
BEGIN: Final[LiteralString] = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# Over the whole of history it takes longer than any other transaction may. It holds no lock that anybody waits for.
TAKE_TIME: Final[LiteralString] = "SET LOCAL transaction_timeout = 0"

# The other cores are the workers'.
TAKE_ONE_CORE: Final[LiteralString] = "SET LOCAL max_parallel_workers_per_gather = 0"

# The first statement that reads: from here on, the snapshot is fixed.
SELECT_WATERMARK: Final[LiteralString] = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""

# In the order of the log, which has an index (the table's own column: the one that is shown would be sorted). Where a
# slice ends within a transaction, the next one goes on there.
SELECT_SLICE: Final[LiteralString] = """
    SELECT position, xid::text::bigint FROM outcome
    WHERE (xid, position) > (%(xid)s::text::xid8, %(position)s) AND xid < %(below_xid)s::text::xid8
    ORDER BY outcome.xid, outcome.position LIMIT %(limit)s
"""

SELECT_OUTCOMES: Final[LiteralString] = "SELECT position FROM outcome WHERE position > %s ORDER BY position LIMIT %s"

SELECT_COMMANDS: Final[LiteralString] = "SELECT position FROM command WHERE position > %s ORDER BY position LIMIT %s"

SELECT_ADVANCES: Final[LiteralString] = "SELECT id FROM advance WHERE id > %s ORDER BY id LIMIT %s"

# The version says how many transfers the account has, so how much work it is.
SELECT_ACCOUNTS: Final[LiteralString] = "SELECT id, version FROM account WHERE id > %s ORDER BY id LIMIT %s"

SELECT_ACCOUNT_IDS: Final[LiteralString] = (
    "SELECT id, version FROM account WHERE name = ANY(%s) AND kind = 'customer' ORDER BY id"
)

SELECT_VERSIONS: Final[LiteralString] = "SELECT id, version FROM account WHERE id = ANY(%b::bigint[]) ORDER BY id"


def take_snapshot(conn: Connection[Any]) -> tuple[int, int]:
    """
    Fix the snapshot of the transaction, which reads only. Returns its xmin and xmax.

    No transaction below the first can add a row any more, and none from the second on is seen.
    """
    conn.execute(BEGIN)
    conn.execute(TAKE_TIME)
    conn.execute(TAKE_ONE_CORE)
    row = conn.execute(SELECT_WATERMARK).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def slices(conn: Connection[Any], *, since_xid: int, below_xid: int, limit: int) -> Iterator[list[int]]:
    """The positions of the outcomes of transactions from ``since_xid`` on and below ``below_xid``, in that order."""
    xid, position = since_xid, 0
    while True:
        rows = conn.execute(
            SELECT_SLICE, {"xid": str(xid), "position": position, "below_xid": str(below_xid), "limit": limit}
        ).fetchall()
        if not rows:
            return
        yield [row[0] for row in rows]
        position, xid = rows[-1]


def outcome_pages(conn: Connection[Any], limit: int) -> Iterator[list[int]]:
    """The positions of all outcomes."""
    return _pages(conn, SELECT_OUTCOMES, 0, limit)


def command_pages(conn: Connection[Any], limit: int, *, after: int = 0) -> Iterator[list[int]]:
    """The positions of all commands ``after`` one."""
    return _pages(conn, SELECT_COMMANDS, after, limit)


def advance_pages(conn: Connection[Any], limit: int) -> Iterator[list[int]]:
    """The ids of all advances."""
    return _pages(conn, SELECT_ADVANCES, 0, limit)


def accounts(conn: Connection[Any], limit: int) -> Iterator[tuple[int, int]]:
    """The id and the version of every customer account."""
    after = 0
    while rows := conn.execute(SELECT_ACCOUNTS, [after, limit]).fetchall():
        yield from rows
        after = rows[-1][0]


def accounts_named(conn: Connection[Any], names: Sequence[str]) -> list[tuple[int, int]]:
    """The id and the version of those customer accounts."""
    return conn.execute(SELECT_ACCOUNT_IDS, [list(names)]).fetchall() if names else []


def accounts_of(conn: Connection[Any], ids: Sequence[int]) -> list[tuple[int, int]]:
    """The id and the version of these accounts."""
    return conn.execute(SELECT_VERSIONS, [bigints(ids)]).fetchall() if ids else []


def _pages(conn: Connection[Any], statement: LiteralString, after: int, limit: int) -> Iterator[list[int]]:
    while rows := conn.execute(statement, [after, limit]).fetchall():
        yield [row[0] for row in rows]
        after = rows[-1][0]
