"""Advances against their instalments, and both against the commands and transfers that made them what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store.arrays import bigints

# The advances that these commands granted, collected, had repaid or wrote off.
SELECT_TOUCHED: Final[LiteralString] = """
    SELECT DISTINCT advance.id
    FROM command
    LEFT JOIN command AS granting ON granting.id = command.advance_id
    JOIN advance ON advance.id = coalesce(granting.position, command.position)
    WHERE command.position = ANY(%b::bigint[]) AND (command.type = 'advance' OR command.advance_id IS NOT NULL)
    ORDER BY 1
"""

# What an advance is by its own row, by the command that asked for it, and by its instalments. The completeness formula
# is processor.domain.advances.accounted_minor, said again. An instalment's share, which is what was not rolled on to
# it, follows from the advance and the number of instalments that was asked for; later ones have none of their own.
SELECT_RECKONED: Final[LiteralString] = """
    SELECT
        advance.id, account.name, advance.currency, granting.amount_minor, reckoned.accounted_minor,
        advance.amount_minor = granting.amount_minor AND account.name = granting.account
            AND advance.currency = granting.currency
            AND advance.first_due_on = coalesce(granting.first_due_on, advance.first_due_on),
        reckoned.paid_minor IS NOT DISTINCT FROM advance.paid_minor
            AND reckoned.written_off_minor IS NOT DISTINCT FROM advance.written_off_minor,
        advance.paid_minor, reckoned.paid_minor, advance.written_off_minor, reckoned.written_off_minor,
        advance.instalments, reckoned.count, reckoned.last,
        reckoned.first_astray, advance.first_due_on, reckoned.first_unequal,
        reckoned.rolled_minor, reckoned.missed_minor,
        advance.state, reckoned.state, granting.accepted_at
    FROM advance
    LEFT JOIN account ON account.id = advance.account_id
    LEFT JOIN command AS granting ON granting.position = advance.id
    CROSS JOIN LATERAL (
        SELECT
            sum(CASE state WHEN 'missed' THEN paid_minor ELSE amount_minor END) AS accounted_minor,
            coalesce(sum(paid_minor), 0) AS paid_minor,
            coalesce(sum(amount_minor - paid_minor) FILTER (WHERE state = 'written_off'), 0) AS written_off_minor,
            count(*) AS count, max(number) AS last,
            min(number) FILTER (WHERE due_on <> advance.first_due_on + 7 * (number - 1)) AS first_astray,
            min(number) FILTER (
                WHERE amount_minor - rolled_minor <> CASE WHEN number <= granting.instalments THEN
                    granting.amount_minor / granting.instalments
                    + (number <= granting.amount_minor %% granting.instalments)::int
                ELSE 0 END
            ) AS first_unequal,
            coalesce(sum(rolled_minor), 0) AS rolled_minor,
            coalesce(sum(amount_minor - paid_minor) FILTER (WHERE state = 'missed'), 0) AS missed_minor,
            CASE
                WHEN count(*) FILTER (WHERE state = 'scheduled') > 0 THEN
                    CASE WHEN bool_or(state = 'scheduled' AND rolled_minor > paid_minor)
                        THEN 'in_arrears' ELSE 'open' END
                WHEN count(*) FILTER (WHERE state = 'written_off') > 0 THEN 'written_off'
                ELSE 'repaid'
            END AS state
        FROM instalment WHERE instalment.advance_id = advance.id
    ) AS reckoned
    WHERE advance.id = ANY(%b::bigint[])
    ORDER BY advance.id
"""

# An instalment is settled by a command of its advance: paid by its own collect or by a repayment, missed by its own
# collect, written off by a write-off. One that is scheduled was tried as often as its collects came to nothing.
FIND_WRONG_SETTLED: Final[LiteralString] = """
    SELECT
        advance.id, account.name, instalment.number, instalment.state, settling.position, settling.type,
        outcome.status, outcome.reason, outcome.decided_at
    FROM advance
    JOIN account ON account.id = advance.account_id
    JOIN command AS granting ON granting.position = advance.id
    JOIN instalment ON instalment.advance_id = advance.id
    LEFT JOIN command AS settling ON settling.position = instalment.settled_by
    LEFT JOIN outcome ON outcome.position = instalment.settled_by
    WHERE advance.id = ANY(%b::bigint[]) AND instalment.state <> 'scheduled'
        AND NOT coalesce(
            settling.advance_id = granting.id AND CASE instalment.state
                WHEN 'paid' THEN outcome.status = 'applied' AND (
                    settling.type = 'repay' OR (settling.type = 'collect' AND settling.instalment = instalment.number)
                )
                WHEN 'missed' THEN settling.type = 'collect' AND settling.instalment = instalment.number AND (
                    outcome.status = 'applied' OR outcome.reason IN (
                        'account_not_open', 'insufficient_funds', 'balance_limit_exceeded'
                    )
                )
                WHEN 'written_off' THEN outcome.status = 'applied' AND settling.type = 'write_off'
            END, false
        )
    ORDER BY advance.id, instalment.number
