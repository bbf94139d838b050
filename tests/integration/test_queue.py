"""The queue loses nothing that it could keep, and a worker does with a message what its actor says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dramatiq
import orjson
import pytest
import redis
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker

from cli.servers import LocalServers
from processor.apply import Applied
from processor.delivery import Delivery, identity
from processor.errors import TransientError
from processor.store.books import InLine
from tests.eventually import eventually
from workers import actors
from workers.broker import client, make_broker
from workers.messages import COMMANDS, SETTLED, Batch, message
from workers.queue import CommandQueue


@pytest.fixture
def broker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisBroker]:
    """The real queue, empty; workers look for a Redis that is away more often than once in some seconds."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.05)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.05)
    broker = make_broker(redis_url)
    yield broker
    broker.client.close()


@dataclass
class FakeApplier:
    """Says what it was asked, and answers or raises as it is told."""

    answer: Applied = field(default_factory=Applied)
    error: Exception | None = None
    asked: list[tuple[Sequence[int], Sequence[int]]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def apply(self, positions: Sequence[int], keys: Sequence[int], delivery: Delivery) -> Applied:
        self.asked.append((positions, keys))
        self.deliveries.append(delivery)
        if self.error:
            raise self.error
        return self.answer


@contextmanager
def working(broker: RedisBroker) -> Iterator[None]:
    """A worker as ``python -m workers`` runs it."""
    broker.emit_after("process_boot")
    worker = Worker(broker, queues={COMMANDS}, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=10_000)


def declare(broker: RedisBroker, applier: FakeApplier, announcer: Any = None) -> "dramatiq.Actor[Any, None]":
    """The actor around an applier that does nothing."""
    return actors.declare(broker, applier, announcer or broker.client)  # type: ignore[arg-type]


def names(broker: RedisBroker, queue: str = COMMANDS) -> list[list[int]]:
    """The positions that the messages of a queue name: of the queue itself, of those delayed (DQ) or given up (XQ)."""
    bodies = broker.client.hvals(f"{broker.namespace}:{queue}.msgs")
    return sorted(orjson.loads(body)["kwargs"]["positions"] for body in bodies)


def in_hand(broker: RedisBroker) -> int:
    """How many messages a worker has taken and neither acknowledged nor given back."""
    return sum(broker.client.scard(key) for key in broker.client.keys(f"{broker.namespace}:__acks__.*"))


def test_commands_are_sent_in_order_two_hundred_to_a_message(broker: RedisBroker) -> None:
    """What a worker takes first is what was accepted first."""
    queue = CommandQueue(broker)
    empty = queue.is_empty()
    queue.send([InLine(position, frozenset({position % 3})) for position in range(1, 451)])
    ids = broker.client.lrange(f"{broker.namespace}:{COMMANDS}", 0, -1)
    bodies = [orjson.loads(broker.client.hget(f"{broker.namespace}:{COMMANDS}.msgs", each) or b"") for each in ids]

    assert (empty, queue.is_empty()) == (True, False)
    assert [body["kwargs"]["positions"] for body in bodies] == [
        [*range(1, 201)],
        [*range(201, 401)],
        [*range(401, 451)],
    ]
    assert all(body["kwargs"]["account_keys"] == [0, 1, 2] for body in bodies)


def test_a_worker_gives_the_message_to_the_applier_and_tells_who_waits(broker: RedisBroker) -> None:
    """What was settled is announced, also what the message did not name: somebody waits for it."""
    applier = FakeApplier(Applied(settled=[1, 2, 7]))
    declare(broker, applier)
    with broker.client.pubsub() as heard, working(broker):
        heard.subscribe(SETTLED)
        heard.get_message(timeout=5)
        broker.enqueue(message(Batch([2, 7], [-5, 5])))
        said = eventually(lambda: heard.get_message(ignore_subscribe_messages=True, timeout=0.05))

    assert applier.asked == [([2, 7], [-5, 5])]
    assert orjson.loads(said["data"]) == [1, 2, 7]
    assert names(broker) == []


def test_a_worker_says_how_the_message_came(broker: RedisBroker) -> None:
    """Who sent it and when, how often it was tried, and who took it: `florin explain` tells it of each command."""
    applier = FakeApplier(error=TransientError("at first"))
    declare(broker, applier)
    sent = message(Batch([2], [5]))
    with working(broker):
        broker.enqueue(sent.copy(options={**sent.options, "sent_by": "sweeper"}))
        eventually(lambda: len(applier.deliveries) > 1)
        applier.error = None
        eventually(lambda: in_hand(broker) == 0)

    first, second = applier.deliveries[:2]
    assert (first.message_id, first.sent_by, first.attempt) == (sent.message_id, "sweeper", 1)
    assert (second.message_id, second.sent_by, second.attempt) == (sent.message_id, "sweeper", 2)
    assert first.sent_at is not None
    assert first.taken_at is not None
    assert first.sent_at <= first.taken_at
    assert first.worker == identity()


def test_what_is_left_is_sent_on_before_the_message_is_finished(broker: RedisBroker) -> None:
    """Acknowledged first, a crash in between would leave the commands without a message."""
    order: list[str] = []
    announcer = Recorder(order)
    applier = FakeApplier(Applied(settled=[1], left=[InLine(3, frozenset({8, 9})), InLine(4, frozenset({9}))]))
    actor = declare(broker, applier, announcer)
    broker.add_middleware(announcer.middleware)
    actor.fn(version=1, positions=[1, 4], account_keys=[9])

    assert order == ["enqueued", "announced"]
    assert names(broker) == [[3, 4]]


class Recorder:
    """Notes what happens, in order."""

    def __init__(self, order: list[str]) -> None:
        self.order = order
        self.middleware = dramatiq.Middleware()
        self.middleware.after_enqueue = lambda *_: order.append("enqueued")  # type: ignore[method-assign]

    def publish(self, channel: str, data: bytes) -> None:
        self.order.append("announced")


def test_a_redis_that_cannot_be_told_changes_nothing_about_what_was_applied(
    broker: RedisBroker, servers: LocalServers
) -> None:
    """The outcome is committed. An error now would only have the message applied once more, for nothing."""
    applier = FakeApplier(Applied(settled=[1], left=[InLine(3, frozenset({8}))]))
    actor = declare(broker, applier)
    servers.redis.stop()
    try:
        actor.fn(version=1, positions=[1, 3], account_keys=[8])
    finally:
        servers.redis.start()

    assert len(applier.asked) == 1


@pytest.mark.parametrize("error", [TransientError("Postgres is away"), RuntimeError("a bug")])
def test_a_message_that_failed_is_tried_again_later(broker: RedisBroker, error: Exception) -> None:
    """Nobody else has it: it waits in the delayed queue, or was taken from there already."""
    applier = FakeApplier(error=error)
    declare(broker, applier)
    with working(broker):
        broker.enqueue(message(Batch([1], [9])))
        eventually(lambda: len(applier.asked) >= 2)
        applier.error = None
        eventually(lambda: not names(broker) + names(broker, f"{COMMANDS}.DQ") + names(broker, f"{COMMANDS}.XQ"))

    assert {tuple(positions) for positions, _ in applier.asked} == {(1,)}


def test_a_message_of_a_newer_release_is_not_guessed_at(broker: RedisBroker) -> None:
    """It waits for workers who know what it means."""
    applier = FakeApplier()
    actor = declare(broker, applier)

    with pytest.raises(ValueError, match="deploy the workers before the producers"):
        actor.fn(version=2, positions=[1], account_keys=[9])
    assert applier.asked == []


def test_a_message_that_fails_while_redis_is_away_is_not_lost(broker: RedisBroker, servers: LocalServers) -> None:
    """Dramatiq's own retries swallow the error and then acknowledge: the message would be nowhere."""

    class Away(FakeApplier):
        def apply(self, positions: Sequence[int], keys: Sequence[int], delivery: Delivery) -> Applied:
            self.asked.append((positions, keys))
            if len(self.asked) == 1:
                servers.redis.stop()
            raise RuntimeError("and Redis is away")

    applier = Away()
    declare(broker, applier)
    with working(broker):
        broker.enqueue(message(Batch([1], [9])))
        eventually(lambda: servers.redis.poll() is None and len(applier.asked) == 1)
        eventually(lambda: not reachable(broker))
        servers.redis.start()
        eventually(lambda: in_hand(broker) == 0)
        kept = names(broker) + names(broker, f"{COMMANDS}.DQ") + names(broker, f"{COMMANDS}.XQ")

    assert kept == [[1]]


def reachable(broker: RedisBroker) -> bool:
    """Whether Redis answers."""
    try:
        return bool(broker.client.ping())
    except redis.RedisError:
        return False


def test_no_command_is_sent_twice_by_the_client_itself(redis_url: str) -> None:
    """After a lost reply the script may have run: a client that repeats it would take a message and drop it."""
    with client(redis_url) as connection:
        retry = connection.get_retry()

    assert retry is not None
    assert retry.get_retries() == 0


def test_a_slow_redis_is_waited_for(redis_url: str) -> None:
    """A fetch that times out on this side has taken the messages on the other."""
    with client(redis_url) as connection:
        assert connection.connection_pool.connection_kwargs["socket_timeout"] >= 30
