"""
The folder in which the processes of a host keep their figures, for one endpoint to add up.

A process is known by a name that no other ever has, and is alive as long as it holds a lock on its file: a pid would
mean another process in another container, and is given again after a while.
"""

import errno
import fcntl
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from prometheus_client import values

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder."""

_ALIVE: Final = ".alive"

_NEEDED_BYTES: Final = 8 * 2**20
"""A process needs some 100 KiB, and its files grow."""

_held: list[int] = []


def join(folder: str | Path) -> str | None:
    """
    Keep the figures of this process, of every metric that is made from now on, in the folder; return its name.

    ``None`` if the folder cannot be used, or is full: a file mapped into memory that has no room ends the process
    without a word, and figures are not worth a worker. They are then this process's own.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < _NEEDED_BYTES:
            raise OSError(errno.ENOSPC, "it is full", str(folder))
        return _join(folder)
    except OSError as error:
        # Logs are not set up yet: whoever measures is imported first.
        values.ValueClass = values.MutexValue
        print(f"{FOLDER} cannot be used, and nobody will see this process's figures: {error}", file=sys.stderr)
        return None


def _join(folder: str | Path) -> str:
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    sign = Path(folder, f"{name}{_ALIVE}")
    unfinished = sign.with_suffix(".new")
    held = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
    fcntl.flock(held, fcntl.LOCK_EX)
    # Locked before it has its name: nobody may take it for that of a process that has died.
    unfinished.rename(sign)
    _held.append(held)
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]
    return name


def dead(folder: str | Path) -> list[str]:
    """The names of the processes that have ended, however they did, and whose figures are still in the folder."""
    return [sign.name.removesuffix(_ALIVE) for sign in Path(folder).glob(f"*{_ALIVE}") if _is_free(sign)]


def forget(folder: str | Path, name: str) -> None:
    """Take the sign of a dead process away; its figures have been seen to."""
    Path(folder, f"{name}{_ALIVE}").unlink(missing_ok=True)


def _is_free(sign: Path) -> bool:
    try:
        fd = os.open(sign, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
