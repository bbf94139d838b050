"""The rules of holds: what may be reserved, what that leaves for others, and how a hold ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountStatus, Books, Daily
from processor.domain.commands import UNLIMITED_MINOR, Command
from processor.domain.holds import Hold, HoldState
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind
from processor.domain.rules import LATEST_EXPIRY, Bounds, Rules
from tests.builders import (
    NOON,
    TODAY,
    a_capture,
    a_deposit,
    a_hold,
    a_release,
    a_transfer,
    a_withdrawal,
    after,
    an_account,
    an_expiry,
    answer,
    books_of,
    held,
    refused,
)

FROZEN, CLOSED = AccountStatus.FROZEN, AccountStatus.CLOSED
AN_INSTANT = timedelta(microseconds=1)
HOLDER = an_account(available_minor=50, held_minor=100)


def holding(hold: Hold, account: Account = HOLDER, *others: Account) -> Books:
    """The books of an account that has 150 and of these 100 on hold."""
    return books_of(account, *others, holds=[hold])


# place_hold


def test_a_hold_reserves_and_moves_nothing() -> None:
    """The balance stays, what is available is less. Its id is the position of the command."""
    (outcome,), books = after(books_of(an_account(available_minor=150)), [a_hold(amount_minor=100, position=7)])
    account = books.accounts["alice"]

    assert outcome == Outcome(7, Status.APPLIED)
    assert (account.balance_minor, account.held_minor, account.available_minor) == (150, 100, 50)
    assert books.holds == {7: Hold(7, "alice", "USD", 100)}


def test_all_that_is_available_may_be_reserved() -> None:
    """The overdraft too: what may be spent may be promised."""
    account = an_account(available_minor=100, overdraft_limit_minor=80)
    (first, second), books = after(
        books_of(account), [a_hold(amount_minor=100, position=1), a_hold(amount_minor=1, position=2)]
    )

    assert first.status is Status.APPLIED
    assert second == refused(a_hold(position=2), Reason.INSUFFICIENT_FUNDS)
    assert books.accounts["alice"].available_minor == 0


def test_nothing_can_be_reserved_once_a_fee_passed_the_limit() -> None:
    """What is available is below zero then, and a hold would be of somebody else's money."""
    account = an_account(available_minor=100, overdraft_limit_minor=100, overdraft_fee_minor=15)
    commands: list[Command] = [a_withdrawal(amount_minor=100, position=1), a_hold(amount_minor=1, position=2)]
    outcomes, books = after(books_of(account), commands)

    assert outcomes[1] == refused(commands[1], Reason.INSUFFICIENT_FUNDS)
    assert books.accounts["alice"].available_minor == -15


POOR = replace(an_account(available_minor=99), daily=Daily(0, UNLIMITED_MINOR))
PAST = a_hold(expires_at=NOON)
BOUNDED = Rules(bounds={("place_hold", "USD"): Bounds(100, 200), ("withdraw", "USD"): Bounds(1, 1)})


@pytest.mark.parametrize(
    ("account", "command", "reason"),
    [
        (None, PAST, Reason.ACCOUNT_NOT_FOUND),
        (replace(POOR, currency="JPY", status=FROZEN), PAST, Reason.CURRENCY_MISMATCH),
        (replace(POOR, status=FROZEN), replace(PAST, amount_minor=99), Reason.ACCOUNT_NOT_OPEN),
        (replace(POOR, status=CLOSED), replace(PAST, amount_minor=99), Reason.ACCOUNT_NOT_OPEN),
        (POOR, replace(PAST, amount_minor=99), Reason.AMOUNT_OUT_OF_BOUNDS),
        (POOR, replace(PAST, amount_minor=201), Reason.AMOUNT_OUT_OF_BOUNDS),
        (POOR, PAST, Reason.EXPIRY_OUT_OF_BOUNDS),
        (POOR, a_hold(), Reason.LIMIT_EXCEEDED),
        (an_account(available_minor=99), a_hold(), Reason.INSUFFICIENT_FUNDS),
        (
            Account(
                "alice",
                1,
                "USD",
                credits_minor=MAX_TOTAL_MINOR,
                debits_minor=MAX_TOTAL_MINOR - 100,
                held_minor=1,
                overdraft_limit_minor=1,
            ),
            a_hold(),
            Reason.BALANCE_LIMIT_EXCEEDED,
        ),
    ],
)
def test_a_hold_is_refused_for_the_first_rule_that_it_breaks(
    account: Account | None, command: Command, reason: Reason
) -> None:
    """Each line breaks its own rule and those after it. Nothing is reserved, and nothing is counted."""
    books = Books.of([account] if account else [])
    (outcome,), closing = after(books, [command], rules=BOUNDED)

    assert outcome == refused(command, reason)
    assert closing == books


