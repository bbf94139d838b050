"""Applies pending commands: lock their accounts, gather, decide, record; every answer of a batch or none."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import stamina
import structlog
from psycopg import Connection, Cursor, errors
from psycopg_pool import ConnectionPool, PoolTimeout

from processor import telemetry, tracing
from processor.delivery import Delivery
from processor.domain.books import Books
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Status
from processor.domain.rules import Rules
from processor.errors import BooksError, PermanentError, TransientError
from processor.lines import MAX_COMMANDS, Batch, in_turn, widen
from processor.logs import in_short
from processor.store import books as books_store
from processor.store import locks
from processor.store.books import Came, InLine, PendingRow

log = structlog.get_logger()

_ATTEMPTS: Final = 5
"""Tries of a transaction that a passing error broke, before the message goes back to the queue."""

_LAST_CHANCES: Final = 3
"""Tries of a command alone, after it made a batch fail, before it is a dead letter."""

_ROUNDS: Final = 5
"""Transactions for one message at most, after which what is left of it goes back to the queue."""

_TRANSIENT: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    errors.ReadOnlySqlTransaction,
    PoolTimeout,
    MemoryError,
    OSError,
)
"""The server's, the network's or the machine's trouble: the same transaction may succeed later."""

Pool = ConnectionPool[Connection[Any]]

_UNKNOWN: Final = Delivery()


class _OutOfTurn(BaseException):
    """An earlier command of these accounts needs another account, which the batch does not hold."""


@dataclass(frozen=True, slots=True)
class Applied:
    """
    What one message led to: the commands that are ``settled``, and those that must be sent on.

    Settled are those that have their outcome, and those that are held: whoever waits for one need not wait longer.
    """

    settled: Sequence[int] = ()
    left: Sequence[InLine] = ()


