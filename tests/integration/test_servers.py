"""The embedded servers: durable, private, restartable, and gone when their parent is gone."""

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
import pytest

from cli.servers import LocalServers, ServersError, process
from cli.servers.identity import account_for, can_run
from cli.servers.postgres import OUTSIDE
from cli.servers.process import free_port, wait_until
from tests.processes import command_line, is_running

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parents[2]

HOLD: Final = """
import sys
from pathlib import Path
from cli.servers import LocalServers
with LocalServers(Path(sys.argv[1])) as servers:
    print(servers.postgres.pid, servers.redis.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def local(servers: LocalServers) -> Iterator[LocalServers]:
    """The session's servers, which these tests kill and which later tests find running."""
    yield servers
    for server in servers.running:
        if server.poll() is not None:
            server.start()


def test_a_killed_postgres_loses_no_committed_row(local: LocalServers) -> None:
    """What was committed before kill -9 is there after the restart, at the same address."""
    with psycopg.connect(local.owner_url, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS survivor")
        conn.execute("CREATE TABLE survivor (n int)")
        for n in range(50):
            conn.execute("INSERT INTO survivor VALUES (%s)", [n])
        address = local.owner_url
        local.postgres.kill()
    local.postgres.start()

    assert local.owner_url == address
    with psycopg.connect(local.owner_url) as conn:
        assert conn.execute("SELECT count(*) FROM survivor").fetchone() == (50,)


def test_a_killed_postgres_leaves_no_backend(local: LocalServers) -> None:
    """A session that is busy does not notice the death of its postmaster, and would go on writing."""
    with closing(psycopg.connect(local.owner_url)) as conn:
        backend = conn.info.backend_pid
        conn.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
        local.postgres.kill()

        assert not is_running(backend)
    local.postgres.start()


def test_a_stopped_postgres_starts_at_the_same_port(local: LocalServers) -> None:
    """Whoever was given the address may keep it, through a clean stop too."""
    address, first = local.owner_url, local.postgres.pid
    local.postgres.stop()
    local.postgres.start()

    assert (local.owner_url, local.postgres.pid == first) == (address, False)


def test_a_killed_redis_starts_at_the_same_port(local: LocalServers) -> None:
    """Whoever was given the address may keep it."""
    address = local.redis_url
    local.redis.kill()
    local.redis.start()

    assert local.redis_url == address


@pytest.mark.parametrize("impostor", [["true"], ["sleep", "60"]], ids=["zombie", "other program"])
def test_a_stale_pid_file_does_not_keep_postgres_from_starting(local: LocalServers, impostor: list[str]) -> None:
    """After kill -9 the recorded pid may be a zombie that init never reaps, or by now another program's."""
    account = account_for(local.postgres.cluster)
    local.postgres.kill()
    other = subprocess.Popen(impostor, user=account.uid if account else None)
    try:
        pid_file = local.postgres.cluster / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n" + pid_file.read_text().split("\n", 1)[1])
        if impostor == ["true"]:
            assert wait_until(lambda: not is_running(other.pid), timeout_s=5)

        local.postgres.start()
    finally:
        other.kill()
        other.wait()


def test_a_data_directory_has_one_stack(local: LocalServers) -> None:
    """Two Postgres on one cluster would ruin it. The message says whom to stop."""
    with pytest.raises(ServersError, match=f"pid {os.getpid()}") as refusal, LocalServers(local.data_dir.path):
        pass

    assert str(local.data_dir.path) in str(refusal.value)
    with psycopg.connect(local.owner_url):
        pass


def test_nobody_can_read_a_password(local: LocalServers) -> None:
    """Command lines are public, and so are files unless their mode says otherwise."""
    passwords = [local.data_dir.secret("postgres.password"), local.data_dir.secret("valkey.password")]
    lines = "".join(
        command_line(int(entry.name)) for entry in Path("/proc").glob("[0-9]*") if is_running(int(entry.name))
    )
    holders = [
        path
        for path in local.data_dir.path.rglob("*")
        if path.is_file() and "base" not in path.parts and any(word.encode() in path.read_bytes() for word in passwords)
    ]

    assert len(passwords[0]) >= 32
    assert not any(word in lines for word in passwords)
    assert [oct(path.stat().st_mode & 0o077) for path in holders] == ["0o0"] * 3


def test_a_login_needs_the_password(local: LocalServers) -> None:
    """Other users of the machine can reach a loopback port."""
    stranger = local.owner_url.replace(local.data_dir.secret("postgres.password"), "guess")

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(stranger)


def test_postgres_is_as_durable_as_in_production(local: LocalServers) -> None:
    """A number measured here, and a crash provoked here, mean something."""
    wanted = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding", "TimeZone"]
    with psycopg.connect(local.owner_url) as conn:
        row = conn.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in wanted)).fetchone()

    assert row == ("on", "on", "on", "on", "UTF8", "UTC")


