"""How many debits an account may have on one day, and of how much together."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from processor.domain.books import UNLIMITED, Account, Daily
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR, Command
from processor.domain.outcomes import Reason, Status
from processor.domain.rules import Rules
from tests.builders import (
    NOON,
    TODAY,
    a_collect,
    a_deposit,
    a_hold,
    a_repayment,
    a_transfer,
    a_withdrawal,
    after,
    an_account,
    answer,
    books_of,
    lent,
    limits,
    refused,
)

YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)


def limited(daily: Daily) -> Account:
    """A rich account of which not everything may be spent in a day."""
    return an_account(available_minor=10_000, overdraft_limit_minor=1_000, overdraft_fee_minor=15, daily=daily)


@pytest.mark.parametrize(
    ("daily", "amount_minor", "allowed"),
    [
        (Daily(1, UNLIMITED_MINOR), 9_999, True),
        (Daily(2, UNLIMITED_MINOR, TODAY, 1, 1), 9_999, True),
        (Daily(2, UNLIMITED_MINOR, TODAY, 2, 2), 1, False),
        (Daily(0, UNLIMITED_MINOR), 1, False),
        (Daily(UNLIMITED_COUNT, 500), 500, True),
        (Daily(UNLIMITED_COUNT, 500), 501, False),
        (Daily(UNLIMITED_COUNT, 500, TODAY, 70, 400), 100, True),
        (Daily(UNLIMITED_COUNT, 500, TODAY, 70, 400), 101, False),
        (Daily(1, 500, YESTERDAY, 9, 500), 500, True),
        (Daily(1, 500, TODAY, 0, 500), 1, False),
    ],
)
@pytest.mark.parametrize("kind", ["withdrawal", "transfer", "hold"])
def test_a_day_has_so_many_debits_and_so_much(daily: Daily, amount_minor: int, allowed: bool, kind: str) -> None:
    """The limit is allowed itself; the next one is not, whatever is available."""
    commands: dict[str, Command] = {
        "withdrawal": a_withdrawal(amount_minor=amount_minor),
        "transfer": a_transfer(amount_minor=amount_minor),
        "hold": a_hold(amount_minor=amount_minor),
    }
    account = limited(daily)
    (outcome,), books = after(books_of(account, an_account("bob")), [commands[kind]])
    before = (daily.used, daily.used_minor) if daily.on == TODAY else (0, 0)

    assert outcome.reason is (None if allowed else Reason.LIMIT_EXCEEDED)
    assert books.accounts["alice"].daily == (
        Daily(daily.count, daily.amount_minor, TODAY, before[0] + 1, before[1] + amount_minor) if allowed else daily
    )


@pytest.mark.parametrize("command", [a_withdrawal(amount_minor=99_999), a_transfer(amount_minor=99_999)])
def test_the_limit_of_the_day_is_told_before_what_is_there(command: Command) -> None:
    """The account's limits are no secret of it; its balance would be one for who may only spend a little."""
    books = books_of(limited(Daily(UNLIMITED_COUNT, 500)), an_account("bob"))

    assert answer(books, command) == refused(command, Reason.LIMIT_EXCEEDED)


def test_what_is_refused_is_not_counted() -> None:
    """Whoever tries in vain may try again."""
    account = an_account(available_minor=100, daily=Daily(1, UNLIMITED_MINOR))
    commands: list[Command] = [
        a_withdrawal(amount_minor=101, position=1),
        a_hold(amount_minor=101, position=2),
        a_transfer(amount_minor=101, position=3),
        a_withdrawal(position=4),
        a_withdrawal(amount_minor=1, position=5),
    ]
    outcomes, _ = after(books_of(account, an_account("bob")), commands)

    assert [each.reason for each in outcomes] == [*[Reason.INSUFFICIENT_FUNDS] * 3, None, Reason.LIMIT_EXCEEDED]


def test_only_debits_that_the_customer_asks_for_are_counted() -> None:
    """What comes in, what the bank takes for an advance, and a fee are none of them."""
    account = an_account(available_minor=500, overdraft_limit_minor=500, overdraft_fee_minor=15, daily=Daily(1, 200))
    commands: list[Command] = [
        a_deposit(position=6),
        a_transfer("bob", "alice", 50, position=7),
        a_collect(5, position=8),
        a_repayment(5, 50, position=9),
        a_withdrawal(amount_minor=200, position=10),
    ]
    books = books_of(account, an_account("bob", available_minor=50), advances=[lent()])
    outcomes, closing = after(books, commands)

    assert [each.status for each in outcomes] == [Status.APPLIED] * 5
    assert len(outcomes[-1].transfers) == 2
    assert closing.accounts["alice"].daily == Daily(1, 200, TODAY, 1, 200)


# Midnight.


