"""A command as its client sent it, checked but not accepted yet; and what the intake answers to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Final
from uuid import UUID

from processor.account_keys import account_key


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandBody:
    """What is asked, each field named as its column. Two bodies are the same request if they are equal."""

    type: str
    currency: str
    account: str | None = None
    from_account: str | None = None
    to_account: str | None = None
    amount_minor: int | None = None
    overdraft_limit_minor: int | None = None
    overdraft_fee_minor: int | None = None
    instalments: int | None = None
    first_due_on: date | None = None
    advance_id: UUID | None = None
    instalment: int | None = None
    hold_id: UUID | None = None
    expires_at: datetime | None = None
    reverses: UUID | None = None
    force: bool | None = None
    daily_count: int | None = None
    daily_amount_minor: int | None = None
    reason: str | None = None
    reference: str | None = None
    metadata: Mapping[str, str] | None = None

    def accounts(self) -> tuple[str, ...]:
        """The names of the accounts that the command touches: those in whose lines it waits."""
        return tuple(name for name in (self.account, self.from_account, self.to_account) if name is not None)

    def account_keys(self) -> frozenset[int]:
        """The lock keys of these accounts. Two names may share one."""
        return frozenset(account_key(name) for name in self.accounts())

    def differing_fields(self, other: "CommandBody") -> list[str]:
        """The fields, as the API names them, in which ``other`` is another request than this."""
        # What a reversal does not say itself follows from the command that it names.
        compared = _OF_REVERSALS if "reverse" in (self.type, other.type) else FIELDS
        return [_NAMES.get(name, name.removesuffix("_minor")) for name in compared if self._differs(other, name)]

    def _differs(self, other: "CommandBody", name: str) -> bool:
        """``self`` is the first request under the key."""
        mine, theirs = getattr(self, name), getattr(other, name)
        if self.type == "open_account" and name in _ONCE_ZERO:
            # Before the bank could have a usual overdraft, one that was left out was stored as none.
            return bool(mine != theirs and not (mine == 0 and theirs is None))
        return bool(mine != theirs)


_NAMES: Final = {"reverses": "command"}
_ONCE_ZERO: Final = ("overdraft_limit_minor", "overdraft_fee_minor")

FIELDS: Final = tuple(field.name for field in fields(CommandBody))
_OF_REVERSALS: Final = tuple(
    name for name in FIELDS if name not in ("currency", "account", "from_account", "to_account")
)


@dataclass(frozen=True, slots=True)
class Submission:
    """``body`` under the client's own ``idempotency_key``. ``id`` becomes the command's if it is a new one."""

    id: UUID
    client_id: int
    idempotency_key: str
    body: CommandBody


@dataclass(frozen=True, slots=True)
class Linked:
    """Two or more that are accepted together or not at all, and applied so. The id of the first links them."""

    submissions: tuple[Submission, ...]

    @property
    def link(self) -> UUID:
        """What all of them have in common."""
        return self.submissions[0].id

    def account_keys(self) -> frozenset[int]:
        """The lock keys of all their accounts: they wait in all of these lines, at one place."""
        return frozenset[int]().union(*(each.body.account_keys() for each in self.submissions))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The durable acceptance of a command: committed in Postgres. A replay is given the first receipt again."""

    id: UUID
    position: int
    accepted_at: datetime
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The idempotency key names another request of the same client. Nothing was accepted."""

    differing_fields: list[str]


@dataclass(frozen=True, slots=True)
class Unstorable:
    """Postgres refused the row for what is in it. Nothing was accepted."""

    message: str


@dataclass(frozen=True, slots=True)
class LinkedReceipts:
    """The receipts of linked commands, in their order. All are new, or all are replayed."""

    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class LinkConflict:
    """
    Keys of linked commands that name other requests of the same client. None of them was accepted.

    With each key, the fields that differ; ``linked`` if the command was sent alone, or with others or in another order.
    """

    differing_fields: Mapping[str, Sequence[str]]


LINKED: Final = "linked"
"""Where a request differs whose command is the same, but not what it is linked with."""

Answer = Receipt | KeyConflict | Unstorable | LinkedReceipts | LinkConflict
