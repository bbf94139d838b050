"""What the tests of the exporter share: an engine that changes rows, and what the exporter reads of them."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from exporter.postgres import PostgresState
from exporter.state import Values
from tests.builders import RULES
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.watch import Watch

Read = Callable[[], Mapping[str, float]]


@pytest.fixture
def watch() -> Watch:
    """Noon on a Monday."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """Intake and applier in this process."""
    with running_engine(database, now=watch) as engine:
        yield engine


@pytest.fixture
def read(database: Database, watch: Watch) -> Iterator[Read]:
    """What the exporter reads of the rows now, the slow parts included."""
    states: list[PostgresState] = []

    def read() -> Mapping[str, float]:
        states.append(PostgresState(database.app_url, rules=RULES, now=watch))
        reading = states[-1].read()
        assert reading.is_complete
        return by_name(reading.values)

    yield read
    for each in states:
        each.close()


def by_name(values: Values) -> dict[str, float]:
    """The figures as Prometheus writes them: ``florin_alerts_open{severity="page",proof="chain"}``."""
    named: dict[str, float] = {}
    for figure, by_labels in values.items():
        for labels, value in by_labels.items():
            pairs = ",".join(f'{name}="{label}"' for name, label in zip(figure.labels, labels, strict=True))
            named[f"{figure.name}{{{pairs}}}" if pairs else figure.name] = value
    return named
