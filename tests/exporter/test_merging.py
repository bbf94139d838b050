"""What processes counted is added up, also after they died, and each count once, whoever is killed meanwhile."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from exporter import merging
from exporter.merging import Folder
from processor import sharing
from tests.stack import ROOT

COUNTING: Final = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram
from processor import sharing
sharing.join(os.environ[sharing.FOLDER])
Counter("things_total", "x").inc(int(sys.argv[1]))
Histogram("things_seconds", "x", buckets=[0.1, 0.25]).observe(0.2)
Gauge("processes", "x", multiprocess_mode="livesum").set(1)
print("counted", flush=True)
sys.stdin.read()
"""


class Killed(BaseException):
    """What happens to a process between two lines."""


@contextmanager
def counting(folder: Path, amount: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that has counted so many, and dies of SIGKILL at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(amount)],
        env={"PATH": os.environ["PATH"], sharing.FOLDER: str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"counted\n"
        try:
            yield process
        finally:
            process.kill()


def figures(folder: Folder) -> dict[str, float]:
    """What is left of all that the processes count."""
    found = {
        (sample.name, sample.labels.get("le")): sample.value for metric in folder.merged() for sample in metric.samples
    }
    wanted = {
        "counted": ("things_total", None),
        "observed": ("things_seconds_count", None),
        "took": ("things_seconds_sum", None),
        "below a tenth": ("things_seconds_bucket", "0.1"),
        "below a quarter": ("things_seconds_bucket", "0.25"),
        "processes": ("processes", None),
    }
    return {name: found[key] for name, key in wanted.items() if key in found}


def expected(count: int, observed: int, processes: int | None = None) -> dict[str, Any]:
    """The same, of so many processes of which so many run."""
    counts = {
        "counted": count,
        "observed": observed,
        "took": pytest.approx(0.2 * observed),
        "below a tenth": 0,
        "below a quarter": observed,
    }
    return counts if processes is None else {**counts, "processes": processes}


def test_a_killed_process_leaves_its_counts_and_nothing_else(tmp_path: Path) -> None:
    """Its gauges go at once, its counts stay, and its files do not pile up with every restart."""
    folder = Folder(tmp_path)
    with counting(tmp_path, 1):
        with counting(tmp_path, 2):
            both = figures(folder)
        one = [figures(folder) for _ in range(2)]
        files = len(list(tmp_path.iterdir()))
        for more in (4, 8):
            with counting(tmp_path, more):
                pass
            figures(folder)
        files_later = len(list(tmp_path.iterdir()))
    end = [figures(folder) for _ in range(2)]

    assert both == expected(3, 2, processes=2)
    assert one == [expected(3, 2, processes=1)] * 2
    assert end == [expected(15, 4)] * 2
    assert files_later == files
    assert not list(tmp_path.glob("*.alive"))


def test_another_exporter_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """What was folded by one that is gone is neither lost nor counted anew."""
    for amount in (1, 2):
        with counting(tmp_path, amount):
            pass
        figures(Folder(tmp_path))

    assert figures(Folder(tmp_path)) == expected(3, 2)


def test_an_exporter_that_is_killed_at_any_line_counts_nothing_twice_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """Counts that go down look like restarts, and counts that go up by themselves like payments."""
    origin = tmp_path / "origin"
    origin.mkdir()
    with counting(origin, 1):
        pass
    figures(Folder(origin))
    with counting(origin, 2):
        pass
    at, wrong = 0, []
    while True:
        at += 1
        copy = tmp_path / f"killed-at-{at}"
        shutil.copytree(origin, copy)
        try:
            with killed_at(at):
                figures(Folder(copy))
        except Killed:
            found = [figures(Folder(copy)) for _ in range(2)]
            if found != [expected(3, 2)] * 2:
                wrong.append((at, found))
            shutil.rmtree(copy)
        else:
            break

    assert wrong == []
    assert at > 50
    assert sorted(file.name for file in copy.iterdir()) == [
        "archive.json",
        "counter_archive-2.db",
        "exporter.lock",
        "histogram_archive-2.db",
    ]


@contextmanager
def killed_at(line: int) -> Iterator[None]:
    """Raise before so many lines of the module under test have run."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != merging.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_a_process_is_not_taken_for_another_one_of_its_pid(tmp_path: Path) -> None:
    """Pids come round, and mean something else in every container."""
    with counting(tmp_path, 1) as process:
        alive = figures(Folder(tmp_path))
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace(f"{process.pid}-", f"{os.getpid()}-"))

    assert alive == expected(1, 1, processes=1)
    assert figures(Folder(tmp_path)) == expected(1, 1)


def test_what_nobody_could_tidy_is_not_counted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exporter holds the folder, or one was killed before it deleted what it had folded."""
    with counting(tmp_path, 1):
        pass
    with (tmp_path / "exporter.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        locked = figures(Folder(tmp_path))
    monkeypatch.setattr(Folder, "_sweep", lambda *_: None)
    undeleted = [figures(Folder(tmp_path)) for _ in range(2)]

    assert locked == expected(1, 1)
    assert undeleted == [expected(1, 1)] * 2
    assert list(tmp_path.glob("*.alive"))


def test_what_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    """A process may be making its file at this moment; a disk may have been full."""
    with counting(tmp_path, 1):
        (tmp_path / "counter_1-new.db").touch()
        (tmp_path / "histogram_1-torn.db").write_bytes(b"\xff" * 100)
        (tmp_path / "archive.json").write_text("{")

        assert figures(Folder(tmp_path)) == expected(1, 1, processes=1)


def test_a_folder_that_is_not_there_yet_has_nothing_in_it(tmp_path: Path) -> None:
    """The exporter may be the first to start."""
    assert Folder(tmp_path / "metrics").merged() == []
