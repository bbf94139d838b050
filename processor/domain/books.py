"""The accounts that a batch of commands touches, as they were read under their locks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Final

from processor.domain.advances import Advance
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.domain.holds import Hold
from processor.domain.outcomes import Status, Transfer

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
class Daily:
    """
    How many debits an account may have on one business day, and of how much together; and what it has had.

    Withdrawals, transfers and holds count, from the first limit on: an account without limits has no count.
    """

    count: int = UNLIMITED_COUNT
    amount_minor: int = UNLIMITED_MINOR
    on: date = date.min
    used: int = 0
    used_minor: int = 0

    @property
    def is_limited(self) -> bool:
        """Whether anything has to be counted."""
        return self.count < UNLIMITED_COUNT or self.amount_minor < UNLIMITED_MINOR

    def limit(self, count: int | None, amount_minor: int | None) -> "Daily":
        """With other limits; ``None`` stays as it is. What the day has had is kept for as long as there is a limit."""
        count = self.count if count is None else count
        amount_minor = self.amount_minor if amount_minor is None else amount_minor
        limited = Daily(count, amount_minor, self.on, self.used, self.used_minor)
        return limited if limited.is_limited else UNLIMITED

    def use(self, amount_minor: int, today: date) -> "Daily":
        """
        With one debit more. What is no limit is where the count stops, so that none passes it.

        A clock that is behind, around midnight, does not let a day begin again.
        """
        if not self.is_limited:
            return self
        used, used_minor = (0, 0) if self.on < today else (self.used, self.used_minor)
        return Daily(
            self.count,
            self.amount_minor,
            max(self.on, today),
            min(used + 1, UNLIMITED_COUNT),
            min(used_minor + amount_minor, UNLIMITED_MINOR),
        )

    @property
    def is_exceeded(self) -> bool:
        """Whether it is more than may be."""
        return self.used > self.count or self.used_minor > self.amount_minor


UNLIMITED: Final = Daily()


@dataclass(frozen=True, slots=True)
class Account:
    """
    A customer account between two commands; all amounts in minor units of ``currency``.

    ``version`` counts the transfers that touched it, ``revision`` all changes. Its lowest balance less what is held is
    -(overdraft limit + one overdraft fee), lower by ``forced_minor`` if somebody who may had it so. Debits and what is
    held are together at most the largest total: what was promised can always be taken.
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
    revision: int = 0
    forced_minor: int = 0
    daily: Daily = UNLIMITED

    @property
    def balance_minor(self) -> int:
        """Credits less debits: what the bank owes the customer."""
        return self.credits_minor - self.debits_minor

    @property
    def available_minor(self) -> int:
        """What may be debited now: balance less holds, plus the overdraft limit."""
        return self.balance_minor - self.held_minor + self.overdraft_limit_minor


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What an account may do from the command at ``position`` on."""

    position: int
    account: Account


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an earlier command that is to be reversed; ``reversed_by`` is who did so already."""

    position: int
    status: Status
    transfers: tuple[Transfer, ...] = ()
    reversed_by: int | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """
    The customer accounts by name, advances and holds by id, and what is to be reversed by position.

    What a command names and is not here does not exist. Of each account that a command about advances names, or that
    is to be closed, every live advance is here, and the one that is named.
    """

    accounts: Mapping[str, Account]
    advances: Mapping[int, Advance]
    holds: Mapping[int, Hold]
    done: Mapping[int, Done]

    @classmethod
    def of(
        cls,
        accounts: Iterable[Account],
        advances: Iterable[Advance] = (),
        holds: Iterable[Hold] = (),
        done: Iterable[Done] = (),
    ) -> "Books":
        """Books that hold just these."""
        return cls(
            MappingProxyType({account.name: account for account in accounts}),
            MappingProxyType({advance.id: advance for advance in advances}),
            MappingProxyType({hold.id: hold for hold in holds}),
            MappingProxyType({each.position: each for each in done}),
        )


def system_account_id(name: str) -> int:
    """
    The id of the system account of this name: negative, made of its kind and the letters of its currency.

    The schema's ``account_id_by_kind`` says the same. Raises ``ValueError`` for a name that is not a system account's.
    """
    kind, currency = name.removeprefix("@").split(":")
    first, second, third = (ord(letter) - ord("A") for letter in currency)
    return -1 - 17576 * (list(SystemKind).index(SystemKind(kind)) + 1) - 676 * first - 26 * second - third


def is_system_account(name: str) -> bool:
    """Whether the name is that of one of the bank's own accounts."""
    return name.startswith("@")


def system_account(kind: SystemKind, currency: str) -> str:
    """The name of a system account. No customer's can be the same: '@' is not allowed in theirs."""
    return f"@{kind.value}:{currency}"
