"""The schema goes forward once, whoever starts at the same moment, and stops with a word of advice when it cannot."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, LiteralString
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from cli.servers import LocalServers
from migrations import MigrationError, allow_login, migrate
from migrations.__main__ import main
from migrations.runner import FOLDER, LOCK
from tests.eventually import eventually

ROOT: Final = FOLDER.parent
ALL: Final = [path.stem for path in sorted(FOLDER.glob("*.sql"))]


@pytest.fixture(scope="module")
def own_database(servers: LocalServers) -> Iterator[str]:
    """One for all tests of this file, as its owner, on a server that knows the application's role."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(servers.postgres.url_of("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(servers.postgres.url_of(name))
        yield servers.postgres.url_of(name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty(own_database: str) -> str:
    """The database with nothing in it."""
    with psycopg.connect(own_database) as conn:
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
    return own_database


class Folder:
    """Migrations of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, number: int, text: str) -> None:
        """Add the file with this number, or edit it."""
        (self.path / f"{number:04}_step.sql").write_text(text)

    def remove(self, number: int) -> None:
        """Forget the file, as an old checkout has."""
        (self.path / f"{number:04}_step.sql").unlink()

    def migrate(self, owner_url: str) -> list[str]:
        """Bring the database forward to the newest file."""
        return migrate(owner_url, self.path, wait_seconds=0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """With one migration in it."""
    folder = Folder(tmp_path)
    folder.write(1, "CREATE TABLE one (n int);")
    return folder


def ask(url: str, query: LiteralString) -> Any:
    """The one value that the query leads to."""
    with psycopg.connect(url) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def tables(url: str) -> set[str]:
    """What is in the database, without the history of migrations."""
    found = ask(url, "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = 'public'")
    return set(found or ()) - {"schema_migration"}


def history(url: str) -> list[int]:
    """The migrations that the database says it has."""
    return list(ask(url, "SELECT array_agg(version ORDER BY version) FROM schema_migration") or ())


# Runners.


def test_of_several_runners_at_once_each_migration_is_applied_by_one(empty: str) -> None:
    """Every process of a deployment may try. They are kept waiting until all are there, and then go in together."""
    with psycopg.connect(empty, autocommit=True) as holder, ThreadPoolExecutor(4) as threads:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", LOCK)
        try:
            runners = [threads.submit(migrate, empty) for _ in range(4)]
            eventually(lambda: ask(empty, WAITING_RUNNERS) == 4)
            before = tables(empty)
        finally:
            holder.execute("SELECT pg_advisory_unlock(%s, %s)", LOCK)
        applied = [name for runner in runners for name in runner.result()]

    assert before == set()
    assert applied == ALL
    assert history(empty) == list(range(1, len(ALL) + 1))
    assert migrate(empty) == []


WAITING_RUNNERS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'florin migrations'
        AND query LIKE '%pg_try_advisory_lock%'
"""


def test_a_runner_does_not_wait_for_another_for_ever(empty: str, folder: Folder) -> None:
    """A deployment that hangs says what it hangs on."""
    with psycopg.connect(empty, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", LOCK)

        with pytest.raises(MigrationError, match="another migration is running on this database; wait for it"):
            folder.migrate(empty)
    assert folder.migrate(empty) == ["0001_step"]


def test_a_runner_that_dies_in_the_middle_stands_in_nobodys_way(empty: str, folder: Folder) -> None:
    """Its lock goes with its connection, and so does what it had begun. What is raised is what happened first."""
    folder.write(2, "CREATE TABLE two (n int); SELECT pg_terminate_backend(pg_backend_pid());")
    with pytest.raises(errors.AdminShutdown):
        folder.migrate(empty)
    left = tables(empty), history(empty)
    folder.write(2, "CREATE TABLE two (n int);")

    assert left == ({"one"}, [1])
    assert folder.migrate(empty) == ["0002_step"]


# Files.


def test_only_what_is_new_is_applied_and_in_order(empty: str, folder: Folder) -> None:
    """The third needs the second, and the first would fail if it were run again."""
    first = folder.migrate(empty)
    folder.write(2, "CREATE TABLE two (n int);")
    folder.write(3, "INSERT INTO two SELECT 5 FROM one RIGHT JOIN (SELECT) AS any_row ON true;")
    second = folder.migrate(empty)

    assert (first, second) == (["0001_step"], ["0002_step", "0003_step"])
    assert folder.migrate(empty) == []
    assert ask(empty, "SELECT sum(n) FROM two") == 5


def test_an_applied_file_that_was_edited_is_an_error(empty: str, folder: Folder) -> None:
    """The databases that have the old text would differ from now on from those that get the new one."""
    folder.migrate(empty)
    folder.write(1, "CREATE TABLE one (n bigint);")
    folder.write(2, "CREATE TABLE two (n int);")

    with pytest.raises(MigrationError, match="migration 0001 was edited after it was applied: undo that, add a new"):
        folder.migrate(empty)
    assert tables(empty) == {"one"}


def test_a_schema_that_is_newer_than_the_code_is_an_error(empty: str, folder: Folder) -> None:
    """The last file is missing: this is old code, or a checkout of another branch."""
    folder.write(2, "CREATE TABLE two (n int);")
    folder.migrate(empty)
    folder.remove(2)

    with pytest.raises(MigrationError, match="has migration 0002, unknown to this code: deploy newer code"):
        folder.migrate(empty)


def test_a_file_that_is_missing_in_between_is_an_error(empty: str, folder: Folder) -> None:
    """Applied or not, what comes after it was written for a schema that has it."""
    folder.write(2, "CREATE TABLE two (n int);")
    folder.migrate(empty)
    folder.write(3, "CREATE TABLE three (n int);")
    folder.remove(2)

    with pytest.raises(MigrationError, match=r"numbered from 0001 without a gap or a double, not \[1, 3\]"):
        folder.migrate(empty)
    assert tables(empty) == {"one", "two"}


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ("SELECT 1 / 0;", errors.DivisionByZero),
        ("INSERT INTO schema_migration VALUES (2, 'noted', 'already');", errors.UniqueViolation),
    ],
    ids=["its last statement fails", "the note that it was applied fails"],
)
def test_a_migration_that_fails_leaves_nothing_half_done(
    empty: str, folder: Folder, failing: str, error: type[psycopg.Error]
) -> None:
    """It can be mended and run again: the files before it stay, and of its own statements none does."""
    folder.write(2, f"CREATE TABLE two (n int); INSERT INTO one VALUES (1); {failing}")
    folder.write(3, "CREATE TABLE three (n int);")
    with pytest.raises(error):
        folder.migrate(empty)
    left = tables(empty), history(empty), ask(empty, "SELECT count(*) FROM one")
    folder.write(2, "CREATE TABLE two (n int);")

    assert left == ({"one"}, [1], 0)
    assert folder.migrate(empty) == ["0002_step", "0003_step"]


