"""Whose turn it is: the rule that keeps every account's commands in order while workers share the work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.account_keys import account_key
from processor.lines import in_turn
from processor.store.books import PendingRow
from tests.builders import NAMES, in_line


def turn(waiting: list[PendingRow], *locked: str) -> list[int]:
    """The positions that may be decided when these accounts are locked."""
    return [row.position for row in in_turn(waiting, [account_key(name) for name in locked])]


@pytest.mark.parametrize(
    ("locked", "expected"),
    [
        (("alice", "bob", "carol"), [1, 2, 3, 4, 5]),
        (("alice", "bob"), [1, 2]),
        (("alice",), [1]),
        (("bob",), []),
        (("carol",), []),
        ((), []),
    ],
)
def test_a_command_waits_for_the_earlier_ones_of_its_accounts(locked: tuple[str, ...], expected: list[int]) -> None:
    """3 needs carol, so without her nothing of bob's after it may go ahead: 4 would overtake it."""
    waiting = [
        in_line(1, "alice"),
        in_line(2, "alice", "bob"),
        in_line(3, "bob", "carol"),
        in_line(4, "bob"),
        in_line(5, "carol"),
    ]

    assert turn(waiting, *locked) == expected


def test_what_waits_makes_others_wait_along_the_chain() -> None:
    """Blocked is passed on: a command that waits blocks accounts that are locked, too."""
    waiting = [in_line(1, "alice", "dave"), in_line(2, "alice", "bob"), in_line(3, "bob", "carol"), in_line(4, "carol")]

    assert turn(waiting, "alice", "bob", "carol") == []


@st.composite
def lines(draw: st.DrawFn) -> list[PendingRow]:
    """A few commands of one or two accounts."""
    touched = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True), max_size=12))
    return [in_line(position, *names) for position, names in enumerate(touched, start=1)]


@given(waiting=lines(), locked=st.sets(st.sampled_from(NAMES)))
def test_nobody_overtakes_and_nobody_waits_without_a_reason(waiting: list[PendingRow], locked: set[str]) -> None:
    """In other words than the code: one goes unless an account is not locked, or an earlier one of them stays."""
    keys = {account_key(name) for name in locked}
    goes = {row.position for row in in_turn(waiting, keys)}

    for row in waiting:
        touched = row.account_keys()
        earlier_stays = any(
            other.position < row.position and other.position not in goes and touched & other.account_keys()
            for other in waiting
        )
        assert (row.position in goes) == (touched <= keys and not earlier_stays)
