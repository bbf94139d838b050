"""From a lost message to its outcome: real workers take what the sweeper sends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries

from cli.servers import LocalServers
from processor import clock
from processor.store.books import InLine
from processor.sweep import Sweeper
from tests.builders import deposit, opening, transfer, withdraw
from tests.engine import Engine
from tests.eventually import eventually
from workers import actors
from workers.broker import make_broker
from workers.messages import APPLY, COMMANDS, batches
from workers.queue import CommandQueue

LATER: Final = timedelta(minutes=1)


class EmptyToAll(CommandQueue):
    """As it looks to those who ask before anybody has sent."""

    def is_empty(self) -> bool:
        return True


def a_sweeper(engine: Engine, queue: CommandQueue) -> Sweeper:
    """One that looks in a minute from now, and remembers nothing."""
    return Sweeper(engine.pool, queue, now=lambda: clock.now() + LATER, stranded_after=timedelta(seconds=3))


@contextmanager
def working(broker: RedisBroker) -> Iterator[Worker]:
    """What a worker process runs."""
    worker = Worker(broker, queues={COMMANDS}, worker_timeout=20, worker_threads=2)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=15_000)


# The sweeper and the workers.


def test_a_flushed_queue_is_settled_after_one_sweep(engine: Engine, redis_url: str) -> None:
    """Redis loses all that it has; Postgres alone knows what was accepted, and nothing is lost or done twice."""
    broker = make_broker(redis_url)
    queue = CommandQueue(broker)
    engine.settle(opening("alice"), opening("bob"))
    positions = engine.accept(
        *(body for _ in range(60) for body in (deposit("alice", 5), transfer("alice", "bob", 4), withdraw("bob", 3)))
    )
    queue.send(engine.in_line(positions))
    broker.client.flushall()
    swept = a_sweeper(engine, queue).sweep()
    actors.declare(broker, engine.applier, broker.client)
    with working(broker):
        eventually(lambda: not engine.pending())

    assert swept == len(positions) == 180
    assert engine.balances() == {"alice": 60, "bob": 60}
    engine.assert_as_one_by_one()


def test_what_is_sent_again_and_again_is_done_once(engine: Engine, redis_url: str) -> None:
    """Five schedulers that all believe that they lead, or that began anew: superfluous messages are no-ops."""
    broker = make_broker(redis_url)
    engine.settle(opening("alice"), opening("bob"))
    engine.accept(*[deposit("alice", 5), transfer("alice", "bob", 4)] * 60)
    swept = [a_sweeper(engine, EmptyToAll(broker)).sweep() for _ in range(5)]
    actors.declare(broker, engine.applier, broker.client)
    with working(broker):
        eventually(lambda: CommandQueue(broker).is_empty() and not engine.pending())

    assert swept == [120] * 5
    engine.assert_as_one_by_one()


def test_one_sweep_sends_no_more_than_the_limit_and_the_next_one_goes_on(
    engine: Engine, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long outage the first are decided while the others are still being found. The oldest go first."""
    monkeypatch.setattr("processor.sweep._LIMIT", 3)
    sent: list[list[int]] = []

    class Taken(EmptyToAll):
        def send(self, waiting: Any) -> None:
            sent.extend(list(batch.positions) for batch in batches(waiting))

    positions = engine.accept(opening("alice"), *[deposit("alice", 1)] * 6)
    sweeper = a_sweeper(engine, Taken(make_broker(redis_url)))
    counts = [sweeper.sweep() for _ in range(4)]

    assert counts == [3, 3, 1, 0]
    assert sent == [positions[:3], positions[3:6], positions[6:]]


def test_what_was_decided_is_not_sent_again(engine: Engine, redis_url: str) -> None:
    """However old it is."""
    queue = CommandQueue(make_broker(redis_url))
    engine.settle(opening("alice"), deposit("alice", 1))

    assert a_sweeper(engine, queue).sweep() == 0
    assert queue.is_empty()


# A message whose actor fails while Redis is away.


def test_dramatiqs_own_retries_lose_a_message_that_they_cannot_put_back(
    redis_url: str, servers: LocalServers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The proof that ``SafeRetries`` is needed. When this fails, dramatiq#545 is mended, and it may go."""
    monkeypatch.setattr("workers.broker.SafeRetries", Retries)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.05)
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.05)
    broker = make_broker(redis_url)
    taken, go_on = threading.Event(), threading.Event()

    @dramatiq.actor(actor_name=APPLY, queue_name=COMMANDS, broker=broker)
    def failing(version: int, positions: list[int], account_keys: list[int]) -> None:
        taken.set()
        go_on.wait(30)
        raise RuntimeError("sick")

    CommandQueue(broker).send([InLine(7, frozenset([1]))])
    with working(broker):
        assert taken.wait(30)
        servers.redis.stop()
        try:
            go_on.set()
            eventually(lambda: "Failed to post_process_message" in caplog.text)
        finally:
            servers.redis.start()
        key = f"{broker.namespace}:{COMMANDS}"
        eventually(lambda: not broker.client.exists(f"{key}.msgs"))

        assert not broker.client.exists(key, f"{key}.XQ", f"{key}.DQ", f"{key}.DQ.msgs")
