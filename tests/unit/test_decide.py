"""The money rules one by one: what is answered, in which order of precedence, and what it leaves on the account."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountStatus, Books
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind
from tests.builders import (
    NOON,
    RULES,
    a_deposit,
    a_transfer,
    a_withdrawal,
    after,
    an_account,
    an_opening,
    answer,
    books_of,
    refused,
)

FROZEN, CLOSED = AccountStatus.FROZEN, AccountStatus.CLOSED
FULL = replace(an_account("alice"), credits_minor=MAX_TOTAL_MINOR, debits_minor=MAX_TOTAL_MINOR - 1_000)


def with_overdraft(balance_minor: int) -> Account:
    """The documented example: down to -100.00, and 15.00 for ending below zero."""
    return an_account(available_minor=balance_minor + 10_000, overdraft_limit_minor=10_000, overdraft_fee_minor=1_500)


def balance_after(account: Account, *commands: Command) -> int:
    """What the account has when all is decided."""
    _, books = after(books_of(account), commands)
    return books.accounts[account.name].balance_minor


# Opening.


def test_an_account_is_opened_as_it_was_asked_for() -> None:
    """Its id is the position of the command, so that no two are ever given the same."""
    command = an_opening("alice", "JPY", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500, position=7)
    decided = decide(books_of(), [command], now=NOON, rules=RULES)

    assert decided.outcomes == [Outcome(7, Status.APPLIED)]
    assert decided.changed == []
    assert decided.opened == [
        Account(name="alice", id=7, currency="JPY", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500)
    ]


@pytest.mark.parametrize("status", AccountStatus)
def test_a_name_is_opened_once_for_ever(status: AccountStatus) -> None:
    """A closed account's name is not free again: its history belongs to somebody."""
    command = an_opening("alice", "JPY")

    assert answer(books_of(an_account("alice", status=status)), command) == refused(
        command, Reason.ACCOUNT_ALREADY_EXISTS
    )


def test_an_account_that_is_opened_in_a_batch_can_be_used_in_it() -> None:
    """Nobody has to wait for a batch to end: the answers are those of one command after the other."""
    commands: list[Command] = [an_opening(position=1), a_deposit(amount_minor=70, position=2), an_opening(position=3)]
    decided = decide(books_of(), commands, now=NOON, rules=RULES)

    assert [outcome.status for outcome in decided.outcomes] == [Status.APPLIED, Status.APPLIED, Status.REFUSED]
    assert decided.changed == []
    assert [(account.id, account.version, account.credits_minor) for account in decided.opened] == [(1, 1, 70)]


def test_a_command_before_the_opening_finds_no_account() -> None:
    """The order of receipts decides, not what the batch happens to hold."""
    first, second = a_deposit(position=1), an_opening(position=2)

    outcomes = decide(books_of(), [first, second], now=NOON, rules=RULES).outcomes

    assert outcomes[0] == refused(first, Reason.ACCOUNT_NOT_FOUND)


# What each rule moves.


def test_a_deposit_comes_from_the_settlement_account() -> None:
    """Money that comes in is owed by the outside world: both sides are in one row."""
    outcome = answer(books_of(an_account(available_minor=5)), a_deposit(amount_minor=100))

    assert outcome.transfers == (
        Transfer(TransferKind.DEPOSIT, Side("@settlement:USD"), Side("alice", 8, 105), 100, "USD"),
    )


def test_a_withdrawal_goes_to_the_settlement_account() -> None:
    """To the last unit: what is available may be taken."""
    outcome = answer(books_of(an_account(available_minor=100)), a_withdrawal(amount_minor=100))

    assert outcome.transfers == (
        Transfer(TransferKind.WITHDRAWAL, Side("alice", 8, 0), Side("@settlement:USD"), 100, "USD"),
    )


def test_a_transfer_moves_both_sides_in_one_row() -> None:
    """There is no instant at which the money is nowhere, or twice."""
    books = books_of(an_account("alice", available_minor=100), an_account("bob", available_minor=1))
    outcome = answer(books, a_transfer("alice", "bob", 100))

    assert outcome.transfers == (Transfer(TransferKind.TRANSFER, Side("alice", 8, 0), Side("bob", 8, 101), 100, "USD"),)


def test_a_refusal_moves_nothing() -> None:
    """No account that was refused is written, not even with the same totals."""
    books = books_of(an_account("alice", available_minor=1), an_account("bob"))
    decided = decide(books, [a_transfer("alice", "bob", 2)], now=NOON, rules=RULES)

    assert decided.outcomes[0].transfers == ()
    assert [*decided.opened, *decided.changed] == []


# The overdraft: limit 100.00, fee 15.00.


