"""``python -m workers``: one process that takes messages until it is told to stop."""

import signal
import sys
import threading

import psycopg
from dramatiq import Worker

from migrations import latest_version
from processor import clock, logs, pools, tracing, vitals
from processor.apply import Applier
from processor.errors import SchemaBehind, SettingsError
from processor.notifying import Notifier, targets_of
from processor.process import announce_ready, serve_metrics, wait_for_postgres
from processor.settings import settings
from workers import actors, notify
from workers.broker import client, make_broker
from workers.messages import COMMANDS

_SHUTDOWN_MS = 15_000


def main() -> int:
    """Run until SIGTERM or SIGINT: messages under way are finished, those not begun go back to the queue."""
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    try:
        run(stop)
    except (SettingsError, SchemaBehind, psycopg.Error) as error:
        print(f"the worker cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def run(stop: threading.Event) -> None:
    """Take messages until ``stop`` is set."""
    wanted = settings()
    logs.set_up(wanted.log_level, "worker", log_format=wanted.log_format)
    serve_metrics(wanted.metrics_port)
    database_url, redis_url = wanted.database_url.get_secret_value(), wanted.redis_url.get_secret_value()
    notifier = Notifier(lambda: pools.connect(database_url, "florin notifier"), targets_of(wanted), now=clock.now)
    wait_for_postgres(database_url, wanted_version=latest_version())
    with (
        vitals.watching("worker"),
        tracing.recording("worker", on=wanted.tracing),
        pools.sync_pool(database_url, application_name="florin worker", size=wanted.worker_threads) as pool,
    ):
        broker = make_broker(redis_url)
        actors.declare(broker, Applier(pool, now=clock.now, rules=wanted.rules()), client(redis_url))
        notify.declare(broker, notifier)
        broker.emit_after("process_boot")
        worker = Worker(broker, queues={COMMANDS}, worker_timeout=wanted.poll_ms, worker_threads=wanted.worker_threads)
        worker.queue_prefetch = wanted.queue_prefetch
        worker.start()
        with notify.delivering(broker):
            announce_ready(wanted.ready_fd)
            # Woken now and then: a signal that came while the process was paused is handled once Python runs again.
            while not stop.wait(1.0):
                pass
            worker.stop(timeout=_SHUTDOWN_MS)
        broker.close()


if __name__ == "__main__":
    sys.exit(main())
