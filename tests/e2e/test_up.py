"""`florin up` as a user has it: one command, real servers and real children, and nothing left when it is over."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psycopg
import pytest

from cli import monitoring
from cli.instance import NoStackError, find
from cli.servers import LocalServers
from cli.servers.process import free_port, wait_until
from tests.conftest import Database
from tests.folders import throwaway_folder
from tests.processes import command_line, is_running

LIMIT_S: Final = 60
OUTSIDE: Final = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "FLORIN_API", "FLORIN_API_KEY")


class Up:
    """One run of the command. It is stopped at the end of the ``with`` block, if it has not ended by then."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        prometheus: str | None = "--without-prometheus",
    ) -> None:
        fewest = ["--workers", "1", *([] if prometheus is None else [prometheus])]
        arguments = ["--data-dir", str(data_dir), "--port", str(port), *fewest, *options]
        inherited = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "up", *arguments],
            env={**inherited, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.where: dict[str, Any] = {}
        self.stderr = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()

    def ready(self) -> dict[str, Any]:
        """Wait for the line of JSON."""
        self.where.update(json.loads(self.read_until("}")))
        return self.where

    def read_until(self, part: str) -> str:
        """Wait for the line of standard output that has the part, and return all lines until then."""
        assert self.process.stdout is not None
        text = ""
        while part not in text:
            line = self.process.stdout.readline()
            if not line:
                pytest.fail(f"florin up ended instead: {self.process.communicate(timeout=LIMIT_S)[1]}")
            text += line
        return text

    def await_stderr(self, part: str) -> None:
        """Wait until it has said something to the person at the terminal."""
        assert self.process.stderr is not None
        while part not in self.stderr:
            line = self.process.stderr.readline()
            assert line, self.stderr
            self.stderr += line

    def submit(self, idempotency_key: str, **command: str) -> dict[str, Any]:
        """Send a command, again while the answer is 503 as a client does, and wait for its outcome."""
        response = self._post(idempotency_key, command)
        end = time.monotonic() + LIMIT_S
        while response.status_code == 503 and time.monotonic() < end:
            time.sleep(float(response.headers["Retry-After"]))
            response = self._post(idempotency_key, command)
        assert response.status_code == 200, response.text
        outcome: dict[str, Any] = response.json()
        return outcome

    def _post(self, idempotency_key: str, command: dict[str, str]) -> httpx.Response:
        return httpx.post(
            f"{self.where['api']}/v1/commands",
            json=command,
            headers={
                "Authorization": f"Bearer {self.where['api_key']}",
                "Idempotency-Key": idempotency_key,
                "Prefer": "wait=20",
            },
            timeout=30,
            trust_env=False,
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as a user would, and return its exit code."""
        self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        self.stderr += self.process.communicate(timeout=LIMIT_S)[1]
        return self.process.returncode

    def pids(self) -> set[int]:
        """Every process that belongs to the run: all that were started, directly or not, by its process."""
        parents = {int(entry.name): parent_of(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
        family = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return family


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def shared() -> Iterator[Up]:
    """A stack for the tests that leave it running."""
    with throwaway_folder() as folder, Up(folder, "--json") as up:
        up.ready()
        yield up


def test_one_line_of_json_says_where_everything_is(shared: Up) -> None:
    """A script starts the stack, reads one line, and can go to work."""
    where = shared.where
    with psycopg.connect(where["database_url"]) as conn:
        role = conn.execute("SELECT current_user").fetchone()

    assert role == ("florin_app",)
    assert where["pid"] == shared.process.pid
    assert where["redis_url"].startswith("redis://")
    assert "florin_commands_accepted_total" in httpx.get(where["metrics"], trust_env=False).text


def test_money_goes_from_the_command_line_to_the_ledger_and_is_still_there_tomorrow(data_dir: Path) -> None:
    """The data directory is the stack: with it, a later start has the same accounts, addresses and key, and soon."""
    with Up(data_dir, "--json") as up:
        first = up.ready()
        up.submit("open-1", type="open_account", account="alice", currency="USD")
        up.submit("deposit-1", type="deposit", account="alice", amount="10.50", currency="USD")
    began = time.monotonic()
    with Up(data_dir, "--json") as up:
        second = up.ready()
        took_s = time.monotonic() - began
        outcome = up.submit("deposit-2", type="deposit", account="alice", amount="1.00", currency="USD")

    assert outcome["balances"] == {"alice": "11.50"}
    same = ("api_key", "database_url", "owner_url", "redis_url")
    assert [second[name] for name in same] == [first[name] for name in same]
    assert took_s < 10


def test_what_is_printed_can_be_pasted(data_dir: Path) -> None:
    """The first thing that a newcomer does works, and the screen shows no password."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    with Up(data_dir) as up:
        text = up.read_until("10.50")
        find(data_dir)
        commands = [part for part in text.split("\n\n") if part.lstrip().startswith("curl")]
        answers = [
            json.loads(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout)
            for command in commands
        ]
        passwords = [(data_dir / f"{name}.password").read_text().strip() for name in ("application", "valkey")]

    assert [answer.get("status") for answer in answers] == ["applied", "applied"]
    assert not any(password in text for password in passwords)


def test_no_command_line_shows_a_secret(shared: Up) -> None:
    """Everybody on the machine can see the arguments of every process."""
    files = [*shared.data_dir.glob("*.password"), shared.data_dir / "api_key", shared.data_dir / "ops_key"]
    lines = "".join(command_line(pid) for pid in shared.pids() if is_running(pid))

    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "api_min" in lines
    assert not any(file.read_text().strip() in lines for file in files)


def test_the_link_to_the_page_can_look_and_nothing_else(shared: Up) -> None:
    """It is passed around and stands on walls: with the key for development in it, it could move money."""
    headers = {"Authorization": f"Bearer {shared.where['ops_key']}"}
    with httpx.Client(base_url=shared.where["api"], headers=headers, trust_env=False) as http:
        answers = [http.get(path).status_code for path in ("/v1/ops/overview", "/v1/commands", "/v1/alerts")]

    assert shared.where["ops_key"] != shared.where["api_key"]
    assert answers == [200, 403, 403]


def test_other_commands_find_the_stack_by_its_data_directory(shared: Up, data_dir: Path) -> None:
    """They need no address and no key on their command lines. Where nothing runs, they say how to start it."""
    assert find(shared.data_dir).api == shared.where["api"]
    with pytest.raises(NoStackError, match=r"start one with \./florin up"):
        find(data_dir)


def test_two_stacks_run_side_by_side(shared: Up, data_dir: Path) -> None:
    """A demonstration and a day's work do not meet."""
    with Up(data_dir, "--json", "--api-processes", "2") as other:
        other.ready()
        opened = [up.submit("open-bob", type="open_account", account="bob", currency="USD") for up in (shared, other)]

        assert [outcome["status"] for outcome in opened] == ["applied", "applied"]
        assert opened[0]["id"] != opened[1]["id"]


def test_a_data_directory_in_use_is_refused(shared: Up) -> None:
    """The message says who has it, and it goes on undisturbed."""
    with Up(shared.data_dir, "--json") as second:
        assert second.exit_code() == 1

    assert f"pid {shared.process.pid}" in second.stderr
    assert find(shared.data_dir).pid == shared.process.pid


def test_a_taken_port_is_named(data_dir: Path) -> None:
    """With what to do about it, and before anything has been started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Up(data_dir, port=port) as up:
            assert up.exit_code() == 1

    assert up.stderr == (
        f"florin: port {port} cannot be used: something else listens there; `--port 0` takes any free one\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_nothing_behind(data_dir: Path, number: signal.Signals) -> None:
    """No process, no entry that says that the stack runs, and nothing that the next start has to recover."""
    with Up(data_dir, "--json") as up:
        up.ready()
        family = up.pids()
        exit_code = up.end(number)

    assert exit_code == 0, up.stderr
    assert len(family) > 8
    assert [command_line(pid) for pid in family if is_running(pid)] == []
    assert up.stderr == "florin: stopping\n"
    assert not (data_dir / "stack.json").exists()
    assert "database system is shut down" in (data_dir / "logs" / "postgres.log").read_text()


def test_a_stop_before_it_is_ready_leaves_nothing_behind(data_dir: Path) -> None:
    """Ctrl-C is not kept waiting, and what was half made is made again by the next start."""
    with Up(data_dir, "--json") as up:
        assert wait_until((data_dir / "postgres-18" / "postmaster.pid").exists, timeout_s=LIMIT_S)
        family = up.pids()
        exit_code = up.end(signal.SIGINT)

    assert exit_code == 0, up.stderr
    assert [command_line(pid) for pid in family if is_running(pid)] == []
    with Up(data_dir, "--json") as again:
        again.ready()


def test_kill_9_leaves_nothing_behind(data_dir: Path) -> None:
    """A supervisor that was killed takes the rest with it; the next start is not in anybody's way."""
    with Up(data_dir, "--json") as up:
        up.ready()
        family = up.pids()
        up.end(signal.SIGKILL)

    assert wait_until(lambda: not any(is_running(pid) for pid in family), timeout_s=20)
    with pytest.raises(NoStackError):
        find(data_dir)
    with Up(data_dir, "--json") as again:
        again.ready()


def test_prometheus_and_alertmanager_come_and_go_with_the_stack(data_dir: Path) -> None:
    """The whole of it in one terminal. Prometheus may die: money goes on, and it comes back."""
    if monitoring.look_for(None).missing() is not None:
        pytest.skip("PROMETHEUS AND ALERTMANAGER ARE NOT INSTALLED: apt-get install prometheus prometheus-alertmanager")
    with Up(data_dir, "--json", "--with-prometheus") as up:
        where = up.ready()
        family = up.pids()
        (pid,) = [pid for pid in family if "prometheus.yml" in command_line(pid)]
        os.kill(pid, signal.SIGKILL)
        outcome = up.submit("open-1", type="open_account", account="alice", currency="USD")
        up.await_stderr("prometheus runs again")
        asked = {"query": 'up{job="florin"}'}

        def figures() -> list[Any]:
            try:
                answer = httpx.get(f"{where['prometheus']}/api/v1/query", params=asked, trust_env=False)
            except httpx.TransportError:
                return []
            return list(answer.json()["data"]["result"]) if answer.status_code == 200 else []

        assert wait_until(lambda: [each["value"][1] for each in figures()] == ["1"], timeout_s=LIMIT_S)
        assert httpx.get(f"{where['alertmanager']}/-/ready", trust_env=False).status_code == 200
        told = next(pid for pid in up.pids() if "-m api_min" in command_line(pid))
        environment = Path(f"/proc/{told}/environ").read_text().split("\0")
        exit_code = up.end()

    assert outcome["status"] == "applied"
    assert f"FLORIN_PROMETHEUS_URL={where['prometheus']}" in environment
    assert f"FLORIN_EXPORTER_URL={where['exporter']}" in environment
    assert exit_code == 0, up.stderr
    assert [command_line(pid) for pid in family if is_running(pid)] == []


def test_a_prometheus_that_is_not_installed_is_no_obstacle_unless_it_is_asked_for(data_dir: Path) -> None:
    """One line says what is missing and how to get it; who insists is told before anything has been started."""
    nothing = {"PATH": str(data_dir)}
    with Up(data_dir, "--with-prometheus", environment=nothing) as insisting:
        assert insisting.exit_code() == 1
    with Up(data_dir, prometheus=None, environment=nothing) as up:
        up.await_stderr("sudo apt-get install prometheus prometheus-alertmanager (Florin runs without)")
        up.end()

    assert "sudo apt-get install prometheus prometheus-alertmanager" in insisting.stderr
    assert insisting.stderr.count("\n") == 1


def test_what_is_killed_comes_back(data_dir: Path) -> None:
    """Any process may die at any moment, and money is moved again soon after, without anybody's help."""
    victims = ("-m workers", "-m exporter", "-m api_min", "-m scheduler", "postgres-18", "valkey-server")
    with Up(data_dir, "--json") as up:
        up.ready()
        up.submit("open-1", type="open_account", account="alice", currency="USD")
        balances = []
        for victim in victims:
            up.stderr = ""
            (pid,) = [pid for pid in up.pids() if is_running(pid) and victim in command_line(pid)]
            os.kill(pid, signal.SIGKILL)
            up.await_stderr("runs again")
            outcome = up.submit(f"deposit {victim}", type="deposit", account="alice", amount="1.00", currency="USD")
            balances.append(outcome["balances"]["alice"])

    assert balances == [f"{count}.00" for count in range(1, len(victims) + 1)]


def test_a_database_elsewhere_is_used_as_it_is(database: Database, redis_url: str, data_dir: Path) -> None:
    """Nothing is made up, no server is started, and only the migrations are told the owner's login."""
    elsewhere = {"DATABASE_OWNER_URL": database.owner_url, "DATABASE_URL": database.app_url, "REDIS_URL": redis_url}
    with Up(data_dir, "--json", environment=elsewhere) as up:
        where = up.ready()
        outcome = up.submit("open-1", type="open_account", account="alice", currency="USD")
        lines = " ".join(command_line(pid) for pid in up.pids() if is_running(pid))
        (worker,) = [pid for pid in up.pids() if "-m workers" in command_line(pid)]
        told = Path(f"/proc/{worker}/environ").read_text().split("\0")

    assert outcome["status"] == "applied"
    assert (where["database_url"], where["redis_url"]) == (database.app_url, redis_url)
    assert "postgres" not in lines
    assert "valkey" not in lines
    assert f"DATABASE_URL={database.app_url}" in told
    assert not any(database.owner_url in entry for entry in told)


def test_a_database_elsewhere_gets_the_role_of_the_application(data_dir: Path) -> None:
    """The owner's login is for migrations; what serves requests cannot change history."""
    with LocalServers(data_dir / "elsewhere", redis=False) as elsewhere:
        with Up(data_dir / "here", "--json", environment={"DATABASE_URL": elsewhere.owner_url}) as up:
            where = up.ready()
            up.submit("open-1", type="open_account", account="alice", currency="USD")
        with psycopg.connect(where["database_url"]) as conn:
            row = conn.execute("SELECT current_user, count(*) FROM command GROUP BY 1").fetchone()

    assert row == ("florin_app", 1)
    assert where["owner_url"] == elsewhere.owner_url


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://me:hush-hush@127.0.0.1:{port}/florin"),
        ("DATABASE_URL", "postgresql//me:hush-hush@127.0.0.1:{port}/florin"),
        ("REDIS_URL", "redis://:hush-hush@127.0.0.1:{port}/0"),
        ("REDIS_URL", "redis//:hush-hush@127.0.0.1:{port}/0"),
    ],
)
def test_a_server_that_does_not_answer_is_named_without_its_password(data_dir: Path, name: str, url: str) -> None:
    """Error messages end up in logs and in chats."""
    with Up(data_dir, environment={name: url.format(port=free_port())}) as up:
        assert up.exit_code() == 1

    assert up.stderr.startswith(f"florin: {name} ")
    assert "hush-hush" not in up.stderr
