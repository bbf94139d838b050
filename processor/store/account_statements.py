"""An account's transfers in a period: which versions they are, and those versions page by page."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection

# One statement, so that all of it is of one instant.
SELECT_ACCOUNT: Final[LiteralString] = """
    SELECT id, name, currency, status, version, held_minor, credits_minor - debits_minor, overdraft_limit_minor
    FROM account WHERE name = %b AND kind = 'customer'
"""

# A version before an instant that is followed by one that is not, by looking at one version for each bit of the number.
# Outcomes of an account are in order of time but for what the clocks of machines differ: it may not be the only one.
BISECT: Final[LiteralString] = """
    WITH RECURSIVE search (version, step) AS (
        SELECT 0::bigint, %(step)b::bigint
        UNION ALL
        SELECT CASE WHEN probe.decided_at < %(instant)b THEN search.version + search.step ELSE search.version END,
            search.step / 2
        FROM search LEFT JOIN LATERAL (
            SELECT outcome.decided_at FROM (
                SELECT position FROM transfer
                WHERE debit_account_id = %(account_id)b AND debit_version = search.version + search.step
                UNION ALL
                SELECT position FROM transfer
                WHERE credit_account_id = %(account_id)b AND credit_version = search.version + search.step
            ) AS side JOIN outcome USING (position)
        ) AS probe ON search.version + search.step <= %(up_to)b
        WHERE search.step > 0
    )
    SELECT version FROM search WHERE step = 0
"""

# Where clocks differ: the first of these versions that is dated at the instant or after it.
SELECT_FIRST_SINCE: Final[LiteralString] = """
    SELECT min(side.version) FROM (
        SELECT position, debit_version AS version FROM transfer
        WHERE debit_account_id = %(account_id)b AND debit_version > %(after)b AND debit_version <= %(up_to)b
        UNION ALL
        SELECT position, credit_version FROM transfer
        WHERE credit_account_id = %(account_id)b AND credit_version > %(after)b AND credit_version <= %(up_to)b
    ) AS side JOIN outcome USING (position)
    WHERE outcome.decided_at >= %(instant)b
"""

SELECT_BALANCE: Final[LiteralString] = """
    SELECT debit_balance_minor FROM transfer WHERE debit_account_id = %(account_id)b AND debit_version = %(version)b
    UNION ALL
    SELECT credit_balance_minor FROM transfer WHERE credit_account_id = %(account_id)b AND credit_version = %(version)b
"""

# By version, of which each is in one of the two indexes: a page costs the same wherever in the account's life it is.
SELECT_PAGE: Final[LiteralString] = """
    WITH page AS MATERIALIZED (
        SELECT position, leg, kind, debit_version AS version, -amount_minor AS amount_minor,
            debit_balance_minor AS balance_minor, credit_account_id AS counter_id
        FROM transfer
        WHERE debit_account_id = %(account_id)b AND debit_version > %(after)b AND debit_version <= %(up_to)b
        UNION ALL
        SELECT position, leg, kind, credit_version, amount_minor, credit_balance_minor, debit_account_id
        FROM transfer
        WHERE credit_account_id = %(account_id)b AND credit_version > %(after)b AND credit_version <= %(up_to)b
    )
    SELECT page.version, outcome.decided_at, page.kind, page.amount_minor, page.balance_minor, counter.name,
        command.reference, command.reason, command.id, page.leg
    FROM page
    JOIN outcome USING (position)
    JOIN command USING (position)
    LEFT JOIN account AS counter ON counter.id = page.counter_id AND counter.id > 0
    ORDER BY page.version
"""


_FIRST: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account as it is committed at one instant."""

    id: int
    name: str
    currency: str
    status: str
    version: int
    held_minor: int
    balance_minor: int
    overdraft_limit_minor: int


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer as the account sees it. ``amount_minor`` is below zero for money out; the balance is after it."""

    version: int
    decided_at: datetime
    kind: str
    amount_minor: int
    balance_minor: int
    counter_account: str | None
    reference: str | None
    reason: str | None
    command_id: UUID
    leg: int


def find_account(conn: Connection[Any], name: str) -> Account | None:
    """The customer's account of this name."""
    row = conn.execute(SELECT_ACCOUNT, [name]).fetchone()
    return Account(*row) if row else None


def version_before(conn: Connection[Any], account: Account, instant: datetime, *, tolerance: timedelta) -> int:
    """
    The version that the account had before the first one that is dated at ``instant`` or later: 0 if there is none.

    Whatever follows that one counts as later too, so each instant has one answer, and a period begins where the one
    before it ended. ``tolerance`` is how far a version may be dated before the one that it follows.
    """
    if instant - _FIRST < tolerance:
        return 0
    surely = _bisect(conn, account, instant - tolerance)
    before = _bisect(conn, account, instant)
    params = {"account_id": account.id, "after": surely, "up_to": before, "instant": instant}
    row = conn.execute(SELECT_FIRST_SINCE, params).fetchone()
    return int(row[0]) - 1 if row and row[0] is not None else before


def _bisect(conn: Connection[Any], account: Account, instant: datetime) -> int:
    step = 1 << max(account.version.bit_length() - 1, 0)
    params = {"account_id": account.id, "up_to": account.version, "step": step, "instant": instant}
    row = conn.execute(BISECT, params).fetchone()
    return int(row[0]) if row else 0


def balance_after(conn: Connection[Any], account: Account, version: int) -> int:
    """The balance that the transfer of this version left."""
    if version == 0:
        return 0
    row = conn.execute(SELECT_BALANCE, {"account_id": account.id, "version": version}).fetchone()
    assert row is not None, "every version of an account is one of its transfers"
    return int(row[0])


def page(conn: Connection[Any], account_id: int, *, after: int, up_to: int) -> list[Line]:
    """The transfers of the versions above ``after``, in their order. They never change, so no snapshot is needed."""
    rows = conn.execute(SELECT_PAGE, {"account_id": account_id, "after": after, "up_to": up_to}).fetchall()
    return [Line(*row) for row in rows]
