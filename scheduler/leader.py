"""Who of several schedulers works: whoever holds a session lock on a connection of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
import structlog
from psycopg import Connection

from processor import pools, telemetry
from processor.store import locks

log = structlog.get_logger()


class Leadership:
    """
    Held as long as the connection lives.

    It spares work and is no fence: for an instant two processes may believe that they lead, so whatever a job does must
    be right when it is done twice.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._conn: Connection | None = None

    def hold(
        self, stop: threading.Event, *, every_s: float, lead: Callable[[], None], rest: Callable[[], None]
    ) -> None:
        """Try to lead until ``stop`` is set: ``lead`` is called when this process begins to, ``rest`` when it ends."""
        leading = False
        while not stop.is_set():
            held = self._try()
            if held != leading:
                leading = held
                telemetry.leader.set(int(leading))
                log.info("scheduler.leads" if leading else "scheduler.rests")
                (lead if leading else rest)()
            stop.wait(every_s)
        if leading:
            rest()
            telemetry.leader.set(0)
        self._close()

    def _try(self) -> bool:
        """Whether this process leads now. Every doubt is a no."""
        try:
            if self._conn is None:
                # A leader that is paused must not lead: it speaks every second, or Postgres ends its session.
                conn = pools.connect(self._database_url, "florin scheduler lead", idle_session_timeout="5s")
                if not locks.try_lead(conn):
                    conn.close()
                    return False
                self._conn = conn
                return True
            self._conn.execute("SELECT")
        except psycopg.Error as error:
            log.warning("scheduler.lost_connection", error=str(error).splitlines()[0])
            self._close()
            return False
        return True

    def _close(self) -> None:
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None
