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
    CURRENCY_MISMATCH = "currency_mismatch"
    ACCOUNT_NOT_OPEN = "account_not_open"
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
    Reason.CURRENCY_MISMATCH: "The account is in another currency than the command.",
    Reason.ACCOUNT_NOT_OPEN: "The account is frozen or closed.",
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
