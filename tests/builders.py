"""What the tests are built of: accounts, commands and books in a line each, and strategies that make many."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from uuid_utils.compat import uuid7

from processor.domain.books import Account, AccountStatus, Books
from processor.domain.commands import Command, Deposit, MakeTransfer, OpenAccount, Withdraw
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, Reason, Status
from processor.store.books import PendingRow
from processor.submissions import CommandBody, Submission

NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The instant at which the tests decide."""

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


def books_of(*accounts: Account) -> Books:
    """The books that hold just these accounts."""
    return Books.of(accounts)


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


def refused(command: Command, reason: Reason) -> Outcome:
    """The answer that the rules give when they say no: nothing is moved."""
    return Outcome(command.position, Status.REFUSED, reason)


def answer(books: Books, command: Command) -> Outcome:
    """What becomes of one command."""
    (outcome,) = decide(books, [command], now=NOON).outcomes
    return outcome


def after(books: Books, commands: Sequence[Command]) -> tuple[list[Outcome], Books]:
    """The answers, and the books as a next batch would read them."""
    decided = decide(books, commands, now=NOON)
    closing = {account.name: account for account in (*decided.opened, *decided.changed)}
    return list(decided.outcomes), Books.of((dict(books.accounts) | closing).values())


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
    (OpenAccount, Deposit, Deposit, Withdraw, Withdraw, Withdraw, MakeTransfer, MakeTransfer)
)
_asked: Final = st.tuples(_kinds, _names, _names, _currencies, _amounts, _overdrafts)


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
    return Books.of(accounts)


def command_lists(max_size: int = 12) -> SearchStrategy[list[Command]]:
    """Commands in order of position, with gaps between their positions, about accounts that exist or not."""
    return st.lists(_asked, max_size=max_size).map(
        lambda all_asked: [_command(7 * place, asked) for place, asked in enumerate(all_asked, start=1)]
    )


def _command(position: int, asked: tuple[type, str, str, str, int, tuple[int, int]]) -> Command:
    kind, name, other, currency, amount_minor, overdraft = asked
    if kind is OpenAccount:
        return OpenAccount(position, name, currency, *overdraft)
    if kind is MakeTransfer and name != other:
        return MakeTransfer(position, name, other, amount_minor, currency)
    return (Deposit if kind is Deposit else Withdraw)(position, name, amount_minor, currency)
