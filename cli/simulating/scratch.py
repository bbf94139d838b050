"""A database that is made for one purpose and is gone afterwards, however that ends."""

import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from cli.servers import LocalServers
from cli.urls import as_application
from migrations import allow_login, migrate

CLIENT: Final = "simulation"


@contextmanager
def scratch_database() -> Iterator[str]:
    """The application's address of a migrated database with one client, in a Postgres of its own."""
    with _interrupted_once(), tempfile.TemporaryDirectory(prefix="florin-scratch-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # Under root, Postgres runs as another user and has to pass.
        servers = LocalServers(folder / "data", redis=False)
        try:
            with servers:
                yield _prepared(servers.owner_url)
        finally:
            servers.postgres.remove_outside()


def _prepared(owner_url: str) -> str:
    app_url = as_application(owner_url, secrets.token_urlsafe(24))
    migrate(owner_url)
    allow_login(owner_url, app_url)
    with psycopg.connect(owner_url, autocommit=True) as conn:
        conn.execute("INSERT INTO client (name) VALUES (%s)", [CLIENT])
    return app_url


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """
    Take SIGTERM for Ctrl-C, and only the first of either for an interruption.

    A process that a signal simply ends, or that is interrupted while it cleans up, leaves the server's folder behind.
    """
    is_interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
            raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
