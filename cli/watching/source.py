"""Asks the exporter, and Prometheus for what fires, in the background: a screen goes on whatever becomes of it."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from api_min.ops.document import Firing, Overview
from api_min.ops.from_prometheus import firing
from processor import clock

_TIMEOUT: Final = httpx.Timeout(3, connect=2)
_PROMETHEUS_TIMEOUT_S: Final = 1.0
_MOST_BYTES: Final = 20_000_000

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[str, Mapping[Labels, float]]
"""Values by the name of the metric and its labels, in the order of their names."""


class AwayError(Exception):
    """There are no figures. The text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the exporter says at an instant, in seconds since 1970."""

    at: float
    overview: Overview
    samples: Samples = field(default_factory=dict)

    def by_label(self, metric: str, label: str) -> dict[str, float]:
        """The sum of a metric's samples for each value of one of its labels."""
        found: dict[str, float] = {}
        for labels, value in self.samples.get(metric, {}).items():
            name = dict(labels).get(label, "")
            found[name] = found.get(name, 0.0) + value
        return found

    def total(self, metric: str, **wanted: str) -> float | None:
        """The sum of those of a metric's samples that have these labels; ``None`` if nobody knows the metric."""
        if metric not in self.samples:
            return None
        return sum(value for labels, value in self.samples[metric].items() if wanted.items() <= dict(labels).items())


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest reading and the one before it, or why there is none now."""

    reading: Reading | None = None
    before: Reading | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where to ask."""

    exporter: str
    prometheus: str | None = None


def read(places: Places) -> Reading:
    """Ask once. Raises ``AwayError``; a Prometheus that is away is no obstacle."""
    url = places.exporter
    try:
        # The exporter is on this machine or in its network: no proxy knows it.
        with httpx.Client(base_url=url.rstrip("/"), timeout=_TIMEOUT, trust_env=False) as http:
            answers = [http.get(path) for path in ("/overview", "/metrics")]
    except httpx.ReadTimeout:
        raise AwayError(f"the exporter at {url} runs but does not answer: it hangs, restart it") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AwayError(
            f"the exporter at {url} does not answer ({type(error).__name__}): is the stack running? "
            "./florin up starts one"
        ) from None
    overview, metrics = answers
    if overview.status_code != 200 or metrics.status_code != 200 or len(metrics.content) > _MOST_BYTES:
        raise AwayError(f"the exporter at {url} has no figures (HTTP {overview.status_code})")
    try:
        at = clock.now().timestamp()
        found = Overview.model_validate_json(overview.content)
        firing = _firing(places.prometheus, at)
        current = found.current.model_copy(update={"firing": firing})
        return Reading(at, found.model_copy(update={"current": current}), _parse(metrics.text))
    except (ValidationError, ValueError, KeyError):
        raise AwayError(f"what answers at {url} is not the exporter of this version of Florin") from None


def _firing(url: str | None, now: float) -> list[Firing] | None:
    """The alerts that fire in Prometheus; ``None`` if there is none, or it does not say."""
    if url is None:
        return None
    try:
        with httpx.Client(timeout=_PROMETHEUS_TIMEOUT_S, trust_env=False) as http:
            answer = http.get(f"{url.rstrip('/')}/api/v1/alerts")
        found = firing(answer.json(), now) if answer.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return found


class Watch:
    """Reads every so often, in a thread of its own. ``find`` says whom to ask now."""

    def __init__(self, find: Callable[[], Places], every_s: float) -> None:
        self._find = find
        self._every_s = every_s
        self._seen = Seen(trouble="asking the exporter ...")
        self._stop = threading.Event()
        self._changed = threading.Event()

    def __enter__(self) -> "Watch":
        threading.Thread(target=self._run, name="watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def seen(self) -> Seen:
        """What is known now."""
        return self._seen

    def await_first(self, timeout_s: float) -> None:
        """Give the first reading a moment."""
        self._changed.wait(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(Exception):  # A screen that stands still for ever would be worse than one that says nothing.
                try:
                    self._seen = Seen(read(self._find()), self._seen.reading)
                except AwayError as error:
                    self._seen = Seen(trouble=str(error))
            self._changed.set()
            self._stop.wait(self._every_s)


def _parse(text: str) -> Samples:
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found
