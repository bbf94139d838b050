"""Nothing breaks here but the order of things: many clients, several workers, one account."""

from tests.faults.conftest import NewStack
from tests.load import Load, openings, payments
from tests.verdict import assert_the_books_are_right


def test_ten_thousand_withdrawals_at_once_take_what_is_there_and_no_more(new_stack: NewStack) -> None:
    """10,000 withdrawals of 2.00 from 10,000.00, each a request of its own: half are paid, and the account is empty."""
    stack = new_stack(api=1, workers=2)
    key = stack.key("load")
    deposit = {"type": "deposit", "account": "hot", "amount": "10000.00", "currency": "USD"}
    with Load(stack.port, key, [*openings(["hot"]), ("deposit", deposit)], connections=1) as before:
        pass
    withdrawal = {"type": "withdraw", "account": "hot", "amount": "2.00", "currency": "USD"}
    withdrawals = [(f"w-{n}", withdrawal) for n in range(10_000)]
    with Load(stack.port, key, withdrawals, connections=64, per_request=1) as load:
        pass
    verdict = assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert verdict.outcomes == {
        ("open_account", "applied"): 1,
        ("deposit", "applied"): 1,
        ("withdraw", "applied"): 5_000,
        ("withdraw", "insufficient_funds"): 5_000,
    }
    assert verdict.balances_minor == {"hot": 0}
    assert not load.troubles


def test_every_account_keeps_the_order_of_receipts(new_stack: NewStack) -> None:
    """Three workers with two threads each, and small messages that share some accounts and not others."""
    stack = new_stack(workers=3)
    key = stack.key("load")
    names = [f"a{n}" for n in range(40)]
    with Load(stack.port, key, openings(names, overdraft="50.00")) as before:
        pass
    with Load(stack.port, key, payments(names, 5_000, seed=1), per_request=3) as load:
        pass
    verdict = assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert min(verdict.outcomes[kind, "applied"] for kind in ("deposit", "withdraw", "transfer")) > 200
    assert min(verdict.outcomes[kind, "insufficient_funds"] for kind in ("withdraw", "transfer")) > 50
    assert not load.troubles
