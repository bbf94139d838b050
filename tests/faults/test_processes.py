"""Processes die, freeze and are asked to end in the middle of the work: every promise is kept."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Final, LiteralString

import httpx
import pytest
import redis

from cli.servers.process import wait_until
from tests.faults.conftest import NewStack, flush
from tests.load import Load, openings, payments
from tests.stack import Stack, held
from tests.verdict import assert_the_books_are_right, wait_until_settled
from workers.messages import COMMANDS

NAMES = [f"a{n}" for n in range(400)]
"""So many that a lost message is not made good by the next one, which would find its accounts' lines."""

HAVE_OUTCOMES: Final[LiteralString] = "SELECT count(*) >= %s FROM outcome"


def begin(stack: Stack) -> tuple[str, Load]:
    """A key, and accounts that are open."""
    key = stack.key("load")
    with Load(stack.port, key, openings(NAMES, overdraft="50.00")) as load:
        pass
    wait_until_settled(stack)
    return key, load


def test_killed_workers_lose_nothing_and_repeat_nothing(new_stack: NewStack) -> None:
    """kill -9 at any instruction: in a transaction, after its commit, with messages in hand."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 5_000, seed=2)) as load:
        for n, name in enumerate(["worker-1", "worker-2", "worker-1", "worker-2"]):
            load.wait_for(1_000 * (n + 1))
            stack.kill(name)
            stack.start(name)

    assert_the_books_are_right(stack, before.receipts, load.receipts)


def test_all_workers_killed_at_once_leave_their_work_to_the_next(new_stack: NewStack) -> None:
    """Whatever they had in hand is in no queue any more. Postgres knows it."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 2_000, seed=3)) as load:
        load.wait_for(1_000)
        stack.kill("worker-1", "worker-2")
    stack.start("worker-1")

    assert_the_books_are_right(stack, before.receipts, load.receipts)


def test_a_killed_api_keeps_every_receipt_that_it_gave(new_stack: NewStack) -> None:
    """The client retries the same keys on every error, and each command it meant is there once."""
    stack = new_stack(api=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 5_000, seed=4), per_request=5) as load:
        # Both at first: one of them may have taken all the connections, and nobody would notice the other's death.
        for n, names in enumerate([("api-1", "api-2"), *[("api-1",), ("api-2",)] * 3]):
            load.wait_for(500 * (n + 1))
            stack.kill(*names)
            stack.start(*names)
    verdict = assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert load.troubles.total() > 0
    assert sum(verdict.outcomes.values()) == 5_000 + len(NAMES)


def test_the_only_api_may_be_killed(new_stack: NewStack) -> None:
    """Then nobody answers for a while."""
    stack = new_stack(api=1)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 2_000, seed=5), per_request=1) as load:
        load.wait_for(500)
        stack.kill("api-1")
        stack.start("api-1")
    assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert load.troubles.total() > 0


def test_an_api_that_is_asked_to_end_finishes_what_it_has_read(new_stack: NewStack) -> None:
    """A deployment in the middle of the day. There is no sweeper here to send what was accepted and not announced."""
    stack = new_stack(api=2, schedulers=0)
    key, before = begin(stack)
    codes = []
    with Load(stack.port, key, payments(NAMES, 4_000, seed=6)) as load:
        for n, name in enumerate(["api-1", "api-2"]):
            load.wait_for(1_000 * (n + 1))
            codes += stack.stop(name)
            stack.start(name)
    assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert codes == [0, 0]
    # A connection may close between two requests; a request that was read has its answer.
    assert load.troubles.keys() <= {"ConnectionResetError", "BrokenPipeError", "IncompleteReadError"}


def test_workers_that_are_asked_to_end_give_back_what_they_have_in_hand(new_stack: NewStack) -> None:
    """
    Whatever is pending when they have ended is in the queue again: nobody has to find out first that they are gone.

    They are frozen while the queue fills, so that they have work in hand when they are asked. Each command has an
    account of its own.
    """
    stack = new_stack(schedulers=0)
    key, before = begin(stack)
    commands = [
        (f"d{n}", {"type": "deposit", "account": f"of-{n}", "amount": "1.00", "currency": "USD"}) for n in range(5_000)
    ]
    for name in stack.running("worker"):
        stack.signal(name, signal.SIGSTOP)
    with Load(stack.port, key, commands, connections=4, per_request=50) as load:
        pass
    for name in stack.running("worker"):
        stack.signal(name, signal.SIGCONT)
    with stack.owner() as conn:
        for count in (1_000, 2_500):
            assert wait_until(lambda: conn.execute(HAVE_OUTCOMES, [count]).fetchone() == (True,), timeout_s=20)  # noqa: B023
            assert stack.stop("worker-1", "worker-2") == [0, 0]
            pending = {position for (position,) in conn.execute("SELECT position FROM pending")}
            assert pending
            assert pending <= queued(stack)
            stack.start("worker-1", "worker-2")

    assert_the_books_are_right(stack, before.receipts, load.receipts)


