"""Holds are captured while their time runs out, and workers and scheduler die in the middle: each ends once."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, LiteralString

from processor import clock
from tests.eventually import eventually
from tests.faults.conftest import NewStack, flush
from tests.load import Command, Load, Receipt, openings
from tests.stack import Stack, held
from tests.verdict import assert_the_books_are_right, wait_until_settled

NAMES: Final = [f"customer-{n}" for n in range(60)]
LATE: Final = NAMES[::3]
IN_TIME: Final = [name for name in NAMES if name not in LATE]
"""Whose captures come too late, and whose do not."""

# As if that had been said when they were placed.
END_NOW: Final[LiteralString] = """
    UPDATE command SET expires_at = now() WHERE type = 'place_hold';
    UPDATE hold SET expires_at = command.expires_at FROM command WHERE position = hold.id
"""


def deposits() -> list[Command]:
    """Enough for two holds of each."""
    body = {"type": "deposit", "amount": "10.00", "currency": "USD"}
    return [(f"pay {name}", body | {"account": name}) for name in NAMES]


def holds() -> list[Command]:
    """Two of each."""
    until = (clock.now() + timedelta(hours=1)).isoformat()
    body = {"type": "place_hold", "amount": "5.00", "currency": "USD", "expires_at": until}
    return [(f"hold {n} {name}", body | {"account": name}) for n in range(2) for name in NAMES]


def captures(placed: Mapping[str, Receipt], names: Sequence[str]) -> list[Command]:
    """Of everybody's first one, in part; nobody takes the second."""
    body = {"type": "capture_hold", "amount": "2.00", "currency": "USD"}
    return [(f"take {name}", body | {"account": name, "hold_id": placed[f"hold 0 {name}"].id}) for name in names]


def in_state(stack: Stack, state: str) -> int:
    """How many holds are in a state."""
    with stack.owner() as conn:
        row = conn.execute("SELECT count(*) FROM hold WHERE state = %s", [state]).fetchone()
    return int(row[0]) if row else 0


def expiries(stack: Stack) -> int:
    """How many expiries were accepted."""
    with stack.owner() as conn:
        row = conn.execute("SELECT count(*) FROM command WHERE type = 'expire_hold'").fetchone()
    return int(row[0]) if row else 0


def test_workers_and_a_scheduler_killed_while_holds_are_captured_and_expire_end_each_once(new_stack: NewStack) -> None:
    """
    Whoever is late gets nothing, and nobody gets a hold twice: neither the shop nor the customer.

    The accounts of those who are late are held until their time is over, so that captures and expiries stand in one
    line, in transactions that are open when the workers die.
    """
    stack = new_stack(workers=2, FLORIN_EXPIRE_HOLDS_EVERY_S="1")
    key = stack.key("load")
    with Load(stack.port, key, [*openings(NAMES), *deposits()], connections=1) as opened:
        pass
    with Load(stack.port, key, holds(), connections=1) as placed:
        pass
    with Load(stack.port, key, captures(placed.receipts, IN_TIME), connections=1) as taken:
        pass
    wait_until_settled(stack)
    with held(stack, *LATE):
        with Load(stack.port, key, captures(placed.receipts, LATE), connections=1) as late:
            pass
        with stack.owner() as conn:
            conn.execute(END_NOW)
        # Of all but those that were captured in time.
        eventually(lambda: expiries(stack) == len(NAMES) + len(LATE))
        stack.kill("worker-1", "worker-2", "scheduler-1")
        flush(stack)
        stack.start("worker-1", "scheduler-2")
    stack.start("worker-2")
    eventually(lambda: in_state(stack, "held") == 0)
    verdict = assert_the_books_are_right(stack, opened.receipts, placed.receipts, taken.receipts, late.receipts)

    assert verdict.outcomes["place_hold", "applied"] == 2 * len(NAMES)
    assert verdict.outcomes["capture_hold", "applied"] == in_state(stack, "captured") == len(IN_TIME)
    assert verdict.outcomes["capture_hold", "hold_expired"] == len(LATE)
    assert verdict.outcomes["expire_hold", "applied"] == in_state(stack, "expired") == len(NAMES) + len(LATE)
    assert expiries(stack) == len(NAMES) + len(LATE)
    assert set(verdict.balances_minor.values()) == {1_000, 800}
