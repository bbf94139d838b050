"""Customer accounts against their transfers: totals, versions, running balances and floors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from processor.store.arrays import bigints

# A transfer is in two places of an account's chain or in one: each side has its own columns and its own index. Here the
# sides of some accounts, with what each did to the balance.
SIDES: Final[LiteralString] = """
    SELECT
        debit_account_id AS account_id, debit_version AS version, debit_balance_minor AS balance_minor,
        -amount_minor AS moved_minor, position, leg, kind
    FROM transfer
    WHERE debit_account_id = ANY(%(ids)b::bigint[]) AND debit_version IS NOT NULL
        AND debit_version >= %(low)b AND debit_version < %(high)b
    UNION ALL
    SELECT
        credit_account_id, credit_version, credit_balance_minor, amount_minor, position, leg, kind
    FROM transfer
    WHERE credit_account_id = ANY(%(ids)b::bigint[]) AND credit_version IS NOT NULL
        AND credit_version >= %(low)b AND credit_version < %(high)b
"""

# The same of some commands.
NEW_SIDES: Final[LiteralString] = """
    SELECT
        debit_account_id AS account_id, debit_version AS version, debit_balance_minor AS balance_minor,
        -amount_minor AS moved_minor, kind, currency, position
    FROM transfer WHERE position = ANY(%(positions)b::bigint[]) AND debit_version IS NOT NULL
    UNION ALL
    SELECT credit_account_id, credit_version, credit_balance_minor, amount_minor, kind, currency, position
    FROM transfer WHERE position = ANY(%(positions)b::bigint[]) AND credit_version IS NOT NULL
"""

# The last transfer of an account, on whichever side: one look into each index.
_LAST: Final[LiteralString] = """
    LEFT JOIN LATERAL (
        SELECT debit_version AS version, debit_balance_minor AS balance_minor FROM transfer
        WHERE debit_account_id = account.id AND debit_version IS NOT NULL ORDER BY debit_version DESC LIMIT 1
    ) AS debit ON true
    LEFT JOIN LATERAL (
        SELECT credit_version AS version, credit_balance_minor AS balance_minor FROM transfer
        WHERE credit_account_id = account.id AND credit_version IS NOT NULL ORDER BY credit_version DESC LIMIT 1
    ) AS credit ON true
"""

# What the account was allowed when the transfer was decided: as it was changed last before, or as it was opened. By its
# version: a transfer that waited for its other account may be decided after what has a later position.
_ALLOWED: Final[LiteralString] = """
    CROSS JOIN LATERAL (
        (
            SELECT version, overdraft_limit_minor, overdraft_fee_minor FROM account_change
            WHERE account_change.account_id = side.account_id AND account_change.version < side.version
            ORDER BY version DESC, account_change.position DESC LIMIT 1
        )
        UNION ALL
        SELECT -1, coalesce(overdraft_limit_minor, 0), coalesce(overdraft_fee_minor, 0)
        FROM command WHERE command.position = side.account_id
        UNION ALL
        SELECT -2, 0, 0
        ORDER BY version DESC LIMIT 1
    ) AS allowed
"""

# After a debit, a balance is above the overdraft limit; only the fee may pass that, and what somebody forced who may.
# What was on hold by then is taken all the same. A credit never lowers it.
_TOO_LOW: Final[LiteralString] = """
    side.moved_minor < 0 AND side.balance_minor < -allowed.overdraft_limit_minor - CASE
        WHEN side.kind = 'overdraft_fee' THEN allowed.overdraft_fee_minor ELSE 0
    END
    AND NOT CASE
        WHEN side.kind IN ('reversal', 'adjustment') THEN
            EXISTS (SELECT FROM command WHERE command.position = side.position AND command.force)
        WHEN side.kind = 'capture' THEN EXISTS (
            SELECT FROM transfer AS forced JOIN command ON command.position = forced.position
            WHERE forced.debit_account_id = side.account_id AND forced.debit_version < side.version
                AND forced.kind IN ('reversal', 'adjustment') AND command.force
        )
        ELSE false
    END
