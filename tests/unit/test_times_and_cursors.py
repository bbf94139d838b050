"""Parameters of what people read: times as they may be written, and cursors as they were given out."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis.strategies import integers, lists, text

from api_min import cursors, instants
from api_min.problem import ProblemError

PRAGUE = ZoneInfo("Europe/Prague")

NUMBERS = lists(integers(1 - 2**63, 2**63 - 1), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("day", "begins", "ends"),
    [
        ("2026-11-27", datetime(2026, 11, 26, 23, tzinfo=UTC), datetime(2026, 11, 27, 23, tzinfo=UTC)),
        ("2026-03-29", datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("2026-10-25", datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)),
    ],
)
def test_a_day_is_as_long_as_it_was_at_the_bank(day: str, begins: datetime, ends: datetime) -> None:
    """23 hours in spring, 25 in autumn: a day that is always 24 would move money between days."""
    assert instants.between(day, day, PRAGUE) == (begins, ends)


def test_an_instant_is_the_same_in_any_zone() -> None:
    """The bank's zone is for days only."""
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)

    assert instants.read("at", "2026-11-27T12:00:00Z", PRAGUE) == noon
    assert instants.read("at", "2026-11-27T13:00:00+01:00", PRAGUE) == noon
    assert instants.read("at", "2026-11-27T12:00:00.000001Z", PRAGUE) == noon.replace(microsecond=1)


@given(text())
@example("2026-02-30")
@example("0001-01-01")
@example("9999-12-31")
@example("2026-11-27T12:00:00")
@example("2026-11-27T12:00:00 01:00")
def test_whatever_is_no_time_is_refused_with_its_field(word: str) -> None:
    """Never an error of ours."""
    with pytest.raises(ProblemError) as refused:
        instants.read("to", word, PRAGUE, is_end=True)

    assert (refused.value.kind, [field for field, _ in refused.value.errors]) == ("invalid", ["to"])


@given(NUMBERS)
def test_a_cursor_says_what_was_written(numbers: list[int]) -> None:
    """Places and balances, below zero as well."""
    assert cursors.read(cursors.write("list", *numbers), "list", len(numbers)) == numbers


@given(NUMBERS, text(max_size=40))
def test_a_cursor_that_was_never_written_is_refused(numbers: list[int], word: str) -> None:
    """Cut off, of another list, of another form, or invented."""
    written = cursors.write("list", *numbers)
    for cursor, asked, count in (
        (word, "list", len(numbers)),
        (written[:-1], "list", len(numbers)),
        (written, "another list", len(numbers)),
        (written, "list", len(numbers) + 1),
        (cursors.write("list", *numbers, 2**63), "list", len(numbers) + 1),
        (cursors.write_name("list", "a name"), "list", 2),
    ):
        with pytest.raises(ProblemError, match="The cursor does not fit"):
            cursors.read(cursor, asked, count)
