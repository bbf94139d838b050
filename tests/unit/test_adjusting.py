"""The corrections of those who may: between any two accounts of one currency, the bank's own included."""

from dataclasses import replace

import pytest

from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountStatus, Books, Daily
from processor.domain.commands import Adjust, Command
from processor.domain.holds import HoldState
from processor.domain.outcomes import Reason, Side, Status, Transfer, TransferKind
from tests.builders import (
    a_capture,
    a_deposit,
    a_withdrawal,
    after,
    an_account,
    an_adjustment,
    answer,
    books_of,
    held,
    limits,
    refused,
)

FROZEN, CLOSED = AccountStatus.FROZEN, AccountStatus.CLOSED
OUTSIDE, SUSPENSE = "@settlement:USD", "@suspense:USD"


@pytest.mark.parametrize(
    ("source", "target", "debit", "credit"),
    [
        ("alice", "bob", Side("alice", 8, 400), Side("bob", 8, 600)),
        ("alice", SUSPENSE, Side("alice", 8, 400), Side(SUSPENSE)),
        (SUSPENSE, "bob", Side(SUSPENSE), Side("bob", 8, 600)),
        (OUTSIDE, SUSPENSE, Side(OUTSIDE), Side(SUSPENSE)),
    ],
)
def test_an_adjustment_moves_money_between_any_two_accounts(
    source: str, target: str, debit: Side, credit: Side
) -> None:
    """What came in for nobody waits in suspense until it is somebody's."""
    books = books_of(an_account(available_minor=500), an_account("bob", available_minor=500))

    assert answer(books, an_adjustment(source, target, 100)).transfers == (
        Transfer(TransferKind.ADJUSTMENT, debit, credit, 100, "USD"),
    )


RICH, POOR = an_account(available_minor=100), an_account(available_minor=99)
BOB = an_account("bob")
FULL_BOB = Account("bob", 2, "USD", credits_minor=MAX_TOTAL_MINOR, debits_minor=MAX_TOTAL_MINOR)
BOTH = an_adjustment("alice", "bob", 100)


@pytest.mark.parametrize(
    ("books", "command", "reason", "forced"),
    [
        (books_of(POOR), an_adjustment("alice", "bob"), Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_FOUND),
        (books_of(FULL_BOB), an_adjustment("alice", "bob"), Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_FOUND),
        (
            books_of(replace(POOR, currency="JPY", status=CLOSED), FULL_BOB),
            BOTH,
            Reason.CURRENCY_MISMATCH,
            Reason.CURRENCY_MISMATCH,
        ),
        (books_of(POOR, replace(FULL_BOB, currency="JPY")), BOTH, Reason.CURRENCY_MISMATCH, Reason.CURRENCY_MISMATCH),
        (
            books_of(POOR),
            an_adjustment("alice", "@suspense:JPY"),
            Reason.CURRENCY_MISMATCH,
            Reason.CURRENCY_MISMATCH,
        ),
        (
            books_of(),
            an_adjustment("@suspense:JPY", "@settlement:JPY"),
            Reason.CURRENCY_MISMATCH,
            Reason.CURRENCY_MISMATCH,
        ),
        (books_of(replace(POOR, status=CLOSED), FULL_BOB), BOTH, Reason.ACCOUNT_NOT_OPEN, Reason.ACCOUNT_NOT_OPEN),
        (books_of(POOR, replace(FULL_BOB, status=CLOSED)), BOTH, Reason.ACCOUNT_NOT_OPEN, Reason.ACCOUNT_NOT_OPEN),
        (books_of(replace(POOR, status=FROZEN), BOB), BOTH, Reason.ACCOUNT_NOT_OPEN, None),
        (books_of(POOR, FULL_BOB), BOTH, Reason.INSUFFICIENT_FUNDS, Reason.BALANCE_LIMIT_EXCEEDED),
        (books_of(RICH, FULL_BOB), BOTH, Reason.BALANCE_LIMIT_EXCEEDED, Reason.BALANCE_LIMIT_EXCEEDED),
        (books_of(POOR, replace(BOB, status=FROZEN)), BOTH, Reason.INSUFFICIENT_FUNDS, None),
        (books_of(RICH, replace(BOB, status=FROZEN)), BOTH, None, None),
    ],
)
def test_an_adjustment_is_refused_for_the_first_rule_that_it_breaks(
    books: Books, command: Adjust, reason: Reason | None, forced: Reason | None
) -> None:
    """On either side. Force helps against an empty purse and a freeze, and against nothing else."""
    for each, expected in ((command, reason), (replace(command, force=True), forced)):
        (outcome,), closing = after(books, [each])

        assert outcome.reason is expected
        assert expected is None or closing == books


