"""The folder that holds one local stack's data, and that one running stack holds."""

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cli.servers.errors import ServersError

ROTATE_ABOVE_BYTES = 50 * 1024 * 1024


class DataDir:
    """Secrets, logs and server data of one stack. ``acquire`` keeps every other stack out."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Whether we have it."""
        return self._lock is not None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the folder, or say which process has it."""
        try:
            if not self.path.is_dir():
                self.path.mkdir(parents=True)
                self.path.chmod(0o711)  # The account of Postgres has to pass; nobody has to look.
            lock = os.fdopen(os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as error:
            raise ServersError(f"the data directory {self.path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise ServersError(
                f"another stack (pid {holder}) is running on {self.path}; stop it, or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Let the next stack in."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def secret(self, name: str) -> str:
        """Return the password kept under this name; the first call makes it up."""
        path = self.path / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def log(self, name: str) -> Path:
        """Return where this process writes its log; a log that has grown too large is put aside once."""
        folder = self.path / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{name}.log"
        if path.exists() and path.stat().st_size > ROTATE_ABOVE_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it is there complete or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read(path: Path) -> int | None:
    """Return the number that a file begins with, or None if there is no such file or number."""
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def sync(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
