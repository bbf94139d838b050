"""What the tests of the engine share: clients, an engine to send to, and no waiting between retries."""

from collections.abc import Iterator

import pytest
import stamina

from tests.conftest import Database
from tests.engine import Engine, add_clients, running_engine


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the API does."""
    return "asyncio"


@pytest.fixture
def clients(database: Database) -> Database:
    """A database with clients 1 and 2, who may send commands."""
    add_clients(database)
    return database


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """Intake and applier in this process. The test delivers the messages, or does not."""
    with running_engine(database) as engine:
        yield engine


@pytest.fixture
def impatient() -> Iterator[None]:
    """Retries come at once, as many as there would be."""
    with stamina.set_testing(True, attempts=5, cap=True):
        yield
