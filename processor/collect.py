"""Collects what is due: each instalment whose day has come becomes a command, through the same intake as all others."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from processor import telemetry
from processor.domain.rules import Rules
from processor.emitting import Emitter
from processor.store import collecting
from processor.store.collecting import SCHEDULER, Due
from processor.submissions import CommandBody, Submission

log = structlog.get_logger()

_PATIENCE: Final = timedelta(days=1)
"""After an attempt that failed: a person was told, and needs time."""

Pool = ConnectionPool[Connection[Any]]


class Collector:
    """One in the leading scheduler."""

    def __init__(
        self, emitter: Emitter, *, now: Callable[[], datetime], new_id: Callable[[], UUID], rules: Rules
    ) -> None:
        self._emitter = emitter
        self._now = now
        self._new_id = new_id
        self._rules = rules

    def collect(self) -> int:
        """Make a collect command of every instalment that is due, oldest day first, and return how many are new."""
        return self._emitter.emit(self._find, self._submission)

    def _find(self, conn: Connection[Any], last: Due | None, limit: int) -> list[Due]:
        now = self._now()
        today = self._rules.business_date(now)
        return collecting.find_due(conn, today=today, failed_before=now - _PATIENCE, after=last, limit=limit)

    def _submission(self, due: Due) -> Submission:
        body = CommandBody(
            type="collect", account=due.account, currency=due.currency, advance_id=due.id, instalment=due.number
        )
        return Submission(self._new_id(), SCHEDULER, due.key, body)


def watch_advances(pool: Pool) -> int:
    """Return how many live advances do not add up to their instalments; each is logged."""
    with pool.connection() as conn:
        incomplete, end = collecting.find_incomplete(conn)
        while end is not None:
            more, end = collecting.find_incomplete(conn, after=end)
            incomplete += more
    telemetry.incomplete_advances.set(len(incomplete))
    for broken in incomplete:
        log.error(
            "advance.incomplete",
            advance=broken.advance,
            amount_minor=broken.amount_minor,
            accounted_minor=broken.accounted_minor,
        )
    return len(incomplete)
