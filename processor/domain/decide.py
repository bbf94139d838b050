"""The rules: given the books and the commands, what is the answer to each, and what do the books say after it?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from processor.domain import lending
from processor.domain.advances import Advance
from processor.domain.answering import apply, refuse
from processor.domain.books import Account, AccountStatus, Books, SystemKind, system_account
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
from processor.domain.outcomes import Outcome, Reason, Side, Transfer, TransferKind
from processor.domain.rules import Rules
from processor.domain.working import Working, WorkingAccount


@dataclass(frozen=True, slots=True)
class Decided:
    """
    ``outcomes[i]`` is for the i-th command.

    ``opened`` and ``changed`` are the accounts, ``granted`` and ``altered`` the advances, as they are at the end.
    """

    outcomes: Sequence[Outcome]
    opened: Sequence[Account]
    changed: Sequence[Account]
    granted: Sequence[Advance] = ()
    altered: Sequence[Advance] = ()

    def applied_to(self, books: Books) -> Books:
        """``books``, which were decided on, as they are afterwards."""
        accounts = {account.name: account for account in (*self.opened, *self.changed)}
        advances = {advance.id: advance for advance in (*self.granted, *self.altered)}
        return Books.of((dict(books.accounts) | accounts).values(), (dict(books.advances) | advances).values())


def decide(books: Books, commands: Iterable[Command], *, now: datetime, rules: Rules) -> Decided:
    """
    Answer each command in turn; a refusal is an answer too.

    ``books`` holds every customer account that the commands name, as locked, and what ``Books`` says of advances. The
    answers are the same however the commands are split into batches. ``now`` is the instant of the decision.
    """
    working = Working(books)
    outcomes = [_decide_one(working, command, now, rules) for command in commands]
    return Decided(outcomes, working.opened(), working.changed(), working.granted(), working.altered())


def _decide_one(working: Working, command: Command, now: datetime, rules: Rules) -> Outcome:
    match command:
        case Deposit():
            return _decide_deposit(working, command)
        case Withdraw():
            return _decide_withdraw(working, command)
        case MakeTransfer():
            return _decide_transfer(working, command)
        case OpenAccount():
            return _decide_open_account(working, command)
        case Collect():
            return lending.decide_collect(working, command, now, rules)
        case MakeAdvance():
            return lending.decide_advance(working, command, now, rules)
        case Repay():
            return lending.decide_repay(working, command)
        case WriteOff():
            return lending.decide_write_off(working, command)


def _decide_open_account(working: Working, command: OpenAccount) -> Outcome:
    if working.find(command.account) is not None:
        return refuse(command, Reason.ACCOUNT_ALREADY_EXISTS)
    working.open(command)
    return apply(command)


def _decide_deposit(working: Working, command: Deposit) -> Outcome:
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not account.can_take_credit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    settlement = Side(system_account(SystemKind.SETTLEMENT, command.currency))
    credit = account.credit(command.amount_minor)
    return apply(command, Transfer(TransferKind.DEPOSIT, settlement, credit, command.amount_minor, command.currency))


def _decide_withdraw(working: Working, command: Withdraw) -> Outcome:
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if account.available_minor < command.amount_minor:
        return refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not account.can_take_debit(command.amount_minor + account.overdraft_fee_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    settlement = Side(system_account(SystemKind.SETTLEMENT, command.currency))
    debit = account.debit(command.amount_minor)
    paid = Transfer(TransferKind.WITHDRAWAL, debit, settlement, command.amount_minor, command.currency)
    return apply(command, paid, *_overdraft_fee(account))


def _overdraft_fee(account: WorkingAccount) -> tuple[Transfer, ...]:
    """The fee of a withdrawal that has just left the account below zero. It alone may pass the overdraft limit."""
    fee_minor = account.overdraft_fee_minor
    if account.balance_minor >= 0 or fee_minor == 0:
        return ()
    income = Side(system_account(SystemKind.FEE_INCOME, account.currency))
    return (Transfer(TransferKind.OVERDRAFT_FEE, account.debit(fee_minor), income, fee_minor, account.currency),)


def _decide_transfer(working: Working, command: MakeTransfer) -> Outcome:
    source, target = working.find(command.from_account), working.find(command.to_account)
    if source is None or target is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if source.currency != command.currency or target.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if source.status is not AccountStatus.OPEN or target.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if source.available_minor < command.amount_minor:
        return refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not source.can_take_debit(command.amount_minor) or not target.can_take_credit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    debit, credit = source.debit(command.amount_minor), target.credit(command.amount_minor)
    return apply(command, Transfer(TransferKind.TRANSFER, debit, credit, command.amount_minor, command.currency))
