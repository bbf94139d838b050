"""The rules of advances: who gets one, and what each command about one leads to or why it is refused."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from processor.domain.advances import AdvanceState, InstalmentState
from processor.domain.books import Account, AccountStatus, Books
from processor.domain.commands import Command
from processor.domain.outcomes import Outcome, Reason, Status, TransferKind
from processor.domain.rules import Bounds, Rules
from tests.builders import (
    LARGEST,
    TODAY,
    a_collect,
    a_repayment,
    a_write_off,
    after,
    an_account,
    an_advance,
    answer,
    books_of,
    lent,
    refused,
)

WEEK = timedelta(days=7)


def moved(outcome: Outcome) -> list[tuple[TransferKind, str, str, int]]:
    """What an applied command moved, from where to where."""
    assert outcome.status is Status.APPLIED, outcome.reason
    return [(each.kind, each.debit.account, each.credit.account, each.amount_minor) for each in outcome.transfers]


# advance


def test_an_advance_is_paid_out_and_scheduled() -> None:
    """The money comes from what the bank is owed, and twelve weeks are written down that add up to it."""
    (outcome,), books = after(books_of(an_account()), [an_advance(amount_minor=1_000, position=7)])

    assert moved(outcome) == [(TransferKind.ADVANCE, "@advances_receivable:USD", "alice", 1_000)]
    assert books.accounts["alice"].balance_minor == 1_000
    advance = books.advances[7]
    assert (advance.account, advance.amount_minor, advance.state) == ("alice", 1_000, AdvanceState.OPEN)
    assert sum(each.amount_minor for each in advance.instalments) == 1_000
    assert [each.due_on for each in advance.instalments] == [TODAY + WEEK * n for n in range(1, 13)]


def test_the_first_day_may_be_chosen() -> None:
    """As many weeks as were asked for, from that day on."""
    first = TODAY + timedelta(days=3)
    _, books = after(books_of(an_account()), [an_advance(instalments=2, first_due_on=first)])

    assert [each.due_on for each in books.advances[1].instalments] == [first, first + WEEK]


@pytest.mark.parametrize(
    ("account", "command", "reason"),
    [
        (an_account("bob"), an_advance(), Reason.ACCOUNT_NOT_FOUND),
        (an_account(), an_advance(currency="JPY"), Reason.CURRENCY_MISMATCH),
        (an_account(status=AccountStatus.FROZEN), an_advance(), Reason.ACCOUNT_NOT_OPEN),
        (an_account(status=AccountStatus.CLOSED), an_advance(), Reason.ACCOUNT_NOT_OPEN),
        (an_account(), an_advance(amount_minor=11), Reason.AMOUNT_OUT_OF_BOUNDS),
        (an_account(), an_advance(first_due_on=TODAY - timedelta(days=1)), Reason.DUE_DATE_OUT_OF_BOUNDS),
        (an_account(), an_advance(first_due_on=TODAY + timedelta(days=367)), Reason.DUE_DATE_OUT_OF_BOUNDS),
        (an_account(available_minor=LARGEST - 2_000), an_advance(), Reason.BALANCE_LIMIT_EXCEEDED),
    ],
)
def test_an_advance_is_refused(account: Account, command: Command, reason: Reason) -> None:
    """Nothing is paid out, and nothing is scheduled."""
    (outcome,), books = after(books_of(account), [command])

    assert outcome == refused(command, reason)
    assert books == books_of(account)


@pytest.mark.parametrize("days", [0, 366])
def test_the_first_day_may_be_today_or_in_a_year(days: int) -> None:
    """The bounds are allowed themselves."""
    assert moved(answer(books_of(an_account()), an_advance(first_due_on=TODAY + timedelta(days=days))))


@pytest.mark.parametrize(("amount_minor", "allowed"), [(499, False), (500, True), (9_000, True), (9_001, False)])
def test_amounts_have_bounds_by_currency(amount_minor: int, allowed: bool) -> None:
    """The smallest and the largest are allowed themselves; a currency without bounds has none."""
    rules = Rules(bounds={("advance", "USD"): Bounds(500, 9_000)})
    dollars, yen = an_advance(amount_minor=amount_minor), an_advance(amount_minor=amount_minor, currency="JPY")
    reason = answer(books_of(an_account()), dollars, rules=rules).reason

    assert reason is (None if allowed else Reason.AMOUNT_OUT_OF_BOUNDS)
    assert answer(books_of(an_account(currency="JPY")), yen, rules=rules).status is Status.APPLIED


@pytest.mark.parametrize(("limit", "granted"), [(1, 1), (2, 2), (5, 3)])
def test_an_account_may_have_so_many_advances_at_once(limit: int, granted: int) -> None:
    """Of three in a row, also within one batch."""
    commands = [an_advance(position=position) for position in (1, 2, 3)]
    outcomes, _ = after(books_of(an_account()), commands, rules=Rules(max_live_advances=limit))

    assert [outcome.status for outcome in outcomes].count(Status.APPLIED) == granted
    assert {outcome.reason for outcome in outcomes[granted:]} <= {Reason.ADVANCE_LIMIT_REACHED}


@pytest.mark.parametrize("end", [lent().repay(1_200, by=6), lent().write_off(by=6)])
def test_an_advance_that_is_over_makes_room_for_another(end: Any) -> None:
    """Only what is owed counts; and so do only the account's own."""
    books = books_of(an_account(), an_account("bob"), advances=[end, lent(account="bob", advance_id=6)])

    assert answer(books, an_advance(position=9)).status is Status.APPLIED


