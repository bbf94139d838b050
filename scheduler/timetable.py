"""When each job is due. A tick only says 'look': what there is to do is read from rows."""

from collections.abc import Callable

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from processor import clock, telemetry
from processor.settings import Settings
from processor.sweep import Sweeper

log = structlog.get_logger()


def timetable(settings: Settings, *, sweep: Sweeper, roll_forward: Callable[[], object]) -> BackgroundScheduler:
    """
    The jobs of the leading scheduler, not started yet.

    A late tick is run, however late, and several missed ones are run as one.
    """
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
    )
    for name, job, seconds in (
        ("sweep", sweep.sweep, settings.sweep_every_s),
        ("roll_forward", roll_forward, settings.roll_forward_every_s),
    ):
        scheduler.add_job(_watched(name, job), "interval", seconds=seconds, id=name, next_run_time=clock.now())
    return scheduler


def _watched(name: str, job: Callable[[], object]) -> Callable[[], None]:
    """The job, with its result counted. A failure is logged, and the next tick tries again."""

    def run() -> None:
        try:
            job()
        except Exception:
            telemetry.job_runs.labels(name, "error").inc()
            log.exception("job.failed", job=name)
        else:
            telemetry.job_runs.labels(name, "success").inc()
            telemetry.job_last_success.labels(name).set(clock.now().timestamp())

    return run
