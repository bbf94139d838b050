"""`florin reconcile`: a bank's statement beside the books: what agrees, what does not, and since when."""

import logging
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import orjson
import structlog
import typer
from psycopg import Connection
from rich.console import Console

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.reconciling.showing import ageing_table, breaks_table, document, sentence, totals_table
from cli.settings import settings_of
from cli.tables import print_table
from cli.who import who
from processor import clock, money
from processor.domain.matching import Limits
from processor.domain.rules import Rules
from processor.reconciliation.by_hand import CannotError, match_by_hand, read_transfer, unmatch
from processor.reconciliation.importing import Imported, check_bank_account
from processor.reconciliation.mapping import read_mapping
from processor.reconciliation.reading import Format, read_bytes, read_statement
from processor.reconciliation.reconciling import Settlement
from processor.reconciliation.reconciling import reconcile as do_reconcile
from processor.reconciliation.reporting import report, to_csv
from processor.reconciliation.statements import FileError, Statement

LONGEST_WINDOW_DAYS: Final = 31


def reconcile(
    file: Annotated[Path | None, typer.Argument(help="The statement. Left out: report what is known.")] = None,
    *,
    account: Annotated[
        str | None, typer.Option(help="The bank account that the statement is of; a name of yours.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="What the file is.")] = "auto",
    mapping: Annotated[Path | None, typer.Option(help="How a CSV is to be read: a TOML or JSON file.")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code: what the statement is in.")] = None,
    tolerance: Annotated[
        str, typer.Option(help="How much two equal amounts may differ, in the statement's currency.")
    ] = "0",
    window: Annotated[
        int, typer.Option(min=0, max=LONGEST_WINDOW_DAYS, help="Days between bank and books, without a reference.")
    ] = Limits().window_days,
    match_: Annotated[
        tuple[int, str] | None,
        typer.Option(
            "--match", metavar="LINE TRANSFER", help='By hand: this line is for that transfer, such as "17.1".'
        ),
    ] = None,
    unmatch_: Annotated[int | None, typer.Option("--unmatch", metavar="LINE", help="Take a line's match back.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, of --match and --unmatch.")] = None,
    report_: Annotated[Literal["table", "csv", "json"], typer.Option("--report", help="How to report.")] = "table",
    limit: Annotated[int, typer.Option(min=0, help="Breaks to name in a table.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """
    Compare a bank's or PSP's statement with the books.

    Imports the file, matches its lines with deposits and withdrawals, and reports what is not as it should be. A file
    that was imported before is not imported again, and lines that two files share are there once. Exits with 1 if
    there are differences, with 2 for a file or an option that is wrong; a bad file is rejected whole.
    """
    _check_options(file, account, match_, unmatch_, reason)
    if currency is not None:
        try:
            money.exponent(currency)
        except ValueError as error:
            fail(f"--currency: {error}", exit_code=2)
    # What is wrong with a file is said before the database is looked for.
    read = _read(file, format_, mapping, currency) if file is not None else None
    limits = _limits(tolerance, window, read[0].currency) if read else Limits()
    database_url = addresses.database(data_dir)
    rules = settings_of(database_url).rules()
    imported: Imported | None = None
    # The report names every break: a line of log for the alert of each would bury it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with connected(database_url, "florin reconcile") as conn:
        if match_ is not None or unmatch_ is not None:
            _by_hand(conn, match_, unmatch_, reason or "", rules)
            return
        if file is not None and read is not None and account is not None:
            imported, settlement = _reconcile(conn, read, file=file, account=account, limits=limits, rules=rules)
            typer.echo(sentence(imported, settlement), err=report_ != "table")
        now = clock.now()
        of = imported.file.currency if imported else currency
        found = report(conn, now=now, currency=of, breaks=limit if report_ == "table" else None)
    if report_ == "csv":
        typer.echo(to_csv(found.breaks, now), nl=False)
    elif report_ == "json":
        typer.echo(orjson.dumps(document(found, imported), option=orjson.OPT_INDENT_2))
    else:
        print_table(totals_table(found.totals))
        if found.break_count:
            print_table(ageing_table(found.ageing))
            print_table(breaks_table(found.breaks, now))
            if (more := found.break_count - len(found.breaks)) > 0:
                typer.echo(f"{more:,} more: --limit {found.break_count}, or --report csv, names them all.")
        else:
            typer.echo("No differences.")
    raise typer.Exit(1 if found.break_count else 0)


def _check_options(file: Path | None, account: str | None, match: object, unmatch: object, reason: str | None) -> None:
    by_hand = [option for option, given in (("--match", match), ("--unmatch", unmatch)) if given is not None]
    if len(by_hand) + (file is not None) > 1:
        fail("give one of FILE, --match and --unmatch", exit_code=2)
    if by_hand and not reason:
        fail(f"{by_hand[0]} needs --reason: others will ask why", exit_code=2)
    if reason and not by_hand:
        fail("--reason is for --match and --unmatch", exit_code=2)
    if file is not None and account is None:
        fail("--account is missing: name the bank account that the statement is of", exit_code=2)
    if account is not None:
        try:
            check_bank_account(account)
        except ValueError as error:
            fail(f"--account: {error}", exit_code=2)


def _read(file: Path, format: Format, mapping: Path | None, currency: str | None) -> tuple[Statement, bytes]:
    try:
        read_by = read_mapping(mapping) if mapping else None
        data = read_bytes(file)
        return read_statement(data, format=format, mapping=read_by, currency=currency), data
    except FileError as error:
        _reject(file, error)


def _limits(tolerance: str, window: int, currency: str) -> Limits:
    try:
        return Limits(tolerance_minor=money.parse_amount(tolerance, currency, zero=True), window_days=window)
    except ValueError as error:
        fail(f"--tolerance: {error}", exit_code=2)


def _reconcile(
    conn: Connection, read: tuple[Statement, bytes], *, file: Path, account: str, limits: Limits, rules: Rules
) -> tuple[Imported, Settlement | None]:
    with Console(stderr=True).status("matching"):
        try:
            done = do_reconcile(
                conn,
                *read,
                name=file.name,
                bank_account=account,
                limits=limits,
                zone=rules.zone,
                by=who(None),
                now=clock.now(),
            )
        except FileError as error:
            _reject(file, error)
    return done.imported, done.settlement


def _by_hand(
    conn: Connection, match: tuple[int, str] | None, unmatch_line: int | None, reason: str, rules: Rules
) -> None:
    try:
        if match is not None:
            line, transfer = match[0], read_transfer(match[1])
            match_by_hand(conn, line, transfer, reason=reason, by=who(None), now=clock.now())
            typer.echo(f"Line {line} is matched with transfer {transfer[0]}.{transfer[1]}.")
        elif unmatch_line is not None:
            pairs = unmatch(conn, unmatch_line, zone=rules.zone, reason=reason, by=who(None), now=clock.now())
            typer.echo(f"Line {unmatch_line} is not matched any more; {pairs} taken apart.")
    except (CannotError, ValueError) as error:
        fail(str(error), exit_code=2)


def _reject(file: Path, error: FileError) -> NoReturn:
    fail(f"{file} is rejected, and nothing was imported:\n{error}", exit_code=2)