class Applier:
    """One per worker process. Its threads share it."""

    def __init__(self, pool: Pool, *, now: Callable[[], datetime], rules: Rules) -> None:
        self._pool = pool
        self._now = now
        self._rules = rules
        # Those that were seen committed: made when first needed, and never taken away.
        self._system_accounts: set[str] = set()

    def apply(self, positions: Collection[int], keys: Collection[int], delivery: Delivery = _UNKNOWN) -> Applied:
        """
        Decide the pending commands of the accounts under ``keys``, and record every answer.

        ``positions`` are the commands that a message names; when none of them is pending, nothing is done, and those
        still pending afterwards are ``left``: the caller sends them on, so that a message names every pending command.
        Raises ``TransientError`` when Postgres is away for longer than this call waits, and ``BooksError`` when the
        books contradict themselves: then the commands concerned stay pending.
        """
        try:
            for attempt in stamina.retry_context(on=_TRANSIENT, attempts=_ATTEMPTS, timeout=15, wait_jitter=0.05):
                with attempt, self._pool.connection() as conn:
                    if attempt.num > 1:
                        telemetry.retries.inc()
                        tracing.annotate(florin__apply__attempt=attempt.num)
                    return self._apply(conn, positions, keys, delivery)
        except BooksError:
            telemetry.books_errors.inc()
            raise
        except _TRANSIENT as error:
            raise TransientError(f"Postgres did not do the work: {words_of(error)}") from error
        raise AssertionError("unreachable")

    def _apply(
        self, conn: Connection, positions: Collection[int], keys: Collection[int], delivery: Delivery
    ) -> Applied:
        if not books_store.look(conn, positions):
            # Settled or held before: whoever did it may have died before telling those who wait.
            return Applied(list(positions))
        try:
            return self._apply_in_turn(conn, positions, keys, delivery)
        except (BooksError, PermanentError) as error:
            log.warning("batch.isolating", error=in_short(error))
            return self._isolate(conn, positions, keys, delivery)

    def _apply_in_turn(
        self, conn: Connection, positions: Collection[int], keys: Collection[int], delivery: Delivery
    ) -> Applied:
        """
        Apply the batch as the message has it; if it came before its turn, widen it by what has to come first.

        Each further round decides the oldest commands that stand before the named ones, whoever's message names them,
        so that no transaction is in vain when workers overtake each other.
        """
        try:
            batch = Batch(keys, max(positions))
            applied = self._apply_once(conn, positions, batch, MAX_COMMANDS, delivery, in_turn_only=True)
        except _OutOfTurn:
            applied = Applied()
        settled = list(applied.settled)
        for _ in range(_ROUNDS):
            unsettled = set(positions).difference(settled)
            if not unsettled or not books_store.look(conn, unsettled):
                return Applied([*settled, *unsettled])
            batch = widen(conn, unsettled, keys)
            telemetry.widened.inc()
            applied = self._apply_once(conn, positions, batch, MAX_COMMANDS, delivery)
            settled.extend(applied.settled)
        return Applied(settled, applied.left)

    def _isolate(
        self, conn: Connection, positions: Collection[int], keys: Collection[int], delivery: Delivery
    ) -> Applied:
        """
        Apply the batch in smaller and smaller parts, until the commands that break it are found.

        One that cannot be decided becomes a dead letter. One whose books contradict themselves is held, with its
        accounts; the rest is applied, and then ``BooksError`` raised.
        """
        settled: list[int] = []
        left: Sequence[InLine] = ()
        batch = Batch(keys, max(positions))
        limit, chances = MAX_COMMANDS // 2, _LAST_CHANCES
        contradiction: BooksError | None = None
        while books_store.look(conn, positions):
            try:
                last_chance = limit == 1 and chances == 1
                applied = self._apply_once(conn, positions, batch, limit, delivery, last_chance=last_chance)
            except (BooksError, PermanentError) as error:
                telemetry.isolated.inc()
                if limit > 1:
                    limit //= 2
                elif isinstance(error, BooksError) and error.account_keys:
                    # Without these accounts, neither the command nor what stands behind it can be in turn.
                    log.error("books.contradiction", positions=sorted(error.positions), error=in_short(error))
                    batch, contradiction = batch.without(error.account_keys), error
                elif isinstance(error, PermanentError) and chances > 1:
                    chances -= 1
                else:
                    raise
            else:
                settled.extend(applied.settled)
                left = applied.left
                if not applied.settled:
                    break
                limit, chances = min(2 * limit, MAX_COMMANDS), _LAST_CHANCES
        if contradiction is not None:
            raise contradiction
        return Applied(settled, left)

    def _apply_once(
        self,
        conn: Connection,
        positions: Collection[int],
        batch: Batch,
        limit: int,
        delivery: Delivery,
        *,
        in_turn_only: bool = False,
        last_chance: bool = False,
    ) -> Applied:
        """
        One transaction: lock, gather, decide, record.

        ``in_turn_only`` raises ``_OutOfTurn`` instead of leaving a command; ``last_chance`` (with a ``limit`` of 1)
        makes a dead letter of a command that cannot be decided, in the same transaction, so that it is the very one.
        """
        turn: Sequence[PendingRow] = ()
        try:
            with tracing.span("apply") as span, telemetry.apply_seconds.time(), conn.transaction():
                began_ns = time.time_ns()
                with conn.pipeline():
                    locked = locks.lock_accounts(conn, batch.keys)
                    quarantined = books_store.quarantined(conn, batch.keys)
                    waiting, books = books_store.gather(conn, batch.keys, up_to=batch.up_to, limit=MAX_COMMANDS)
                came = Came(delivery, _count_lock_wait(locked))
                # Both went in one round trip: Postgres says how long it waited for the locks.
                locked_ns = began_ns + int(came.lock_wait_s * 1e9)
                tracing.past("lock", began_ns, locked_ns, florin__accounts=len(batch.keys))
                tracing.past("gather", locked_ns, time.time_ns(), florin__commands=len(waiting))
                # Read under the locks, so that decisions on one account are dated in their order.
                now = self._now()
                turn = in_turn(waiting, batch.keys)
                if in_turn_only and len(turn) < len(waiting):
                    raise _OutOfTurn
                turn = turn[:limit]
                settled = [row.position for place in turn for row in place.rows()]
                turn = self._hold_back(conn, turn, dict(quarantined), now)
                try:
                    with conn.transaction() if last_chance else nullcontext():
                        outcomes = self._decide_and_record(conn, books, turn, now, came)
                except PermanentError as error:
                    if not last_chance:
                        raise
                    outcomes = self._give_up(conn, turn[0], error, now, came)
                unsettled = set(positions).difference(settled)
                left = books_store.left_in_line(conn, unsettled) if unsettled else []
                if tracing.is_on():
                    span.annotate(
                        florin__commands=len(outcomes), florin__held=len(settled) - len(outcomes), **_statuses(outcomes)
                    )
        except psycopg.IntegrityError as error:
            # The rules allow it and the schema does not: one of them is wrong, and the command is not to blame. Or the
            # database is another than before, and has not all that was seen in it.
            self._system_accounts.clear()
            raise _contradiction(f"the schema refused it: {words_of(error)}", turn) from error
        except BooksError as error:
            raise _contradiction(str(error), turn) from error
        self._system_accounts |= _system_accounts(outcomes)
        _count(turn, outcomes, self._now())
        return Applied(settled, left)

    def _hold_back(
        self, conn: Connection, turn: Sequence[PendingRow], quarantined: Mapping[str, int], now: datetime
    ) -> Sequence[PendingRow]:
        """Hold those that touch an account in quarantine and are not released yet, and return the others."""
        if not quarantined:
            return turn
        held = {
            row.position
            for row in turn
            if any(row.position > quarantined.get(name, row.position) for name in row.accounts())
        }
        if held:
            books_store.hold(conn, held, now=now)
            log.info("commands.held", commands=len(held))
        return [row for row in turn if row.position not in held]

    def _decide_and_record(
        self, conn: Connection, books: Books, turn: Sequence[PendingRow], now: datetime, came: Came
    ) -> Sequence[Outcome]:
        commands = [place.asked() for place in turn]
        try:
            with tracing.span("decide"):
                decided = decide(books, commands, now=now, rules=self._rules)
        except _TRANSIENT:
            raise
        except Exception as error:
            raise PermanentError(f"the rules broke: {error!r}") from error
        if missing := _system_accounts(decided.outcomes) - self._system_accounts:
            books_store.make_system_accounts(conn, missing, now=now)
        try:
            with tracing.span("record"):
                books_store.record(conn, books, decided, now=now, came=came)
        except psycopg.DataError as error:
            raise PermanentError(f"it cannot be stored: {words_of(error)}") from error
        return decided.outcomes

    def _give_up(
        self, conn: Connection, place: PendingRow, error: PermanentError, now: datetime, came: Came
    ) -> Sequence[Outcome]:
        outcomes = [Outcome(row.position, Status.FAILED, Reason.INTERNAL_ERROR) for row in place.rows()]
        books_store.record_dead_letters(conn, outcomes, str(error), now=now, came=came)
        telemetry.dead_letters.inc(len(outcomes))
        for outcome in outcomes:
            log.error("command.failed", position=outcome.position, error=in_short(error))
        return outcomes


