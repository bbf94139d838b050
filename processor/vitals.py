"""What a process knows of itself: processor time, memory, connections. Looked at every few seconds, from a thread."""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from processor import telemetry
from processor.version import VERSION

_EVERY_S: Final = 5.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

AnyPool = ConnectionPool[Any] | AsyncConnectionPool[Any]

_pools: "weakref.WeakKeyDictionary[AnyPool, dict[str, int]]" = weakref.WeakKeyDictionary()
"""With what was counted of each so far."""


def watch_pool(pool: AnyPool) -> None:
    """Count what the pool, which has a name, does from now on."""
    _pools[pool] = {}


@contextmanager
def watching(component: str) -> Iterator[None]:
    """Show this process, as ``component``, among those that run."""
    telemetry.processes.labels(component, VERSION).set(1)
    stop = threading.Event()

    def look_now_and_then() -> None:
        used_s = 0.0
        while True:
            used_s = look(component, used_s)
            if stop.wait(_EVERY_S):
                return

    thread = threading.Thread(target=look_now_and_then, name="vitals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def look(component: str, used_s: float) -> float:
    """Measure once; ``used_s`` is the processor time counted so far, and the new one is returned."""
    times = os.times()
    now_s = times.user + times.system
    telemetry.cpu_seconds.labels(component).inc(max(0.0, now_s - used_s))
    telemetry.resident_bytes.labels(component).set(_resident_bytes())
    _look_at_pools()
    return now_s


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _look_at_pools() -> None:
    use: dict[str, Counter[str]] = {}
    for pool, before in list(_pools.items()):
        now = pool.get_stats()
        available = now["pool_available"]
        use.setdefault(pool.name, Counter()).update(
            idle=available, busy=max(0, now["pool_size"] - available), waiting=now["requests_waiting"]
        )
        for key, metric, unit in (
            ("requests_num", telemetry.pool_requests, 1),
            ("requests_wait_ms", telemetry.pool_wait_seconds, 1000),
            ("requests_errors", telemetry.pool_errors, 1),
        ):
            metric.labels(pool.name).inc(max(0, now.get(key, 0) - before.get(key, 0)) / unit)
        _pools[pool] = now
    for name, found in use.items():
        telemetry.pool_connections.labels(name, "idle").set(found["idle"])
        telemetry.pool_connections.labels(name, "busy").set(found["busy"])
        telemetry.pool_waiting.labels(name).set(found["waiting"])