def test_an_adjustment_has_no_fee_and_no_limit_of_a_day() -> None:
    """It is the bank's own mistake that is mended."""
    account = replace(
        an_account(available_minor=50, overdraft_limit_minor=50, overdraft_fee_minor=15), daily=Daily(0, 0)
    )
    (outcome,), books = after(books_of(account), [an_adjustment(amount_minor=50)])

    assert len(outcome.transfers) == 1
    assert books.accounts["alice"].balance_minor == -50
    assert books.accounts["alice"].daily == Daily(0, 0)
    assert books.accounts["alice"].forced_minor == 0


# Force.


def test_a_forced_adjustment_leaves_what_is_on_hold_to_be_captured() -> None:
    """The promise is older. Captured or given back, the floor gives way just as far as is needed."""
    account = an_account(available_minor=10, held_minor=100, overdraft_limit_minor=5, overdraft_fee_minor=3)
    books = books_of(account, holds=[held()])
    forced = an_adjustment(amount_minor=50, force=True, position=6)
    _, then = after(books, [forced])
    outcomes, captured = after(books, [forced, a_capture(5, position=7)])
    _, part = after(books, [forced, a_capture(5, 70, position=7)])

    assert then.accounts["alice"].forced_minor == 37
    assert outcomes[1].status is Status.APPLIED
    assert captured.holds[5].state is HoldState.CAPTURED
    assert captured.accounts["alice"].forced_minor == 37
    assert part.accounts["alice"].forced_minor == 7


@pytest.mark.parametrize(
    ("change", "forced_minor", "reason"),
    [
        (limits(overdraft_limit_minor=120, position=2), 5, None),
        (limits(overdraft_limit_minor=200, overdraft_fee_minor=0, position=2), 0, None),
        (limits(overdraft_fee_minor=40, position=2), 0, None),
        (limits(daily_count=1, position=2), 25, None),
        (limits(overdraft_limit_minor=99, position=2), 25, Reason.OVERDRAFT_BELOW_BALANCE),
        (limits(overdraft_limit_minor=139, overdraft_fee_minor=0, position=2), 25, Reason.OVERDRAFT_BELOW_BALANCE),
    ],
)
def test_what_was_forced_follows_the_limits(change: Command, forced_minor: int, reason: Reason | None) -> None:
    """Balance less holds is at the floor or above it at any time: limit, one fee and what was forced."""
    account = an_account(available_minor=0, overdraft_limit_minor=100, overdraft_fee_minor=15)
    forced = an_adjustment(amount_minor=40, force=True)
    outcomes, books = after(books_of(account), [forced, change])

    assert outcomes[1].reason is reason
    assert books.accounts["alice"].balance_minor == -140
    assert books.accounts["alice"].forced_minor == forced_minor


def test_what_was_forced_is_no_overdraft() -> None:
    """Who pays in part of it cannot take that out again; and a second force begins where the balance is."""
    commands: list[Command] = [
        an_adjustment(amount_minor=100, force=True, position=1),
        a_deposit(amount_minor=60, position=2),
        a_withdrawal(amount_minor=1, position=3),
        an_adjustment(amount_minor=5, force=True, position=4),
    ]
    outcomes, books = after(books_of(an_account()), commands)

    assert [each.reason for each in outcomes] == [None, None, Reason.INSUFFICIENT_FUNDS, None]
    assert books.accounts["alice"].forced_minor == -books.accounts["alice"].balance_minor == 45


def test_force_stops_at_the_end_of_bigint() -> None:
    """Debits and what is on hold together: Postgres computes the floor from both."""
    near = Account(
        "alice", 1, "USD", debits_minor=MAX_TOTAL_MINOR - 150, held_minor=100, forced_minor=MAX_TOTAL_MINOR - 50
    )
    books = books_of(near, holds=[held()])
    fits, does_not = an_adjustment(amount_minor=50, force=True), an_adjustment(amount_minor=51, force=True)
    (outcome,), closing = after(books, [fits])

    assert outcome.status is Status.APPLIED
    assert closing.accounts["alice"].forced_minor == MAX_TOTAL_MINOR
    assert answer(books, does_not) == refused(does_not, Reason.BALANCE_LIMIT_EXCEEDED)
