"""What a process does while it leads: every job runs at once, then by its period."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from psycopg import Connection

from processor import clock, telemetry
from processor.settings import Settings
from processor.store import jobs as job_store
from scheduler import services
from scheduler.jobs import Job, tick
from scheduler.services import Services
from scheduler.timetable import JOBS
from workers.queue import CommandQueue

log = structlog.get_logger()


@contextmanager
def leading(
    conn: Connection, settings: Settings, queue: CommandQueue, *, jobs: Sequence[Job] = JOBS
) -> Iterator[Services]:
    """Do the work of the leader, whose connection ``conn`` is. At the end, jobs under way are asked to end, and do."""
    with services.opened(settings, queue, connections=len(jobs), stop=threading.Event()) as provided:
        # On the leader's own connection: without it there is no leader either.
        if lost := job_store.mark_lost(conn, now=provided.now()):
            log.warning("jobs.lost", runs=lost)
        with ticking(jobs, provided):
            yield provided


@contextmanager
def ticking(jobs: Sequence[Job], provided: Services) -> Iterator[None]:
    """Run the jobs. A late tick is run, however late, and several missed ones are run as one."""
    scheduler = BackgroundScheduler(
        timezone="UTC",
        executors={"default": {"type": "threadpool", "max_workers": len(jobs)}},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    # The machine's clock, whatever the jobs are told: the library reads no other.
    at_once = clock.now()
    for job in jobs:
        period_s = job.period_s(provided.settings)
        telemetry.job_period.labels(job.name).set(period_s)
        scheduler.add_job(tick, "interval", [job, provided], seconds=period_s, id=job.name, next_run_time=at_once)
    scheduler.start()
    try:
        yield
    finally:
        provided.stop.set()
        scheduler.shutdown(wait=True)
