"""Tells the queue what was accepted, from a thread of its own: Redis may be slow or away, the intake does not wait."""

import threading
from collections import deque
from collections.abc import Sequence

import redis
import structlog
from dramatiq.errors import BrokerError

from processor import telemetry
from processor.intake import Accepted
from processor.logs import in_short
from workers.messages import MAX_COMMANDS
from workers.queue import CommandQueue

log = structlog.get_logger()

_MAX_WAITING = 100_000
"""Commands that wait to be told to Redis, at most. The sweeper finds those that are dropped."""


class Messenger:
    """Groups that were accepted while a message was on its way share the next one."""

    def __init__(self, queue: CommandQueue) -> None:
        self._queue = queue
        self._waiting: deque[Accepted] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="messenger", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def announce(self, accepted: Sequence[Accepted]) -> None:
        """Send messages that name these commands, soon. Never blocks and never fails."""
        if not accepted:
            return
        with self._changed:
            if len(self._waiting) > _MAX_WAITING:
                telemetry.unannounced.inc()
                return
            self._waiting.extend(accepted)
            self._changed.notify()

    def close(self, *, timeout_s: float) -> None:
        """Send what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch = [self._waiting.popleft() for _ in range(min(MAX_COMMANDS, len(self._waiting)))]
            try:
                self._queue.send(batch)
            except (BrokerError, redis.RedisError) as error:
                self._drop(batch, error)
            except Exception:
                log.exception("messenger.broken")
                self._drop(batch, None)

    def _drop(self, batch: Sequence[Accepted], error: Exception | None) -> None:
        """Leave everything that waits to the sweeper: while Redis is away, each try would cost seconds."""
        with self._changed:
            dropped = len(batch) + len(self._waiting)
            self._waiting.clear()
        telemetry.unannounced.inc()
        log.warning("message.unannounced", error=in_short(error) if error else None, commands=dropped)
