"""A job, and one run of it: recorded from its start to its end, counted, and never the end of what comes later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from processor import telemetry, tracing
from processor.apply import words_of
from processor.errors import TransientError
from processor.logs import in_short
from processor.settings import Settings
from processor.store import jobs as job_store
from scheduler.services import Services

log = structlog.get_logger()

_PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, redis.RedisError, TransientError)
"""Postgres or Redis is away: the next tick tries again, and a job that is late for long has an alert."""

_MAX_WORDS: Final = 500

_PERIODS_MISSED: Final = 3
_GRACE: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Job:
    """
    Something to be done again and again.

    ``work`` returns how many things it emitted, and must be right when two processes do it at once.
    """

    name: str
    reason: str
    period_s: Callable[[Settings], float]
    work: Callable[[Services], int]


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run: how many things it emitted, or the error that it met."""

    emitted: int = 0
    error: BaseException | None = None

    @property
    def words(self) -> str | None:
        """What is recorded of the error."""
        return None if self.error is None else _in_one_line(self.error)


def tick(job: Job, services: Services) -> None:
    """Run the job because it is due. A failure is logged, and the next tick tries again."""
    with _named(job):
        ended = _run(job, services)
        if isinstance(ended.error, _PASSING):
            log.warning("job.postponed", error=in_short(ended.error))
        elif ended.error is not None:
            # Postgres's errors have the row in their detail, and what handles this event may not be our own.
            trace = None if isinstance(ended.error, psycopg.Error) else ended.error
            log.error("job.failed", error=in_short(ended.error), exc_info=trace)
        else:
            log.debug("job.done", emitted=ended.emitted)


def run(job: Job, services: Services) -> Ended:
    """Run the job once. What goes wrong is returned, not raised. Without a record of its start, nothing is done."""
    with _named(job):
        return _run(job, services)


@contextmanager
def _named(job: Job) -> Iterator[None]:
    """What is logged, sent and traced meanwhile belongs to this run."""
    structlog.contextvars.bind_contextvars(job=job.name)
    try:
        with tracing.begin(f"job {job.name}", florin__job=job.name):
            yield
    finally:
        structlog.contextvars.unbind_contextvars("job", "run")


def _run(job: Job, services: Services) -> Ended:
    try:
        with services.pool.connection() as conn:
            run_id = job_store.begin_run(conn, job.name, now=services.now())
    except (psycopg.Error, PoolTimeout) as error:
        return _counted(job, Ended(error=error))
    structlog.contextvars.bind_contextvars(run=run_id)
    try:
        with telemetry.job_seconds.labels(job.name).time():
            ended = Ended(job.work(services))
    except Exception as error:
        ended = Ended(error=error)
    except BaseException as error:
        # Somebody ends the process, and the run with it.
        _record_end(run_id, Ended(error=error), services)
        raise
    _record_end(run_id, ended, services)
    return _counted(job, ended)


def is_late(*, period_s: float, last_success_at: datetime | None, now: datetime) -> bool:
    """Whether a job has not succeeded for so long that something must be wrong."""
    patience = _PERIODS_MISSED * timedelta(seconds=period_s) + _GRACE
    return last_success_at is None or now - last_success_at > patience


def _record_end(run_id: int, ended: Ended, services: Services) -> None:
    emitted = ended.emitted if ended.error is None else None
    try:
        with services.pool.connection() as conn:
            job_store.end_run(conn, run_id, emitted=emitted, error=ended.words, now=services.now())
    except (psycopg.Error, PoolTimeout) as error:
        # The work is done or not, whatever its record says. The next leader marks the run as lost.
        log.warning("job.unrecorded", error=in_short(error))


def _counted(job: Job, ended: Ended) -> Ended:
    if ended.error is None:
        telemetry.job_runs.labels(job.name, "success").inc()
        telemetry.job_emitted.labels(job.name).inc(ended.emitted)
        tracing.annotate(florin__emitted=ended.emitted)
    else:
        telemetry.job_runs.labels(job.name, "error").inc()
        tracing.failed(type(ended.error).__name__)
    return ended


def _in_one_line(error: BaseException) -> str:
    """The error in one line of 500 characters at most."""
    words = words_of(error) if isinstance(error, Exception) else repr(error)
    return " ".join(words.split())[:_MAX_WORDS]
