"""Random books, the statements that a bank would write of them, and the mistakes that a bank makes."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.domain.matching import Limits, Line, Matched, Moved, Result, TransferId, match
from tests.builders import TODAY

DAY: Final = timedelta(days=1)
COVERED: Final = [(TODAY - 40 * DAY, TODAY + 40 * DAY)]

FATES: Final = ("as it was", "as it was", "dropped", "doubled", "altered", "shifted", "split", "merged", "unknown")

Verdicts = tuple[set[tuple[frozenset[int], frozenset[TransferId]]], dict[int, Result], set[TransferId]]


@dataclass
class Written:
    """Books, the statement of them, and what is to be found: matches, verdicts and transfers that are missing."""

    transfers: list[Moved]
    lines: list[Line]
    matches: set[tuple[frozenset[int], frozenset[TransferId]]]
    verdicts: dict[int, Result]
    missing: set[TransferId]


@st.composite
def statements(draw: st.DrawFn, *, by_reference: bool) -> Written:
    """
    Transfers with a fate each. With references, or with accounts of their own, so that nothing is ambiguous.

    Amounts are from one unit to the largest there are.
    """
    written = Written([], [], set(), {}, set())
    amounts = st.integers(2, 2**53 - 2)
    for number, fate in enumerate(draw(st.lists(st.sampled_from(FATES), max_size=14)), start=1):
        _live(
            written,
            number,
            fate,
            by_reference=by_reference,
            amount=draw(amounts),
            days=draw(st.integers(0, 3)),
            is_deposit=draw(st.booleans()),
        )
    return written


def _live(
    written: Written, number: int, fate: str, *, by_reference: bool, amount: int, days: int, is_deposit: bool
) -> None:
    def transfer(part: int, minor: int) -> Moved:
        names = (f"inv-{number}-{part}", f"key {number}x{part}") if by_reference else ()
        moved = Moved((10 * number + part, 1), TODAY + number * DAY, is_deposit, minor, f"acc{number}", names)
        written.transfers.append(moved)
        return moved

    def line(minor: int, *of: Moved, later: int = 0) -> Line:
        said = " ".join(each.names[0] for each in of) if by_reference else f"from ACC{number}"
        if not of:
            said = f"interest {number}"
        new = Line(len(written.lines) + 1, TODAY + (number + later) * DAY, is_deposit, minor, (said,))
        written.lines.append(new)
        return new

    def pair(lines: list[Line], transfers: list[Moved]) -> None:
        written.matches.add((frozenset(each.id for each in lines), frozenset(each.id for each in transfers)))

    if fate == "unknown":
        written.verdicts[line(amount).id] = Result.MISSING_IN_BOOKS
        return
    one = transfer(1, amount)
    if fate == "dropped":
        written.missing.add(one.id)
    elif fate == "altered":
        written.verdicts[line(amount + 1, one).id] = Result.AMOUNT_DIFFERS if by_reference else Result.MISSING_IN_BOOKS
        written.missing |= set() if by_reference else {one.id}
    elif fate == "split":
        pair([line(1, one), line(amount - 1, one, later=days)], [one])
    elif fate == "merged":
        other = transfer(2, amount + 1)
        pair([line(2 * amount + 1, one, other, later=days)], [one, other])
    else:
        pair([line(amount, one, later=days * 10 if fate == "shifted" and by_reference else days)], [one])
        if fate == "doubled":
            written.verdicts[line(amount, one, later=days).id] = Result.DUPLICATE


def said(found: Matched) -> Verdicts:
    """The answer without its order and its words."""
    return (
        {(frozenset(each.lines), frozenset(each.transfers)) for each in found.matches},
        {id_: verdict.result for id_, verdict in found.verdicts.items()},
        set(found.missing_in_statement),
    )


@pytest.mark.parametrize("by_reference", [True, False], ids=["by reference", "by account"])
def test_every_mistake_of_the_bank_is_named(by_reference: bool) -> None:
    """Dropped, doubled, altered, late, split, merged, made up: each is found as what it is, and nothing else is."""

    @settings(max_examples=150, deadline=None)
    @given(written=statements(by_reference=by_reference))
    def check(written: Written) -> None:
        found = match(written.lines, written.transfers, limits=Limits(), covered=COVERED)

        assert said(found) == (written.matches, written.verdicts, written.missing)

    check()


_texts: Final = st.sampled_from(("alice", "bob", "alice bob", "inv-1", "inv-2", "inv-1 inv-2", "rent 9", "x", ""))
_lines: Final = st.lists(
    st.builds(
        Line,
        st.just(0),
        st.integers(0, 6).map(lambda days: TODAY + days * DAY),
        st.booleans(),
        st.integers(1, 6),
        st.tuples(_texts, _texts),
        st.booleans(),
    ),
    max_size=14,
).map(lambda lines: [replace(line, id=number) for number, line in enumerate(lines, start=1)])
_transfers: Final = st.lists(
    st.builds(
        Moved,
        st.just((0, 1)),
        st.integers(0, 6).map(lambda days: TODAY + days * DAY),
        st.booleans(),
        st.integers(1, 6),
        st.sampled_from(("alice", "bob", "carol")),
        st.lists(st.sampled_from(("inv-1", "inv-2", "rent 9")), max_size=2).map(tuple),
        st.sampled_from((False, False, False, True)),
    ),
    max_size=14,
).map(lambda transfers: [replace(each, id=(number, 1)) for number, each in enumerate(transfers, start=1)])


@settings(max_examples=300, deadline=None)
@given(lines=_lines, transfers=_transfers, tolerance=st.sampled_from((0, 0, 1)), seed=st.randoms(use_true_random=False))
def test_the_answer_is_whole_sound_and_the_same_in_any_order(
    lines: list[Line], transfers: list[Moved], tolerance: int, seed: Random
) -> None:
    """
    Whatever the mess: each line has one answer, no transfer is used twice, and what is matched adds up.

    And who sorts the files differently, or imports them by another program, gets the same answer.
    """
    limits = Limits(tolerance_minor=tolerance)
    found = match(lines, transfers, limits=limits, covered=COVERED)
    by_line, by_transfer = {each.id: each for each in lines}, {each.id: each for each in transfers}
    used = [id_ for each in found.matches for id_ in each.transfers]
    matched = [id_ for each in found.matches for id_ in each.lines]

    assert sorted([*matched, *found.verdicts]) == sorted(by_line)
    assert len(used) == len(set(used))
    assert not any(by_transfer[id_].is_taken for id_ in [*used, *found.missing_in_statement])
    assert set(used).isdisjoint(found.missing_in_statement)
    for each in found.matches:
        of_lines, of_transfers = [by_line[id_] for id_ in each.lines], [by_transfer[id_] for id_ in each.transfers]
        apart = sum(line.amount_minor for line in of_lines) - sum(moved.amount_minor for moved in of_transfers)
        assert abs(apart) <= tolerance
        assert len({line.is_credit for line in of_lines} | {moved.is_deposit for moved in of_transfers}) == 1

    mixed_lines, mixed_transfers = list(lines), list(transfers)
    seed.shuffle(mixed_lines)
    seed.shuffle(mixed_transfers)
    assert match(mixed_lines, mixed_transfers, limits=limits, covered=COVERED) == found
