"""Sealed blocks, and the records that they seal: each a settled command with all that it led to."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from processor.domain.blocks import Header
from processor.domain.merkle import SIZE
from processor.errors import BooksError
from processor.store import locks
from processor.store.arrays import bigints

# The log is read below the watermark, as checkpoints are: no transaction below it can add a row any more. The columns
# to sort by are named with their table: xid alone would be the text that is selected, and '10' comes before '9'.
SELECT_NEXT: Final[LiteralString] = """
    SELECT outcome.position, outcome.xid::text AS reached FROM outcome
    WHERE (outcome.xid, outcome.position) > (%b::text::xid8, %b)
        AND outcome.xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY outcome.xid, outcome.position LIMIT %b
"""

# Transaction ids belong to a cluster: where a dump is restored, those of the old one may lie in the future.
SELECT_FOREIGN: Final[LiteralString] = """
    SELECT greatest(
        (SELECT xid FROM outcome ORDER BY xid DESC, position DESC LIMIT 1),
        (SELECT last_xid FROM seal ORDER BY number DESC LIMIT 1)
    ) > pg_snapshot_xmax(pg_current_snapshot())
"""

# The dead letter's text is left out: an error may repeat anything. Schedules are, too: they change, and every change is
# an outcome of its own. A date is asked for as JSON has it, whatever the session's style.
SELECT_COMMANDS: Final[LiteralString] = """
    SELECT
        command.position, command.id::text, command.client_id, client.name, command.idempotency_key, command.type,
        command.account, command.from_account, command.to_account, command.amount_minor, command.currency,
        command.overdraft_limit_minor, command.overdraft_fee_minor, command.instalments,
        to_jsonb(command.first_due_on) #>> '{}', command.advance_id::text, command.instalment, command.reason,
        command.reference, command.metadata::text, command.accepted_at,
        command.hold_id::text, command.expires_at, command.reverses::text, command.force::int, command.daily_count,
        command.daily_amount_minor, command.link::text, command.link_size,
        outcome.status, outcome.reason, outcome.decided_at
    FROM command JOIN client ON client.id = command.client_id JOIN outcome ON outcome.position = command.position
    WHERE command.position = ANY(%b::bigint[])
"""
COMMAND: Final = (
    *("position", "id", "client_id", "client", "idempotency_key", "type", "account", "from_account", "to_account"),
    *("amount_minor", "currency", "overdraft_limit_minor", "overdraft_fee_minor", "instalments", "first_due_on"),
    *("advance_id", "instalment", "reason", "reference", "metadata", "accepted_at_us"),
    *("hold_id", "expires_at_us", "reverses", "force", "daily_count", "daily_amount_minor", "link", "link_size"),
)
OUTCOME: Final = ("status", "reason", "decided_at_us")

SELECT_TRANSFERS: Final[LiteralString] = """
    SELECT
        transfer.position, transfer.leg, transfer.kind, transfer.debit_account_id, debit.name,
        transfer.credit_account_id, credit.name, transfer.amount_minor, transfer.currency,
        transfer.debit_version, transfer.debit_balance_minor, transfer.credit_version, transfer.credit_balance_minor
    FROM transfer
    LEFT JOIN account AS debit ON debit.id = transfer.debit_account_id
    LEFT JOIN account AS credit ON credit.id = transfer.credit_account_id
    WHERE transfer.position = ANY(%b::bigint[])
    ORDER BY transfer.position, transfer.leg
"""
TRANSFER: Final = (
    *("leg", "kind", "debit_account_id", "debit_account", "credit_account_id", "credit_account", "amount_minor"),
    *("currency", "debit_version", "debit_balance_minor", "credit_version", "credit_balance_minor"),
)

SELECT_HISTORY: Final[LiteralString] = "SELECT history::text FROM seal_genesis"

_HEADER: Final[LiteralString] = """
    SELECT
        (SELECT history::text FROM seal_genesis), number, first_leaf, leaves, root, previous, sealed_at, version,
        hash, lowest_position, highest_position, last_xid::text, last_position
    FROM seal
"""
SELECT_NEWEST: Final[LiteralString] = _HEADER + "ORDER BY number DESC LIMIT 1"
SELECT_HEADERS: Final[LiteralString] = _HEADER + "WHERE number BETWEEN %b AND %b ORDER BY number LIMIT %b"

SELECT_HASHES: Final[LiteralString] = "SELECT number, hash FROM seal WHERE number = ANY(%b::bigint[])"

# Blocks overlap in positions only where transactions did: this leaves one or two.
SELECT_BLOCK_OF: Final[LiteralString] = """
    SELECT number, array_position(positions, %(position)b) - 1 FROM seal
    WHERE %(position)b BETWEEN lowest_position AND highest_position AND %(position)b = ANY(positions)
    ORDER BY number LIMIT 1
"""

SELECT_LEAVES: Final[LiteralString] = """
    SELECT number, positions, leaf_hashes FROM seal WHERE number BETWEEN %b AND %b ORDER BY number
