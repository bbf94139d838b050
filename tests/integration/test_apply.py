"""Commands are applied once and in order, however often and in whatever order their messages come."""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from threading import Barrier

import psycopg
import pytest
from prometheus_client import REGISTRY

from processor.account_keys import account_key
from processor.domain.decide import Decided, decide
from processor.lines import MAX_COMMANDS
from processor.submissions import CommandBody
from tests.builders import deposit, opening, submit, transfer, withdraw
from tests.engine import Engine, counted
from tests.eventually import eventually
from workers.messages import Batch, batches


def retries() -> float:
    """How many transactions were run again so far, for a deadlock or anything else that passes."""
    return REGISTRY.get_sample_value("florin_apply_retries_total") or 0


def naming(engine: Engine, positions: list[int]) -> Batch:
    """A message that names these commands and all of their accounts."""
    (message,) = batches(engine.in_line(positions))
    return message


def busy_street(random: Random, accounts: int, commands: int) -> list[CommandBody]:
    """Accounts with overdrafts, and then money going to and fro among them, more than there is."""
    names = [f"house.{number}" for number in range(accounts)]
    street = [opening(name, overdraft_limit_minor=10_000, overdraft_fee_minor=1_500) for name in names]
    for _ in range(commands):
        one, other = random.sample(names, 2)
        amount_minor = random.choice((1, 500, 2_000, 9_000))
        street.append(
            random.choice(
                (
                    deposit(one, amount_minor),
                    withdraw(one, amount_minor),
                    transfer(one, other, amount_minor),
                    transfer(one, other, amount_minor),
                )
            )
        )
    return street


def test_a_command_is_applied_with_its_first_message(engine: Engine) -> None:
    """All kinds in one batch, refusals included; afterwards nothing waits any more."""
    positions = engine.accept(
        opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500),
        deposit("alice", 2_000),
        withdraw("alice", 10_000),
        withdraw("alice", 501),
        transfer("alice", "nobody", 1),
    )
    applied = engine.drain()

    assert [each.settled for each in applied] == [positions]
    assert [status for status, _ in engine.outcomes().values()] == ["applied"] * 3 + ["refused"] * 2
    assert engine.balances() == {"alice": -9_500}
    engine.assert_as_one_by_one()


def test_a_message_that_comes_again_changes_nothing(engine: Engine) -> None:
    """Redis and Dramatiq repeat messages; whoever waits for the answer is told again all the same."""
    positions = engine.accept(opening("alice"), deposit("alice", 100), withdraw("alice", 60), withdraw("alice", 60))
    (message,) = engine.queue
    engine.drain()
    before = engine.rows("SELECT * FROM outcome JOIN transfer USING (position) ORDER BY 1"), engine.balances()

    assert [engine.handle(message).settled for _ in range(3)] == [positions] * 3
    assert before == (engine.rows("SELECT * FROM outcome JOIN transfer USING (position) ORDER BY 1"), engine.balances())


def test_a_message_that_finds_nothing_takes_no_lock(engine: Engine) -> None:
    """Most repeated messages end there: they must not stand in the way of those that do find something."""
    engine.accept(opening("alice"))
    (message,) = engine.queue
    engine.drain()

    with psycopg.connect(engine.database.owner_url) as conn:
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [account_key("alice")])

        assert engine.handle(message).settled == message.positions


def test_the_same_message_in_several_threads_is_applied_once(engine: Engine) -> None:
    """Workers that begin at the same instant: one decides, and the others find it done."""
    positions = engine.accept(opening("alice"), *[deposit("alice", 1)] * 90, *[withdraw("alice", 50)] * 2)
    (message,) = engine.queue
    barrier = Barrier(4)

    def handle(_: int) -> list[int]:
        barrier.wait()
        return sorted(engine.handle(message).settled)

    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(handle, range(4)))

    assert positions in told
    engine.assert_as_one_by_one()


