"""Releases an account from quarantine: by one admin or by two, and not while what was found is still open."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from psycopg import AsyncConnection

from processor.store import quarantine as quarantine_store
from processor.store.quarantine import QuarantineRow

SLICE: Final = 10_000
"""Commands that are put back in line at once."""


class Answer(Enum):
    """What came of asking for a release."""

    RELEASED = "released"
    ASKED = "asked"
    """Another admin has to confirm it."""
    UNKNOWN = "unknown"
    """The account never was in quarantine."""
    ALERT_OPEN = "alert_open"
    """What was found is not in order yet."""


@dataclass(frozen=True, slots=True)
class Released:
    """The answer, with the quarantine as it is now, and the alerts that are in the way."""

    answer: Answer
    quarantine: QuarantineRow | None = None
    alerts: tuple[int, ...] = ()


async def release(
    conn: AsyncConnection[Any],
    account: str,
    *,
    by: str,
    now: datetime,
    reason: str | None = None,
    force: bool = False,
    needs_two: bool = False,
) -> Released:
    """
    Release the account: what was held for it is in line again, to be decided in order of position.

    Much is put back in slices, a transaction each, lowest positions first: the account is locked no longer than a
    slice takes, what is not back yet is not overtaken, and a release that broke off is ended by the next. With
    ``force``, open alerts are not in the way. Where it ``needs_two``, the first admin's call is noted and another one's
    does it. Again and again is the same as once.
    """
    while True:
        async with conn.transaction():
            await quarantine_store.lock(conn, account)
            found = await quarantine_store.find(conn, account)
            if found is None:
                return Released(Answer.UNKNOWN)
            if found.released_at is not None:
                return Released(Answer.RELEASED, found)
            alerts = await quarantine_store.live_alerts(conn, account)
            if alerts and not force:
                return Released(Answer.ALERT_OPEN, found, tuple(alerts))
            if needs_two and found.asked_by in (None, by):
                if found.asked_by is None:
                    await quarantine_store.ask(conn, found.id, by=by, now=now)
                return Released(Answer.ASKED, await quarantine_store.find(conn, account))
            if not await quarantine_store.put_back(conn, found, limit=SLICE):
                await quarantine_store.end(conn, found, by=by, reason=reason, now=now)
                return Released(Answer.RELEASED, await quarantine_store.find(conn, account))
