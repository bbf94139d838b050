"""A period of whole days in the bank's zone, as a statement or a journal is about one."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Self

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
_DAY: Final = timedelta(days=1)
_BEGIN: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """From the first instant of ``from_on`` to the last of ``to_on``; ``None`` leaves that side open."""

    from_on: date | None
    to_on: date | None
    zone: tzinfo

    def __post_init__(self) -> None:
        if self.from_on and self.to_on and self.from_on > self.to_on:
            raise ValueError(f"the period ends on {self.to_on}, before it begins on {self.from_on}")

    @classmethod
    def of_month(cls, month: str, zone: tzinfo) -> Self:
        """The month that is written as 2026-11. Raises ``ValueError`` for anything else."""
        match = _MONTH.fullmatch(month)
        # Of year 9999, no month could be followed by the day on which the next begins.
        if match is None or not 1 < int(match[1]) < date.max.year:
            raise ValueError(f"no month: {month!r}; give one such as 2026-11")
        first = date(int(match[1]), int(match[2]), 1)
        last = (first.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY
        return cls(first, last, zone)

    @property
    def starts_at(self) -> datetime:
        """The instant at which it begins."""
        return _midnight(self.from_on, self.zone) if self.from_on else _BEGIN

    @property
    def ends_at(self) -> datetime:
        """The instant at which it is over: the first of the next day."""
        return _midnight(self.to_on + _DAY, self.zone) if self.to_on and self.to_on < date.max else _END


def _midnight(day: date, zone: tzinfo) -> datetime:
    try:
        return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return _BEGIN if day.year == date.min.year else _END