# repay


def test_a_repayment_moves_money_to_the_advance() -> None:
    """Oldest instalments first, as many as it reaches."""
    (outcome,), books = after(books_of(an_account(available_minor=500), advances=[lent()]), [a_repayment(5, 250)])

    assert moved(outcome) == [(TransferKind.REPAYMENT, "alice", "@advances_receivable:USD", 250)]
    assert books.accounts["alice"].balance_minor == 250
    assert [each.paid_minor for each in books.advances[5].instalments][:4] == [100, 100, 50, 0]


RICH = an_account(available_minor=5_000)


@pytest.mark.parametrize(
    ("books", "command", "reason"),
    [
        (books_of(), a_repayment(5), Reason.ACCOUNT_NOT_FOUND),
        (books_of(RICH), a_repayment(5), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH), a_repayment(None), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent(account="bob")]), a_repayment(5), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent()]), a_repayment(5, currency="JPY"), Reason.CURRENCY_MISMATCH),
        (books_of(RICH, advances=[lent().write_off(by=6)]), a_repayment(5), Reason.ADVANCE_NOT_OPEN),
        (books_of(RICH, advances=[lent().repay(1_200, by=6)]), a_repayment(5), Reason.ADVANCE_NOT_OPEN),
        (
            books_of(an_account(available_minor=5_000, status=AccountStatus.FROZEN), advances=[lent()]),
            a_repayment(5),
            Reason.ACCOUNT_NOT_OPEN,
        ),
        (books_of(RICH, advances=[lent()]), a_repayment(5, 1_201), Reason.REPAYMENT_ABOVE_REMAINING),
        (books_of(an_account(available_minor=99), advances=[lent()]), a_repayment(5), Reason.INSUFFICIENT_FUNDS),
        (
            books_of(Account("alice", 1, "USD", credits_minor=LARGEST, debits_minor=LARGEST - 99), advances=[lent()]),
            a_repayment(5, 99 + 1),
            Reason.INSUFFICIENT_FUNDS,
        ),
        (
            books_of(
                Account("alice", 1, "USD", credits_minor=LARGEST, debits_minor=LARGEST, overdraft_limit_minor=100),
                advances=[lent()],
            ),
            a_repayment(5),
            Reason.BALANCE_LIMIT_EXCEEDED,
        ),
    ],
)
def test_a_repayment_is_refused(books: Books, command: Command, reason: Reason) -> None:
    """Nothing is moved, and the schedule stays as it is."""
    (outcome,), closing = after(books, [command])

    assert outcome == refused(command, reason)
    assert closing == books


# write_off


@pytest.mark.parametrize("status", AccountStatus)
def test_what_is_owed_is_written_off_whatever_the_account(status: AccountStatus) -> None:
    """The loss is the bank's: no money of the customer moves."""
    account = an_account(available_minor=70, status=status)
    (outcome,), books = after(books_of(account, advances=[lent().repay(200, by=6)]), [a_write_off(5)])

    assert moved(outcome) == [(TransferKind.WRITE_OFF, "@credit_loss:USD", "@advances_receivable:USD", 1_000)]
    assert books.accounts["alice"] == account
    assert books.advances[5].state is AdvanceState.WRITTEN_OFF


@pytest.mark.parametrize(
    ("books", "command", "reason"),
    [
        (books_of(), a_write_off(5), Reason.ACCOUNT_NOT_FOUND),
        (books_of(RICH), a_write_off(5), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent(account="bob")]), a_write_off(5), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent()]), a_write_off(5, currency="JPY"), Reason.CURRENCY_MISMATCH),
        (books_of(RICH, advances=[lent().write_off(by=6)]), a_write_off(5), Reason.ADVANCE_NOT_OPEN),
    ],
)
def test_a_write_off_is_refused(books: Books, command: Command, reason: Reason) -> None:
    """Nothing is given up twice."""
    (outcome,), closing = after(books, [command])

    assert outcome == refused(command, reason)
    assert closing == books


# collect


