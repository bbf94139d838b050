"""``python -m scheduler``: one of any number of schedulers; the one that leads does the work."""

import signal
import sys
import threading
from contextlib import ExitStack

import psycopg
from psycopg import Connection

from migrations import latest_version
from processor import logs, tracing, vitals
from processor.errors import SchemaBehind, SettingsError
from processor.process import announce_ready, serve_metrics, wait_for_postgres
from processor.settings import settings
from scheduler.leader import Leadership
from scheduler.services import queue_of
from scheduler.ticks import leading

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
    logs.set_up(wanted.log_level, "scheduler", log_format=wanted.log_format)
    serve_metrics(wanted.metrics_port)
    database_url = wanted.database_url.get_secret_value()
    queue = queue_of(wanted)
    wait_for_postgres(database_url, wanted_version=latest_version())
    with vitals.watching("scheduler"), tracing.recording("scheduler", on=wanted.tracing), ExitStack() as work:

        def lead(conn: Connection) -> None:
            work.enter_context(leading(conn, wanted, queue))

        announce_ready(wanted.ready_fd)
        Leadership(database_url).hold(stop, every_s=_TRY_TO_LEAD_EVERY_S, lead=lead, rest=work.close)


if __name__ == "__main__":
    sys.exit(main())