def test_a_withdrawal_into_the_overdraft_costs_the_fee() -> None:
    """The documented example: 20.00 less 100.00 less 15.00 leaves -95.00."""
    outcome = answer(books_of(with_overdraft(2_000)), a_withdrawal(amount_minor=10_000))

    assert outcome.transfers == (
        Transfer(TransferKind.WITHDRAWAL, Side("alice", 8, -8_000), Side("@settlement:USD"), 10_000, "USD"),
        Transfer(TransferKind.OVERDRAFT_FEE, Side("alice", 9, -9_500), Side("@fee_income:USD"), 1_500, "USD"),
    )


@pytest.mark.parametrize(
    ("balance_minor", "amount_minor", "left_minor"),
    [
        (2_000, 2_000, 0),
        (2_000, 2_001, -1_501),
        (2_000, 12_000, -11_500),
        (0, 1, -1_501),
        (-9_500, 500, -11_500),
        (-5_000, 1, -6_501),
    ],
)
def test_the_fee_is_due_whenever_a_withdrawal_ends_below_zero(
    balance_minor: int, amount_minor: int, left_minor: int
) -> None:
    """Not at zero exactly, and again when the account was below zero before. The fee alone may pass the limit."""
    assert balance_after(with_overdraft(balance_minor), a_withdrawal(amount_minor=amount_minor)) == left_minor


@pytest.mark.parametrize(("balance_minor", "amount_minor"), [(2_000, 12_001), (-9_500, 501), (-11_500, 1), (0, 10_001)])
def test_a_withdrawal_below_the_limit_is_refused_without_a_fee(balance_minor: int, amount_minor: int) -> None:
    """Who gets no money pays nothing for it, and no fee opens the door to the next one."""
    account, command = with_overdraft(balance_minor), a_withdrawal(amount_minor=amount_minor)

    assert answer(books_of(account), command) == refused(command, Reason.INSUFFICIENT_FUNDS)
    assert balance_after(account, command) == balance_minor


def test_an_overdraft_without_a_fee_costs_nothing() -> None:
    """A fee of zero is no transfer of zero: Postgres would refuse that one."""
    account = an_account(available_minor=100, overdraft_limit_minor=100)

    assert len(answer(books_of(account), a_withdrawal(amount_minor=100)).transfers) == 1


def test_a_fee_without_an_overdraft_is_never_due() -> None:
    """The account cannot go below zero, so there is nothing to charge for."""
    account = an_account(available_minor=100, overdraft_fee_minor=15)

    assert balance_after(account, a_withdrawal(amount_minor=100)) == 0


def test_held_money_is_not_available() -> None:
    """It was promised to another payment."""
    account, command = an_account(available_minor=40, held_minor=60), a_withdrawal(amount_minor=41)

    assert answer(books_of(account), command) == refused(command, Reason.INSUFFICIENT_FUNDS)
    assert balance_after(account, a_withdrawal(amount_minor=40)) == 60


# Precedence. Each line breaks its own rule and all those after it.


@pytest.mark.parametrize(
    ("account", "amount_minor", "reason"),
    [
        (None, MAX_TOTAL_MINOR, Reason.ACCOUNT_NOT_FOUND),
        (replace(FULL, currency="JPY", status=CLOSED), MAX_TOTAL_MINOR, Reason.CURRENCY_MISMATCH),
        (replace(FULL, status=CLOSED), MAX_TOTAL_MINOR, Reason.ACCOUNT_NOT_OPEN),
        (FULL, 1, Reason.BALANCE_LIMIT_EXCEEDED),
    ],
)
def test_a_deposit_is_refused_for_the_first_rule_that_it_breaks(
    account: Account | None, amount_minor: int, reason: Reason
) -> None:
    """Two releases of a client see the same reason for the same command."""
    command = a_deposit(amount_minor=amount_minor)

    assert answer(Books.of([account] if account else []), command) == refused(command, reason)


@pytest.mark.parametrize(
    ("account", "amount_minor", "reason"),
    [
        (None, MAX_TOTAL_MINOR, Reason.ACCOUNT_NOT_FOUND),
        (replace(FULL, currency="JPY", status=FROZEN), MAX_TOTAL_MINOR, Reason.CURRENCY_MISMATCH),
        (replace(FULL, status=FROZEN), MAX_TOTAL_MINOR, Reason.ACCOUNT_NOT_OPEN),
        (replace(FULL, status=CLOSED), MAX_TOTAL_MINOR, Reason.ACCOUNT_NOT_OPEN),
        (FULL, 1_001, Reason.INSUFFICIENT_FUNDS),
        (replace(FULL, overdraft_limit_minor=1), 1_001, Reason.BALANCE_LIMIT_EXCEEDED),
    ],
)
def test_a_withdrawal_is_refused_for_the_first_rule_that_it_breaks(
    account: Account | None, amount_minor: int, reason: Reason
) -> None:
    """Two releases of a client see the same reason for the same command."""
    command = a_withdrawal(amount_minor=amount_minor)

    assert answer(Books.of([account] if account else []), command) == refused(command, reason)


