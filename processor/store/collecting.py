"""What is due, and whether every advance adds up: read from rows, whatever a timer did or did not do."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, LiteralString
from uuid import UUID

from psycopg import Connection

SCHEDULER: Final = 0
"""The client in whose name the scheduler sends commands. It has no key."""

# In order of their days, so that a week that was missed is decided before the next one. An attempt that was accepted is
# left alone, whether it is decided or not: its key exists. After one that failed, a person has a day to look at it.
SELECT_DUE: Final[LiteralString] = """
    SELECT due.*
    FROM (
        SELECT
            instalment.advance_id AS advance, instalment.number, instalment.due_on, instalment.attempts + 1 AS attempt,
            granting.id, account.name, advance.currency
        FROM instalment
        JOIN advance ON advance.id = instalment.advance_id
        JOIN account ON account.id = advance.account_id
        JOIN command AS granting ON granting.position = advance.id
        WHERE instalment.state = 'scheduled' AND instalment.due_on <= %(today)b
            AND (instalment.due_on, instalment.advance_id, instalment.number) > (%(after_on)b, %(after)b, %(number)b)
            AND (instalment.failed_at IS NULL OR instalment.failed_at <= %(failed_before)b)
            AND NOT EXISTS (
                SELECT FROM command AS collect
                WHERE collect.client_id = 0 AND collect.idempotency_key = format(
                    'instalment:%%s-%%s:%%s', instalment.advance_id, instalment.number, instalment.attempts + 1
                )
            )
        ORDER BY instalment.due_on, instalment.advance_id, instalment.number
        LIMIT %(limit)b
    ) AS due
    ORDER BY due_on, advance, number
"""

# A page of live advances: the whole table may be too much for one statement.
SELECT_PAGE_END: Final[LiteralString] = """
    SELECT max(id) FROM (
        SELECT id FROM advance WHERE state IN ('open', 'in_arrears') AND id > %b ORDER BY id LIMIT %b
    ) AS page
"""

# The completeness formula (processor.domain.advances.accounted_minor), and that an advance's own figures are those of
# its instalments.
SELECT_INCOMPLETE: Final[LiteralString] = """
    SELECT advance.id, account.name, advance.currency, advance.amount_minor, reckoned.accounted_minor
    FROM advance JOIN account ON account.id = advance.account_id
    CROSS JOIN LATERAL (
        SELECT
            sum(CASE state WHEN 'missed' THEN paid_minor ELSE amount_minor END) AS accounted_minor,
            sum(paid_minor) AS paid_minor,
            coalesce(sum(amount_minor - paid_minor) FILTER (WHERE state = 'written_off'), 0) AS written_off_minor,
            count(*) AS count, max(number) AS last
        FROM instalment WHERE instalment.advance_id = advance.id
    ) AS reckoned
    WHERE advance.id > %b AND advance.id <= %b AND advance.state IN ('open', 'in_arrears')
        AND (
            reckoned.accounted_minor IS DISTINCT FROM advance.amount_minor
            OR reckoned.paid_minor IS DISTINCT FROM advance.paid_minor
            OR reckoned.written_off_minor <> advance.written_off_minor
            OR reckoned.count <> advance.instalments OR reckoned.last IS DISTINCT FROM advance.instalments
        )
    ORDER BY advance.id
"""


@dataclass(frozen=True, slots=True)
class Due:
    """An instalment whose day has come, and the attempt that is to be made at it. ``id`` is how clients name it."""

    advance: int
    number: int
    due_on: date
    attempt: int
    id: UUID
    account: str
    currency: str

    @property
    def key(self) -> str:
        """The idempotency key of the attempt: whoever makes it, it is the same command."""
        return f"instalment:{self.advance}-{self.number}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class Incomplete:
    """An advance whose instalments do not add up to it."""

    advance: int
    account: str
    currency: str
    amount_minor: int
    accounted_minor: int | None


def find_due(conn: Connection, *, today: date, failed_before: datetime, after: Due | None, limit: int) -> list[Due]:
    """The next ``limit`` instalments that are due on the business date ``today`` and that nobody collects yet."""
    after_on, after_id, number = (after.due_on, after.advance, after.number) if after else (date.min, 0, 0)
    rows = conn.execute(
        SELECT_DUE,
        {
            "today": today,
            "failed_before": failed_before,
            "after_on": after_on,
            "after": after_id,
            "number": number,
            "limit": limit,
        },
    )
    return [Due(*row) for row in rows]


def find_incomplete(conn: Connection, *, after: int = 0, advances: int = 20_000) -> tuple[list[Incomplete], int | None]:
    """
    Of the next so many live ``advances`` behind the id ``after``, those that do not add up to their instalments.

    The second is the last id that was looked at, to go on from; ``None`` at the end.
    """
    row = conn.execute(SELECT_PAGE_END, [after, advances]).fetchone()
    if row is None or row[0] is None:
        return [], None
    end = int(row[0])
    return [
        Incomplete(id_, name, currency, amount_minor, None if accounted is None else int(accounted))
        for id_, name, currency, amount_minor, accounted in conn.execute(SELECT_INCOMPLETE, [after, end])
    ], end
