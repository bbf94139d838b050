"""Collects what is due: each instalment whose day has come becomes a command, through the same intake as all others."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from processor import telemetry
from processor.domain.rules import Rules
from processor.errors import BooksError
from processor.store import collecting
from processor.store.collecting import SCHEDULER, Due
from processor.submissions import Answer, CommandBody, Receipt, Submission

log = structlog.get_logger()

PAGE: Final = 5_000
"""Instalments that are read and handed to the intake at once."""

_PATIENCE: Final = timedelta(days=1)
"""After an attempt that failed: a person was told, and needs time."""

_LOOK_AGAIN_S: Final = 0.5

Pool = ConnectionPool[Connection[Any]]


class Collector:
    """
    One in the leading scheduler; it remembers nothing, and two of them do no harm.

    ``submit`` is the intake. While ``is_full`` says so, nothing more is sent: clients have a right to the rest of the
    backlog. ``pause`` waits so many seconds, and returns ``True`` if there is no more time.
    """

    def __init__(
        self,
        pool: Pool,
        submit: Callable[[Sequence[Submission]], Sequence[Answer]],
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        rules: Rules,
        is_full: Callable[[Connection[Any]], bool],
        pause: Callable[[float], bool],
    ) -> None:
        self._pool = pool
        self._submit = submit
        self._now = now
        self._new_id = new_id
        self._rules = rules
        self._is_full = is_full
        self._pause = pause

    def collect(self) -> int:
        """
        Make a collect command of every instalment that is due, oldest day first, and return how many are new.

        Raises what ``Intake.accept`` raises; what is due and was not sent then is found again by the next call.
        """
        emitted = 0
        wrong: list[str] = []
        last: Due | None = None
        while page := self._next(last):
            answers = self._submit([self._submission(due) for due in page])
            emitted += sum(isinstance(answer, Receipt) and not answer.replayed for answer in answers)
            wrong += [due.key for due, answer in zip(page, answers, strict=True) if not isinstance(answer, Receipt)]
            last = page[-1]
        if wrong:
            raise BooksError(f"the intake does not take {len(wrong)} collects, such as {', '.join(wrong[:10])}")
        return emitted

    def _next(self, last: Due | None) -> list[Due]:
        now = self._now()
        with self._pool.connection() as conn:
            while self._is_full(conn):
                if self._pause(_LOOK_AGAIN_S):
                    return []
            if self._pause(0):
                return []
            return collecting.find_due(
                conn,
                today=self._rules.business_date(now),
                failed_before=now - _PATIENCE,
                after=last,
                limit=PAGE,
            )

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
