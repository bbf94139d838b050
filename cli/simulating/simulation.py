"""A whole simulation: a scenario is lived through on a database, and the books are judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.simulating.clock import Clock
from cli.simulating.engine import Engine
from cli.simulating.history import History, Scenario, live_through, start
from cli.simulating.ledger import Closing, Ledger, read_ledger
from cli.simulating.operating import WORKERS
from cli.simulating.verdict import Check, judge
from cli.simulating.weeks import Week, weeks_of
from processor.domain.rules import Rules


@dataclass(frozen=True, slots=True)
class Simulation:
    """What happened, what the books say, and whether they hold what they promise."""

    history: History
    ledger: Ledger
    weeks: Sequence[Week]
    checks: Sequence[Check]

    @property
    def adds_up(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def simulate(scenario: Scenario, database_url: str, *, tell: Callable[[Closing], None] = lambda _: None) -> Simulation:
    """Run the scenario on a migrated database without any command. ``tell`` is called at the end of each week."""
    clock = Clock(start())
    with Engine.running(database_url, now=clock.now, rules=Rules(), threads=WORKERS + 1) as engine:
        history = live_through(scenario, engine, clock, tell=tell)
        ledger = read_ledger(engine.pool)
    weeks = weeks_of(ledger, history.closings, scenario.days_without_scheduler())
    return Simulation(history, ledger, weeks, judge(ledger, last_tick_on=history.last_tick_on))
