"""`florin simulate`, and what it is for: weeks of advances with everything that goes wrong, and books that hold."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from cli.main import app
from cli.servers.process import wait_until
from cli.simulating.history import FIRST_DAY, Scenario
from cli.simulating.ledger import Entry, Ledger
from cli.simulating.life import PUNCTUAL, Habits
from cli.simulating.simulation import Simulation, simulate
from cli.simulating.verdict import judge
from cli.simulating.weeks import catch_ups
from processor.domain import advances
from processor.domain.advances import InstalmentState
from processor.domain.commands import Collect
from tests.conftest import Database
from tests.engine import add_clients
from tests.folders import throwaway_folder

SMALL: Final = Scenario(weeks=11, accounts=12, seed=0, instalments=8)
BROKE: Final = replace(PUNCTUAL, loses_pay=1, spends=1)
"""Nobody has an income, and what was lent is spent within days: but for a rest, which is less than anybody spends."""
PAID, MISSED, SCHEDULED = InstalmentState.PAID, InstalmentState.MISSED, InstalmentState.SCHEDULED
ACCIDENTS: Final = {
    "commands found by the sweeper",
    "messages divided",
    "messages lost",
    "messages repeated",
    "ticks repeated",
    "two schedulers at once",
    "workers killed",
}


@pytest.fixture
def no_scratch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command uses the test's own database, which is made sooner than a server."""

    @contextmanager
    def scratch_database() -> Iterator[str]:
        yield database.app_url

    add_clients(database)
    monkeypatch.setattr("cli.simulate.scratch_database", scratch_database)


def simulated(database: Database, scenario: Scenario) -> Simulation:
    """The scenario on a database of the test's."""
    add_clients(database)
    return simulate(scenario, database.app_url)