def test_opposite_transfers_do_not_deadlock(engine: Engine) -> None:
    """Alice pays Bob while Bob pays Alice, and in rings of three: everybody locks in the same order."""
    names = ["alice", "bob", "carol"]
    engine.settle(*(opening(name) for name in names), *(deposit(name, 1_000) for name in names))
    before = retries()
    engine.accept_apart(*(transfer(names[n % 3], names[(n + 1 + n % 2) % 3], 1 + n) for n in range(90)))
    engine.drain(workers=4)

    assert retries() == before
    engine.assert_as_one_by_one()


def test_locks_are_taken_in_order_and_end_with_the_transaction(engine: Engine) -> None:
    """Sorted, so that nobody waits in a ring; of the transaction, so that no pool hands on a lock to the next user."""
    engine.accept(*(opening(f"house.{number}") for number in range(40)))
    keys = sorted(account_key(f"house.{number}") for number in range(40))
    waits_for = keys[25]
    with ThreadPoolExecutor(1) as thread, psycopg.connect(engine.database.owner_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [waits_for])
        drained = thread.submit(engine.drain)
        (worker,) = eventually(lambda: [pid for pid, _, granted in locks(engine) if not granted])
        held = [key for pid, key, granted in locks(engine) if pid == worker and granted]
        wanted = [key for pid, key, granted in locks(engine) if not granted]
        holder.rollback()
        drained.result()

    assert sorted(held) == keys[:25]
    assert wanted == [waits_for]
    assert locks(engine) == []


def locks(engine: Engine) -> list[tuple[int, int, bool]]:
    """The account locks of all sessions of this database: whose, on which key, and whether it is held or waited for."""
    rows = engine.rows("""
        SELECT pid, classid::bigint, objid::bigint, granted FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """)
    return [(pid, struct.unpack(">q", struct.pack(">II", high, low))[0], granted) for pid, high, low, granted in rows]


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_messages_in_any_order_give_the_answers_of_one_by_one(engine: Engine, seed: int) -> None:
    """Messages that name the same commands, too few accounts, the last before the first: and four workers at once."""
    random = Random(seed)
    positions = engine.accept(*busy_street(random, accounts=6, commands=250))
    messages = [naming(engine, sorted(random.sample(positions, random.randint(1, 60)))) for _ in range(12)]
    messages += [Batch(batch.positions, batch.account_keys[::2]) for batch in messages[:3]]
    engine.queue = messages + list(engine.queue)
    engine.drain(workers=4, order=random)

    engine.assert_as_one_by_one()


def test_a_hot_account_is_served_in_order_by_many_workers(engine: Engine) -> None:
    """One account in every message: each batch takes the oldest, whichever message it was that came."""
    bodies = [opening("hot"), deposit("hot", 20)]
    bodies += [body for number in range(250) for body in (withdraw("hot", 1 + number % 7), deposit("hot", 3))]
    positions = engine.accept(*bodies)
    engine.queue = [naming(engine, positions[first::9]) for first in range(9)]
    engine.drain(workers=4, order=Random(1))

    assert counted(engine.outcomes())["refused"] > 0
    engine.assert_as_one_by_one()


