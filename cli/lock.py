"""`florin lock`: write requirements/*.lock anew from pyproject.toml.
All three or none: they are made in a temporary folder and moved over together."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

ROOT: Final = Path(__file__).resolve().parents[1]

LAYERS: Final[dict[str, tuple[str, ...]]] = {
    "requirements/runtime.lock": (),
    "requirements/local.lock": ("--group", "local", "-c", "requirements/runtime.lock"),
    "requirements/dev.lock": ("--group", "dev", "-c", "requirements/local.lock"),
}  # In this order: each keeps to the versions of the one before, so what is tested is what runs.

COMPILE: Final = (
    *("pip", "compile", "pyproject.toml", "--quiet", "--generate-hashes"),
    *("--universal", "--python-version", "3.11"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-header"),
)


def lock(
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest versions that pyproject.toml allows.")
    ] = False,
) -> None:
    """Write the locked, hashed requirements anew from pyproject.toml. Needs a package index."""
    uv = _find_uv()
    with tempfile.TemporaryDirectory(prefix="florin-lock-") as folder:
        work = Path(folder)
        shutil.copy(ROOT / "pyproject.toml", work)
        shutil.copytree(ROOT / "requirements", work / "requirements")
        for name, options in LAYERS.items():
            typer.echo(f"compiling {name}")
            command = [uv, *COMPILE, *options, *(["--upgrade"] if upgrade else []), "--output-file", name]
            done = subprocess.run(command, cwd=work, env=environment_of_uv(), stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                typer.echo(f"uv could not compile {name}; the lock files are as they were.", err=True)
                raise typer.Exit(1)
            refuse_addresses(name, (work / name).read_text())
        for name in LAYERS:
            shutil.copy(work / name, ROOT / name)
    typer.echo("The lock files are in step with pyproject.toml.")


def environment_of_uv() -> dict[str, str]:
    """Everything but the folders of wheels on this machine: a hash of a wheel built here fits nowhere else."""
    return {name: value for name, value in os.environ.items() if name not in {"UV_FIND_LINKS", "PIP_FIND_LINKS"}}


def refuse_addresses(name: str, text: str) -> None:
    """A lock names packages, versions and hashes. Where they come from is the business of who installs them."""
    for number, line in enumerate(text.splitlines(), start=1):
        if "://" in line or " @ " in line:
            typer.echo(f"{name}:{number} names an address, so nothing was written: {line.strip()}", err=True)
            raise typer.Exit(1)


def _find_uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        typer.echo("uv is missing: it comes with requirements/dev.lock, which `./florin test` installs.", err=True)
        raise typer.Exit(1)
    return found
