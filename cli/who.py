"""Who is at the command line, for the record."""

import getpass
from typing import Annotated

import typer

By = Annotated[
    str | None, typer.Option(help="Who you are, for the record.", show_default="the user of this machine's login")
]


def who(by: str | None) -> str:
    """What was given, else the name of the login."""
    if by is not None and by.strip():
        return by.strip()
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
