"""`florin top` on a real exporter and in a (pseudo-)terminal: it draws, follows the window, and ends when asked."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.servers.process import wait_until
from tests.conftest import Database
from tests.ops.figures_stub import send, stub_exporter

ROOT: Final = Path(__file__).resolve().parents[2]
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
_HOME: Final = "\x1b[H"
"""Where each frame begins."""
_PATIENCE_S: Final = 40.0


class Exporter:
    """The exporter's process, on a port that stays its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._listening.close()

    def start(self) -> None:
        """Begin to answer."""
        fd = self._listening.fileno()
        command = [sys.executable, "-m", "exporter", "--fd", str(fd)]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, pass_fds=[fd])

    def kill(self) -> None:
        """It answers no more, but its socket is still there: who asks waits in vain."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def exporter(database: Database, redis_url: str) -> Iterator[Exporter]:
    """An exporter of an idle stack without processes."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("FLORIN_", "PROMETHEUS"))}
    with Exporter(others | {"DATABASE_URL": database.app_url, "REDIS_URL": redis_url}) as running:
        yield running


def florin(*arguments: str, columns: int = 100) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns), "FLORIN_API": "", "FLORIN_API_KEY": ""})


class Terminal:
    """`florin top` in a window, as a person has it."""

    def __init__(self, arguments: list[str], columns: int, rows: int) -> None:
        self._main, their = pty.openpty()
        self._their = their
        self.resize(columns, rows)
        self.attributes = termios.tcgetattr(their)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "top", "--every", "0.5", *arguments],
            cwd=ROOT,
            env=environment | {"TERM": "xterm-256color"},
            stdin=their,
            stdout=their,
            stderr=their,
            start_new_session=True,
        )
        self.shown = ""

    def resize(self, columns: int, rows: int) -> None:
        """Drag its corner."""
        fcntl.ioctl(self._their, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, key: bytes) -> None:
        """On the keyboard."""
        os.write(self._main, key)

    def read_until(self, seen: Callable[[str], bool]) -> str:
        """The next whole frame that is as wanted, without its colours."""
        drawn = ""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            ready, _, _ = select.select([self._main], [], [], 0.2)
            if ready:
                drawn += os.read(self._main, 65_536).decode(errors="replace")
            frames = [_ESCAPES.sub("", each) for each in drawn.split(_HOME)]
            for whole in frames[1:-1]:
                if seen(whole):
                    self.shown += drawn
                    return whole
        raise AssertionError(f"it was never drawn; this was: {drawn[-3000:]!r}")

    def rest(self) -> str:
        """What it says at last, and how it leaves the terminal."""
        wait_until(lambda: self.process.poll() is not None, timeout_s=_PATIENCE_S)
        drawn = ""
        while select.select([self._main], [], [], 0.2)[0]:
            drawn += os.read(self._main, 65_536).decode(errors="replace")
        return drawn

    def close(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._main)
        os.close(self._their)

    def is_as_before(self) -> bool:
        """Whether what is typed is seen again."""
        return termios.tcgetattr(self._their) == self.attributes


@contextmanager
def terminal(*arguments: str, columns: int = 110, rows: int = 45) -> Iterator[Terminal]:
    window = Terminal(list(arguments), columns, rows)
    try:
        yield window
    finally:
        window.close()


def widest(drawn: str) -> int:
    return max(len(line.rstrip("\r")) for line in drawn.split("\n"))


def test_one_frame_for_a_script(exporter: Exporter) -> None:
    """The verdict first, then figures; within the columns that there are."""
    assert wait_until(lambda: florin("top", "--once", "--exporter", exporter.url).exit_code == 0, timeout_s=_PATIENCE_S)
    assert wait_until(
        lambda: "No scheduler leads" in florin("top", "--once", "--exporter", exporter.url).stdout,
        timeout_s=_PATIENCE_S,
    )
    wide, narrow = (florin("top", "--once", "--exporter", exporter.url, columns=each).stdout for each in (100, 80))

    assert wide.startswith(" WARNING ")
    for words in ("backlog", "DEAD LETTERS  0 open", "ALERTS  none open", "commands", "settled /s"):
        assert words in wide
        assert words in narrow
    assert widest(wide) <= 100
    assert widest(narrow) <= 80