"""

_PARTS: Final = {
    "sides": sql.SQL(SIDES),
    "new_sides": sql.SQL(NEW_SIDES),
    "last": sql.SQL(_LAST),
    "allowed": sql.SQL(_ALLOWED),
    "too_low": sql.SQL(_TOO_LOW),
}

# The accounts that these commands name or touched: one whose transfer is missing is named all the same. A statement of
# its own, so that the next one is given as many as there are: Postgres took them for all accounts, and read those.
SELECT_NEW_ACCOUNTS: Final[LiteralString] = """
    SELECT named.id
    FROM command
    CROSS JOIN LATERAL (VALUES (account), (from_account), (to_account)) AS side (name)
    JOIN account AS named ON named.name = side.name
    WHERE position = ANY(%(positions)b::bigint[]) AND named.id > 0
    UNION
    SELECT side.id
    FROM transfer CROSS JOIN LATERAL (VALUES (debit_account_id), (credit_account_id)) AS side (id)
    WHERE position = ANY(%(positions)b::bigint[]) AND side.id > 0
"""

# Accounts whose row is not as their last transfer left it, or to which new transfers did something else than their
# balances say. No more than a hint: the totals themselves are compared next, of these accounts only.
FIND_UNLIKE_LAST: Final = sql.SQL("""
    WITH side AS ({new_sides}), moved AS (
        SELECT account_id, min(version) AS first, max(version) AS last, count(*) AS count,
            sum(moved_minor) AS moved_minor
        FROM side GROUP BY account_id
    )
    SELECT account.id
    FROM account
    {last}
    LEFT JOIN moved ON moved.account_id = account.id
    LEFT JOIN side AS final ON final.account_id = account.id AND final.version = moved.last
    WHERE account.id = ANY(%(ids)b::bigint[])
        AND (
            account.version <> greatest(debit.version, credit.version, 0)
            OR account.credits_minor - account.debits_minor <> CASE
                WHEN coalesce(debit.version, 0) > coalesce(credit.version, 0) THEN debit.balance_minor
                ELSE coalesce(credit.balance_minor, 0)
            END
            OR moved.count <> moved.last - moved.first + 1
            OR final.balance_minor - coalesce((
                SELECT max(balance_minor) FROM (
                    SELECT debit_balance_minor AS balance_minor FROM transfer
                    WHERE debit_account_id = account.id AND debit_version = moved.first - 1
                    UNION ALL
                    SELECT credit_balance_minor FROM transfer
                    WHERE credit_account_id = account.id AND credit_version = moved.first - 1
                ) AS earlier
            ), 0) <> moved.moved_minor
        )
""").format(**_PARTS)

# Sums are numeric: of rows that are wrong, they may not fit into bigint.
SUM_TRANSFERS: Final[LiteralString] = """
    SELECT
        account.id, account.name, account.currency, account.credits_minor, account.debits_minor,
        coalesce(credit.total_minor, 0), coalesce(debit.total_minor, 0)
    FROM account
    CROSS JOIN LATERAL (
        SELECT sum(amount_minor) AS total_minor FROM transfer
        WHERE credit_account_id = account.id AND credit_version IS NOT NULL
            AND credit_version >= %(low)b AND credit_version < %(high)b
    ) AS credit
    CROSS JOIN LATERAL (
        SELECT sum(amount_minor) AS total_minor FROM transfer
        WHERE debit_account_id = account.id AND debit_version IS NOT NULL
            AND debit_version >= %(low)b AND debit_version < %(high)b
    ) AS debit
    WHERE account.id = ANY(%(ids)b::bigint[])
        AND (
            NOT %(unequal)b
            OR account.credits_minor <> coalesce(credit.total_minor, 0)
            OR account.debits_minor <> coalesce(debit.total_minor, 0)
        )
    ORDER BY account.id
