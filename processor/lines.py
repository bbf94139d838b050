"""
Whose turn it is: each account has a line of pending commands; a command stands in those of all its accounts.

Linked commands have one place, that of the first, in the lines of all their accounts: no batch is cut through them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from psycopg import Connection

from processor.store import books as books_store
from processor.store import locks
from processor.store.books import InLine, PendingRow

MAX_COMMANDS: Final = 200
"""Commands of one transaction at most: above, Postgres's plans turn to sequential scans. More are never linked."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The pending commands of the accounts under ``keys`` up to a position: what one transaction looks at."""

    keys: Collection[int]
    up_to: int

    def without(self, keys: Collection[int]) -> "Batch":
        """The same batch on fewer accounts."""
        return Batch(set(self.keys).difference(keys), self.up_to)


def in_turn(waiting: Iterable[PendingRow], keys: Collection[int]) -> list[PendingRow]:
    """
    Those whose turn it is, of the commands in order of position, when the accounts under ``keys`` are locked.

    A command that touches an account that is not locked is left, and so are the later ones of its accounts.
    """
    locked, blocked = set(keys), set[int]()
    turn = []
    for row in waiting:
        touched = row.account_keys()
        if touched <= locked and touched.isdisjoint(blocked):
            turn.append(row)
        else:
            blocked |= touched
    return turn


def widen(conn: Connection, positions: Collection[int], keys: Collection[int]) -> Batch:
    """
    The oldest commands that must be decided before the named ones can be, as many as one transaction may hold.

    ``keys`` are those of the named ones' accounts. Follows each line to its head, and the lines of those found there.
    The result is closed: whatever stands before one of its commands, in any line, belongs to it as well.
    """
    found: dict[int, InLine] = {}
    explored: set[int] = set()
    wanted = set(keys)
    while wanted:
        lines = books_store.read_lines(conn, wanted, up_to=max(positions), limit=MAX_COMMANDS)
        explored |= wanted
        found |= {each.position: each for each in lines}
        oldest, chosen = _oldest(found)
        wanted = chosen - explored
    return Batch(chosen, oldest[-1] if oldest else 0)


def _oldest(found: Mapping[int, InLine]) -> tuple[list[int], set[int]]:
    """The oldest of the commands that one transaction may hold, and the keys of all their accounts."""
    oldest = sorted(found)[:MAX_COMMANDS]
    chosen: set[int] = set()
    taken = books_store.within((found[position].commands for position in oldest), MAX_COMMANDS)
    for number, position in enumerate(oldest[:taken]):
        if len(chosen | found[position].account_keys) > locks.MAX_KEYS:
            return oldest[:number], chosen
        chosen |= found[position].account_keys
    return oldest[:taken], chosen