def test_an_instalment_is_collected_in_full() -> None:
    """To the last unit of the account, if need be."""
    (outcome,), books = after(books_of(an_account(available_minor=100), advances=[lent()]), [a_collect(5)])

    assert moved(outcome) == [(TransferKind.COLLECTION, "alice", "@advances_receivable:USD", 100)]
    assert books.accounts["alice"].balance_minor == 0
    assert books.advances[5].instalments[0].state is InstalmentState.PAID


def test_what_was_paid_early_is_not_collected_again() -> None:
    """Only the rest of the week is."""
    books = books_of(an_account(available_minor=500), advances=[lent().repay(30, by=6)])

    assert [each[3] for each in moved(answer(books, a_collect(5)))] == [70]


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (an_account(available_minor=99), Reason.INSUFFICIENT_FUNDS),
        (an_account(available_minor=99, held_minor=500), Reason.INSUFFICIENT_FUNDS),
        (an_account(available_minor=500, status=AccountStatus.FROZEN), Reason.ACCOUNT_NOT_OPEN),
        (
            Account("alice", 1, "USD", credits_minor=LARGEST, debits_minor=LARGEST, overdraft_limit_minor=500),
            Reason.BALANCE_LIMIT_EXCEEDED,
        ),
    ],
)
def test_an_instalment_that_cannot_be_collected_is_missed(account: Account, reason: Reason) -> None:
    """Refused, and yet something happened: its amount is the next one's."""
    (outcome,), books = after(books_of(account, advances=[lent()]), [a_collect(5)])

    assert outcome == refused(a_collect(5), reason)
    assert books.accounts["alice"] == account
    first, second, *_ = books.advances[5].instalments
    assert (first.state, first.settled_by, second.amount_minor) == (InstalmentState.MISSED, 2, 200)
    assert books.advances[5].state is AdvanceState.IN_ARREARS


@pytest.mark.parametrize(
    ("available_minor", "collected", "rolled"),
    [(130, 100, 0), (100, 100, 0), (99, 99, 1), (1, 1, 99), (0, 0, 100), (-50, 0, 100)],
)
def test_with_partial_collection_only_the_rest_is_missed(available_minor: int, collected: int, rolled: int) -> None:
    """An account below zero has nothing to take."""
    books = books_of(an_account(available_minor=available_minor), advances=[lent()])
    (outcome,), closing = after(books, [a_collect(5)], rules=Rules(partial_collection=True))
    first, second, *_ = closing.advances[5].instalments

    assert sum(each.amount_minor for each in outcome.transfers) == first.paid_minor == collected
    assert (outcome.status is Status.APPLIED) is (collected > 0)
    assert second.rolled_minor == rolled


def test_a_part_that_would_pass_the_largest_total_is_not_taken() -> None:
    """Postgres would refuse it, and with it the whole batch."""
    account = Account("alice", 1, "USD", credits_minor=LARGEST, debits_minor=LARGEST - 20, overdraft_limit_minor=30)
    books = books_of(account, advances=[lent()])
    (outcome,), closing = after(books, [a_collect(5)], rules=Rules(partial_collection=True))

    assert outcome.reason is Reason.INSUFFICIENT_FUNDS
    assert closing.accounts["alice"] == account


@pytest.mark.parametrize(
    ("books", "command", "reason"),
    [
        (books_of(), a_collect(5), Reason.ACCOUNT_NOT_FOUND),
        (books_of(RICH), a_collect(None), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent(account="bob")]), a_collect(5), Reason.ADVANCE_NOT_FOUND),
        (books_of(RICH, advances=[lent()]), a_collect(5, currency="JPY"), Reason.CURRENCY_MISMATCH),
        (books_of(RICH, advances=[lent().collect(1, 100, by=1)]), a_collect(5), Reason.INSTALMENT_NOT_SCHEDULED),
        (books_of(RICH, advances=[lent().collect(1, 0, by=1)]), a_collect(5), Reason.INSTALMENT_NOT_SCHEDULED),
        (books_of(RICH, advances=[lent().repay(100, by=1)]), a_collect(5), Reason.INSTALMENT_NOT_SCHEDULED),
        (books_of(RICH, advances=[lent().write_off(by=1)]), a_collect(5), Reason.INSTALMENT_NOT_SCHEDULED),
        (books_of(RICH, advances=[lent()]), a_collect(5, 13), Reason.INSTALMENT_NOT_SCHEDULED),
    ],
)
def test_a_collect_is_refused_and_changes_nothing(books: Books, command: Command, reason: Reason) -> None:
    """It came a second time, or too late: what became of the instalment stays."""
    (outcome,), closing = after(books, [command])

    assert outcome == refused(command, reason)
    assert closing == books


