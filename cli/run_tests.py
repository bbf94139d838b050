"""`florin test`: pytest, with every argument as it was given."""

import os
import sys
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand

ROOT: Final = Path(__file__).resolve().parents[1]

app = typer.Typer(add_completion=False)


class Verbatim(TyperCommand):
    """Leaves every argument to pytest: -k, -x, -- and --help are its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = args
        return []


@app.command("test", cls=Verbatim)
def run_tests(ctx: typer.Context) -> None:
    """Run the tests; `-m slow` the few others that take long. All arguments go to pytest."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *ctx.args])  # noqa: S606
