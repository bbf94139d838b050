"""The overview from Prometheus: every host's processes, and as long ago as it remembers."""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import httpx
from pydantic import BaseModel, Field, ValidationError

from api_min.ops import queries
from api_min.ops.document import SECONDS, Current, Firing, Overview, Span
from api_min.ops.sources import SourceError, get_json

_MOST_POINTS: Final = 360
_SHORTEST_STEP_S: Final = 5
_SHORTEST_WINDOW_S: Final = 30
"""What the exporter takes its own rates over."""
_LONGEST_SCRAPE_S: Final = 60
_QUANTILES_S: Final = 60
_SEVERITIES: Final = ("page", "ticket")
"""Those of Florin's rules. In a Prometheus that others use as well, alerts with other labels are theirs."""


class _Line(BaseModel):
    """One series of an answer: ``value`` of an instant, ``values`` of a range."""

    metric: dict[str, str]
    value: tuple[float, float] | None = None
    values: list[tuple[float, float]] = []


class _Data(BaseModel):
    result: list[_Line]


class _Answer(BaseModel):
    data: _Data


async def read(client: httpx.AsyncClient, url: str, span: Span, *, now: float) -> Overview:
    """Ask the Prometheus at ``url``, everything at once. Raises ``SourceError``, also if it knows nothing of Florin."""
    step_s = max(_SHORTEST_STEP_S, SECONDS[span] // _MOST_POINTS)
    window_s = _window_s(_single(await _instant(client, url, queries.SCRAPES)), step_s)
    window, of_quantiles = f"{window_s}s", f"{max(_QUANTILES_S, window_s)}s"
    # On whole steps, so that a point that was drawn stays where it is.
    end = int(now // step_s) * step_s
    times = list(range(end - SECONDS[span], end + 1, step_s))
    instants = (queries.READ_AT, queries.state(), queries.WORKERS, queries.VERSION, queries.BOOKS_ERRORS)
    lines = {
        "settled_per_s": queries.settled_per_s(window),
        "accepted_per_s": queries.accepted_per_s(window),
        "oldest_pending_s": queries.OLDEST_PENDING,
        "p50_s": queries.receipt_to_outcome_s(0.5, of_quantiles),
        "p99_s": queries.receipt_to_outcome_s(0.99, of_quantiles),
        "backlog": queries.BACKLOG,
    }
    asked = [_instant(client, url, query) for query in instants]
    asked += [_range(client, url, query, times, step_s) for query in (*lines.values(), queries.refused_per_s(window))]
    fires, answers = await asyncio.gather(_firing(client, url, now), asyncio.gather(*asked))
    read_at, state, workers, version, errors, *drawn, refusals = answers
    seen_at = _single(read_at)
    if seen_at is None:
        raise SourceError("it has no figures of Florin's: does it scrape the exporter?")
    current = _current(state, now) | {
        "workers": _whole(_single(workers)),
        "books_errors": _whole(_single(errors)),
        "firing": fires,
        "version": next((line.metric.get("version") for line in version), None),
    }
    document = {
        "source": "prometheus",
        "now": seen_at,
        "step_s": step_s,
        "times": times,
        "series": {
            name: _on_times(answer[0] if answer else None, times) for name, answer in zip(lines, drawn, strict=True)
        },
        "refusals": {line.metric.get("reason", ""): _on_times(line, times) for line in refusals},
        "current": current,
    }
    try:
        return Overview.model_validate(document)
    except ValidationError:
        raise SourceError("its figures make no sense") from None


def with_state(overview: Overview, newer: Current) -> Overview:
    """
    The same with what the exporter of this host has read of Postgres and Redis since the last scrape.

    That state is everybody's. What processes count or say is each host's own, and stays as Prometheus added it up.
    """
    old = overview.current
    periods = {each.job: each.period_s for each in old.jobs}
    jobs = [each.model_copy(update={"period_s": each.period_s or periods.get(each.job)}) for each in newer.jobs]
    kept = {"workers": old.workers, "firing": old.firing, "books_errors": old.books_errors, "jobs": jobs}
    return overview.model_copy(update={"current": newer.model_copy(update=kept)})


def firing(document: Any, now: float) -> list[Firing] | None:
    """The alerts that fire by an answer of ``/api/v1/alerts``, the most urgent first; ``None`` if it is not one."""
    try:
        alerts = _Alerts.model_validate(document).data.alerts
        found = [
            Firing(
                name=each.labels.get("alertname", "")[:100],
                severity=each.labels["severity"],
                age_s=max(0.0, now - each.active_at.timestamp()) if each.active_at else None,
                summary=each.annotations.get("summary", "")[:500],
                runbook_url=each.annotations.get("runbook_url", "")[:500],
            )
            for each in alerts
            if each.state == "firing" and each.labels.get("severity") in _SEVERITIES
        ]
    except (ValidationError, ValueError, OverflowError):
        return None
    found.sort(key=lambda each: (_SEVERITIES.index(each.severity), -(each.age_s or 0.0)))
    return found[:200]


class _Alert(BaseModel):
    """One of Prometheus's, pending or firing."""

    labels: dict[str, str]
    annotations: dict[str, str] = {}
    state: str
    active_at: datetime | None = Field(None, alias="activeAt")


class _AlertsData(BaseModel):
    alerts: list[_Alert]


class _Alerts(BaseModel):
    data: _AlertsData


async def _firing(client: httpx.AsyncClient, url: str, now: float) -> list[Firing] | None:
    try:
        return firing(await get_json(client, f"{url.rstrip('/')}/api/v1/alerts"), now)
    except SourceError:
        return None  # Something that speaks PromQL, but has no rules.


def _window_s(scrapes: float | None, step_s: int) -> int:
    """As short as possible, or a burst is spread out until it is none; yet nothing may fall between two points."""
    scrape_s = min(_LONGEST_SCRAPE_S, 60 / scrapes) if scrapes else _LONGEST_SCRAPE_S
    return math.ceil(max(_SHORTEST_WINDOW_S, 4 * scrape_s, step_s + scrape_s))


async def _instant(client: httpx.AsyncClient, url: str, query: str) -> list[_Line]:
    return _lines(await get_json(client, f"{url.rstrip('/')}/api/v1/query", {"query": query}))


async def _range(client: httpx.AsyncClient, url: str, query: str, times: list[int], step_s: int) -> list[_Line]:
    parameters = {"query": query, "start": str(times[0]), "end": str(times[-1]), "step": str(step_s)}
    return _lines(await get_json(client, f"{url.rstrip('/')}/api/v1/query_range", parameters))


def _lines(document: Any) -> list[_Line]:
    try:
        return _Answer.model_validate(document).data.result
    except ValidationError:
        raise SourceError("its answer is not one of Prometheus") from None


def _current(lines: Iterable[_Line], now: float) -> dict[str, Any]:
    figures = _Figures(lines)
    unread = figures.all("florin_state_unread")
    return {
        # Whether it answers; the figure of that name is whether it answers everything.
        "postgres_up": bool(unread) or _yes(figures.one("florin_postgres_up")),
        "unread": sorted(labels.get("part", "") for labels, is_unread in unread if is_unread),
        "redis_up": _yes(figures.one("florin_redis_up")),
        "leader": _yes(figures.one("florin_scheduler_leader")),
        "oldest_pending_s": figures.one("florin_oldest_pending_age_seconds"),
        "backlog": _whole(figures.one("florin_backlog_commands")),
        "held_commands": _whole(figures.one("florin_held_commands")),
        "quarantined_accounts": _whole(figures.one("florin_quarantined_accounts")),
        "dead_letters": _whole(figures.one("florin_dead_letters_open")),
        "alerts": list(_alerts(figures)),
        "proofs": [
            {
                "proof": proof,
                "proven_age_s": _age(figures.of("florin_proof_last_proven_timestamp_seconds", proof=proof), now),
                "breaks": _whole(figures.of("florin_proof_breaks", proof=proof)),
            }
            for proof in figures.values("proof", "florin_proof_last_proven_timestamp_seconds", "florin_proof_breaks")
        ],
        "jobs": [
            {
                "job": job,
                "age_s": _age(figures.of("florin_job_last_success_timestamp_seconds", job=job), now),
                "period_s": figures.of("florin_job_period_seconds", job=job),
            }
            for job in figures.values("job", "florin_job_period_seconds", "florin_job_last_success_timestamp_seconds")
        ],
        "next_collections": [
            {
                "currency": currency,
                "at": figures.of("florin_next_collection_timestamp_seconds", currency=currency),
                "instalments": _whole(figures.of("florin_next_collection_instalments", currency=currency)),
                "amount": figures.of("florin_next_collection_amount", currency=currency),
            }
            for currency in figures.values("currency", "florin_next_collection_timestamp_seconds")
        ],
        "money": [
            {
                "currency": currency,
                "deposits": figures.of("florin_deposits_amount", currency=currency),
                "advances_outstanding": figures.of("florin_advances_outstanding_amount", currency=currency) or 0.0,
                "arrears": figures.of("florin_arrears_amount", currency=currency) or 0.0,
            }
            for currency in figures.values("currency", "florin_deposits_amount")
        ],
    }


class _Figures:
    """Values by name and labels."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        self._found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for line in lines:
            if line.value and math.isfinite(value := line.value[1]):
                labels = {name: text for name, text in line.metric.items() if name != "__name__"}
                self._found.setdefault(line.metric.get("__name__", ""), []).append((labels, value))

    def all(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        return self._found.get(name, [])

    def one(self, name: str) -> float | None:
        return next((value for _, value in self.all(name)), None)

    def of(self, name: str, **labels: str) -> float | None:
        return next((value for found, value in self.all(name) if labels.items() <= found.items()), None)

    def values(self, label: str, *names: str) -> list[str]:
        return sorted({labels[label] for name in names for labels, _ in self.all(name) if label in labels})


def _alerts(figures: _Figures) -> Iterator[dict[str, Any]]:
    for labels, count in figures.all("florin_alerts_open"):
        if count > 0:
            by = {"proof": labels.get("proof", ""), "severity": labels.get("severity", "")}
            age_s = figures.of("florin_alert_oldest_open_age_seconds", **by)
            yield by | {"count": int(count), "oldest_age_s": age_s}


def _on_times(line: _Line | None, times: list[int]) -> list[float | None]:
    values = {round(at): value for at, value in line.values if math.isfinite(at)} if line else {}
    return [value if (value := values.get(at)) is not None and math.isfinite(value) else None for at in times]


def _single(lines: list[_Line]) -> float | None:
    value = lines[0].value[1] if lines and lines[0].value else math.nan
    return value if math.isfinite(value) else None


def _age(at: float | None, now: float) -> float | None:
    return max(0.0, now - at) if at else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _yes(value: float | None) -> bool | None:
    return None if value is None else value > 0