def test_a_day_ends_at_the_banks_own_midnight() -> None:
    """Not at the machine's: in July, Prague is two hours ahead of UTC."""
    rules = Rules(zone=ZoneInfo("Europe/Prague"))
    books = books_of(limited(Daily(1, UNLIMITED_MINOR)))
    instants = [
        datetime(2026, 7, 5, hour, minute, second, tzinfo=UTC)
        for hour, minute, second in ((21, 0, 0), (21, 59, 59), (22, 0, 0), (23, 0, 0))
    ]
    reasons = []
    for position, instant in enumerate(instants, start=1):
        (outcome,), books = after(books, [a_withdrawal(position=position)], now=instant, rules=rules)
        reasons.append(outcome.reason)

    assert reasons == [None, Reason.LIMIT_EXCEEDED, None, Reason.LIMIT_EXCEEDED]


def test_a_clock_that_is_behind_does_not_give_the_day_again() -> None:
    """Of two machines around midnight, one is still in yesterday: nobody gets three days out of two."""
    daily = Daily(1, UNLIMITED_MINOR, TOMORROW, 1, 100)
    (outcome,), books = after(books_of(limited(daily)), [a_withdrawal()], now=NOON)
    (later,), closing = after(
        books_of(limited(Daily(2, UNLIMITED_MINOR, TOMORROW, 1, 100))), [a_withdrawal()], now=NOON
    )

    assert outcome.reason is Reason.LIMIT_EXCEEDED
    assert books.accounts["alice"].daily == daily
    assert later.status is Status.APPLIED
    assert closing.accounts["alice"].daily == Daily(2, UNLIMITED_MINOR, TOMORROW, 2, 200)


# Other limits on the same day.


def test_another_limit_is_for_what_the_day_has_had() -> None:
    """Lowered at noon, it is not a second day; raised, what is left is more."""
    commands: list[Command] = [
        a_withdrawal(position=1),
        limits(daily_count=1, position=2),
        a_withdrawal(position=3),
        limits(daily_count=2, daily_amount_minor=150, position=4),
        a_withdrawal(amount_minor=51, position=5),
        a_withdrawal(amount_minor=50, position=6),
    ]
    outcomes, books = after(books_of(limited(Daily(3, UNLIMITED_MINOR))), commands)

    assert [each.reason for each in outcomes] == [
        None,
        None,
        Reason.LIMIT_EXCEEDED,
        None,
        Reason.LIMIT_EXCEEDED,
        None,
    ]
    assert books.accounts["alice"].daily == Daily(2, 150, TODAY, 2, 150)


def test_the_first_limit_of_an_account_counts_from_then_on() -> None:
    """While there is no limit, nothing is counted, and no row says what the day has had."""
    commands: list[Command] = [
        a_withdrawal(position=1),
        limits(daily_count=1, position=2),
        a_withdrawal(position=3),
        a_withdrawal(position=4),
    ]
    outcomes, _ = after(books_of(limited(UNLIMITED)), commands)

    assert [each.reason for each in outcomes] == [None, None, None, Reason.LIMIT_EXCEEDED]


def test_an_account_without_limits_forgets_its_day() -> None:
    """As the store does: or the answers would depend on where a batch ends."""
    commands: list[Command] = [
        limits(daily_count=UNLIMITED_COUNT, daily_amount_minor=UNLIMITED_MINOR, position=1),
        a_withdrawal(position=2),
    ]
    outcomes, books = after(books_of(limited(Daily(1, 5, TODAY, 1, 5))), commands)

    assert [each.status for each in outcomes] == [Status.APPLIED] * 2
    assert books.accounts["alice"].daily == UNLIMITED


# What is no limit limits nothing.


def test_no_limit_of_the_sum_is_none_for_any_sum() -> None:
    """Two of the largest amounts are more than the largest: only their count is limited."""
    account = Account("alice", 1, "USD", credits_minor=2**60, daily=Daily(2, UNLIMITED_MINOR))
    commands = [a_withdrawal(amount_minor=2**53 - 1, position=position) for position in (1, 2, 3)]
    outcomes, books = after(books_of(account), commands)

    assert [each.reason for each in outcomes] == [None, None, Reason.LIMIT_EXCEEDED]
    assert books.accounts["alice"].daily == Daily(2, UNLIMITED_MINOR, TODAY, 2, UNLIMITED_MINOR)


def test_no_limit_of_the_count_is_none_for_any_count() -> None:
    """The count stays within its column."""
    account = limited(Daily(UNLIMITED_COUNT, 500, TODAY, UNLIMITED_COUNT, 1))
    (outcome,), books = after(books_of(account), [a_withdrawal()])

    assert outcome.status is Status.APPLIED
    assert books.accounts["alice"].daily.used == UNLIMITED_COUNT
