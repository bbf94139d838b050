"""What the bank may set: the business calendar, and the bounds of its advances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

LATEST_FIRST_DUE: Final = timedelta(days=366)
"""How long after its application an advance's first instalment may be due."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and the largest amount of an advance, in minor units."""

    min_minor: int
    max_minor: int


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The bank's settings, as far as they decide what becomes of a command.

    ``bounds`` are by currency; one that is not there has none. With ``partial_collection``, an instalment for which
    there is not enough takes what is available, and only the rest is missed.
    """

    zone: tzinfo = UTC
    max_live_advances: int = 1
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    partial_collection: bool = False

    def business_date(self, instant: datetime) -> date:
        """The day on which something that happens at ``instant`` is booked: the date in the bank's zone."""
        return instant.astimezone(self.zone).date()