def emptied(database: Database) -> None:
    """Let the database forget, so that another history can be compared with the one that it has had."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        conn.execute("TRUNCATE command, account RESTART IDENTITY CASCADE")
        conn.execute("DELETE FROM client WHERE id > 0")
        conn.execute("ALTER TABLE client ALTER COLUMN id RESTART")


def schedules(ledger: Ledger) -> list[tuple[object, ...]]:
    """Every instalment of every account's advances, in order, without the positions that faults may shift."""
    return [
        (advance.account, each.number, each.due_on, each.amount_minor, each.rolled_minor, each.paid_minor, each.state)
        for advance in ledger.advances.values()
        for each in advance.instalments
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_books_hold_whatever_happens_in_the_weeks_of_an_advance(database: Database, seed: int) -> None:
    """Shortages, outages, early repayments and every accident of messages and workers, all in one history."""
    with capture_logs() as logs:
        simulation = simulated(database, replace(SMALL, seed=seed))

    assert [check for check in simulation.checks if not check.holds] == []
    # Without the accounts' locks the schema still keeps the books right, but workers get in each other's way.
    assert [line for line in logs if line["event"] == "batch.isolating"] == []
    # And all of it did happen.
    assert simulation.history.shortages > 0
    assert sum(week.days_without_scheduler for week in simulation.weeks) >= 7
    assert catch_ups(simulation.ledger) > 0
    for name in ("granted", "due", "collected", "missed", "repaid_early"):
        assert sum(getattr(week, name).count for week in simulation.weeks) > 0, name
    assert set(simulation.history.accidents) == ACCIDENTS


def test_a_history_with_faults_ends_with_the_same_books_as_without(database: Database) -> None:
    """Two schedulers, repeated ticks, flushed queues and dead workers cost time, and nobody a cent."""
    scenario = replace(SMALL, weeks=9, seed=5)
    faulty = simulated(database, scenario)
    emptied(database)
    smooth = simulated(database, replace(scenario, faults=False))

    assert set(faulty.history.accidents) == ACCIDENTS
    assert not smooth.history.accidents
    assert schedules(faulty.ledger) == schedules(smooth.ledger)
    assert faulty.ledger.balances == smooth.ledger.balances
    assert faulty.ledger.own_balances == smooth.ledger.own_balances
    assert faulty.history.closings == smooth.history.closings


@pytest.mark.parametrize("habits", [PUNCTUAL, BROKE], ids=["with the money", "without the money"])
def test_three_weeks_without_a_scheduler_end_as_if_each_had_been_decided_on_its_day(
    database: Database, habits: Habits
) -> None:
    """Weeks that were slept through are handled in their order: paid, or missed and rolled on to the next."""
    scenario = replace(SMALL, weeks=9, habits=habits, outages=[range(16, 37)], faults=False)
    late = simulated(database, scenario)
    emptied(database)
    timely = simulated(database, replace(scenario, outages=[]))

    assert [check for each in (late, timely) for check in each.checks if not check.holds] == []
    assert catch_ups(late.ledger) == SMALL.accounts
    assert catch_ups(timely.ledger) == 0
    assert any(week.missed.count for week in late.weeks) is (habits is BROKE)
    assert schedules(late.ledger) == schedules(timely.ledger)


def test_every_sentence_of_the_verdict_can_be_wrong(database: Database) -> None:
    """A check that nothing can fail says nothing: each is shown books that break its promise."""
    simulation = simulated(database, replace(SMALL, weeks=8, faults=False))
    ledger, last_tick_on = simulation.ledger, simulation.history.last_tick_on
    one, other = [
        entry for entry in ledger.entries.values() if isinstance(entry.command, Collect) and entry.status == "applied"
    ][:2]
    collection = next(move for move in ledger.moves if move.kind == "collection")
    name, balance = next(iter(ledger.balances.items()))
    receivable = "@advances_receivable:USD"
    broken = {
        "one outcome": with_entry(ledger, replace(one, status=None)),
        "none failed": with_entry(ledger, replace(one, status="failed")),
        "add up": with_instalment(ledger, PAID, amount_minor=1, paid_minor=1),
        "settled by one command": with_instalment(ledger, PAID, settled_by=one.command.position + 1),
        "by one command at most": with_entry(ledger, replace(other, command=one.command), at=other.command.position),
        "stand as its outcome says": with_instalment(ledger, PAID, state=MISSED),
        "as its outcome says": replace(ledger, moves=[*ledger.moves, collection]),
        "forgotten": with_instalment(ledger, SCHEDULED, due_on=last_tick_on),
        "receivable": replace(ledger, own_balances={**ledger.own_balances, receivable: -1}),
        "zero": replace(ledger, balances={**ledger.balances, name: balance + 1}),
        "naive lender": with_instalment(ledger, MISSED, rolled_minor=1),
    }

    assert all(check.holds for check in judge(ledger, last_tick_on=last_tick_on))
    for words, books in broken.items():
        assert [
            check.sentence
            for check in judge(books, last_tick_on=last_tick_on)
            if words in check.sentence and check.wrong
        ], words


def test_the_report_is_there_for_people_and_for_programs(no_scratch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every week with its figures, and every sentence of the verdict; the same seed has the same history."""
    arguments = ["simulate", "--weeks", "3", "--accounts", "4", "--seed", "1"]
    printed = CliRunner().invoke(app, arguments)
    monkeypatch.undo()
    document = json.loads(CliRunner().invoke(app, [*arguments, "--no-faults", "--json"]).stdout)

    assert printed.exit_code == 0, printed.output
    assert "Everything adds up." in printed.stdout
    assert document["adds_up"] is True
    assert document["accidents"] == {}
    assert [week["week"] for week in document["weeks"]] == [1, 2, 3]
    assert all(
        text in printed.stdout
        for week in document["weeks"]
        for text in (week["begins_on"], week["owed"], week["granted"]["amount"])
    )
    assert sum(week["days_without_scheduler"] for week in document["weeks"]) == 7
    assert "outage" in printed.stdout
    assert all(f"holds: {check['sentence']}" in printed.stdout for check in document["verdict"])


def test_a_rule_that_is_wrong_ends_the_command_with_1(no_scratch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The books may add up and be wrong all the same: the naive lender knows, and a script is told."""
    monkeypatch.setattr(advances, "split", lambda amount, count: [1] * (count - 1) + [amount - count + 1])
    result = CliRunner().invoke(app, ["simulate", "--weeks", "1", "--accounts", "20"])

    assert result.exit_code == 1
    assert "BROKEN: A naive lender" in result.stdout
    assert re.search("^  and [0-9]+ more$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("It does not add up.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_simulation_leaves_nothing_behind(number: signal.Signals) -> None:
    """Neither a server nor its folder: it was a scratch database."""
    with throwaway_folder() as folder:
        command = [sys.executable, "-m", "cli", "simulate", "--weeks", "520"]
        simulating = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)}, stderr=subprocess.PIPE)
        try:
            assert wait_until(lambda: bool(list(folder.glob("*/data/postgres.port"))), timeout_s=30)
            simulating.send_signal(number)
            said = simulating.communicate(timeout=30)[1]
        finally:
            simulating.kill()

        assert simulating.returncode == 130, said
        assert b"interrupted" in said
        assert b"Traceback" not in said
        assert list(folder.iterdir()) == []


def with_entry(ledger: Ledger, entry: Entry, *, at: int | None = None) -> Ledger:
    """The ledger with another entry at this command's position."""
    position = at or entry.command.position
    return replace(ledger, entries={**ledger.entries, position: replace(entry, decided_on=FIRST_DAY)})


def with_instalment(ledger: Ledger, of_state: InstalmentState, **change: Any) -> Ledger:
    """The ledger with another first instalment of this state."""
    advance, place = next(
        (advance, place)
        for advance in ledger.advances.values()
        for place, each in enumerate(advance.instalments)
        if each.state is of_state
    )
    instalments = list(advance.instalments)
    instalments[place] = replace(instalments[place], **change)
    return replace(ledger, advances={**ledger.advances, advance.id: replace(advance, instalments=tuple(instalments))})