def test_an_instalment_is_not_collected_before_its_day() -> None:
    """A scheduler whose clock is ahead takes no money early. The attempt is counted, so that there is a next one."""
    (outcome,), books = after(books_of(RICH, advances=[lent()]), [a_collect(5, 2)])

    assert outcome == refused(a_collect(5, 2), Reason.INSTALMENT_NOT_DUE)
    assert books.accounts["alice"] == RICH
    second = books.advances[5].instalments[1]
    assert (second.state, second.attempts, second.failed_at) == (InstalmentState.SCHEDULED, 1, None)


def test_an_advance_may_be_granted_and_collected_in_one_batch() -> None:
    """Due today, and the tick came before the worker."""
    outcomes, books = after(
        books_of(an_account()),
        [an_advance(amount_minor=24, first_due_on=TODAY, position=5), a_collect(5, position=6)],
    )

    assert [outcome.status for outcome in outcomes] == [Status.APPLIED] * 2
    assert books.advances[5].instalments[0].state is InstalmentState.PAID
    assert books.accounts["alice"].balance_minor == 22


def test_after_three_weeks_of_outage_each_week_is_decided_in_order() -> None:
    """What is there pays the first; the second is rolled into the third, and that into the fourth."""
    advance = lent(400, instalments=4, first_due_on=TODAY - 2 * WEEK)
    outcomes, books = after(
        books_of(an_account(available_minor=150), advances=[advance]),
        [a_collect(5, number, position=10 + number) for number in (1, 2, 3)],
    )

    assert [outcome.reason for outcome in outcomes] == [None, Reason.INSUFFICIENT_FUNDS, Reason.INSUFFICIENT_FUNDS]
    assert [(each.amount_minor, each.state.value) for each in books.advances[5].instalments] == [
        (100, "paid"),
        (100, "missed"),
        (200, "missed"),
        (300, "scheduled"),
    ]


# The business date.

PRAGUE = Rules(zone=ZoneInfo("Europe/Prague"))


@pytest.mark.parametrize(
    ("instant", "rules", "expected"),
    [
        ("2026-01-05T23:59:59Z", Rules(), date(2026, 1, 5)),
        ("2026-01-06T00:00:00Z", Rules(), date(2026, 1, 6)),
        ("2026-01-05T22:59:59Z", PRAGUE, date(2026, 1, 5)),  # winter: an hour ahead
        ("2026-01-05T23:00:00Z", PRAGUE, date(2026, 1, 6)),
        ("2026-07-05T21:59:59Z", PRAGUE, date(2026, 7, 5)),  # summer: two
        ("2026-07-05T22:00:00Z", PRAGUE, date(2026, 7, 6)),
        ("2026-03-28T23:00:00Z", PRAGUE, date(2026, 3, 29)),  # the day of 23 hours
        ("2026-03-29T21:59:59Z", PRAGUE, date(2026, 3, 29)),
        ("2026-03-29T22:00:00Z", PRAGUE, date(2026, 3, 30)),
        ("2026-10-24T22:00:00Z", PRAGUE, date(2026, 10, 25)),  # the day of 25 hours
        ("2026-10-25T22:59:59Z", PRAGUE, date(2026, 10, 25)),
        ("2026-10-25T23:00:00Z", PRAGUE, date(2026, 10, 26)),
        ("2027-12-31T23:00:00Z", PRAGUE, date(2028, 1, 1)),  # a year ends at midnight there
        ("2028-02-28T23:00:00Z", PRAGUE, date(2028, 2, 29)),
        ("2028-02-29T23:00:00Z", PRAGUE, date(2028, 3, 1)),
        ("2026-01-05T11:00:00Z", Rules(zone=ZoneInfo("Pacific/Kiritimati")), date(2026, 1, 6)),
        ("2026-01-05T11:59:59Z", Rules(zone=ZoneInfo("Etc/GMT+12")), date(2026, 1, 4)),
    ],
)
def test_the_business_date_is_that_of_the_banks_zone(instant: str, rules: Rules, expected: date) -> None:
    """Around every change of the clock, at the ends of years and on the day that most years have not."""
    assert rules.business_date(datetime.fromisoformat(instant)) == expected


def test_an_instalment_is_due_by_the_banks_own_midnight() -> None:
    """Not by the midnight of the machine, and not by the scheduler's."""
    advance = lent(first_due_on=date(2026, 7, 6))
    books = books_of(RICH, advances=[advance])
    before, midnight = datetime.fromisoformat("2026-07-05T21:59:59Z"), datetime.fromisoformat("2026-07-05T22:00:00Z")
    (early,), _ = after(books, [a_collect(5)], now=before, rules=PRAGUE)
    (due,), _ = after(books, [a_collect(5)], now=midnight, rules=PRAGUE)

    assert (early.reason, due.reason) == (Reason.INSTALMENT_NOT_DUE, None)