"""

INSERT_BLOCK: Final[LiteralString] = """
    INSERT INTO seal (
        number, version, first_leaf, leaves, root, previous, sealed_at, hash,
        positions, leaf_hashes, lowest_position, highest_position, last_xid, last_position
    )
    VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b::bigint[], %b, %b, %b, %b::text::xid8, %b)
"""

SELECT_BY_ID: Final[LiteralString] = """
    SELECT command.position, outcome.position IS NOT NULL FROM command LEFT JOIN outcome USING (position) WHERE id = %b
"""

# Windows of positions, each with so many outcomes: together they cover all positions there are.
SELECT_WINDOW_END: Final[LiteralString] = """
    SELECT position FROM outcome WHERE position >= %b ORDER BY position OFFSET %b LIMIT 1
"""

# Each outcome up to where the newest block ends is a leaf, and a leaf of one block only.
SELECT_UNCOVERED: Final[LiteralString] = """
    WITH newest AS (
        SELECT last_xid, last_position FROM seal WHERE number = %(newest)b
    ), listed AS (
        SELECT leaf.position, seal.number FROM seal CROSS JOIN unnest(seal.positions) AS leaf (position)
        WHERE seal.number <= %(newest)b AND seal.highest_position >= %(low)b AND seal.lowest_position < %(high)b
            AND leaf.position >= %(low)b AND leaf.position < %(high)b
    )
    SELECT position, array_agg(number ORDER BY number) FROM listed GROUP BY position HAVING count(*) > 1
    UNION ALL
    SELECT outcome.position, '{}' FROM outcome CROSS JOIN newest
    WHERE outcome.position >= %(low)b AND outcome.position < %(high)b
        AND (outcome.xid, outcome.position) <= (newest.last_xid, newest.last_position)
        AND NOT EXISTS (SELECT FROM listed WHERE listed.position = outcome.position)
    ORDER BY position LIMIT %(limit)b
"""

# Counted up to a limit: how many more there are changes nothing.
COUNT_UNSEALED: Final[LiteralString] = """
    SELECT count(*) FROM (
        SELECT FROM outcome WHERE (xid, position) > (%b::text::xid8, %b) ORDER BY xid, position LIMIT %b
    ) AS unsealed
"""

_NO_LIMIT: Final = 2**63 - 1

FIRST_POSITION: Final = -(2**63)
"""Before every position that there can be, also one that nobody but the owner can give."""

_EPOCH_US: Final = 946_684_800_000_000
"""From 1970 to 2000, where Postgres begins to count."""


class _MicrosecondsLoader(Loader):
    """A timestamptz as microseconds since 1970: whatever stands there can be read, also what is no date in Python."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int(struct.unpack(">q", data)[0]) + _EPOCH_US


@dataclass(frozen=True, slots=True)
class Reached:
    """How far in the log: the last outcome that is sealed. ``xid`` is spelt as Postgres spells it."""

    xid: str = "0"
    position: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A block's row, its leaves apart. ``hash`` is what stands there, whether it is that of the header or not."""

    header: Header
    hash: bytes
    lowest_position: int
    highest_position: int
    reached: Reached


@dataclass(frozen=True, slots=True)
class Leaves:
    """What a block's row says of its leaves, in their order."""

    positions: Sequence[int]
    hashes: Sequence[bytes]


def try_seal(conn: Connection) -> bool:
    """Be the one sealer to the end of the transaction. Raises ``BooksError`` if the log comes from another cluster."""
    if not locks.try_lock(conn, locks.SEAL):
        return False
    foreign = conn.execute(SELECT_FOREIGN).fetchone()
    if foreign and foreign[0]:
        raise BooksError(
            "the log has transactions of another cluster: see 'After a restore' in docs/tamper-evidence.md"
        )
    return True


def history(conn: Connection) -> str:
    """The name of this history, drawn when the database was made."""
    row = conn.execute(SELECT_HISTORY).fetchone()
    if row is None:
        raise BooksError("seal_genesis is empty: somebody took the name of this history away")
    return str(row[0])


def newest(conn: Connection) -> Stored | None:
    """The last block, if there is one."""
    row = conn.execute(SELECT_NEWEST).fetchone()
    return _stored(row) if row else None


def headers(conn: Connection, first: int, last: int = _NO_LIMIT, *, page: int = 1_000) -> Iterator[Stored]:
    """The blocks of these numbers that there are, in order, read a page at a time."""
    while first <= last:
        rows = conn.execute(SELECT_HEADERS, [first, last, page]).fetchall()
        yield from map(_stored, rows)
        if len(rows) < page:
            return
        first = rows[-1][1] + 1


def hashes(conn: Connection, numbers: Sequence[int]) -> dict[int, bytes]:
    """The stored hashes of those of these blocks that there are."""
    return dict(conn.execute(SELECT_HASHES, [bigints(numbers)], binary=True).fetchall())


