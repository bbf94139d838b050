"""Applies pending commands: lock their accounts, gather, decide, record; every answer of a batch or none."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import stamina
import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from processor import telemetry
from processor.domain.books import Books
from processor.domain.decide import Decided, decide
from processor.domain.outcomes import Outcome, Reason, Status
from processor.errors import BooksError, TransientError
from processor.store import books as books_store
from processor.store import locks
from processor.store.books import InLine, PendingRow

log = structlog.get_logger()

MAX_COMMANDS: Final = 200
"""Commands of one transaction at most: above, Postgres's plans turn to sequential scans."""

_ATTEMPTS: Final = 5
"""Tries of a transaction that a passing error broke, before the message goes back to the queue."""

_LAST_CHANCES: Final = 3
"""Tries of a command alone, after it made a batch fail, before it is a dead letter."""

_ROUNDS: Final = 5
"""Transactions for one message at most, after which what is left of it goes back to the queue."""

Pool = ConnectionPool[Connection[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The pending commands of the accounts under ``keys`` up to a position: what one transaction looks at."""

    keys: Collection[int]
    up_to: int


class _OutOfTurn(BaseException):
    """An earlier command of these accounts needs another account, which the batch does not hold."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one message led to: the commands that have their outcome now, and those that must be sent on."""

    settled: Sequence[int] = ()
    left: Sequence[InLine] = ()


class Applier:
    """One per worker process. Its threads share it."""

    def __init__(self, pool: Pool, *, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._system_accounts: dict[str, int] = {}

    def apply(self, positions: Collection[int], keys: Collection[int]) -> Applied:
        """
        Decide the pending commands of the accounts under ``keys``, and record every answer.

        ``positions`` are the commands that a message names; when none of them is pending, nothing is done, and those
        still pending afterwards are ``left``: the caller sends them on, so that a message names every pending command.
        Raises ``TransientError`` when Postgres is away for longer than this call waits, and ``BooksError`` when the
        books contradict themselves: then the commands stay pending.
        """
        try:
            for attempt in stamina.retry_context(on=_is_transient, attempts=_ATTEMPTS, timeout=15, wait_initial=0.05):
                with attempt, self._pool.connection() as conn:
                    if attempt.num > 1:
                        telemetry.retries.inc()
                    return self._apply(conn, positions, keys)
        except BooksError:
            telemetry.books_errors.inc()
            raise
        except Exception as error:
            if _is_transient(error):
                raise TransientError(f"Postgres did not do the work: {error}") from error
            raise
        raise AssertionError("unreachable")

    def _apply(self, conn: Connection, positions: Collection[int], keys: Collection[int]) -> Applied:
        if not books_store.look(conn, positions):
            # Settled before: whoever did it may have died before telling those who wait.
            return Applied(list(positions))
        try:
            return self._apply_in_turn(conn, positions, keys)
        except Exception as error:
            if not isinstance(error, BooksError) and not _blames_a_command(error):
                raise
            log.warning("batch.isolating", error=repr(error))
            return self._isolate(conn, positions, keys)

    def _apply_in_turn(self, conn: Connection, positions: Collection[int], keys: Collection[int]) -> Applied:
        """
        Apply the batch as the message has it; if it came before its turn, widen it by what has to come first.

        Each further round decides the oldest commands that stand before the named ones, whoever's message names them,
        so that no transaction is in vain when workers overtake each other.
        """
        try:
            applied = self._apply_once(conn, positions, Batch(keys, max(positions)), MAX_COMMANDS, in_turn_only=True)
        except _OutOfTurn:
            applied = Applied()
        settled = list(applied.settled)
        for _ in range(_ROUNDS):
            unsettled = set(positions).difference(settled)
            if not unsettled or not books_store.look(conn, unsettled):
                return Applied([*settled, *unsettled])
            batch = widen(conn, unsettled, keys)
            telemetry.widened.inc()
            applied = self._apply_once(conn, positions, batch, MAX_COMMANDS)
            settled.extend(applied.settled)
        return Applied(settled, applied.left)

    def _apply_once(
        self,
        conn: Connection,
        positions: Collection[int],
        batch: Batch,
        limit: int,
        *,
        in_turn_only: bool = False,
        last_chance: bool = False,
        held: Collection[int] = (),
    ) -> Applied:
        """
        One transaction: lock, gather, decide, record.

        ``in_turn_only`` raises ``_OutOfTurn`` instead of leaving a command; ``last_chance`` (with a ``limit`` of 1)
        makes a dead letter of a command that fails, in the same transaction, so that it is the very one that failed;
        the commands that are ``held``, and what stands behind them, are left.
        """
        with telemetry.apply_seconds.time(), conn.transaction():
            with conn.pipeline():
                locks.lock_accounts(conn, batch.keys)
                waiting, books = books_store.gather(conn, batch.keys, up_to=batch.up_to, limit=MAX_COMMANDS)
            # Read under the locks, so that decisions on one account are dated in their order.
            now = self._now()
            turn = in_turn(waiting, batch.keys, held)
            if in_turn_only and len(turn) < len(waiting):
                raise _OutOfTurn
            turn = turn[:limit]
            try:
                with conn.transaction() if last_chance else nullcontext():
                    outcomes = self._decide_and_record(conn, books, turn, now)
            except BooksError as error:
                error.positions = [row.position for row in turn]
                raise
            except Exception as error:
                if not (last_chance and turn and _blames_a_command(error)):
                    raise
                outcomes = [self._give_up(conn, turn[0], error, now)]
            settled = [row.position for row in turn]
            unsettled = set(positions).difference(settled)
            left = books_store.left_in_line(conn, unsettled) if unsettled else []
        _count(turn, outcomes, now)
        return Applied(settled, left)

    def _decide_and_record(
        self, conn: Connection, books: Books, turn: Sequence[PendingRow], now: datetime
    ) -> Sequence[Outcome]:
        decided = decide(books, [row.command() for row in turn], now=now)
        books_store.record(conn, books, decided, self._system_ids(conn, decided, now), now=now)
        return decided.outcomes

    def _give_up(self, conn: Connection, row: PendingRow, error: Exception, now: datetime) -> Outcome:
        outcome = Outcome(row.position, Status.FAILED, Reason.INTERNAL_ERROR)
        books_store.record_dead_letter(conn, outcome, repr(error), now=now)
        telemetry.dead_letters.inc()
        log.error("command.failed", position=row.position, error=repr(error))
        return outcome

    def _isolate(self, conn: Connection, positions: Collection[int], keys: Collection[int]) -> Applied:
        """
        Apply the batch in smaller and smaller parts, until the commands that break it are found.

        One that fails alone becomes a dead letter. One whose books contradict themselves is held, with its accounts;
        the rest is applied, and then ``BooksError`` raised.
        """
        settled: list[int] = []
        left: Sequence[InLine] = ()
        batch = Batch(keys, max(positions))
        limit, chances = MAX_COMMANDS // 2, _LAST_CHANCES
        held: dict[int, BooksError] = {}
        while books_store.look(conn, set(positions).difference(held)):
            last_chance = limit == 1 and chances == 1
            try:
                applied = self._apply_once(conn, positions, batch, limit, last_chance=last_chance, held=held)
            except Exception as error:
                if not isinstance(error, BooksError) and not _blames_a_command(error):
                    raise
                telemetry.isolated.inc()
                if limit > 1:
                    limit //= 2
                elif isinstance(error, BooksError) and error.positions:
                    held[error.positions[0]] = error
                elif chances > 1:
                    chances -= 1
                else:
                    raise
            else:
                settled.extend(applied.settled)
                left = applied.left
                if not applied.settled:
                    break
                limit, chances = min(2 * limit, MAX_COMMANDS), _LAST_CHANCES
        if held:
            raise next(iter(held.values()))
        return Applied(settled, left)

    def _system_ids(self, conn: Connection, decided: Decided, now: datetime) -> dict[str, int]:
        """The ids of the system accounts that the transfers name. Only those seen committed are kept for later."""
        named = {
            side.account
            for outcome in decided.outcomes
            for transfer in outcome.transfers
            for side in (transfer.debit, transfer.credit)
            if side.version is None
        }
        if missing := named - self._system_accounts.keys():
            self._system_accounts |= books_store.find_system_accounts(conn, missing)
        if missing := named - self._system_accounts.keys():
            return self._system_accounts | books_store.make_system_accounts(conn, missing, now=now)
        return self._system_accounts


def widen(conn: Connection, positions: Collection[int], keys: Collection[int]) -> Batch:
    """
    The oldest commands that must be decided before the named ones can be, as many as one transaction may hold.

    ``keys`` are those of the named ones' accounts. Follows each line to its head, and the lines of those found there.
    The result is closed: whatever stands before one of its commands, in any line, belongs to it as well.
    """
    found: dict[int, frozenset[int]] = {}
    explored: set[int] = set()
    wanted = set(keys)
    while wanted:
        lines = books_store.read_lines(conn, wanted, up_to=max(positions), limit=MAX_COMMANDS)
        explored |= wanted
        found |= {each.position: each.account_keys for each in lines}
        oldest, chosen = _oldest(found)
        wanted = chosen - explored
    return Batch(chosen, oldest[-1] if oldest else 0)


def _oldest(found: Mapping[int, frozenset[int]]) -> tuple[list[int], set[int]]:
    """The oldest of the commands that one transaction may hold, and the keys of all their accounts."""
    oldest: list[int] = []
    chosen: set[int] = set()
    for position in sorted(found)[:MAX_COMMANDS]:
        if len(chosen | found[position]) > locks.MAX_KEYS:
            break
        oldest.append(position)
        chosen |= found[position]
    return oldest, chosen


def in_turn(waiting: Iterable[PendingRow], keys: Collection[int], held: Collection[int] = ()) -> list[PendingRow]:
    """
    Those whose turn it is, of the commands in order of position, when the accounts under ``keys`` are locked.

    A command that touches an account that is not locked, or whose position is ``held``, is left, and so are the later
    ones of its accounts.
    """
    locked, blocked = set(keys), set[int]()
    turn = []
    for row in waiting:
        touched = row.account_keys()
        if touched <= locked and touched.isdisjoint(blocked) and row.position not in held:
            turn.append(row)
        else:
            blocked |= touched
    return turn


def _is_transient(error: Exception) -> bool:
    """Whether the same transaction may succeed later: the server's or the network's trouble, not the command's."""
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, MemoryError))


def _blames_a_command(error: Exception) -> bool:
    """
    Whether one command of the batch may be the cause.

    Not so for trouble that passes, for books that contradict themselves, and for SQL that the schema does not
    understand (a deployment gone wrong): then the commands stay pending, since each of them would fail.
    """
    if isinstance(error, BooksError) or _is_transient(error):
        return False
    return isinstance(error, (psycopg.DataError, psycopg.IntegrityError)) or not isinstance(error, psycopg.Error)


def _count(turn: Sequence[PendingRow], outcomes: Sequence[Outcome], now: datetime) -> None:
    telemetry.batch_size.observe(len(turn))
    for row in turn:
        telemetry.receipt_to_outcome_seconds.observe(max(0.0, (now - row.accepted_at).total_seconds()))
    kinds = Counter(
        (row.type, outcome.status.value, outcome.reason.value if outcome.reason else "")
        for row, outcome in zip(turn, outcomes, strict=True)
    )
    for labels, count in kinds.items():
        telemetry.settled.labels(*labels).inc(count)