"""

# Each new side against the one before it, wherever that is, and against another one of the same version. The schema
# gives a version once per side only: the same on the other side is found here.
FIND_UNCHAINED: Final = sql.SQL("""
    SELECT DISTINCT side.account_id FROM ({new_sides}) AS side
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, max(balance_minor) AS balance_minor FROM (
            SELECT debit_balance_minor AS balance_minor FROM transfer
            WHERE debit_account_id = side.account_id AND debit_version = side.version - 1
            UNION ALL
            SELECT credit_balance_minor FROM transfer
            WHERE credit_account_id = side.account_id AND credit_version = side.version - 1
        ) AS both_sides
    ) AS earlier
    CROSS JOIN LATERAL (
        SELECT count(*) AS count FROM (
            SELECT FROM transfer WHERE debit_account_id = side.account_id AND debit_version = side.version
            UNION ALL
            SELECT FROM transfer WHERE credit_account_id = side.account_id AND credit_version = side.version
        ) AS both_sides
    ) AS same
    WHERE same.count <> 1 OR earlier.count <> (side.version <> 1)::int
        OR side.balance_minor <> coalesce(earlier.balance_minor, 0) + side.moved_minor
""").format(**_PARTS)

# The first place of each account where its chain is broken. The rows of one version stand behind each other, so a
# second one of the same version is no next one.
FIND_CHAIN_BREAKS: Final = sql.SQL("""
    WITH side AS ({sides}), linked AS (
        SELECT side.*,
            coalesce(lag(version) OVER chain, %(version)b::bigint) + 1 AS expected_version,
            coalesce(lag(balance_minor) OVER chain, %(balance_minor)b::bigint)::numeric + moved_minor
                AS expected_balance_minor
        FROM side WINDOW chain AS (PARTITION BY account_id ORDER BY version, position, leg)
    ), broken AS (
        SELECT DISTINCT ON (account_id) * FROM linked
        WHERE version <> expected_version OR balance_minor <> expected_balance_minor
        ORDER BY account_id, version, position, leg
    )
    SELECT
        account_id, account.name, account.currency, broken.version, expected_version, balance_minor,
        expected_balance_minor, position, outcome.decided_at
    FROM broken JOIN account ON account.id = account_id LEFT JOIN outcome USING (position)
    ORDER BY account_id
""").format(**_PARTS)

SELECT_LAST_SIDE: Final = sql.SQL("""
    SELECT version, balance_minor FROM ({sides}) AS side ORDER BY version DESC LIMIT 1
""").format(**_PARTS)

# One look into the index of each side.
SELECT_NEXT_VERSION: Final[LiteralString] = """
    SELECT least(
        (
            SELECT min(debit_version) FROM transfer
            WHERE debit_account_id = %(id)b AND debit_version >= %(low)b AND debit_version < %(high)b
        ),
        (
            SELECT min(credit_version) FROM transfer
            WHERE credit_account_id = %(id)b AND credit_version >= %(low)b AND credit_version < %(high)b
        )
    )
"""

# The end of the chain: the account's own version.
FIND_LOOSE_ENDS: Final = sql.SQL("""
    SELECT account.id, account.name, account.version, greatest(debit.version, credit.version, 0)
    FROM account
    {last}
    WHERE account.id = ANY(%(ids)b::bigint[]) AND account.version <> greatest(debit.version, credit.version, 0)
    ORDER BY account.id
""").format(**_PARTS)

FIND_NEW_TOO_LOW: Final = sql.SQL("""
    SELECT DISTINCT side.account_id
    FROM (SELECT * FROM ({new_sides}) AS new_side WHERE balance_minor < 0 OFFSET 0) AS side {allowed} WHERE {too_low}
""").format(**_PARTS)

FIND_TOO_LOW: Final = sql.SQL("""
    SELECT DISTINCT ON (account.id)
        account.id, account.name, account.currency, allowed.overdraft_limit_minor, allowed.overdraft_fee_minor,
        side.balance_minor, side.kind, side.position, outcome.decided_at
    FROM (SELECT * FROM ({sides}) AS any_side WHERE balance_minor < 0 OFFSET 0) AS side
    JOIN account ON account.id = side.account_id LEFT JOIN outcome USING (position)
    {allowed}
    WHERE {too_low}
    ORDER BY account.id, side.version
""").format(**_PARTS)


@dataclass(frozen=True, slots=True)
class Totals:
    """What an account's row says, and what its transfers add up to."""

    id: int
    name: str
    currency: str
    credits_minor: int
    debits_minor: int
    summed_credits_minor: int
    summed_debits_minor: int


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """The first transfer of an account that does not follow the one before it."""

    id: int
    name: str
    currency: str
    version: int
    expected_version: int
    balance_minor: int
    expected_balance_minor: int
    position: int
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class LooseEnd:
    """An account whose version is not that of its last transfer."""

    id: int
    name: str
    version: int
    last_version: int