"""

# The other way round: what each of these commands says that it did to an instalment or an advance.
FIND_WITHOUT_EFFECT: Final[LiteralString] = """
    SELECT
        advance.id, account.name, command.instalment, instalment.state, command.position, command.type,
        outcome.status, outcome.reason, outcome.decided_at
    FROM command
    JOIN outcome USING (position)
    JOIN command AS granting ON granting.id = command.advance_id
    JOIN advance ON advance.id = granting.position
    JOIN account ON account.id = advance.account_id
    LEFT JOIN instalment ON instalment.advance_id = advance.id AND instalment.number = command.instalment
    WHERE command.position = ANY(%b::bigint[]) AND NOT coalesce(
        CASE
            WHEN command.type = 'write_off' AND outcome.status = 'applied' THEN advance.state = 'written_off'
            WHEN command.type <> 'collect' THEN true
            WHEN outcome.status = 'applied' OR outcome.reason IN (
                'account_not_open', 'insufficient_funds', 'balance_limit_exceeded'
            ) THEN instalment.settled_by = command.position AND instalment.paid_minor >= (
                SELECT coalesce(sum(transfer.amount_minor), 0) FROM transfer WHERE position = command.position
            )
            WHEN outcome.reason = 'instalment_not_scheduled' THEN instalment.state <> 'scheduled'
            WHEN outcome.reason IN ('instalment_not_due', 'internal_error') THEN
                instalment.attempts > 0 OR instalment.state <> 'scheduled'
            ELSE true
        END, false
    )
    ORDER BY command.position
"""

# The collects of these advances, by the keys that they have: no index leads from an advance to its commands.
SELECT_COLLECTS: Final[LiteralString] = """
    SELECT collect.position
    FROM instalment
    CROSS JOIN LATERAL generate_series(1, instalment.attempts + 1) AS attempt
    JOIN command AS collect ON collect.client_id = 0 AND collect.idempotency_key = format(
        'instalment:%%s-%%s:%%s', instalment.advance_id, instalment.number, attempt
    )
    WHERE instalment.advance_id = ANY(%b::bigint[])
    ORDER BY 1
"""

# Of each advance, what was really paid and given up, by its account's transfers since it was granted; and how often its
# collects came to nothing, by the keys that they have. One that failed after its instalment was settled is not counted:
# where the log does not tell which of the two came first, as after a restore, either is right.
FIND_UNPAID: Final[LiteralString] = """
    SELECT
        advance.id, account.name, advance.currency, advance.paid_minor, paid.total_minor,
        attempts.recorded, greatest(collects.counted, least(attempts.recorded, collects.made)) AS made
    FROM advance
    JOIN account ON account.id = advance.account_id
    JOIN command AS granting ON granting.position = advance.id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(transfer.amount_minor), 0) AS total_minor
        FROM transfer JOIN command AS paying ON paying.position = transfer.position
        WHERE transfer.debit_account_id = advance.account_id AND transfer.debit_version > (
                SELECT coalesce(min(granted.credit_version), 0) FROM transfer AS granted
                WHERE granted.position = advance.id
            )
            AND transfer.kind IN ('collection', 'repayment') AND paying.advance_id = granting.id
    ) AS paid
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(instalment.attempts), 0) AS recorded
        FROM instalment WHERE instalment.advance_id = advance.id
    ) AS attempts
    CROSS JOIN LATERAL (
        SELECT count(*) AS made, count(*) FILTER (
            WHERE settling.xid IS NULL OR outcome.xid < settling.xid OR outcome.status <> 'failed'
        ) AS counted
        FROM instalment
        CROSS JOIN LATERAL generate_series(1, instalment.attempts + 1) AS attempt
        JOIN command AS collect ON collect.client_id = 0 AND collect.idempotency_key = format(
            'instalment:%%s-%%s:%%s', advance.id, instalment.number, attempt
        )
        JOIN outcome ON outcome.position = collect.position
        LEFT JOIN outcome AS settling ON settling.position = instalment.settled_by
        WHERE instalment.advance_id = advance.id AND (
            outcome.status = 'failed' OR outcome.reason = 'instalment_not_due'
        ) AND outcome.xid <= coalesce(settling.xid, outcome.xid)
    ) AS collects
    WHERE advance.id = ANY(%b::bigint[]) AND (
        advance.paid_minor <> paid.total_minor OR attempts.recorded NOT BETWEEN collects.counted AND collects.made
    )
    ORDER BY advance.id
