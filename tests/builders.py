"""What the tests are built of: accounts, commands and books in a line each, and strategies that make many."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from uuid_utils.compat import uuid7

from processor.domain.advances import WEEK, Advance, grant
from processor.domain.books import Account, AccountStatus, Books
from processor.domain.commands import (
    Collect,
    Command,
    Deposit,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    Repay,
    Withdraw,
    WriteOff,
)
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Status
from processor.domain.rules import Rules
from processor.store.books import PendingRow
from processor.submissions import CommandBody, Submission

NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The instant at which the tests decide."""

TODAY: Final = NOON.date()

RULES: Final = Rules()
"""The bank's settings as they are unless somebody sets them."""

LARGEST: Final = 2**63 - 1

NAMES: Final = ("alice", "bob", "carol", "dave")


# The domain.


def an_account(
    name: str = "alice",
    *,
    available_minor: int = 0,
    currency: str = "USD",
    status: AccountStatus = AccountStatus.OPEN,
    held_minor: int = 0,
    overdraft_limit_minor: int = 0,
    overdraft_fee_minor: int = 0,
) -> Account:
    """An account on which just ``available_minor`` may be debited now."""
    balance_minor = available_minor + held_minor - overdraft_limit_minor
    return Account(
        name=name,
        id=NAMES.index(name) + 1 if name in NAMES else 99,
        currency=currency,
        status=status,
        version=7,
        credits_minor=max(balance_minor, 0) + 1_000,
        debits_minor=max(-balance_minor, 0) + 1_000,
        held_minor=held_minor,
        overdraft_limit_minor=overdraft_limit_minor,
        overdraft_fee_minor=overdraft_fee_minor,
    )


def books_of(*accounts: Account, advances: Sequence[Advance] = ()) -> Books:
    """The books that hold just these accounts and advances."""
    return Books.of(accounts, advances)


def a_deposit(account: str = "alice", amount_minor: int = 100, currency: str = "USD", *, position: int = 1) -> Deposit:
    """Money for the account."""
    return Deposit(position, account, amount_minor, currency)


def a_withdrawal(
    account: str = "alice", amount_minor: int = 100, currency: str = "USD", *, position: int = 1
) -> Withdraw:
    """Money out of the account."""
    return Withdraw(position, account, amount_minor, currency)


def a_transfer(
    source: str = "alice", target: str = "bob", amount_minor: int = 100, currency: str = "USD", *, position: int = 1
) -> MakeTransfer:
    """Money from one account to the other."""
    return MakeTransfer(position, source, target, amount_minor, currency)


def an_opening(
    account: str = "alice",
    currency: str = "USD",
    *,
    overdraft_limit_minor: int = 0,
    overdraft_fee_minor: int = 0,
    position: int = 1,
) -> OpenAccount:
    """An account to be opened."""
    return OpenAccount(position, account, currency, overdraft_limit_minor, overdraft_fee_minor)


def an_advance(
    account: str = "alice",
    amount_minor: int = 1_200,
    currency: str = "USD",
    *,
    instalments: int = 12,
    first_due_on: date | None = None,
    position: int = 1,
) -> MakeAdvance:
    """Money lent to the account."""
    return MakeAdvance(position, account, amount_minor, currency, instalments, first_due_on)


def a_repayment(
    advance: int | None, amount_minor: int = 100, *, account: str = "alice", currency: str = "USD", position: int = 2
) -> Repay:
    """Money for an advance, before its day."""
    return Repay(position, account, advance, amount_minor, currency)


def a_write_off(advance: int | None, *, account: str = "alice", currency: str = "USD", position: int = 2) -> WriteOff:
    """An advance that the bank gives up."""
    return WriteOff(position, account, advance, currency)


def a_collect(
    advance: int | None, instalment: int = 1, *, account: str = "alice", currency: str = "USD", position: int = 2
) -> Collect:
    """The day of an instalment."""
    return Collect(position, account, advance, instalment, currency)


def lent(
    amount_minor: int = 1_200,
    *,
    account: str = "alice",
    instalments: int = 12,
    first_due_on: date = TODAY,
    currency: str = "USD",
    advance_id: int = 5,
) -> Advance:
    """An advance of which nothing is paid yet; its first instalment is due on the day on which the tests decide."""
    return grant(advance_id, account, currency, amount_minor, instalments=instalments, first_due_on=first_due_on)


