"""Keeps the programs of a stack running: starts them, says when one dies, starts it again, and stops all in order."""

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from cli.servers import process
from cli.servers.data_dir import DataDir
from cli.servers.errors import ServersError
from cli.servers.interruption import interruption
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Program:
    """
    A child to keep running. Its log has its name.

    It writes a byte to the pipe FLORIN_READY_FD once it works, and ends by itself on SIGTERM. One that is not ours
    has a ``ready_url`` instead, which answers 200 once it works. Nothing waits for such a one or fails because of it.
    """

    name: str
    command: Sequence[str]
    pass_fds: Sequence[int] = ()
    ready_url: str | None = None
    environment: Mapping[str, str] | None = None
    """All that it is told, if that is not what the others are told."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    ready_s: float = 60.0
    others_ready_s: float = 10.0
    """For those that Florin does not need."""
    stop_s: float = 20.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0
    calm_after_s: float = 30.0
    """What lived this long died of something else than the last time."""


class Supervisor:
    """
    Runs programs while the ``with`` block lasts.

    ``stages`` are in the order in which they stop; the programs of one stage stop together. The ``servers``, by name,
    are somebody else's to start and to stop; they are only started again when they die.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Program]],
        *,
        data_dir: DataDir,
        environment: Mapping[str, str],
        servers: Mapping[str, Postgres | Valkey],
        say: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._metrics = data_dir.path / "metrics"
        self._say = say
        self._patience = patience
        environment = {**environment, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics)}
        self._stages = [
            [_Child(program, data_dir.log(program.name), environment, patience) for program in stage]
            for stage in stages
        ]
        self._servers = [_Server(name, server, patience) for name, server in servers.items()]

    @property
    def pids(self) -> dict[str, int]:
        """The children that run, by name."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}

    def __enter__(self) -> Self:
        shutil.rmtree(self._metrics, ignore_errors=True)  # The counts of an earlier run would be added to ours.
        self._metrics.mkdir()
        try:
            for child in self._children:
                self._start(child)
            if not process.wait_until(self._all_ready, timeout_s=self._patience.ready_s):
                late = ", ".join(child.name for child in self._needed if not child.is_ready())
                raise ServersError(f"not ready after {self._patience.ready_s:.0f} s: {late}")
            if not process.wait_until(self._others_settled, timeout_s=self._patience.others_ready_s):
                late = " and ".join(child.name for child in self._others if not child.is_ready())
                self._say(f"{late} not ready yet; Florin runs without")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self) -> None:
        """Look after everything until the user wants to stop."""
        while not interruption.stop:
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        """Notice what has died, and start again what has been dead for long enough."""
        for server in self._servers:
            self._look_at_server(server)
        for child in self._children:
            self._look_at_child(child)

    @property
    def _children(self) -> list["_Child"]:
        return [child for stage in self._stages for child in stage]

    @property
    def _needed(self) -> list["_Child"]:
        return [child for child in self._children if child.is_needed]

    @property
    def _others(self) -> list["_Child"]:
        return [child for child in self._children if not child.is_needed]

    def _start(self, child: "_Child") -> int | None:
        """Start it and return its pid. One that is not needed and cannot be started is tried again later."""
        try:
            return child.start()
        except OSError as error:
            if child.is_needed:
                raise
            self._say(f"{child.name} cannot be started: {error}; trying again in {child.restarts.plan():.1f} s")
            return None

    def _all_ready(self) -> bool:
        for child in self._needed:
            if child.process is not None and (code := child.process.poll()) is not None:
                raise ServersError(f"{child.name} {how_it_ended(code)} before it was ready{child.last_words()}")
        return all(child.is_ready() for child in self._needed)

    def _others_settled(self) -> bool:
        """Whether each works, or has ended: whoever looks after them starts it again."""
        return all(
            child.process is None or child.process.poll() is not None or child.is_ready() for child in self._others
        )

    def _look_at_server(self, each: "_Server") -> None:
        if not each.is_down and (code := each.server.poll()) is not None:
            each.is_down = True
            delay_s = each.restarts.plan()
            self._say(f"{each.name} {how_it_ended(code)}; starting it again in {delay_s:.1f} s")
        if each.is_down and each.restarts.is_due():
            try:
                each.server.start()
            except ServersError as error:
                self._say(f"{error}\n{each.name} is still down; trying again in {each.restarts.plan():.1f} s")
            else:
                each.is_down = False
                each.restarts.begin()
                self._say(f"{each.name} runs again, as pid {each.server.pid}")

    def _look_at_child(self, child: "_Child") -> None:
        if child.process is None:
            if child.restarts.is_due() and (pid := self._start(child)) is not None:
                self._say(f"{child.name} runs again, as pid {pid}")
        elif (code := child.process.poll()) is None:
            if child.is_needed:
                child.is_ready()  # This empties its pipe.
        else:
            delay_s = child.restarts.plan()
            self._say(
                f"{child.name} (pid {child.process.pid}) {how_it_ended(code)}; starting it again in {delay_s:.1f} s"
            )
            child.forget()

    def _stop(self) -> None:
        for stage in self._stages:
            names = {child.process: child.name for child in stage if child.process is not None}
            for killed in process.stop(list(names), signal.SIGTERM, patience_s=self._patience.stop_s):
                self._say(f"{names[killed]} (pid {killed.pid}) had to be killed: it did not stop when asked to")
            for child in stage:
                child.forget()


class _Restarts:
    """When to start something again: at once, unless it keeps dying."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._delay_s = patience.first_delay_s
        self._began_at = 0.0
        self._due_at = 0.0

    def begin(self) -> None:
        self._began_at = time.monotonic()

    def plan(self) -> float:
        """Return how long to wait, which is longer every time."""
        now = time.monotonic()
        if now - self._began_at > self._patience.calm_after_s:
            self._delay_s = self._patience.first_delay_s
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, self._patience.longest_delay_s)
        self._due_at = now + delay_s
        return delay_s

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at


