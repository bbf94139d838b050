"""What holds for the rules whatever the books and the commands: money is moved, never made, lost or owed too deep."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from processor.domain.advances import accounted_minor, due_on
from processor.domain.books import Books
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Side, Status, TransferKind
from processor.domain.rules import Rules
from tests.builders import LARGEST, NOON, RULES, TODAY, after, any_books, command_lists
from tests.oracle import Bank


def sides(outcomes: list[Outcome]) -> list[tuple[Side, int, str]]:
    """Both sides of every transfer in order: what it adds to the account's balance, and the currency."""
    return [
        each
        for outcome in outcomes
        for transfer in outcome.transfers
        for each in (
            (transfer.debit, -transfer.amount_minor, transfer.currency),
            (transfer.credit, transfer.amount_minor, transfer.currency),
        )
    ]


@settings(max_examples=600)
@given(books=any_books(), commands=command_lists(), partial=st.booleans(), limit=st.integers(1, 2))
def test_a_naive_bank_gives_the_same_answers(books: Books, commands: list[Command], partial: bool, limit: int) -> None:
    """The rules are written down twice, by two people: where they differ, one of them is wrong about money."""
    rules = Rules(partial_collection=partial, max_live_advances=limit)
    bank = Bank(partial_collection=partial, max_live_advances=limit)
    for account in books.accounts.values():
        bank.knows(account)
    for advance in books.advances.values():
        bank.owes(advance)
    outcomes, closing = after(books, commands, rules=rules)

    for command, outcome in zip(commands, outcomes, strict=True):
        answer = bank.take(command, today=TODAY)
        assert (outcome.status.value, outcome.reason and outcome.reason.value) == answer
    assert {name: (account.credits_minor, account.debits_minor) for name, account in closing.accounts.items()} == {
        name: (account["in"], account["out"]) for name, account in bank.accounts.items()
    }
    own = Counter[str]()
    for side, amount_minor, _ in sides(outcomes):
        if side.account.startswith("@"):
            own[side.account] += amount_minor
    assert own == bank.own
    assert bank.schedules() == {
        advance.id: [
            (each.due_on, each.amount_minor, each.rolled_minor, each.paid_minor, each.state.value)
            for each in advance.instalments
        ]
        for advance in closing.advances.values()
    }


@given(books=any_books(), commands=command_lists())
def test_every_command_is_answered_in_its_place(books: Books, commands: list[Command]) -> None:
    """A worker writes the i-th answer under the i-th position: one too few would answer somebody else's payment."""
    outcomes = decide(books, commands, now=NOON, rules=RULES).outcomes

    assert [outcome.position for outcome in outcomes] == [command.position for command in commands]
    assert all((outcome.status is Status.APPLIED) == (outcome.reason is None) for outcome in outcomes)
    assert all(outcome.status is Status.APPLIED or not outcome.transfers for outcome in outcomes)


@given(books=any_books(), commands=command_lists())
def test_money_is_neither_made_nor_lost(books: Books, commands: list[Command]) -> None:
    """In each currency: what the customers have more, the bank's own accounts have less."""
    outcomes, closing = after(books, commands)
    bank = Counter[str]()
    for side, amount_minor, currency in sides(outcomes):
        if side.account.startswith("@"):
            bank[currency] += amount_minor
    customers = Counter[str]()
    for name, account in closing.accounts.items():
        before = books.accounts[name].balance_minor if name in books.accounts else 0
        customers[account.currency] += account.balance_minor - before

    assert {currency: -minor for currency, minor in bank.items() if minor} == {
        currency: minor for currency, minor in customers.items() if minor
    }


@given(books=any_books(), commands=command_lists())
def test_no_account_is_below_its_floor_after_any_transfer(books: Books, commands: list[Command]) -> None:
    """The overdraft limit, and one fee below it: also in the middle of a command, where a crash would leave it."""
    outcomes, closing = after(books, commands)

    for side, _, _ in sides(outcomes):
        if side.balance_minor is not None:
            account = closing.accounts[side.account]
            assert side.balance_minor >= -(account.overdraft_limit_minor + account.overdraft_fee_minor)


