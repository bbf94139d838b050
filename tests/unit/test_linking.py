"""Linked commands in the rules: all are applied or none, and the one that is in the way says why."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from processor.domain.books import AccountStatus, Books, Done
from processor.domain.commands import Command, Linked
from processor.domain.decide import Decided, decide
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind
from tests.builders import (
    NOON,
    RULES,
    a_capture,
    a_deposit,
    a_freeze,
    a_hold,
    a_repayment,
    a_reversal,
    a_transfer,
    a_withdrawal,
    an_account,
    an_advance,
    an_opening,
    books_of,
    held,
    limits,
    refused,
)


def decided(books: Books, *commands: Command, after: Command | None = None) -> Decided:
    """What becomes of the linked commands, and of one that is alone after them."""
    alone = [] if after is None else [after]
    return decide(books, [Linked(commands), *alone], now=NOON, rules=RULES)


def statuses(outcomes: Sequence[Outcome]) -> list[Status]:
    """Of each outcome in turn."""
    return [outcome.status for outcome in outcomes]


def test_what_one_does_the_later_ones_find_done() -> None:
    """An account is opened, filled and used at once: that is what links are for."""
    found = decided(
        books_of(),
        an_opening("new", position=1),
        a_deposit("new", 100, position=2),
        a_withdrawal("new", 100, position=3),
    )

    assert statuses(found.outcomes) == [Status.APPLIED] * 3
    assert [account.balance_minor for account in found.opened] == [0]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_one_in_the_way_says_why_and_the_others_say_that_it_was_another(place: int) -> None:
    """Whoever sent them has one thing to put right, wherever it stood."""
    commands: list[Command] = [a_deposit("alice", 1, position=number) for number in (1, 2, 3)]
    commands[place] = a_withdrawal("alice", 1_000, position=place + 1)
    found = decided(books_of(an_account("alice", available_minor=500)), *commands)

    assert found.outcomes == [
        refused(each, Reason.INSUFFICIENT_FUNDS if number == place else Reason.LINKED_COMMAND_REFUSED)
        for number, each in enumerate(commands)
    ]


@pytest.mark.parametrize(
    "command",
    [
        a_deposit("alice", 10, position=11),
        a_transfer("alice", "bob", 10, position=11),
        an_opening("new", position=11),
        a_freeze("alice", position=11),
        limits(daily_count=1, position=11),
        a_hold("alice", 10, position=11),
        a_capture(5, account="alice", position=11),
        an_advance("alice", 120, position=11),
        a_reversal(3, position=11),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_is_left_of_what_was_taken_back(command: Command) -> None:
    """A hold, a limit, an advance, an account or a mark that nobody may reverse again: each would be an effect."""
    paid = Transfer(TransferKind.TRANSFER, Side("bob", 1, 0), Side("alice", 1, 10), 10, "USD")
    books = books_of(
        an_account("alice", available_minor=500, held_minor=50),
        an_account("bob", available_minor=500),
        holds=[held(50)],
        done=[Done(3, Status.APPLIED, (paid,))],
    )
    in_the_way = a_withdrawal("nobody", 1, position=12)
    alone, linked = decided(books, command), decided(books, command, in_the_way)

    assert statuses(alone.outcomes) == [Status.APPLIED]
    assert linked == replace(
        decide(books, [], now=NOON, rules=RULES),
        outcomes=[refused(command, Reason.LINKED_COMMAND_REFUSED), refused(in_the_way, Reason.ACCOUNT_NOT_FOUND)],
    )


def test_what_comes_behind_finds_the_books_as_if_nothing_had_been_asked() -> None:
    """The deposit that was taken back is nobody's money."""
    alice = an_account("alice", available_minor=100)
    behind = a_withdrawal("alice", 101, position=3)
    found = decided(
        books_of(alice), a_deposit("alice", 50, position=1), a_withdrawal("nobody", 1, position=2), after=behind
    )

    assert found.outcomes[2] == refused(behind, Reason.INSUFFICIENT_FUNDS)
    assert found.changed == []


def test_what_came_before_stays() -> None:
    """Only what is linked is taken back."""
    books = books_of(an_account("alice", available_minor=0), an_account("bob", status=AccountStatus.FROZEN))
    found = decide(
        books,
        [
            a_deposit("alice", 7, position=1),
            Linked((a_deposit("alice", 5, position=2), a_withdrawal("bob", 1, position=3))),
            a_withdrawal("alice", 7, position=4),
        ],
        now=NOON,
        rules=RULES,
    )

    assert statuses(found.outcomes) == [Status.APPLIED, Status.REFUSED, Status.REFUSED, Status.APPLIED]
    assert [account.available_minor for account in found.changed] == [0]


def test_a_repayment_may_be_linked_with_the_deposit_that_pays_for_it() -> None:
    """What is owed is as it was when there is not enough after all."""
    books = books_of(an_account("alice"))
    granted = decide(books, [an_advance("alice", 120, position=1)], now=NOON, rules=RULES).applied_to(books)
    both = (a_withdrawal("alice", 20, position=2), a_repayment(1, account="alice", amount_minor=101, position=3))
    undone, done = decided(granted, *both), decided(granted, a_deposit("alice", 1, position=4), *both)

    assert [outcome.reason for outcome in undone.outcomes] == [
        Reason.LINKED_COMMAND_REFUSED,
        Reason.INSUFFICIENT_FUNDS,
    ]
    assert undone.altered == []
    assert statuses(done.outcomes) == [Status.APPLIED] * 3
