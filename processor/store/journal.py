"""The whole journal in one snapshot: the accounts with their balances, and the transfers in the order of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection

# One snapshot for all that is read. It sees transactions whole or not at all, so its transfers and its totals agree,
# also where an older transaction is still under way.
BEGIN: Final[LiteralString] = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# Ten million transfers take longer than any other transaction may, and whoever reads them may be slow. No lock is held
# that anybody waits for.
TAKE_TIME: Final[LiteralString] = """
    SET LOCAL transaction_timeout = 0; SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = '1h'
"""

# The other cores are the workers'.
TAKE_ONE_CORE: Final[LiteralString] = "SET LOCAL max_parallel_workers_per_gather = 0"

SELECT_CURRENCIES: Final[LiteralString] = "SELECT currency, min(opened_at) FROM account GROUP BY currency ORDER BY 1"

# What each account had at the two ends of the period: what it has now, as its row or, for one of the bank's own, its
# checkpoint and the transfers after it say, less what was moved since. The transfers of the period are not added up for
# this, so that whoever adds them up has something to compare with.
SELECT_ACCOUNTS: Final[LiteralString] = """
    WITH own AS MATERIALIZED (
        SELECT account.id, coalesce(checkpoint.up_to_xid, '0'::xid8) AS up_to_xid,
            coalesce(checkpoint.credits_minor, 0) - coalesce(checkpoint.debits_minor, 0) AS balance_minor
        FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
        WHERE account.id < 0
    ), own_tail AS MATERIALIZED (
        SELECT own.id, sum(CASE WHEN own.id = credit_account_id THEN amount_minor ELSE -amount_minor END) AS moved_minor
        FROM outcome JOIN transfer USING (position) JOIN own ON own.id IN (debit_account_id, credit_account_id)
        WHERE outcome.xid >= (SELECT min(up_to_xid) FROM own) AND outcome.xid >= own.up_to_xid
        GROUP BY own.id
    ), late AS MATERIALIZED (
        SELECT outcome.decided_at, debit_account_id, credit_account_id, amount_minor
        FROM outcome JOIN transfer USING (position)
        WHERE outcome.decided_at >= least(%(starts_at)b::timestamptz, %(ends_at)b::timestamptz)
    ), since AS MATERIALIZED (
        SELECT account_id, sum(moved_minor) FILTER (WHERE decided_at >= %(starts_at)b) AS start_minor,
            sum(moved_minor) FILTER (WHERE decided_at >= %(ends_at)b) AS end_minor
        FROM (
            SELECT debit_account_id AS account_id, -amount_minor AS moved_minor, decided_at FROM late
            UNION ALL
            SELECT credit_account_id, amount_minor, decided_at FROM late
        ) AS side
        GROUP BY account_id
    )
    SELECT account.name, account.kind, account.currency, account.opened_at,
        balance.minor - coalesce(since.start_minor, 0), balance.minor - coalesce(since.end_minor, 0)
    FROM account
    LEFT JOIN own USING (id)
    LEFT JOIN own_tail USING (id)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN account.id > 0 THEN account.credits_minor::numeric - account.debits_minor
            ELSE own.balance_minor + coalesce(own_tail.moved_minor, 0)
        END AS minor
    ) AS balance
    LEFT JOIN since ON since.account_id = account.id
    ORDER BY account.id
"""

# A slice of the log, in its order, which has an index. An outcome without a transfer is a row as well: it says how far
# the slice went.
SELECT_SLICE: Final[LiteralString] = """
    WITH slice AS MATERIALIZED (
        SELECT xid, position, decided_at FROM outcome
        WHERE (xid, position) > (%(xid)b::text::xid8, %(position)b)
        ORDER BY xid, position LIMIT %(limit)b
    )
    SELECT slice.xid::text, slice.position, slice.decided_at, transfer.leg, transfer.kind, transfer.amount_minor,
        transfer.currency, debit.name, credit.name, command.id, command.reference, command.reason
    FROM slice
    LEFT JOIN transfer ON transfer.position = slice.position
        AND slice.decided_at >= %(starts_at)b AND slice.decided_at < %(ends_at)b
    LEFT JOIN account AS debit ON debit.id = transfer.debit_account_id
    LEFT JOIN account AS credit ON credit.id = transfer.credit_account_id
    LEFT JOIN command ON command.position = transfer.position
    ORDER BY slice.xid, slice.position, transfer.leg
"""

_SLICE: Final = 2_000
_ACCOUNTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class JournalAccount:
    """An account, and what it had before the period and at its end: credits less debits."""

    name: str
    kind: str
    currency: str
    opened_at: datetime
    opening_minor: int
    closing_minor: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer with the names of its accounts."""

    position: int
    decided_at: datetime
    leg: int
    kind: str
    amount_minor: int
    currency: str
    debit_account: str
    credit_account: str
    command_id: UUID
    reference: str | None
    reason: str | None


@contextmanager
def snapshot(conn: Connection[Any]) -> Iterator[None]:
    """All that is read within sees the books as they are committed at one instant."""
    with conn.transaction():
        conn.execute(BEGIN)
        conn.execute(TAKE_TIME)
        conn.execute(TAKE_ONE_CORE)
        yield


def currencies(conn: Connection[Any]) -> list[tuple[str, datetime]]:
    """The currencies of all accounts, and when the first account of each was opened."""
    return conn.execute(SELECT_CURRENCIES).fetchall()


def accounts(conn: Connection[Any], *, starts_at: datetime, ends_at: datetime) -> Iterator[JournalAccount]:
    """Every account with its balances, through a cursor: a million of them need no memory here."""
    with conn.cursor(name="journal_accounts") as cursor:
        cursor.itersize = _ACCOUNTS
        cursor.execute(SELECT_ACCOUNTS, {"starts_at": starts_at, "ends_at": ends_at})
        for name, kind, currency, opened_at, opening, closing in cursor:
            yield JournalAccount(name, kind, currency, opened_at, int(opening), int(closing))


def entries(conn: Connection[Any], *, starts_at: datetime, ends_at: datetime) -> Iterator[Entry]:
    """The transfers that were decided within these instants, in the order of the log."""
    xid, position = "0", 0
    while True:
        params = {"xid": xid, "position": position, "limit": _SLICE, "starts_at": starts_at, "ends_at": ends_at}
        rows = conn.execute(SELECT_SLICE, params).fetchall()
        if not rows:
            return
        for _, position_, decided_at, leg, *rest in rows:
            if leg is not None:
                yield Entry(position_, decided_at, leg, *rest)
        xid, position = rows[-1][:2]
