"""The rules of advances: who may have one, and what a repayment, a write-off and an instalment's day do to it."""

from datetime import date

from processor.domain import advances
from processor.domain.advances import Instalment
from processor.domain.answering import apply, refuse
from processor.domain.books import AccountStatus, SystemKind, system_account
from processor.domain.commands import Collect, MakeAdvance, Repay, WriteOff
from processor.domain.outcomes import Outcome, Reason, Side, Transfer, TransferKind
from processor.domain.rules import LATEST_FIRST_DUE, Rules
from processor.domain.working import Working, WorkingAccount


def decide_advance(working: Working, command: MakeAdvance) -> Outcome:
    """Pay the advance out and schedule its instalments, or say why not."""
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    first_due_on = command.first_due_on or working.today + advances.WEEK
    if reason := _out_of_bounds(command, first_due_on, working.today, working.rules):
        return refuse(command, reason)
    if working.live_advances(command.account) >= working.rules.max_live_advances:
        return refuse(command, Reason.ADVANCE_LIMIT_REACHED)
    if not account.can_take_credit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    amount_minor, currency = command.amount_minor, command.currency
    working.write(
        advances.grant(
            command.position,
            command.account,
            currency,
            amount_minor,
            instalments=command.instalments,
            first_due_on=first_due_on,
        )
    )
    credit = account.credit(amount_minor)
    return apply(command, Transfer(TransferKind.ADVANCE, _receivable(currency), credit, amount_minor, currency))


def _out_of_bounds(command: MakeAdvance, first_due_on: date, today: date, rules: Rules) -> Reason | None:
    if command.amount_minor < command.instalments or not rules.allows("advance", command):
        return Reason.AMOUNT_OUT_OF_BOUNDS
    if not today <= first_due_on <= today + LATEST_FIRST_DUE:
        return Reason.DUE_DATE_OUT_OF_BOUNDS
    return None


def decide_repay(working: Working, command: Repay) -> Outcome:
    """Pay part of the advance back early, its oldest instalments first, or say why not."""
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    advance = working.find_advance(command.advance, command.account)
    if advance is None:
        return refuse(command, Reason.ADVANCE_NOT_FOUND)
    if advance.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if not advance.state.is_live:
        return refuse(command, Reason.ADVANCE_NOT_OPEN)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if advance.remaining_minor < command.amount_minor:
        return refuse(command, Reason.REPAYMENT_ABOVE_REMAINING)
    if reason := _cannot_pay(account, command.amount_minor):
        return refuse(command, reason)
    working.write(advance.repay(command.amount_minor, by=command.position))
    return apply(command, _paid_back(TransferKind.REPAYMENT, account, command.amount_minor))


def decide_write_off(working: Working, command: WriteOff) -> Outcome:
    """Give up what is owed, whatever the state of the account, or say why not."""
    if working.find(command.account) is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    advance = working.find_advance(command.advance, command.account)
    if advance is None:
        return refuse(command, Reason.ADVANCE_NOT_FOUND)
    if advance.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if not advance.state.is_live:
        return refuse(command, Reason.ADVANCE_NOT_OPEN)
    working.write(advance.write_off(by=command.position))
    loss = Side(system_account(SystemKind.CREDIT_LOSS, command.currency))
    owed_minor, receivable = advance.remaining_minor, _receivable(command.currency)
    return apply(command, Transfer(TransferKind.WRITE_OFF, loss, receivable, owed_minor, command.currency))


def decide_collect(working: Working, command: Collect) -> Outcome:
    """
    Let an instalment's day be over: paid in full, or missed and rolled on.

    A miss is refused, with the reason why nothing was taken; but the instalment is missed all the same.
    """
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    advance = working.find_advance(command.advance, command.account)
    if advance is None:
        return refuse(command, Reason.ADVANCE_NOT_FOUND)
    if advance.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    due = advance.find(command.instalment)
    if due is None or not due.is_scheduled:
        return refuse(command, Reason.INSTALMENT_NOT_SCHEDULED)
    if due.due_on > working.today:
        working.write(advance.attempt(due.number))
        return refuse(command, Reason.INSTALMENT_NOT_DUE)
    # From here on it is paid or missed: its day does not come again.
    reason = _cannot_collect(account, due)
    amount_minor = due.left_minor
    if reason is not None:
        can_pay_part = reason is Reason.INSUFFICIENT_FUNDS and working.rules.partial_collection
        amount_minor = max(0, account.available_minor) if can_pay_part else 0
        amount_minor *= account.can_take_debit(amount_minor)
    working.write(advance.collect(due.number, amount_minor, by=command.position))
    if reason is not None and not amount_minor:
        return refuse(command, reason)
    return apply(command, _paid_back(TransferKind.COLLECTION, account, amount_minor))


def _cannot_collect(account: WorkingAccount, due: Instalment) -> Reason | None:
    if account.status is not AccountStatus.OPEN:
        return Reason.ACCOUNT_NOT_OPEN
    return _cannot_pay(account, due.left_minor)


def _cannot_pay(account: WorkingAccount, amount_minor: int) -> Reason | None:
    if account.available_minor < amount_minor:
        return Reason.INSUFFICIENT_FUNDS
    if not account.can_take_debit(amount_minor):
        return Reason.BALANCE_LIMIT_EXCEEDED
    return None


def _paid_back(kind: TransferKind, account: WorkingAccount, amount_minor: int) -> Transfer:
    return Transfer(kind, account.debit(amount_minor), _receivable(account.currency), amount_minor, account.currency)


def _receivable(currency: str) -> Side:
    return Side(system_account(SystemKind.ADVANCES_RECEIVABLE, currency))
