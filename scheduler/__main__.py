"""``python -m scheduler``: one of any number of schedulers; the one that leads does the work."""

import signal
import sys
import threading
from datetime import timedelta

import psycopg
from apscheduler.schedulers.background import BackgroundScheduler

from migrations import latest_version
from processor import clock, pools, telemetry
from processor.errors import SchemaBehind, SettingsError
from processor.process import announce_ready, serve_metrics, wait_for_postgres
from processor.settings import settings
from processor.store import system_accounts
from processor.sweep import Sweeper
from scheduler.leader import Leadership
from scheduler.timetable import timetable
from workers.broker import make_broker
from workers.queue import CommandQueue

_TRY_TO_LEAD_EVERY_S = 1.0


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    try:
        run(stop)
    except (SettingsError, SchemaBehind, psycopg.Error) as error:
        print(f"the scheduler cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def run(stop: threading.Event) -> None:
    """Lead, or wait to lead, until ``stop`` is set."""
    wanted = settings()
    telemetry.set_up_logging(wanted.log_level)
    serve_metrics(wanted.metrics_port)
    database_url = wanted.database_url.get_secret_value()
    wait_for_postgres(database_url, wanted_version=latest_version())
    queue = CommandQueue(make_broker(wanted.redis_url.get_secret_value()))
    with pools.sync_pool(database_url, application_name="florin scheduler", size=2) as pool:

        def roll_forward() -> None:
            with pool.connection() as conn:
                while system_accounts.roll_forward(conn, now=clock.now()):
                    pass

        running: list[BackgroundScheduler] = []

        def lead() -> None:
            sweeper = Sweeper(pool, queue, now=clock.now, stranded_after=timedelta(seconds=wanted.stranded_after_s))
            jobs = timetable(wanted, sweep=sweeper, roll_forward=roll_forward)
            jobs.start()
            running.append(jobs)

        def rest() -> None:
            running.pop().shutdown(wait=True)

        announce_ready(wanted.ready_fd)
        Leadership(database_url).hold(stop, every_s=_TRY_TO_LEAD_EVERY_S, lead=lead, rest=rest)


if __name__ == "__main__":
    sys.exit(main())
