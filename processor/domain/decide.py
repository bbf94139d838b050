"""The rules: given the books and the commands, what is the answer to each, and what do the books say after it?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountStatus, Books, SystemKind, system_account
from processor.domain.commands import Command, Deposit, MakeTransfer, OpenAccount, Withdraw
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind


@dataclass(frozen=True, slots=True)
class Decided:
    """``outcomes[i]`` is for the i-th command. ``opened`` and ``changed`` are the accounts as they are at the end."""

    outcomes: Sequence[Outcome]
    opened: Sequence[Account]
    changed: Sequence[Account]


def decide(books: Books, commands: Iterable[Command], *, now: datetime) -> Decided:
    """
    Answer each command in turn; a refusal is an answer too.

    ``books`` holds every customer account that the commands name, as locked. The answers are the same however the
    commands are split into batches. ``now`` is the instant of the decision.
    """
    working = _Working(books)
    outcomes = [_decide_one(working, command, now) for command in commands]
    return Decided(outcomes, working.opened(), working.changed())


def _decide_one(working: "_Working", command: Command, now: datetime) -> Outcome:  # noqa: ARG001
    match command:
        case Deposit():
            return _decide_deposit(working, command)
        case Withdraw():
            return _decide_withdraw(working, command)
        case MakeTransfer():
            return _decide_transfer(working, command)
        case OpenAccount():
            return _decide_open_account(working, command)


def _decide_open_account(working: "_Working", command: OpenAccount) -> Outcome:
    if working.find(command.account) is not None:
        return _refuse(command, Reason.ACCOUNT_ALREADY_EXISTS)
    working.open(command)
    return _apply(command)


def _decide_deposit(working: "_Working", command: Deposit) -> Outcome:
    account = working.find(command.account)
    if account is None:
        return _refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return _refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is AccountStatus.CLOSED:
        return _refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not account.can_take_credit(command.amount_minor):
        return _refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    settlement = Side(system_account(SystemKind.SETTLEMENT, command.currency))
    credit = account.credit(command.amount_minor)
    return _apply(command, Transfer(TransferKind.DEPOSIT, settlement, credit, command.amount_minor, command.currency))


def _decide_withdraw(working: "_Working", command: Withdraw) -> Outcome:
    account = working.find(command.account)
    if account is None:
        return _refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return _refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is not AccountStatus.OPEN:
        return _refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if account.available_minor < command.amount_minor:
        return _refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not account.can_take_debit(command.amount_minor + account.overdraft_fee_minor):
        return _refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    settlement = Side(system_account(SystemKind.SETTLEMENT, command.currency))
    debit = account.debit(command.amount_minor)
    paid = Transfer(TransferKind.WITHDRAWAL, debit, settlement, command.amount_minor, command.currency)
    return _apply(command, paid, *_overdraft_fee(account))


def _overdraft_fee(account: "_WorkingAccount") -> tuple[Transfer, ...]:
    """The fee of a withdrawal that has just left the account below zero. It alone may pass the overdraft limit."""
    fee_minor = account.overdraft_fee_minor
    if account.balance_minor >= 0 or fee_minor == 0:
        return ()
    income = Side(system_account(SystemKind.FEE_INCOME, account.currency))
    return (Transfer(TransferKind.OVERDRAFT_FEE, account.debit(fee_minor), income, fee_minor, account.currency),)


def _decide_transfer(working: "_Working", command: MakeTransfer) -> Outcome:
    source, target = working.find(command.from_account), working.find(command.to_account)
    if source is None or target is None:
        return _refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if source.currency != command.currency or target.currency != command.currency:
        return _refuse(command, Reason.CURRENCY_MISMATCH)
    if source.status is not AccountStatus.OPEN or target.status is AccountStatus.CLOSED:
        return _refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if source.available_minor < command.amount_minor:
        return _refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not source.can_take_debit(command.amount_minor) or not target.can_take_credit(command.amount_minor):
        return _refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    debit, credit = source.debit(command.amount_minor), target.credit(command.amount_minor)
    return _apply(command, Transfer(TransferKind.TRANSFER, debit, credit, command.amount_minor, command.currency))


def _apply(command: Command, *transfers: Transfer) -> Outcome:
    return Outcome(command.position, Status.APPLIED, transfers=transfers)


def _refuse(command: Command, reason: Reason) -> Outcome:
    return Outcome(command.position, Status.REFUSED, reason)


class _Working:
    """The books while one call of ``decide`` writes in them."""

    def __init__(self, books: Books) -> None:
        self._read = books.accounts
        self._accounts: dict[str, _WorkingAccount] = {}
        self._opened: set[str] = set()

    def find(self, name: str) -> "_WorkingAccount | None":
        account = self._accounts.get(name)
        if account is None and (read := self._read.get(name)) is not None:
            account = self._accounts[name] = _WorkingAccount(read)
        return account

    def open(self, command: OpenAccount) -> None:
        opened = Account(
            name=command.account,
            id=command.position,
            currency=command.currency,
            overdraft_limit_minor=command.overdraft_limit_minor,
            overdraft_fee_minor=command.overdraft_fee_minor,
        )
        self._accounts[command.account] = _WorkingAccount(opened)
        self._opened.add(command.account)

    def opened(self) -> list[Account]:
        return [self._accounts[name].closing() for name in sorted(self._opened)]

    def changed(self) -> list[Account]:
        """In order of name, so that two batches never update rows in opposite orders."""
        return [
            account.closing()
            for name, account in sorted(self._accounts.items())
            if name not in self._opened and account.version != self._read[name].version
        ]


class _WorkingAccount:
    """An account that takes debits and credits. The rules have been checked before either is called."""

    __slots__ = (
        "_read",
        "balance_minor",
        "credits_minor",
        "currency",
        "debits_minor",
        "overdraft_fee_minor",
        "status",
        "version",
    )

    def __init__(self, read: Account) -> None:
        self._read = read
        self.currency = read.currency
        self.status = read.status
        self.version = read.version
        self.credits_minor = read.credits_minor
        self.debits_minor = read.debits_minor
        self.balance_minor = read.balance_minor
        self.overdraft_fee_minor = read.overdraft_fee_minor

    @property
    def available_minor(self) -> int:
        return self.balance_minor - self._read.held_minor + self._read.overdraft_limit_minor

    def can_take_credit(self, amount_minor: int) -> bool:
        return self.credits_minor + amount_minor <= MAX_TOTAL_MINOR

    def can_take_debit(self, amount_minor: int) -> bool:
        return self.debits_minor + amount_minor <= MAX_TOTAL_MINOR

    def credit(self, amount_minor: int) -> Side:
        self.credits_minor += amount_minor
        return self._moved(amount_minor)

    def debit(self, amount_minor: int) -> Side:
        self.debits_minor += amount_minor
        return self._moved(-amount_minor)

    def _moved(self, by_minor: int) -> Side:
        self.balance_minor += by_minor
        self.version += 1
        return Side(self._read.name, self.version, self.balance_minor)

    def closing(self) -> Account:
        read = self._read
        return Account(
            name=read.name,
            id=read.id,
            currency=read.currency,
            status=self.status,
            version=self.version,
            credits_minor=self.credits_minor,
            debits_minor=self.debits_minor,
            held_minor=read.held_minor,
            overdraft_limit_minor=read.overdraft_limit_minor,
            overdraft_fee_minor=read.overdraft_fee_minor,
        )
