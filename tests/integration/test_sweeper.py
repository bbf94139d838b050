"""What the queue lost is sent again within seconds; what merely waits in a long queue is left alone."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import orjson
import pytest
from dramatiq.brokers.redis import RedisBroker
from prometheus_client import REGISTRY
from pydantic import SecretStr

from cli.servers import LocalServers
from processor import clock
from processor.settings import Settings
from processor.sweep import Sweeper
from scheduler import services
from scheduler.jobs import tick
from scheduler.timetable import JOBS
from tests.builders import deposit, opening, transfer
from tests.engine import Engine
from workers.broker import make_broker
from workers.messages import COMMANDS, batches, message
from workers.queue import CommandQueue

STRANDED_AFTER = timedelta(seconds=3)


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    """The real queue, empty."""
    broker = make_broker(redis_url)
    yield broker
    broker.client.close()


def queued(broker: RedisBroker) -> list[list[int]]:
    """The positions that each message in the queue names, the next one first."""
    ids = broker.client.lrange(f"{broker.namespace}:{COMMANDS}", 0, -1)
    bodies = [broker.client.hget(f"{broker.namespace}:{COMMANDS}.msgs", each) for each in ids]
    return [orjson.loads(body or b"")["kwargs"]["positions"] for body in bodies]


def send(engine: Engine, broker: RedisBroker) -> None:
    """Put the intake's messages into the real queue."""
    for batch in engine.queue:
        broker.enqueue(message(batch))
    engine.queue = []


class Watch:
    """A clock that the test turns forward."""

    def __init__(self) -> None:
        self.start = clock.now()
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)


@pytest.fixture
def watch() -> Watch:
    """Now, for the time being."""
    return Watch()


@pytest.fixture
def sweeper(engine: Engine, broker: RedisBroker, watch: Watch) -> Sweeper:
    """The one of the leading scheduler."""
    return Sweeper(engine.pool, CommandQueue(broker), now=watch, stranded_after=STRANDED_AFTER)


def test_after_redis_forgot_everything_it_is_sent_again_in_order(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """Nothing that was accepted depends on Redis: it is applied as if nothing had happened, 200 to a message."""
    positions = engine.accept(opening("alice"), *[deposit("alice", 1)] * 300, transfer("alice", "bob", 1))
    send(engine, broker)
    broker.client.flushall()
    watch.seconds = 60
    swept = sweeper.sweep()
    again = queued(broker)

    assert swept == len(positions)
    assert again == [positions[:200], positions[200:]]
    engine.queue = list(batches(engine.in_line(positions)))
    engine.drain()
    engine.assert_as_one_by_one()


def test_young_commands_are_left_alone(engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch) -> None:
    """A worker has them in hand: to send them again would only make work."""
    engine.accept(opening("alice"))
    watch.seconds = 2

    assert sweeper.sweep() == 0
    assert queued(broker) == []


def test_a_command_from_the_future_is_looked_after_too(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """The clock of the process that accepted it is ahead: nobody would wait for tomorrow to find it."""
    (position,) = engine.accept(opening("alice"))
    watch.seconds = -3_600

    assert sweeper.sweep() == 1
    assert queued(broker) == [[position]]


def test_a_long_queue_is_not_made_longer(engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch) -> None:
    """A backlog of minutes is old and not lost. The queue is first in, first out: it has not come to them yet."""
    engine.settle(opening("alice"))
    engine.accept_apart(*[deposit("alice", 1)] * 5)
    send(engine, broker)
    watch.seconds = 600
    before = queued(broker)

    assert sweeper.sweep() == 0
    assert queued(broker) == before


def test_what_the_queue_has_passed_is_sent_again(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """Later ones are decided already, so the message of an earlier one is gone: a worker died with it in its hands."""
    engine.settle(opening("alice"))
    lost, passed, waiting = (engine.accept(deposit(name, 1)) for name in ("alice", "bob", "carol"))
    _, second, third = engine.queue
    engine.queue = [second]
    engine.drain()
    engine.queue = [third]
    send(engine, broker)
    watch.seconds = 10

    assert sweeper.sweep() == 1
    assert queued(broker) == [waiting, lost]
    assert engine.outcomes().keys() >= set(passed)


def test_an_empty_queue_has_passed_everything(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """The last command of the day is found, too, though nothing later was ever decided."""
    (position,) = engine.accept(opening("alice"))
    watch.start = clock.now()
    watch.seconds = 3

    assert sweeper.sweep() == 1
    assert queued(broker) == [[position]]


def test_messages_in_the_hands_of_the_dead_do_not_fill_the_queue(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """A worker that was killed keeps its messages for ever, as far as Dramatiq's own count knows."""
    (position,) = engine.accept(opening("alice"))
    send(engine, broker)
    taken = next(iter(broker.consume(COMMANDS, prefetch=1, timeout=100)))
    watch.seconds = 60

    assert taken is not None
    assert sweeper.sweep() == 1
    assert queued(broker) == [[position]]


def test_each_time_it_waits_twice_as_long_up_to_half_a_minute(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch
) -> None:
    """A command that cannot be settled, for days perhaps, must not fill the queue with its messages."""
    engine.settle(opening("alice"))
    engine.accept(deposit("alice", 1))
    engine.queue = []
    engine.settle(deposit("bob", 1))
    broker.client.rpush(f"{broker.namespace}:{COMMANDS}", "a message that waits")
    sent = []
    for second in range(10, 131):
        watch.seconds = second
        if sweeper.sweep():
            sent.append(second - 10)

    assert sent == [0, 3, 9, 21, 45, 75, 105]


def test_what_is_lost_again_is_sent_again(engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch) -> None:
    """An empty queue says that nobody has it: patience would only make the client wait."""
    engine.accept(opening("alice"))
    watch.start = clock.now()
    sent = []
    for second in range(3, 20):
        watch.seconds = second
        sent.append(sweeper.sweep())
        broker.client.flushall()

    assert sent == [1, 0, 0] * 5 + [1, 0]


def test_while_redis_is_away_the_job_fails_and_afterwards_it_works(
    engine: Engine, broker: RedisBroker, sweeper: Sweeper, watch: Watch, servers: LocalServers
) -> None:
    """The scheduler lives on, the failure is counted, and what could not be sent is not taken for sent."""
    (position,) = engine.accept(opening("alice"))
    watch.seconds = 60
    (job,) = [each for each in JOBS if each.name == "sweep"]
    settings = Settings(database_url=SecretStr(engine.database.app_url), redis_url=SecretStr(servers.redis_url))  # type: ignore[call-arg]
    before = runs("error"), runs("success")
    with services.opened(settings, CommandQueue(broker), connections=1, stop=threading.Event()) as made:
        provided = replace(made, sweeper=sweeper)
        servers.redis.stop()
        try:
            tick(job, provided)
            failed = runs("error"), runs("success")
        finally:
            servers.redis.start()
        tick(job, provided)

    assert failed == (before[0] + 1, before[1])
    assert (runs("error"), runs("success")) == (before[0] + 1, before[1] + 1)
    assert queued(broker) == [[position]]


def runs(result: str) -> float:
    """How often the job ended like that so far."""
    return REGISTRY.get_sample_value("florin_job_runs_total", {"job": "sweep", "result": result}) or 0
