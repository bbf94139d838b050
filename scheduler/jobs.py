"""A job, and one run of it: recorded from its start to its end, counted, and never the end of what comes later."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from processor import telemetry
from processor.apply import words_of
from processor.settings import Settings
from processor.store import jobs as job_store
from scheduler.services import Services

log = structlog.get_logger()

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
    ended = run(job, services)
    if ended.error is not None:
        # A traceback repeats Postgres's detail, which has the row's contents.
        trace = None if isinstance(ended.error, psycopg.Error) else ended.error
        log.error("job.failed", job=job.name, error=ended.words, exc_info=trace)


def run(job: Job, services: Services) -> Ended:
    """Run the job once. What goes wrong is returned, not raised. Without a record of its start, nothing is done."""
    try:
        with services.pool.connection() as conn:
            run_id = job_store.begin_run(conn, job.name, now=services.now())
    except (psycopg.Error, PoolTimeout) as error:
        return _counted(job, Ended(error=error), services.now())
    try:
        with telemetry.job_seconds.labels(job.name).time():
            ended = Ended(job.work(services))
    except Exception as error:
        ended = Ended(error=error)
    except BaseException as error:
        # Somebody ends the process, and the run with it.
        _record_end(run_id, job, Ended(error=error), services)
        raise
    _record_end(run_id, job, ended, services)
    return _counted(job, ended, services.now())


def is_late(*, period_s: float, last_success_at: datetime | None, now: datetime) -> bool:
    """Whether a job has not succeeded for so long that something must be wrong."""
    patience = _PERIODS_MISSED * timedelta(seconds=period_s) + _GRACE
    return last_success_at is None or now - last_success_at > patience


def _record_end(run_id: int, job: Job, ended: Ended, services: Services) -> None:
    emitted = ended.emitted if ended.error is None else None
    try:
        with services.pool.connection() as conn:
            job_store.end_run(conn, run_id, emitted=emitted, error=ended.words, now=services.now())
    except (psycopg.Error, PoolTimeout) as error:
        # The work is done or not, whatever its record says. The next leader marks the run as lost.
        log.warning("job.unrecorded", job=job.name, error=words_of(error))


def _counted(job: Job, ended: Ended, now: datetime) -> Ended:
    if ended.error is None:
        telemetry.job_runs.labels(job.name, "success").inc()
        telemetry.job_emitted.labels(job.name).inc(ended.emitted)
        telemetry.job_last_success.labels(job.name).set(now.timestamp())
    else:
        telemetry.job_runs.labels(job.name, "error").inc()
    return ended


def _in_one_line(error: BaseException) -> str:
    """The error in one line of 500 characters at most."""
    words = words_of(error) if isinstance(error, Exception) else repr(error)
    return " ".join(words.split())[:_MAX_WORDS]
