"""`florin bench` measures what it says: every way settles every command, on real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

pytestmark = pytest.mark.slow


def test_every_way_is_measured_beside_the_naive_one(tmp_path: Path) -> None:
    """A ratio without its yardstick from the same run would say nothing."""
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cli",
            "bench",
            "--commands",
            "400",
            "--accounts",
            "20",
            "--runs",
            "1",
            "--json",
            figures,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())

    assert report["figures"].keys() == {"engine", "bulk", "naive"}
    assert all(each["settled_per_s"] > 0 for each in report["figures"].values())
    assert report["figures"]["naive"]["of_naive"] == 1.0
    assert report["machine"]["durable"] == {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
