"""Where a command finds the API and the database: the stack of --data-dir, or what the environment names."""

import os
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from cli.failing import fail
from cli.instance import DEFAULT_DATA_DIR, NoStackError, Stack, find

DataDir = Annotated[
    Path | None,
    typer.Option(help="Data directory of the running stack to use.", show_default=".florin in the repository"),
]


def api(data_dir: Path | None) -> tuple[str, str]:
    """The address of the API, and a key."""
    if bool(os.environ.get("FLORIN_API")) != bool(os.environ.get("FLORIN_API_KEY")):
        # Half of an address must not lead to another stack than the one that was meant.
        fail(
            "of FLORIN_API and FLORIN_API_KEY one is set: set both, or none to use a stack of ./florin up", exit_code=2
        )
    stack = _stack(data_dir)
    return stack.api, stack.api_key


def database(data_dir: Path | None) -> str:
    """The database, with the application's login."""
    if data_dir is None and (url := os.environ.get("DATABASE_URL")):
        return url
    return _stack(data_dir).database_url or fail("FLORIN_API names a stack, but not its database: set DATABASE_URL")


def queue(data_dir: Path | None) -> str:
    """The queue that goes with ``database``: never that of another stack."""
    if data_dir is None and os.environ.get("DATABASE_URL"):
        return os.environ.get("REDIS_URL") or fail(
            "DATABASE_URL is set, but REDIS_URL is not: set both, or none to use a stack of ./florin up", exit_code=2
        )
    return _stack(data_dir).redis_url or fail("the queue of the stack is not known: set DATABASE_URL and REDIS_URL")


def queue_if_known(data_dir: Path | None) -> str | None:
    """The same for who can do without it."""
    if data_dir is None and os.environ.get("DATABASE_URL"):
        return os.environ.get("REDIS_URL") or None
    return _stack(data_dir).redis_url


def databases(data_dir: Path | None) -> tuple[str, str | None]:
    """One database twice: with its owner's login, and with the application's if that is known."""
    owner_url, app_url = os.environ.get("DATABASE_OWNER_URL"), os.environ.get("DATABASE_URL")
    if data_dir is None and (owner_url or app_url):
        return owner_url or fail("DATABASE_URL is set, but only the owner may migrate: set DATABASE_OWNER_URL"), app_url
    stack = _stack(data_dir)
    owner_url = stack.owner_url or fail("FLORIN_API names a stack, but not its database: set DATABASE_OWNER_URL")
    return owner_url, stack.database_url


def words_of(error: psycopg.Error) -> str:
    """What the database says. An address that was not understood is not repeated: it may hold a password."""
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "its address is none of Postgres: postgresql://user:password@host:port/database"
    return str(error).strip()


def _stack(data_dir: Path | None) -> Stack:
    if data_dir is not None and os.environ.get("FLORIN_API"):
        fail("--data-dir and FLORIN_API name two stacks: leave one out", exit_code=2)
    try:
        return find(data_dir or DEFAULT_DATA_DIR)
    except (NoStackError, OSError) as error:
        fail(str(error))
