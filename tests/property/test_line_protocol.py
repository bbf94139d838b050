"""Whatever the schedule: no command is left behind without a message, and no account's commands change places."""

from collections.abc import Callable
from random import Random
from typing import Final

import pytest

from processor.store.books import PendingRow
from tests.builders import in_line, linked_in_line
from tests.line_protocol import Bounds, Lines, SendOn, Simulation, named_and_heads, nothing

NAMES: Final = ("alice", "bob", "carol", "dave", "erin")


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and transactions that a handful of commands fills, and lines that are read from the model."""
    for name in ("workers.messages.MAX_COMMANDS", "processor.lines.MAX_COMMANDS"):
        monkeypatch.setattr(name, Bounds().commands)
    for name in ("workers.messages.MAX_KEYS", "processor.store.locks.MAX_KEYS"):
        monkeypatch.setattr(name, 4)
    monkeypatch.setattr(
        "processor.store.books.read_lines",
        lambda simulation, keys, *, up_to, limit: simulation.read_lines(keys, up_to, limit),
    )


def commands(random: Random) -> list[PendingRow]:
    """Up to a dozen deposits and transfers among five accounts."""
    count = random.randint(3, 12)
    return [in_line(position, *random.sample(NAMES, random.choice((1, 2, 2)))) for position in range(1, count + 1)]


def with_links(random: Random) -> list[PendingRow]:
    """The same, and two or three of them linked here and there: one place in the lines of up to four accounts."""
    rows: list[PendingRow] = []
    position = 1
    for _ in range(random.randint(3, 9)):
        names = random.sample(NAMES, random.choice((1, 2, 2)))
        if random.random() < 0.4:
            others = [random.sample(NAMES[:4], random.choice((1, 2))) for _ in range(random.randint(1, 2))]
            rows.append(linked_in_line(position, [name for name in names if name != "erin"] or ["alice"], *others))
        else:
            rows.append(in_line(position, *names))
        position += len(rows[-1].rows())
    return rows


def simulate(
    seed: int,
    send_on: SendOn = named_and_heads,
    *,
    named_only: bool = False,
    drawn: Callable[[Random], list[PendingRow]] = commands,
) -> Lines:
    """One schedule, always the same for its seed."""
    random = Random(seed)
    bounds = Bounds(rounds=random.randint(1, 2), workers=random.randint(1, 4))
    return Simulation(random, drawn(random), bounds, send_on=send_on, named_only=named_only).run().lines


@pytest.mark.parametrize("first", range(0, 3_000, 600))
def test_nothing_is_left_behind_when_all_messages_are_consumed(first: int) -> None:
    """Nobody would look for it until the sweeper does: a payment would wait for seconds, in every busy minute."""
    stranded = {seed: left for seed in range(first, first + 600) if (left := simulate(seed).pending)}

    assert not stranded


@pytest.mark.parametrize("first", range(3_000, 6_000, 600))
def test_every_account_is_served_in_order(first: int) -> None:
    """A withdrawal that overtakes the deposit before it is refused, and refused for ever."""
    overtaken = {seed: wrong for seed in range(first, first + 600) if (wrong := simulate(seed).out_of_order())}

    assert not overtaken


def test_everything_is_decided_once() -> None:
    """Also when messages are repeated, and when a worker dies with one in its hands."""
    decided = [simulate(seed) for seed in range(6_000, 6_300)]

    assert all(sorted(lines.decided) == sorted(lines.rows) for lines in decided)


@pytest.mark.parametrize("first", range(7_000, 9_000, 500))
def test_linked_commands_wait_and_go_as_one(first: int) -> None:
    """In the lines of all their accounts at once, and not two steps behind: nothing strands, nobody is overtaken."""
    ends = {seed: simulate(seed, drawn=with_links) for seed in range(first, first + 500)}

    assert not {seed for seed, lines in ends.items() if lines.pending or lines.out_of_order()}
    assert all(sorted(lines.decided) == sorted(lines.rows) for lines in ends.values())


def test_the_simulation_finds_strands_where_nothing_is_sent_on() -> None:
    """A simulation that never finds anything proves nothing: this rule is known to be wrong."""
    stranded = [seed for seed in range(300) if simulate(seed, nothing).pending]

    assert len(stranded) > 10


def test_the_simulation_finds_an_order_that_is_broken() -> None:
    """The same for the other half: workers that apply what their message names, whoever stands before it."""
    overtaken = [seed for seed in range(300) if simulate(seed, named_only=True).out_of_order()]

    assert len(overtaken) > 100
