"""The rules of an account's life: its overdraft, and how it is frozen, closed and given other limits."""

from dataclasses import replace

import pytest

from processor.domain.books import UNLIMITED, Account, AccountChange, AccountStatus, Books, Daily
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Status
from processor.domain.rules import Bounds, Overdraft, Rules
from tests.builders import (
    NOON,
    RULES,
    a_closing,
    a_collect,
    a_deposit,
    a_freeze,
    a_hold,
    a_transfer,
    a_withdrawal,
    after,
    an_account,
    an_opening,
    an_unfreeze,
    answer,
    books_of,
    held,
    lent,
    limits,
    refused,
)

OPEN, FROZEN, CLOSED = AccountStatus.OPEN, AccountStatus.FROZEN, AccountStatus.CLOSED

# The usual overdraft.

USUAL = Rules(overdrafts={"USD": Overdraft(10_000, 1_500)})


@pytest.mark.parametrize(
    ("limit_minor", "fee_minor", "given"),
    [
        (None, None, (10_000, 1_500)),
        (0, 0, (0, 0)),
        (500, None, (500, 1_500)),
        (None, 20, (10_000, 20)),
        (0, None, (0, 1_500)),
    ],
)
def test_an_account_is_given_the_usual_overdraft_unless_it_asks(
    limit_minor: int | None, fee_minor: int | None, given: tuple[int, int]
) -> None:
    """Zero is an answer too: who wants no overdraft has none."""
    command = an_opening(overdraft_limit_minor=limit_minor, overdraft_fee_minor=fee_minor)
    _, books = after(books_of(), [command], rules=USUAL)
    account = books.accounts["alice"]

    assert (account.overdraft_limit_minor, account.overdraft_fee_minor) == given


def test_the_usual_is_nothing_where_the_bank_sets_nothing() -> None:
    """In a currency without a setting nobody is lent money by default."""
    command = an_opening(currency="JPY", overdraft_limit_minor=None, overdraft_fee_minor=None)
    _, books = after(books_of(), [command], rules=USUAL)

    assert books.accounts["alice"].available_minor == books.accounts["alice"].overdraft_fee_minor == 0


# Amounts have bounds, by command and currency.


@pytest.mark.parametrize("type_", ["deposit", "withdraw", "transfer", "place_hold"])
@pytest.mark.parametrize(("amount_minor", "allowed"), [(49, False), (50, True), (90, True), (91, False)])
def test_each_command_has_bounds_of_its_own(type_: str, amount_minor: int, allowed: bool) -> None:
    """The smallest and the largest are allowed themselves; other commands and currencies have other ones."""
    rules = Rules(bounds={(type_, "USD"): Bounds(50, 90), (type_, "JPY"): Bounds(1, 1)})
    rich = an_account(available_minor=1_000)
    commands: dict[str, Command] = {
        "deposit": a_deposit(amount_minor=amount_minor, position=1),
        "withdraw": a_withdrawal(amount_minor=amount_minor, position=2),
        "transfer": a_transfer(amount_minor=amount_minor, position=3),
        "place_hold": a_hold(amount_minor=amount_minor, position=4),
    }
    books = books_of(rich, an_account("bob"))

    assert {name: answer(books, command, rules=rules).reason for name, command in commands.items()} == {
        name: Reason.AMOUNT_OUT_OF_BOUNDS if name == type_ and not allowed else None for name in commands
    }


# freeze and unfreeze


def test_nothing_leaves_a_frozen_account_until_it_is_open_again() -> None:
    """In one batch, too: from this command on, and up to that one."""
    commands: list[Command] = [
        a_freeze(position=1),
        a_withdrawal(position=2),
        a_deposit(amount_minor=5, position=3),
        an_unfreeze(position=4),
        a_withdrawal(position=5),
    ]
    decided = decide(books_of(an_account(available_minor=100)), commands, now=NOON, rules=RULES)

    assert [each.reason for each in decided.outcomes] == [None, Reason.ACCOUNT_NOT_OPEN, None, None, None]
    assert decided.changed[0].status is OPEN
    assert [(each.position, each.account.status) for each in decided.changes] == [(1, FROZEN), (4, OPEN)]


