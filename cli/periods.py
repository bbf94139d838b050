"""The options --month, --from and --to, as the commands that write statements and journals take them."""

from datetime import date, tzinfo
from typing import Annotated

import typer

from cli.failing import fail
from processor.periods import Period

Month = Annotated[str | None, typer.Option(metavar="YYYY-MM", help="A month, such as 2026-11.")]
FromOn = Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day.")]
ToOn = Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day, which is included.")]


def period_of(from_on: str | None, to_on: str | None, zone: tzinfo, *, month: str | None = None) -> Period:
    """The period that the options name."""
    try:
        if month is not None:
            if from_on or to_on:
                fail("give --month, or --from and --to", exit_code=2)
            return Period.of_month(month, zone)
        return Period(_day("--from", from_on), _day("--to", to_on), zone)
    except ValueError as error:
        fail(str(error), exit_code=2)


def _day(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError:
        fail(f"{option}: no day: {text!r}; give one such as 2026-11-20", exit_code=2)