@pytest.mark.parametrize(
    ("until", "allowed"),
    [
        (NOON - AN_INSTANT, False),
        (NOON, False),
        (NOON + AN_INSTANT, True),
        (NOON + LATEST_EXPIRY, True),
        (NOON + LATEST_EXPIRY + AN_INSTANT, False),
    ],
)
def test_a_hold_ends_after_it_begins_and_within_a_year(until: object, allowed: bool) -> None:
    """One that were over at once would reserve nothing, and be a riddle for whoever captures it."""
    command = replace(a_hold(), expires_at=until)  # type: ignore[arg-type]
    outcome = answer(books_of(an_account(available_minor=100)), command)

    assert outcome == (Outcome(1, Status.APPLIED) if allowed else refused(command, Reason.EXPIRY_OUT_OF_BOUNDS))


# What is on hold is not available.


@pytest.mark.parametrize(
    "command", [a_withdrawal(amount_minor=51), a_transfer(amount_minor=51), a_hold(amount_minor=51)]
)
def test_what_is_on_hold_is_for_nobody_else(command: Command) -> None:
    """It was promised."""
    assert answer(holding(held(), HOLDER, an_account("bob")), command) == refused(command, Reason.INSUFFICIENT_FUNDS)


@pytest.mark.parametrize(("amount_minor", "allowed"), [(0, True), (30, True), (85, True), (86, False), (100, False)])
def test_a_fee_does_not_take_what_is_on_hold(amount_minor: int, allowed: bool) -> None:
    """Without a hold the fee alone may pass the limit; with one, it has to fit, or the withdrawal is refused."""
    account = an_account(available_minor=110, held_minor=10, overdraft_limit_minor=100, overdraft_fee_minor=15)
    command = a_withdrawal(amount_minor=10 + amount_minor)
    (outcome,), books = after(holding(held(10), account), [command])

    assert outcome.reason is (None if allowed else Reason.INSUFFICIENT_FUNDS)
    # It ends at zero or above while there are the ten that are on hold, and costs nothing then.
    fee_minor = 15 if amount_minor > 10 else 0
    left_minor = 20 - 10 - amount_minor - fee_minor if allowed else 20
    assert books.accounts["alice"].balance_minor == left_minor


# capture_hold


def test_a_capture_takes_what_was_reserved() -> None:
    """It goes out of the bank, as a withdrawal does."""
    (outcome,), books = after(holding(held()), [a_capture(5)])
    account = books.accounts["alice"]

    assert outcome.transfers == (
        Transfer(TransferKind.CAPTURE, Side("alice", 8, 50), Side("@settlement:USD"), 100, "USD"),
    )
    assert (account.balance_minor, account.held_minor) == (50, 0)
    assert books.holds[5] == replace(held(), state=HoldState.CAPTURED, captured_minor=100, settled_by=2)


def test_a_capture_of_part_gives_back_the_rest() -> None:
    """A hotel reserves more than it takes, and takes once."""
    outcomes, books = after(holding(held()), [a_capture(5, 30), a_capture(5, 30, position=3)])
    account = books.accounts["alice"]

    assert [outcome.reason for outcome in outcomes] == [None, Reason.HOLD_NOT_OPEN]
    assert (account.balance_minor, account.held_minor, account.available_minor) == (120, 0, 120)
    assert books.holds[5].captured_minor == 30


