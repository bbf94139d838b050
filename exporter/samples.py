"""An hour of samples, one every few seconds: what the page for operators draws where there is no Prometheus."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from exporter import figures
from exporter.figures import Figure
from exporter.state import Values
from processor.version import VERSION

STEP_S: Final = 5
KEPT: Final = 720

_WINDOW: Final = 60 // STEP_S
"""Steps over which quantiles are taken."""
_RATE_S: Final = 30
"""Seconds over which rates are taken: as many as from Prometheus, so that a burst looks the same from both."""
_ERRORS: Final = 180 // STEP_S
"""Steps over which errors of the books are counted: longer than it takes until a command is tried again."""

SERIES: Final = ("settled_per_s", "accepted_per_s", "oldest_pending_s", "p50_s", "p99_s", "backlog")


@dataclass(frozen=True, slots=True)
class Counted:
    """What the processes have counted up to an instant; empty without a metrics folder."""

    at: float
    settled: float | None = None
    accepted: float | None = None
    refused: Mapping[str, float] = field(default_factory=dict)
    books_errors: float | None = None
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Commands that took at most so many seconds from receipt to outcome."""


@dataclass(frozen=True, slots=True)
class Point:
    """What is drawn for an instant; ``None`` is not known."""

    at: float
    values: Mapping[str, float | None]
    refusals: Mapping[str, float | None]


