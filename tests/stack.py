"""A whole Florin of a test's own: API, workers and scheduler as processes, on a database and a queue of its own."""

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, LiteralString, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql

from cli.servers import LocalServers, process
from processor import keys, pools
from processor.account_keys import account_key

ROOT: Final = Path(__file__).resolve().parents[1]

_MODULES: Final = {"api": "api_min", "worker": "workers", "scheduler": "scheduler", "exporter": "exporter"}
_READY_WITHIN_S: Final = 60.0
_STOPPED_WITHIN_S: Final = 30.0


class Stack:
    """
    Runs while the ``with`` block lasts. A process has a name, such as ``worker-2``, and only the test restarts it.

    The API processes share one listening socket, which is the test's: a connection that is made while all of them are
    dead waits for the next one.
    """

    def __init__(
        self,
        owner_url: str,
        app_url: str,
        redis_url: str,
        folder: Path,
        *,
        api: int = 1,
        workers: int = 2,
        schedulers: int = 1,
        exporters: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.owner_url = owner_url
        self.app_url = app_url
        self.redis_url = redis_url
        self._folder = folder
        self._settings = {"DATABASE_URL": app_url, "REDIS_URL": redis_url, **(settings or {})}
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._exposing = socket.create_server(("127.0.0.1", 0))
        counts = {"api": api, "worker": workers, "scheduler": schedulers, "exporter": exporters}
        self._names = [f"{kind}-{n}" for kind, count in counts.items() for n in range(1, count + 1)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The API's port on the loopback interface."""
        return int(self._listening.getsockname()[1])

    @property
    def metrics_url(self) -> str:
        """Where the exporter, if there is one, has the figures of this stack."""
        return f"http://127.0.0.1:{self._exposing.getsockname()[1]}"

    def __enter__(self) -> Self:
        self.metrics.mkdir()
        try:
            self.start(*self._names)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def running(self, kind: str) -> list[str]:
        """The processes of a kind that have been started and neither killed nor stopped."""
        return [name for name in self._running if name.startswith(f"{kind}-")]

    def start(self, *names: str) -> None:
        """Start these processes together, and return once each works."""
        pipes = {name: self._spawn(name) for name in names}
        try:
            for name, pipe in pipes.items():
                ready, _, _ = select.select([pipe], [], [], _READY_WITHIN_S)
                if not ready or os.read(pipe, 1) != b"1":
                    raise AssertionError(f"{name} did not start:\n{self.log(name)[-3000:]}")
        finally:
            for pipe in pipes.values():
                os.close(pipe)

    def kill(self, *names: str) -> None:
        """SIGKILL: nothing is finished, nothing is given back."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait()

    def stop(self, *names: str) -> list[int]:
        """SIGTERM to all, and their exit codes once they have ended."""
        ending = [self._running.pop(name) for name in names]
        stubborn = process.stop(ending, signal.SIGTERM, patience_s=_STOPPED_WITHIN_S)
        assert not stubborn, f"{names} had to be killed"
        return [each.returncode for each in ending]

    def signal(self, name: str, what: signal.Signals) -> None:
        """Send any other signal."""
        self._running[name].send_signal(what)

    def log(self, name: str) -> str:
        """What the process has written to standard error, in all its lives."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def key(self, client: str, *scopes: str) -> str:
        """A new API key of the client, by default with every scope."""
        with pools.connect(self.app_url, "florin test keys") as conn:
            return keys.create(conn, client, scopes or keys.SCOPES)

    def owner(self) -> Connection:
        """The database as its owner sees it, in autocommit."""
        return psycopg.connect(self.owner_url, autocommit=True)

    @property
    def metrics(self) -> Path:
        """The folder in which the processes keep their figures."""
        return self._folder / "metrics"

    def _spawn(self, name: str) -> int:
        """Start one process, and return the end of the pipe in which it says that it is ready."""
        assert name not in self._running, f"{name} runs already"
        kind, _, _ = name.partition("-")
        sockets = {"api": self._listening.fileno(), "exporter": self._exposing.fileno()}
        listening = [sockets[kind]] if kind in sockets else []
        ours, theirs = os.pipe()
        try:
            self._running[name] = process.spawn(
                [sys.executable, "-m", _MODULES[kind], *(f"--fd={fd}" for fd in listening)],
                env={
                    "PATH": os.environ["PATH"],
                    "FLORIN_EXPORTER_URL": self.metrics_url,
                    "FLORIN_PROBE_URL": f"{self.url}/healthz",
                    **self._settings,
                    "PROMETHEUS_MULTIPROC_DIR": str(self.metrics),
                    "FLORIN_READY_FD": str(theirs),
                },
                log=self._folder / f"{name}.log",
                death_signal=signal.SIGKILL,
                cwd=ROOT,
                pass_fds=(theirs, *listening),
            )
        finally:
            os.close(theirs)
        return ours

    def _end(self) -> None:
        self.kill(*self._running)
        self._listening.close()
        self._exposing.close()


@contextmanager
def new_database(servers: LocalServers, template: str, password: str) -> Iterator[tuple[str, str]]:
    """A copy of the migrated template: its owner's address, and the application's."""
    name = f"stack_{secrets.token_hex(6)}"
    identifiers = {"name": sql.Identifier(name), "template": sql.Identifier(template)}

    def run(statement: LiteralString) -> None:
        with psycopg.connect(servers.postgres.url_of("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(**identifiers))

    run("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    owner_url = servers.postgres.url_of(name)
    address = urlsplit(owner_url)
    app_netloc = f"florin_app:{password}@{address.hostname}:{address.port}"
    yield owner_url, address._replace(netloc=app_netloc).geturl()
    run("DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def held(stack: Stack, *accounts: str) -> Iterator[None]:
    """Hold the locks of these accounts, as a worker would: their commands stay pending."""
    with stack.owner() as conn:
        for account in accounts:
            conn.execute("SELECT pg_advisory_lock(%s)", [account_key(account)])
        yield
