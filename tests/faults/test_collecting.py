"""Weeks of instalments fall due at once, and who should collect them dies or doubles: each is decided once."""

import signal
from collections import Counter
from functools import partial
from typing import Final, LiteralString

import pytest

from processor import clock
from tests.eventually import eventually
from tests.faults.conftest import NewStack, flush
from tests.load import Command, Load, openings
from tests.stack import Stack, held
from tests.verdict import assert_the_books_are_right, wait_until_settled

NAMES: Final = [f"borrower-{n}" for n in range(120)]
WEEKS: Final = 4
"""Instalments of each advance that are due when the scheduler comes back after three weeks."""

# As if all that has happened so far had happened three weeks ago.
AGE: Final[LiteralString] = """
    UPDATE command SET accepted_at = accepted_at - interval '21 days', first_due_on = first_due_on - 21;
    UPDATE outcome SET decided_at = decided_at - interval '21 days';
    UPDATE advance SET first_due_on = first_due_on - 21, granted_at = granted_at - interval '21 days';
    UPDATE instalment SET due_on = due_on - 21;
"""


@pytest.fixture
def lending(new_stack: NewStack) -> tuple[Stack, Load]:
    """
    A bank after three weeks without a scheduler, and who was promised what.

    Of three borrowers one has spent the money, one half of it, and one nothing.
    """
    stack = new_stack(api=1, workers=2, schedulers=0, FLORIN_COLLECT_EVERY_S="1")
    with Load(stack.port, stack.key("load"), [*openings(NAMES), *advances(), *spending()], connections=1) as load:
        pass
    wait_until_settled(stack)
    with stack.owner() as conn:
        conn.execute(AGE)
    return stack, load


def advances() -> list[Command]:
    """An advance for each, due from today on."""
    today = clock.now().date().isoformat()
    body = {"type": "advance", "amount": "12.00", "currency": "USD", "instalments": 6, "first_due_on": today}
    return [(f"lend {name}", body | {"account": name}) for name in NAMES]


def spending() -> list[Command]:
    """What each of three neighbours takes away at once: all of it, two thirds, nothing."""
    amounts = ("12.00", "8.00", None)
    return [
        (f"spend {name}", {"type": "withdraw", "account": name, "amount": amount, "currency": "USD"})
        for number, name in enumerate(NAMES)
        if (amount := amounts[number % 3])
    ]


def collects(stack: Stack, *, settled: bool = False) -> int:
    """How many collects were accepted, or have their outcome."""
    with stack.owner() as conn:
        row = conn.execute(
            "SELECT count(*) FROM command LEFT JOIN outcome USING (position)"
            " WHERE type = 'collect' AND (outcome.position IS NOT NULL OR NOT %s)",
            [settled],
        ).fetchone()
    return int(row[0]) if row else 0


def have_collects(stack: Stack, count: int) -> bool:
    """Whether so many were accepted."""
    return collects(stack) >= count


def assert_each_week_was_decided_once(stack: Stack, load: Load) -> None:
    """All that was due is paid or missed, in order, by one collect each; the books say what the rules say."""
    eventually(lambda: collects(stack) == WEEKS * len(NAMES))
    verdict = assert_the_books_are_right(stack, load.receipts)
    with stack.owner() as conn:
        states = conn.execute("""
            SELECT string_agg(state, ' ' ORDER BY number) FROM instalment GROUP BY advance_id
        """).fetchall()
        attempts = conn.execute("""
            SELECT count(*), count(DISTINCT (advance_id, instalment)) FROM command WHERE type = 'collect'
        """).fetchone()

    each = len(NAMES) // 3
    assert Counter(state for (state,) in states) == {
        "missed missed missed missed scheduled scheduled": each,
        "paid paid missed missed scheduled scheduled": each,
        "paid paid paid paid scheduled scheduled": each,
    }
    assert attempts == (WEEKS * len(NAMES), WEEKS * len(NAMES))
    assert verdict.outcomes["collect", "applied"] == 6 * each
    assert verdict.outcomes["collect", "insufficient_funds"] == 6 * each


def test_workers_killed_in_mid_collection_and_a_flushed_queue_take_nothing_twice(lending: tuple[Stack, Load]) -> None:
    """
    The tick has been, the workers are in the middle of it and are killed, and so is who would tick again.

    The accounts of some borrowers are held, so that transactions are open when the workers die.
    """
    stack, load = lending
    with held(stack, *NAMES[::40]):
        stack.start("scheduler-1")
        eventually(lambda: collects(stack) == WEEKS * len(NAMES))
        eventually(lambda: waiting_for_locks(stack) > 0)
        stack.kill("worker-1", "worker-2", "scheduler-1")
        flush(stack)
        stack.start("worker-1", "scheduler-2")
    stack.start("worker-2")

    assert_each_week_was_decided_once(stack, load)


def waiting_for_locks(stack: Stack) -> int:
    """Workers that stand in the middle of a transaction, before an account that somebody holds."""
    with stack.owner() as conn:
        row = conn.execute("""
            SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND NOT granted AND application_name = 'florin worker'
                AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """).fetchone()
    return int(row[0]) if row else 0


def test_a_scheduler_that_sleeps_and_wakes_beside_its_successor_collects_nothing_twice(
    lending: tuple[Stack, Load],
) -> None:
    """Paused beyond every timeout, it believes for a moment that it leads still; another has taken over meanwhile."""
    stack, load = lending
    stack.kill("worker-1", "worker-2")
    stack.start("scheduler-1")
    eventually(lambda: collects(stack) > 0)
    stack.signal("scheduler-1", signal.SIGSTOP)
    stack.start("scheduler-2", "worker-1")
    eventually(lambda: "scheduler.leads" in stack.log("scheduler-2"))
    stack.signal("scheduler-1", signal.SIGCONT)
    eventually(lambda: "scheduler.rests" in stack.log("scheduler-1"))

    assert_each_week_was_decided_once(stack, load)


def test_schedulers_killed_at_any_instant_leave_no_week_out(lending: tuple[Stack, Load]) -> None:
    """Before, while and after the collects are accepted: what is due is read from rows by the next."""
    stack, load = lending
    for name in ("scheduler-1", "scheduler-2") * 2:
        wanted = min(collects(stack) + 1, WEEKS * len(NAMES))
        stack.start(name)
        eventually(partial(have_collects, stack, wanted))
        stack.kill(name)
    stack.start("scheduler-1")

    assert_each_week_was_decided_once(stack, load)