class _Server:
    """A server, which knows itself how to start."""

    def __init__(self, name: str, server: Postgres | Valkey, patience: Patience) -> None:
        self.name = name
        self.server = server
        self.is_down = False
        self.restarts = _Restarts(patience)


class _Child:
    """A program and, while it runs, its process."""

    def __init__(self, program: Program, log: Path, environment: Mapping[str, str], patience: Patience) -> None:
        self.name = program.name
        self.is_needed = program.ready_url is None
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = _Restarts(patience)
        self._program = program
        self._log = log
        self._log_began = 0
        self._environment = environment if program.environment is None else program.environment
        self._is_ready = False
        self._pipe: int | None = None

    def start(self) -> int:
        """Start the process and return its pid."""
        self._log_began = self._log.stat().st_size if self._log.exists() else 0
        if self._program.ready_url is not None:
            return self._spawn(self._environment, self._program.pass_fds)
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            environment = {**self._environment, "FLORIN_READY_FD": str(theirs)}
            return self._spawn(environment, [*self._program.pass_fds, theirs])
        finally:
            os.close(theirs)

    def _spawn(self, environment: Mapping[str, str], pass_fds: Sequence[int]) -> int:
        self.process = process.spawn(
            self._program.command,
            env=environment,
            log=self._log,
            death_signal=signal.SIGKILL,  # Without us nobody would make sure that it ends.
            cwd=ROOT,
            pass_fds=pass_fds,
        )
        self.restarts.begin()
        return self.process.pid

    def is_ready(self) -> bool:
        """Whether it has said so, now or earlier."""
        if self._program.ready_url is not None:
            self._is_ready = self._is_ready or _answers(self._program.ready_url)
        if self._pipe is not None:
            try:
                self._is_ready = os.read(self._pipe, 1) != b""
            except BlockingIOError:
                return False
            os.close(self._pipe)
            self._pipe = None
        return self._is_ready

    def forget(self) -> None:
        """Put away what belonged to a process that has ended."""
        if self._pipe is not None:
            os.close(self._pipe)
        self.process, self._pipe, self._is_ready = None, None, False

    def last_words(self) -> str:
        """The end of what this process has logged."""
        words = self._log.read_bytes()[self._log_began :].decode(errors="replace").strip().splitlines()[-15:]
        return "; its log ends with:\n" + "\n".join(words) if words else f"; its log {self._log} is empty"


def _answers(url: str) -> bool:
    address = urlsplit(url)
    conn = http.client.HTTPConnection(str(address.hostname), address.port, timeout=1)
    try:
        conn.request("GET", address.path)
        return conn.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        conn.close()


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
    return f"was killed by {name}"
