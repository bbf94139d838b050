"""The scheduler's jobs: each run leaves a record, what goes wrong is seen, and nothing of it stops what comes later."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import structlog
from prometheus_client import REGISTRY
from pydantic import SecretStr

from processor import clock
from processor.emitting import PAGE
from processor.errors import Overloaded, Unavailable
from processor.settings import Settings
from processor.store import jobs as job_store
from processor.submissions import Receipt
from scheduler import services
from scheduler.accepting import accepting
from scheduler.jobs import Job, is_late, run, tick
from scheduler.services import Services, queue_of
from scheduler.ticks import leading, ticking
from scheduler.timetable import JOBS
from tests.builders import advance, deposit, opening, submit
from tests.conftest import Database
from tests.engine import Engine
from tests.eventually import eventually
from workers.queue import CommandQueue

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NOWHERE = "postgresql://florin_app:secret@127.0.0.1:1/florin"


@pytest.fixture
def settings(database: Database, redis_url: str) -> Settings:
    """What a scheduler of this database is told."""
    return Settings(database_url=SecretStr(database.app_url), redis_url=SecretStr(redis_url))  # type: ignore[call-arg]


@pytest.fixture
def queue(settings: Settings) -> CommandQueue:
    """The real one, empty."""
    return queue_of(settings)


@pytest.fixture
def provided(settings: Settings, queue: CommandQueue) -> Iterator[Services]:
    """What a job is given."""
    with services.opened(settings, queue, connections=2, stop=threading.Event()) as provided:
        yield provided


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    """The database as its owner sees it."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        yield conn


def a_job(work: Callable[[Services], int], name: str = "a_job", *, every_s: float = 0.01) -> Job:
    """A job of the test's own."""
    return Job(name, "Somebody wants to see it run.", lambda _: every_s, work)


class Counted:
    """Work that counts how often it was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, _: Services) -> int:
        self.times += 1
        return 0


def the_job(name: str) -> Job:
    """One of the timetable."""
    (job,) = [job for job in JOBS if job.name == name]
    return job


def recorded(owner: psycopg.Connection, job: str = "a_job") -> list[tuple[Any, ...]]:
    """Result, emitted and error of each run, the first one first."""
    return owner.execute("SELECT result, emitted, error FROM job_run WHERE job = %s ORDER BY id", [job]).fetchall()


def sample(metric: str, **labels: str) -> float:
    """What a metric says now."""
    return REGISTRY.get_sample_value(metric, labels) or 0


@contextmanager
def lead(settings: Settings, queue: CommandQueue, *jobs: Job) -> Iterator[Services]:
    """What a process does while it leads."""
    with (
        psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as conn,
        leading(conn, settings, queue, jobs=jobs) as provided,
    ):
        yield provided


# One run.


def test_a_run_is_on_record_from_its_start(provided: Services, owner: psycopg.Connection) -> None:
    """Whoever is called at night sees what is under way, and later when it began, when it ended and what it did."""
    meanwhile = []
    instants = iter([NOON, NOON + timedelta(seconds=7), NOON + timedelta(seconds=7)])
    before = sample("florin_job_emitted_total", job="a_job"), sample("florin_job_seconds_count", job="a_job")

    def work(_: Services) -> int:
        meanwhile.extend(recorded(owner))
        return 3

    ended = run(a_job(work), replace(provided, now=lambda: next(instants)))
    times = owner.execute("SELECT started_at, ended_at FROM job_run").fetchall()

    assert (ended.emitted, ended.error) == (3, None)
    assert meanwhile == [(None, None, None)]
    assert recorded(owner) == [("success", 3, None)]
    assert times == [(NOON, NOON + timedelta(seconds=7))]
    assert sample("florin_job_emitted_total", job="a_job") == before[0] + 3
    assert sample("florin_job_seconds_count", job="a_job") == before[1] + 1


def test_the_record_of_an_error_says_nothing_of_the_row(
    provided: Services, owner: psycopg.Connection, clients: Database
) -> None:
    """Postgres repeats in its detail what it refused, which may be a customer's name. The record and the log do not."""

    def work(provided: Services) -> int:
        with provided.pool.connection() as conn:
            conn.execute("INSERT INTO client (name) VALUES ('acme')")
        return 1

    with structlog.testing.capture_logs() as logs:
        tick(a_job(work), provided)
    ((result, emitted, error),) = recorded(owner)

    assert (result, emitted) == ("error", None)
    assert error.startswith("23505 duplicate key")
    assert [entry["event"] for entry in logs] == ["job.failed"]
    assert "acme" not in error + str(logs)


