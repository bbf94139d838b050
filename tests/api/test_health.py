"""What machines ask: is it alive, can it work, and how does it do."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from cli.servers.process import wait_until
from processor import telemetry
from tests.api.conftest import Api, a_deposit, a_withdrawal


def test_a_process_that_answers_is_alive(stranger: Api) -> None:
    """Whoever asks needs no key."""
    answer = stranger.http.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_stack_that_can_work_is_ready(stranger: Api) -> None:
    """Postgres with its schema, and Redis."""
    answer = stranger.http.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"postgres": "ok", "redis": "ok"})


ONLY_IN_TROUBLE: Final = {
    *("florin_alerts_open", "florin_alert_oldest_open_age_seconds", "florin_alert_notifications"),
    *("florin_seal_exports_failed", "florin_message_retries", "florin_messages_given_up"),
}
"""Figures by labels that do not exist before somebody has to be told of something."""


def test_the_metrics_can_be_read_and_are_all_there(api: Api, stranger: Api) -> None:
    """Every figure that the code keeps, from all processes: alerts are written against these names."""
    api.granted(api.opened())

    def jobs_have_run() -> bool:
        text = stranger.http.get("/metrics").text
        return "florin_overdue_amount{" in text and "florin_held_commands" in text

    assert wait_until(jobs_have_run, timeout_s=10)
    answer = stranger.http.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    wanted = {
        each._name: each._type for each in vars(telemetry).values() if isinstance(each, (Counter, Gauge, Histogram))
    }

    assert answer.headers["content-type"].startswith("text/plain")
    assert len(wanted) > 20
    assert {name: family.type for name, family in families.items() if name in wanted} == {
        name: kind for name, kind in wanted.items() if name in families or name not in ONLY_IN_TROUBLE
    }
    assert all(name.startswith("florin_") for name in families)
    assert all(family.documentation for family in families.values())


def test_the_metrics_count_what_happens(api: Api, stranger: Api) -> None:
    """Across API and worker processes: one applied, one refused, one replayed."""
    name = api.opened()
    before = _samples(stranger)
    applied = api.settle(a_deposit(name))
    api.settle(a_withdrawal(name, "99.00"))
    api.post(a_deposit(name), key=applied["idempotency_key"])

    def grown() -> dict[str, float]:
        return {key: value - before.get(key, 0) for key, value in _samples(stranger).items()}

    settled = "florin_commands_settled_total"
    expected = {
        "florin_commands_accepted_total": 2.0,
        "florin_commands_replayed_total": 1.0,
        f"{settled} deposit applied ": 1.0,
        f"{settled} withdraw refused insufficient_funds": 1.0,
    }

    assert wait_until(lambda: expected.items() <= grown().items(), timeout_s=10), grown()


def test_labels_hold_no_ids(stranger: Api) -> None:
    """A label for every account or command would fill the memory of Prometheus."""
    for family in text_string_to_metric_families(stranger.http.get("/metrics").text):
        for sample in family.samples:
            assert not any("acc-" in value or len(value) > 60 for value in sample.labels.values()), sample


def _samples(stranger: Api) -> dict[str, float]:
    return {
        " ".join(
            [sample.name, *(sample.labels[name] for name in ("type", "status", "reason") if name in sample.labels)]
        ): (sample.value)
        for family in text_string_to_metric_families(stranger.http.get("/metrics").text)
        for sample in family.samples
        if not sample.name.startswith("florin_http")
    }
