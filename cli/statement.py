"""`florin statement`: an account's statement of a month, as CSV or as a PDF that a customer could be sent."""

import sys
from typing import Annotated, Literal

import typer

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.periods import FromOn, Month, ToOn, period_of
from cli.settings import settings_of
from cli.writing import Output, write
from processor import clock
from processor.account_statements.statement import NotBegunError, UnknownAccountError, make, pages, reader
from processor.account_statements.to_csv import to_csv
from processor.account_statements.to_pdf import TooLongError, to_pdf
from processor.errors import BooksError


def statement(
    account: Annotated[str, typer.Argument(help="A customer's account.")],
    *,
    month: Month = None,
    from_on: FromOn = None,
    to_on: ToOn = None,
    format_: Annotated[Literal["csv", "pdf"], typer.Option("--format", help="What to write.")] = "csv",
    output: Output = None,
    data_dir: DataDir = None,
) -> None:
    """
    Write an account's statement of a month, or of any days.

    Days are those of FLORIN_BUSINESS_ZONE. A period that is not over is told as it is now, and says so.
    """
    if month is None and not (from_on and to_on):
        fail("give --month, or --from and --to", exit_code=2)
    if format_ == "pdf" and output is None and sys.stdout.isatty():
        fail("a PDF is nothing for a terminal: give --output FILE", exit_code=2)
    database_url = addresses.database(data_dir)
    settings = settings_of(database_url)
    period = period_of(from_on, to_on, settings.rules().zone, month=month)
    with connected(database_url, "florin statement") as conn:
        try:
            made = make(conn, account, period, zone_name=settings.business_zone, now=clock.now())
            if format_ == "pdf":
                write([to_pdf(made, pages(made, reader(conn)), bank=settings.bank_name)], output)
            else:
                write(to_csv(made, pages(made, reader(conn))), output)
        except (UnknownAccountError, NotBegunError, TooLongError) as error:
            fail(str(error), exit_code=2)
        except BooksError as error:
            fail(str(error))
