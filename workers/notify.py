"""The queue of those who tell people of alerts. A message says 'look': what there is to tell is read from rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import dramatiq
from dramatiq import Message, Worker
from dramatiq.brokers.redis import RedisBroker

from processor import tracing
from processor.notifying import Notifier
from workers.messages import options

NOTICES: Final = "notices"
"""A queue of its own, and a thread: nobody's payment waits for a mail server."""

DELIVER: Final = "deliver_notices"

_POLL_MS: Final = 1_000
_SHUTDOWN_MS: Final = 15_000


def declare(broker: RedisBroker, notifier: Notifier) -> "dramatiq.Actor[Any, Any]":
    """Let this process tell people of alerts."""

    @dramatiq.actor(actor_name=DELIVER, queue_name=NOTICES, broker=broker)
    def deliver_notices(version: int) -> None:
        """Deliver what is due. What is not delivered now is found again by the scheduler's next look."""
        if version != 1:
            raise ValueError(f"message version {version} is not known here: deploy the workers before the producers")
        notifier.deliver()

    return deliver_notices


@contextmanager
def delivering(broker: RedisBroker) -> Iterator[None]:
    """Take messages of this queue, in a thread of their own. At the end, what is under way is finished."""
    worker = Worker(broker, queues={NOTICES}, worker_timeout=_POLL_MS, worker_threads=1)
    worker.queue_prefetch = 1
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=_SHUTDOWN_MS)


def ask() -> None:
    """Send a message, unless one waits already. Raises what Redis raises when it is away."""
    broker = dramatiq.get_broker()
    assert isinstance(broker, RedisBroker)
    if broker.client.llen(f"{broker.namespace}:{NOTICES}") == 0:
        about = options("scheduler", tracing.few([tracing.current()]))
        broker.enqueue(Message(queue_name=NOTICES, actor_name=DELIVER, args=(), kwargs={"version": 1}, options=about))