def test_a_data_directory_may_have_any_name(data_dir: Path) -> None:
    """People have spaces, quotes and accents in theirs."""
    strange = data_dir / """l'été: "50 %" #1"""
    with LocalServers(strange) as servers, psycopg.connect(servers.owner_url):
        assert (strange / "valkey" / "appendonlydir").is_dir()


def test_the_next_run_finds_data_and_ports_again(data_dir: Path) -> None:
    """Addresses that were written down yesterday still work today."""
    with LocalServers(data_dir) as first:
        addresses = first.owner_url, first.redis_url
        with psycopg.connect(first.owner_url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 1 AS n")
    with LocalServers(data_dir) as second:
        assert (second.owner_url, second.redis_url) == addresses
        with psycopg.connect(second.owner_url) as conn:
            assert conn.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_port_that_somebody_else_has_taken_is_given_up(data_dir: Path) -> None:
    """Yesterday's port is a wish, not a condition."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for name in ("postgres.port", "valkey.port"):
            (data_dir / name).write_text(str(taken))
        with LocalServers(data_dir) as servers:
            assert f":{taken}/" not in servers.owner_url + servers.redis_url
            with psycopg.connect(servers.owner_url):
                pass


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_port_taken_at_the_last_moment_is_given_up(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Between asking for a free port and listening on it, another program may be quicker."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        offers = [taken]
        monkeypatch.setattr(process, "free_port", lambda wish: offers.pop() if offers else free_port(wish))
        with LocalServers(data_dir, postgres=server == "postgres", redis=server == "redis") as servers:
            assert not offers
            assert f":{taken}/" not in servers.owner_url + servers.redis_url


def test_a_half_made_cluster_is_made_again(data_dir: Path) -> None:
    """The first start may be killed in the middle."""
    unfinished = data_dir / ".postgres-18.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")

    with LocalServers(data_dir) as servers, psycopg.connect(servers.owner_url):
        assert not unfinished.exists()


def test_no_server_outlives_a_killed_parent(data_dir: Path) -> None:
    """kill -9 of the supervisor must not leave a Postgres that holds the data directory, and the next start works."""
    parent = subprocess.Popen([sys.executable, "-c", HOLD, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert [is_running(pid) for pid in pids] == [True, True]
    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    assert wait_until(lambda: not any(is_running(pid) for pid in pids), timeout_s=10)
    with LocalServers(data_dir) as servers, psycopg.connect(servers.owner_url):
        pass


def test_a_server_that_outlived_its_parent_is_ended_first(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no death signals, two servers on one set of files would be worse than a slow start."""
    monkeypatch.setattr(process, "_dying_with", lambda *_: None)
    with LocalServers(data_dir) as first:
        orphans = [first.postgres.pid, first.redis.pid]
        first.data_dir.release()
        with LocalServers(data_dir) as second, psycopg.connect(second.owner_url):
            assert [is_running(pid) for pid in orphans] == [False, False]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_root_keeps_the_cluster_outside_of_a_private_folder(data_dir: Path) -> None:
    """Under a 0700 /root the account of Postgres reaches nothing, and nothing of root's is opened up for it."""
    private = data_dir / "private"
    private.mkdir(mode=0o700)
    inside = private / "stack"
    try:
        for _ in range(2):
            with LocalServers(inside) as servers, psycopg.connect(servers.owner_url):
                assert servers.postgres.cluster.is_relative_to(OUTSIDE)
        assert private.stat().st_mode & 0o777 == 0o700
    finally:
        LocalServers(inside).postgres.remove_outside()

    with pytest.raises(ServersError, match="which is gone"), LocalServers(inside):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_root_copies_programs_that_the_other_account_cannot_reach(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment under a 0700 /root is of no use to the account of Postgres."""
    monkeypatch.setattr("cli.servers.postgres.OUTSIDE", data_dir / "outside")
    monkeypatch.setattr("cli.servers.postgres.can_run", lambda account, command: False)

    with LocalServers(data_dir, redis=False) as servers:
        assert command_line(servers.postgres.pid).startswith(f"{data_dir}/outside/postgres-programs-")


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test is this test")
def test_an_ordinary_user_needs_no_root(data_dir: Path) -> None:
    """Nothing is written outside the data directory, and nobody has to be root."""
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("-packages"))])
    python = next(
        (each for each in (sys.executable, "/usr/bin/python3") if can_run(account_for(data_dir), [each, "-c", ""])),
        None,
    )
    if python is None:
        pytest.skip("no Python that an ordinary user may run")
    done = subprocess.run(
        [python, "-c", HOLD, data_dir],
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        input="",
        capture_output=True,
        text=True,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
    )

    assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in data_dir.rglob("*")} == {nobody.pw_uid}
