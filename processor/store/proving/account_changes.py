"""What accounts may do, as their rows say it, against the commands that allowed or forbade it, and what they did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.store.arrays import bigints
from processor.store.proving.accounts import NEW_SIDES, SIDES

# As it was opened, or as the last change left it. An account whose opening left the overdraft to the bank has a row of
# that as well.
FIND_UNLIKE_LAST_CHANGE: Final[LiteralString] = """
    SELECT account.id, account.name,
        concat_ws(' ', last.status, last.overdraft_limit_minor, last.overdraft_fee_minor, last.daily_count,
            last.daily_amount_minor),
        concat_ws(' ', account.status, account.overdraft_limit_minor, account.overdraft_fee_minor, account.daily_count,
            account.daily_amount_minor)
    FROM account
    CROSS JOIN LATERAL (
        (
            SELECT version, position, status, overdraft_limit_minor, overdraft_fee_minor, daily_count,
                daily_amount_minor
            FROM account_change WHERE account_change.account_id = account.id
            ORDER BY version DESC, position DESC LIMIT 1
        )
        UNION ALL
        SELECT -1, position, 'open', overdraft_limit_minor, overdraft_fee_minor, NULL, NULL
        FROM command WHERE command.position = account.id
        ORDER BY version DESC LIMIT 1
    ) AS last
    WHERE account.id = ANY(%b::bigint[])
        AND (
            account.status, account.overdraft_limit_minor, account.overdraft_fee_minor,
            account.daily_count, account.daily_amount_minor
        ) IS DISTINCT FROM (
            last.status, last.overdraft_limit_minor, last.overdraft_fee_minor,
            last.daily_count, last.daily_amount_minor
        )
    ORDER BY account.id
"""

# Each change against the command that asked for it and the change before it. What a command does not name stays as it
# was; the bank's usual overdraft is known from the first row only. Without a limit, there is none of both.
_UNASKED: Final[LiteralString] = """
    SELECT change.position, account.name, command.type, outcome.status
    FROM account_change AS change
    JOIN account ON account.id = change.account_id
    LEFT JOIN command ON command.position = change.position
    LEFT JOIN outcome ON outcome.position = change.position
    LEFT JOIN LATERAL (
        (
            SELECT earlier.version, earlier.position, status, overdraft_limit_minor, overdraft_fee_minor, daily_count,
                daily_amount_minor
            FROM account_change AS earlier
            WHERE earlier.account_id = change.account_id
                AND (earlier.version, earlier.position) < (change.version, change.position)
            ORDER BY earlier.version DESC, earlier.position DESC LIMIT 1
        )
        UNION ALL
        SELECT -1, opening.position, 'open', overdraft_limit_minor, overdraft_fee_minor, NULL, NULL
        FROM command AS opening WHERE opening.position = change.account_id
        ORDER BY version DESC LIMIT 1
    ) AS before ON true
    WHERE {which} AND (
        outcome.status IS DISTINCT FROM 'applied' OR command.account IS DISTINCT FROM account.name
        OR command.type NOT IN ('open_account', 'freeze', 'unfreeze', 'close', 'set_limits')
        OR change.status IS DISTINCT FROM CASE command.type
            WHEN 'freeze' THEN 'frozen' WHEN 'unfreeze' THEN 'open' WHEN 'close' THEN 'closed' ELSE before.status
        END
        OR change.overdraft_limit_minor IS DISTINCT FROM CASE command.type
            WHEN 'set_limits' THEN coalesce(command.overdraft_limit_minor, before.overdraft_limit_minor)
            WHEN 'open_account' THEN coalesce(command.overdraft_limit_minor, change.overdraft_limit_minor)
            ELSE before.overdraft_limit_minor
        END
        OR change.overdraft_fee_minor IS DISTINCT FROM CASE command.type
            WHEN 'set_limits' THEN coalesce(command.overdraft_fee_minor, before.overdraft_fee_minor)
            WHEN 'open_account' THEN coalesce(command.overdraft_fee_minor, change.overdraft_fee_minor)
            ELSE before.overdraft_fee_minor
        END
        OR coalesce(change.daily_count, {no_count}) <> coalesce(command.daily_count, before.daily_count, {no_count})
        OR coalesce(change.daily_amount_minor, {no_amount})
            <> coalesce(command.daily_amount_minor, before.daily_amount_minor, {no_amount})
    )
    ORDER BY change.position
