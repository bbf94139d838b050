"""What happened in each simulated week, in figures: read from the books when it is over."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from cli.simulating.history import FIRST_DAY
from cli.simulating.ledger import Closing, Ledger
from processor.domain.advances import InstalmentState
from processor.domain.commands import Collect
from processor.domain.outcomes import TransferKind

A_DAY: Final = timedelta(days=1)


@dataclass(slots=True)
class Figure:
    """How many there were, and what they come to."""

    count: int = 0
    amount_minor: int = 0

    def add(self, amount_minor: int) -> None:
        """One more."""
        self.count += 1
        self.amount_minor += amount_minor


@dataclass(slots=True)
class Week:
    """
    A row of the table. ``due`` are the instalments whose day came in this week and that were not settled before it,
    ``missed`` is what was not paid of those that were missed, on the day on which that was decided.
    """

    number: int
    begins_on: date
    days_without_scheduler: int
    owed_minor: int
    accounts_in_arrears: int
    granted: Figure = field(default_factory=Figure)
    due: Figure = field(default_factory=Figure)
    collected: Figure = field(default_factory=Figure)
    missed: Figure = field(default_factory=Figure)
    repaid_early: Figure = field(default_factory=Figure)
    written_off: Figure = field(default_factory=Figure)


_FIGURES: Final[dict[str, Callable[[Week], Figure]]] = {
    TransferKind.ADVANCE.value: lambda week: week.granted,
    TransferKind.COLLECTION.value: lambda week: week.collected,
    TransferKind.REPAYMENT.value: lambda week: week.repaid_early,
    TransferKind.WRITE_OFF.value: lambda week: week.written_off,
}


def weeks_of(ledger: Ledger, closings: Sequence[Closing], away: Collection[date]) -> list[Week]:
    """The weeks that ended with these ``closings``; on the days ``away`` there was no scheduler."""
    weeks = {}
    for number, closing in enumerate(closings, start=1):
        begins_on = closing.ends_on - 6 * A_DAY
        days = sum(begins_on + day * A_DAY in away for day in range(7))
        weeks[number] = Week(number, begins_on, days, closing.owed_minor, closing.accounts_in_arrears)
    decided_on = {position: entry.decided_on for position, entry in ledger.entries.items() if entry.decided_on}
    for move in ledger.moves:
        if move.kind in _FIGURES:
            _FIGURES[move.kind](weeks[_number(decided_on[move.position])]).add(move.amount_minor)
    for advance in ledger.advances.values():
        for each in advance.instalments:
            settled_on = None if each.settled_by is None else decided_on[each.settled_by]
            due_in = weeks.get(_number(each.due_on))
            if due_in is not None and (settled_on is None or settled_on >= each.due_on):
                due_in.due.add(each.amount_minor)
            if each.state is InstalmentState.MISSED and settled_on is not None:
                weeks[_number(settled_on)].missed.add(each.left_minor)
    return list(weeks.values())


def catch_ups(ledger: Ledger) -> int:
    """How often a day's ticks found several instalments of an advance due, as after weeks without a scheduler."""
    collected: Counter[tuple[int, date]] = Counter()
    for advance in ledger.advances.values():
        for each in advance.instalments:
            entry = None if each.settled_by is None else ledger.entries[each.settled_by]
            if entry is not None and entry.decided_on and isinstance(entry.command, Collect):
                collected[advance.id, entry.decided_on] += 1
    return sum(count > 1 for count in collected.values())


def _number(day: date) -> int:
    return (day - FIRST_DAY).days // 7 + 1