# Busy tables.


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Let the test do something in the pauses between the runner's tries, in place of waiting."""

    def during(do: Callable[[int], None]) -> None:
        taken: list[float] = []

        def sleep(seconds: float) -> None:
            taken.append(seconds)
            do(len(taken))

        monkeypatch.setattr("migrations.runner.time", SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep))

    return during


BUSY: Final = "SET LOCAL lock_timeout = '20ms'; ALTER TABLE one ADD COLUMN note text;"


def test_a_busy_table_is_waited_for_without_holding_up_others(
    empty: str, folder: Folder, pauses: Callable[[Callable[[int], None]], None]
) -> None:
    """A long report reads it. The migration tries again and again, and payments go on in between."""
    folder.migrate(empty)
    folder.write(2, BUSY)
    with psycopg.connect(empty) as report, psycopg.connect(empty, autocommit=True) as payments:
        payments.execute("SET lock_timeout = '1s'")
        report.execute("SELECT FROM one")

        def go_on(pause: int) -> None:
            payments.execute("INSERT INTO one VALUES (1)")
            if pause == 3:
                report.rollback()

        pauses(go_on)
        applied = folder.migrate(empty)

    assert applied == ["0002_step"]
    assert ask(empty, "SELECT count(*) FROM one WHERE note IS NULL") == 3


