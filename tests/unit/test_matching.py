"""The rules of matching, one at a time: what is certain is matched, and what is not says why."""

from datetime import date, timedelta
from itertools import count
from typing import Final

import pytest

from processor.domain.matching import Limits, Line, Matched, Moved, Period, Result, Rule, covered_days, match
from tests.builders import TODAY

DAY: Final = timedelta(days=1)
ALWAYS: Final = [(date.min, date.max)]
_ids: Final = count(1)


def line(amount_minor: int, *texts: str, day: int = 0, credit: bool = True, reversal: bool = False) -> Line:
    """A line of a statement, so many days from today."""
    return Line(next(_ids), TODAY + day * DAY, credit, amount_minor, texts, reversal)


def moved(
    amount_minor: int, account: str = "alice", *names: str, day: int = 0, deposit: bool = True, taken: bool = False
) -> Moved:
    """A deposit, or a withdrawal."""
    return Moved((next(_ids), 1), TODAY + day * DAY, deposit, amount_minor, account, names, taken)


def rule_of(found: Matched) -> Rule | None:
    """By which rule the one match was found, if there is one."""
    assert len(found.matches) <= 1
    return found.matches[0].rule if found.matches else None


def judged(found: Matched, line: Line) -> Result:
    """What became of the line."""
    if any(line.id in each.lines for each in found.matches):
        return Result.MATCHED
    return found.verdicts[line.id].result


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("inv-17", "inv-17"),
        ("inv-17", "INV 17"),
        ("inv-17", "payment for inv/17, thanks"),
        ("Rent", "rent"),
        ("7", "7"),
        ("0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f", "ref 0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"),
        ("0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f", "0199A0B27D5E7C3A9F113A1F0C2D4E5F"),
    ],
)
def test_a_line_that_has_the_reference_is_the_transfer(name: str, said: str) -> None:
    """Banks change the case, the hyphens and what stands around it."""
    found = match([line(100, said)], [moved(100, "alice", name), moved(100, "bob", "other-1")], limits=Limits())

    assert rule_of(found) is Rule.REFERENCE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("inv-1", "inv-17"),
        ("inv-17", "inv-17-b is another"),
        ("rent", "the rent of may"),
        ("17", "17 may"),
        ("inv-17", "inv 18"),
    ],
)
def test_a_text_that_is_near_a_reference_does_not_have_it(name: str, said: str) -> None:
    """A word that anybody may write, or the beginning of a longer number, names nobody."""
    others = [moved(1, "z", "inv-17-b")]
    found = match([line(100, said)], [moved(100, "alice", name), *others], limits=Limits())

    assert rule_of(found) is None


def test_money_in_is_never_money_out() -> None:
    """The same reference on the other side is a reversal or a mistake, and no payment."""
    found = match([line(100, "inv-17", credit=False)], [moved(100, "alice", "inv-17")], limits=Limits())

    assert rule_of(found) is None


def test_an_equal_reference_with_another_amount_is_a_difference_of_amounts() -> None:
    """The transfer is not missing: the line is for it, and says something else."""
    short, transfer = line(99, "inv-17"), moved(100, "alice", "inv-17")
    found = match([short], [transfer], limits=Limits(), covered=ALWAYS)

    assert found.verdicts[short.id].result is Result.AMOUNT_DIFFERS
    assert found.verdicts[short.id].transfers == (transfer.id,)
    assert found.missing_in_statement == []


def test_within_the_tolerance_amounts_are_equal() -> None:
    """By the unit: at the limit, and one beyond."""
    transfer = moved(100, "alice", "inv-17")

    assert rule_of(match([line(98, "inv-17")], [transfer], limits=Limits(tolerance_minor=2))) is Rule.REFERENCE
    assert rule_of(match([line(97, "inv-17")], [transfer], limits=Limits(tolerance_minor=2))) is None


@pytest.mark.parametrize("taken", [False, True], ids=["in one statement", "in a later one"])
def test_a_line_that_comes_twice_is_a_duplicate(taken: bool) -> None:
    """The bank booked it twice: the first is the payment, and the other has to be taken back."""
    lines = [line(100, "inv-17", day=day) for day in ([1] if taken else [0, 1])]
    found = match(lines, [moved(100, "alice", "inv-17", taken=taken)], limits=Limits())

    assert judged(found, lines[-1]) is Result.DUPLICATE
    assert len(found.matches) == (not taken)


