"""Real servers for the tests: one Postgres and one Valkey per pytest process, one fresh database per test."""

import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from cli.servers import LocalServers
from tests.folders import throwaway_folder

TEMPLATE: Final = "florin_template"


def pytest_xdist_auto_num_workers() -> int:
    """Pytest processes: one more than there are cores, since one often waits for servers that it has killed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@dataclass(frozen=True)
class Database:
    """A migrated, empty database of one test's own: as its owner and as the application sees it."""

    owner_url: str
    app_url: str


@pytest.fixture(scope="session")
def servers() -> Iterator[LocalServers]:
    """The servers of this pytest process. A test that kills or stops one starts it again."""
    with throwaway_folder() as folder, LocalServers(folder) as servers:
        yield servers


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory of the test's own."""
    with throwaway_folder() as folder:
        yield folder


@pytest.fixture
def redis_url(servers: LocalServers) -> str:
    """The queue, emptied."""
    address = urlsplit(servers.redis_url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as conn:
        conn.sendall(f"AUTH {address.password}\r\nFLUSHALL\r\n".encode())
        answer = conn.makefile("rb").read(10)
    assert answer == b"+OK\r\n+OK\r\n"
    return servers.redis_url


@pytest.fixture(scope="session")
def _application_password(servers: LocalServers) -> str:
    """Migrate the template once, and give the application's role, which belongs to the whole cluster, a password."""
    from migrations import allow_login, migrate

    password = secrets.token_urlsafe(24)
    _run(servers, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    owner_url = servers.postgres.url_of(TEMPLATE)
    migrate(owner_url)
    allow_login(owner_url, _as_application(owner_url, password))
    return password


@pytest.fixture
def database(servers: LocalServers, _application_password: str) -> Iterator[Database]:
    """A copy of the migrated template: about 50 ms, and nothing of one test is seen by another."""
    name = f"test_{secrets.token_hex(6)}"
    identifiers = {"name": sql.Identifier(name), "template": sql.Identifier(TEMPLATE)}
    _run(servers, sql.SQL("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log").format(**identifiers))
    owner_url = servers.postgres.url_of(name)
    yield Database(owner_url, _as_application(owner_url, _application_password))
    _run(servers, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**identifiers))


def _run(servers: LocalServers, statement: sql.Composed) -> None:
    with psycopg.connect(servers.postgres.url_of("postgres"), autocommit=True) as conn:
        conn.execute(statement)


def _as_application(owner_url: str, password: str) -> str:
    address = urlsplit(owner_url)
    return address._replace(netloc=f"florin_app:{password}@{address.hostname}:{address.port}").geturl()