"""

_LIMITS: Final = {"no_count": sql.Literal(UNLIMITED_COUNT), "no_amount": sql.Literal(UNLIMITED_MINOR)}

FIND_UNASKED: Final = sql.SQL(_UNASKED).format(which=sql.SQL("change.account_id = ANY(%b::bigint[])"), **_LIMITS)

FIND_NEW_UNASKED: Final = sql.SQL(_UNASKED).format(which=sql.SQL("change.position = ANY(%b::bigint[])"), **_LIMITS)

# A debit of an account that was frozen, unless somebody forced it who may; and anything on one that was closed. By the
# account's version: a transfer may be decided after what has a later position. Hardly any account has a status of its
# own, so all else is looked up for those only.
_FORBIDDEN: Final[LiteralString] = """
    SELECT DISTINCT ON (account.id) account.id, account.name, side.status, side.kind, side.position, outcome.decided_at
    FROM (
        SELECT * FROM (
            SELECT side.*, (
                SELECT status FROM account_change
                WHERE account_change.account_id = side.account_id AND account_change.version < side.version
                ORDER BY account_change.version DESC, account_change.position DESC LIMIT 1
            ) AS status
            FROM ({sides}) AS side
            OFFSET 0
        ) AS any_side
        WHERE status <> 'open'
        OFFSET 0
    ) AS side
    JOIN account ON account.id = side.account_id
    LEFT JOIN command ON command.position = side.position
    LEFT JOIN outcome ON outcome.position = side.position
    WHERE side.status = 'closed'
        OR (side.status = 'frozen' AND side.moved_minor < 0 AND command.force IS DISTINCT FROM true)
    ORDER BY account.id, side.version
"""

FIND_FORBIDDEN: Final = sql.SQL(_FORBIDDEN).format(sides=sql.SQL(SIDES))

FIND_NEW_FORBIDDEN: Final = sql.SQL(_FORBIDDEN).format(sides=sql.SQL(NEW_SIDES))


@dataclass(frozen=True, slots=True)
class Unlike:
    """An account that may do something else than was decided; both in words: status, overdraft, limits of a day."""

    id: int
    name: str
    decided: str
    found: str


@dataclass(frozen=True, slots=True)
class Unasked:
    """A change of an account that is not its command's effect."""

    position: int
    account: str
    type: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The first transfer of an account that its status should have prevented."""

    id: int
    name: str
    status: str
    kind: str
    position: int
    decided_at: datetime | None


def find_unlike(conn: Connection[Any], ids: Sequence[int]) -> list[Unlike]:
    """Those of the accounts whose row is not as the last change left it."""
    return [Unlike(*row) for row in conn.execute(FIND_UNLIKE_LAST_CHANGE, [bigints(ids)])]


def find_unasked(conn: Connection[Any], ids: Sequence[int]) -> list[Unasked]:
    """The changes of these accounts that no command accounts for."""
    return [Unasked(*row) for row in conn.execute(FIND_UNASKED, [bigints(ids)])]


def find_new_unasked(conn: Connection[Any], positions: Sequence[int]) -> list[Unasked]:
    """Those of the changes at these positions that no command accounts for."""
    return [Unasked(*row) for row in conn.execute(FIND_NEW_UNASKED, [bigints(positions)])]


def find_forbidden(conn: Connection[Any], ids: Sequence[int], low: int, high: int) -> list[Forbidden]:
    """The first transfer of each account, within these versions, that its status should have prevented."""
    return [Forbidden(*row) for row in conn.execute(FIND_FORBIDDEN, {"ids": bigints(ids), "low": low, "high": high})]


def find_new_forbidden(conn: Connection[Any], positions: Sequence[int]) -> list[Forbidden]:
    """The same of the transfers of these commands."""
    return [Forbidden(*row) for row in conn.execute(FIND_NEW_FORBIDDEN, {"positions": bigints(positions)})]