RICH, POOR = an_account("alice", available_minor=100), an_account("alice", available_minor=99)
BOB = an_account("bob")
FULL_BOB = replace(BOB, credits_minor=MAX_TOTAL_MINOR, debits_minor=MAX_TOTAL_MINOR)


@pytest.mark.parametrize(
    ("accounts", "reason"),
    [
        ([], Reason.ACCOUNT_NOT_FOUND),
        ([replace(POOR, currency="JPY", status=FROZEN)], Reason.ACCOUNT_NOT_FOUND),
        ([replace(FULL_BOB, currency="JPY", status=CLOSED)], Reason.ACCOUNT_NOT_FOUND),
        ([replace(POOR, currency="JPY", status=FROZEN), FULL_BOB], Reason.CURRENCY_MISMATCH),
        ([replace(POOR, status=FROZEN), replace(FULL_BOB, currency="JPY")], Reason.CURRENCY_MISMATCH),
        ([replace(POOR, currency="JPY"), replace(FULL_BOB, currency="JPY")], Reason.CURRENCY_MISMATCH),
        ([replace(POOR, status=FROZEN), FULL_BOB], Reason.ACCOUNT_NOT_OPEN),
        ([replace(POOR, status=CLOSED), FULL_BOB], Reason.ACCOUNT_NOT_OPEN),
        ([POOR, replace(FULL_BOB, status=CLOSED)], Reason.ACCOUNT_NOT_OPEN),
        ([POOR, FULL_BOB], Reason.INSUFFICIENT_FUNDS),
        ([RICH, FULL_BOB], Reason.BALANCE_LIMIT_EXCEEDED),
        (
            [
                replace(RICH, credits_minor=MAX_TOTAL_MINOR, debits_minor=MAX_TOTAL_MINOR, overdraft_limit_minor=100),
                BOB,
            ],
            Reason.BALANCE_LIMIT_EXCEEDED,
        ),
    ],
)
def test_a_transfer_is_refused_for_the_first_rule_that_it_breaks(accounts: Sequence[Account], reason: Reason) -> None:
    """On either side: a transfer that only one account could take is no transfer."""
    command = a_transfer("alice", "bob", 100)

    assert answer(Books.of(accounts), command) == refused(command, reason)


@pytest.mark.parametrize("command", [a_deposit(amount_minor=5), a_transfer("bob", "alice", 5)])
def test_a_frozen_account_takes_credits(command: Command) -> None:
    """A freeze keeps money in; it does not send a salary back."""
    books = books_of(an_account("alice", status=FROZEN), an_account("bob", available_minor=5))

    assert answer(books, command).status is Status.APPLIED


# The ends of bigint.


def test_totals_reach_the_largest_bigint_and_no_further() -> None:
    """A total that does not fit must be a refusal with a reason, not an error of Postgres that blocks a batch."""
    account = replace(an_account(), credits_minor=MAX_TOTAL_MINOR - 10, debits_minor=MAX_TOTAL_MINOR - 10)
    deposits = [a_deposit(amount_minor=10, position=1), a_deposit(amount_minor=1, position=2)]
    outcomes, books = after(books_of(account), deposits)

    assert [outcome.reason for outcome in outcomes] == [None, Reason.BALANCE_LIMIT_EXCEEDED]
    assert books.accounts["alice"].credits_minor == MAX_TOTAL_MINOR


def test_the_fee_fits_too_or_the_withdrawal_is_refused() -> None:
    """After the last check nothing can fail: a withdrawal without its fee would be a rule broken."""
    near = with_overdraft(0)
    near = replace(near, credits_minor=MAX_TOTAL_MINOR - 1_501, debits_minor=MAX_TOTAL_MINOR - 1_501)
    fits, does_not = a_withdrawal(amount_minor=1), a_withdrawal(amount_minor=2)

    assert balance_after(near, fits) == -1_501
    assert answer(books_of(near), does_not) == refused(does_not, Reason.BALANCE_LIMIT_EXCEEDED)


# What cannot even be built.


@pytest.mark.parametrize("amount_minor", [0, -1])
def test_a_transfer_of_nothing_cannot_be_built(amount_minor: int) -> None:
    """A negative amount would be a transfer in the other direction that no rule has checked."""
    with pytest.raises(ValueError, match="positive"):
        Transfer(TransferKind.DEPOSIT, Side("@settlement:USD"), Side("alice", 1, 1), amount_minor, "USD")


def test_a_transfer_to_itself_cannot_be_built() -> None:
    """It would give one account two versions for one movement."""
    with pytest.raises(ValueError, match="two accounts"):
        Transfer(TransferKind.TRANSFER, Side("alice", 1, 1), Side("alice", 2, 1), 1, "USD")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """A refusal that nobody can read becomes a telephone call."""
    assert reason.text.endswith(".")
