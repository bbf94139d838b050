"""Stacks to break: each test has one of its own, and finds Postgres and Redis running whatever the last one did."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from cli.servers import LocalServers, ServersError
from tests.conftest import Database
from tests.folders import throwaway_folder
from tests.processes import is_running
from tests.stack import Stack

NewStack = Callable[..., Stack]


@pytest.fixture
def new_stack(servers: LocalServers, database: Database, redis_url: str) -> Iterator[NewStack]:
    """Make the test's stack, of as many processes as it asks for. What is stranded is swept after one second."""
    impatient = {
        "FLORIN_SWEEP_EVERY_S": "1",
        "FLORIN_STRANDED_AFTER_S": "1",
        "FLORIN_ROLL_FORWARD_EVERY_S": "1",
    }
    with ExitStack() as cleanup:

        def make(*, api: int = 1, workers: int = 2, schedulers: int = 1, exporters: int = 0, **settings: str) -> Stack:
            folder = cleanup.enter_context(throwaway_folder())
            return cleanup.enter_context(
                Stack(
                    database.owner_url,
                    database.app_url,
                    redis_url,
                    folder,
                    api=api,
                    workers=workers,
                    schedulers=schedulers,
                    exporters=exporters,
                    settings=impatient | settings,
                )
            )

        cleanup.callback(_heal, servers)
        yield make


def _heal(servers: LocalServers) -> None:
    """Start what was killed or stopped, each at its own address."""
    for server in servers.running:
        try:
            down = not is_running(server.pid)
        except ServersError:
            down = True
        if down:
            server.start()


def flush(stack: Stack) -> None:
    """Empty Redis: what waits in the queue, what workers have in hand, and the scripts."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