def test_what_fires_in_prometheus_is_shown(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at a terminal must not see less than whoever looks at the page, or is called."""
    fires = {
        "labels": {"alertname": "Burning", "severity": "page"},
        "annotations": {"summary": "A budget burns"},
        "state": "firing",
        "activeAt": "2026-01-01T00:00:00Z",
    }
    with stub_exporter() as prometheus:
        prometheus.answers(lambda it: send(it, json.dumps({"data": {"alerts": [fires]}}).encode()))
        monkeypatch.setenv("FLORIN_PROMETHEUS_URL", prometheus.url)
        assert wait_until(
            lambda: florin("top", "--once", "--exporter", exporter.url).exit_code == 0, timeout_s=_PATIENCE_S
        )
        with_it = florin("top", "--once", "--exporter", exporter.url).stdout
        prometheus.answers(lambda it: send(it, b"", status=500))
        without = florin("top", "--once", "--exporter", exporter.url).stdout

    assert with_it.startswith(" STUCK  Alert Burning\n    A budget burns")
    assert re.search(r"Burning +page", with_it)
    assert "Florin's own only" in without


def test_an_exporter_that_hangs_is_not_said_to_be_missing(exporter: Exporter) -> None:
    """Starting what runs already helps nobody."""
    exporter.kill()
    hung = florin("top", "--once", "--exporter", exporter.url)

    assert "hangs, restart it" in hung.stderr
    assert "./florin up" not in hung.stderr


def test_it_draws_follows_the_window_and_ends_with_q(exporter: Exporter) -> None:
    """The terminal afterwards is as it was before: nobody has to type `reset` blindly."""
    with terminal("--exporter", exporter.url) as window:
        large = window.read_until(lambda drawn: "DEAD LETTERS" in drawn and "q ends" in drawn)
        window.resize(70, 20)
        small = window.read_until(lambda drawn: widest(drawn) <= 70)
        window.press(b"x")
        window.press(b"q")
        rest = window.rest()

        assert widest(large) == 110
        assert "settled /s" in small
        assert window.process.returncode == 0
        assert "\x1b[?1049h" in window.shown
        assert "\x1b[?1049l" in rest
        assert window.is_as_before()


def test_control_c_ends_it_without_a_traceback(exporter: Exporter) -> None:
    """As every program's."""
    with terminal("--exporter", exporter.url) as window:
        window.read_until(lambda drawn: "q ends" in drawn)
        os.kill(window.process.pid, signal.SIGINT)
        rest = window.rest()

        assert window.process.returncode == 0
        assert "Traceback" not in rest
        assert window.is_as_before()


def test_a_stack_that_goes_away_and_comes_back(exporter: Exporter) -> None:
    """It says that there are no figures, does not end, takes keys meanwhile, and goes on by itself."""
    with terminal("--exporter", exporter.url) as window:
        window.read_until(lambda drawn: "DEAD LETTERS" in drawn)
        exporter.kill()
        gone = window.read_until(lambda drawn: "NO FIGURES" in drawn)
        exporter.start()
        window.read_until(lambda drawn: "DEAD LETTERS" in drawn)
        window.press(b"q")
        window.rest()

        assert "does not answer" in gone
        assert window.process.returncode == 0


def test_where_there_is_no_stack_it_says_how_to_start_one(data_dir: Path) -> None:
    """A sentence, and no traceback; and a pipe is no terminal."""
    nobody = florin("top", "--once", "--data-dir", str(data_dir))
    wrong = florin("top", "--once", "--exporter", "http://127.0.0.1:1")
    odd = florin("top", "--once", "--exporter", "nonsense://[")
    piped = florin("top", "--exporter", "http://127.0.0.1:1")

    assert (nobody.exit_code, wrong.exit_code, odd.exit_code, piped.exit_code) == (1, 1, 1, 2)
    assert nobody.stderr.count("./florin up") == wrong.stderr.count("./florin up") == 1
    assert "does not answer" in wrong.stderr
    assert "--once" in piped.stderr
