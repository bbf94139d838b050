"""Where a measurement happens: embedded servers, a fresh database for each run, and Florin's real processes."""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import uuid_utils.compat
from psycopg import sql

from benchmarks.workload import Workload
from cli.servers import LocalServers
from migrations import allow_login, migrate
from processor import clock, pools
from processor.apply import Applier
from processor.domain.rules import Rules
from processor.intake import Accepted, Intake
from processor.submissions import CommandBody, Receipt, Submission
from workers.messages import batches

ROOT: Final = Path(__file__).resolve().parents[1]
PATIENCE_S: Final = 300


@dataclass(frozen=True)
class Database:
    """A fresh, migrated database with the workload's accounts open and funded."""

    owner_url: str
    app_url: str
    client_id: int


class Stage:
    """Servers for a whole benchmark. ``database`` gives each run a database of its own."""

    def __init__(self, servers: LocalServers, folder: Path) -> None:
        self.servers = servers
        self._folder = folder

    @contextmanager
    def database(self, workload: Workload) -> Iterator[Database]:
        """A new database, ready for the workload's timed commands; dropped afterwards."""
        name = sql.Identifier(f"bench_{secrets.token_hex(4)}")
        with psycopg.connect(self.servers.owner_url, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield self._prepare(name, workload)
        finally:
            with psycopg.connect(self.servers.owner_url, autocommit=True) as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    @contextmanager
    def processes(self, database: Database, modules: Sequence[Sequence[str]]) -> Iterator[None]:
        """``python -m MODULE ARGS...`` for each, all ready when the block begins, stopped when it ends."""
        metrics = Path(tempfile.mkdtemp(dir=self._folder))
        environment = os.environ | {
            "DATABASE_URL": database.app_url,
            "REDIS_URL": self.servers.redis_url,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONPATH": str(ROOT),
        }
        with ExitStack() as running, (metrics / "processes.log").open("w") as log:
            for module in modules:
                reading, writing = os.pipe()
                process = subprocess.Popen(
                    [sys.executable, "-m", *module],
                    env=environment | {"FLORIN_READY_FD": str(writing)},
                    pass_fds=[writing],
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                )
                running.callback(_stop, process)
                os.close(writing)
                if os.read(reading, 1) != b"1":
                    raise RuntimeError(f"{' '.join(module)} did not start: {Path(log.name).read_text()[-2000:]}")
                os.close(reading)
            yield

    def _prepare(self, name: sql.Identifier, workload: Workload) -> Database:
        owner_url = urlsplit(self.servers.owner_url)._replace(path=f"/{name.as_string().strip(chr(34))}").geturl()
        address = urlsplit(owner_url)
        app_url = address._replace(netloc=f"florin_app:bench@{address.hostname}:{address.port}").geturl()
        migrate(owner_url)
        allow_login(owner_url, app_url)
        with pools.connect(app_url, "bench") as conn:
            row = conn.execute("INSERT INTO client (name) VALUES ('bench') RETURNING id").fetchone()
        assert row is not None
        database = Database(owner_url, app_url, row[0])
        accepted = accept(database, list(workload.opening()))
        with pools.sync_pool(app_url, application_name="bench", size=1) as pool:
            applier = Applier(pool, now=clock.now, rules=Rules())
            for batch in batches(accepted):
                applier.apply(batch.positions, batch.account_keys)
        with psycopg.connect(owner_url, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE")
            conn.execute("CHECKPOINT")
        return database


@contextmanager
def stage() -> Iterator[Stage]:
    """Servers in a temporary folder, with the settings that users get: nothing durable is switched off."""
    with tempfile.TemporaryDirectory(prefix="florin-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with LocalServers(folder / "data") as servers:
            yield Stage(servers, folder)
            servers.postgres.remove_outside()


def accept(database: Database, commands: Sequence[tuple[str, CommandBody]]) -> list[Accepted]:
    """Put the commands through the intake, and return them in order as a message would name them."""
    accepted: list[Accepted] = []

    async def run() -> None:
        async with pools.async_pool(database.app_url, application_name="bench", size=2) as pool:
            intake = Intake(pool, announce=accepted.extend, now=clock.now)
            running = asyncio.create_task(intake.run())
            for start in range(0, len(commands), 1_000):
                submissions = [
                    Submission(uuid_utils.compat.uuid7(), database.client_id, key, body)
                    for key, body in commands[start : start + 1_000]
                ]
                answers = await intake.accept(submissions)
                assert all(isinstance(answer, Receipt) for answer in answers)
            running.cancel()

    asyncio.run(run())
    return accepted


def await_settled(database: Database, commands: int) -> None:
    """Return when as many commands as were timed have their outcome, beside those that opened and funded."""
    end = time.monotonic() + PATIENCE_S
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        while time.monotonic() < end:
            row = conn.execute("SELECT NOT EXISTS (SELECT FROM pending)").fetchone()
            if row and row[0]:
                break
            time.sleep(0.01)
        row = conn.execute(
            "SELECT count(*) FROM outcome JOIN command USING (position)"
            " WHERE outcome.status = 'applied' AND command.idempotency_key LIKE 'timed-%'",
        ).fetchone()
    if row is None or row[0] != commands:
        raise RuntimeError(f"{row and row[0]} of {commands} commands were applied in {PATIENCE_S} s")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(30)
