"""The page of all metrics is what the code declares, and every metric keeps to the rules of the house."""

import re
from typing import Final

import pytest
from prometheus_client import Gauge

from exporter import table
from exporter.table import Row
from processor import telemetry

LABELS: Final = {
    *("component", "currency", "follower", "job", "kind", "method", "part", "pool", "proof", "queue", "reason"),
    *("result", "route", "scope", "severity", "source", "state", "status", "table", "target", "type", "version"),
}
"""Each has few values, whatever happens: no id, name, key or address."""

UNITS: Final = (
    *("_seconds", "_bytes", "_commands", "_messages", "_connections", "_accounts", "_instalments", "_amount"),
    *("_requests", "_rows"),
)
"""What a gauge or histogram may be in: base units, or things of one kind."""

WITHOUT_UNIT: Final = {
    *("florin_build_info", "florin_postgres_up", "florin_redis_up", "florin_scheduler_leader", "florin_processes"),
    *("florin_api_up", "florin_state_unread"),
    *("florin_advances_incomplete", "florin_alerts_open", "florin_dead_letters_open", "florin_statement_breaks_open"),
    *("florin_proof_breaks", "florin_seal_height", "florin_seal_leaves", "florin_seal_hash_prefix"),
    *("florin_redis_connected_clients", "florin_postgres_lock_waiters", "florin_holds_open", "florin_holds_overdue"),
}
"""Flags, and counts whose name says what is counted."""

ROWS: Final = [*table.processes(), *table.state()]


def test_the_page_is_what_the_code_declares() -> None:
    """Whoever writes an alert reads the page: write it anew with ``python -m exporter.table``."""
    assert table.PAGE.read_text() == table.page()


def test_it_is_known_who_counts_what() -> None:
    """A metric that is new in processor.telemetry, or gone from it, is new or gone in the table as well."""
    assert {row.name for row in table.processes()} == set(table.COUNTED_BY)
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_metric_keeps_to_the_rules(row: Row) -> None:
    """Base units, counters that say that they are, few series, and a sentence."""
    unit = row.name.removesuffix("_total")

    assert re.fullmatch(r"florin(_[a-z]+)+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert row.kind == "counter" or row.name in WITHOUT_UNIT or unit.endswith(UNITS)
    assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mb|minor|percent)(_|$)", row.name)
    assert set(row.labels) <= LABELS
    assert re.fullmatch(r"[A-Z0-9].*\.", row.help)
    assert "|" not in row.help


def test_gauges_end_with_their_process() -> None:
    """A gauge of a process that has died says nothing of any that runs."""
    modes = {name: each._multiprocess_mode for name, each in vars(telemetry).items() if isinstance(each, Gauge)}

    assert set(modes.values()) <= {"livesum", "livemostrecent"}
