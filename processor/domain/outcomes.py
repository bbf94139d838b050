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
    HOLD_NOT_FOUND = "hold_not_found"
    CURRENCY_MISMATCH = "currency_mismatch"
    ADVANCE_NOT_OPEN = "advance_not_open"
    INSTALMENT_NOT_SCHEDULED = "instalment_not_scheduled"
    INSTALMENT_NOT_DUE = "instalment_not_due"
    HOLD_NOT_OPEN = "hold_not_open"
    HOLD_EXPIRED = "hold_expired"
    HOLD_NOT_EXPIRED = "hold_not_expired"
    COMMAND_NOT_APPLIED = "command_not_applied"
    COMMAND_NOT_REVERSIBLE = "command_not_reversible"
    COMMAND_ALREADY_REVERSED = "command_already_reversed"
    ACCOUNT_NOT_OPEN = "account_not_open"
    ACCOUNT_NOT_FROZEN = "account_not_frozen"
    ACCOUNT_NOT_EMPTY = "account_not_empty"
    ACCOUNT_HAS_HOLDS = "account_has_holds"
    ACCOUNT_HAS_ADVANCES = "account_has_advances"
    AMOUNT_OUT_OF_BOUNDS = "amount_out_of_bounds"
    DUE_DATE_OUT_OF_BOUNDS = "due_date_out_of_bounds"
    EXPIRY_OUT_OF_BOUNDS = "expiry_out_of_bounds"
    ADVANCE_LIMIT_REACHED = "advance_limit_reached"
    REPAYMENT_ABOVE_REMAINING = "repayment_above_remaining"
    CAPTURE_ABOVE_HELD = "capture_above_held"
    LIMIT_EXCEEDED = "limit_exceeded"
    OVERDRAFT_BELOW_BALANCE = "overdraft_below_balance"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    BALANCE_LIMIT_EXCEEDED = "balance_limit_exceeded"
    LINKED_COMMAND_REFUSED = "linked_command_refused"
    INTERNAL_ERROR = "internal_error"

    @property
    def text(self) -> str:
        """A sentence for the client's log and, if need be, its user."""
        return _TEXTS[self]


_TEXTS = {
    Reason.ACCOUNT_ALREADY_EXISTS: "An account of this name exists already.",
    Reason.ACCOUNT_NOT_FOUND: "There is no account of this name.",
    Reason.ADVANCE_NOT_FOUND: "The account has no advance of this id.",
    Reason.HOLD_NOT_FOUND: "The account has no hold of this id.",
    Reason.CURRENCY_MISMATCH: "The account is in another currency than the command.",
    Reason.ADVANCE_NOT_OPEN: "The advance is repaid or written off: nothing is owed.",
    Reason.INSTALMENT_NOT_SCHEDULED: "The instalment was paid, missed or written off before.",
    Reason.INSTALMENT_NOT_DUE: "The instalment is due on a later day.",
    Reason.HOLD_NOT_OPEN: "The hold was captured or released before, or has expired.",
    Reason.HOLD_EXPIRED: "The hold's time is over: it cannot be captured any more.",
    Reason.HOLD_NOT_EXPIRED: "The hold's time is not over yet.",
    Reason.COMMAND_NOT_APPLIED: "The command was not applied: there is nothing to reverse.",
    Reason.COMMAND_NOT_REVERSIBLE: "A command of this type is not reversed: it moved no money, is a reversal itself, "
    "or has a remedy of its own.",
    Reason.COMMAND_ALREADY_REVERSED: "The command was reversed before.",
    Reason.ACCOUNT_NOT_OPEN: "The account is frozen or closed.",
    Reason.ACCOUNT_NOT_FROZEN: "The account is not frozen.",
    Reason.ACCOUNT_NOT_EMPTY: "The account's balance is not zero.",
    Reason.ACCOUNT_HAS_HOLDS: "The account has money on hold.",
    Reason.ACCOUNT_HAS_ADVANCES: "The account has an advance that is not paid back.",
    Reason.AMOUNT_OUT_OF_BOUNDS: "The amount is below the smallest or above the largest that the bank allows.",
    Reason.DUE_DATE_OUT_OF_BOUNDS: "The first instalment would be due in the past, or in more than a year.",
    Reason.EXPIRY_OUT_OF_BOUNDS: "The hold would expire in the past, or in more than a year.",
    Reason.ADVANCE_LIMIT_REACHED: "The account has as many open advances as it may have.",
    Reason.REPAYMENT_ABOVE_REMAINING: "The amount is above what is owed.",
    Reason.CAPTURE_ABOVE_HELD: "The amount is above what is on hold.",
    Reason.LIMIT_EXCEEDED: "The account's limit for one day would be exceeded.",
    Reason.OVERDRAFT_BELOW_BALANCE: "The account is overdrawn by more than the new limit allows.",
    Reason.INSUFFICIENT_FUNDS: "The amount is above what is available on the account.",
    Reason.BALANCE_LIMIT_EXCEEDED: "The account's total would pass the largest number that the books can hold.",
    Reason.LINKED_COMMAND_REFUSED: "Another command that it is linked with was refused: all are applied, or none.",
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
    CAPTURE = "capture"
    REVERSAL = "reversal"
    ADJUSTMENT = "adjustment"


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
