"""The sweeper: Postgres alone knows what was accepted, so what its messages lost is sent again."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from processor import telemetry
from processor.store import sweep as sweep_store
from processor.store.books import InLine

log = structlog.get_logger()

_LIMIT: Final = 10_000
"""Commands sent again in one sweep, at most: the next one follows within seconds."""

_PATIENCE_MAX: Final = timedelta(seconds=30)


class Queue(Protocol):
    """What the sweeper needs of the queue."""

    def is_empty(self) -> bool:
        """Whether no message waits in it."""

    def send(self, waiting: Sequence[InLine]) -> None:
        """Send messages that name these commands."""


class Sweeper:
    """
    One in the leading scheduler. What it remembers may be lost: a superfluous message is a no-op.

    A command that it sent again is given twice as long each time before it is sent once more, so that a long queue is
    not made longer by the sweeper.
    """

    def __init__(
        self,
        pool: ConnectionPool[Connection[Any]],
        queue: Queue,
        *,
        now: Callable[[], datetime],
        stranded_after: timedelta,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._now = now
        self._stranded_after = stranded_after
        self._sent: dict[int, tuple[datetime, timedelta]] = {}

    def sweep(self) -> int:
        """Send again what seems stranded, in order of position, and return how many commands that were."""
        now = self._now()
        with self._pool.connection() as conn:
            oldest = sweep_store.oldest_pending(conn)
            if oldest is None:
                return 0
            queue_is_empty = self._queue.is_empty()
            stranded = sweep_store.find_stranded(
                conn,
                now=now,
                before=now - self._stranded_after,
                queue_is_empty=queue_is_empty,
                except_for=self._sent_lately(now, queue_is_empty),
                limit=_LIMIT,
            )
        if stranded:
            self._queue.send(stranded)
            telemetry.swept.inc(len(stranded))
            log.info("commands.swept", commands=len(stranded))
        self._remember(stranded, now)
        return len(stranded)

    def _sent_lately(self, now: datetime, queue_is_empty: bool) -> list[int]:
        if queue_is_empty:
            # Whatever was sent is not there any more: only what a worker may be busy with is left alone.
            return [position for position, (at, _) in self._sent.items() if now - at < self._stranded_after]
        return [position for position, (at, patience) in self._sent.items() if now - at < patience]

    def _remember(self, stranded: Sequence[InLine], now: datetime) -> None:
        for each in stranded:
            _, patience = self._sent.get(each.position, (now, self._stranded_after / 2))
            self._sent[each.position] = (now, min(2 * patience, _PATIENCE_MAX))
        self._sent = {
            position: (at, patience) for position, (at, patience) in self._sent.items() if now - at < 2 * _PATIENCE_MAX
        }
