"""The figures of a whole stack, at its exporter: what Prometheus and the page for operators are given."""

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx
import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from exporter.figures import FIGURES
from processor import telemetry
from tests.api.conftest import Api, a_deposit, a_withdrawal
from tests.eventually import eventually
from tests.stack import Stack

ONLY_IN_TROUBLE: Final = {
    "florin_alert_notifications",
    "florin_message_retries",
    "florin_messages_given_up",
    "florin_seal_exports_failed",
    "florin_statement_breaks_open",
    "florin_statement_last_import_timestamp_seconds",
    "florin_seal_hash_prefix",
    "florin_seal_newest_timestamp_seconds",
}
"""Figures that do not exist before there is a statement, a block or somebody who has to be told of something."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def test_every_figure_is_there(api: Api, stack: Stack) -> None:
    """From all processes, from rows and from Redis: dashboards and alerts are written against these names."""
    api.granted(name := api.opened())
    hold = {"type": "place_hold", "account": name, "amount": "1.00", "currency": "USD"}
    assert api.settle(hold)["status"] == "applied"
    wanted = {
        **{
            each._name: each._type for each in vars(telemetry).values() if isinstance(each, (Counter, Gauge, Histogram))
        },
        **{name.removesuffix("_total"): figure.kind for name, figure in FIGURES.items()},
    }

    def missing() -> set[str]:
        return set(wanted) - ONLY_IN_TROUBLE - {name for name, kind in kinds(stack).items() if kind == wanted.get(name)}

    eventually(lambda: not missing(), within_s=60)
    answer = get(stack, "/metrics")
    names = [family.name for family in text_string_to_metric_families(answer.text)]

    assert answer.headers["content-type"].startswith("text/plain")
    assert len(wanted) > 80
    assert sorted(set(names)) == sorted(names)
    assert set(names) <= set(wanted)


def test_the_figures_count_what_happens(api: Api, stack: Stack) -> None:
    """Across API and worker processes: one applied, one refused, one replayed."""
    name = api.opened()
    before = samples(stack)
    applied = api.settle(a_deposit(name))
    api.settle(a_withdrawal(name, "99.00"))
    api.post(a_deposit(name), key=applied["idempotency_key"])

    def grown() -> Samples:
        return {key: value - before.get(key, 0) for key, value in samples(stack).items()}

    expected = {
        key("florin_commands_accepted_total"): 2.0,
        key("florin_commands_replayed_total"): 1.0,
        key("florin_commands_settled_total", type="deposit", status="applied", reason=""): 1.0,
        key("florin_commands_settled_total", type="withdraw", status="refused", reason="insufficient_funds"): 1.0,
    }
    eventually(lambda: expected.items() <= grown().items(), within_s=10)


def test_labels_hold_no_ids(api: Api, stack: Stack) -> None:
    """A label for every account or command would fill the memory of Prometheus."""
    api.settle(a_deposit(api.opened()))

    for name, labels in samples(stack):
        for _, value in labels:
            assert re.fullmatch(r"[A-Za-z0-9_./{}+ -]{0,60}", value), (name, labels)
            assert not re.search(r"acc-|[0-9a-f]{8}", value), (name, labels)


@pytest.mark.parametrize("killed", ["worker-2", "exporter-1"])
def test_a_process_that_is_killed_takes_its_gauges_along_and_leaves_its_counts(
    api: Api, stack: Stack, killed: str
) -> None:
    """Otherwise a dead worker would count as one that runs, and every deployment would look like a drop to zero."""
    kind, _, _ = killed.partition("-")
    running = key("florin_processes", component=kind, version="0.1.0")
    name = api.opened()
    for _ in range(5):
        api.settle(a_deposit(name))
    count = len(stack.running(kind))
    eventually(lambda: samples(stack)[running] == count)
    before = samples(stack)
    stack.kill(killed)
    if kind == "worker":
        eventually(lambda: samples(stack)[running] == count - 1)
    stack.start(killed)
    eventually(lambda: samples(stack)[running] == count)
    after = samples(stack)

    lost = {
        counter: (value, after.get(counter))
        for counter, value in before.items()
        if re.search("_(total|count|bucket|sum)$", counter[0]) and after.get(counter, 0) < value
    }
    assert lost == {}


def test_the_overview_says_how_things_are(api: Api, stack: Stack) -> None:
    """The page for operators draws this where there is no Prometheus."""
    api.settle(a_withdrawal(api.opened(), "99.00"))

    def document() -> dict[str, Any]:
        said: dict[str, Any] = get(stack, "/overview").json()
        return said

    eventually(lambda: any(document()["refusals"].get("insufficient_funds", [])))
    said = document()
    lists: Mapping[str, list[float | None]] = {**said["series"], **said["refusals"]}

    assert (said["source"], said["step_s"]) == ("florin", 5)
    assert {len(values) for values in lists.values()} == {len(said["times"])}
    assert any(said["series"]["settled_per_s"])
    assert any(said["series"]["p99_s"])
    assert said["current"] | {"postgres_up": True, "redis_up": True, "leader": True, "workers": 2} == said["current"]
    assert said["current"]["oldest_pending_s"] is not None
    assert {job["job"] for job in said["current"]["jobs"]} >= {"sweep", "prove", "collect"}


def test_whatever_is_asked_there_is_an_answer(stack: Stack) -> None:
    """Nobody who looks for something else is shown how the exporter is made."""
    assert get(stack, "/healthz").json() == {"status": "ok"}
    assert {get(stack, path).status_code for path in ("/", "/metrics/", "/docs", "/openapi.json")} == {404}
    assert get(stack, "/overview?x=%00").status_code == 200
    assert httpx.post(f"{stack.metrics_url}/metrics", trust_env=False).status_code == 405


def get(stack: Stack, path: str) -> httpx.Response:
    """What the exporter answers."""
    return httpx.get(f"{stack.metrics_url}{path}", trust_env=False, timeout=10)


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """How a sample is known."""
    return name, tuple(sorted(labels.items()))


def kinds(stack: Stack) -> dict[str, str]:
    """The type of every figure that is there."""
    return {family.name: family.type for family in text_string_to_metric_families(get(stack, "/metrics").text)}


def samples(stack: Stack) -> Samples:
    """Every figure that is there now."""
    try:
        text = get(stack, "/metrics").text
    except httpx.TransportError:
        return {}
    return {
        key(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
