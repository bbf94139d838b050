"""The supervisor: what dies is started again and said, what stops does so in order, and nothing is left behind."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from cli.servers import LocalServers, ServersError
from cli.servers.data_dir import DataDir
from cli.servers.interruption import interruption
from cli.servers.postgres import Postgres
from cli.servers.process import wait_until
from cli.servers.valkey import Valkey
from cli.supervisor import Patience, Program, Supervisor
from tests.processes import is_running

READY: Final = """
import os, signal, sys, time
def ready():
    fd = int(os.environ["FLORIN_READY_FD"])
    os.write(fd, b"1")
    os.close(fd)
"""
OBEDIENT: Final = READY + "ready(); signal.sigwait([signal.SIGTERM])"
LEAVING_A_NOTE: Final = (
    READY
    + """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ready()
signal.sigwait([signal.SIGTERM])
time.sleep(float(sys.argv[3]))
open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
"""
)
STUBBORN: Final = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(60)"
SHORT_LIVED: Final = READY + "ready(); sys.exit(3)"
BROKEN: Final = "raise SystemExit('the reason')"
SILENT: Final = "import time; time.sleep(60)"

IMPATIENT: Final = Patience(ready_s=10, stop_s=10, first_delay_s=0.01, longest_delay_s=0.04)


class Stage:
    """What the tests put together: a data directory, and everything that was said."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = DataDir(data_dir)
        self.said: list[str] = []

    def supervise(
        self,
        *stages: list[Program],
        patience: Patience = IMPATIENT,
        servers: Mapping[str, Postgres | Valkey] | None = None,
    ) -> Supervisor:
        return Supervisor(
            stages,
            data_dir=self.data_dir,
            environment=dict(os.environ),
            servers=servers or {},
            say=self.said.append,
            patience=patience,
        )

    def until(self, supervisor: Supervisor, condition: Callable[[], bool]) -> None:
        def looked() -> bool:
            supervisor.look()
            return condition()

        assert wait_until(looked, timeout_s=10), self.said


@pytest.fixture
def stage(data_dir: Path) -> Stage:
    return Stage(data_dir)


