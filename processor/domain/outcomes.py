"""The one answer to a command: applied with its transfers, or refused with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """A command is pending until it has an outcome; an outcome is one of the other three, for ever."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"


class Reason(Enum):
    """Why a command was not applied, in the order in which the rules are checked. The last is for dead letters."""

    ACCOUNT_ALREADY_EXISTS = "account_already_exists"
    ACCOUNT_NOT_FOUND = "account_not_found"
    ADVANCE_NOT_FOUND = "advance_not_found"
    CURRENCY_MISMATCH = "currency_mismatch"
    ADVANCE_NOT_OPEN = "advance_not_open"
    INSTALMENT_NOT_SCHEDULED = "instalment_not_scheduled"
    INSTALMENT_NOT_DUE = "instalment_not_due"
    ACCOUNT_NOT_OPEN = "account_not_open"
    AMOUNT_OUT_OF_BOUNDS = "amount_out_of_bounds"
    DUE_DATE_OUT_OF_BOUNDS = "due_date_out_of_bounds"
    ADVANCE_LIMIT_REACHED = "advance_limit_reached"
    REPAYMENT_ABOVE_REMAINING = "repayment_above_remaining"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    BALANCE_LIMIT_EXCEEDED = "balance_limit_exceeded"
    INTERNAL_ERROR = "internal_error"

    @property
    def text(self) -> str:
        """A sentence for the client's log and, if need be, its user."""
        return _TEXTS[self]


_TEXTS = {
    Reason.ACCOUNT_ALREADY_EXISTS: "An account of this name exists already.",
    Reason.ACCOUNT_NOT_FOUND: "There is no account of this name.",
    Reason.ADVANCE_NOT_FOUND: "The account has no advance of this id.",
    Reason.CURRENCY_MISMATCH: "The account is in another currency than the command.",
    Reason.ADVANCE_NOT_OPEN: "The advance is repaid or written off: nothing is owed.",
    Reason.INSTALMENT_NOT_SCHEDULED: "The instalment was paid, missed or written off before.",
    Reason.INSTALMENT_NOT_DUE: "The instalment is due on a later day.",
    Reason.ACCOUNT_NOT_OPEN: "The account is frozen or closed.",
    Reason.AMOUNT_OUT_OF_BOUNDS: "The amount is below the smallest or above the largest advance.",
    Reason.DUE_DATE_OUT_OF_BOUNDS: "The first instalment would be due in the past, or in more than a year.",
    Reason.ADVANCE_LIMIT_REACHED: "The account has as many open advances as it may have.",
    Reason.REPAYMENT_ABOVE_REMAINING: "The amount is above what is owed.",
    Reason.INSUFFICIENT_FUNDS: "The amount is above what is available on the account.",
    Reason.BALANCE_LIMIT_EXCEEDED: "The account's total would pass the largest number that the books can hold.",
    Reason.INTERNAL_ERROR: "The command could not be processed; a person has been told. Nothing was moved.",
}


class TransferKind(Enum):
    """What a transfer is for."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    OVERDRAFT_FEE = "overdraft_fee"
    ADVANCE = "advance"
    COLLECTION = "collection"
    REPAYMENT = "repayment"
    WRITE_OFF = "write_off"


@dataclass(frozen=True, slots=True)
class Side:
    """One account of a transfer, and its version and balance after it: both ``None`` for a system account."""

    account: str
    version: int | None = None
    balance_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """``amount_minor`` (positive) from the debit account to the credit account. It holds both sides, so it balances."""

    kind: TransferKind
    debit: Side
    credit: Side
    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.amount_minor <= 0:
            raise ValueError(f"a transfer moves a positive amount, not {self.amount_minor}")
        if self.debit.account == self.credit.account:
            raise ValueError(f"a transfer needs two accounts, not {self.debit.account} twice")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to the command at ``position``. ``reason`` is ``None`` exactly if it was applied."""

    position: int
    status: Status
    reason: Reason | None = None
    transfers: Sequence[Transfer] = ()