def refused(command: Command, reason: Reason) -> Outcome:
    """The answer that the rules give when they say no: nothing is moved."""
    return Outcome(command.position, Status.REFUSED, reason)


def answer(books: Books, command: Command, *, rules: Rules = RULES) -> Outcome:
    """What becomes of one command."""
    (outcome,) = decide(books, [command], now=NOON, rules=rules).outcomes
    return outcome


def after(
    books: Books, commands: Sequence[Command], *, now: datetime = NOON, rules: Rules = RULES
) -> tuple[list[Outcome], Books]:
    """The answers, and the books as a next batch would find them."""
    decided = decide(books, commands, now=now, rules=rules)
    return list(decided.outcomes), decided.applied_to(books)


# The intake.


def opening(
    account: str, currency: str = "USD", *, overdraft_limit_minor: int = 0, overdraft_fee_minor: int = 0
) -> CommandBody:
    """The body of an open_account command."""
    return CommandBody(
        type="open_account",
        account=account,
        currency=currency,
        overdraft_limit_minor=overdraft_limit_minor,
        overdraft_fee_minor=overdraft_fee_minor,
    )


def deposit(account: str, amount_minor: int, currency: str = "USD", *, reference: str | None = None) -> CommandBody:
    """The body of a deposit."""
    return CommandBody(
        type="deposit", account=account, amount_minor=amount_minor, currency=currency, reference=reference
    )


