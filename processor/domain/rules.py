"""What the bank may set: the business calendar, the bounds of its amounts, and what new accounts are given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Protocol

LATEST_FIRST_DUE: Final = timedelta(days=366)
"""How long after its application an advance's first instalment may be due."""

LATEST_EXPIRY: Final = timedelta(days=366)
"""How long a hold may be there."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and the largest amount of a command, in minor units."""

    min_minor: int
    max_minor: int


@dataclass(frozen=True, slots=True)
class Overdraft:
    """How far below zero an account may go, and what a withdrawal costs that ends there; in minor units."""

    limit_minor: int = 0
    fee_minor: int = 0


class Amounted(Protocol):
    """A command that says how much."""

    @property
    def amount_minor(self) -> int: ...

    @property
    def currency(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The bank's settings, as far as they decide what becomes of a command.

    ``bounds`` are by type of command and currency; what is not there has none. ``overdrafts`` are those of new accounts
    that ask for none of their own, by currency. With ``partial_collection``, an instalment for which there is not
    enough takes what is available, and only the rest is missed.
    """

    zone: tzinfo = UTC
    max_live_advances: int = 1
    bounds: Mapping[tuple[str, str], Bounds] = field(default_factory=dict)
    overdrafts: Mapping[str, Overdraft] = field(default_factory=dict)
    partial_collection: bool = False

    def allows(self, type_: str, command: Amounted) -> bool:
        """Whether the amount is within the bounds of the command's type and currency."""
        bounds = self.bounds.get((type_, command.currency)) if self.bounds else None
        return bounds is None or bounds.min_minor <= command.amount_minor <= bounds.max_minor

    def business_date(self, instant: datetime) -> date:
        """The day on which something that happens at ``instant`` is booked: the date in the bank's zone."""
        return instant.astimezone(self.zone).date()