def test_without_a_reference_amount_day_and_account_together_are_enough() -> None:
    """Each of them alone is not."""
    transfer = moved(100, "alice")

    assert rule_of(match([line(100, "from Alice", day=3)], [transfer], limits=Limits())) is Rule.AMOUNT_DATE_ACCOUNT
    assert rule_of(match([line(100, "from Alice", day=-3)], [transfer], limits=Limits())) is Rule.AMOUNT_DATE_ACCOUNT
    for other in (line(100, "from Alice", day=4), line(100, "from Bob"), line(101, "from Alice"), line(100)):
        assert rule_of(match([other], [transfer], limits=Limits())) is None


@pytest.mark.parametrize(
    ("lines", "transfers"),
    [
        ([line(100, "alice")], [moved(100), moved(100, day=1)]),
        ([line(100, "alice a"), line(100, "alice b")], [moved(100)]),
        ([line(100, "alice"), line(100, "alice")], [moved(100), moved(100)]),
        ([line(100, "alice"), line(100, "alice or bob")], [moved(100), moved(100, "bob")]),
        ([line(100, "batch-9 x")], [moved(100, "bob", "batch-9"), moved(100, "carol", "batch-9")]),
    ],
    ids=["two transfers", "two lines", "two of both", "one of two is claimed", "a reference of two"],
)
def test_what_is_ambiguous_stays_unmatched_and_says_so(lines: list[Line], transfers: list[Moved]) -> None:
    """A guess that is right today hides the one that is wrong tomorrow."""
    found = match(lines, transfers, limits=Limits(), covered=ALWAYS)

    assert found.matches == []
    assert {each.result for each in found.verdicts.values()} == {Result.MISSING_IN_BOOKS}
    assert all(each.detail.startswith("ambiguous") for each in found.verdicts.values())
    assert found.missing_in_statement == [each.id for each in transfers]


def test_lines_that_say_the_same_are_one_booked_twice() -> None:
    """Without a reference too: which of them is taken for the payment makes no difference."""
    lines = [line(100, "from alice"), line(100, "from alice")]
    found = match(lines, [moved(100)], limits=Limits())

    assert [judged(found, each) for each in lines] == [Result.MATCHED, Result.DUPLICATE]


@pytest.mark.parametrize(
    ("lines", "transfers", "rule"),
    [
        ([line(300, "batch-7")], [moved(100, "a", "batch-7"), moved(200, "b", "batch-7")], Rule.SUM_BY_REFERENCE),
        ([line(300, "inv-1 inv-2")], [moved(100, "a", "inv-1"), moved(200, "b", "inv-2")], Rule.SUM_BY_REFERENCE),
        ([line(60, "inv-17"), line(40, "inv-17")], [moved(100, "a", "inv-17")], Rule.SUM_BY_REFERENCE),
        ([line(300, "alice")], [moved(100), moved(200), moved(50)], Rule.SUM_BY_ACCOUNT),
        ([line(60, "alice"), line(40, "alice"), line(7, "alice")], [moved(100)], Rule.SUM_BY_ACCOUNT),
    ],
    ids=[
        "a shared reference",
        "several references",
        "parts by reference",
        "transfers of an account",
        "parts by account",
    ],
)
def test_sums_are_matched(lines: list[Line], transfers: list[Moved], rule: Rule) -> None:
    """A batch is booked as one line, and a payment comes in parts."""
    assert rule_of(match(lines, transfers, limits=Limits())) is rule


