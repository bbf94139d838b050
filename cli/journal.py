"""`florin journal`: the whole journal for beancount or hledger, with what each account has at its end."""

from typing import Annotated

import typer
from rich.console import Console

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.periods import FromOn, ToOn, period_of
from cli.settings import settings_of
from cli.writing import Output, write
from processor import clock
from processor.journal.export import Format, export


def journal(
    *,
    format_: Annotated[Format, typer.Option("--format", help="The program that is to read it.")],
    from_on: FromOn = None,
    to_on: ToOn = None,
    output: Output = None,
    data_dir: DataDir = None,
) -> None:
    """
    Write every transfer as a transaction of plain text accounting.

    Balances at the end are the bank's own figures: the program that reads the file finds out whether they are what the
    transfers add up to. Days are those of FLORIN_BUSINESS_ZONE.
    """
    database_url = addresses.database(data_dir)
    period = period_of(from_on, to_on, settings_of(database_url).rules().zone)
    now = clock.now()
    if period.from_on and now < period.starts_at:
        fail(f"the period begins on {period.from_on}: that is in the future", exit_code=2)
    console = Console(stderr=True)
    with (
        console.status("writing") as status,
        connected(database_url, "florin journal") as conn,
    ):
        parts = export(
            *(conn, format_, period), now=now, tell=lambda count: status.update(f"writing: {count:,} entries")
        )
        write(parts, output)
