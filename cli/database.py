"""The database as a command uses it: migrated, and what keeps it from working ends the command with a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection, errors

from cli import addresses
from cli.failing import fail
from migrations import latest_version
from processor import pools
from processor.errors import SchemaBehind, SettingsError
from processor.store import schema


@contextmanager
def connected(database_url: str, command: str) -> Iterator[Connection]:
    """A connection for ``command``, as Postgres will show it."""
    try:
        with pools.connect(database_url, command) as conn:
            schema.check(conn, wanted_version=latest_version())
            yield conn
    except (errors.UndefinedTable, SchemaBehind):
        fail("the database lacks tables of Florin: run `florin migrate` first")
    except SettingsError as error:
        fail(str(error))
    except psycopg.Error as error:
        fail(f"the database cannot be used: {addresses.words_of(error)}")
