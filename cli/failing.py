"""How a command ends that cannot do what was asked: one sentence on standard error, and no traceback."""

from typing import NoReturn

import typer


def fail(sentence: str, *, exit_code: int = 1) -> NoReturn:
    """End the command. 1 says that it did not work out, 2 that it was asked for wrongly."""
    typer.echo(f"florin: {sentence}", err=True)
    raise typer.Exit(exit_code)
