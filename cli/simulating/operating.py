"""How a simulated day's ticks and messages are seen to: as they should be, or with every accident that may happen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any, Final, Protocol, cast

from psycopg import Connection

from cli.simulating.clock import Clock
from cli.simulating.engine import Engine
from processor.apply import Applier, Pool
from processor.store.books import InLine
from processor.sweep import Sweeper
from workers.messages import Batch, batches

WORKERS: Final = 3
_SWEEPS: Final = 10
_LAST_STATEMENT: Final = 14
"""About as many as a worker sends to Postgres for one message."""


class Operation(Protocol):
    """Whoever looks after the engine for a day."""

    def tick(self) -> None:
        """Look for what is due."""

    def deliver(self) -> None:
        """Bring every message to a worker, until nothing waits."""


class Reliable:
    """Nothing goes wrong."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tick(self) -> None:
        self._engine.collect()

    def deliver(self) -> None:
        self._engine.drain()


class Unreliable:
    """
    Ticks come twice or from two schedulers at once; messages are lost, repeated, divided and mixed up; workers die at
    any statement. What was lost is found again by the real sweeper.

    ``accidents`` counts what happened.
    """

    def __init__(self, engine: Engine, clock: Clock, random: Random, threads: ThreadPoolExecutor) -> None:
        self.accidents: Counter[str] = Counter()
        self._engine = engine
        self._clock = clock
        self._random = random
        self._threads = threads
        self._sweeper = Sweeper(engine.pool, _Messages(engine), now=clock.now, stranded_after=timedelta(seconds=3))

    def tick(self) -> None:
        match self._random.randrange(3):
            case 0:
                self._engine.collect()
            case 1:
                self.accidents["ticks repeated"] += 1
                self._engine.collect()
                self._engine.collect()
            case _:
                self.accidents["two schedulers at once"] += 1
                both = [self._threads.submit(self._engine.collect) for _ in range(2)]
                for one in both:
                    one.result()

    def deliver(self) -> None:
        self._lose()
        self._drain()
        for _ in range(_SWEEPS):
            self._clock.wait(timedelta(minutes=1))
            found = self._sweeper.sweep()
            if not found:
                break
            self.accidents["commands found by the sweeper"] += found
            self._drain()

    def _lose(self) -> None:
        """Redis is flushed, or forgets a message."""
        queue = self._engine.queue
        if queue and self._happens(0.2):
            self.accidents["messages lost"] += len(queue)
            queue.clear()
        elif queue and self._happens(0.2):
            self.accidents["messages lost"] += 1
            queue.pop(self._random.randrange(len(queue)))

    def _drain(self) -> None:
        while self._engine.queue:
            messages, self._engine.queue = [*self._divided(self._engine.queue)], []
            again = [each for each in messages if self._happens(0.3)]
            self.accidents["messages repeated"] += len(again)
            messages += again
            self._random.shuffle(messages)
            fates = [self._random.randint(1, _LAST_STATEMENT) if self._happens(0.15) else None for _ in messages]
            died = [batch for batch in self._threads.map(self._handle, messages, fates) if batch is not None]
            self.accidents["workers killed"] += len(died)
            self._engine.queue += died

    def _divided(self, messages: Sequence[Batch]) -> Iterator[Batch]:
        """Several intakes share what one has accepted: then workers meet at the same accounts."""
        for batch in messages:
            cut = self._random.randrange(len(batch.positions)) if self._happens(0.5) else 0
            self.accidents["messages divided"] += cut > 0
            for positions in (batch.positions[:cut], batch.positions[cut:]):
                if positions:
                    yield Batch(positions, batch.account_keys)

    def _handle(self, batch: Batch, dies_at: int | None) -> Batch | None:
        """Do what a worker does. One that dies leaves its message to another."""
        if dies_at is None:
            self._engine.handle(batch)
            return None
        pool = cast(Pool, _MortalPool(self._engine.pool, dies_at))
        try:
            self._engine.handle(batch, Applier(pool, now=self._engine.now, rules=self._engine.rules))
        except _KilledError:
            return batch
        return None

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance


class _KilledError(BaseException):
    """The worker is dead, and what it had not committed never was. No handler of errors catches it."""


class _MortalPool:
    """Connections for a worker that is killed instead of sending its n-th statement."""

    def __init__(self, pool: Pool, dies_at: int) -> None:
        self._pool = pool
        self._dies_at = dies_at

    @contextmanager
    def connection(self) -> Iterator["_MortalConnection"]:
        with self._pool.connection() as conn:
            yield _MortalConnection(conn, self._dies_at)


class _MortalConnection:
    def __init__(self, conn: Connection[Any], dies_at: int) -> None:
        self._conn = conn
        self._left = dies_at

    def execute(self, *args: Any, **options: Any) -> Any:
        self._left -= 1
        if not self._left:
            raise _KilledError
        return self._conn.execute(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


class _Messages:
    """The engine's queue, as the sweeper sees one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_empty(self) -> bool:
        return not self._engine.queue

    def send(self, waiting: Sequence[InLine]) -> None:
        self._engine.queue += batches(waiting)
