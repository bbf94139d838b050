"""The wire contract of the queue: how commands are divided into messages, and what a message looks like."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from workers.messages import APPLY, COMMANDS, MAX_COMMANDS, MAX_KEYS, Batch, OrjsonEncoder, batches, message


@dataclass(frozen=True)
class InLine:
    """A command as it is named."""

    position: int
    account_keys: frozenset[int]


def deposits(count: int) -> list[InLine]:
    """One account each."""
    return [InLine(position, frozenset({-position})) for position in range(1, count + 1)]


def transfers(count: int) -> list[InLine]:
    """Two accounts each, none of them twice."""
    return [InLine(position, frozenset({2 * position, 2 * position + 1})) for position in range(1, count + 1)]


any_commands = st.lists(st.frozensets(st.integers(-6, 6), min_size=1, max_size=3), max_size=40).map(
    lambda lines: [InLine(position, keys) for position, keys in enumerate(lines, start=1)]
)


@given(waiting=any_commands)
def test_a_message_names_each_of_its_commands_and_all_of_their_accounts(waiting: list[InLine]) -> None:
    """A worker locks what the message names: an account that is missing there keeps its command waiting."""
    divided = list(batches(waiting))
    keys_of = {each.position: each.account_keys for each in waiting}

    assert [position for batch in divided for position in batch.positions] == list(keys_of)
    for batch in divided:
        assert list(batch.account_keys) == sorted(frozenset().union(*(keys_of[each] for each in batch.positions)))


@given(waiting=any_commands, commands=st.integers(1, 5), keys=st.integers(3, 6))
def test_messages_are_as_full_as_their_bounds_allow(waiting: list[InLine], commands: int, keys: int) -> None:
    """Neither bound is ever passed, and no message is closed before the next command would pass one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.messages.MAX_COMMANDS", commands)
        patch.setattr("workers.messages.MAX_KEYS", keys)
        divided = list(batches(waiting))
    keys_of = {each.position: each.account_keys for each in waiting}

    assert all(len(batch.positions) <= commands and len(batch.account_keys) <= keys for batch in divided)
    for batch, following in pairwise(divided):
        first = keys_of[following.positions[0]]
        assert len(batch.positions) == commands or len(first.union(batch.account_keys)) > keys


@pytest.mark.parametrize(
    ("waiting", "sizes"),
    [
        ([], []),
        (deposits(1), [1]),
        (deposits(200), [200]),
        (deposits(201), [200, 1]),
        (transfers(200), [200]),
        (transfers(450), [200, 200, 50]),
        ([*transfers(199), InLine(900, frozenset({-1, -2, -3})), InLine(901, frozenset({-1}))], [199, 2]),
    ],
)
def test_a_message_has_at_most_200_commands_and_400_accounts(waiting: list[InLine], sizes: list[int]) -> None:
    """More commands turn Postgres's plans, and more locks fill the table that all sessions share."""
    divided = list(batches(waiting))

    assert [len(batch.positions) for batch in divided] == sizes
    assert all(len(batch.account_keys) <= 400 for batch in divided)


def test_the_bounds_are_those_of_a_transaction() -> None:
    """A message that the applier cannot take in one transaction would be sent on and on."""
    from processor.lines import MAX_COMMANDS as COMMANDS_OF_A_TRANSACTION
    from processor.store.locks import MAX_KEYS as KEYS_OF_A_TRANSACTION

    assert (MAX_COMMANDS, MAX_KEYS) == (COMMANDS_OF_A_TRANSACTION, KEYS_OF_A_TRANSACTION)


def test_a_message_reads_as_every_release_expects_it() -> None:
    """Messages outlive a deployment: these names are in the queue while the code changes."""
    sent = message(Batch([3, 5], [-7, 9]))

    assert (sent.queue_name, sent.actor_name, sent.args) == (COMMANDS, APPLY, ())
    assert (COMMANDS, APPLY) == ("commands", "apply_commands")
    assert sent.kwargs == {"version": 1, "positions": [3, 5], "account_keys": [-7, 9]}


def test_what_is_encoded_is_decoded_the_same() -> None:
    """Lock keys use all 64 bits, with a sign: a double would round them to another account's."""
    encoder = OrjsonEncoder()
    wire = message(Batch([2**53 + 1], [-(2**63), 2**63 - 1])).asdict()

    assert Message(**encoder.decode(encoder.encode(wire))).kwargs == {
        "version": 1,
        "positions": [2**53 + 1],
        "account_keys": [-(2**63), 2**63 - 1],
    }
