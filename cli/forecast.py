"""`florin forecast`: what will be collected in the next weeks, and who will probably miss at today's balances."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.settings import settings_of
from cli.tables import count_and_amount, figure, print_table
from processor import clock
from processor.domain.advances import WEEK
from processor.forecast import Forecast, WeekTotal
from processor.forecast import forecast as foretell
from processor.money import exponent, format_amount

LONGEST_WEEKS: Final = 104


def forecast(
    *,
    weeks: Annotated[int, typer.Option(min=1, max=LONGEST_WEEKS, help="Weeks to look ahead, from today on.")] = 4,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code, such as USD.", show_default="all")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Advances to name of those that will probably miss.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the forecast as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Say what will be collected, from whom, and what will probably be missed.

    Runs the rules ahead of the days, as if from now on nobody paid in or out: a miss is added to the next instalment,
    as it will be. Nothing is changed. The rules are read from this command's environment, which should be the workers'.
    """
    if currency is not None:
        try:
            exponent(currency)
        except ValueError as error:
            fail(f"--currency: {error}", exit_code=2)
    database_url = addresses.database(data_dir)
    rules = settings_of(database_url).rules()
    now = clock.now()
    # A million advances take minutes: each week of each is decided.
    with Console(stderr=True).status("looking ahead"), connected(database_url, "florin forecast") as conn:
        foretold = foretell(conn, now=now, weeks=weeks, rules=rules, currency=currency, limit=limit)
    today = rules.business_date(now)
    if as_json:
        typer.echo(orjson.dumps(_document(foretold, today), option=orjson.OPT_INDENT_2))
        return
    if not foretold.weeks:
        typer.echo(f"Nothing comes to be due before {today + weeks * WEEK}.")
        return
    print_table(_weeks(foretold.weeks, today))
    if foretold.misses:
        print_table(_misses(foretold))
    typer.echo(_sentence(foretold))


def _weeks(weeks: Sequence[WeekTotal], today: date) -> Table:
    in_parts = any(each.collected + each.missed > each.due for each in weeks)
    table = Table(
        title="Collected week by week, if nobody pays in or out",
        title_justify="left",
        caption="An instalment that is collected in part is counted in both columns." if in_parts else None,
        caption_justify="left",
    )
    for name in ("from", "currency"):
        table.add_column(name)
    for name in ("due", "will be collected", "will probably miss"):
        table.add_column(name, justify="right")
    for each in weeks:
        table.add_row(
            str(today + each.week * WEEK),
            each.currency,
            count_and_amount(each.due, each.due_minor, each.currency),
            count_and_amount(each.collected, each.collected_minor, each.currency),
            count_and_amount(each.missed, each.missed_minor, each.currency),
        )
    return table


def _misses(foretold: Forecast) -> Table:
    table = Table(title="The first instalment that each of these will probably miss", title_justify="left")
    for name in ("account", "advance", "due on", "currency"):
        table.add_column(name)
    for name in ("amount", "available", "short by"):
        table.add_column(name, justify="right")
    table.add_column("why")
    for each in foretold.misses:
        amounts = (each.amount_minor, each.available_minor, each.short_by_minor)
        table.add_row(
            each.account,
            str(foretold.advance_ids[each.advance]),
            str(each.due_on),
            each.currency,
            *(format_amount(amount_minor, each.currency) for amount_minor in amounts),
            each.reason.value if each.reason else "",
        )
    return table


def _sentence(foretold: Forecast) -> str:
    if not foretold.missing_advances:
        return "Every instalment will be collected."
    more = foretold.missing_advances - len(foretold.misses)
    words = f"Of all advances, {foretold.missing_advances:,} will probably miss an instalment"
    return f"{words}; {more:,} more than are named here." if more else f"{words}."


def _document(foretold: Forecast, today: date) -> dict[str, Any]:
    """The forecast for a program. Amounts are decimal strings."""
    return {
        "from": today,
        "weeks": [
            {
                "from": today + each.week * WEEK,
                "currency": each.currency,
                "due": figure(each.due, each.due_minor, each.currency),
                "collected": figure(each.collected, each.collected_minor, each.currency),
                "missed": figure(each.missed, each.missed_minor, each.currency),
            }
            for each in foretold.weeks
        ],
        "missing_advances": foretold.missing_advances,
        "misses": [
            {
                "account": each.account,
                "advance_id": foretold.advance_ids[each.advance],
                "instalment": each.number,
                "due_on": each.due_on,
                "currency": each.currency,
                "amount": format_amount(each.amount_minor, each.currency),
                "available": format_amount(each.available_minor, each.currency),
                "short_by": format_amount(each.short_by_minor, each.currency),
                "reason": each.reason.value if each.reason else None,
            }
            for each in foretold.misses
        ],
    }
