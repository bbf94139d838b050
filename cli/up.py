"""`florin up`: the whole of Florin on this machine, in one terminal."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import psycopg
import typer

from cli import monitoring
from cli.instance import DEFAULT_DATA_DIR, Stack, publish, to_json, withdraw
from cli.monitoring import Installed
from cli.servers import LocalServers, ServersError, process
from cli.servers.data_dir import DataDir, write_private
from cli.servers.interruption import StoppedError, interruption
from cli.supervisor import ROOT, Patience, Program, Supervisor
from cli.urls import as_application, require_postgres, require_redis, without_password
from processor import keys

CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Those that we may use: a container often has a few of many."""
PYTHON: Final = (sys.executable, "-P", "-m")
FIGURES_PORT: Final = 9109
"""Where Prometheus looks for the exporter, if nobody else is there."""


def up(
    *,
    data_dir: Annotated[
        Path, typer.Option(help="Where data, logs and passwords lie.", show_default=".florin in the repository")
    ] = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.", show_default="one per core")] = CORES,
    api_processes: Annotated[int, typer.Option(min=1, help="API processes, which share the port.")] = 1,
    prometheus: Annotated[
        bool | None,
        typer.Option(
            "--with-prometheus/--without-prometheus",
            help="Run Prometheus and Alertmanager as well.",
            show_default="if they are installed",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Once ready, print one line of JSON and nothing else.")
    ] = False,
) -> None:
    """Run everything here: Postgres, Redis, the API, workers and the scheduler. Ctrl-C stops it."""
    interruption.listen()
    try:
        installed = monitoring.look_for(prometheus)
        if prometheus is None and (missing := installed.missing()) is not None:
            say(f"{missing} (Florin runs without)")
        with running(data_dir, port=port, workers=workers, api_processes=api_processes, installed=installed) as stack:
            typer.echo(to_json(stack.where) if as_json else stack.description())
            stack.supervisor.run()
            say("stopping")
    except StoppedError:
        say("stopped before it was ready")
    except (ServersError, OSError) as error:
        say(str(error))
        raise typer.Exit(1) from None


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that is up."""

    where: Stack
    supervisor: Supervisor
    servers: LocalServers

    def description(self) -> str:
        """What is where, for people: no passwords, but the key, which is for trying things out."""
        api, key, ops_key = self.where.api, self.where.api_key, self.where.ops_key
        folder = self.servers.data_dir.path
        places = [str(folder)]
        if self.servers.postgres in self.servers.running and not self.servers.postgres.cluster.is_relative_to(folder):
            places.append(f"{self.servers.postgres.cluster} (the account that runs Postgres cannot reach the first)")
        servers = {type(server).__name__: server.pid for server in self.servers.running}
        pids = {"supervisor": os.getpid(), **servers, **self.supervisor.pids}
        return f"""\
Florin is running. Ctrl-C stops it.

  API        {api}   (documentation: {api}/docs)
  Operations {api}/ops#key={ops_key}
{self._figures()}
  Postgres   {without_password(str(self.where.database_url))}
  Redis      {without_password(str(self.where.redis_url))}
  Data       {" and ".join(places)}
  Logs       {folder / "logs"}
  Passwords  {folder / "stack.json"}
  Processes  {", ".join(f"{name} {pid}" for name, pid in pids.items())}
  API key    {key}

Open an account, then put money in. The same command again gives the same answer:

{_curl(api, key, "open-alice", '{"type": "open_account", "account": "alice", "currency": "USD"}')}

{_curl(api, key, "deposit-1", '{"type": "deposit", "account": "alice", "amount": "10.50", "currency": "USD"}')}
"""

    def _figures(self) -> str:
        """Where to look at how it is doing: what does not run has no line."""
        places = {
            "Metrics": self.where.metrics,
            "Prometheus": self.where.prometheus,
            "Alerts": self.where.alertmanager,
        }
        return "\n".join(f"  {name:10} {place}" for name, place in places.items() if place is not None)


@contextmanager
def running(data_dir: Path, *, port: int, workers: int, api_processes: int, installed: Installed) -> Iterator[Running]:
    """Bring everything up, in the order in which one needs the other, and down again in the reverse order."""
    external_database, external_redis = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    with (
        DataDir(data_dir) as data,
        closing(listen(port)) as listener,
        closing(listen_for_figures()) as figures,
        LocalServers(data, postgres=not external_database, redis=not external_redis) as servers,
    ):
        owner_url, app_url = database_addresses(external_database, servers, data)
        if external_redis:
            require_redis("REDIS_URL", external_redis)
        redis_url = external_redis or servers.redis_url
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DATABASE_URL": app_url, "REDIS_URL": redis_url}
        environment.pop("DATABASE_OWNER_URL", None)  # Only migrations may change the schema.
        migrate(data, {**environment, "DATABASE_OWNER_URL": owner_url})
        api_key = development_key(data, app_url)
        # Its link is passed around and stands on walls: it may look, and nothing else.
        ops_key = development_key(data, app_url, file="ops_key", client="dev-ops", scopes=[keys.OPS])
        exporter = f"http://127.0.0.1:{figures.getsockname()[1]}"
        watching = monitoring.prepare(installed, data, exporter=exporter, say=say)
        environment["FLORIN_EXPORTER_URL"] = exporter
        environment["FLORIN_PROBE_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
        if watching.prometheus is not None:
            environment["FLORIN_PROMETHEUS_URL"] = watching.prometheus
        with Supervisor(
            [
                *stages(listener.fileno(), workers=workers, api_processes=api_processes),
                # Last, so that they see how the others end.
                [Program("exporter", [*PYTHON, "exporter", "--fd", str(figures.fileno())], [figures.fileno()])],
                [*watching.programs],
            ],
            data_dir=data,
            environment=environment,
            servers={type(server).__name__: server for server in servers.running},
            say=say,
            patience=Patience(),
        ) as supervisor:
            api = f"http://127.0.0.1:{listener.getsockname()[1]}"
            where = Stack(
                api,
                api_key,
                app_url,
                owner_url,
                redis_url,
                f"{exporter}/metrics",
                os.getpid(),
                exporter,
                watching.prometheus,
                watching.alertmanager,
                ops_key,
            )
            publish(data.path, where)
            try:
                yield Running(where, supervisor, servers)
            finally:
                withdraw(data.path)
                listener.close()  # Whoever connects from here on is refused instead of waiting for nobody.


def listen(port: int) -> socket.socket:
    """Open the API's socket. It stays ours, so that while an API process restarts, connections wait for the next."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=2048)
    except OSError as error:
        reason = "something else listens there" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise ServersError(f"port {port} cannot be used: {reason}; `--port 0` takes any free one") from None


def listen_for_figures() -> socket.socket:
    """Open the exporter's socket: its own port if that is free, else any, since a second stack has one as well."""
    try:
        return socket.create_server(("127.0.0.1", FIGURES_PORT), backlog=128)
    except OSError:
        return socket.create_server(("127.0.0.1", 0), backlog=128)


def database_addresses(external: str | None, servers: LocalServers, data: DataDir) -> tuple[str, str]:
    """Return the owner's address, for migrations, and the application's, for everything else."""
    external_owner = os.environ.get("DATABASE_OWNER_URL")
    if external_owner and not external:
        raise ServersError("DATABASE_OWNER_URL is set, but DATABASE_URL is not; set both, or DATABASE_URL alone")
    if external_owner and external:
        require_postgres("DATABASE_OWNER_URL", external_owner)
        return external_owner, external
    if external:
        require_postgres("DATABASE_URL", external)
    owner_url = external or servers.owner_url
    return owner_url, as_application(owner_url, data.secret("application.password"))


def migrate(data: DataDir, environment: Mapping[str, str]) -> None:
    """Bring the schema forward, or say why not."""
    log = data.log("migrations")
    before = log.stat().st_size if log.exists() else 0
    migrations = process.spawn([*PYTHON, "migrations"], env=environment, log=log, death_signal=signal.SIGTERM, cwd=ROOT)
    try:
        process.wait_until(lambda: migrations.poll() is not None, timeout_s=float("inf"))
    finally:
        process.stop([migrations], signal.SIGTERM, patience_s=10)
    if migrations.returncode != 0:
        raise ServersError(log.read_bytes()[before:].decode(errors="replace").strip() or "the migrations failed")


def development_key(
    data: DataDir,
    database_url: str,
    *,
    file: str = "api_key",
    client: str = "dev",
    scopes: Collection[str] = keys.SCOPES,
) -> str:
    """Return the key in this file of the data directory, and make sure that the database knows it."""
    path = data.path / file
    if not path.exists():
        write_private(path, keys.generate())
    key = path.read_text().strip()
    try:
        keys.ensure_development_key(database_url, key, client=client, scopes=scopes)
    except psycopg.Error as error:
        raise ServersError(f"the development key cannot be stored: {error}") from error
    return key


def stages(api_fd: int, *, workers: int, api_processes: int) -> list[list[Program]]:
    """The programs in the order in which they stop: nothing new comes in, then what is under way is finished."""
    return [
        [Program(f"api-{n}", [*PYTHON, "api_min", "--fd", str(api_fd)], [api_fd]) for n in range(1, api_processes + 1)],
        [Program("scheduler", [*PYTHON, "scheduler"])],
        [Program(f"worker-{n}", [*PYTHON, "workers"]) for n in range(1, workers + 1)],
    ]


def say(text: str) -> None:
    """Tell the person at the terminal; standard output is for what was asked for."""
    typer.echo(f"florin: {text}", err=True)


def _curl(api: str, key: str, idempotency_key: str, body: str) -> str:
    return f"""\
  curl -sS {api}/v1/commands \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -H 'Idempotency-Key: {idempotency_key}' -H 'Prefer: wait=10' \\
    -d '{body}'"""
