"""Starting and stopping server processes so that none outlives us, however we end."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from cli.servers.identity import Account
from cli.servers.interruption import StoppedError, interruption

# Linux sends the death signal when the *thread* that made the child ends. This one lives as long as we do, so a
# server may be started from any short-lived thread.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    death_signal: signal.Signals,
    cwd: Path | str = "/",
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that writes to ``log``, gets ``death_signal`` if we die, and never sees our Ctrl-C."""
    with log.open("ab") as output:
        start: Callable[[], subprocess.Popen[bytes]] = lambda: subprocess.Popen(  # noqa: E731
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=_dying_with(os.getpid(), death_signal),  # noqa: PLW1509
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
        return _spawner.submit(start).result()


def stop(
    processes: Sequence[subprocess.Popen[bytes]], ask: signal.Signals, *, patience_s: float
) -> list[subprocess.Popen[bytes]]:
    """Ask processes to end and wait for all. Return those that it took a kill to end: a second Ctrl-C is impatient."""

    def left() -> list[subprocess.Popen[bytes]]:
        return [each for each in processes if each.poll() is None]

    for each in left():
        each.send_signal(ask)
    wait_until(lambda: not left() or interruption.now, timeout_s=patience_s, stopping=True)
    stubborn = left()
    for each in stubborn:
        os.killpg(each.pid, signal.SIGKILL)  # Each leads a group of its own, which goes with it.
        each.wait()
    return stubborn


def working_in(directory: Path, name: str) -> list[int]:
    """Return the processes of this name that have their home in the folder, whoever started them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "comm").read_text().strip() == name and (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], *, timeout_s: float, stopping: bool = False) -> bool:
    """Look again and again; False if it did not become true in time. Unless we are stopping, a Ctrl-C ends it."""
    end = time.monotonic() + timeout_s
    while not condition():
        if interruption.stop and not stopping:
            raise StoppedError
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def free_port(preferred: int | None = None) -> int:
    """
    Return a loopback port on which nobody listens: the preferred one if possible.

    It lies below the range from which the kernel takes the ports of outgoing connections: in there, a client that
    retries while the server is down can connect to itself and so keep the server from its own port.
    """
    candidates = [] if preferred is None else [preferred]
    for port in [*candidates, *random.sample(range(15_000, 32_000), 200)]:
        if is_free(port):
            return port
    raise OSError("no free port between 15000 and 32000")


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _dying_with(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    set_death_signal = ctypes.CDLL(None).prctl
    pr_set_pdeathsig = 1

    def in_child() -> None:
        set_death_signal(pr_set_pdeathsig, int(death_signal))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child