def test_the_record_of_an_error_is_one_line_of_bounded_length(provided: Services, owner: psycopg.Connection) -> None:
    """It is read in a terminal, and kept for a month."""

    def work(_: Services) -> int:
        raise ValueError("a\nb\0" + 1_000 * "c")

    run(a_job(work), provided)
    ((_, _, error),) = recorded(owner)

    assert error.startswith("ValueError('a\\nb\\x00ccc")
    assert len(error) == 500


def test_a_run_that_cannot_be_recorded_is_not_attempted(provided: Services, owner: psycopg.Connection) -> None:
    """Postgres is away: the job would fail, or do what nobody could see afterwards."""
    done = Counted()
    before = sample("florin_job_runs_total", job="a_job", result="error")
    owner.execute("ALTER TABLE job_run RENAME TO away")
    with structlog.testing.capture_logs() as logs:
        tick(a_job(done), provided)

    assert done.times == 0
    assert [entry["event"] for entry in logs] == ["job.failed"]
    assert sample("florin_job_runs_total", job="a_job", result="error") == before + 1


def test_a_run_whose_end_cannot_be_recorded_counts_as_what_it_was(
    provided: Services, owner: psycopg.Connection
) -> None:
    """What is done is done. The log says that the record is wrong."""
    before = sample("florin_job_runs_total", job="a_job", result="success")

    def work(_: Services) -> int:
        owner.execute("ALTER TABLE job_run RENAME TO away")
        return 1

    with structlog.testing.capture_logs() as logs:
        tick(a_job(work), provided)

    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["job.unrecorded"]
    assert sample("florin_job_runs_total", job="a_job", result="success") == before + 1


def test_a_run_that_somebody_ends_is_recorded(provided: Services, owner: psycopg.Connection) -> None:
    """Ctrl-C at `florin jobs run`: the run is no longer under way, and the next leader does not wonder about it."""

    def work(_: Services) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(a_job(work), provided)

    assert recorded(owner) == [("error", None, "KeyboardInterrupt()")]


@pytest.mark.parametrize(
    ("seconds_ago", "late"), [(None, True), (0, False), (3 * 300 + 60, False), (3 * 300 + 61, True)]
)
def test_a_job_is_late_after_three_periods_and_a_minute(seconds_ago: int | None, late: bool) -> None:
    """One run that failed is no reason to call anybody; nor is one of a job that is due every two seconds."""
    last_success_at = None if seconds_ago is None else NOON - timedelta(seconds=seconds_ago)

    assert is_late(period_s=300, last_success_at=last_success_at, now=NOON) is late


# The ticks.


def test_a_job_that_fails_runs_again_at_the_next_tick(provided: Services, owner: psycopg.Connection) -> None:
    """Redis or Postgres is away for a moment: nobody has to start the scheduler again, and the other job goes on."""
    tries: list[int] = []

    def fails_twice(_: Services) -> int:
        tries.append(1)
        if len(tries) <= 2:
            raise RuntimeError("away")
        return 1

    def runs(job: str, result: str) -> float:
        return sample("florin_job_runs_total", job=job, result=result)

    before = runs("a_job", "error"), runs("a_job", "success"), runs("other", "success")
    both = a_job(fails_twice), a_job(lambda _: 0, "other")
    merged = structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars])
    with merged as logs, ticking(both, provided):
        eventually(lambda: runs("a_job", "success") > before[1] and runs("other", "success") > before[2] + 2)
    told = [entry for entry in logs if entry["event"] == "job.failed"]

    assert runs("a_job", "error") - before[0] == 2
    assert [(entry["job"], entry["log_level"]) for entry in told] == [("a_job", "error")] * 2
    assert all(isinstance(entry["exc_info"], RuntimeError) for entry in told)
    assert recorded(owner)[:3] == [("error", None, "RuntimeError('away')")] * 2 + [("success", 1, None)]


