"""`florin replay`: real transactions from a file through the HTTP intake, and the proof that each counts once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import addresses
from cli.addresses import DataDir
from cli.client import Client, ClientError
from cli.failing import fail
from cli.replaying import sending
from cli.replaying.transactions import FileError, Transaction, read_transactions
from cli.replaying.verdict import Verdict, document, judge, sentences
from processor.money import exponent, parse_amount

INTERRUPTED: Final = 130


def replay(
    file: Annotated[Path, typer.Argument(help="CSV with the columns id, account, date, type and amount.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code of its amounts, such as CZK.")],
    *,
    overdraft_limit: Annotated[str, typer.Option(help="How far below zero each account may go.")] = "0",
    data_dir: DataDir = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to keep trying while the API is away or nothing settles.")
    ] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Send a file of transactions, wait until all are settled, and prove that each was applied exactly once."""
    try:
        exponent(currency)
    except ValueError as error:
        fail(f"--currency: {error}", exit_code=2)
    try:
        overdraft_limit_minor = parse_amount(overdraft_limit, currency, zero=True)
    except ValueError as error:
        fail(f"--overdraft-limit: {error}", exit_code=2)
    try:
        transactions = read_transactions(file, currency)
    except FileError as error:
        fail(str(error))
    url, key = addresses.api(data_dir)
    try:
        verdict = asyncio.run(
            _replay(
                url,
                key,
                transactions,
                currency=currency,
                overdraft_limit_minor=overdraft_limit_minor,
                patience_s=patience,
            )
        )
    except ClientError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(
            "interrupted. Nothing is lost: what was accepted is settled without this command, and the same command "
            "again continues where it stopped",
            exit_code=INTERRUPTED,
        )
    typer.echo(
        orjson.dumps(document(verdict), option=orjson.OPT_INDENT_2) if as_json else "\n".join(sentences(verdict))
    )
    raise typer.Exit(0 if verdict.adds_up else 1)


async def _replay(
    url: str,
    key: str,
    transactions: Sequence[Transaction],
    *,
    currency: str,
    overdraft_limit_minor: int,
    patience_s: float,
) -> Verdict:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        sent, settled = (progress.add_task(name, total=None) for name in ("sent", "settled"))

        def tell(expected: int, received: int, done: int) -> None:
            progress.update(sent, total=expected, completed=received)
            progress.update(settled, total=expected, completed=done)

        async with Client(url, key, patience_s=patience_s) as client:
            replayed = await sending.replay(
                client,
                transactions,
                currency=currency,
                overdraft_limit_minor=overdraft_limit_minor,
                patience_s=patience_s,
                tell=tell,
            )
    return judge(transactions, replayed, currency)
