"""Of several schedulers one works, and another takes over when its connection is gone."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from scheduler.leader import Leadership
from tests.conftest import Database
from tests.eventually import eventually


class Ticks(threading.Event):
    """The event that ends a process. It counts how often the process looked whether it may lead."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.count += 1
        return super().wait(timeout)


class Scheduler:
    """One process of several: notes when it leads and when it rests."""

    def __init__(self, database: Database, failing: Sequence[Exception] = ()) -> None:
        self.leads = False
        self.history: list[str] = []
        self.stop = Ticks()
        self._failing = list(failing)
        self._leadership = Leadership(database.app_url)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """As with SIGTERM."""
        self.stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        self._leadership.hold(self.stop, every_s=0.02, lead=self._lead, rest=self._rest)

    def _lead(self, conn: psycopg.Connection) -> None:
        if self._failing:
            self.history.append("fails")
            raise self._failing.pop()
        conn.execute("SELECT")
        self.leads = True
        self.history.append("leads")

    def _rest(self) -> None:
        self.leads = False
        self.history.append("rests")


@contextmanager
def schedulers(database: Database, count: int, *, failing: Sequence[Exception] = ()) -> Iterator[list[Scheduler]]:
    """Several at once, each of which fails to begin as often as is said. The threads are ended whatever happens."""
    started = [Scheduler(database, failing) for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.end()


def leaders(database: Database) -> list[int]:
    """The sessions that hold the lock of the leader, as Postgres knows them."""
    with psycopg.connect(database.owner_url) as conn:
        held = conn.execute("""
            SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """).fetchall()
    return [pid for (pid,) in held]


def test_one_of_several_leads(database: Database) -> None:
    """Two that sweep would do everything twice."""
    with schedulers(database, 3) as all_three:
        eventually(lambda: any(each.leads for each in all_three))
        session = leaders(database)
        eventually(lambda: all(each.stop.count > 3 for each in all_three))
        leading = [each.leads for each in all_three]

    assert sorted(leading) == [False, False, True]
    assert len(session) == 1


def test_when_the_leaders_connection_is_killed_somebody_leads_again(database: Database) -> None:
    """The old one notices at its next look and stops its jobs; whoever has the lock goes on with them."""
    with schedulers(database, 2) as both:
        first = eventually(lambda: [each for each in both if each.leads])[0]
        (session,) = leaders(database)
        with psycopg.connect(database.owner_url, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s, 5000)", [session])
        eventually(lambda: "rests" in first.history)
        eventually(lambda: sum(each.leads for each in both) == 1 and len(leaders(database)) == 1)
        (new_session,) = leaders(database)

    assert new_session != session
    assert first.history[:2] == ["leads", "rests"]


def test_when_the_leader_ends_another_takes_over(database: Database) -> None:
    """A deployment ends one process after the other, and nothing is left undone for long."""
    with schedulers(database, 2) as both:
        first = eventually(lambda: [each for each in both if each.leads])[0]
        (other,) = [each for each in both if each is not first]
        first.end()
        eventually(lambda: other.leads)

    assert first.history == ["leads", "rests"]
    assert other.history == ["leads", "rests"]
    assert leaders(database) == []


def test_without_postgres_nobody_leads(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every doubt is a no; the process lives, and leads once it can."""
    away = threading.Event()
    away.set()
    original = psycopg.connect

    def connect(*args: object, **kwargs: object) -> object:
        if away.is_set():
            raise psycopg.OperationalError("the server is away")
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("processor.pools.psycopg.connect", connect)
    with schedulers(database, 1) as (only,):
        rested = not only.leads
        away.clear()
        eventually(lambda: only.leads)

    assert rested


def test_who_cannot_begin_does_not_lead_and_tries_again(database: Database) -> None:
    """The connection broke between the lock and the first job: another may have the lock by now, or nobody."""
    with schedulers(database, 1, failing=[psycopg.OperationalError("")]) as (only,):
        eventually(lambda: only.leads)
        held = leaders(database)

    assert only.history == ["fails", "leads", "rests"]
    assert len(held) == 1
