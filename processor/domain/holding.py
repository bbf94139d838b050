"""The rules of holds: who may reserve what, and how a hold ends."""

from processor.domain.answering import apply, refuse
from processor.domain.books import AccountStatus
from processor.domain.commands import CaptureHold, ExpireHold, PlaceHold, ReleaseHold
from processor.domain.holds import Hold, HoldState
from processor.domain.moving import outside
from processor.domain.outcomes import Outcome, Reason, Transfer, TransferKind
from processor.domain.rules import LATEST_EXPIRY
from processor.domain.working import Working, WorkingAccount


def decide_place_hold(working: Working, command: PlaceHold) -> Outcome:
    """
    Reserve the amount, or say why not.

    It counts for the limits of the day on which it is placed, whatever becomes of it.
    """
    account = working.find(command.account)
    if account is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    if account.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if not working.rules.allows("place_hold", command):
        return refuse(command, Reason.AMOUNT_OUT_OF_BOUNDS)
    if command.expires_at is not None and not working.now < command.expires_at <= working.now + LATEST_EXPIRY:
        return refuse(command, Reason.EXPIRY_OUT_OF_BOUNDS)
    day = account.daily.use(command.amount_minor, working.today)
    if day.is_exceeded:
        return refuse(command, Reason.LIMIT_EXCEEDED)
    if account.available_minor < command.amount_minor:
        return refuse(command, Reason.INSUFFICIENT_FUNDS)
    if not account.can_take_debit(command.amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    account.set_daily(day)
    account.hold(command.amount_minor)
    working.write_hold(
        Hold(command.position, command.account, command.currency, command.amount_minor, command.expires_at)
    )
    return apply(command)


def decide_capture_hold(working: Working, command: CaptureHold) -> Outcome:
    """
    Take what was reserved, or part of it, and give back the rest; or say why not.

    No fee is charged, though the account may end overdrawn: the money was promised when the hold was placed.
    """
    target = None if command.to_account is None else working.find(command.to_account)
    if command.to_account is not None and target is None:
        return refuse(command, Reason.ACCOUNT_NOT_FOUND)
    found = _find(working, command)
    if isinstance(found, Reason):
        return refuse(command, found)
    account, hold = found
    if target is not None and target.currency != command.currency:
        return refuse(command, Reason.CURRENCY_MISMATCH)
    if not hold.is_open:
        return refuse(command, Reason.HOLD_NOT_OPEN)
    if hold.is_over(working.now):
        return refuse(command, Reason.HOLD_EXPIRED)
    if account.status is not AccountStatus.OPEN or (target is not None and target.status is AccountStatus.CLOSED):
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    amount_minor = hold.amount_minor if command.amount_minor is None else command.amount_minor
    if amount_minor > hold.amount_minor:
        return refuse(command, Reason.CAPTURE_ABOVE_HELD)
    if target is not None and not target.can_take_credit(amount_minor):
        return refuse(command, Reason.BALANCE_LIMIT_EXCEEDED)
    working.write_hold(hold.capture(amount_minor, by=command.position))
    account.hold(-hold.amount_minor)
    debit = account.debit(amount_minor)
    credit = outside(command.currency) if target is None else target.credit(amount_minor)
    return apply(command, Transfer(TransferKind.CAPTURE, debit, credit, amount_minor, command.currency))


def decide_release_hold(working: Working, command: ReleaseHold) -> Outcome:
    """Give back what was reserved, or say why not."""
    found = _find(working, command)
    if isinstance(found, Reason):
        return refuse(command, found)
    account, hold = found
    if not hold.is_open:
        return refuse(command, Reason.HOLD_NOT_OPEN)
    return _give_back(working, command, account, hold, HoldState.RELEASED)


def decide_expire_hold(working: Working, command: ExpireHold) -> Outcome:
    """Give back what was reserved for a time that is over, or say why not."""
    found = _find(working, command)
    if isinstance(found, Reason):
        return refuse(command, found)
    account, hold = found
    if not hold.is_open:
        return refuse(command, Reason.HOLD_NOT_OPEN)
    if not hold.is_over(working.now):
        working.write_hold(hold.attempt())
        return refuse(command, Reason.HOLD_NOT_EXPIRED)
    return _give_back(working, command, account, hold, HoldState.EXPIRED)


def _find(working: Working, command: CaptureHold | ReleaseHold | ExpireHold) -> tuple[WorkingAccount, Hold] | Reason:
    account = working.find(command.account)
    if account is None:
        return Reason.ACCOUNT_NOT_FOUND
    hold = working.find_hold(command.hold, command.account)
    if hold is None:
        return Reason.HOLD_NOT_FOUND
    return (account, hold) if hold.currency == command.currency else Reason.CURRENCY_MISMATCH


def _give_back(
    working: Working, command: ReleaseHold | ExpireHold, account: WorkingAccount, hold: Hold, state: HoldState
) -> Outcome:
    working.write_hold(hold.give_back(state, by=command.position))
    account.hold(-hold.amount_minor)
    return apply(command)