def test_a_table_that_stays_busy_is_given_up(
    empty: str, folder: Folder, pauses: Callable[[Callable[[int], None]], None]
) -> None:
    """Nothing is done, and nobody is locked out: whoever deploys finds out what keeps the table."""
    folder.migrate(empty)
    folder.write(2, BUSY)
    taken: list[int] = []
    pauses(taken.append)
    with psycopg.connect(empty) as report:
        report.execute("SELECT FROM one")
        with pytest.raises(errors.LockNotAvailable):
            folder.migrate(empty)

    assert len(taken) == 9
    assert history(empty) == [1]
    assert folder.migrate(empty) == ["0002_step"]


# The application's login.


def as_application(owner_url: str, password: str) -> str:
    """The address under which the application would log in with this password."""
    address = urlsplit(owner_url)
    login = f"florin_app:{quote(password, safe='')}"
    return address._replace(netloc=f"{login}@{address.hostname}:{address.port}").geturl()


@pytest.fixture
def app_url(empty: str) -> Iterator[str]:
    """
    The application's address, with a password that is new.

    The role belongs to the whole server, for which later tests know a password: at the end it has its old one again.
    """
    before = ask(empty, "SELECT rolpassword FROM pg_authid WHERE rolname = 'florin_app'")
    yield as_application(empty, f"{secrets.token_hex(8)} ä/@:'\\%$")
    with psycopg.connect(empty) as conn:
        conn.execute(sql.SQL("ALTER ROLE florin_app PASSWORD {}").format(sql.Literal(before)))


def test_the_application_logs_in_with_the_password_of_its_address(empty: str, app_url: str) -> None:
    """Whatever is in the password. A new one replaces the old one, so that a leaked one can be taken back."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(app_url)
    allow_login(empty, app_url)
    who = ask(app_url, "SELECT current_user::text")
    allow_login(empty, as_application(empty, "newer"))

    assert who == "florin_app"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(app_url)


def test_the_servers_log_never_shows_the_password(empty: str, app_url: str, servers: LocalServers) -> None:
    """A log of all statements is read by more people than may know it."""
    log = servers.data_dir.log("postgres")
    before = log.stat().st_size
    name = sql.Identifier(urlsplit(empty).path.removeprefix("/"))
    with psycopg.connect(empty, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
        allow_login(empty, app_url)
        conn.execute(sql.SQL("ALTER DATABASE {} RESET log_statement").format(name))
    password = str(conninfo_to_dict(app_url)["password"])
    said = log.read_bytes()[before:].decode()

    assert "PASSWORD 'SCRAM-SHA-256$" in said
    assert password.split(maxsplit=1)[0] not in said


def test_two_databases_of_a_server_may_let_the_role_log_in_at_once(empty: str, app_url: str) -> None:
    """Postgres refuses the second change of a role at the same moment instead of letting it wait."""
    with ThreadPoolExecutor(1) as thread, psycopg.connect(empty) as first:
        first.execute("ALTER ROLE florin_app LOGIN")
        second = thread.submit(allow_login, empty, app_url)
        eventually(lambda: ask(empty, "SELECT count(*) FROM pg_locks WHERE NOT granted"))
        first.commit()
        second.result()

    assert ask(app_url, "SELECT current_user::text") == "florin_app"


@pytest.mark.parametrize("login", ["florin:secret@", "florin_app@", "florin_app:@", ""])
def test_only_the_applications_role_is_given_a_password(servers: LocalServers, login: str) -> None:
    """The owner's address in the wrong variable must not make an owner of the application."""
    address = urlsplit(servers.owner_url)
    app_url = address._replace(netloc=f"{login}{address.hostname}:{address.port}").geturl()

    with pytest.raises(MigrationError, match="DATABASE_URL must name the user florin_app and its password"):
        allow_login(servers.owner_url, app_url)