@dataclass(frozen=True, slots=True)
class TooLow:
    """The first transfer that left an account lower than it may be."""

    id: int
    name: str
    currency: str
    overdraft_limit_minor: int
    overdraft_fee_minor: int
    balance_minor: int
    kind: str
    position: int
    decided_at: datetime | None


def touched(conn: Connection[Any], positions: Sequence[int]) -> list[int]:
    """The customers' accounts that these commands name or touched."""
    return [id_ for (id_,) in conn.execute(SELECT_NEW_ACCOUNTS, {"positions": bigints(positions)})]


def find_unlike_last(conn: Connection[Any], positions: Sequence[int]) -> list[int]:
    """Of the accounts that these commands touched, those whose row, balances and amounts do not fit together."""
    ids = touched(conn, positions)
    return [id_ for (id_,) in conn.execute(FIND_UNLIKE_LAST, {"positions": bigints(positions), "ids": bigints(ids)})]


def sum_transfers(
    conn: Connection[Any], ids: Sequence[int], low: int, high: int, *, unequal: bool = False
) -> list[Totals]:
    """The accounts' totals, and their transfers' within these versions; on request, only where they are ``unequal``."""
    rows = conn.execute(SUM_TRANSFERS, {"ids": bigints(ids), "low": low, "high": high, "unequal": unequal})
    return [
        Totals(id_, name, currency, credits, debits, int(summed_credits), int(summed_debits))
        for id_, name, currency, credits, debits, summed_credits, summed_debits in rows
    ]


def find_unchained(conn: Connection[Any], positions: Sequence[int]) -> list[int]:
    """The accounts in whose chain the transfers of these commands do not fit, or whose chain ends elsewhere."""
    ids = [id_ for (id_,) in conn.execute(FIND_UNCHAINED, {"positions": bigints(positions)})]
    return [*ids, *(each.id for each in find_loose_ends(conn, touched(conn, positions)))]


def find_chain_breaks(
    conn: Connection[Any], ids: Sequence[int], low: int, high: int, *, after: tuple[int, int]
) -> list[ChainBreak]:
    """Where the accounts' chains are broken, within these versions. They go on ``after`` a version and a balance."""
    version, balance_minor = after
    rows = conn.execute(
        FIND_CHAIN_BREAKS,
        {"ids": bigints(ids), "low": low, "high": high, "version": version, "balance_minor": balance_minor},
    )
    return [
        ChainBreak(id_, name, currency, version, expected_version, balance_minor, int(expected_minor), *where)
        for id_, name, currency, version, expected_version, balance_minor, expected_minor, *where in rows
    ]


def last_side(conn: Connection[Any], id_: int, low: int, high: int) -> tuple[int, int] | None:
    """The last version of the account within these, and the balance after it."""
    return conn.execute(SELECT_LAST_SIDE, {"ids": bigints([id_]), "low": low, "high": high}).fetchone()


def next_version(conn: Connection[Any], id_: int, low: int, high: int) -> int | None:
    """The first version within these that a transfer of the account has."""
    row = conn.execute(SELECT_NEXT_VERSION, {"id": id_, "low": low, "high": high}).fetchone()
    return row[0] if row else None


def find_loose_ends(conn: Connection[Any], ids: Sequence[int]) -> list[LooseEnd]:
    """Accounts whose version is not that of their last transfer."""
    return [LooseEnd(*row) for row in conn.execute(FIND_LOOSE_ENDS, {"ids": bigints(ids)})]


def find_new_too_low(conn: Connection[Any], positions: Sequence[int]) -> list[int]:
    """The accounts that transfers of these commands left lower than they may be."""
    return [id_ for (id_,) in conn.execute(FIND_NEW_TOO_LOW, {"positions": bigints(positions)})]


def find_too_low(conn: Connection[Any], ids: Sequence[int], low: int, high: int) -> list[TooLow]:
    """The first transfer of each account, within these versions, that left it lower than it may be."""
    return [TooLow(*row) for row in conn.execute(FIND_TOO_LOW, {"ids": bigints(ids), "low": low, "high": high})]
