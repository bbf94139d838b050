"""Whatever the schedule: what is held comes back, once, and does not bring the others out of order."""

from random import Random
from typing import Final

import pytest

from processor.store.books import PendingRow
from tests.builders import in_line
from tests.line_protocol import Bounds, Lines, Simulation

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


def simulate(seed: int, *, careless: bool = False) -> Lines:
    """One schedule with up to four quarantines, always the same for its seed."""
    random = Random(seed)
    bounds = Bounds(rounds=random.randint(1, 2), workers=random.randint(1, 4))
    doubts = random.randint(1, 4)
    return Simulation(random, commands(random), bounds, doubts=doubts, careless=careless).run().lines


@pytest.mark.parametrize("first", range(0, 2_000, 500))
def test_what_is_held_is_decided_once_after_its_release(first: int) -> None:
    """A command that is neither held nor in line nor decided is money that nobody knows of."""
    ends = {seed: simulate(seed) for seed in range(first, first + 500)}
    wrong = [seed for seed, lines in ends.items() if sorted(lines.decided) != sorted(lines.rows)]

    assert not wrong
    assert not any(lines.pending or lines.held for lines in ends.values())
    assert sum(bool(lines.ever_held) for lines in ends.values()) > 100


@pytest.mark.parametrize("first", range(2_000, 4_000, 500))
def test_those_that_were_never_held_are_decided_in_order(first: int) -> None:
    """A quarantine takes commands out of their lines; it must not change the places of the rest."""
    overtaken = [seed for seed in range(first, first + 500) if simulate(seed).out_of_order()]

    assert not overtaken


def test_the_simulation_finds_what_a_careless_release_leaves_held() -> None:
    """A simulation that never finds anything proves nothing: to release without the account's lock is wrong."""
    stranded = [seed for seed in range(500) if simulate(seed, careless=True).held]

    assert stranded
