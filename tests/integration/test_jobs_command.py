"""`florin jobs` on a real database and queue, as the person on call uses it."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import structlog
from typer.testing import CliRunner, Result

from cli import instance
from cli.main import app
from cli.servers import LocalServers
from processor import clock, keys
from scheduler.timetable import JOBS
from tests.conftest import Database
from tests.stack import new_database

NOWHERE = "postgresql://florin_app:secret-word@127.0.0.1:1/florin"
MISSPELT = "postgresql:/florin_app:secret-word@127.0.0.1:1/florin"
QUEUE_NOWHERE = "redis://:secret-word@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the environment of the tests names is not what these commands may use, and their log ends with them."""
    for name in ("DATABASE_URL", "REDIS_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def where(database: Database, redis_url: str) -> dict[str, str]:
    """The environment that names a database and a queue."""
    return {"DATABASE_URL": database.app_url, "REDIS_URL": redis_url}


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    """The database as its owner sees it."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        yield conn


def florin(*arguments: str, **environment: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, arguments, env=environment)


def ran(
    owner: psycopg.Connection,
    job: str,
    *,
    seconds_ago: float = 1,
    result: str | None = "success",
    error: str | None = None,
) -> None:
    """Let the record have such a run, which took a fifth of a second."""
    started_at = clock.now() - timedelta(seconds=seconds_ago)
    owner.execute(
        "INSERT INTO job_run (job, started_at, ended_at, result, emitted, error) VALUES (%s, %s, %s, %s, %s, %s)",
        [
            job,
            started_at,
            started_at + timedelta(seconds=0.2) if result else None,
            result,
            42 if result == "success" else None,
            error,
        ],
    )


def all_ran(owner: psycopg.Connection) -> None:
    """Let every job have succeeded a moment ago."""
    for job in JOBS:
        ran(owner, job.name)


# The list.


def test_when_all_is_well_the_list_is_a_line_for_each_job(where: dict[str, str], owner: psycopg.Connection) -> None:
    """One look, or the exit code in a script, says that there is nothing to do."""
    ran(owner, "sweep", seconds_ago=100_000)
    all_ran(owner)
    result = florin("jobs", "list", **where)
    heading, *lines = result.stdout.splitlines()

    assert result.exit_code == 0, result.output
    assert heading.split("  ")[0] == "NAME"
    assert [line.split()[0] for line in lines] == [job.name for job in JOBS]
    assert all(line.endswith("success  0.200 s  42") for line in lines)
    assert lines[0].split()[1:3] == ["2", "s"]
    assert lines[2].split()[1:3] == ["1", "h"]


def test_before_the_first_run_every_job_is_late(where: dict[str, str]) -> None:
    """Nobody leads, or nobody ever did."""
    result = florin("jobs", "list", **where)

    assert result.exit_code == 1, result.output
    assert result.stdout.count("LATE: last success never") == len(JOBS)


def test_a_job_that_did_not_succeed_for_long_is_late(where: dict[str, str], owner: psycopg.Connection) -> None:
    """No tick, no failure, no word: without this mark the list would look as it always does."""
    all_ran(owner)
    owner.execute("UPDATE job_run SET started_at = started_at - interval '1 h', ended_at = ended_at - interval '1 h'")
    result = florin("jobs", "list", **where)
    late = [line for line in result.stdout.splitlines() if "LATE: last success 20" in line]

    assert result.exit_code == 1
    assert len(late) == sum(job.name not in ("collect", "forget_runs", "forget_deliveries") for job in JOBS)


def test_what_late_is_depends_on_the_settings(where: dict[str, str], owner: psycopg.Connection) -> None:
    """A deployment may have its own periods."""
    all_ran(owner)
    owner.execute("UPDATE job_run SET ended_at = ended_at - interval '90 s' WHERE job = 'sweep'")

    assert florin("jobs", "list", **where).exit_code == 1
    assert florin("jobs", "list", **where, FLORIN_SWEEP_EVERY_S="60").exit_code == 0


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"result": "error", "error": "TransientError('away')"}, "error: TransientError('away')"),
        ({"result": "lost"}, "lost: its scheduler died"),
    ],
    ids=["error", "lost"],
)
def test_a_job_whose_last_run_failed_is_not_well(
    where: dict[str, str], owner: psycopg.Connection, run: dict[str, str], words: str
) -> None:
    """It succeeded a moment ago, so it is not late; what is wrong stands beneath it."""
    ran(owner, "collect", seconds_ago=20, result="error", error="long past")
    all_ran(owner)
    ran(owner, "collect", seconds_ago=0, **run)
    result = florin("jobs", "list", **where)
    lines = result.stdout.splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("collect ")]

    assert result.exit_code == 1
    assert words in lines[place + 1]
    assert "LATE" not in result.stdout
    assert "long past" not in result.stdout


def test_a_run_under_way_is_shown_with_the_last_that_ended(where: dict[str, str], owner: psycopg.Connection) -> None:
    """That it runs is no reason to worry, until it is late. One that nobody could end is not shown for ever."""
    ran(owner, "sweep", seconds_ago=100, result=None)
    all_ran(owner)
    ran(owner, "collect", seconds_ago=0, result=None)
    result = florin("jobs", "list", **where)

    assert result.exit_code == 0, result.output
    assert result.stdout.count("running since 20") == 1
    assert result.stdout.count("success  0.200 s") == len(JOBS)


def test_the_list_says_what_each_job_is_for(where: dict[str, str], owner: psycopg.Connection) -> None:
    """Who is called at night did not write them."""
    all_ran(owner)

    assert [job.reason in florin("jobs", "list", "--reasons", **where).stdout for job in JOBS] == [True] * len(JOBS)
    assert JOBS[0].reason not in florin("jobs", "list", **where).stdout


# A run.


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_a_job_that_is_run_by_hand_is_recorded(where: dict[str, str], owner: psycopg.Connection, job: str) -> None:
    """Whoever looks afterwards sees what was done, whoever did it."""
    result = florin("jobs", "run", job, **where)
    ((recorded, outcome, emitted),) = owner.execute("SELECT job, result, emitted FROM job_run").fetchall()

    assert result.exit_code == 0, result.output
    assert (recorded, outcome) == (job, "success")
    assert result.stdout == f"{job} emitted {emitted}.\n"


def test_a_job_that_fails_by_hand_says_why(where: dict[str, str], owner: psycopg.Connection) -> None:
    """One sentence, the same as is recorded, and no traceback."""
    owner.execute("ALTER TABLE system_checkpoint RENAME TO elsewhere")
    result = florin("jobs", "run", "roll_forward", **where)
    recorded = owner.execute("SELECT result, error FROM job_run").fetchall()
    words = '42P01 relation "system_checkpoint" does not exist'

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"florin: roll_forward failed: {words}\n"
    assert recorded == [("error", words)]


def test_what_a_job_logs_is_no_part_of_the_answer(where: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output may go into a script, and the log to the person who runs it."""

    def watch_advances(*_: object, **__: object) -> int:
        structlog.get_logger().error("advance.incomplete")
        return 1

    monkeypatch.setattr("processor.collect.watch_advances", watch_advances)
    result = florin("jobs", "run", "check_advances", **where)

    assert result.stdout == "check_advances emitted 1.\n"
    assert "advance.incomplete" in result.stderr


def test_while_the_queue_is_away_other_jobs_can_be_run(where: dict[str, str]) -> None:
    """Redis may be what is broken. Nothing that needs it not is kept waiting for it."""
    result = florin("jobs", "run", "roll_forward", **(where | {"REDIS_URL": QUEUE_NOWHERE}))

    assert result.exit_code == 0, result.output


def test_a_job_that_does_not_exist_is_answered_with_those_that_do(where: dict[str, str]) -> None:
    """Nobody knows the names by heart."""
    result = florin("jobs", "run", "sweeep", **where)

    assert result.exit_code == 2
    assert "no job sweeep: the jobs are sweep, roll_forward, collect" in result.stderr


# What keeps the commands from working.


@pytest.fixture(params=[["list"], ["run", "sweep"]], ids=["list", "run"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Each of the commands."""
    return ("jobs", *request.param)


@pytest.mark.parametrize(
    ("url", "words"), [(NOWHERE, "Connection refused"), (MISSPELT, "none of Postgres")], ids=["away", "misspelt"]
)
def test_a_database_that_cannot_be_used_is_a_sentence_without_its_password(
    command: tuple[str, ...], where: dict[str, str], url: str, words: str
) -> None:
    """The sentence may end up in a ticket."""
    result = florin(*command, **(where | {"DATABASE_URL": url}))

    assert (result.exit_code, words in result.stderr) == (1, True), result.output
    assert "secret-word" not in result.output


def test_a_database_without_tables_is_to_be_migrated(
    command: tuple[str, ...], servers: LocalServers, where: dict[str, str]
) -> None:
    """The sentence says what to do."""
    with new_database(servers, "template1", urlsplit(where["DATABASE_URL"]).password or "") as (_, app_url):
        result = florin(*command, **(where | {"DATABASE_URL": app_url}))

    assert (result.exit_code, "run `florin migrate` first" in result.stderr) == (1, True), result.output


def test_the_owners_login_is_not_taken(command: tuple[str, ...], where: dict[str, str], database: Database) -> None:
    """Jobs write: with the rights of the application, as everything that does."""
    result = florin(*command, **(where | {"DATABASE_URL": database.owner_url}))

    assert (result.exit_code, "role florin_app" in result.stderr) == (1, True), result.output


def test_a_wrong_setting_is_named(command: tuple[str, ...], where: dict[str, str]) -> None:
    """A job that ran with another period or limit than was meant would be worse than none."""
    result = florin(*command, **where, FLORIN_COLLECT_EVERY_S="0")

    assert (result.exit_code, "FLORIN_COLLECT_EVERY_S" in result.stderr) == (1, True), result.output
    assert result.stdout == ""


def test_a_queue_that_is_misspelt_is_a_sentence_without_its_password(where: dict[str, str]) -> None:
    """As with the database."""
    result = florin("jobs", "run", "sweep", **(where | {"REDIS_URL": "reddis://:secret-word@127.0.0.1/0"}))

    assert (result.exit_code, "REDIS_URL is not an address of Redis" in result.stderr) == (1, True), result.output
    assert "secret-word" not in result.output


def test_a_database_without_its_queue_runs_nothing(where: dict[str, str], owner: psycopg.Connection) -> None:
    """What one stack accepted must not be sent to the queue of another."""
    result = florin("jobs", "run", "sweep", DATABASE_URL=where["DATABASE_URL"])
    listed = florin("jobs", "list", DATABASE_URL=where["DATABASE_URL"])

    assert (result.exit_code, "REDIS_URL is not" in result.stderr) == (2, True), result.output
    assert owner.execute("SELECT FROM job_run").fetchall() == []
    assert listed.stdout.startswith("NAME")


def test_a_running_stack_is_found_by_its_data_directory(
    where: dict[str, str], owner: psycopg.Connection, tmp_path: Path
) -> None:
    """What `florin up` wrote there counts, whatever the environment says."""
    note = instance.Stack(
        "http://127.0.0.1:1", "", where["DATABASE_URL"], redis_url=where["REDIS_URL"], pid=os.getpid()
    )
    instance.publish(tmp_path, note)
    other = {"DATABASE_URL": NOWHERE, "REDIS_URL": "reddis://nowhere"}
    run = florin("jobs", "run", "sweep", "--data-dir", str(tmp_path), **other)
    listed = florin("jobs", "list", "--data-dir", str(tmp_path), **other)

    assert run.exit_code == 0, run.output
    assert listed.stdout.splitlines()[1].split()[0] == "sweep"
    assert owner.execute("SELECT job FROM job_run").fetchall() == [("sweep",)]


def test_a_stack_whose_queue_is_not_known_runs_nothing(where: dict[str, str], tmp_path: Path) -> None:
    """A stack that somebody else runs may have told its database only."""
    instance.publish(tmp_path, instance.Stack("http://127.0.0.1:1", "", where["DATABASE_URL"], pid=os.getpid()))
    result = florin("jobs", "run", "sweep", "--data-dir", str(tmp_path))

    assert (result.exit_code, "set DATABASE_URL and REDIS_URL" in result.stderr) == (1, True), result.output


def test_a_stack_of_which_only_the_api_is_known_shows_no_jobs(command: tuple[str, ...]) -> None:
    """FLORIN_API says where to send commands, not where the database is."""
    result = florin(*command, FLORIN_API="http://127.0.0.1:1", FLORIN_API_KEY=keys.generate())

    assert (result.exit_code, "set DATABASE_URL" in result.stderr) == (1, True), result.output


def test_without_a_stack_the_sentence_says_how_to_start_one(command: tuple[str, ...], tmp_path: Path) -> None:
    """The first thing that anybody meets who tries the command."""
    result = florin(*command, "--data-dir", str(tmp_path))

    assert (result.exit_code, "./florin up" in result.stderr) == (1, True), result.output
