"""Lets weeks go by on a simulated clock: pay comes or does not, the scheduler ticks or is away, customers live on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Final

from cli.simulating.clock import Clock
from cli.simulating.engine import Engine
from cli.simulating.ledger import Closing, read_closing, read_owed
from cli.simulating.life import Habits, Life, plan_outages
from cli.simulating.operating import WORKERS, Operation, Reliable, Unreliable
from processor.submissions import CommandBody

FIRST_DAY: Final = date(2026, 1, 5)
"""A Monday, as the first day of every simulated week."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    What is to be simulated. The same scenario always ends with the same books.

    ``outages`` are the days without a scheduler, counted from the first; ``None`` draws them from the seed.
    """

    weeks: int
    accounts: int
    seed: int
    instalments: int = 12
    faults: bool = True
    habits: Habits = field(default_factory=Habits)
    outages: Sequence[range] | None = None

    def days_without_scheduler(self) -> frozenset[date]:
        """The days on which nobody ticks."""
        outages = self.outages
        if outages is None:
            outages = plan_outages(Random(f"{self.seed}: outages"), 7 * self.weeks)  # noqa: S311
        return frozenset(FIRST_DAY + timedelta(days=day) for outage in outages for day in outage)


@dataclass(frozen=True, slots=True)
class History:
    """What happened beside the books: how each week ended, and what went wrong."""

    scenario: Scenario
    closings: Sequence[Closing]
    last_tick_on: date
    shortages: int
    accidents: Mapping[str, int]


def start() -> datetime:
    """The instant at which every simulation begins."""
    return _at(FIRST_DAY, 0)


def live_through(
    scenario: Scenario, engine: Engine, clock: Clock, *, tell: Callable[[Closing], None] = lambda _: None
) -> History:
    """Live the scenario's weeks on an empty database. ``tell`` is called at the end of each."""
    life = Life(
        Random(f"{scenario.seed}: life"),  # noqa: S311
        accounts=scenario.accounts,
        instalments=scenario.instalments,
        habits=scenario.habits,
    )
    away = scenario.days_without_scheduler()
    closings: list[Closing] = []
    last_tick_on = FIRST_DAY
    with ThreadPoolExecutor(WORKERS) as threads:
        # Accidents have a chance of their own, so that life is the same without them.
        unreliable = Unreliable(engine, clock, Random(f"{scenario.seed}: accidents"), threads)  # noqa: S311
        operation: Operation = unreliable if scenario.faults else Reliable(engine)
        _accept(engine, life.openings())
        for number in range(7 * scenario.weeks):
            day = FIRST_DAY + timedelta(days=number)
            clock.turn(_at(day, 6))
            _accept(engine, life.pay(number))
            if day not in away:
                clock.turn(_at(day, 8))
                operation.tick()
                last_tick_on = day
            operation.deliver()
            clock.turn(_at(day, 12))
            _accept(engine, life.wishes(read_owed(engine.pool)))
            operation.deliver()
            if number % 7 == 6:
                closings.append(read_closing(engine.pool, ends_on=day))
                tell(closings[-1])
    accidents = Counter({name: count for name, count in unreliable.accidents.items() if count})
    return History(scenario, closings, last_tick_on, life.shortages, accidents)


def _accept(engine: Engine, bodies: Sequence[CommandBody]) -> None:
    if bodies:
        engine.accept(*bodies)


def _at(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), tzinfo=UTC)