def test_a_capture_may_go_to_another_customer() -> None:
    """Both sides in one row, as in a transfer; a frozen account takes what comes."""
    books = holding(held(), HOLDER, an_account("bob", status=FROZEN))
    (outcome,), closing = after(books, [a_capture(5, to_account="bob")])

    assert outcome.transfers == (Transfer(TransferKind.CAPTURE, Side("alice", 8, 50), Side("bob", 8, 100), 100, "USD"),)
    assert closing.accounts["bob"].balance_minor == 100


def test_a_capture_costs_no_fee() -> None:
    """The account ends overdrawn, but the money was promised before."""
    account = an_account(held_minor=100, overdraft_limit_minor=100, overdraft_fee_minor=15)
    (outcome,), books = after(holding(held(), account), [a_capture(5)])

    assert len(outcome.transfers) == 1
    assert books.accounts["alice"].balance_minor == -100


def test_a_hold_may_be_placed_and_captured_in_one_batch() -> None:
    """The till is faster than the worker."""
    commands: list[Command] = [a_hold(amount_minor=60, position=3), a_capture(3, position=4), a_release(3, position=5)]
    outcomes, books = after(books_of(an_account(available_minor=60)), commands)

    assert [outcome.reason for outcome in outcomes] == [None, None, Reason.HOLD_NOT_OPEN]
    assert books.accounts["alice"].balance_minor == books.accounts["alice"].held_minor == 0
    assert books.holds[3].settled_by == 4


def test_what_is_on_hold_can_always_be_captured() -> None:
    """Other debits leave room for it in the total, so that a promise never fails for a number that does not fit."""
    near = Account(
        "alice",
        1,
        "USD",
        credits_minor=MAX_TOTAL_MINOR,
        debits_minor=MAX_TOTAL_MINOR - 150,
        held_minor=100,
        overdraft_limit_minor=10,
    )
    commands: list[Command] = [
        a_withdrawal(amount_minor=51, position=7),
        a_withdrawal(amount_minor=50, position=8),
        a_capture(5, position=9),
    ]
    outcomes, books = after(holding(held(), near), commands)

    assert [outcome.reason for outcome in outcomes] == [Reason.BALANCE_LIMIT_EXCEEDED, None, None]
    assert books.accounts["alice"].debits_minor == MAX_TOTAL_MINOR


ENDED = held().give_back(HoldState.RELEASED, by=6)
OVER = held(expires_at=NOON)
BOB = an_account("bob")
FULL_BOB = Account("bob", 2, "USD", credits_minor=MAX_TOTAL_MINOR, debits_minor=MAX_TOTAL_MINOR)


@pytest.mark.parametrize(
    ("books", "command", "reason"),
    [
        (books_of(), a_capture(5), Reason.ACCOUNT_NOT_FOUND),
        (holding(ENDED), a_capture(6, to_account="bob"), Reason.ACCOUNT_NOT_FOUND),
        (books_of(BOB, holds=[ENDED]), a_capture(5, to_account="bob"), Reason.ACCOUNT_NOT_FOUND),
        (holding(ENDED), a_capture(6, currency="JPY"), Reason.HOLD_NOT_FOUND),
        (holding(ENDED), a_capture(None), Reason.HOLD_NOT_FOUND),
        (holding(replace(ENDED, account="bob"), HOLDER, BOB), a_capture(5), Reason.HOLD_NOT_FOUND),
        (holding(ENDED), a_capture(5, currency="JPY"), Reason.CURRENCY_MISMATCH),
        (
            holding(ENDED, HOLDER, replace(BOB, currency="JPY")),
            a_capture(5, to_account="bob"),
            Reason.CURRENCY_MISMATCH,
        ),
        (holding(replace(ENDED, expires_at=NOON)), a_capture(5), Reason.HOLD_NOT_OPEN),
        (holding(OVER, replace(HOLDER, status=FROZEN)), a_capture(5), Reason.HOLD_EXPIRED),
        (holding(held(), replace(HOLDER, status=FROZEN)), a_capture(5, 101), Reason.ACCOUNT_NOT_OPEN),
        (
            holding(held(), HOLDER, replace(FULL_BOB, status=CLOSED)),
            a_capture(5, 101, to_account="bob"),
            Reason.ACCOUNT_NOT_OPEN,
        ),
        (holding(held(), HOLDER, FULL_BOB), a_capture(5, 101, to_account="bob"), Reason.CAPTURE_ABOVE_HELD),
        (holding(held(), HOLDER, FULL_BOB), a_capture(5, to_account="bob"), Reason.BALANCE_LIMIT_EXCEEDED),
    ],
)
def test_a_capture_is_refused_for_the_first_rule_that_it_breaks(books: Books, command: Command, reason: Reason) -> None:
    """Each line breaks its own rule and, as far as that can be, those after it. The hold stays as it is."""
    (outcome,), closing = after(books, [command])

    assert outcome == refused(command, reason)
    assert closing == books


