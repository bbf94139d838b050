"""Connections to Postgres, set up so that no session waits for ever and no plan outlives its table's size."""

from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from processor import vitals
from processor.errors import SettingsError

_WORKER: Final = {
    "role": "florin_app",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    # The other timeouts do not run while a session waits for the rest of a pipeline: a process that is paused there
    # would hold its locks for as long as it is.
    "transaction_timeout": "12s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}


_SESSION: Final[dict[str, Any]] = {
    "autocommit": True,
    # Statements are planned each time: a plan kept from when a table was empty reads a large one from end to end.
    # (plan_cache_mode=force_custom_plan would say the same, but makes Postgres plan each foreign key check as well.)
    "prepare_threshold": None,
}


def conninfo(database_url: str, application_name: str, **settings: str) -> str:
    """The address with what every session of the application has set, and ``settings`` as well."""
    try:
        conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # Its text would show the address, and the password in it.
        raise SettingsError(
            "the address is none of Postgres: give postgresql://user:password@host:port/database"
        ) from None
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in (_WORKER | settings).items())
    return make_conninfo(
        database_url,
        application_name=application_name,
        options=options,
        connect_timeout=5,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )


def sync_pool(database_url: str, *, application_name: str, size: int) -> ConnectionPool[Connection[Any]]:
    """A pool for threads, not yet open. One connection a thread: nothing takes a second one while it holds locks."""
    pool: ConnectionPool[Connection[Any]] = ConnectionPool(
        conninfo(database_url, application_name),
        name=application_name.removeprefix("florin "),
        min_size=size,
        max_size=size,
        timeout=5,
        check=ConnectionPool.check_connection,
        kwargs=_SESSION,
        open=False,
    )
    vitals.watch_pool(pool)
    return pool


def async_pool(database_url: str, *, application_name: str, size: int) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """A pool for an event loop, not yet open."""
    pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
        conninfo(database_url, application_name),
        name=application_name.removeprefix("florin "),
        min_size=min(2, size),
        max_size=size,
        timeout=2,
        check=AsyncConnectionPool.check_connection,
        kwargs=_SESSION,
        open=False,
    )
    vitals.watch_pool(pool)
    return pool


def connect(database_url: str, application_name: str, **settings: str) -> Connection:
    """One connection outside any pool, with session ``settings`` of its own. Raises ``psycopg.OperationalError``."""
    return psycopg.connect(conninfo(database_url, application_name, **settings), autocommit=True)