def test_accounts_that_share_a_lock_key_are_only_slower(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four bits of a hash may be the same for two names: then a transfer between them has one lock, not none."""
    for module in ("processor.submissions", "processor.store.books"):
        monkeypatch.setattr(f"{module}.account_key", lambda name: sum(name.encode()) % 3)
    random = Random(3)
    positions = engine.accept(*busy_street(random, accounts=9, commands=200))
    engine.queue = [naming(engine, positions[first::7]) for first in range(7)]
    engine.drain(workers=4, order=random)

    engine.assert_as_one_by_one()


def test_a_transaction_decides_a_bounded_number_and_a_message_a_bounded_number_of_times(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of the line first, not those that the message names; whoever is left then has a message again."""
    monkeypatch.setattr("processor.apply._ROUNDS", 1)
    positions = engine.accept(opening("alice"), *[deposit("alice", 1)] * 449)
    last = naming(engine, positions[-3:])
    engine.queue = []
    applied = engine.handle(last)

    assert list(applied.settled) == positions[: 2 * MAX_COMMANDS]
    assert [each.position for each in applied.left] == [positions[2 * MAX_COMMANDS], *positions[-3:]]
    engine.drain()
    assert engine.rows("SELECT count(*) FROM outcome GROUP BY xid ORDER BY 1") == [(50,), (200,), (200,)]
    engine.assert_as_one_by_one()


def test_commands_after_the_last_that_is_named_are_left_to_their_own_message(engine: Engine) -> None:
    """Otherwise whoever comes first does the work of all, and the others come for nothing."""
    positions = engine.accept(opening("alice"), *[deposit("alice", 1)] * 9)
    first = naming(engine, positions[:4])

    assert list(engine.handle(first).settled) == positions[:4]
    assert engine.pending() == positions[4:]


def test_a_command_that_comes_before_its_turn_brings_along_what_has_to_come_first(engine: Engine) -> None:
    """The withdrawal waits for a transfer, that one for another, and so on to accounts that the message never named."""
    engine.settle(*(opening(name) for name in ("alice", "bob", "carol", "dave")), deposit("dave", 100))
    chain = engine.accept(transfer("dave", "carol", 90), transfer("carol", "bob", 80), transfer("bob", "alice", 70))
    last, later = engine.accept(withdraw("alice", 60)), engine.accept(deposit("dave", 1))
    engine.queue = []
    applied = engine.handle(naming(engine, last))

    assert list(applied.settled) == [*chain, *last]
    assert engine.pending() == later
    assert engine.balances() == {"alice": 10, "bob": 10, "carol": 10, "dave": 10}


def test_a_worker_that_waited_for_a_lock_sees_what_the_other_wrote(engine: Engine) -> None:
    """A statement that waits keeps its old snapshot: with it, the second withdrawal would spend the money again."""
    engine.settle(opening("alice"), deposit("alice", 100))
    first, second = engine.accept(withdraw("alice", 100)), engine.accept(withdraw("alice", 100))
    engine.queue = []

    with paused_in_decide(engine) as (worker, go_on):
        one = worker.submit(engine.handle, naming(engine, first))
        go_on.wait()
        other = worker.submit(engine.handle, naming(engine, second))
        eventually(lambda: [pid for pid, _, granted in locks(engine) if not granted])
        go_on.wait()
        one.result(), other.result()

    assert [engine.outcomes()[each[0]] for each in (first, second)] == [
        ("applied", None),
        ("refused", "insufficient_funds"),
    ]


@contextmanager
def paused_in_decide(engine: Engine) -> Iterator[tuple[ThreadPoolExecutor, Barrier]]:
    """Two threads; the first to decide stops before it. Meet it at the barrier there, and once more to let it go on."""
    barrier = Barrier(2)
    met: list[bool] = []

    def pausing(*args: object, **kwargs: object) -> Decided:
        if not met:
            met.append(True)
            barrier.wait()
            barrier.wait()
        return decide(*args, **kwargs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr("processor.apply.decide", pausing)
        yield threads, barrier


def test_a_message_with_more_accounts_than_may_be_locked_is_never_made(engine: Engine) -> None:
    """The lock table is shared by all sessions: 250 transfers between 500 accounts are two messages."""
    engine.accept(*(transfer(f"from.{number}", f"to.{number}", 1) for number in range(250)))

    assert [len(message.account_keys) for message in engine.queue] == [400, 100]
    engine.drain()
    engine.assert_as_one_by_one()


def test_a_deposit_may_be_sent_in_one_request_with_the_opening_by_another_process(engine: Engine) -> None:
    """An account that does not exist yet has a lock already: its name is enough."""
    opened, paid = engine.accept(opening("alice")), engine.accept(deposit("alice", 5))
    engine.queue = [naming(engine, paid), naming(engine, opened)]
    engine.drain(workers=2)

    assert engine.balances() == {"alice": 5}


def test_an_unknown_position_is_nobodys_command(engine: Engine) -> None:
    """Whoever can write into Redis can invent messages: they cost a look."""
    answers = engine.answers([submit(opening("alice"))])
    applied = engine.handle(Batch([10**15, -1], [0, account_key("alice")]))

    assert applied.left == ()
    assert len(answers) == len(engine.pending()) == 1
