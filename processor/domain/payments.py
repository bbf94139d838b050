"""The rules of payments: money in, money out, between two accounts, and the corrections of those who may."""

from processor.domain.answering import apply, refuse
from processor.domain.books import AccountStatus, SystemKind, is_system_account, system_account
from processor.domain.commands import Adjust, Deposit, MakeTransfer, Withdraw
from processor.domain.moving import cannot_move, currency_of, move, outside
from processor.domain.outcomes import Outcome, Reason, Side, Transfer, TransferKind
from processor.domain.working import Working, WorkingAccount


def decide_deposit(working: Working, command: Deposit) -> Outcome:
    """Take money in, or say why not."""
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not working.rules.allows("deposit", command):
        return refuse(command, Reason.AMOUNT_OUT_OF_BOUNDS)
    if not account.can_take_credit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    credit = account.credit(command.amount_minor)
    return apply(
        command,
        Transfer(TransferKind.DEPOSIT, outside(command.currency), credit, command.amount_minor, command.currency),
    )


def decide_withdraw(working: Working, command: Withdraw) -> Outcome:
    """Pay money out, and charge the fee if the account ends overdrawn; or say why not."""
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not working.rules.allows("withdraw", command):
        return refuse(command, Reason.AMOUNT_OUT_OF_BOUNDS)
    day = account.daily.use(command.amount_minor, working.today)
    if day.is_exceeded:
        return refuse(command, Reason.LIMIT_EXCEEDED)
    fee_minor = account.overdraft_fee_minor if account.balance_minor < command.amount_minor else 0
    # The fee may pass the overdraft limit, but what is on hold is promised to somebody else.
    if account.available_minor < command.amount_minor + (fee_minor if account.held_minor else 0):
        return refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not account.can_take_debit(command.amount_minor + fee_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    account.set_daily(day)
    debit = account.debit(command.amount_minor)
    paid = Transfer(TransferKind.WITHDRAWAL, debit, outside(command.currency), command.amount_minor, command.currency)
    return apply(command, paid, *_overdraft_fee(account, fee_minor))


def _overdraft_fee(account: WorkingAccount, fee_minor: int) -> tuple[Transfer, ...]:
    if fee_minor == 0:
        return ()
    income = Side(system_account(SystemKind.FEE_INCOME, account.currency))
    return (Transfer(TransferKind.OVERDRAFT_FEE, account.debit(fee_minor), income, fee_minor, account.currency),)


def decide_transfer(working: Working, command: MakeTransfer) -> Outcome:
    """Move money between two customers' accounts, or say why not."""
    source, target = working.find(command.from_account), working.find(command.to_account)
    if source is None or target is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if source.currency != command.currency or target.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if source.status is not AccountStatus.OPEN or target.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not working.rules.allows("transfer", command):
        return refuse(command, Reason.AMOUNT_OUT_OF_BOUNDS)
    day = source.daily.use(command.amount_minor, working.today)
    if day.is_exceeded:
        return refuse(command, Reason.LIMIT_EXCEEDED)
    if source.available_minor < command.amount_minor:
        return refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not source.can_take_debit(command.amount_minor) or not target.can_take_credit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    source.set_daily(day)
    debit, credit = source.debit(command.amount_minor), target.credit(command.amount_minor)
    return apply(command, Transfer(TransferKind.TRANSFER, debit, credit, command.amount_minor, command.currency))


def decide_adjust(working: Working, command: Adjust) -> Outcome:
    """Correct the books between any two accounts, the bank's own included; or say why not."""
    names = (command.from_account, command.to_account)
    if any(working.find(name) is None and not is_system_account(name) for name in names):
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if any(currency_of(working, name) != command.currency for name in names):
        return refuse(command, Reason.CURRENCY_MISMATCH)
    leaves, comes = {command.from_account: command.amount_minor}, {command.to_account: command.amount_minor}
    if reason := cannot_move(working, leaves, comes, force=command.force):
        return refuse(command, reason)
    return apply(command, move(working, TransferKind.ADJUSTMENT, *names, command.amount_minor, force=command.force))
