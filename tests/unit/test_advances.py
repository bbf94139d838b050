"""An advance from its first week to its last: shares, days, what is missed, what is paid early, what is given up."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.domain.advances import (
    AdvanceState,
    Instalment,
    InstalmentState,
    accounted_minor,
    arrears_minor,
    due_on,
    split,
)
from tests.builders import TODAY, lent

MISSED, PAID = InstalmentState.MISSED, InstalmentState.PAID
SCHEDULED, WRITTEN_OFF = InstalmentState.SCHEDULED, InstalmentState.WRITTEN_OFF


def weeks(advance_instalments: tuple[Instalment, ...]) -> list[tuple[int, int, InstalmentState]]:
    """What each week asks for, what was paid of it, and how it stands."""
    return [(each.amount_minor, each.paid_minor, each.state) for each in advance_instalments]


# How an advance is divided.


@pytest.mark.parametrize(
    ("advance_minor", "instalments", "shares"),
    [
        (1_200, 12, [100] * 12),
        (1_000, 12, [84] * 4 + [83] * 8),
        (12, 12, [1] * 12),
        (13, 12, [2] + [1] * 11),
        (7, 1, [7]),
    ],
)
def test_shares_differ_by_a_unit_at_most_the_larger_ones_first(
    advance_minor: int, instalments: int, shares: list[int]
) -> None:
    """Nobody has to guess which week carries the odd cent."""
    assert split(advance_minor, instalments) == shares


@given(advance_minor=st.integers(1, 2**53 - 1), instalments=st.integers(1, 104))
def test_shares_add_up_to_exactly_the_advance(advance_minor: int, instalments: int) -> None:
    """No cent is lost in the division, and none is asked for that was not lent."""
    if advance_minor < instalments:
        with pytest.raises(ValueError, match="cannot be divided"):
            split(advance_minor, instalments)
        return
    shares = split(advance_minor, instalments)

    assert sum(shares) == advance_minor
    assert len(shares) == instalments
    assert max(shares) - min(shares) <= 1
    assert min(shares) > 0


@pytest.mark.parametrize("instalments", [0, -1])
def test_an_advance_has_at_least_one_instalment(instalments: int) -> None:
    """An advance that is never due is a present."""
    with pytest.raises(ValueError, match="cannot be divided"):
        split(100, instalments)


# When it is due.


def test_instalments_are_due_weekly_from_the_first_day_on() -> None:
    """Twelve weeks, the same day of the week each, whatever months and years are between."""
    advance = lent(first_due_on=date(2027, 12, 20))

    assert [each.due_on for each in advance.instalments] == [
        date(2027, 12, 20) + timedelta(days=7 * week) for week in range(12)
    ]


@pytest.mark.parametrize(
    ("first", "number", "expected"),
    [
        (date(2027, 12, 27), 2, date(2028, 1, 3)),  # over the end of a year
        (date(2028, 2, 22), 2, date(2028, 2, 29)),  # on to the 29 February
        (date(2028, 2, 29), 2, date(2028, 3, 7)),  # from it
        (date(2026, 10, 19), 2, date(2026, 10, 26)),  # over the end of summer time: a day is a day
    ],
)
def test_a_week_is_seven_days_on_the_calendar(first: date, number: int, expected: date) -> None:
    """Dates have no hours, so no change of the clock can move one."""
    assert due_on(first, number) == expected


# What an instalment's day leads to.


def test_what_was_collected_is_paid() -> None:
    """The other weeks stay as they are."""
    advance = lent(300, instalments=3).collect(1, 100, by=9)

    assert weeks(advance.instalments) == [(100, 100, PAID), (100, 0, SCHEDULED), (100, 0, SCHEDULED)]
    assert (advance.paid_minor, advance.remaining_minor, advance.state) == (100, 200, AdvanceState.OPEN)
    assert advance.instalments[0].settled_by == 9


def test_what_was_missed_is_the_next_ones() -> None:
    """The next week asks for both; the missed one stays in the schedule, for everybody to see."""
    advance = lent(300, instalments=3).collect(1, 0, by=9)

    assert weeks(advance.instalments) == [(100, 0, MISSED), (200, 0, SCHEDULED), (100, 0, SCHEDULED)]
    assert advance.instalments[1].rolled_minor == 100
    assert advance.instalments[0].settled_by == 9
    assert (advance.paid_minor, advance.remaining_minor, advance.state) == (0, 300, AdvanceState.IN_ARREARS)


def test_behind_the_last_one_missed_a_new_one_is_made_a_week_later() -> None:
    """Again and again, until it is paid or given up."""
    advance = lent(300, instalments=3, first_due_on=TODAY)
    for number in range(1, 5):
        advance = advance.collect(number, 0, by=number)

    assert weeks(advance.instalments)[3:] == [(300, 0, MISSED), (300, 0, SCHEDULED)]
    assert [each.due_on for each in advance.instalments][3:] == [TODAY + timedelta(days=21), TODAY + timedelta(days=28)]
    assert (advance.count, advance.instalments[-1].rolled_minor) == (5, 300)


def test_part_of_an_instalment_may_be_collected() -> None:
    """Only the rest is missed and rolled on."""
    advance = lent(300, instalments=3).collect(1, 30, by=9)

    assert weeks(advance.instalments) == [(100, 30, MISSED), (170, 0, SCHEDULED), (100, 0, SCHEDULED)]
    assert (advance.paid_minor, advance.remaining_minor) == (30, 270)


def test_a_week_that_comes_late_is_rolled_on_to_the_next_that_is_still_to_come() -> None:
    """Its collect failed a day ago, and two later ones were paid meanwhile."""
    advance = lent(400, instalments=4).collect(2, 100, by=7).collect(3, 100, by=8).collect(1, 0, by=9)

    assert weeks(advance.instalments) == [
        (100, 0, MISSED),
        (100, 100, PAID),
        (100, 100, PAID),
        (200, 0, SCHEDULED),
    ]


def test_two_weeks_may_be_rolled_on_to_the_same_one() -> None:
    """The second was missed while the first was still to be decided."""
    advance = lent(400, instalments=4).collect(2, 0, by=8).collect(1, 0, by=9)

    assert weeks(advance.instalments)[2] == (300, 0, SCHEDULED)
    assert (advance.instalments[2].rolled_minor, arrears_minor(advance.instalments)) == (200, 200)


def test_what_is_missed_is_never_rolled_back() -> None:
    """An earlier week that is still to be decided has its own amount: the missed one goes on to a later day."""
    advance = lent(200, instalments=2, first_due_on=TODAY).collect(2, 0, by=9)

    assert weeks(advance.instalments) == [(100, 0, SCHEDULED), (100, 0, MISSED), (100, 0, SCHEDULED)]
    assert advance.instalments[2].due_on == TODAY + timedelta(days=14)


def test_arrears_are_over_when_what_was_missed_is_paid() -> None:
    """The next instalment brings both, or an early payment does: what was missed is taken to be paid first."""
    behind = lent(300, instalments=3).collect(1, 0, by=8)
    partly = behind.repay(60, by=9)

    assert arrears_minor(behind.instalments) == 100
    assert (arrears_minor(partly.instalments), partly.state) == (40, AdvanceState.IN_ARREARS)
    assert behind.collect(2, 200, by=9).state is AdvanceState.OPEN
    assert behind.repay(100, by=9).state is AdvanceState.OPEN


# What is paid early, and what is given up.


def test_an_early_repayment_pays_the_oldest_first_and_then_those_to_come() -> None:
    """Nothing is skipped, and what is left over of it shortens a later week."""
    advance = lent(300, instalments=3).repay(150, by=9)

    assert weeks(advance.instalments) == [(100, 100, PAID), (100, 50, SCHEDULED), (100, 0, SCHEDULED)]
    assert advance.collect(2, 50, by=10).instalments[1].state is PAID


def test_an_advance_that_is_paid_in_full_is_repaid() -> None:
    """Nothing is due any more."""
    advance = lent(300, instalments=3).collect(1, 100, by=8).repay(200, by=9)

    assert [each.state for each in advance.instalments] == [PAID] * 3
    assert (advance.state, advance.remaining_minor, advance.state.is_live) == (AdvanceState.REPAID, 0, False)


def test_more_than_is_owed_cannot_be_repaid() -> None:
    """The rules refuse it before; whoever forgets to ask them must not invent money."""
    with pytest.raises(ValueError, match="more was repaid"):
        lent(300, instalments=3).repay(301, by=9)


def test_what_is_given_up_stays_on_record() -> None:
    """What was paid before is paid, what was missed is missed, and the rest is written off."""
    advance = lent(300, instalments=3).collect(1, 0, by=7).repay(50, by=8).write_off(by=9)

    assert weeks(advance.instalments) == [(100, 0, MISSED), (200, 50, WRITTEN_OFF), (100, 0, WRITTEN_OFF)]
    assert (advance.state, advance.paid_minor, advance.written_off_minor) == (AdvanceState.WRITTEN_OFF, 50, 250)
    assert advance.remaining_minor == 0


def test_what_is_settled_is_settled_for_good() -> None:
    """A second collect of the same week would take the money twice."""
    advance = lent(300, instalments=3).collect(1, 100, by=8)

    with pytest.raises(ValueError, match="instalment 1 is not scheduled"):
        advance.collect(1, 100, by=9)
    with pytest.raises(ValueError, match="instalment 9 is not scheduled"):
        advance.collect(9, 100, by=9)


def test_a_collect_that_came_to_nothing_is_counted() -> None:
    """The next attempt has another key."""
    advance = lent(300, instalments=3).attempt(1)

    assert (advance.instalments[0].attempts, advance.instalments[0].failed_at) == (1, None)
    assert weeks(advance.instalments) == weeks(lent(300, instalments=3).instalments)


def test_every_change_has_a_version() -> None:
    """Postgres writes a change only over the version on which it was decided."""
    advance = lent(300, instalments=3)
    steps = [advance.collect(1, 0, by=1), advance.repay(1, by=1), advance.write_off(by=1), advance.attempt(1)]

    assert [each.version for each in steps] == [1] * 4


# The completeness formula.


def test_the_formula_counts_what_was_missed_where_it_was_rolled_on_to() -> None:
    """Counted where it was due as well, it would be owed twice."""
    advance = lent(300, instalments=3).collect(1, 40, by=7).collect(2, 0, by=8).repay(30, by=9)

    assert accounted_minor(advance.instalments) == 300
    assert accounted_minor(advance.write_off(by=10).instalments) == 300


@pytest.mark.parametrize("lost", range(4))
def test_the_formula_finds_an_instalment_that_is_lost(lost: int) -> None:
    """Whichever: paid, rolled on to, or still to come. Only a missed one of which nothing was paid carries nothing."""
    advance = lent(400, instalments=4).collect(1, 100, by=7).collect(2, 0, by=8)
    rest = [each for place, each in enumerate(advance.instalments) if place != lost]

    assert (accounted_minor(rest) == 400) is (advance.instalments[lost].state is MISSED)
