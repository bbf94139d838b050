"""The rules of reversal: what went one way goes back, all of it and once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountStatus, Books, Daily, Done
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind
from tests.builders import (
    NOON,
    RULES,
    a_capture,
    a_deposit,
    a_freeze,
    a_hold,
    a_reversal,
    a_transfer,
    a_withdrawal,
    after,
    an_account,
    an_adjustment,
    an_advance,
    an_opening,
    answer,
    as_read_next,
    books_of,
    refused,
)

FROZEN, CLOSED = AccountStatus.FROZEN, AccountStatus.CLOSED
OUTSIDE, FEES = "@settlement:USD", "@fee_income:USD"


def done(
    *legs: tuple[str, str, int],
    kind: TransferKind = TransferKind.TRANSFER,
    status: Status = Status.APPLIED,
    reversed_by: int | None = None,
) -> Done:
    """The command at position 5, which moved so much from here to there."""
    transfers = tuple(Transfer(kind, Side(source), Side(target), minor, "USD") for source, target, minor in legs)
    return Done(5, status, transfers, reversed_by)


def moved(outcome: Outcome) -> list[tuple[str, str, int]]:
    """What a reversal moved, from where to where."""
    assert outcome.status is Status.APPLIED, outcome.reason
    assert {each.kind for each in outcome.transfers} == {TransferKind.REVERSAL}
    return [(each.debit.account, each.credit.account, each.amount_minor) for each in outcome.transfers]


# What is moved back.


def test_a_withdrawal_comes_back_with_its_fee() -> None:
    """The last transfer first, so that the account goes back through the balances through which it came."""
    account = an_account(available_minor=1, overdraft_limit_minor=100, overdraft_fee_minor=15)
    commands: list[Command] = [a_withdrawal(amount_minor=1, position=5), a_reversal(5)]
    decided = decide(books_of(account), commands, now=NOON, rules=RULES)

    assert decided.outcomes[1].transfers == (
        Transfer(TransferKind.REVERSAL, Side(FEES), Side("alice", 10, -100), 15, "USD"),
        Transfer(TransferKind.REVERSAL, Side(OUTSIDE), Side("alice", 11, -99), 1, "USD"),
    )
    assert decided.changed[0].balance_minor == account.balance_minor
    assert decided.reversals == {9: 5}


@pytest.mark.parametrize(
    ("commands", "back"),
    [
        ([a_deposit(position=5)], [("alice", OUTSIDE, 100)]),
        ([a_withdrawal(position=5)], [(OUTSIDE, "alice", 100)]),
        ([a_transfer(position=5)], [("bob", "alice", 100)]),
        ([an_adjustment("bob", "alice", 7, position=5)], [("alice", "bob", 7)]),
        ([a_hold(position=4), a_capture(4, 30, position=5)], [(OUTSIDE, "alice", 30)]),
        ([a_hold(position=4), a_capture(4, to_account="bob", position=5)], [("bob", "alice", 100)]),
    ],
)
def test_everything_goes_back_the_way_it_came(commands: Sequence[Command], back: list[tuple[str, str, int]]) -> None:
    """In one batch, and when the reversal comes in the next one: the books are as if nothing had been."""
    books = books_of(an_account(available_minor=500), an_account("bob", available_minor=500))
    whole = decide(books, [*commands, a_reversal(5)], now=NOON, rules=RULES)
    first = decide(books, commands, now=NOON, rules=RULES)
    second = decide(as_read_next(books, first), [a_reversal(5)], now=NOON, rules=RULES)

    assert moved(whole.outcomes[-1]) == back
    assert second.outcomes == whole.outcomes[-1:]
    assert {account.name: (account.balance_minor, account.held_minor) for account in whole.changed} == {
        account.name: (500, 0) for account in whole.changed
    }


def test_a_command_that_moved_money_to_and_fro_is_mirrored_leg_by_leg() -> None:
    """What an account needs for it is all that leaves it: what comes in the same command is not counted on."""
    record = done(("alice", "bob", 100), ("bob", "alice", 30), ("alice", "bob", 1))
    alice, bob = an_account(available_minor=30), an_account("bob", available_minor=101)
    books = books_of(alice, bob, done=[record])

    assert moved(answer(books, a_reversal(5))) == [("bob", "alice", 1), ("alice", "bob", 30), ("bob", "alice", 100)]
    for poor in (
        books_of(replace(alice, debits_minor=alice.debits_minor + 1), bob, done=[record]),
        books_of(alice, replace(bob, debits_minor=bob.debits_minor + 1), done=[record]),
    ):
        assert answer(poor, a_reversal(5)) == refused(a_reversal(5), Reason.INSUFFICIENT_FUNDS)


def test_a_reversal_is_no_debit_of_the_day() -> None:
    """Nobody asked for it who has a limit; nor is the debit that it undoes given back to him."""
    account = an_account(available_minor=500, daily=Daily(1, 100))
    commands: list[Command] = [
        a_withdrawal(position=5),
        a_reversal(5),
        a_deposit(position=10),
        a_reversal(10, position=11),
        a_withdrawal(position=12),
    ]
    outcomes, books = after(books_of(account), commands)

    assert [each.reason for each in outcomes] == [*[None] * 4, Reason.LIMIT_EXCEEDED]
    assert books.accounts["alice"].daily.used == 1


# Once, and not everything.


def test_a_command_is_reversed_once() -> None:
    """In one batch as in two; and the reversal itself is for good."""
    books = books_of(an_account(available_minor=500))
    commands: list[Command] = [
        a_deposit(position=5),
        a_reversal(5),
        a_reversal(5, force=True, position=10),
        a_reversal(9, position=11),
    ]
    decided = decide(books, commands, now=NOON, rules=RULES)
    reasons = [each.reason for each in decided.outcomes]
    later = as_read_next(books, decided)

    assert reasons == [None, None, Reason.COMMAND_ALREADY_REVERSED, Reason.COMMAND_NOT_REVERSIBLE]
    assert decided.reversals == {9: 5}
    assert answer(later, a_reversal(5, position=12)).reason is Reason.COMMAND_ALREADY_REVERSED
    assert answer(later, a_reversal(9, position=12)).reason is Reason.COMMAND_NOT_REVERSIBLE


def test_a_reversal_that_was_refused_may_be_asked_for_again() -> None:
    """Once the money is there; it has not used up the one time."""
    commands: list[Command] = [
        a_deposit(position=5),
        a_withdrawal(amount_minor=1, position=6),
        a_reversal(5, position=7),
        a_deposit(amount_minor=1, position=8),
        a_reversal(5),
    ]
    outcomes, books = after(books_of(an_account()), commands)

    assert [each.reason for each in outcomes] == [None, None, Reason.INSUFFICIENT_FUNDS, None, None]
    assert books.accounts["alice"].balance_minor == 0


@pytest.mark.parametrize(
    "commands",
    [
        [a_reversal(5)],
        [a_withdrawal(amount_minor=501, position=5), a_reversal(5)],
        [a_reversal(9)],
        [a_reversal(10), a_deposit(position=10)],
        [a_reversal(4, position=5), a_reversal(5)],
    ],
)
def test_what_was_not_applied_is_not_reversed(commands: Sequence[Command]) -> None:
    """Never asked, refused, not decided yet, a reversal of itself, or a refused reversal."""
    outcomes, books = after(books_of(an_account(available_minor=500)), commands)

    assert Reason.COMMAND_NOT_APPLIED in [each.reason for each in outcomes]
    assert books.accounts["alice"].balance_minor in (500, 600)


@pytest.mark.parametrize("kind", TransferKind)
def test_what_has_a_remedy_of_its_own_is_not_reversed(kind: TransferKind) -> None:
    """A schedule of repayments hangs on it, or it is a reversal itself. One leg of these is enough."""
    kinds = {
        TransferKind.ADVANCE,
        TransferKind.COLLECTION,
        TransferKind.REPAYMENT,
        TransferKind.WRITE_OFF,
        TransferKind.REVERSAL,
    }
    record = done((OUTSIDE, "alice", 10), kind=kind)
    mixed = replace(record, transfers=(*done((OUTSIDE, "alice", 1)).transfers, *record.transfers))
    expected = Reason.COMMAND_NOT_REVERSIBLE if kind in kinds else None
    account = an_account(available_minor=50)

    assert answer(books_of(account, done=[record]), a_reversal(5)).reason is expected
    assert answer(books_of(account, done=[mixed]), a_reversal(5)).reason is expected


@pytest.mark.parametrize("command", [an_opening("bob", position=5), a_hold(position=5), a_freeze(position=5)])
def test_what_moved_no_money_is_not_reversed(command: Command) -> None:
    """A hold is released, a freeze is unfrozen."""
    outcomes, _ = after(books_of(an_account(available_minor=500)), [command, a_reversal(5, force=True)])

    assert [each.reason for each in outcomes] == [None, Reason.COMMAND_NOT_REVERSIBLE]


def test_an_advance_is_written_off_or_repaid_and_not_reversed() -> None:
    """Its schedule would go on to collect what was taken back."""
    outcomes, _ = after(books_of(an_account()), [an_advance(position=5), a_reversal(5, force=True)])

    assert outcomes[1].reason is Reason.COMMAND_NOT_REVERSIBLE


# Precedence, and force.

GIVEN = done(("alice", "bob", 100))
RICH, POOR = an_account("bob", available_minor=100), an_account("bob", available_minor=99)
FULL = Account("alice", 1, "USD", credits_minor=MAX_TOTAL_MINOR - 99)


@pytest.mark.parametrize(
    ("books", "reason", "forced"),
    [
        (books_of(FULL, POOR), Reason.COMMAND_NOT_APPLIED, Reason.COMMAND_NOT_APPLIED),
        (
            books_of(FULL, POOR, done=[replace(GIVEN, status=Status.REFUSED, reversed_by=7)]),
            Reason.COMMAND_NOT_APPLIED,
            Reason.COMMAND_NOT_APPLIED,
        ),
        (
            books_of(FULL, POOR, done=[replace(GIVEN, status=Status.FAILED)]),
            Reason.COMMAND_NOT_APPLIED,
            Reason.COMMAND_NOT_APPLIED,
        ),
        (
            books_of(FULL, POOR, done=[done(reversed_by=7)]),
            Reason.COMMAND_NOT_REVERSIBLE,
            Reason.COMMAND_NOT_REVERSIBLE,
        ),
        (
            books_of(FULL, POOR, done=[replace(GIVEN, reversed_by=7)]),
            Reason.COMMAND_ALREADY_REVERSED,
            Reason.COMMAND_ALREADY_REVERSED,
        ),
        (books_of(replace(FULL, status=CLOSED), POOR, done=[GIVEN]), Reason.ACCOUNT_NOT_OPEN, Reason.ACCOUNT_NOT_OPEN),
        (books_of(FULL, replace(POOR, status=CLOSED), done=[GIVEN]), Reason.ACCOUNT_NOT_OPEN, Reason.ACCOUNT_NOT_OPEN),
        (
            books_of(FULL, replace(POOR, status=FROZEN), done=[GIVEN]),
            Reason.ACCOUNT_NOT_OPEN,
            Reason.BALANCE_LIMIT_EXCEEDED,
        ),
        (books_of(FULL, POOR, done=[GIVEN]), Reason.INSUFFICIENT_FUNDS, Reason.BALANCE_LIMIT_EXCEEDED),
        (books_of(FULL, RICH, done=[GIVEN]), Reason.BALANCE_LIMIT_EXCEEDED, Reason.BALANCE_LIMIT_EXCEEDED),
        (books_of(an_account(status=FROZEN), POOR, done=[GIVEN]), Reason.INSUFFICIENT_FUNDS, None),
        (books_of(an_account(), replace(RICH, status=FROZEN), done=[GIVEN]), Reason.ACCOUNT_NOT_OPEN, None),
        (books_of(an_account(status=FROZEN), RICH, done=[GIVEN]), None, None),
    ],
)
def test_a_reversal_is_refused_for_the_first_rule_that_it_breaks(
    books: Books, reason: Reason | None, forced: Reason | None
) -> None:
    """On either side. Force helps against an empty purse and a freeze, and against nothing else."""
    for command, expected in ((a_reversal(5), reason), (a_reversal(5, force=True), forced)):
        (outcome,), closing = after(books, [command])

        assert outcome.reason is expected
        assert expected is None or closing.accounts == books.accounts


@pytest.mark.parametrize(
    ("leg", "credits_minor", "debits_minor"),
    [
        ((OUTSIDE, "alice", 60), MAX_TOTAL_MINOR, MAX_TOTAL_MINOR - 120),
        (("alice", OUTSIDE, 60), MAX_TOTAL_MINOR - 120, 0),
    ],
)
def test_a_total_has_room_for_all_legs_or_for_none(
    leg: tuple[str, str, int], credits_minor: int, debits_minor: int
) -> None:
    """Two of them fit exactly; of three, each alone would."""
    alice = Account("alice", 1, "USD", credits_minor=credits_minor, debits_minor=debits_minor)
    fits, does_not = (books_of(alice, done=[done(*[leg] * count)]) for count in (2, 3))

    assert answer(fits, a_reversal(5, force=True)).status is Status.APPLIED
    assert answer(does_not, a_reversal(5, force=True)).reason is Reason.BALANCE_LIMIT_EXCEEDED


def test_what_is_forced_is_written_on_the_account() -> None:
    """The schema knows how far below the floor it may be: so far, and not a unit further."""
    account = an_account(available_minor=10, held_minor=20, overdraft_limit_minor=50, overdraft_fee_minor=5)
    books = books_of(account, done=[done((OUTSIDE, "alice", 100))])
    (outcome,), closing = after(books, [a_reversal(5, force=True)])

    assert outcome.status is Status.APPLIED
    assert closing.accounts["alice"].available_minor == -90
    assert closing.accounts["alice"].forced_minor == 85


@pytest.mark.parametrize(
    ("credit_minor", "forced_minor", "available"), [(1, 84, 0), (84, 1, 0), (85, 0, 0), (90, 0, 0), (91, 0, 1)]
)
def test_what_was_forced_is_forgotten_as_the_balance_recovers(
    credit_minor: int, forced_minor: int, available: int
) -> None:
    """It is no overdraft: what was paid in stays in."""
    account = an_account(available_minor=10, overdraft_limit_minor=50, overdraft_fee_minor=5)
    commands: list[Command] = [
        a_reversal(5, force=True),
        a_deposit(amount_minor=credit_minor, position=10),
        a_withdrawal(amount_minor=1, position=11),
    ]
    books = books_of(account, done=[done((OUTSIDE, "alice", 100))])
    _, recovered = after(books, commands[:2])
    outcomes, _ = after(books, commands)

    assert recovered.accounts["alice"].forced_minor == forced_minor
    assert outcomes[2].reason is (None if available else Reason.INSUFFICIENT_FUNDS)


def test_an_account_that_was_not_read_is_an_error() -> None:
    """It must not be taken for one of the bank's own: the money would go to nobody."""
    books = books_of(an_account(available_minor=500), done=[done(("alice", "bob", 100))])

    with pytest.raises(ValueError, match="bob is not in the books"):
        answer(books, a_reversal(5, force=True))