def test_a_frozen_worker_wakes_up_and_repeats_nothing(new_stack: NewStack) -> None:
    """Its sessions were ended meanwhile, as Postgres does with idle ones, and others did what it had in hand."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 3_000, seed=7)) as load:
        load.wait_for(1_000)
        stack.signal("worker-1", signal.SIGSTOP)
        with stack.owner() as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'florin worker'"
            )
    wait_until_settled(stack)
    stack.signal("worker-1", signal.SIGCONT)
    with Load(stack.port, key, payments(NAMES, 1_000, seed=8)) as after:
        pass

    assert_the_books_are_right(stack, before.receipts, load.receipts, after.receipts)


def test_a_worker_that_was_frozen_for_a_while_goes_on(new_stack: NewStack) -> None:
    """Others wait for its locks, and nobody decides in its place."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 3_000, seed=9)) as load:
        load.wait_for(500)
        stack.signal("worker-1", signal.SIGSTOP)
        load.wait_for(2_500)
        stack.signal("worker-1", signal.SIGCONT)

    assert_the_books_are_right(stack, before.receipts, load.receipts)


@pytest.mark.parametrize("leaves", ["killed", "frozen"])
def test_the_standby_scheduler_takes_over(new_stack: NewStack, leaves: str) -> None:
    """The leader is gone or says nothing, the queue is flushed, and what is pending is found all the same."""
    stack = new_stack(workers=2, schedulers=2)
    key, before = begin(stack)
    leader = leading_scheduler(stack)
    stack.kill("worker-1", "worker-2")
    with Load(stack.port, key, payments(NAMES, 1_000, seed=10)) as load:
        pass
    assert wait_until(lambda: queued(stack) >= {each.position for each in load.receipts.values()}, timeout_s=20)
    if leaves == "killed":
        stack.kill(leader)
    else:
        stack.signal(leader, signal.SIGSTOP)
    flush(stack)
    stack.start("worker-1")
    assert_the_books_are_right(stack, before.receipts, load.receipts)
    stack.signal(leader, signal.SIGCONT) if leaves == "frozen" else None

    assert leading_scheduler(stack) != leader


def test_an_api_that_is_asked_to_end_answers_those_who_wait(new_stack: NewStack) -> None:
    """Its client has a command that was accepted, and must not be told that something went wrong."""
    stack = new_stack(api=1)
    key, _ = begin(stack)
    deposit = {"type": "deposit", "account": NAMES[0], "amount": "1.00", "currency": "USD"}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "waits", "Prefer": "wait=30"}
    with held(stack, NAMES[0]), ThreadPoolExecutor(1) as thread, stack.owner() as conn:
        waiting = thread.submit(
            httpx.post, f"{stack.url}/v1/commands", json=deposit, headers=headers, timeout=60, trust_env=False
        )
        assert wait_until(
            lambda: conn.execute("SELECT EXISTS (SELECT FROM pending)").fetchone() == (True,), timeout_s=20
        )
        codes = stack.stop("api-1")
        answer = waiting.result()

    assert codes == [0]
    assert (answer.status_code, answer.json()["status"]) == (202, "pending"), answer.text


def queued(stack: Stack) -> set[int]:
    """The positions that the messages in the queue name, without those that a worker has in hand."""
    with redis.Redis.from_url(stack.redis_url) as client:
        ids = client.lrange(f"dramatiq:{COMMANDS}", 0, -1)
        messages = [json.loads(each) for each in client.hmget(f"dramatiq:{COMMANDS}.msgs", ids) if each] if ids else []
    return {position for message in messages for position in message["kwargs"]["positions"]}


def leading_scheduler(stack: Stack) -> str:
    """The one that says that it leads, once one does."""

    def leaders() -> list[str]:
        return [name for name in stack.running("scheduler") if _leads(stack.log(name))]

    assert wait_until(lambda: len(leaders()) == 1, timeout_s=20)
    (leader,) = leaders()
    return leader


def _leads(log: str) -> bool:
    turns = [line for line in log.splitlines() if "scheduler.leads" in line or "scheduler.rests" in line]
    return bool(turns) and "scheduler.leads" in turns[-1]