"""

# One look along the index of what is due, and one for the collect of each.
SELECT_UNCOLLECTED: Final[LiteralString] = """
    SELECT count(*), min(due_on), (array_agg(advance_id ORDER BY due_on, advance_id))[1]
    FROM (
        SELECT due_on, advance_id FROM instalment
        WHERE state = 'scheduled' AND due_on < %(today)b
            AND (failed_at IS NULL OR failed_at < %(failed_before)b)
            AND NOT EXISTS (
                SELECT FROM command AS collect
                WHERE collect.client_id = 0 AND collect.idempotency_key = format(
                    'instalment:%%s-%%s:%%s', instalment.advance_id, instalment.number, instalment.attempts + 1
                )
            )
        LIMIT %(limit)b
    ) AS overdue
"""


@dataclass(frozen=True, slots=True)
class Reckoned:
    """An advance by its own row, by the command that asked for it (``asked_minor``) and by its instalments."""

    id: int
    account: str | None
    currency: str
    asked_minor: int | None
    accounted_minor: int | None
    is_as_asked: bool | None
    figures_agree: bool
    paid_minor: int
    instalments_paid_minor: int
    written_off_minor: int
    instalments_written_off_minor: int
    instalments: int
    count: int
    last: int | None
    first_astray: int | None
    first_due_on: date
    first_unequal: int | None
    rolled_minor: int
    missed_minor: int
    state: str
    instalments_state: str
    granted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """An instalment and a command, one of which says of the other what that does not say."""

    advance: int
    account: str
    number: int | None
    state: str | None
    position: int | None
    type: str | None
    status: str | None
    reason: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unpaid:
    """An advance whose figures are not those of its commands."""

    advance: int
    account: str
    currency: str
    paid_minor: int
    transferred_minor: int
    attempts: int
    attempts_made: int


def touched(conn: Connection[Any], positions: Sequence[int]) -> list[int]:
    """The ids of the advances that these commands have to do with."""
    return [id_ for (id_,) in conn.execute(SELECT_TOUCHED, [bigints(positions)])]


def reckon(conn: Connection[Any], ids: Sequence[int]) -> list[Reckoned]:
    """These advances."""
    return [Reckoned(*row) for row in conn.execute(SELECT_RECKONED, [bigints(ids)])]


def find_wrong_settled(conn: Connection[Any], ids: Sequence[int]) -> list[Settlement]:
    """Instalments of these advances that are not settled by what could have settled them."""
    return [Settlement(*row) for row in conn.execute(FIND_WRONG_SETTLED, [bigints(ids)])]


def find_without_effect(conn: Connection[Any], positions: Sequence[int]) -> list[Settlement]:
    """Those of these commands that should have settled something and did not."""
    return [Settlement(*row) for row in conn.execute(FIND_WITHOUT_EFFECT, [bigints(positions)])]


def collects_of(conn: Connection[Any], ids: Sequence[int]) -> list[int]:
    """The positions of the collects of these advances."""
    return [position for (position,) in conn.execute(SELECT_COLLECTS, [bigints(ids)])]


def find_unpaid(conn: Connection[Any], ids: Sequence[int]) -> list[Unpaid]:
    """Those of these advances of which something else was paid, or tried, than they say."""
    return [
        Unpaid(id_, account, currency, paid, int(transferred), int(recorded), made)
        for id_, account, currency, paid, transferred, recorded, made in conn.execute(FIND_UNPAID, [bigints(ids)])
    ]


def find_uncollected(
    conn: Connection[Any], *, today: date, failed_before: datetime, limit: int
) -> tuple[int, date | None, int | None]:
    """Instalments whose day is over and that nobody collects: how many, the oldest day, and an advance of it."""
    row = conn.execute(SELECT_UNCOLLECTED, {"today": today, "failed_before": failed_before, "limit": limit}).fetchone()
    return (row[0], row[1], row[2]) if row else (0, None, None)
