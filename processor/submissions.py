"""A command as its client sent it, checked but not accepted yet; and what the intake answers to it."""

from collections.abc import Mapping
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
        return [name.removesuffix("_minor") for name in FIELDS if getattr(self, name) != getattr(other, name)]


FIELDS: Final = tuple(field.name for field in fields(CommandBody))


@dataclass(frozen=True, slots=True)
class Submission:
    """``body`` under the client's own ``idempotency_key``. ``id`` becomes the command's if it is a new one."""

    id: UUID
    client_id: int
    idempotency_key: str
    body: CommandBody


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


Answer = Receipt | KeyConflict | Unstorable
