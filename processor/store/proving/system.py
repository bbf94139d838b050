"""The bank's own accounts: their checkpoints, their transfers, and what all accounts of a currency add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store.arrays import bigints

# An account without a checkpoint is read from the beginning of the log, as its balance is.
SELECT_CHECKPOINTS: Final[LiteralString] = """
    SELECT account.id, account.name, account.kind, account.currency,
        coalesce(checkpoint.up_to_xid, '0'::xid8)::text::bigint,
        coalesce(checkpoint.credits_minor, 0), coalesce(checkpoint.debits_minor, 0)
    FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
    WHERE account.id < 0 ORDER BY account.id
"""

# Each of the bank's own accounts within its own part of the log. A transfer's transaction is that of its outcome.
SUM_OWN: Final[LiteralString] = """
    WITH wanted AS MATERIALIZED (
        SELECT id, from_xid::text::xid8 AS from_xid, to_xid::text::xid8 AS to_xid
        FROM unnest(%(ids)b::bigint[], %(from_xids)b::bigint[], %(to_xids)b::bigint[]) AS wanted (id, from_xid, to_xid)
    ), moved AS MATERIALIZED (
        SELECT transfer.xid, debit_account_id, credit_account_id, amount_minor
        FROM unnest(%(positions)b::bigint[]) AS settled (position) JOIN transfer USING (position)
        WHERE debit_account_id < 0 OR credit_account_id < 0
    )
    SELECT wanted.id,
        coalesce(sum(amount_minor) FILTER (WHERE credit_account_id = wanted.id), 0),
        coalesce(sum(amount_minor) FILTER (WHERE debit_account_id = wanted.id), 0)
    FROM wanted JOIN moved ON wanted.id IN (debit_account_id, credit_account_id)
        AND moved.xid >= wanted.from_xid AND moved.xid < wanted.to_xid
    GROUP BY wanted.id
"""

# By currency, how much the balances of the accounts that these commands touched went up, and what the bank's own were
# given: that should be nothing together. From the balance before the first of these transfers of an account to the one
# after the last, or to the account's own if it has none after that.
SUM_MOVED: Final[LiteralString] = """
    WITH moved AS (
        SELECT * FROM transfer WHERE position = ANY(%(positions)b::bigint[])
    ), touched AS (
        SELECT account_id, currency, min(version) AS first, max(version) AS last
        FROM (
            SELECT debit_account_id AS account_id, debit_version AS version, currency FROM moved
            WHERE debit_version IS NOT NULL
            UNION ALL
            SELECT credit_account_id, credit_version, currency FROM moved WHERE credit_version IS NOT NULL
        ) AS side
        GROUP BY account_id, currency
    ), stretch AS (
        SELECT touched.currency,
            CASE
                WHEN account.version = touched.last THEN account.credits_minor - account.debits_minor
                ELSE (
                    SELECT max(balance_minor) FROM (
                        SELECT debit_balance_minor AS balance_minor FROM transfer
                        WHERE debit_account_id = account.id AND debit_version = touched.last
                        UNION ALL
                        SELECT credit_balance_minor FROM transfer
                        WHERE credit_account_id = account.id AND credit_version = touched.last
                    ) AS both_sides
                )
            END::numeric - coalesce((
                SELECT max(balance_minor) FROM (
                    SELECT debit_balance_minor AS balance_minor FROM transfer
                    WHERE debit_account_id = account.id AND debit_version = touched.first - 1
                    UNION ALL
                    SELECT credit_balance_minor FROM transfer
                    WHERE credit_account_id = account.id AND credit_version = touched.first - 1
                ) AS both_sides
            ), 0) AS moved_minor
        FROM touched JOIN account ON account.id = touched.account_id
    )
    SELECT currency FROM (
        SELECT currency, moved_minor FROM stretch
        UNION ALL
        SELECT currency, amount_minor FROM moved WHERE credit_account_id < 0
        UNION ALL
        SELECT currency, -amount_minor FROM moved WHERE debit_account_id < 0
    ) AS part
    GROUP BY currency HAVING sum(moved_minor) <> 0
"""

# A page of accounts, so that it takes no longer with millions of them.
SUM_CUSTOMERS: Final[LiteralString] = """
    SELECT currency, sum(balance_minor), count(*), max(id)
    FROM (
        SELECT id, currency, credits_minor::numeric - debits_minor AS balance_minor
        FROM account WHERE id > %b ORDER BY id LIMIT %b
    ) AS page
    WHERE id > 0
    GROUP BY currency
"""

# Live advances only: of the others, nothing is owed.
SUM_OWED: Final[LiteralString] = """
    SELECT currency, sum(owed_minor), count(*), max(id)
    FROM (
        SELECT id, currency, amount_minor - paid_minor - written_off_minor AS owed_minor
        FROM advance WHERE state IN ('open', 'in_arrears') AND id > %b ORDER BY id LIMIT %b
    ) AS page
    GROUP BY currency
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One of the bank's own accounts, and its totals over the transactions below ``up_to_xid``."""

    id: int
    name: str
    kind: str
    currency: str
    up_to_xid: int
    credits_minor: int
    debits_minor: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the log: transactions from ``from_xid`` on and below ``to_xid``."""

    from_xid: int
    to_xid: int


def checkpoints(conn: Connection[Any]) -> list[Checkpoint]:
    """Every account of the bank's own."""
    return [
        Checkpoint(id_, name, kind, currency, up_to_xid, int(credits), int(debits))
        for id_, name, kind, currency, up_to_xid, credits, debits in conn.execute(SELECT_CHECKPOINTS)
    ]


def sum_own(
    conn: Connection[Any], positions: Sequence[int], stretches: Mapping[int, Stretch]
) -> dict[int, tuple[int, int]]:
    """What these commands' transfers add to credits and debits of the accounts, each within its stretch of the log."""
    rows = conn.execute(
        SUM_OWN,
        {
            "positions": bigints(positions),
            "ids": bigints(stretches),
            "from_xids": bigints(each.from_xid for each in stretches.values()),
            "to_xids": bigints(each.to_xid for each in stretches.values()),
        },
    )
    return {id_: (int(credits), int(debits)) for id_, credits, debits in rows}


def find_unbalanced(conn: Connection[Any], positions: Sequence[int]) -> list[str]:
    """The currencies in which what these commands moved does not add up to zero."""
    return [currency for (currency,) in conn.execute(SUM_MOVED, {"positions": bigints(positions)})]


def sum_customers(conn: Connection[Any], *, after: int, limit: int) -> tuple[dict[str, int], int, int | None]:
    """What the accounts of a page have, by currency; how many those are; and the last one, ``None`` at the end."""
    return _page(conn, SUM_CUSTOMERS, after, limit)


def sum_owed(conn: Connection[Any], *, after: int, limit: int) -> tuple[dict[str, int], int, int | None]:
    """What is owed on a page of live advances, by currency; how many those are; and the last one."""
    return _page(conn, SUM_OWED, after, limit)


def _page(
    conn: Connection[Any], statement: LiteralString, after: int, limit: int
) -> tuple[dict[str, int], int, int | None]:
    rows = conn.execute(statement, [after, limit]).fetchall()
    sums = {currency: int(total) for currency, total, _, _ in rows}
    return sums, sum(count for _, _, count, _ in rows), max((last for *_, last in rows), default=None)
