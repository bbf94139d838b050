"""The accounts that a batch of commands touches, as they were read under their locks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from processor.domain.advances import Advance

MAX_TOTAL_MINOR: Final = 2**63 - 1
"""The largest total of credits or debits that the ledger's bigint holds."""


class AccountStatus(Enum):
    """A frozen account takes no debits, a closed one takes nothing."""

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


class SystemKind(Enum):
    """What the bank's own accounts are for; there is one of each per currency. Their order is in their ids."""

    SETTLEMENT = "settlement"
    FEE_INCOME = "fee_income"
    ADVANCES_RECEIVABLE = "advances_receivable"
    SUSPENSE = "suspense"
    CREDIT_LOSS = "credit_loss"


@dataclass(frozen=True, slots=True)
class Account:
    """
    A customer account between two commands; all amounts in minor units of ``currency``.

    ``version`` counts the transfers that touched it. Its lowest balance is -(overdraft limit + one overdraft fee).
    """

    name: str
    id: int
    currency: str
    status: AccountStatus = AccountStatus.OPEN
    version: int = 0
    credits_minor: int = 0
    debits_minor: int = 0
    held_minor: int = 0
    overdraft_limit_minor: int = 0
    overdraft_fee_minor: int = 0

    @property
    def balance_minor(self) -> int:
        """Credits less debits: what the bank owes the customer."""
        return self.credits_minor - self.debits_minor

    @property
    def available_minor(self) -> int:
        """What may be debited now: balance less holds, plus the overdraft limit."""
        return self.balance_minor - self.held_minor + self.overdraft_limit_minor


@dataclass(frozen=True, slots=True)
class Books:
    """
    The customer accounts by name, and advances by id. What a command names and is not here does not exist.

    Of each account that a command about advances names, every live advance is here, and the one that is named.
    """

    accounts: Mapping[str, Account]
    advances: Mapping[int, Advance]

    @classmethod
    def of(cls, accounts: Iterable[Account], advances: Iterable[Advance] = ()) -> "Books":
        """Books that hold just these."""
        return cls(
            MappingProxyType({account.name: account for account in accounts}),
            MappingProxyType({advance.id: advance for advance in advances}),
        )


def system_account_id(name: str) -> int:
    """
    The id of the system account of this name: negative, made of its kind and the letters of its currency.

    The schema's ``account_id_by_kind`` says the same. Raises ``ValueError`` for a name that is not a system account's.
    """
    kind, currency = name.removeprefix("@").split(":")
    first, second, third = (ord(letter) - ord("A") for letter in currency)
    return -1 - 17576 * (list(SystemKind).index(SystemKind(kind)) + 1) - 676 * first - 26 * second - third


def system_account(kind: SystemKind, currency: str) -> str:
    """The name of a system account. No customer's can be the same: '@' is not allowed in theirs."""
    return f"@{kind.value}:{currency}"
