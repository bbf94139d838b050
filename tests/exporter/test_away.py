"""Postgres or Redis is away: the exporter says so, shows nothing old, and goes on when they are back."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.servers import LocalServers
from cli.servers.process import free_port
from exporter import figures, state
from exporter.app import Exporter
from exporter.figures import Figure
from exporter.postgres import PostgresState
from exporter.redis import RedisState
from exporter.state import Found, Reading, State, Watched
from processor.store import watching
from tests.builders import RULES
from tests.conftest import Database
from tests.eventually import eventually
from tests.exporter.conftest import by_name
from tests.stack import ROOT


@pytest.fixture
def watched(database: Database, redis_url: str) -> Iterator[tuple[Watched, Watched]]:
    """Postgres and Redis, which are asked when the test says so."""
    sources = PostgresState(database.app_url, rules=RULES), RedisState(redis_url)
    yield Watched("postgres", sources[0], every_s=1), Watched("redis", sources[1], every_s=1)
    for each in sources:
        each.close()


@pytest.mark.parametrize("away", ["postgres", "redis"])
def test_what_is_away_has_no_figures_until_it_is_back(
    watched: tuple[Watched, Watched], servers: LocalServers, away: str
) -> None:
    """An alert must not rest because the last that was heard of the backlog is that there was none."""
    postgres, redis = watched
    of = {
        "postgres": {"florin_backlog_commands", "florin_oldest_pending_age_seconds", "florin_arrears_amount"},
        "redis": {'florin_queue_messages{queue="commands",state="ready"}', "florin_redis_used_memory_bytes"},
    }

    def seen() -> dict[str, float]:
        for each in watched:
            each.look()
        return by_name(State(postgres=postgres, redis=redis).values())

    server = servers.postgres if away == "postgres" else servers.redis
    before = seen()
    server.stop()
    try:
        meanwhile = seen()
    finally:
        server.start()
    after = eventually(lambda: found if (found := seen())[f"florin_{away}_up"] else None) or {}
    read_at = f'florin_state_read_timestamp_seconds{{source="{away}"}}'

    assert {before["florin_postgres_up"], before["florin_redis_up"]} == {1}
    assert meanwhile[f"florin_{away}_up"] == 0
    assert {meanwhile["florin_postgres_up"], meanwhile["florin_redis_up"]} == {0, 1}
    assert not [each for each in figures.FIGURES.values() if each.source == away and each.name in meanwhile]
    assert not of[away] & set(meanwhile)
    assert meanwhile[read_at] == before[read_at] < after[read_at]
    assert set(after) == set(before)


def test_a_part_that_cannot_be_read_is_left_out_and_makes_the_rest_doubtful(
    watched: tuple[Watched, Watched], database: Database
) -> None:
    """A migration holds a table: the rest is shown, and nobody is told that all is well."""
    postgres, redis = watched
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("LOCK TABLE pending IN ACCESS EXCLUSIVE MODE")
        postgres.look()
        locked = by_name(State(postgres=postgres, redis=redis).values())
    postgres.look()
    after = by_name(State(postgres=postgres, redis=redis).values())

    assert (locked["florin_postgres_up"], after["florin_postgres_up"]) == (0, 1)
    assert set(after) - set(locked) >= {"florin_backlog_commands", "florin_oldest_pending_age_seconds"}
    assert locked["florin_scheduler_leader"] == 0


def test_one_part_that_cannot_be_read_is_named_and_is_not_postgres_away(
    watched: tuple[Watched, Watched], database: Database
) -> None:
    """Somebody holds the table of statements: whoever reads 'nothing is settled' meanwhile stops money that moves."""
    postgres, redis = watched
    state = State(postgres=postgres, redis=redis)
    exporter = Exporter(state, None)

    def current() -> dict[str, Any]:
        postgres.look()
        return dict(orjson.loads(bytes(exporter.overview().body))["current"])

    before = current()
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("LOCK TABLE statement_file IN ACCESS EXCLUSIVE MODE")
        locked, figures_locked = current(), by_name(state.values())
    after = current()

    assert (before["postgres_up"], before["unread"]) == (True, [])
    assert (locked["postgres_up"], locked["unread"]) == (True, ["reconciliation"])
    assert locked["backlog"] == 0
    assert figures_locked["florin_postgres_up"] == 0
    assert [figures_locked[f'florin_state_unread{{part="{part}"}}'] for part in ("line", "reconciliation")] == [0, 1]
    assert (after["postgres_up"], after["unread"]) == (True, [])


def test_a_slow_part_that_fails_neither_drags_others_along_nor_insists(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum that takes too long must not be asked for on every look, nor bring all other long ones with it."""
    asked = Counter[str]()

    def counting(name: str) -> None:
        original = getattr(watching, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            asked[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(watching, name, counted)

    for name in ("arrears", "next_collections", "tables"):
        counting(name)
    source = PostgresState(database.app_url, rules=RULES)
    with psycopg.connect(database.owner_url) as owner:
        # Nothing but the sizes of all tables needs this one.
        owner.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
        locked = [source.read() for _ in range(4)]
    after = [source.read() for _ in range(4)]
    source.close()

    assert [each.parts["sizes"] for each in locked + after] == [False] * 7 + [True]
    assert [each.is_complete for each in locked + after] == [False] * 7 + [True]
    assert asked == {"arrears": 1, "next_collections": 1, "tables": 4}
    assert locked[-1].parts["arrears"]


def test_it_reads_over_one_connection_and_cannot_write(database: Database) -> None:
    """Whoever watches takes nothing from those who work, and changes nothing."""
    source = PostgresState(database.app_url, rules=RULES)
    for _ in range(3):
        source.read()
    with psycopg.connect(database.owner_url) as owner:
        sessions = owner.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'florin exporter'")
        connections = sessions.fetchone()
    assert source._conn is not None
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source._conn.execute("DELETE FROM pending")
    source.close()

    assert connections == (1,)


class Stuck:
    """Answers once, and then hangs."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.asked = 0
        self.end = threading.Event()

    def read(self, _: Callable[[], None] | None = None) -> Reading:
        self.asked += 1
        if self.asked > 1:
            self.end.wait(30)
        found = Found()
        found.put(self.figure, 0)
        return Reading(found.values, is_complete=True)

    def close(self) -> None:
        """Nothing to close."""


def test_a_source_that_hangs_is_away_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen Postgres neither refuses nor answers: a scrape must not wait, nor be given what was true once."""
    monkeypatch.setattr(state, "_STALE_AFTER_S", 0.3)
    source = Stuck(figures.BACKLOG)
    both = State(
        postgres=Watched("postgres", source, every_s=0.01),
        redis=Watched("redis", Stuck(figures.REDIS_MEMORY), every_s=60),
    )
    exporter = Exporter(both, None)
    with both.watching():
        shown = text(exporter)
        eventually(lambda: "florin_postgres_up 0.0" in text(exporter))
        later = text(exporter)
        source.end.set()

    assert "florin_backlog_commands 0.0" in shown
    assert source.asked == 2
    assert "florin_backlog_commands" not in later
    assert 'florin_state_read_timestamp_seconds{source="postgres"}' in later


def test_what_was_read_long_ago_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen seconds, as the manual promises; and one who is silent when it is due does not answer, long before."""
    clock = [1_000.0]
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    watched = Watched("postgres", Stuck(figures.BACKLOG), every_s=5)
    watched.look()

    def seen_after(seconds: float) -> tuple[bool, bool]:
        clock[0] = 1_000.0 + seconds
        return watched.answers, bool(watched.latest.values)

    assert [seen_after(seconds) for seconds in (0, 8.4)] == [(True, True)] * 2
    assert [seen_after(seconds) for seconds in (8.6, 14.9)] == [(False, True)] * 2
    assert seen_after(15.1) == (False, False)


def test_a_postgres_that_is_frozen_is_said_to_be_away_within_seconds(
    database: Database, redis_url: str, servers: LocalServers
) -> None:
    """It refuses nobody, and answers nobody: the page must not go on showing that all is well."""
    postgres = Watched("postgres", PostgresState(database.app_url, rules=RULES), every_s=0.5)
    both = State(postgres=postgres, redis=Watched("redis", RedisState(redis_url), every_s=60))
    exporter = Exporter(both, None)

    def up() -> bool:
        return bool(orjson.loads(bytes(exporter.overview().body))["current"]["postgres_up"])

    with both.watching():
        before = up()
        with frozen(database):
            eventually(lambda: not up())
        eventually(up)

    assert before


@contextmanager
def frozen(database: Database) -> Iterator[None]:
    """Postgres's process that serves the exporter takes no turn."""
    with psycopg.connect(database.owner_url) as owner:
        row = owner.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'florin exporter'").fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(row[0], signal.SIGCONT)


def text(exporter: Exporter) -> str:
    """What a scrape is given."""
    return bytes(exporter.metrics("").body).decode()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[[], httpx.Response]]:
    """An exporter that has neither Postgres nor Redis nor other processes; asks it for its figures."""
    port, log = free_port(), tmp_path / "log"
    address = f"http://127.0.0.1:{port}/metrics"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "--port", str(port)],
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": f"postgresql://florin_app:a-secret@127.0.0.1:{free_port()}/florin",
                "REDIS_URL": f"redis://:a-secret@127.0.0.1:{free_port()}/0",
            },
            stderr=errors,
            cwd=ROOT,
        )

    def ask() -> httpx.Response:
        return httpx.get(address, trust_env=False)

    def answers() -> bool:
        try:
            return ask().status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers)
        yield ask
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "a-secret" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_it_starts_with_nothing_to_read(alone: Callable[[], httpx.Response]) -> None:
    """Whoever watches must be there first: it says that both are away, and who it is."""
    answer = alone()
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if family.name.startswith("florin_")
    }

    assert found.keys() == {
        *("florin_postgres_up", "florin_redis_up", "florin_build_info", "florin_processes"),
        *("florin_process_cpu_seconds_total", "florin_process_resident_memory_bytes"),
        "florin_process_cpu_seconds_created",
    }
    assert (found["florin_postgres_up"], found["florin_redis_up"], found["florin_processes"]) == (0, 0, 1)
