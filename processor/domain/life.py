"""The rules of an account's life: opened, limited, frozen, closed."""

from processor.domain.answering import apply, refuse
from processor.domain.books import AccountStatus
from processor.domain.commands import Close, Freeze, OpenAccount, SetLimits, Unfreeze
from processor.domain.outcomes import Outcome, Reason
from processor.domain.rules import Overdraft
from processor.domain.working import Working, WorkingAccount


def decide_open_account(working: Working, command: OpenAccount) -> Outcome:
    """Open the account, with the bank's usual overdraft where it asks for none of its own; or say why not."""
    if working.find(command.account) is not None:
        return refuse(command, Reason.ACCOUNT_ALREADY_EXISTS)
    usual = working.rules.overdrafts.get(command.currency, Overdraft())
    limit_minor, fee_minor = command.overdraft_limit_minor, command.overdraft_fee_minor
    working.open(
        command,
        overdraft_limit_minor=usual.limit_minor if limit_minor is None else limit_minor,
        overdraft_fee_minor=usual.fee_minor if fee_minor is None else fee_minor,
    )
    if limit_minor is None or fee_minor is None:
        # The usual is not written in the command, and may be another tomorrow.
        working.note_change(command.position, command.account)
    return apply(command)


def decide_freeze(working: Working, command: Freeze) -> Outcome:
    """Let nothing leave the account, or say why not."""
    account = _found(working, command)
    if isinstance(account, Reason):
        return refuse(command, account)
    if account.status is not AccountStatus.OPEN:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    account.set_status(AccountStatus.FROZEN)
    working.note_change(command.position, command.account)
    return apply(command)


def decide_unfreeze(working: Working, command: Unfreeze) -> Outcome:
    """Let money leave the account again, or say why not."""
    account = _found(working, command)
    if isinstance(account, Reason):
        return refuse(command, account)
    if account.status is not AccountStatus.FROZEN:
        return refuse(command, Reason.ACCOUNT_NOT_FROZEN)
    account.set_status(AccountStatus.OPEN)
    working.note_change(command.position, command.account)
    return apply(command)


def decide_close(working: Working, command: Close) -> Outcome:
    """End the account, if nothing is on it and nobody has a claim; or say why not."""
    account = _found(working, command)
    if isinstance(account, Reason):
        return refuse(command, account)
    if account.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    if account.balance_minor != 0:
        return refuse(command, Reason.ACCOUNT_NOT_EMPTY)
    if account.held_minor != 0:
        return refuse(command, Reason.ACCOUNT_HAS_HOLDS)
    if working.live_advances(command.account):
        return refuse(command, Reason.ACCOUNT_HAS_ADVANCES)
    account.set_status(AccountStatus.CLOSED)
    working.note_change(command.position, command.account)
    return apply(command)


def decide_set_limits(working: Working, command: SetLimits) -> Outcome:
    """
    Change what the account may do, or say why not.

    Another limit of a day is for what the day has had already, as far as that was counted: from the first limit on.
    """
    account = _found(working, command)
    if isinstance(account, Reason):
        return refuse(command, account)
    if account.status is AccountStatus.CLOSED:
        return refuse(command, Reason.ACCOUNT_NOT_OPEN)
    limit_minor = _or(command.overdraft_limit_minor, account.overdraft_limit_minor)
    fee_minor = _or(command.overdraft_fee_minor, account.overdraft_fee_minor)
    lowers = limit_minor < account.overdraft_limit_minor or fee_minor < account.overdraft_fee_minor
    if lowers and account.balance_minor - account.held_minor < -limit_minor:
        return refuse(command, Reason.OVERDRAFT_BELOW_BALANCE)
    account.set_overdraft(limit_minor, fee_minor)
    account.set_daily(account.daily.limit(command.daily_count, command.daily_amount_minor))
    working.note_change(command.position, command.account)
    return apply(command)


def _found(working: Working, command: Freeze | Unfreeze | Close | SetLimits) -> WorkingAccount | Reason:
    account = working.find(command.account)
    if account is None:
        return Reason.ACCOUNT_NOT_FOUND
    return account if account.currency == command.currency else Reason.CURRENCY_MISMATCH


def _or(wanted: int | None, present: int) -> int:
    return present if wanted is None else wanted
