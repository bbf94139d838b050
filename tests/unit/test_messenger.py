"""The thread that tells the queue what was accepted: it shares messages, survives Redis, and ends when all is told."""

import threading
from collections.abc import Iterator, Sequence

import pytest
import redis

from processor.intake import Accepted
from workers.messenger import Messenger


class Queue:
    """Keeps what it is sent, once ``open`` is set; raises an error first for each that is to come."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.errors: list[Exception] = []
        self.taken = threading.Event()
        self.open = threading.Event()

    def send(self, waiting: Sequence[Accepted]) -> None:
        self.taken.set()
        assert self.open.wait(20)
        if self.errors:
            raise self.errors.pop()
        self.sent.append([each.position for each in waiting])


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def messenger(queue: Queue) -> Iterator[Messenger]:
    """A messenger that runs, and whose queue is closed still."""
    messenger = Messenger(queue)  # type: ignore[arg-type]
    messenger.start()
    yield messenger
    queue.open.set()
    messenger.close(timeout_s=20)


def accepted(*positions: int) -> list[Accepted]:
    """Commands that were just accepted."""
    return [Accepted(position, frozenset([7])) for position in positions]


def test_everything_is_sent_in_order_before_the_end(messenger: Messenger, queue: Queue) -> None:
    """A process that is asked to end leaves nothing to the sweeper."""
    for position in range(1, 501):
        messenger.announce(accepted(position))
    threading.Timer(0, queue.open.set).start()
    messenger.close(timeout_s=20)

    assert [position for message in queue.sent for position in message] == list(range(1, 501))


def test_what_is_accepted_meanwhile_shares_the_next_message(messenger: Messenger, queue: Queue) -> None:
    """The slower Redis is, the larger the messages: the intake never waits for it."""
    messenger.announce(accepted(1))
    assert queue.taken.wait(20)
    for position in range(2, 403):
        messenger.announce(accepted(position))
    queue.open.set()
    messenger.close(timeout_s=20)

    assert [len(message) for message in queue.sent] == [1, 200, 200, 1]


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.TimeoutError("slow"), ValueError("a bug")])
def test_an_error_costs_what_waits_and_nothing_that_comes_later(
    messenger: Messenger, queue: Queue, error: Exception
) -> None:
    """The sweeper has the rest; the thread lives on."""
    queue.errors.append(error)
    messenger.announce(accepted(1, 2))
    assert queue.taken.wait(20)
    messenger.announce(accepted(3))
    queue.taken.clear()
    queue.open.set()
    # What comes after the error is sent. Until then it may be dropped with the rest: so it is told again and again.
    position = 100
    while not queue.taken.wait(0.01):
        messenger.announce(accepted(position))
        position += 1
    messenger.close(timeout_s=20)

    sent = [position for message in queue.sent for position in message]
    assert sent
    assert set(sent) <= set(range(100, position))


def test_nothing_is_sent_for_nothing(messenger: Messenger, queue: Queue) -> None:
    """A group of replays has nothing to tell."""
    messenger.announce([])
    queue.open.set()
    messenger.close(timeout_s=20)

    assert queue.sent == []
