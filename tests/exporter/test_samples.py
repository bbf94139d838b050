"""An hour of samples: rates and quantiles, also when processes are restarted and samples are missing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from exporter import figures
from exporter.samples import KEPT, Samples, quantile
from exporter.state import Found

BUCKETS: Final = (0.1, 0.5, 1.0)


def counted(settled: int = 0, refused: int = 0, took_s: Sequence[float] = ()) -> list[Metric]:
    """What processes have counted since they began."""
    registry = CollectorRegistry()
    outcomes = Counter("florin_commands_settled", "x", ["type", "status", "reason"], registry=registry)
    outcomes.labels("deposit", "applied", "").inc(settled)
    outcomes.labels("withdraw", "refused", "insufficient_funds").inc(refused)
    times = Histogram("florin_receipt_to_outcome_seconds", "x", buckets=BUCKETS, registry=registry)
    for each in took_s:
        times.observe(each)
    return list(registry.collect())


def drawn(*taken: tuple[float, list[Metric]]) -> dict[str, Any]:
    """The document after these samples."""
    samples = Samples()
    for at, metrics in taken:
        samples.add(at, metrics, {})
    return samples.document(taken[-1][0], {})


def test_rates_are_what_was_added_between_two_samples() -> None:
    """Per second, whatever time has passed: a late sample is no burst."""
    said = drawn((0, counted(10)), (5, counted(20, 5)), (25, counted(60, 25)))

    assert said["times"] == [0, 5, 25]
    assert said["series"]["settled_per_s"] == [None, 3, 3]
    assert said["refusals"] == {"insufficient_funds": [None, 1, 1]}


def test_counters_that_begin_again_are_no_negative_payments() -> None:
    """After a restart of everything, what was counted since is what is known."""
    said = drawn((0, counted(100, 10)), (5, counted(5, 0)), (10, counted(15, 1)))

    assert said["series"]["settled_per_s"] == [None, 1, 1.6]
    assert said["refusals"] == {"insufficient_funds": [None, 0, 0.1]}


def test_a_burst_is_as_high_as_prometheus_would_have_it() -> None:
    """Both take rates over half a minute: a screen that changes its source must not show another bank."""
    taken = [(at, counted(0 if at < 100 else 60)) for at in range(60, 160, 5)]
    said = drawn(*((float(at), metrics) for at, metrics in taken))
    rates = dict(zip(said["times"], said["series"]["settled_per_s"], strict=True))

    assert rates[95] == 0
    assert rates[100] == rates[125] == 2
    assert rates[130] == 0


def books(errors: int) -> list[Metric]:
    """Workers that met a contradiction so many times."""
    registry = CollectorRegistry()
    Counter("florin_books_errors", "x", registry=registry).inc(errors)
    return list(registry.collect())


def test_errors_of_the_books_are_those_of_the_last_minutes() -> None:
    """Those of last week are history; without processes, nobody knows."""
    before = [(5.0 * n, books(7)) for n in range(3)]
    after = [(20.0 + 5 * n, books(9)) for n in range(40)]

    assert drawn(*before)["current"]["books_errors"] == 0
    assert drawn(*before, *after[:5])["current"]["books_errors"] == 2
    assert drawn(*before, *after)["current"]["books_errors"] == 0
    assert drawn((0, []))["current"]["books_errors"] is None


def test_a_scheduler_that_is_about_to_lead_is_not_missed() -> None:
    """The first look after a start is too early; the second says what is."""
    found = Found()
    found.put(figures.LEADER, 0)
    samples = Samples()
    samples.add(0, (), found.values)
    first = samples.document(1, found.values)["current"]["leader"]
    samples.add(5, (), found.values)

    assert first is None
    assert samples.document(6, found.values)["current"]["leader"] is False


def test_quantiles_are_of_the_last_minute() -> None:
    """A slow hour ago does not show now, and when nothing was settled nothing is claimed."""
    slow, then_fast = [0.9] * 100, [0.9] * 100 + [0.05] * 100
    instants = [5.0 * n for n in range(30)]
    said = drawn((0, counted()), (5, counted(took_s=slow)), *((at + 10, counted(took_s=then_fast)) for at in instants))
    p99 = said["series"]["p99_s"]

    assert p99[0] is None
    assert p99[1] == pytest.approx(0.995)
    assert p99[2] == pytest.approx(0.99)
    assert p99[13] == pytest.approx(0.099)
    assert p99[-1] is None


def test_quantiles_survive_a_restart() -> None:
    """Buckets that begin again do not take away from the minute."""
    said = drawn((0, counted(took_s=[0.9] * 50)), (5, counted(took_s=[0.05] * 10)), (10, counted(took_s=[0.05] * 20)))

    assert said["series"]["p99_s"][1:] == [pytest.approx(0.099)] * 2


@pytest.mark.parametrize(
    ("buckets", "median"),
    [
        ({}, None),
        ({0.1: 0, 1.0: 0, float("inf"): 0}, None),
        ({0.1: 2, 1.0: 2, float("inf"): 2}, 0.05),
        ({0.1: 1, 1.0: 3, float("inf"): 4}, pytest.approx(0.55)),
        ({0.1: 0, 1.0: 0, float("inf"): 4}, 1.0),
    ],
)
def test_quantiles_are_as_prometheus_has_them(buckets: Mapping[float, float], median: float | None) -> None:
    """The page and the dashboards show the same numbers; beyond the last bound, it is that bound."""
    assert quantile(0.5, buckets) == median


def test_an_hour_is_kept() -> None:
    """The oldest goes when a new one comes."""
    samples = Samples()
    for at in range(KEPT + 10):
        samples.add(at, (), {})

    assert samples.document(0, {})["times"] == list(range(10, KEPT + 10))


def test_a_clock_that_was_put_back_takes_what_it_said_along() -> None:
    """Time goes up in the document, or nobody takes it for one: an hour without a page, for a clock that was set."""
    said = drawn((0, counted(0)), (5, counted(10)), (3600, counted(20)), (3605, counted(30)), (10, counted(40)))
    later = drawn((3600, counted(0)), (3605, counted(10)), (5, counted(20)), (10, counted(40)))

    assert said["times"] == [0, 5, 10]
    assert said["series"]["settled_per_s"][-1] == pytest.approx(6, abs=2)
    assert later["times"] == [5, 10]
    assert later["series"]["settled_per_s"] == [None, 4]


def test_what_is_not_known_is_said_to_be_so() -> None:
    """With Postgres away, 'nothing is pending' would be a lie."""
    found = Found()
    found.put(figures.POSTGRES_UP, 0)
    samples = Samples()
    samples.add(0, (), found.values)
    said = samples.document(1, found.values)
    unknown = ("leader", "oldest_pending_s", "backlog", "dead_letters", "redis_up", "workers")

    assert said["current"]["postgres_up"] is False
    assert {said["current"][name] for name in unknown} == {None}
    assert {value for values in said["series"].values() for value in values} == {None}
