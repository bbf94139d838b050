"""The folder of the figures: a process that cannot use it works all the same."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from processor import sharing
from tests.stack import ROOT

COUNT = "from processor import telemetry; telemetry.accepted.inc(); print(telemetry.accepted._value.get())"


def counted(folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """A process that counts something in the folder, after something that it is told to do ``before``."""
    return subprocess.run(
        [sys.executable, "-c", before + COUNT],
        env={"PATH": os.environ["PATH"], sharing.FOLDER: str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    """Nobody should have to know that it has to be."""
    folder = tmp_path / "not" / "there"
    done = counted(folder)

    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0\n", "")
    assert list(folder.glob("counter_*.db"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: folder.write_text("a file"), "File exists"),
        (lambda folder: folder.mkdir(), "it is full"),
    ],
    ids=["a file", "full"],
)
def test_a_folder_that_cannot_be_used_costs_the_figures_and_no_worker(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    """A mapped file without room ends its process with a signal, in mid-payment and without a word."""
    folder = tmp_path / "metrics"
    spoil(folder)
    # The disk of this machine cannot be filled for a test: what is asked of it is answered otherwise.
    full = "import os; os.statvfs = lambda _: os.statvfs_result((4096, 4096, 1, 0, 0, 0, 0, 0, 0, 255))\n"
    done = counted(folder, full if why == "it is full" else "")

    assert (done.returncode, done.stdout) == (0, "1.0\n")
    assert why in done.stderr
    assert not list(tmp_path.rglob("*.db"))
