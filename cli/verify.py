"""`florin verify`: is all that was sealed still as it was, and is it what others keep the hashes of?"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from processor import publishing, verifying
from processor.errors import BooksError
from processor.publishing import UnreadableError
from processor.verifying import Difference, Report

_STATEMENTS: Final = "60s"
"""Nobody waits for these statements, and no lock is held: on a large table, counting takes its time."""


def verify(
    *,
    against: Annotated[
        Path | None, typer.Option(help="A file of blocks that was kept elsewhere, as FLORIN_SEAL_FILE is written.")
    ] = None,
    first: Annotated[int, typer.Option("--from", min=1, help="The first block to look at.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Recompute every sealed block from the rows as they are now. Exits with 1 on any difference.

    Without --against, whoever owns the database could have rewritten the rows and all blocks with them.
    """
    console = Console(stderr=True)
    with (
        console.status("verifying") as status,
        connected(addresses.database(data_dir), "florin verify") as conn,
    ):
        conn.execute(f"SET statement_timeout = '{_STATEMENTS}'; SET transaction_timeout = '{_STATEMENTS}'")
        try:
            report = verifying.verify(
                conn,
                first=first,
                published=publishing.read(against) if against else (),
                tell=lambda leaves: status.update(f"verifying: {leaves:,} settled commands so far"),
            )
        except (BooksError, UnreadableError) as error:
            fail(str(error))
        except OSError as error:
            fail(f"{against} cannot be read: {error.strerror}", exit_code=2)
    newest = report.newest.header.number if report.newest else 0
    if 1 < first > newest:
        fail(f"--from {first}: the newest block is {newest}", exit_code=2)
    if against is not None and report.published == 0:
        fail(f"{against} has no block in it: there is nothing to compare with", exit_code=2)
    if as_json:
        typer.echo(orjson.dumps(_document(report), option=orjson.OPT_INDENT_2))
    else:
        _print(report, against)
    raise typer.Exit(1 if report.count else 0)


def _print(report: Report, against: Path | None) -> None:
    if report.newest is None:
        typer.echo("Nothing is sealed yet: the scheduler's job `seal` does it.")
    else:
        header = report.newest.header
        typer.echo(
            f"Blocks {report.first} to {header.number}: {report.leaves:,} settled commands recomputed.\n"
            f"Newest block: sealed at {_second(header.sealed_at)}, hash {report.newest.hash.hex()}"
        )
    more = " or more" if report.more_unsealed else ""
    typer.echo(f"Not sealed yet: {report.unsealed:,}{more} outcomes.")
    if against is not None:
        typer.echo(f"Compared with {report.published:,} published blocks of {against}.")
    elif report.newest is not None:
        typer.echo("Compared with no published block: give --against a file that the database's owner cannot write.")
    for each in report.differences:
        typer.echo(f"DIFFERS: {_line(each)}")
    if report.count > len(report.differences):
        typer.echo(f"DIFFERS: in {report.count - len(report.differences):,} more places")
    typer.echo("Everything is as it was sealed." if not report.count else f"{report.count:,} differences.")


def _line(difference: Difference) -> str:
    where = []
    if difference.block is not None:
        where.append(f"block {difference.block}")
    if difference.position is not None:
        where.append(f"position {difference.position}")
    if difference.command_id is not None:
        where.append(f"command {difference.command_id}")
    return f"{', '.join(where)}: {difference.what}" if where else difference.what


def _document(report: Report) -> dict[str, Any]:
    newest = report.newest
    return {
        "history": report.history,
        "from": report.first,
        "newest": {**newest.header.fields(), "hash": newest.hash.hex()} if newest else None,
        "blocks": report.blocks,
        "leaves": report.leaves,
        "published": report.published,
        "unsealed": report.unsealed,
        "unsealed_is_complete": not report.more_unsealed,
        "differences": report.count,
        "listed": [
            {"block": each.block, "position": each.position, "command_id": each.command_id, "what": each.what}
            for each in report.differences
        ],
    }


def _second(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