@pytest.mark.parametrize(
    ("lines", "transfers"),
    [
        ([line(300, "alice")], [moved(100), moved(200), moved(150), moved(150, day=1)]),
        ([line(300, "alice"), line(300, "alice too")], [moved(100), moved(200)]),
        ([line(300, "alice"), line(50, "alice")], [moved(100), moved(200), moved(350)]),
        ([line(3, "alice")], [moved(2**n) for n in range(11)]),
        ([line(300, "alice", reversal=True)], [moved(100), moved(200)]),
        ([line(300, "alice")], [moved(100), moved(200, day=9)]),
    ],
    ids=["in two ways", "claimed twice", "part of two", "among too many", "a reversal", "another day"],
)
def test_a_sum_that_is_not_certain_is_none(lines: list[Line], transfers: list[Moved]) -> None:
    """Small numbers add up to everything."""
    assert match(lines, transfers, limits=Limits()).matches == []


def test_a_batch_that_is_booked_again_is_a_duplicate_and_one_short_differs() -> None:
    """The whole of it, whichever accounts are in it."""
    transfers = [moved(100, "a", "batch-7"), moved(200, "b", "batch-7")]
    first, again, short = line(300, "batch-7"), line(300, "batch-7", day=1), line(299, "batch-7")

    assert judged(match([first, again], transfers, limits=Limits()), again) is Result.DUPLICATE
    assert judged(match([short], transfers, limits=Limits()), short) is Result.AMOUNT_DIFFERS


def test_a_transfer_that_a_line_names_is_no_other_lines() -> None:
    """The customer paid 90 with the reference: that somebody else paid 100 does not make it right."""
    named, other = line(90, "inv-17"), line(100, "alice")
    found = match([named, other], [moved(100, "alice", "inv-17")], limits=Limits())

    assert [judged(found, each) for each in (named, other)] == [Result.AMOUNT_DIFFERS, Result.MISSING_IN_BOOKS]

    parts = [line(60, "alice"), line(40, "alice")]
    assert match([named, *parts], [moved(100, "alice", "inv-17")], limits=Limits()).matches == []


def test_what_a_person_took_apart_is_not_put_together_again() -> None:
    """By no rule."""
    for text in ("inv-17", "alice"):
        one, transfer = line(100, text), moved(100, "alice", "inv-17")

        assert match([one], [transfer], limits=Limits()).matches
        assert not match([one], [transfer], limits=Limits(), kept_apart={(one.id, transfer.id)}).matches


@pytest.mark.parametrize("apart", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_two_equal_payments_stay_ambiguous_when_a_person_took_one_pair_apart(apart: tuple[int, int]) -> None:
    """There are two payments and two lines: to call one of them a duplicate would have the bank take money back."""
    lines, transfers = [line(100, "alice"), line(100, "alice")], [moved(100), moved(100)]
    pair = (lines[apart[0]].id, transfers[apart[1]].id)
    found = match(lines, transfers, limits=Limits(), kept_apart=[pair])

    assert found.matches == []
    assert [judged(found, each) for each in lines] == [Result.MISSING_IN_BOOKS] * 2


def test_a_transfer_is_missing_on_covered_days_only() -> None:
    """Of other days there is no statement yet, and what is taken is not missing."""
    transfers = [moved(1, day=day) for day in (-1, 0, 1, 2)]
    found = match([], [*transfers, moved(1, taken=True)], limits=Limits(), covered=[(TODAY, TODAY + DAY)])

    assert found.missing_in_statement == [transfers[1].id, transfers[2].id]


@pytest.mark.parametrize(
    ("periods", "days"),
    [
        ([], []),
        ([("a", 1, 3), ("a", 4, 5)], [(1, 5)]),
        ([("a", 1, 3), ("a", 6, 7), ("a", 2, 4)], [(1, 4), (6, 7)]),
        ([("a", 1, 9), ("b", 4, 5)], [(1, 5)]),
        ([("a", 1, 3), ("b", 1, 9)], [(1, 3)]),
        ([("b", 5, 9), ("a", 1, 6), ("c", 6, 6)], [(1, 6)]),
    ],
)
def test_a_day_is_covered_when_every_account_has_a_statement_of_it(
    periods: list[tuple[str, int, int]], days: list[tuple[int, int]]
) -> None:
    """From the day on which an account has its first."""

    def day(number: int) -> date:
        return TODAY + number * DAY

    found = covered_days(Period(account, day(first), day(last)) for account, first, last in periods)

    assert found == [(day(first), day(last)) for first, last in days]
