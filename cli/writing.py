"""Where a command's result goes: standard output, or a file that is there whole or not at all."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.failing import fail

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="A file to write to.", show_default="standard output")
]

_OWNER_ONLY: Final = 0o600


def write(parts: Iterable[bytes], output: Path | None) -> None:
    """Write all of it. The file takes its name only when it is complete, and only its owner can read it."""
    if output is None:
        try:
            for part in parts:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Whoever read it has seen enough. Python must not try to write the rest when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