# release_hold and expire_hold


@pytest.mark.parametrize("status", [AccountStatus.OPEN, FROZEN])
@pytest.mark.parametrize(
    ("hold", "command", "state"),
    [
        (held(), a_release(5), HoldState.RELEASED),
        (OVER, a_release(5), HoldState.RELEASED),
        (OVER, an_expiry(5), HoldState.EXPIRED),
        (held(expires_at=NOON - timedelta(days=9)), an_expiry(5), HoldState.EXPIRED),
    ],
)
def test_what_was_reserved_is_given_back(hold: Hold, command: Command, state: HoldState, status: AccountStatus) -> None:
    """On a frozen account too: nothing leaves it."""
    (outcome,), books = after(holding(hold, replace(HOLDER, status=status)), [command])
    account = books.accounts["alice"]

    assert outcome == Outcome(2, Status.APPLIED)
    assert (account.balance_minor, account.held_minor) == (150, 0)
    assert books.holds[5] == replace(hold, state=state, settled_by=2)


@pytest.mark.parametrize("command", [a_release(5), an_expiry(5)])
@pytest.mark.parametrize(
    ("books", "reason"),
    [
        (books_of(holds=[ENDED]), Reason.ACCOUNT_NOT_FOUND),
        (books_of(HOLDER), Reason.HOLD_NOT_FOUND),
        (holding(replace(ENDED, account="bob")), Reason.HOLD_NOT_FOUND),
        (holding(replace(ENDED, currency="JPY")), Reason.CURRENCY_MISMATCH),
        (holding(replace(ENDED, expires_at=NOON)), Reason.HOLD_NOT_OPEN),
        (holding(held().capture(1, by=6)), Reason.HOLD_NOT_OPEN),
    ],
)
def test_nothing_is_given_back_twice(books: Books, command: Command, reason: Reason) -> None:
    """Or by somebody else, or of what was taken."""
    (outcome,), closing = after(books, [command])

    assert outcome == refused(command, reason)
    assert closing == books


@pytest.mark.parametrize("until", [None, NOON + AN_INSTANT])
def test_a_hold_does_not_expire_before_its_time(until: object) -> None:
    """A scheduler whose clock is ahead breaks no promise; and what has no end has none."""
    books = holding(replace(held(), expires_at=until))  # type: ignore[arg-type]
    (outcome,), closing = after(books, [an_expiry(5)])

    assert outcome == refused(an_expiry(5), Reason.HOLD_NOT_EXPIRED)
    assert closing.accounts == books.accounts
    # The attempt is counted, so that the scheduler has another one.
    assert closing.holds[5] == replace(books.holds[5], attempts=1)
    assert answer(books, a_capture(5)).status is Status.APPLIED


def test_a_hold_counts_on_the_day_on_which_it_is_placed() -> None:
    """Its capture is the debit that was counted; and who releases it does not get another one."""
    account = an_account(available_minor=500, daily=Daily(1, UNLIMITED_MINOR))
    commands: list[Command] = [
        a_hold(position=1),
        a_capture(1, position=2),
        a_deposit(position=3),
        a_withdrawal(position=4),
        a_hold(position=5),
    ]
    outcomes, books = after(books_of(account), commands)

    assert [outcome.reason for outcome in outcomes] == [None, None, None, *[Reason.LIMIT_EXCEEDED] * 2]
    assert books.accounts["alice"].daily == Daily(1, UNLIMITED_MINOR, TODAY, 1, 100)