@given(books=any_books(), commands=command_lists())
def test_no_total_leaves_the_range_of_bigint(books: Books, commands: list[Command]) -> None:
    """Postgres would refuse the whole batch, every time."""
    _, closing = after(books, commands)

    assert all(
        0 <= total <= LARGEST
        for account in closing.accounts.values()
        for total in (account.credits_minor, account.debits_minor)
    )


@given(books=any_books(), commands=command_lists())
def test_an_accounts_versions_and_balances_are_a_chain(books: Books, commands: list[Command]) -> None:
    """Each transfer takes the version after the one before it, and the balance that its own amount leads to."""
    outcomes, closing = after(books, commands)
    for name, account in closing.accounts.items():
        start = books.accounts.get(name)
        chain = [(start.version, start.balance_minor) if start else (0, 0)]
        moved = [0]
        for side, amount_minor, _ in sides(outcomes):
            if side.account == name:
                assert side.version is not None
                assert side.balance_minor is not None
                chain.append((side.version, side.balance_minor))
                moved.append(amount_minor)

        assert [version for version, _ in chain] == list(range(chain[0][0], chain[0][0] + len(chain)))
        assert [later - earlier for (_, earlier), (_, later) in pairwise(chain)] == moved[1:]
        assert chain[-1] == (account.version, account.balance_minor)


@given(books=any_books(), commands=command_lists(), cut=st.integers(0, 12), other=st.integers(0, 12))
def test_batch_boundaries_do_not_change_the_answers(
    books: Books, commands: list[Command], cut: int, other: int
) -> None:
    """Workers may group commands as they like: whole or in three parts, the answers and the books are the same."""
    whole = after(books, commands)
    answers: list[Outcome] = []
    for part in (commands[: min(cut, other)], commands[min(cut, other) : max(cut, other)], commands[max(cut, other) :]):
        some, books = after(books, part)
        answers += some

    assert (answers, books) == whole


@given(books=any_books(), commands=command_lists())
def test_commands_of_other_accounts_may_go_in_any_order(books: Books, commands: list[Command]) -> None:
    """Only the order per account is promised, so nothing may depend on more: the books after it are the same."""
    in_order, closing = after(books, commands)
    reordered = sorted(commands, key=lambda command: (_component(commands, command), command.position))
    other_order, other_closing = after(books, reordered)

    assert sorted(other_order, key=lambda outcome: outcome.position) == in_order
    assert other_closing == closing


@given(books=any_books(), commands=command_lists())
def test_the_books_name_what_was_written_and_nothing_else(books: Books, commands: list[Command]) -> None:
    """An account that no transfer touched is not updated; rows come in order of name, so that no two batches cross."""
    decided = decide(books, commands, now=NOON, rules=RULES)
    touched = {side.account for side, _, _ in sides(list(decided.outcomes))}
    granted = [advance.id for advance in decided.granted]
    altered = [advance.id for advance in decided.altered]
    opened = [account.name for account in decided.opened]
    changed = [account.name for account in decided.changed]

    assert changed == sorted(name for name in books.accounts if name in touched)
    assert opened == sorted(opened)
    assert not set(opened) & books.accounts.keys()
    assert not set(granted) & books.advances.keys()
    assert [*granted, *altered] == [*sorted(granted), *sorted(altered)]
    assert all(books.advances[advance.id] != advance for advance in decided.altered)
    unnamed = books.advances.keys() - {getattr(command, "advance", None) for command in commands}
    assert not set(altered) & unnamed


@given(books=any_books(), commands=command_lists())
def test_the_same_question_has_the_same_answer(books: Books, commands: list[Command]) -> None:
    """What was read stays as it was read, and the hour of a retry changes nothing but when it was tried."""
    first = decide(books, commands, now=NOON, rules=RULES)
    later = decide(books, iter(commands), now=NOON + timedelta(hours=11), rules=RULES)

    assert decide(books, iter(commands), now=NOON, rules=RULES) == first
    assert (later.outcomes, later.changed) == (first.outcomes, first.changed)


