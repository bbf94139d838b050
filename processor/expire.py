"""Gives holds back whose time is over: each becomes a command."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from processor.emitting import Emitter
from processor.store import expiring
from processor.store.collecting import SCHEDULER
from processor.store.expiring import Expired
from processor.submissions import CommandBody, Submission

_PATIENCE: Final = timedelta(days=1)
"""After an attempt that failed: a person was told, and needs time."""


class Expirer:
    """One in the leading scheduler."""

    def __init__(self, emitter: Emitter, *, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._emitter = emitter
        self._now = now
        self._new_id = new_id

    def expire(self) -> int:
        """Make an expire_hold command of every hold whose time is over, the oldest first; return how many are new."""
        return self._emitter.emit(self._find, self._submission)

    def _find(self, conn: Connection[Any], last: Expired | None, limit: int) -> list[Expired]:
        now = self._now()
        return expiring.find_expired(conn, now=now, failed_before=now - _PATIENCE, after=last, limit=limit)

    def _submission(self, expired: Expired) -> Submission:
        body = CommandBody(type="expire_hold", account=expired.account, currency=expired.currency, hold_id=expired.id)
        return Submission(self._new_id(), SCHEDULER, expired.key, body)