@pytest.mark.parametrize(
    ("account", "command", "reason"),
    [
        (an_account("bob", status=CLOSED), a_freeze(), Reason.ACCOUNT_NOT_FOUND),
        (an_account(currency="JPY", status=CLOSED), a_freeze(), Reason.CURRENCY_MISMATCH),
        (an_account(status=FROZEN), a_freeze(), Reason.ACCOUNT_NOT_OPEN),
        (an_account(status=CLOSED), a_freeze(), Reason.ACCOUNT_NOT_OPEN),
        (an_account("bob"), an_unfreeze(), Reason.ACCOUNT_NOT_FOUND),
        (an_account(currency="JPY"), an_unfreeze(), Reason.CURRENCY_MISMATCH),
        (an_account(), an_unfreeze(), Reason.ACCOUNT_NOT_FROZEN),
        (an_account(status=CLOSED), an_unfreeze(), Reason.ACCOUNT_NOT_FROZEN),
        (an_account("bob", available_minor=1, status=CLOSED), a_closing(), Reason.ACCOUNT_NOT_FOUND),
        (an_account(available_minor=1, currency="JPY", status=CLOSED), a_closing(), Reason.CURRENCY_MISMATCH),
        (an_account(available_minor=1, status=CLOSED), a_closing(), Reason.ACCOUNT_NOT_OPEN),
        (an_account(available_minor=1, held_minor=1), a_closing(), Reason.ACCOUNT_NOT_EMPTY),
        (an_account(overdraft_limit_minor=1), a_closing(), Reason.ACCOUNT_NOT_EMPTY),
        (an_account(available_minor=-1, held_minor=1), a_closing(), Reason.ACCOUNT_HAS_HOLDS),
        (an_account("bob"), limits(), Reason.ACCOUNT_NOT_FOUND),
        (an_account(currency="JPY", status=CLOSED), limits(), Reason.CURRENCY_MISMATCH),
        (an_account(status=CLOSED, available_minor=-9), limits(overdraft_fee_minor=0), Reason.ACCOUNT_NOT_OPEN),
    ],
)
def test_a_step_that_is_none_is_refused(account: Account, command: Command, reason: Reason) -> None:
    """Each line breaks its own rule and, as far as that can be, those after it. The account stays as it is."""
    books = books_of(account)
    decided = decide(books, [command], now=NOON, rules=RULES)

    assert decided.outcomes == [refused(command, reason)]
    assert (decided.changed, decided.changes) == ([], [])


# close


@pytest.mark.parametrize("status", [OPEN, FROZEN])
def test_a_closed_account_takes_nothing_for_ever(status: AccountStatus) -> None:
    """And its name is not free again. Limits that nobody uses any more do not keep it."""
    account = an_account(available_minor=100, overdraft_limit_minor=100, overdraft_fee_minor=5, status=status)
    others: list[Command] = [
        a_deposit(position=2),
        a_withdrawal(position=3),
        a_transfer("bob", "alice", position=4),
        an_unfreeze(position=5),
        limits(daily_count=1, position=6),
        a_closing(position=7),
        an_opening(position=8),
    ]
    books = books_of(account, an_account("bob", available_minor=100))
    outcomes, closing = after(books, [a_closing(position=1), *others])

    assert outcomes[0] == Outcome(1, Status.APPLIED)
    assert [outcome.status for outcome in outcomes[1:]] == [Status.REFUSED] * len(others)
    assert closing.accounts["alice"] == replace(account, status=CLOSED, revision=1)
    assert closing.accounts["bob"] == books.accounts["bob"]


@pytest.mark.parametrize(
    ("books", "reason"),
    [
        (books_of(an_account(), advances=[lent()]), Reason.ACCOUNT_HAS_ADVANCES),
        (books_of(an_account(), advances=[lent(account="bob")]), None),
        (books_of(an_account(), advances=[lent().write_off(by=6)]), None),
        (
            books_of(an_account(available_minor=-9, held_minor=9), advances=[lent()], holds=[held(9)]),
            Reason.ACCOUNT_HAS_HOLDS,
        ),
    ],
)
def test_an_account_on_which_somebody_has_a_claim_is_not_closed(books: Books, reason: Reason | None) -> None:
    """What is owed to the bank would never be collected, and what is promised never taken."""
    assert answer(books, a_closing(position=9)).reason is reason


