"""Runs every way several times, in turns, and prints medians beside the naive way."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.stage import stage
from benchmarks.ways import NAIVE_CONNECTIONS, WAYS, WORKERS
from benchmarks.workload import Workload


def compare(*, commands: int, accounts: int, runs: int, json_file: Path | None) -> None:
    """Print the table, and write it to ``json_file`` too if that is given."""
    # The naive way is much slower: a quarter of the commands gives a figure of the same length.
    sizes = {way: commands // 4 if way == "naive" else commands for way in WAYS}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with stage() as staged, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=runs * len(WAYS))
        for _ in range(runs):
            # In turns, so that a noisy minute hits all of them.
            for way, settle in WAYS.items():
                rates[way].append(sizes[way] / settle(staged, Workload(accounts, sizes[way])))
                progress.advance(task)
        with psycopg.connect(staged.servers.owner_url) as conn:
            durable = {
                name: conn.execute("SELECT current_setting(%s)", [name]).fetchone()
                for name in ("fsync", "synchronous_commit", "full_page_writes")
            }
            postgres = conn.info.parameter_status("server_version")
    figures = {
        way: {
            "settled_per_s": round(median(each)),
            "spread": [round(min(each)), round(max(each))],
            "of_naive": round(median(each) / median(rates["naive"]), 1),
        }
        for way, each in rates.items()
    }
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgres": postgres,
        "dramatiq": version("dramatiq"),
        "durable": {name: value and value[0] for name, value in durable.items()},
    }
    report = {"commands": commands, "accounts": accounts, "runs": runs, "machine": machine, "figures": figures}
    _print(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


def _print(report: dict[str, Any]) -> None:
    machine = report["machine"]
    table = Table(
        title=f"{report['commands']} commands on {report['accounts']} accounts, median of {report['runs']} runs",
        caption=f"{machine['cores']} cores with everything on them, {WORKERS} worker processes, "
        f"Postgres {machine['postgres']} {machine['durable']}, naive: {NAIVE_CONNECTIONS} connections",
    )
    for column in ("way", "settled/s", "lowest", "highest", "x naive"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, figure in report["figures"].items():
        low, high = figure["spread"]
        table.add_row(way, f"{figure['settled_per_s']:,}", f"{low:,}", f"{high:,}", f"{figure['of_naive']:.1f}")
    Console().print(table)
