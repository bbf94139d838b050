"""`florin queue` on a real Redis: what it counts is what is there, and it deletes nothing but what is dead."""

import json
from collections.abc import Iterator

import pytest
from dramatiq.brokers.redis import RedisBroker
from typer.testing import CliRunner, Result

from cli.main import app
from workers import counting
from workers.broker import make_broker
from workers.counting import Messages
from workers.messages import COMMANDS, Batch, message
from workers.notify import NOTICES

NOWHERE = "redis://:secret-word@127.0.0.1:1/0"


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    """The queue, with one message of each state: positions 1 to 4."""
    broker = make_broker(redis_url)
    for position in (1, 2, 3):
        broker.enqueue(message(Batch([position], [])))
    consumer = broker.consume(COMMANDS, prefetch=2)
    dead, _taken = next(consumer), next(consumer)
    assert dead is not None
    consumer.nack(dead)
    broker.enqueue(message(Batch([4], [])), delay=60_000)
    yield broker
    broker.client.close()


def florin(redis_url: str, *arguments: str) -> Result:
    """Run the command line in this process."""
    environment = {"DATABASE_URL": "postgresql://nobody.invalid/florin", "REDIS_URL": redis_url}
    return CliRunner().invoke(app, ["queue", *arguments], env=environment)


def test_messages_are_shown_where_they_are(broker: RedisBroker, redis_url: str) -> None:
    """A script can ask whether any is dead, and a person sees whether workers take what there is."""
    shown = florin(redis_url, "list")
    document = json.loads(florin(redis_url, "list", "--json").stdout)

    assert shown.exit_code == 1
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["QUEUE", "READY", "TAKEN", "DELAYED", "DEAD"],
        [COMMANDS, "1", "1", "1", "1"],
        [NOTICES, "0", "0", "0", "0"],
    ]
    assert document[0] == {"queue": COMMANDS, "ready": 1, "taken": 1, "delayed": 1, "dead": 1}


def test_without_yes_it_is_shown_what_would_be_forgotten(broker: RedisBroker, redis_url: str) -> None:
    """With the positions, so that what became of the commands can be looked at first."""
    shown = florin(redis_url, "forget-dead")

    assert shown.exit_code == 3
    assert "commands: 1 dead message\n" in shown.stdout
    assert "at positions 1:" in shown.stdout
    assert counting.count(broker.client)[0].dead == 1


def test_what_is_dead_is_forgotten_and_all_else_is_kept(broker: RedisBroker, redis_url: str) -> None:
    """The ticket closes, and no message that somebody still works on is touched."""
    done = florin(redis_url, "forget-dead", "--yes")
    again = florin(redis_url, "forget-dead", "--yes")

    assert (done.exit_code, again.exit_code) == (0, 0)
    assert "commands: 1 dead message deleted" in done.stdout
    assert again.stdout == "No message is dead.\n"
    assert counting.count(broker.client) == [Messages(COMMANDS, 1, 1, 1, 0), Messages(NOTICES, 0, 0, 0, 0)]
    assert not broker.client.exists("dramatiq:commands.XQ.msgs")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [(NOWHERE, "florin: the queue does not answer: "), ("redis:secret-word", "florin: REDIS_URL is not an address")],
)
def test_a_queue_that_is_away_is_said_in_a_sentence(url: str, sentence: str) -> None:
    """No traceback, and no password on the screen."""
    result = florin(url, "list")

    assert result.exit_code != 0
    assert result.stderr.startswith(sentence)
    assert "secret-word" not in result.output