def leaves(conn: Connection, first: int, last: int) -> dict[int, Leaves]:
    """What these blocks say of their leaves."""
    rows = conn.execute(SELECT_LEAVES, [first, last], binary=True)
    return {
        number: Leaves(positions, [joined[at : at + SIZE] for at in range(0, len(joined), SIZE)])
        for number, positions, joined in rows
    }


def find_next(conn: Connection, after: Reached, *, limit: int) -> tuple[list[int], Reached]:
    """The positions of the next outcomes in the log that no other can precede any more, and how far they reach."""
    rows = conn.execute(SELECT_NEXT, [after.xid, after.position, limit]).fetchall()
    return [position for position, _ in rows], Reached(rows[-1][1], rows[-1][0]) if rows else after


def records(conn: Connection, positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What is there now of these settled commands. One that is not settled, or not whole, is left out."""
    wanted = bigints(sorted({position for position in positions if position is not None}))
    found: dict[int, dict[str, Any]] = {}
    with conn.cursor(binary=True) as cursor:
        cursor.adapters.register_loader("timestamptz", _MicrosecondsLoader)
        for row in cursor.execute(SELECT_COMMANDS, [wanted]):
            found[row[0]] = {
                "command": _filled(COMMAND, row[:-3]),
                "outcome": _filled(OUTCOME, row[-3:]),
                "transfers": [],
            }
        for position, *transfer in cursor.execute(SELECT_TRANSFERS, [wanted]):
            if position in found:
                found[position]["transfers"].append(_filled(TRANSFER, transfer))
    return found


def insert(conn: Connection, block: Stored, sealed: Leaves) -> None:
    """Add the block. Raises ``psycopg.errors.UniqueViolation`` if somebody else added one of its number."""
    header = block.header
    conn.execute(
        INSERT_BLOCK,
        [
            *(header.number, header.version, header.first_leaf, header.leaves, header.root, header.previous),
            *(header.sealed_at, block.hash, bigints(sealed.positions), b"".join(sealed.hashes)),
            *(block.lowest_position, block.highest_position, block.reached.xid, block.reached.position),
        ],
    )


def find_command(conn: Connection, command_id: UUID) -> tuple[int, bool] | None:
    """The position of the command, and whether it has its outcome."""
    row = conn.execute(SELECT_BY_ID, [command_id]).fetchone()
    return (row[0], row[1]) if row else None


def block_of(conn: Connection, position: int) -> tuple[int, int] | None:
    """The block that seals the command, and at which of its leaves."""
    row = conn.execute(SELECT_BLOCK_OF, {"position": position}).fetchone()
    return (row[0], row[1]) if row else None


def uncovered(
    conn: Connection, *, newest: int, first_position: int, window: int = 50_000, limit: int = 100
) -> Iterator[tuple[int, Sequence[int]]]:
    """
    Outcomes that are not a leaf of just one block, with the blocks that have them.

    Only of those up to where the block ``newest`` ends, and from ``first_position`` on. In each window of positions,
    ``limit`` at most.
    """
    low = first_position
    while low < _NO_LIMIT:
        high = _window_end(conn, low, window)
        yield from _uncovered_between(conn, newest, low, high, limit)
        low = high


def uncovered_from(
    conn: Connection, position: int, *, newest: int, window: int, limit: int
) -> list[tuple[int, Sequence[int]]]:
    """The same of the next ``window`` outcomes from a position on only."""
    return _uncovered_between(conn, newest, position, _window_end(conn, position, window), limit)


def uncovered_at(conn: Connection, position: int, *, newest: int) -> Sequence[int] | None:
    """The same of one outcome: the blocks that have it, or ``None`` if it is a leaf of just one, or not there."""
    found = _uncovered_between(conn, newest, position, position + 1, 1)
    return found[0][1] if found else None


def count_unsealed(conn: Connection, after: Reached, *, limit: int) -> int:
    """How many outcomes no block seals yet, counted up to ``limit``."""
    row = conn.execute(COUNT_UNSEALED, [after.xid, after.position, limit]).fetchone()
    return int(row[0]) if row else 0


def _window_end(conn: Connection, low: int, window: int) -> int:
    row = conn.execute(SELECT_WINDOW_END, [low, window]).fetchone()
    return int(row[0]) if row else _NO_LIMIT


def _uncovered_between(
    conn: Connection, newest: int, low: int, high: int, limit: int
) -> list[tuple[int, Sequence[int]]]:
    bounds = {"newest": newest, "low": low, "high": high, "limit": limit}
    return conn.execute(SELECT_UNCOVERED, bounds).fetchall()


def _filled(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _stored(row: tuple[Any, ...]) -> Stored:
    named, number, first_leaf, count, root, previous, sealed_at, version, hash_, lowest, highest, xid, position = row
    header = Header(named, number, first_leaf, count, root, previous, sealed_at, version)
    return Stored(header, hash_, lowest, highest, Reached(xid, position))