def program(name: str, script: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Program:
    return Program(name, [sys.executable, "-c", script, *arguments], pass_fds)


def test_a_killed_child_is_started_again_and_that_is_said(stage: Stage) -> None:
    """Whoever reads the terminal learns which one it was, how it ended and that it is back."""
    with stage.supervise([program("worker-1", OBEDIENT)]) as supervisor:
        first = supervisor.pids["worker-1"]
        os.kill(first, signal.SIGKILL)
        stage.until(supervisor, lambda: supervisor.pids.get("worker-1", first) != first)
        second = supervisor.pids["worker-1"]

    assert stage.said == [
        f"worker-1 (pid {first}) was killed by SIGKILL; starting it again in 0.0 s",
        f"worker-1 runs again, as pid {second}",
    ]
    assert not is_running(second)


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(stage: Stage) -> None:
    """A child that cannot run must not take the machine with it, nor fill the disk with its log."""
    slower = Patience(first_delay_s=0.1, longest_delay_s=0.3)
    with stage.supervise([program("api-1", OBEDIENT), program("worker-1", OBEDIENT)], patience=slower) as supervisor:
        for _ in range(4):
            stage.until(supervisor, lambda: "worker-1" in supervisor.pids)
            os.kill(supervisor.pids["worker-1"], signal.SIGKILL)
            stage.until(supervisor, lambda: "worker-1" not in supervisor.pids)

    assert [line.rsplit(" ", 2)[1] for line in stage.said if "killed" in line] == ["0.1", "0.2", "0.3", "0.3"]


@pytest.mark.parametrize("command", [["/nowhere/prometheus"], [sys.executable, "-c", BROKEN]])
def test_what_florin_does_not_need_keeps_nothing_from_running(stage: Stage, command: list[str]) -> None:
    """Prometheus may be broken, or gone since the start: that is said, it is tried again, and money goes on."""
    broken = Program("prometheus", command, ready_url="http://127.0.0.1:1/-/ready")
    with stage.supervise([program("worker-1", OBEDIENT)], [broken]) as supervisor:
        stage.until(supervisor, lambda: sum("prometheus" in line for line in stage.said) > 3)
        pid = supervisor.pids["worker-1"]

        assert is_running(pid)
    assert not any("worker-1" in line for line in stage.said)


def test_what_florin_does_not_need_is_not_waited_for_without_end(stage: Stage) -> None:
    """A Prometheus that reads a long log first is named, and the stack is up."""
    hasty = Patience(others_ready_s=0.1)
    late = Program("prometheus", [sys.executable, "-c", SILENT], ready_url="http://127.0.0.1:1/-/ready")
    with stage.supervise([program("worker-1", OBEDIENT)], [late], patience=hasty) as supervisor:
        assert set(supervisor.pids) == {"worker-1", "prometheus"}
    assert stage.said == ["prometheus not ready yet; Florin runs without"]


def test_what_is_told_nothing_knows_no_password(stage: Stage) -> None:
    """The environment has the database's address, and not every program is ours."""
    note = stage.data_dir.path / "note"
    script = "import os, sys; open(sys.argv[1], 'w').write(' '.join(os.environ))"
    told = Program(
        "other", [sys.executable, "-c", script, str(note)], ready_url="http://127.0.0.1:1/", environment={"A": ""}
    )
    with stage.supervise([told]) as supervisor:
        stage.until(supervisor, lambda: note.exists() and note.read_text() != "")
    names = set(note.read_text().split())

    assert "A" in names
    assert not names & {"PROMETHEUS_MULTIPROC_DIR", "FLORIN_READY_FD", "PATH"}


def test_a_child_that_was_well_for_long_is_started_at_once(stage: Stage) -> None:
    """One crash a day is not a crash loop."""
    forgiving = Patience(first_delay_s=0.1, longest_delay_s=0.3, calm_after_s=0)
    with stage.supervise([program("worker-1", OBEDIENT)], patience=forgiving) as supervisor:
        for _ in range(3):
            stage.until(supervisor, lambda: "worker-1" in supervisor.pids)
            os.kill(supervisor.pids["worker-1"], signal.SIGKILL)
            stage.until(supervisor, lambda: "worker-1" not in supervisor.pids)

    assert [line.rsplit(" ", 2)[1] for line in stage.said if "killed" in line] == ["0.1"] * 3


def test_stages_stop_one_after_the_other(stage: Stage, tmp_path: Path) -> None:
    """Nothing new comes in before what is under way is finished; the slowest of a stage holds the next one back."""
    stopped = tmp_path / "stopped"

    def leaving(name: str, after_s: str) -> Program:
        return program(name, LEAVING_A_NOTE, str(stopped), name, after_s)

    with stage.supervise(
        [leaving("api-1", "0.4"), leaving("api-2", "0.2")], [leaving("scheduler", "0.1")], [leaving("worker-1", "0")]
    ):
        pass

    assert stopped.read_text().split() == ["api-2", "api-1", "scheduler", "worker-1"]
    assert stage.said == []


def test_a_child_that_does_not_stop_is_killed_and_that_is_said(stage: Stage) -> None:
    """A stop ends, whatever the children think of it."""
    with stage.supervise([program("worker-1", STUBBORN)], patience=Patience(stop_s=0.2)) as supervisor:
        pid = supervisor.pids["worker-1"]

    assert not is_running(pid)
    assert stage.said == [f"worker-1 (pid {pid}) had to be killed: it did not stop when asked to"]


def test_a_second_interrupt_does_not_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C twice means now."""
    with stage.supervise([program("worker-1", STUBBORN)], patience=Patience(stop_s=3600)) as supervisor:
        pid = supervisor.pids["worker-1"]
        monkeypatch.setattr(interruption, "now", True)

    assert not is_running(pid)


def test_a_child_that_cannot_start_stops_the_start_with_its_own_words(stage: Stage) -> None:
    """The reason is in its log; the person at the terminal should not have to look for it."""
    with (
        pytest.raises(ServersError) as failure,
        stage.supervise([program("api-1", BROKEN)], [program("worker-1", OBEDIENT)]),
    ):
        pass

    assert str(failure.value).startswith("api-1 ended with exit code 1 before it was ready")
    assert str(failure.value).endswith("the reason")


def test_a_child_that_is_never_ready_stops_the_start(stage: Stage) -> None:
    """'It runs' is only said when it does."""
    supervisor = stage.supervise([program("api-1", OBEDIENT), program("api-2", SILENT)], patience=Patience(ready_s=1))
    with pytest.raises(ServersError, match=r"not ready after 1 s: api-2$"), supervisor:
        pass

    assert supervisor.pids == {}


def test_connections_wait_while_an_api_process_restarts(stage: Stage) -> None:
    """The socket is the supervisor's, so a crash costs a client time and not a refusal."""
    serve = (
        READY
        + "import socket; s = socket.socket(fileno=int(sys.argv[1])); ready()\nwhile True: s.accept()[0].send(b'hello')"
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        api = program("api-1", serve, str(listener.fileno()), pass_fds=(listener.fileno(),))
        with stage.supervise([api]) as supervisor:
            pid = supervisor.pids["api-1"]
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda: not is_running(pid), timeout_s=5)
            with socket.create_connection(listener.getsockname(), timeout=10) as client:
                stage.until(supervisor, lambda: supervisor.pids.get("api-1", pid) != pid)

                assert client.recv(5) == b"hello"


def test_the_metrics_of_an_earlier_run_are_not_counted(stage: Stage) -> None:
    """Counters begin at zero with every run, as Prometheus expects of a process that has restarted."""
    old = stage.data_dir.path / "metrics" / "counter_1.db"
    old.parent.mkdir()
    old.touch()
    with stage.supervise([program("api-1", OBEDIENT)]):
        assert not old.exists()


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[Valkey]:
    with LocalServers(data_dir / "servers", postgres=False) as servers:
        yield servers.redis


def test_a_dead_server_is_started_again_at_its_port(stage: Stage, valkey: Valkey) -> None:
    """Children reconnect by themselves, to the address that they were given."""
    url, pid = valkey.url, valkey.pid
    with stage.supervise([program("api-1", OBEDIENT)], servers={"Valkey": valkey}) as supervisor:
        os.kill(pid, signal.SIGKILL)
        stage.until(supervisor, lambda: len(stage.said) == 2)

    assert stage.said == [
        "Valkey was killed by SIGKILL; starting it again in 0.0 s",
        f"Valkey runs again, as pid {valkey.pid}",
    ]
    assert valkey.url == url


def test_children_log_to_files_of_their_own_which_do_not_grow_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said before the restart is kept; a log that is too large is put aside at the next start of the stack."""
    monkeypatch.setattr("cli.servers.data_dir.ROTATE_ABOVE_BYTES", 10)
    speak = READY + "print(sys.argv[1], flush=True); ready(); signal.sigwait([signal.SIGTERM])"
    log = stage.data_dir.path / "logs" / "api-1.log"
    for word in ("first word", "second word"):
        with stage.supervise([program("api-1", speak, word)]):
            assert log.read_text() == f"{word}\n"

    assert log.with_suffix(".log.1").read_text() == "first word\n"
