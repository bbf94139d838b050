"""`florin bench`: what Florin settles per second, as a ratio to the naive way in the same run."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare import compare


def bench(
    commands: Annotated[int, typer.Option(help="Commands of one run.")] = 20_000,
    accounts: Annotated[int, typer.Option(help="Accounts that they touch, evenly.")] = 1_000,
    runs: Annotated[int, typer.Option(help="Runs of each way; the medians count.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file as well.")] = None,
) -> None:
    """Settle the same commands three ways on this machine, with durable settings, and compare."""
    compare(commands=commands, accounts=accounts, runs=runs, json_file=json)
