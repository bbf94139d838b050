"""
Adds up what the processes of this host keep in their shared folder, and keeps the counts of those that have died.

The folder does not grow with each restart: the counts of the dead are folded into one archive.
"""

import fcntl
import json
import os
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from processor import sharing
from processor.logs import in_short

log = structlog.get_logger()

_ARCHIVE: Final = "archive"
_INDEX: Final = "archive.json"
_LOCK: Final = "exporter.lock"
_GAUGE: Final = "gauge"
_ATTEMPTS: Final = 5
_UNREADABLE: Final = (OSError, ValueError, IndexError, KeyError, RuntimeError, struct.error)
"""What reading a file raises that is not there any more, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class _Archive:
    """
    What the index says: which files are the archive, and whose counts are in it.

    The index is replaced by one rename, and that is the instant at which counts move. Before it, those of a dead
    process are read from its own files; after it, from the archive, and its own files count no more, whether they are
    deleted already or not.
    """

    generation: int = 0
    folded: Sequence[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What stands for a process's name in the names of the archive's files."""
        return f"{_ARCHIVE}-{self.generation}"


class Folder:
    """The shared folder. Any number of processes may read it at once; one at a time tidies it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.Lock()

    def merged(self) -> list[Metric]:
        """Every metric of every process, dead ones' counts included. Never raises because of what is in the folder."""
        with self._mine:
            self._tidy()
            for _ in range(_ATTEMPTS):
                archive = self._index()
                found = _merge(self._counting(archive))
                if self._index() == archive:
                    break  # If not, another exporter, that ends or begins, has moved counts meanwhile.
            return found

    def _counting(self, archive: _Archive) -> list[str]:
        """The files that are to be added up: the dead have counts, and gauges no more."""
        dead, gone = set(sharing.dead(self._path)), set(archive.folded)
        return [
            str(file)
            for file, name in self._files()
            if name not in gone and _counts(name, archive) and not (name in dead and _kind(file) == _GAUGE)
        ]

    def _tidy(self) -> None:
        """Take the dead out of the folder; their counts go into the archive."""
        try:
            with self._alone() as is_alone:
                if is_alone:
                    self._fold()
        except _UNREADABLE as error:
            # Nothing is lost: what was not folded is read where it is, and the next look tries again.
            log.warning("metrics.untidy", error=in_short(error))

    def _fold(self) -> None:
        archive = self._index()
        self._sweep(archive)
        dead = set(sharing.dead(self._path)) - set(archive.folded)
        if not dead:
            return
        after = _Archive(archive.generation + 1, sorted(dead))
        totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for file, name in self._files():
            kind = _kind(file)
            if kind != _GAUGE and name in {*dead, archive.name}:
                for key, value in _values(file):
                    totals[kind][key] += value
        for kind, counts in totals.items():
            self._write(kind, after, counts)
        self._point_to(after)
        self._sweep(after)

    def _sweep(self, archive: _Archive) -> None:
        """Delete what the archive has made superfluous. A dead process's sign goes last: until then it is known."""
        gone = set(archive.folded)
        for file, name in self._files():
            if name in gone or not _counts(name, archive):
                file.unlink(missing_ok=True)
        for name in gone:
            sharing.forget(self._path, name)

    def _write(self, kind: str, archive: _Archive, counts: Mapping[str, float]) -> None:
        file = self._path / f"{kind}_{archive.name}.db"
        file.unlink(missing_ok=True)  # Of somebody who was killed before he pointed to it.
        written = MmapedDict(str(file))  # type: ignore[no-untyped-call]
        for key, value in counts.items():
            written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        written.close()  # type: ignore[no-untyped-call]

    def _point_to(self, archive: _Archive) -> None:
        unfinished = self._path / f"{_INDEX}.new"
        unfinished.write_text(json.dumps({"generation": archive.generation, "folded": archive.folded}))
        unfinished.rename(self._path / _INDEX)

    def _index(self) -> _Archive:
        try:
            return _Archive(**json.loads((self._path / _INDEX).read_text()))
        except FileNotFoundError:
            return _Archive()
        except (OSError, ValueError, TypeError) as error:
            log.warning("metrics.archive_lost", error=in_short(error))
            return _Archive()

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Every file with the name of the process that it belongs to."""
        for file in self._path.glob("*.db"):
            yield file, file.stem.rpartition("_")[2]

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process tidies this folder now."""
        if not self._path.is_dir():
            yield False
            return
        fd = os.open(self._path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(fd)


def _counts(name: str, archive: _Archive) -> bool:
    """Whether it is a process, or the archive that the index points to, and not a part of another one."""
    return not name.startswith(f"{_ARCHIVE}-") or name == archive.name


def _kind(file: Path) -> str:
    return file.name.partition("_")[0]


def _values(file: Path) -> list[tuple[str, float]]:
    """All counts in the file, or none: one that cannot be read keeps nobody from tidying."""
    try:
        entries = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in entries]
    except _UNREADABLE as error:
        log.warning("metrics.unreadable", file=file.name, error=in_short(error))
        return []


def _merge(files: Sequence[str]) -> list[Metric]:
    try:
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
    except _UNREADABLE:
        # A file that has just been made, or has gone: without it.
        return list(MultiProcessCollector.merge(list(_readable(files))))  # type: ignore[no-untyped-call]


def _readable(files: Iterable[str]) -> Iterator[str]:
    for file in files:
        try:
            MultiProcessCollector.merge([file])  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            log.warning("metrics.unreadable", file=Path(file).name, error=in_short(error))
        else:
            yield file
