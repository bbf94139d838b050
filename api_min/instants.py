"""Times as parameters: an instant, or a day in the bank's zone; and the part of history between two of them."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Final

from fastapi import Query

from api_min.problem import ProblemError

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_YEARS: Final = range(1970, 9000)
_FORM: Final = "give an instant with its offset such as 2026-11-27T12:00:00Z, or a day such as 2026-11-27"

_WHAT: Final = "An instant with its offset, or a day in the bank's time zone"

From = Annotated[str | None, Query(alias="from", description=f"{_WHAT}: what was decided then or later")]
To = Annotated[str | None, Query(description=f"{_WHAT}: what was decided before that instant, or up to the day's end")]
At = Annotated[str, Query(description=f"{_WHAT}, of which the end is meant", examples=["2026-11-27T12:00:00Z"])]


def between(since: str | None, until: str | None, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """From the first instant to before the second: the beginning of a day, and the end of one."""
    begin = None if since is None else read("from", since, zone)
    end = None if until is None else read("to", until, zone, is_end=True)
    if begin is not None and end is not None and begin >= end:
        raise ProblemError(
            "invalid", "The time ends before it begins.", [("from", "must be before `to`: swap the two")]
        )
    return begin, end


def read(field: str, text: str, zone: tzinfo, *, is_end: bool = False) -> datetime:
    """The instant; of a day its beginning, or the beginning of the next one. Raises a problem that names the field."""
    try:
        if is_day(text):
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            instant = datetime.combine(day, time.min, zone)
        else:
            instant = datetime.fromisoformat(text)
            if instant.tzinfo is None:
                raise ValueError("no offset")
        if instant.year not in _YEARS:
            raise ValueError("too far away")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        # What a plus sign becomes unless it is escaped.
        hint = "; write the + of an offset as %2B" if " " in text else ""
        raise ProblemError("invalid", "A time cannot be read.", [(field, _FORM + hint)]) from None


def is_day(text: str) -> bool:
    """Whether it has the form of a day."""
    return _DAY.fullmatch(text) is not None
