"""`florin check`: everything that CI checks, here. One failure does not hide the next: all are run, then summed up."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
BESIDE_PYTHON: Final = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Step:
    """One thing to check, and the command that checks it."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Result:
    """How a step ended. A tool that is not there is a failure, not something to skip."""

    step: Step
    exit_code: int
    seconds: float

    @property
    def passed(self) -> bool:
        return self.exit_code == 0


def check(
    fix: Annotated[bool, typer.Option("--fix", help="Let ruff format and mend what it can, first.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Leave the tests out.")] = False,
) -> None:
    """Run what CI runs: format, lint, types, layers, migrations, shell scripts and the tests."""
    console = Console(highlight=False)
    results = run_all(steps(fix=fix, fast=fast), console)
    console.print(_summary(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def steps(*, fix: bool, fast: bool) -> Iterator[Step]:
    """The checks, the quick ones first."""
    if fix:
        yield Step("ruff format, mending", ["ruff", "format"])
        yield Step("ruff check, mending", ["ruff", "check", "--fix"])
    yield Step("format", ["ruff", "format", "--check"])
    yield Step("lint", ["ruff", "check"])
    yield Step("types", ["mypy"])
    yield Step("types of the launcher", ["mypy", "florin"])
    yield Step("layers", ["lint-imports"])
    yield Step("migrations", ["squawk", *sorted(str(path) for path in ROOT.glob("migrations/*.sql"))])
    yield Step("shell scripts", ["shellcheck", *shell_scripts()])
    if not fast:
        yield Step("tests", ["python", "-m", "pytest", "-m", "slow or not slow"])


def shell_scripts() -> list[str]:
    """Every file that git knows, or would, and that begins by naming a shell. Without any, shellcheck fails."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    names = sorted(name for name in listed.stdout.decode().split("\0") if name)
    return [name for name in names if (ROOT / name).is_file() and _names_a_shell(ROOT / name)]


def run_all(to_run: Iterator[Step], console: Console) -> list[Result]:
    """Run each step whatever became of those before it. Its output goes straight through."""
    return [_run(step, console) for step in to_run]


def _run(step: Step, console: Console) -> Result:
    console.rule(f"[bold]{step.name}", align="left")
    program, *arguments = step.command
    found = shutil.which(program, path=BESIDE_PYTHON) or shutil.which(program)
    started = time.monotonic()
    if found is None:
        console.print(f"{program} is not installed: it comes with requirements/dev.lock.")
        return Result(step, 127, 0.0)
    done = subprocess.run([found, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    return Result(step, done.returncode, time.monotonic() - started)


def _names_a_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(80).split()
    return bool(first) and first[0].startswith(b"#!") and any(word.endswith((b"/sh", b"bash")) for word in first)


def _summary(results: Sequence[Result]) -> Table:
    table = Table("check", "result", "seconds", title="florin check", title_justify="left")
    for result in results:
        verdict = "[green]passed" if result.passed else f"[bold red]failed ({result.exit_code})"
        table.add_row(result.step.name, verdict, f"{result.seconds:.1f}")
    return table
