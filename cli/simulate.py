"""`florin simulate`: advances through their whole life on a simulated clock, in seconds, and whether the books hold."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cli.failing import fail
from cli.servers import ServersError
from cli.simulating import simulation
from cli.simulating.history import Scenario
from cli.simulating.ledger import Closing
from cli.simulating.life import CURRENCY
from cli.simulating.scratch import scratch_database
from cli.simulating.simulation import Simulation
from cli.simulating.weeks import Figure, Week, catch_ups
from cli.tables import count_and_amount, figure, print_table
from processor import logs
from processor.money import format_amount

INTERRUPTED: Final = 130
_WRONG_SHOWN: Final = 5
_FIGURES: Final = ("granted", "due", "collected", "missed", "repaid_early", "written_off")


def simulate(
    *,
    weeks: Annotated[int, typer.Option(min=1, max=520, help="Weeks to live through.")] = 14,
    accounts: Annotated[int, typer.Option(min=1, max=10_000, help="Customers, each with an account.")] = 200,
    seed: Annotated[int, typer.Option(help="What chance is drawn from: the same seed ends with the same books.")] = 7,
    instalments: Annotated[int, typer.Option(min=1, max=104, help="Weeks in which an advance is repaid.")] = 12,
    no_faults: Annotated[
        bool, typer.Option("--no-faults", help="No lost messages, killed workers or second schedulers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """
    Live through weeks of advances on a scratch database, with shortages, outages, early repayments and faults.

    Prints every week, and a verdict on the books. Exits with 1 if they do not hold what they promise.
    """
    logs.for_a_command()
    scenario = Scenario(weeks, accounts, seed, instalments, faults=not no_faults)
    try:
        with (
            Console(stderr=True).status("making a scratch database") as status,
            scratch_database() as database_url,
        ):

            def tell(closing: Closing) -> None:
                status.update(f"lived through to {closing.ends_on}")

            simulated = simulation.simulate(scenario, database_url, tell=tell)
    except ServersError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted: the scratch database is gone", exit_code=INTERRUPTED)
    if as_json:
        typer.echo(orjson.dumps(_document(simulated), option=orjson.OPT_INDENT_2))
    else:
        print_table(_table(simulated))
        typer.echo("\n".join(_sentences(simulated)))
    raise typer.Exit(0 if simulated.adds_up else 1)


def _table(simulated: Simulation) -> Table:
    table = Table(title=f"Advances week by week, in {CURRENCY}", title_justify="left")
    for name in ("week", "from"):
        table.add_column(name)
    for name in (*_FIGURES, "owed", "in arrears"):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("")
    for week in simulated.weeks:
        table.add_row(
            str(week.number),
            str(week.begins_on),
            *(count_and_amount(*_figure(week, name)) for name in _FIGURES),
            _amount(week.owed_minor),
            f"{week.accounts_in_arrears:,}",
            _outage(week),
        )
    return table


def _sentences(simulated: Simulation) -> Iterator[str]:
    """The verdict for a person."""
    history = simulated.history
    yield (
        f"Paydays without pay: {history.shortages:,}. Several instalments of an advance due at once, after an outage: "
        f"{catch_ups(simulated.ledger):,}."
    )
    if history.accidents:
        yield f"Accidents: {', '.join(f'{name} {count:,}' for name, count in sorted(history.accidents.items()))}."
    for check in simulated.checks:
        yield f"{'holds' if check.holds else 'BROKEN'}: {check.sentence}"
        yield from (f"  {wrong}" for wrong in check.wrong[:_WRONG_SHOWN])
        if len(check.wrong) > _WRONG_SHOWN:
            yield f"  and {len(check.wrong) - _WRONG_SHOWN:,} more"
    yield "Everything adds up." if simulated.adds_up else "It does not add up."


def _document(simulated: Simulation) -> dict[str, Any]:
    """The report for a program. Amounts are decimal strings."""
    scenario = simulated.history.scenario
    return {
        "adds_up": simulated.adds_up,
        "seed": scenario.seed,
        "accounts": scenario.accounts,
        "instalments": scenario.instalments,
        "currency": CURRENCY,
        "weeks": [
            {
                "week": week.number,
                "begins_on": week.begins_on,
                "days_without_scheduler": week.days_without_scheduler,
                **{name: figure(*_figure(week, name)) for name in _FIGURES},
                "owed": _amount(week.owed_minor),
                "accounts_in_arrears": week.accounts_in_arrears,
            }
            for week in simulated.weeks
        ],
        "shortages": simulated.history.shortages,
        "catch_ups": catch_ups(simulated.ledger),
        "accidents": dict(simulated.history.accidents),
        "verdict": [
            {"sentence": check.sentence, "holds": check.holds, "wrong": list(check.wrong)} for check in simulated.checks
        ],
    }


def _figure(week: Week, name: str) -> tuple[int, int, str]:
    found: Figure = getattr(week, name)
    return found.count, found.amount_minor, CURRENCY


def _outage(week: Week) -> str:
    if not week.days_without_scheduler:
        return ""
    return "outage" if week.days_without_scheduler == 7 else f"outage, {week.days_without_scheduler} days"


def _amount(amount_minor: int) -> str:
    return format_amount(amount_minor, CURRENCY)