class Samples:
    """The last hour, in the order of time. Threads may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: deque[Counted] = deque(maxlen=_WINDOW + 1)
        self._points: deque[Point] = deque(maxlen=KEPT)
        self._books_errors: deque[float | None] = deque(maxlen=_ERRORS + 1)
        self._metrics: Sequence[Metric] = ()
        self._looks_for_leader = 0

    def add(self, at: float, metrics: Sequence[Metric], values: Values) -> None:
        """Take a sample of what the processes counted and what was read."""
        with self._lock:
            # A clock that was put back: what it said before is of no time that anybody knows.
            while self._counted and self._counted[-1].at >= at:
                self._counted.pop()
            while self._points and self._points[-1].at >= at:
                self._points.pop()
            self._counted.append(_count(at, metrics))
            self._points.append(_point(list(self._counted), values))
            self._books_errors.append(self._counted[-1].books_errors)
            self._metrics = metrics
            self._looks_for_leader += figures.LEADER in values

    def document(self, now: float, values: Values) -> dict[str, Any]:
        """The hour, and how things are now by ``values``, as ``GET /overview`` gives it."""
        with self._lock:
            points, metrics = list(self._points), self._metrics
            current = _current(metrics, values, now) | {"books_errors": _newly(self._books_errors)}
            if self._looks_for_leader < 2 and not current["leader"]:
                # A stack that has just been started is about to have one: the first look says nothing.
                current["leader"] = None
        reasons = sorted({reason for point in points for reason in point.refusals})
        return {
            "source": "florin",
            "now": now,
            "step_s": STEP_S,
            "times": [point.at for point in points],
            "series": {name: [point.values[name] for point in points] for name in SERIES},
            "refusals": {reason: [point.refusals.get(reason, 0.0) for point in points] for reason in reasons},
            "current": current,
        }


def _count(at: float, metrics: Iterable[Metric]) -> Counted:
    by_name = {metric.name: metric for metric in metrics}
    settled = by_name.get("florin_commands_settled")
    accepted = by_name.get("florin_commands_accepted")
    books = by_name.get("florin_books_errors")
    times = by_name.get("florin_receipt_to_outcome_seconds")
    refused: dict[str, float] = {}
    for sample in _counts(settled) if settled else ():
        if sample.labels.get("status") == "refused":
            reason = sample.labels["reason"]
            refused[reason] = refused.get(reason, 0.0) + sample.value
    return Counted(
        at,
        settled=sum(sample.value for sample in _counts(settled)) if settled else None,
        accepted=sum(sample.value for sample in _counts(accepted)) if accepted else None,
        refused=refused,
        books_errors=sum(sample.value for sample in _counts(books)) if books else None,
        buckets={float(s.labels["le"]): s.value for s in (times.samples if times else ()) if "le" in s.labels},
    )


def _counts(counter: Metric) -> list[Sample]:
    """What was counted, without when the counting began."""
    return [sample for sample in counter.samples if sample.name.endswith("_total")]


def _point(counted: Sequence[Counted], values: Values) -> Point:
    now = counted[-1]
    # At least two samples, however late this one came.
    recent = [each for each in counted[:-2] if each.at >= now.at - _RATE_S] + list(counted[-2:])
    rates = {
        "settled_per_s": _per_s([(each.at, each.settled) for each in recent]),
        "accepted_per_s": _per_s([(each.at, each.accepted) for each in recent]),
    }
    refusals = {reason: _per_s([(each.at, each.refused.get(reason, 0.0)) for each in recent]) for reason in now.refused}
    lately = _grown(counted)
    return Point(
        now.at,
        {
            **rates,
            "oldest_pending_s": _one(values, figures.OLDEST_PENDING),
            "backlog": _one(values, figures.BACKLOG),
            "p50_s": quantile(0.5, lately),
            "p99_s": quantile(0.99, lately),
        },
        refusals,
    )


def _per_s(line: Sequence[tuple[float, float | None]]) -> float | None:
    """A counter that has gone down began again, at zero; one that was not there before did so as well."""
    elapsed_s = line[-1][0] - line[0][0]
    if line[-1][1] is None or elapsed_s <= 0:
        return None
    return _grown_by([value for _, value in line]) / elapsed_s


def _newly(line: Sequence[float | None]) -> int | None:
    """By how much a counter has grown; unknown if nobody counts."""
    return int(_grown_by(line)) if line and line[-1] is not None else None


def _grown_by(line: Sequence[float | None]) -> float:
    return sum(_growth(before or 0.0, after) for before, after in pairwise(line) if after is not None)


def _growth(before: float, now: float) -> float:
    return now - before if now >= before else now


def _grown(counted: Sequence[Counted]) -> dict[float, float]:
    """By how much each bucket has grown over the window, however often the counters began again."""
    grown = dict.fromkeys(counted[-1].buckets, 0.0)
    for before, after in pairwise(counted):
        began_again = after.buckets.get(float("inf"), 0.0) < before.buckets.get(float("inf"), 0.0)
        for bound in grown:
            then = 0.0 if began_again else before.buckets.get(bound, 0.0)
            grown[bound] += max(0.0, after.buckets.get(bound, 0.0) - then)
    return grown


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """
    The value below which a share ``q`` lies, as Prometheus's histogram_quantile has it; ``None`` without any.

    ``buckets`` has how many were at most as large as each bound; above the largest finite bound, it is that bound.
    """
    total = buckets.get(float("inf"), 0.0)
    if total <= 0:
        return None
    wanted = q * total
    below, low = 0.0, 0.0
    for bound in sorted(buckets):
        count = buckets[bound]
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((wanted - below) / (count - below) if count > below else 1.0)
        below, low = count, bound
    return low


def _current(metrics: Sequence[Metric], values: Values, now: float) -> dict[str, Any]:
    by_name = {metric.name: metric for metric in metrics}

    def gauges(name: str, label: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for sample in by_name[name].samples if name in by_name else ():
            found[sample.labels[label]] = found.get(sample.labels[label], 0.0) + sample.value
        return found

    def flag(figure: Figure) -> bool | None:
        value = _one(values, figure)
        return None if value is None else value > 0

    def age_s(timestamp: float | None) -> float | None:
        return max(0.0, now - timestamp) if timestamp else None

    def count(figure: Figure) -> int | None:
        value = _one(values, figure)
        return None if value is None else int(value)

    periods = gauges("florin_job_period_seconds", "job")
    ages, proven = values.get(figures.OLDEST_ALERT, {}), values.get(figures.PROVEN_AT, {})
    breaks, succeeded = values.get(figures.BREAKS, {}), values.get(figures.JOB_LAST_SUCCESS, {})
    instalments = values.get(figures.NEXT_COLLECTION_INSTALMENTS, {})
    amounts = values.get(figures.NEXT_COLLECTION_AMOUNT, {})
    unread = values.get(figures.UNREAD, {})
    outstanding, arrears = values.get(figures.ADVANCES_OUTSTANDING, {}), values.get(figures.ARREARS, {})
    return {
        # That it answers, and not the figure of this name, which says that it gave everything.
        "postgres_up": bool(unread) if figures.POSTGRES_UP in values else None,
        "unread": sorted(part for (part,), is_unread in unread.items() if is_unread),
        "redis_up": flag(figures.REDIS_UP),
        "leader": flag(figures.LEADER),
        "workers": int(gauges("florin_processes", "component").get("worker", 0)) if metrics else None,
        "oldest_pending_s": _one(values, figures.OLDEST_PENDING),
        "backlog": count(figures.BACKLOG),
        "held_commands": count(figures.HELD),
        "quarantined_accounts": count(figures.QUARANTINED),
        "dead_letters": count(figures.DEAD_LETTERS),
        "alerts": [
            {"proof": proof, "severity": severity, "count": int(open_), "oldest_age_s": ages.get((severity, proof))}
            for (severity, proof), open_ in sorted(values.get(figures.ALERTS, {}).items())
            if open_
        ],
        "proofs": [
            {"proof": proof, "proven_age_s": age_s(at), "breaks": int(breaks.get((proof,), 0))}
            for (proof,), at in sorted(proven.items())
        ],
        "jobs": [
            {"job": job, "age_s": age_s(at), "period_s": periods.get(job)} for (job,), at in sorted(succeeded.items())
        ],
        "next_collections": [
            {
                "currency": currency,
                "at": at,
                "instalments": int(instalments.get((currency,), 0)),
                "amount": amounts.get((currency,)),
            }
            for (currency,), at in sorted(values.get(figures.NEXT_COLLECTION, {}).items())
        ],
        "money": [
            {
                "currency": currency,
                "deposits": deposits,
                "advances_outstanding": outstanding.get((currency,), 0.0),
                "arrears": arrears.get((currency,), 0.0),
            }
            for (currency,), deposits in sorted(values.get(figures.DEPOSITS, {}).items())
        ],
        "version": VERSION,
    }


def _one(values: Values, figure: Figure) -> float | None:
    """The value of a figure without labels, if it is known."""
    return values.get(figure, {}).get(())
