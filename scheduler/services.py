"""What jobs use, made once for each time that a process leads."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat
from psycopg import Connection
from psycopg_pool import ConnectionPool

from processor import clock, pools
from processor.collect import Collector
from processor.domain.rules import Rules
from processor.emitting import Emitter
from processor.errors import SettingsError
from processor.expire import Expirer
from processor.sealing import Sealer
from processor.settings import Settings
from processor.store.commands import backlog_reaches
from processor.sweep import Sweeper
from scheduler.accepting import accepting
from workers.broker import make_broker
from workers.queue import CommandQueue

Pool = ConnectionPool[Connection[Any]]


@dataclass(frozen=True, slots=True)
class Services:
    """The edges of a job. ``stop`` is set when there is no more time: a job that takes long looks at it."""

    settings: Settings
    rules: Rules
    pool: Pool
    sweeper: Sweeper
    collector: Collector
    expirer: Expirer
    sealer: Sealer
    now: Callable[[], datetime]
    stop: threading.Event


@contextmanager
def opened(
    settings: Settings,
    queue: CommandQueue,
    *,
    connections: int,
    stop: threading.Event,
    now: Callable[[], datetime] = clock.now,
    new_id: Callable[[], UUID] = uuid_utils.compat.uuid7,
    choose: Callable[[int], int] = secrets.randbelow,
) -> Iterator[Services]:
    """The services for as many jobs at once as there are ``connections``."""
    database_url = settings.database_url.get_secret_value()
    rules = settings.rules()
    with (
        pools.sync_pool(database_url, application_name="florin scheduler", size=connections) as pool,
        accepting(settings, queue.sending_as("scheduler"), now=now) as submit,
    ):
        sweeper = Sweeper(
            pool, queue.sending_as("sweeper"), now=now, stranded_after=timedelta(seconds=settings.stranded_after_s)
        )
        emitter = Emitter(
            pool,
            submit,
            # Clients stand in the same line, and the rest of the backlog is theirs.
            is_full=lambda conn: backlog_reaches(conn, min(settings.collect_backlog, settings.max_backlog)),
            pause=stop.wait,
        )
        collector = Collector(emitter, now=now, new_id=new_id, rules=rules)
        expirer = Expirer(emitter, now=now, new_id=new_id)
        sealer = Sealer(
            pool,
            now=now,
            choose=choose,
            block_size=settings.seal_block_size,
            file=settings.seal_file,
            webhook=settings.seal_webhook.get_secret_value() if settings.seal_webhook else None,
            is_over=stop.is_set,
        )
        yield Services(settings, rules, pool, sweeper, collector, expirer, sealer, now, stop)


def queue_of(settings: Settings) -> CommandQueue:
    """The queue that the settings name. It need not answer yet. Raises ``SettingsError``."""
    try:
        return CommandQueue(make_broker(settings.redis_url.get_secret_value()))
    except ValueError:
        # Its text may show the address, and the password in it.
        raise SettingsError("REDIS_URL is not an address of Redis: give redis://:password@host:port/0") from None