# The command.


def test_python_m_migrations_brings_the_schema_forward(empty: str, app_url: str) -> None:
    """A deployment may run it as often as it likes: 0 says that the schema is current and the application let in."""
    environment = {**os.environ, "DATABASE_OWNER_URL": empty, "DATABASE_URL": app_url}
    runs = [
        subprocess.run(
            [sys.executable, "-m", "migrations"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        for _ in range(2)
    ]

    assert [run.returncode for run in runs] == [0, 0]
    assert runs[0].stderr.splitlines() == [f"applied {name}" for name in ALL]
    assert runs[1].stderr.splitlines() == ["the schema is current"]
    assert ask(app_url, "SELECT count(*) FROM command") == 0


MISSPELT: Final = [
    "postgresql//florin:s3cret@127.0.0.1:1/florin",
    "postgres:/florin:s3cret@127.0.0.1:1/florin",
    "postgresql+psycopg://florin:s3cret@127.0.0.1:1/florin",
    "postgresql://florin:s3cret%@127.0.0.1:1/florin",
    "postgresql://florin:s3cret@[127.0.0.1:1/florin",
    "postgresql://florin:s3cret@127.0.0.1:1/florin?password=s3cret?",
    "postgresql://florin:s3cret@127.0.0.1:port/florin",
]


@pytest.mark.parametrize("url", MISSPELT)
def test_a_misspelt_address_is_an_error_that_does_not_show_the_password(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output of a deployment is kept, and read by many."""
    monkeypatch.setenv("DATABASE_OWNER_URL", url)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    code, said = main(), capsys.readouterr()

    assert code == 1
    assert said.err
    assert "s3cret" not in said.out + said.err


def test_a_misspelt_address_of_the_application_does_not_show_the_password_either(
    empty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schema is brought forward first, and then the address is read."""
    monkeypatch.setenv("DATABASE_OWNER_URL", empty)
    monkeypatch.setenv("DATABASE_URL", "postgresql//florin_app:s3cret@127.0.0.1:1/florin")
    code, said = main(), capsys.readouterr()

    assert (code, said.out) == (1, "")
    assert said.err == "an address is not postgresql://user:password@host:port/database\n"


def test_what_cannot_be_done_is_said_with_exit_code_1(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deployment stops there, and whoever looks reads why: no address, no server, the wrong login."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_OWNER_URL", raising=False)
    ends = [(main(), capsys.readouterr().err)]
    monkeypatch.setenv("DATABASE_OWNER_URL", servers.postgres.url_of("nowhere"))
    ends.append((main(), capsys.readouterr().err))

    assert [code for code, _ in ends] == [1, 1]
    assert ends[0][1].startswith("DATABASE_OWNER_URL is not set: ")
    assert ends[1][1].startswith("migration failed: ")
    assert 'database "nowhere" does not exist' in ends[1][1]


def test_an_owners_address_for_the_application_fails_the_deployment(
    empty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would work, with every protection gone."""
    monkeypatch.setenv("DATABASE_OWNER_URL", empty)
    monkeypatch.setenv("DATABASE_URL", empty)
    code, said = main(), capsys.readouterr().err

    assert code == 1
    assert said == "migration failed: DATABASE_URL must name the user florin_app and its password\n"


# What squawk says.


def squawk(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Look for statements that lock tables for long or cannot be taken back."""
    program = Path(sys.executable).with_name("squawk")
    return subprocess.run(
        [program, *paths], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def test_squawk_finds_nothing(tmp_path: Path) -> None:
    """It does find what it should: a change that rewrites a table while payments wait."""
    bad = tmp_path / "0001_bad.sql"
    bad.write_text("ALTER TABLE account ALTER COLUMN version TYPE numeric;")
    ours, theirs = squawk(*sorted(FOLDER.glob("*.sql"))), squawk(bad)

    assert ours.returncode == 0, ours.stdout
    assert theirs.returncode == 1
    assert "changing-column-type" in theirs.stdout