def test_a_job_that_takes_long_is_not_started_a_second_time(provided: Services) -> None:
    """Two sweeps at once would send everything twice. The other job does not wait for it."""
    go_on, slow, other = threading.Event(), Counted(), Counted()

    def takes_long(provided: Services) -> int:
        slow(provided)
        go_on.wait(30)
        return 0

    with ticking((a_job(takes_long), a_job(other, "other")), provided):
        eventually(lambda: other.times >= 10)
        meanwhile = slow.times
        go_on.set()

    assert meanwhile == 1


def test_a_late_tick_is_run_however_late(provided: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was asleep, or busy: what was due six times in an hour is due now, once."""
    long_ago = clock.now() - timedelta(minutes=55)
    late = Counted()
    monkeypatch.setattr("scheduler.ticks.clock.now", lambda: long_ago)
    with ticking([a_job(late, every_s=600)], provided):
        eventually(lambda: late.times)

    assert late.times == 1


def test_the_end_of_leading_ends_a_job_that_takes_long(
    settings: Settings, queue: CommandQueue, owner: psycopg.Connection
) -> None:
    """A process that is asked to stop, or no longer leads, is not kept waiting; what the job did is on record."""
    begun, left, asked, outlived = threading.Event(), threading.Event(), list[bool](), list[bool]()

    def takes_long(provided: Services) -> int:
        begun.set()
        asked.append(provided.stop.wait(20))
        outlived.append(left.wait(0.2))
        return 5

    with lead(settings, queue, a_job(takes_long)):
        assert begun.wait(30)
    left.set()
    at_the_end = recorded(owner)

    assert (asked, outlived) == ([True], [False])
    assert at_the_end == [("success", 5, None)]
    assert "APScheduler" not in [thread.name for thread in threading.enumerate()]


# Who leads.


def test_a_run_whose_scheduler_died_is_marked_before_the_first_job(
    settings: Settings, queue: CommandQueue, provided: Services, owner: psycopg.Connection
) -> None:
    """Otherwise it would be under way for ever, and nobody could tell it from one that is."""
    with provided.pool.connection() as conn:
        job_store.begin_run(conn, "dead", now=NOON)
    seen: list[list[tuple[Any, ...]]] = []

    def work(_: Services) -> int:
        seen.append(recorded(owner, "dead"))
        return 0

    with structlog.testing.capture_logs() as logs, lead(settings, queue, a_job(work, every_s=60)):
        eventually(lambda: seen)

    assert seen == [[("lost", None, None)]]
    assert owner.execute("SELECT ended_at > started_at FROM job_run WHERE job = 'dead'").fetchall() == [(True,)]
    assert [(entry["runs"]) for entry in logs if entry["event"] == "jobs.lost"] == [1]


def test_two_that_lead_for_a_moment_do_no_harm(
    settings: Settings, queue: CommandQueue, engine: Engine, owner: psycopg.Connection
) -> None:
    """One was paused and does not know yet that it lost its lock. Each job is done twice, and what it does once."""
    positions = engine.accept(opening("alice"), deposit("alice", 5))
    old = settings.model_copy(update={"stranded_after_s": 0})
    with lead(old, queue, *JOBS), lead(old, queue, *JOBS):
        eventually(lambda: owner.execute("SELECT count(*) >= 10 FROM job_run WHERE result = 'success'").fetchone()[0])  # type: ignore[index]
    ended = owner.execute("SELECT job, result FROM job_run GROUP BY job, result ORDER BY job").fetchall()
    engine.drain()

    assert ended == sorted((job.name, "success") for job in JOBS)
    assert sorted(engine.outcomes()) == positions
    assert engine.balances() == {"alice": 5}


def test_a_run_that_was_taken_for_lost_says_how_it_ended(
    settings: Settings, queue: CommandQueue, owner: psycopg.Connection
) -> None:
    """Its scheduler lost the lock and lived on: what it did was done, and the record says so."""
    go_on = threading.Event()

    def takes_long(_: Services) -> int:
        go_on.wait(30)
        return 7

    with lead(settings, queue, a_job(takes_long, every_s=60)):
        eventually(lambda: recorded(owner))
        with lead(settings, queue, a_job(lambda _: 0, "other", every_s=60)):
            meanwhile = recorded(owner)
        go_on.set()

    assert meanwhile == [("lost", None, None)]
    assert recorded(owner) == [("success", 7, None)]


# The timetable.


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_runs_on_new_books(
    job: Job, provided: Services, owner: psycopg.Connection, settings: Settings
) -> None:
    """What nobody ever did anything with is in order. Each job says why it is there, in a sentence."""
    assert run(job, provided).error is None
    assert [result for result, _, _ in recorded(owner, job.name)] == ["success"]
    assert re.fullmatch(r"[A-Z].{10,}\.", job.reason)
    assert job.period_s(settings) > 0


def test_the_names_of_jobs_differ() -> None:
    """A name is what a person asks for, and what an alert is about."""
    assert len({job.name for job in JOBS}) == len(JOBS)


def test_the_period_of_a_job_is_shown(provided: Services) -> None:
    """An alert compares it with the time since the last success."""
    with ticking([a_job(lambda _: 0, every_s=123)], provided):
        shown = sample("florin_job_period_seconds", job="a_job")

    assert shown == 123


def test_checkpoints_are_moved_slice_by_slice_until_there_is_no_more(
    provided: Services, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day without a leader there is a lot to do, and a process that is asked to stop leaves the rest."""
    monkeypatch.setattr("processor.store.system_accounts.roll_forward.__kwdefaults__", {"outcomes": 2})
    for _ in range(5):
        engine.settle(deposit("alice", 1), opening("alice"))
    provided.stop.set()
    stopped = run(the_job("roll_forward"), provided)
    provided.stop.clear()
    done = run(the_job("roll_forward"), provided)

    assert (stopped.emitted, stopped.error) == (0, None)
    assert done.error is None
    assert done.emitted > 1


def test_old_runs_are_forgotten_and_those_that_matter_kept(provided: Services, owner: psycopg.Connection) -> None:
    """A sweep every two seconds is 43 thousand rows a day. The last run of each kind says how a job is doing."""

    def ran(job: str, days_ago: float, result: str | None, emitted: int | None = None) -> int:
        started = NOON - days_ago * DAY
        row = owner.execute(
            "INSERT INTO job_run (job, started_at, ended_at, result, emitted, error)"
            " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            [job, started, started if result else None, result, emitted, "away" if result == "error" else None],
        ).fetchone()
        assert row is not None
        return int(row[0])

    forgotten = {
        ran("sweep", 31, "success", 5),
        ran("sweep", 31, "error"),
        ran("sweep", 31, "lost"),
        ran("sweep", 1.1, "success", 0),
    }
    kept = {
        ran("sweep", 40, None),
        ran("sweep", 29, "success", 5),
        ran("sweep", 29, "error"),
        ran("sweep", 29, "lost"),
        ran("sweep", 0.9, "success", 0),
        ran("collect", 400, "success", 0),
        ran("collect", 399, "error"),
        ran("collect", 398, "lost"),
    }
    before = {id_ for (id_,) in owner.execute("SELECT id FROM job_run")}
    ended = run(the_job("forget_runs"), replace(provided, now=lambda: NOON))
    after = {id_ for (id_,) in owner.execute("SELECT id FROM job_run WHERE job <> 'forget_runs'")}

    assert before == forgotten | kept
    assert after == kept
    assert ended.emitted == len(forgotten)


def test_runs_are_forgotten_slice_by_slice(
    provided: Services, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that deletes a month at once would hit its time limit, every time."""
    monkeypatch.setattr("scheduler.timetable._FORGET_AT_ONCE", 4)
    owner.execute(
        "INSERT INTO job_run (job, started_at, ended_at, result, emitted)"
        " SELECT 'sweep', %(at)s, %(at)s, 'success', 0 FROM generate_series(1, 11)",
        {"at": NOON - 2 * DAY},
    )
    provided.stop.set()
    stopped = run(the_job("forget_runs"), replace(provided, now=lambda: NOON))
    provided.stop.clear()
    done = run(the_job("forget_runs"), replace(provided, now=lambda: NOON))

    assert (stopped.emitted, done.emitted) == (0, 10)


def test_deliveries_are_forgotten_after_as_many_days_as_runs(
    provided: Services, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each transaction: kept for a month, and deleted slice by slice."""
    monkeypatch.setattr("scheduler.timetable._FORGET_AT_ONCE", 4)
    for days, count in ((31, 9), (29, 2)):
        owner.execute(
            "INSERT INTO apply_batch (xid, decided_at, commands, lock_wait_us)"
            " SELECT (%s * 100 + n)::text::xid8, %s, 1, 0 FROM generate_series(1, %s) AS n",
            [days, NOON - days * DAY, count],
        )
    ended = run(the_job("forget_deliveries"), replace(provided, now=lambda: NOON))

    assert ended.emitted == 9
    assert owner.execute("SELECT count(*), min(decided_at) FROM apply_batch").fetchall() == [(2, NOON - 29 * DAY)]


class OutOfPatience(threading.Event):
    """Set for those who wait for something, not for those who only look."""

    def wait(self, timeout: float | None = None) -> bool:
        return bool(timeout)


@pytest.mark.parametrize(("limit", "collected"), [(20_000, 1), (1, 0)], ids=["room", "full"])
def test_what_is_due_is_collected_while_the_line_is_short(
    settings: Settings, queue: CommandQueue, engine: Engine, limit: int, collected: int
) -> None:
    """Clients do not stand behind all of a day's instalments. A job that waits for room ends when it is told."""
    engine.settle(opening("alice"), advance("alice", 1_200))
    engine.accept(deposit("alice", 5))
    narrow = settings.model_copy(update={"collect_backlog": limit})
    with services.opened(
        narrow, queue, connections=1, stop=OutOfPatience(), now=lambda: clock.now() + 8 * DAY
    ) as provided:
        ended = run(the_job("collect"), provided)
        again = run(the_job("collect"), provided)

    assert [ended.error, again.error] == [None, None]
    assert (ended.emitted, again.emitted) == (collected, 0)
    assert queue.is_empty() == (collected == 0)


# The intake of a scheduler.


def test_what_a_job_submits_is_durable_and_queued_when_the_scheduler_ends(
    settings: Settings, queue: CommandQueue, clients: Database, owner: psycopg.Connection
) -> None:
    """A collect goes the way of every other command. What waits to be told to Redis is told before the process ends."""
    key = "instalment:1"
    with accepting(settings, queue, now=lambda: NOON) as accept:
        first = accept([submit(opening("alice"), key=key), submit(deposit("alice", 5))])
        durable = owner.execute("SELECT position, accepted_at FROM command ORDER BY position").fetchall()
        again = accept([submit(opening("alice"), key=key)])

    receipts = [answer for answer in first if isinstance(answer, Receipt)]
    assert len(receipts) == 2
    assert durable == [(receipt.position, NOON) for receipt in receipts]
    assert [answer.position for answer in again if isinstance(answer, Receipt)] == [receipts[0].position]
    assert not queue.is_empty()
    eventually(lambda: sessions(owner) == 0)
    assert [thread.name for thread in threading.enumerate() if thread.name in ("scheduler intake", "messenger")] == []
    with pytest.raises(Unavailable):
        accept([submit(deposit("alice", 5))])


def sessions(owner: psycopg.Connection) -> int:
    """How many connections of a scheduler's intake Postgres knows."""
    row = owner.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'florin scheduler intake'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_job_is_told_that_the_intake_is_full_or_cannot_reach_postgres(
    settings: Settings, queue: CommandQueue, clients: Database
) -> None:
    """The run fails, is seen to fail, and the next tick finds what is still due."""
    narrow = settings.model_copy(update={"max_waiting": 1})
    away = settings.model_copy(update={"database_url": SecretStr(NOWHERE)})
    page = [submit(deposit("alice", 5)) for _ in range(PAGE)]
    with accepting(narrow, queue, now=lambda: NOON) as accept:
        # A page of the collector's always has room, however little the API's processes may keep waiting.
        assert len(accept(page)) == PAGE
        with pytest.raises(Overloaded):
            accept([*page, submit(deposit("alice", 5))])
    with accepting(away, queue, now=lambda: NOON) as accept, pytest.raises(Unavailable):
        accept(page[:1])