def _system_accounts(outcomes: Iterable[Outcome]) -> set[str]:
    """The names of the system accounts that the transfers touch."""
    return {
        side.account
        for outcome in outcomes
        for transfer in outcome.transfers
        for side in (transfer.debit, transfer.credit)
        if side.version is None
    }


def words_of(error: Exception) -> str:
    """What a log may say of an error: never Postgres's detail, which has the row's contents."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"{error.sqlstate} {error.diag.message_primary}"
    return repr(error)


def _contradiction(message: str, turn: Sequence[PendingRow]) -> BooksError:
    return BooksError(
        message,
        account_keys=frozenset().union(*(row.account_keys() for row in turn)),
        positions=[row.position for place in turn for row in place.rows()],
    )


def _count_lock_wait(locked: Cursor[tuple[float]]) -> float:
    waited_s = sum(seconds for (seconds,) in locked)
    telemetry.lock_wait_seconds.observe(waited_s)
    return waited_s


def _statuses(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many were applied, refused and given up, as a span has it."""
    counts = Counter(outcome.status.value for outcome in outcomes)
    return {f"florin__{status}": count for status, count in counts.items()}


def _count(turn: Sequence[PendingRow], outcomes: Sequence[Outcome], committed_at: datetime) -> None:
    rows = [row for place in turn for row in place.rows()]
    telemetry.batch_size.observe(len(rows))
    for row in rows:
        telemetry.receipt_to_outcome_seconds.observe(max(0.0, (committed_at - row.accepted_at).total_seconds()))
    kinds = Counter(
        (row.type, outcome.status.value, outcome.reason.value if outcome.reason else "")
        for row, outcome in zip(rows, outcomes, strict=True)
    )
    for labels, count in kinds.items():
        telemetry.settled.labels(*labels).inc(count)
