"""What holds for the rules whatever the books and the commands: money is moved, never made, lost or owed too deep."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from processor.domain.advances import accounted_minor, due_on
from processor.domain.books import UNLIMITED, Account, AccountChange, Books
from processor.domain.commands import Adjust, Command, Reverse
from processor.domain.decide import decide
from processor.domain.holds import Hold
from processor.domain.outcomes import Outcome, Side, Status, TransferKind
from processor.domain.rules import Bounds, Overdraft, Rules
from tests.builders import LARGEST, NOON, RULES, TODAY, after, any_books, as_read_next, command_lists
from tests.oracle import Bank

LENDING = (TransferKind.ADVANCE, TransferKind.COLLECTION, TransferKind.REPAYMENT, TransferKind.WRITE_OFF)
STRICT = Rules(
    bounds={
        (type_, "USD"): Bounds(50, 1_000) for type_ in ("deposit", "withdraw", "transfer", "place_hold", "advance")
    },
    overdrafts={"USD": Overdraft(100, 50), "JPY": Overdraft(1_000, 0)},
)


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


def history(books: Books, commands: list[Command]) -> Iterator[tuple[Command, Outcome, Books, Books]]:
    """One command after the other: what was answered, and the books before and after it."""
    for command in commands:
        decided = decide(books, [command], now=NOON, rules=RULES)
        closing = as_read_next(books, decided)
        yield command, decided.outcomes[0], books, closing
        books = closing


def spare(account: Account) -> int:
    """How far the account is above the lowest that its overdraft allows, with what is on hold taken."""
    floor_minor = -(account.overdraft_limit_minor + account.overdraft_fee_minor)
    return account.balance_minor - account.held_minor - floor_minor


def open_holds(holds: Mapping[int, Hold], account: str) -> int:
    """What is reserved on the account, by its holds."""
    return sum(hold.amount_minor for hold in holds.values() if hold.account == account and hold.is_open)


@settings(max_examples=1_000)
@given(
    books=any_books(),
    commands=command_lists(),
    partial=st.booleans(),
    limit=st.integers(1, 2),
    base=st.sampled_from((RULES, RULES, STRICT)),
)
def test_a_naive_bank_gives_the_same_answers(
    books: Books, commands: list[Command], partial: bool, limit: int, base: Rules
) -> None:
    """The rules are written down twice, by two people: where they differ, one of them is wrong about money."""
    rules = replace(base, partial_collection=partial, max_live_advances=limit)
    bank = Bank(
        partial_collection=partial,
        max_live_advances=limit,
        bounds={key: (bounds.min_minor, bounds.max_minor) for key, bounds in rules.bounds.items()},
        overdrafts={key: (usual.limit_minor, usual.fee_minor) for key, usual in rules.overdrafts.items()},
    )
    for account in books.accounts.values():
        bank.knows(account)
    for advance in books.advances.values():
        bank.owes(advance)
    for hold in books.holds.values():
        bank.holds_for(hold)
    for done in books.done.values():
        bank.remembers(done)
    outcomes, closing = after(books, commands, rules=rules)

    for command, outcome in zip(commands, outcomes, strict=True):
        answer = bank.take(command, today=TODAY, now=NOON)
        assert (outcome.status.value, outcome.reason and outcome.reason.value) == answer
        assert [
            (each.kind.value, each.debit.account, each.credit.account, each.amount_minor) for each in outcome.transfers
        ] == bank.moved[command.position]
    assert {
        name: {
            "currency": account.currency,
            "status": account.status.value,
            "in": account.credits_minor,
            "out": account.debits_minor,
            "limit": account.overdraft_limit_minor,
            "fee": account.overdraft_fee_minor,
            "daily_count": account.daily.count,
            "daily_amount": account.daily.amount_minor,
        }
        for name, account in closing.accounts.items()
    } == {
        name: {key: value for key, value in account.items() if key != "days"} for name, account in bank.accounts.items()
    }
    assert {name: account.held_minor for name, account in closing.accounts.items()} == {
        name: bank.held(name) for name in bank.accounts
    }
    assert {hold.id: hold.state.value for hold in closing.holds.values()} == {
        hold_id: hold["state"] for hold_id, hold in bank.holds.items()
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


@settings(max_examples=300)
@given(books=any_books(), commands=command_lists())
def test_no_account_is_below_its_floor_after_any_command(books: Books, commands: list[Command]) -> None:
    """The overdraft limit, and one fee below it, with all holds taken: lower only by what was forced, and just that."""
    for command, _, before, closing in history(books, commands):
        forces = isinstance(command, Adjust | Reverse) and command.force
        for name, account in closing.accounts.items():
            assert account.forced_minor == max(0, -spare(account))
            if not forces:
                earlier = before.accounts.get(name)
                assert account.forced_minor <= (earlier.forced_minor if earlier else 0)


@settings(max_examples=300)
@given(books=any_books(), commands=command_lists())
def test_what_is_held_is_what_the_open_holds_say(books: Books, commands: list[Command]) -> None:
    """A hold that is forgotten is money that nobody can use; one that is counted twice, money that is there twice."""
    _, closing = after(books, commands)

    assert {name: account.held_minor for name, account in closing.accounts.items()} == {
        name: open_holds(closing.holds, name) for name in closing.accounts
    }
    for hold in books.holds.values():
        assert hold.is_open or closing.holds[hold.id] == hold
    for hold in closing.holds.values():
        assert 0 <= hold.captured_minor <= hold.amount_minor
        assert hold.is_open == (hold.settled_by is None)


@settings(max_examples=300)
@given(books=any_books(), commands=command_lists())
def test_a_command_is_reversed_once_and_exactly(books: Books, commands: list[Command]) -> None:
    """Every unit goes back the way it came, and to nobody twice."""
    decided = decide(books, commands, now=NOON, rules=RULES)
    done = as_read_next(books, decided).done
    reversals = {command.position: command.reverses for command in commands if isinstance(command, Reverse)}
    applied = {each.position: each.transfers for each in decided.outcomes if each.status is Status.APPLIED}

    assert decided.reversals == {by: position for by, position in reversals.items() if by in applied}
    assert len(set(decided.reversals.values())) == len(decided.reversals)
    for by, position in decided.reversals.items():
        earlier = books.done.get(position)
        assert position < by or earlier is not None
        assert earlier is None or earlier.reversed_by is None
        assert [(each.debit.account, each.credit.account, each.amount_minor) for each in reversed(applied[by])] == [
            (each.credit.account, each.debit.account, each.amount_minor) for each in done[position].transfers
        ]
        assert {each.kind for each in applied[by]} == {TransferKind.REVERSAL}
        assert TransferKind.REVERSAL not in {each.kind for each in done[position].transfers}


@settings(max_examples=300)
@given(books=any_books(), commands=command_lists())
def test_a_refusal_changes_nothing(books: Books, commands: list[Command]) -> None:
    """No total, no hold and no limit of a day: who is told no has lost nothing by asking."""
    for command, outcome, before, closing in history(books, commands):
        if outcome.status is Status.REFUSED:
            assert closing.accounts == before.accounts
            # The scheduler's own attempts are counted, so that there is a next one.
            assert {id_: replace(hold, attempts=0) for id_, hold in closing.holds.items()} == {
                id_: replace(hold, attempts=0) for id_, hold in before.holds.items()
            }
            assert {**closing.done, command.position: None} == {**before.done, command.position: None}


@settings(max_examples=300)
@given(books=any_books(), commands=command_lists())
def test_no_day_has_more_than_its_limits(books: Books, commands: list[Command]) -> None:
    """What is counted never passes what was allowed when it was counted; and what is not limited is not counted."""
    for _, _, before, closing in history(books, commands):
        for name, account in closing.accounts.items():
            earlier = before.accounts[name].daily if name in before.accounts else UNLIMITED
            if (account.daily.used, account.daily.on) != (earlier.used, earlier.on):
                assert not account.daily.is_exceeded or account.daily.used < earlier.used
            assert account.daily.is_limited or account.daily == UNLIMITED


@given(books=any_books(), commands=command_lists())
def test_no_total_leaves_the_range_of_bigint(books: Books, commands: list[Command]) -> None:
    """Postgres would refuse the whole batch, every time. What is on hold will be debited: there is room for it."""
    for _, _, _, closing in history(books, commands):
        for account in closing.accounts.values():
            assert 0 <= account.credits_minor <= LARGEST
            assert account.held_minor >= 0
            assert 0 <= account.debits_minor <= LARGEST - account.held_minor
            assert account.forced_minor <= LARGEST


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


@settings(max_examples=600)
@given(books=any_books(), commands=command_lists(), cut=st.integers(0, 12), other=st.integers(0, 12))
def test_batch_boundaries_do_not_change_the_answers(
    books: Books, commands: list[Command], cut: int, other: int
) -> None:
    """Workers may group commands as they like: whole or in three parts, the answers and the books are the same."""
    whole = decide(books, commands, now=NOON, rules=RULES)
    closing = as_read_next(books, whole)
    answers: list[Outcome] = []
    changes: list[AccountChange] = []
    reversals: dict[int, int] = {}
    for part in (commands[: min(cut, other)], commands[min(cut, other) : max(cut, other)], commands[max(cut, other) :]):
        decided = decide(books, part, now=NOON, rules=RULES)
        books = as_read_next(books, decided)
        answers += decided.outcomes
        changes += decided.changes
        reversals |= decided.reversals

    assert (answers, changes, reversals) == (whole.outcomes, whole.changes, whole.reversals)
    assert books == closing


@given(books=any_books(), commands=command_lists())
def test_commands_of_other_accounts_may_go_in_any_order(books: Books, commands: list[Command]) -> None:
    """Only the order per account is promised, so nothing may depend on more: the books after it are the same."""
    in_order, closing = after(books, commands)
    reordered = sorted(commands, key=lambda command: (_component(books, commands, command), command.position))
    other_order, other_closing = after(books, reordered)

    assert sorted(other_order, key=lambda outcome: outcome.position) == in_order
    assert other_closing == closing


@given(books=any_books(), commands=command_lists())
def test_the_books_name_what_was_written_and_nothing_else(books: Books, commands: list[Command]) -> None:
    """An account that no transfer touched is not updated; rows come in order of name, so that no two batches cross."""
    decided = decide(books, commands, now=NOON, rules=RULES)
    applied = {outcome.position for outcome in decided.outcomes if outcome.status is Status.APPLIED}
    touched = set[str]().union(*(_names(books, commands, each) for each in commands if each.position in applied))
    moved = {side.account for side, _, _ in sides(list(decided.outcomes))}
    granted = [advance.id for advance in decided.granted]
    altered = [advance.id for advance in decided.altered]
    opened = [account.name for account in decided.opened]
    changed = [account.name for account in decided.changed]

    assert changed == sorted(changed)
    assert moved & books.accounts.keys() <= set(changed) <= touched & books.accounts.keys()
    assert all(account.revision > books.accounts[account.name].revision for account in decided.changed)
    assert [hold.id for hold in decided.holds] == sorted({hold.id for hold in decided.holds})
    assert all(books.holds.get(hold.id) != hold for hold in decided.holds)
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
    for _, outcome, before, _ in history(books, commands):
        kinds = [transfer.kind for transfer in outcome.transfers]
        withdrawals = [each for each in outcome.transfers if each.kind is TransferKind.WITHDRAWAL]
        due = [
            each
            for each in withdrawals
            if each.debit.balance_minor is not None
            and each.debit.balance_minor < 0
            and before.accounts[each.debit.account].overdraft_fee_minor
        ]
        assert kinds.count(TransferKind.OVERDRAFT_FEE) == len(due)
        assert TransferKind.OVERDRAFT_FEE not in kinds or kinds == [TransferKind.WITHDRAWAL, TransferKind.OVERDRAFT_FEE]


def _component(books: Books, commands: list[Command], command: Command) -> str:
    """A name for the set of accounts that are linked to the command's by others of the list."""
    linked = _names(books, commands, command)
    while True:
        more = linked.union(*(names for each in commands if (names := _names(books, commands, each)) & linked))
        if more == linked:
            return max(linked, default="")
        linked = more


def _names(books: Books, commands: list[Command], command: Command) -> set[str]:
    """The customers' accounts that the command touches, or, of a reversal, what is reversed."""
    if isinstance(command, Reverse):
        done = books.done.get(command.reverses)
        earlier = [each for each in commands if each.position == command.reverses < command.position]
        names = {side.account for each in done.transfers for side in (each.debit, each.credit)} if done else set()
        names = names.union(*(_names(books, commands, each) for each in earlier))
    else:
        fields = ("account", "from_account", "to_account")
        names = {name for field in fields if (name := getattr(command, field, None)) is not None}
    return {name for name in names if not name.startswith("@")}


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
    assert all(
        each.kind in LENDING
        for outcome in outcomes
        for each in outcome.transfers
        if "@advances_receivable:" in each.debit.account + each.credit.account
    )
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
