"""Whatever is linked with whatever: the answers and books are those of a bank that makes a copy and throws it away."""

from hypothesis import given, settings
from hypothesis import strategies as st

from processor.domain.books import Books
from processor.domain.commands import Collect, Command, ExpireHold, Linked
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Status
from tests.builders import NOON, RULES, TODAY, any_books, as_read_next, command_lists
from tests.oracle import Bank

Element = Command | Linked


@st.composite
def elements(draw: st.DrawFn) -> list[Element]:
    """Commands, some of them linked with those behind them. What the scheduler sends never is."""
    commands = draw(command_lists())
    found: list[Element] = []
    group: list[Command] = []
    for command in commands:
        if isinstance(command, Collect | ExpireHold):
            found += [*_whole(group), command]
            group = []
            continue
        group.append(command)
        if draw(st.booleans()):
            found += _whole(group)
            group = []
    return found + _whole(group)


def _whole(group: list[Command]) -> list[Element]:
    return [Linked(tuple(group))] if len(group) > 1 else list(group)


def each_of(element: Element) -> tuple[Command, ...]:
    """The commands of an element."""
    return element.commands if isinstance(element, Linked) else (element,)


@settings(max_examples=600)
@given(books=any_books(), asked=elements())
def test_a_naive_bank_gives_the_same_answers(books: Books, asked: list[Element]) -> None:
    """It copies everything it knows, does one after the other, and keeps the copy if one of them is refused."""
    bank = Bank(max_live_advances=RULES.max_live_advances)
    for account in books.accounts.values():
        bank.knows(account)
    for advance in books.advances.values():
        bank.owes(advance)
    for hold in books.holds.values():
        bank.holds_for(hold)
    for done in books.done.values():
        bank.remembers(done)
    answers = [
        answer
        for element in asked
        for answer in (
            bank.take_linked([{"command": command, "today": TODAY, "now": NOON} for command in element.commands])
            if isinstance(element, Linked)
            else [bank.take(element, today=TODAY, now=NOON)]
        )
    ]
    decided = decide(books, asked, now=NOON, rules=RULES)
    closing = decided.applied_to(books)

    assert [(each.status.value, each.reason and each.reason.value) for each in decided.outcomes] == answers
    assert {name: account.balance_minor for name, account in closing.accounts.items()} == {
        name: bank.balance(name) for name in bank.accounts
    }
    assert {name: account.held_minor for name, account in closing.accounts.items()} == {
        name: bank.held(name) for name in bank.accounts
    }
    assert {name: account.status.value for name, account in closing.accounts.items()} == {
        name: account["status"] for name, account in bank.accounts.items()
    }
    assert {hold.id: hold.state.value for hold in closing.holds.values()} == {
        hold_id: hold["state"] for hold_id, hold in bank.holds.items()
    }
    assert set(closing.advances) == set(bank.schedules())
    assert set(decided.reversals.values()) == bank.reversed - {
        each.position for each in books.done.values() if each.reversed_by is not None
    }


@settings(max_examples=300)
@given(books=any_books(), asked=elements(), cut=st.integers(0, 12))
def test_batch_boundaries_do_not_change_the_answers(books: Books, asked: list[Element], cut: int) -> None:
    """Workers may group what is asked as they like, if only no link is cut."""
    whole = decide(books, asked, now=NOON, rules=RULES)
    first = decide(books, asked[:cut], now=NOON, rules=RULES)
    then = as_read_next(books, first)
    second = decide(then, asked[cut:], now=NOON, rules=RULES)

    assert [*first.outcomes, *second.outcomes] == whole.outcomes
    assert second.applied_to(then).accounts == whole.applied_to(books).accounts
    assert second.applied_to(then).holds == whole.applied_to(books).holds
    assert second.applied_to(then).advances == whole.applied_to(books).advances


@given(books=any_books(), asked=elements())
def test_of_those_that_are_linked_all_are_applied_or_one_says_why_not(books: Books, asked: list[Element]) -> None:
    """There is no third way, and never more than one reason."""
    outcomes = iter(decide(books, asked, now=NOON, rules=RULES).outcomes)
    for element in asked:
        answers: list[Outcome] = [next(outcomes) for _ in each_of(element)]
        if all(answer.status is Status.APPLIED for answer in answers):
            continue
        reasons = [answer.reason for answer in answers]

        assert all(answer.status is Status.REFUSED for answer in answers)
        assert reasons.count(Reason.LINKED_COMMAND_REFUSED) == len(reasons) - 1
