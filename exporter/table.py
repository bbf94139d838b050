"""``python -m exporter.table``: writes docs/metrics.md, the table of every metric, from the code that declares them."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from exporter.figures import FIGURES, Figure
from processor import telemetry

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

_ALL: Final = "all"
_API: Final = "api"
_API_AND_SCHEDULER: Final = "api, scheduler"
_SCHEDULER: Final = "scheduler"
_WITH_MESSAGES: Final = "api, worker, scheduler"
_WORKER: Final = "worker"

COUNTED_BY: Final = {
    "florin_http_request_seconds": _API,
    "florin_commands_received_total": _API_AND_SCHEDULER,
    "florin_commands_accepted_total": _API_AND_SCHEDULER,
    "florin_commands_replayed_total": _API_AND_SCHEDULER,
    "florin_commands_conflicting_total": _API_AND_SCHEDULER,
    "florin_commands_overloaded_total": _API_AND_SCHEDULER,
    "florin_accept_seconds": _API_AND_SCHEDULER,
    "florin_intake_group_commands": _API_AND_SCHEDULER,
    "florin_messages_unannounced_total": _WITH_MESSAGES,
    "florin_commands_settled_total": _WORKER,
    "florin_queue_wait_seconds": _WORKER,
    "florin_message_retries_total": _WORKER,
    "florin_messages_given_up_total": _WORKER,
    "florin_lock_wait_seconds": _WORKER,
    "florin_apply_seconds": _WORKER,
    "florin_apply_batch_commands": _WORKER,
    "florin_receipt_to_outcome_seconds": _WORKER,
    "florin_apply_retries_total": _WORKER,
    "florin_apply_widened_total": _WORKER,
    "florin_apply_isolations_total": _WORKER,
    "florin_dead_letters_total": _WORKER,
    "florin_books_errors_total": _WORKER,
    "florin_advances_incomplete": _SCHEDULER,
    "florin_alert_notifications_total": _WORKER,
    "florin_alert_undelivered_total": _WORKER,
    "florin_commands_swept_total": _SCHEDULER,
    "florin_job_runs_total": _SCHEDULER,
    "florin_job_period_seconds": _SCHEDULER,
    "florin_job_seconds": _SCHEDULER,
    "florin_job_emitted_total": _SCHEDULER,
    "florin_proof_runs_total": _SCHEDULER,
    "florin_proof_checked_total": _SCHEDULER,
    "florin_proof_seconds": _SCHEDULER,
    "florin_seal_exports_failed_total": _SCHEDULER,
    "florin_pool_connections": _WITH_MESSAGES,
    "florin_pool_waiting_requests": _WITH_MESSAGES,
    "florin_pool_requests_total": _WITH_MESSAGES,
    "florin_pool_wait_seconds_total": _WITH_MESSAGES,
    "florin_pool_errors_total": _WITH_MESSAGES,
    "florin_processes": _ALL,
    "florin_process_cpu_seconds_total": _ALL,
    "florin_process_resident_memory_bytes": _ALL,
}
"""The kinds of processes that keep a metric of their own."""

_HEAD: Final = """\
# Metrics

This page is written by `python -m exporter.table` from the code; a test compares them.

One exporter per host serves all of them at `/metrics`. Names have their base unit (seconds, bytes, whole units of the
currency), those of counters end in `_total`, and no label holds an id.
"""

_PROCESSES: Final = """
## Counted by processes

Each process keeps them in the host's shared folder, where the exporter adds them up; what a process that has died
counted stays, and its gauges go. Over several hosts take the `sum`. Histograms have `_bucket`, `_sum` and `_count`.
"""

_STATE: Final = """
## Read from rows and from Redis

The exporter reads them every few seconds, so they are true whoever has died, and the same on every host: take the
`max`, never the `sum`. What could not be read is not shown, and `florin_postgres_up` or `florin_redis_up` is 0 then.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A metric as the page shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    by: str


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD + _PROCESSES, *_table(processes()), _STATE, *_table(state()), ""])


def processes() -> list[Row]:
    """What processes count, in the order of the code."""
    declared = [
        each for _, each in inspect.getmembers(telemetry, lambda each: isinstance(each, (Counter, Gauge, Histogram)))
    ]
    rows = {
        name: Row(name, each._type, tuple(each._labelnames), each._documentation, COUNTED_BY.get(name, "?"))
        for each in declared
        for name in [each._name + "_total" * isinstance(each, Counter)]
    }
    order = list(COUNTED_BY)
    return sorted(rows.values(), key=lambda row: (order.index(row.name) if row.name in order else len(order), row.name))


def state() -> list[Row]:
    """What the exporter reads, in the order of the code."""
    return [_row(figure) for figure in FIGURES.values()]


def _row(figure: Figure) -> Row:
    read = "exporter" if figure.source == "exporter" else f"exporter, from {figure.source.capitalize()}"
    return Row(figure.name, figure.kind, tuple(figure.labels), figure.help, read)


def _table(rows: list[Row]) -> Iterator[str]:
    yield "| name | type | labels | meaning | measured by |"
    yield "|---|---|---|---|---|"
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.help} | {row.by} |"


if __name__ == "__main__":
    PAGE.write_text(page())
