"""Who of several schedulers works: whoever holds a session lock on a connection of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
import structlog
from psycopg import Connection

from processor import pools
from processor.logs import in_short
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
        self,
        stop: threading.Event,
        *,
        every_s: float,
        lead: Callable[[Connection], None],
        rest: Callable[[], None],
    ) -> None:
        """
        Try to lead until ``stop`` is set: ``lead`` is called when this process begins to, ``rest`` when it ends.

        ``lead`` is given the leader's connection. When it raises ``psycopg.Error``, this process does not lead.
        """
        leading = False
        while not stop.is_set():
            conn = self._try()
            if conn is not None and not leading:
                leading = self._begin(lead, conn)
            elif conn is None and leading:
                leading = False
                self._end(rest)
            stop.wait(every_s)
        if leading:
            self._end(rest)
        self._close()

    def _begin(self, lead: Callable[[Connection], None], conn: Connection) -> bool:
        log.info("scheduler.leads")
        try:
            lead(conn)
        except psycopg.Error as error:
            self._lost(error)
            log.info("scheduler.rests")
            return False
        return True

    def _end(self, rest: Callable[[], None]) -> None:
        log.info("scheduler.rests")
        rest()

    def _try(self) -> Connection | None:
        """The connection that holds the lock, if this process leads now. Every doubt is a no."""
        try:
            if self._conn is None:
                # A leader that is paused must not lead: it speaks every second, or Postgres ends its session.
                conn = pools.connect(self._database_url, "florin scheduler lead", idle_session_timeout="5s")
                if not locks.try_lead(conn):
                    conn.close()
                    return None
                self._conn = conn
            else:
                self._conn.execute("SELECT")
        except psycopg.Error as error:
            self._lost(error)
        return self._conn

    def _lost(self, error: psycopg.Error) -> None:
        log.warning("scheduler.lost_connection", error=in_short(error))
        self._close()

    def _close(self) -> None:
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None
