"""
Reads Postgres and Redis every few seconds, each in a thread: a scrape waits for neither.

What could not be read is not shown: an old 'nothing is pending' must never pass for a new one.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter import figures
from exporter.figures import Figure
from processor import clock
from processor.logs import in_short
from processor.version import VERSION

log = structlog.get_logger()

_STALE_AFTER_S: Final = 15.0
"""What was read longer ago than that is not shown."""

_SILENT_AFTER_S: Final = 3.5
"""Whoever is due to be asked and has said nothing for so long does not answer: more than one statement may take."""

Values = Mapping[Figure, Mapping[tuple[str, ...], float]]
"""The value of each figure by its labels' values."""


@dataclass
class Found:
    """What is read, figure by figure."""

    values: dict[Figure, dict[tuple[str, ...], float]] = field(default_factory=dict)

    def put(self, figure: Figure, value: float, *labels: str) -> None:
        """Note the value of a figure."""
        assert len(labels) == len(figure.labels), figure
        self.values.setdefault(figure, {})[labels] = float(value)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source gave, and whether that is everything it was asked for; ``parts`` says of each if it was read."""

    values: Values
    is_complete: bool
    parts: Mapping[str, bool] = field(default_factory=dict)


def _nobody_listens() -> None:
    """What is heard, nobody wants to know."""


class Source(Protocol):
    """Something that is asked every few seconds, always by the same thread."""

    def read(self, heard: Callable[[], None] = _nobody_listens) -> Reading:
        """Ask once, and call ``heard`` whenever there is an answer of any kind. What it raises counts as no answer."""

    def close(self) -> None:
        """Nobody asks any more."""


class Watched:
    """A source and what it last gave."""

    def __init__(self, name: str, source: Source, *, every_s: float) -> None:
        self.name = name
        self._source = source
        self._every_s = every_s
        self._asked = threading.Event()
        self._latest = Reading({}, is_complete=False)
        self._latest_at = self._heard_at = float("-inf")
        self._complete_at: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Ask until ``stop`` is set."""
        try:
            while not stop.is_set():
                began = time.monotonic()
                self.look()
                # By the clock and not by pauses; but whoever is slow is given a rest.
                stop.wait(max(self._every_s / 5, began + self._every_s - time.monotonic()))
        finally:
            self._source.close()

    def look(self) -> None:
        """Ask once."""
        try:
            reading = self._source.read(self._heard)
        except Exception as error:
            log.warning("state.unreadable", source=self.name, error=in_short(error))
            reading = Reading({}, is_complete=False)
        if reading.is_complete:
            self._complete_at = clock.now().timestamp()
        self._latest, self._latest_at = reading, time.monotonic()
        self._heard()
        self._asked.set()

    def wait_for_first(self, seconds: float) -> None:
        """Return once it was asked for the first time, whatever it said, or after so many seconds."""
        self._asked.wait(seconds)

    @property
    def latest(self) -> Reading:
        """What it gave when it was last asked; nothing if that is too long ago."""
        if time.monotonic() - self._latest_at > _STALE_AFTER_S:
            return Reading({}, is_complete=False)
        return self._latest

    @property
    def answers(self) -> bool:
        """Whether it gave anything when it was last asked, and has not been silent since."""
        is_silent = time.monotonic() - self._heard_at > self._every_s + _SILENT_AFTER_S
        return bool(self.latest.values) and not is_silent

    @property
    def complete_at(self) -> float | None:
        """When it last gave everything."""
        return self._complete_at

    def _heard(self) -> None:
        self._heard_at = time.monotonic()


class State:
    """Everything that is read, as it is known now. Without an ``api`` that is asked, nothing is said of it."""

    def __init__(self, *, postgres: Watched, redis: Watched, api: Watched | None = None) -> None:
        self._postgres = postgres
        self._redis = redis
        self._api = api

    @contextmanager
    def watching(self, *, patience_s: float = 3.0) -> Iterator[None]:
        """Ask all in the background; the block begins once each was asked, or after so many seconds."""
        stop = threading.Event()
        watched = [each for each in (self._postgres, self._redis, self._api) if each is not None]
        for each in watched:
            # A daemon: one that is stuck must not keep the process from ending.
            threading.Thread(target=each.run, args=[stop], name=f"watch-{each.name}", daemon=True).start()
        for each in watched:
            each.wait_for_first(patience_s)
        try:
            yield
        finally:
            stop.set()

    def values(self) -> Values:
        """Every figure that is known now."""
        found = Found()
        found.put(figures.BUILD_INFO, 1, "exporter", VERSION)
        for watched, up in ((self._postgres, figures.POSTGRES_UP), (self._redis, figures.REDIS_UP)):
            latest = watched.latest
            found.put(up, latest.is_complete)
            if watched.complete_at is not None:
                found.put(figures.READ_AT, watched.complete_at, watched.name)
            found.values |= {figure: dict(by_labels) for figure, by_labels in latest.values.items()}
        for part, was_read in self._postgres.latest.parts.items() if self._postgres.answers else ():
            found.put(figures.UNREAD, not was_read, part)
        if self._api is not None:
            found.put(figures.API_UP, self._api.answers)
        return found.values


def families(values: Values) -> Iterator[Metric]:
    """The figures as Prometheus has them."""
    make: dict[str, Callable[[Figure], Metric]] = {
        "gauge": lambda figure: GaugeMetricFamily(figure.name, figure.help, labels=figure.labels),
        "counter": lambda figure: CounterMetricFamily(figure.name, figure.help, labels=figure.labels),
    }
    for figure, by_labels in values.items():
        family = make[figure.kind](figure)
        for labels, value in by_labels.items():
            family.add_sample(figure.name, dict(zip(figure.labels, labels, strict=True)), value)
        yield family