def test_what_is_written_off_frees_the_account_in_the_same_batch() -> None:
    """An advance that is repaid by its last instalment, too: the facts are those of the moment."""
    advance = lent(100, instalments=1)
    commands: list[Command] = [a_closing(position=8), a_collect(5, position=9), a_closing(position=10)]
    outcomes, books = after(books_of(an_account(available_minor=100), advances=[advance]), commands)

    assert [outcome.reason for outcome in outcomes] == [Reason.ACCOUNT_NOT_EMPTY, None, None]
    assert books.accounts["alice"].status is CLOSED


# set_limits


def test_limits_that_are_not_named_stay() -> None:
    """Who changes the fee does not say again what the limit is."""
    account = replace(
        an_account(overdraft_limit_minor=100, overdraft_fee_minor=15), daily=Daily(5, 500, NOON.date(), 2, 200)
    )
    decided = decide(books_of(account), [limits(overdraft_fee_minor=20, daily_count=6)], now=NOON, rules=RULES)
    (changed,) = decided.changed

    assert (changed.overdraft_limit_minor, changed.overdraft_fee_minor) == (100, 20)
    assert changed.daily == Daily(6, 500, NOON.date(), 2, 200)
    assert decided.changes == [AccountChange(1, changed)]


def test_limits_that_change_nothing_are_no_error() -> None:
    """The same said twice is applied twice, whatever the account owes by now."""
    account = an_account(available_minor=-15, overdraft_limit_minor=100, overdraft_fee_minor=15)
    (outcome,), books = after(books_of(account), [limits(overdraft_limit_minor=100, overdraft_fee_minor=15)])

    assert outcome == Outcome(1, Status.APPLIED)
    assert replace(books.accounts["alice"], revision=account.revision) == account


@pytest.mark.parametrize(
    ("limit_minor", "fee_minor", "allowed"),
    [
        (80, None, True),
        (79, None, False),
        (79, 100, False),
        (0, None, False),
        (80, 0, True),
        (None, 0, True),
        (200, 0, True),
    ],
)
def test_no_limit_goes_above_what_the_account_owes(
    limit_minor: int | None, fee_minor: int | None, allowed: bool
) -> None:
    """Fifty are owed and thirty are on hold: with eighty the account just keeps its word."""
    account = an_account(available_minor=20, held_minor=30, overdraft_limit_minor=100, overdraft_fee_minor=15)
    command = limits(overdraft_limit_minor=limit_minor, overdraft_fee_minor=fee_minor)
    (outcome,), books = after(books_of(account, holds=[held(30)]), [command])

    assert account.balance_minor == -50
    assert outcome.reason is (None if allowed else Reason.OVERDRAFT_BELOW_BALANCE)
    assert allowed or books.accounts["alice"] == account


def test_a_fee_that_passed_the_limit_is_not_lowered_under_it() -> None:
    """The lowest balance that the books allow is the limit and one fee: it would be above the balance."""
    account = an_account(available_minor=-15, overdraft_limit_minor=100, overdraft_fee_minor=15)

    assert answer(books_of(account), limits(overdraft_fee_minor=14)).reason is Reason.OVERDRAFT_BELOW_BALANCE
    assert answer(books_of(account), limits(overdraft_limit_minor=115, overdraft_fee_minor=0)).reason is None


def test_a_frozen_account_can_be_limited() -> None:
    """Before it is opened again."""
    (outcome,), books = after(books_of(an_account(status=FROZEN)), [limits(daily_count=1)])

    assert outcome.status is Status.APPLIED
    assert books.accounts["alice"].daily == Daily(count=1)


def test_a_new_limit_is_for_the_next_command() -> None:
    """Raised, used and lowered in one batch: each command has the limits of its place in line."""
    commands: list[Command] = [
        a_withdrawal(position=1),
        limits(overdraft_limit_minor=100, overdraft_fee_minor=7, position=2),
        a_withdrawal(position=3),
        limits(overdraft_limit_minor=0, position=4),
    ]
    outcomes, books = after(books_of(an_account()), commands)

    assert [each.reason for each in outcomes] == [
        Reason.INSUFFICIENT_FUNDS,
        None,
        None,
        Reason.OVERDRAFT_BELOW_BALANCE,
    ]
    assert books.accounts["alice"].balance_minor == -107


def test_an_account_that_was_never_limited_is_as_it_was_opened() -> None:
    """The store keeps no day for it."""
    _, books = after(books_of(an_account(available_minor=100)), [a_withdrawal()])

    assert books.accounts["alice"].daily is UNLIMITED
