"""What the rules of several families ask before money moves, and how it moves between any two accounts."""

from collections.abc import Mapping

from processor.domain.books import AccountStatus, SystemKind, is_system_account, system_account
from processor.domain.outcomes import Reason, Side, Transfer, TransferKind
from processor.domain.working import Working, WorkingAccount


def outside(currency: str) -> Side:
    """The rest of the world, on the side where its money comes in and goes out."""
    return Side(system_account(SystemKind.SETTLEMENT, currency))


def cannot_move(working: Working, leaves: Mapping[str, int], comes: Mapping[str, int], *, force: bool) -> Reason | None:
    """
    Why so much cannot be taken from the accounts in ``leaves`` and added to those in ``comes``: the first reason.

    Who may ``force`` it is held up by a closed account and by the ends of bigint only.
    """
    reasons = [
        *(_cannot_leave(each, leaves[name], force=force) for name in leaves if (each := _customers(working, name))),
        *(_cannot_come(each, comes[name]) for name in comes if (each := _customers(working, name))),
    ]
    return min((reason for reason in reasons if reason is not None), key=list(Reason).index, default=None)


def move(
    working: Working, kind: TransferKind, from_account: str, to_account: str, amount_minor: int, *, force: bool
) -> Transfer:
    """Move money between any two accounts of one currency, the bank's own included, after ``cannot_move``."""
    source, target = _customers(working, from_account), _customers(working, to_account)
    if source is None:
        debit = Side(from_account)
    else:
        debit = source.force_debit(amount_minor) if force else source.debit(amount_minor)
    credit = Side(to_account) if target is None else target.credit(amount_minor)
    return Transfer(kind, debit, credit, amount_minor, currency_of(working, from_account))


def currency_of(working: Working, name: str) -> str:
    """The currency of any account, the bank's own included."""
    account = _customers(working, name)
    return name.rpartition(":")[2] if account is None else account.currency


def _customers(working: Working, name: str) -> WorkingAccount | None:
    """``None`` for an account of the bank's own. A customer's that was not read must not be taken for one of them."""
    account = working.find(name)
    if account is None and not is_system_account(name):
        raise ValueError(f"the account {name} is not in the books that were read")
    return account


def _cannot_leave(account: WorkingAccount, amount_minor: int, *, force: bool) -> Reason | None:
    if account.status is AccountStatus.CLOSED or (account.status is AccountStatus.FROZEN and not force):
        return Reason.ACCOUNT_NOT_OPEN
    if account.available_minor < amount_minor and not force:
        return Reason.INSUFFICIENT_FUNDS
    if not account.can_take_debit(amount_minor):
        return Reason.BALANCE_LIMIT_EXCEEDED
    return None


def _cannot_come(account: WorkingAccount, amount_minor: int) -> Reason | None:
    if account.status is AccountStatus.CLOSED:
        return Reason.ACCOUNT_NOT_OPEN
    if not account.can_take_credit(amount_minor):
        return Reason.BALANCE_LIMIT_EXCEEDED
    return None