@given(books=any_books(), commands=command_lists())
def test_a_fee_follows_its_withdrawal_into_the_red_and_comes_nowhere_else(
    books: Books, commands: list[Command]
) -> None:
    """No command is charged for without cause, and none that should be is forgotten."""
    outcomes, closing = after(books, commands)

    for outcome in outcomes:
        kinds = [transfer.kind for transfer in outcome.transfers]
        withdrawals = [each for each in outcome.transfers if each.kind is TransferKind.WITHDRAWAL]
        due = [
            each
            for each in withdrawals
            if each.debit.balance_minor is not None
            and each.debit.balance_minor < 0
            and closing.accounts[each.debit.account].overdraft_fee_minor
        ]
        assert kinds.count(TransferKind.OVERDRAFT_FEE) == len(due)
        assert TransferKind.OVERDRAFT_FEE not in kinds or kinds == [TransferKind.WITHDRAWAL, TransferKind.OVERDRAFT_FEE]


def _component(commands: list[Command], command: Command) -> str:
    """A name for the set of accounts that are linked to the command's by transfers of the list."""
    linked = _names(command)
    while True:
        more = linked.union(*(names for each in commands if (names := _names(each)) & linked))
        if more == linked:
            return max(linked)
        linked = more


def _names(command: Command) -> set[str]:
    names = (getattr(command, field, None) for field in ("account", "from_account", "to_account"))
    return {name for name in names if name is not None}


@given(books=any_books(), commands=command_lists(), partial=st.booleans())
def test_every_advance_adds_up_whatever_happens_to_it(books: Books, commands: list[Command], partial: bool) -> None:
    """The completeness formula: what is paid, not due yet or being collected, or written off, is the advance."""
    _, closing = after(books, commands, rules=Rules(partial_collection=partial))

    for advance in closing.advances.values():
        assert accounted_minor(advance.instalments) == advance.amount_minor
        assert sum(each.paid_minor for each in advance.instalments) == advance.paid_minor
        assert sum(each.left_minor for each in advance.instalments if each.is_scheduled) == advance.remaining_minor
        assert advance.state.is_live == (advance.remaining_minor > 0)
        assert [each.number for each in advance.instalments] == list(range(1, advance.count + 1))
        assert all(each.due_on == due_on(advance.first_due_on, each.number) for each in advance.instalments)


@given(books=any_books(), commands=command_lists(), partial=st.booleans())
def test_what_is_owed_is_what_the_banks_own_account_says(books: Books, commands: list[Command], partial: bool) -> None:
    """Advances receivable moves by exactly what the advances do: a schedule cannot be paid without money."""
    outcomes, closing = after(books, commands, rules=Rules(partial_collection=partial))
    receivable = Counter[str]()
    for side, amount_minor, currency in sides(outcomes):
        if side.account.startswith("@advances_receivable:"):
            receivable[currency] -= amount_minor
    owed = Counter[str]()
    for sign, all_advances in ((1, closing.advances), (-1, books.advances)):
        for advance in all_advances.values():
            owed[advance.currency] += sign * advance.remaining_minor

    assert {currency: each for currency, each in owed.items() if each} == {
        currency: each for currency, each in receivable.items() if each
    }


@given(books=any_books(), commands=command_lists(), partial=st.booleans())
def test_what_is_settled_stays_as_it_is(books: Books, commands: list[Command], partial: bool) -> None:
    """No week is collected twice, and none that was missed comes back."""
    _, closing = after(books, commands, rules=Rules(partial_collection=partial))

    for advance in books.advances.values():
        settled = [each for each in advance.instalments if not each.is_scheduled]
        assert [closing.advances[advance.id].find(each.number) for each in settled] == settled