def withdraw(account: str, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of a withdrawal."""
    return CommandBody(type="withdraw", account=account, amount_minor=amount_minor, currency=currency)


def transfer(source: str, target: str, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of a transfer."""
    return CommandBody(
        type="transfer", from_account=source, to_account=target, amount_minor=amount_minor, currency=currency
    )


def advance(
    account: str,
    amount_minor: int,
    currency: str = "USD",
    *,
    instalments: int = 12,
    first_due_on: date | None = None,
) -> CommandBody:
    """The body of an advance."""
    return CommandBody(
        type="advance",
        account=account,
        amount_minor=amount_minor,
        currency=currency,
        instalments=instalments,
        first_due_on=first_due_on,
    )


def repay(account: str, advance_id: UUID, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of an early repayment."""
    return CommandBody(
        type="repay", account=account, advance_id=advance_id, amount_minor=amount_minor, currency=currency
    )


def write_off(account: str, advance_id: UUID, currency: str = "USD", *, reason: str = "moved away") -> CommandBody:
    """The body of a write-off."""
    return CommandBody(type="write_off", account=account, advance_id=advance_id, currency=currency, reason=reason)


def submit(body: CommandBody, *, key: str | None = None, client_id: int = 1) -> Submission:
    """The body under an idempotency key, by default one that nobody else has."""
    new = uuid7()
    return Submission(id=new, client_id=client_id, idempotency_key=key or str(new), body=body)


def in_line(position: int, *accounts: str) -> PendingRow:
    """A pending command that touches one account (a deposit) or two (a transfer)."""
    one, source, target = (accounts[0], None, None) if len(accounts) == 1 else (None, *accounts)
    kind = "deposit" if one else "transfer"
    return PendingRow(position, kind, one, source, target, 1, "USD", None, None, NOON)


# Strategies. Round amounts meet each other: a balance is often taken to its last unit, or to its limit exactly.

_names: Final = st.sampled_from(NAMES)
_currencies: Final = st.sampled_from(("USD", "USD", "USD", "JPY"))
_amounts: Final = st.sampled_from((1, 50, 50, 100, 100, 150, 999, 1_000, 2**53 - 1))
_overdrafts: Final = st.sampled_from(((0, 0), (100, 50), (1_000, 150), (0, 50), (100, 0)))
_balances: Final = st.sampled_from((0, 0, 50, 100, 1_000, -50, -100, None))
_turnovers: Final = st.sampled_from((0, 0, 1_000, LARGEST - 1_150, LARGEST - 1_200, LARGEST - 2_150))
_statuses: Final = st.sampled_from((AccountStatus.OPEN, AccountStatus.OPEN, AccountStatus.OPEN, *AccountStatus))
_holds: Final = st.sampled_from((0, 0, 50))
_kinds: Final = st.sampled_from(
    (
        *(OpenAccount, Deposit, Deposit, Withdraw, Withdraw, Withdraw, MakeTransfer, MakeTransfer),
        *(MakeAdvance, Repay, Collect, Collect, Collect, WriteOff),
    )
)
_first_days: Final = st.sampled_from((None, *(TODAY + timedelta(days=days) for days in (-1, 0, 0, 1, 366, 367))))
_asked: Final = st.tuples(
    _kinds, _names, _names, _currencies, _amounts, _overdrafts, st.integers(1, 4), st.integers(0, 3), _first_days
)
ADVANCES: Final = (1001, 1002, 1003)
"""The ids of the advances that the books of the strategies begin with: one for each of the first three names."""


@st.composite
def any_books(draw: st.DrawFn) -> Books:
    """Up to three accounts in any state that the rules can lead to, near their floors and near the ends of bigint."""
    accounts = []
    for number, name in enumerate(NAMES[:3], start=1):
        turnover = draw(_turnovers)
        limit, fee = draw(_overdrafts)
        wanted = draw(_balances)
        balance = -(limit + fee) if wanted is None else max(wanted, -(limit + fee))
        account = Account(
            name=name,
            id=number,
            currency=draw(_currencies),
            status=draw(_statuses),
            version=number,
            credits_minor=turnover + max(balance, 0),
            debits_minor=turnover + max(-balance, 0),
            held_minor=draw(_holds),
            overdraft_limit_minor=limit,
            overdraft_fee_minor=fee,
        )
        if draw(st.integers(0, 9)):
            accounts.append(account)
    advances = [draw(any_advance(account)) for account in accounts if draw(st.booleans())]
    return Books.of(accounts, advances)


@st.composite
def any_advance(draw: st.DrawFn, account: Account) -> Advance:
    """An advance of the account after some of its weeks: paid, missed, repaid in part or written off."""
    count = draw(st.integers(1, 3))
    weeks_ago = draw(st.integers(-1, 3))
    advance = grant(
        ADVANCES[NAMES.index(account.name)],
        account.name,
        account.currency,
        draw(st.sampled_from((count, 50 * count, 100 * count + 1, 299))),
        instalments=count,
        first_due_on=TODAY - weeks_ago * WEEK,
    )
    for step in range(draw(st.integers(0, 4))):
        due = next((each for each in advance.instalments if each.is_scheduled), None)
        if due is None:
            break
        what = draw(st.sampled_from(("pay", "miss", "miss", "part", "repay", "write off")))
        by = 2_000 + step
        if what == "repay":
            advance = advance.repay(draw(st.integers(1, advance.remaining_minor)), by=by)
        elif what == "write off":
            advance = advance.write_off(by=by)
        else:
            paid = {"pay": due.left_minor, "miss": 0, "part": due.left_minor // 2}[what]
            advance = advance.collect(due.number, paid, by=by)
    return advance


def command_lists(max_size: int = 12) -> SearchStrategy[list[Command]]:
    """Commands in order of position, with gaps between their positions, about accounts that exist or not."""
    return st.lists(_asked, max_size=max_size).map(
        lambda all_asked: [_command(7 * place, asked) for place, asked in enumerate(all_asked, start=1)]
    )


Asked = tuple[type, str, str, str, int, tuple[int, int], int, int, date | None]


def _command(position: int, asked: Asked) -> Command:
    kind, name, other, currency, amount_minor, overdraft, count, which, first_due_on = asked
    # The account's own advance, another's, one that an earlier command of the list may have granted, or none.
    own = ADVANCES[NAMES.index(name)] if name in NAMES[:3] else None
    advance = (own, own, position - 7, None)[which]
    simple: dict[type, Command] = {
        OpenAccount: OpenAccount(position, name, currency, *overdraft),
        Deposit: Deposit(position, name, amount_minor, currency),
        MakeAdvance: MakeAdvance(position, name, amount_minor, currency, count, first_due_on),
        Repay: Repay(position, name, advance, amount_minor, currency),
        WriteOff: WriteOff(position, name, advance, currency),
        Collect: Collect(position, name, advance, count, currency),
    }
    if kind is MakeTransfer and name != other:
        return MakeTransfer(position, name, other, amount_minor, currency)
    return simple.get(kind, Withdraw(position, name, amount_minor, currency))
