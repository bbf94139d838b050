"""Accounts in quarantine, the commands that are held for them, and how both end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, Connection

from processor.account_keys import account_key
from processor.store import locks
from processor.store.arrays import bigints

# An account that is in quarantine already stays in the one that it is in.
INSERT_QUARANTINES: Final[LiteralString] = """
    INSERT INTO quarantine (account, account_key, alert_id, began_at)
    SELECT account, account_key, alert_id, %b
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS broken (account, account_key, alert_id)
    ON CONFLICT (account) WHERE released_at IS NULL DO NOTHING
"""

_SELECT: Final[LiteralString] = """
    SELECT
        quarantine.id, account, quarantine.alert_id, began_at, asked_at, asked_by, released_at, released_by,
        release_reason, held.commands, held.oldest_held_at
    FROM quarantine
    CROSS JOIN LATERAL (
        SELECT count(*) AS commands, min(held_at) AS oldest_held_at FROM held
        WHERE held.account_key = quarantine.account_key AND released_at IS NULL
    ) AS held
"""
SELECT_PAGE: Final[LiteralString] = (
    _SELECT
    + """
    WHERE id > %(after)s AND (%(all)s OR released_at IS NULL) AND (%(account)s::text IS NULL OR account = %(account)s)
    ORDER BY id LIMIT %(limit)s
    """
)

# The newest of the account: whoever releases twice is told what the first time came to.
SELECT_LAST: Final[LiteralString] = _SELECT + "WHERE account = %s ORDER BY id DESC LIMIT 1"

SELECT_LIVE_ALERTS: Final[LiteralString] = """
    SELECT id FROM alert WHERE account = %s AND state <> 'resolved' ORDER BY id
"""

ASK: Final[LiteralString] = "UPDATE quarantine SET asked_at = %s, asked_by = %s WHERE id = %s"

# Whoever asked first and need not be confirmed any more releases alone.
RELEASE: Final[LiteralString] = """
    UPDATE quarantine
    SET
        released_at = %(now)s, released_by = %(by)s, release_reason = %(reason)s,
        asked_at = CASE WHEN asked_by <> %(by)s THEN asked_at END,
        asked_by = CASE WHEN asked_by <> %(by)s THEN asked_by END
    WHERE id = %(id)s
"""

# The next ones in order of position, each with its places in all of its lines: a command waits for all of its accounts
# or for none. If another of them is in quarantine, it is held again when its turn comes; so none is taken twice. A
# place that it has already stays as it is.
PUT_BACK: Final[LiteralString] = """
    WITH slice AS (
        SELECT DISTINCT position FROM held
        WHERE account_key = %(key)s
            AND position > (SELECT released_up_to FROM quarantine WHERE quarantine.id = %(id)s)
        ORDER BY position LIMIT %(limit)s
    ), moved AS (
        DELETE FROM held WHERE position IN (SELECT position FROM slice) RETURNING position, account_key, link_size
    ), put_back AS (
        INSERT INTO pending (position, account_key, link_size) SELECT position, account_key, link_size FROM moved
        ON CONFLICT DO NOTHING
    )
    SELECT count(*), max(position) FROM slice
"""

REACH: Final[LiteralString] = "UPDATE quarantine SET released_up_to = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """An account's quarantine; ``commands`` are those that are held for it now."""

    id: int
    account: str
    alert_id: int
    began_at: datetime
    asked_at: datetime | None
    asked_by: str | None
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None
    commands: int
    oldest_held_at: datetime | None


def begin(conn: Connection, alerts: Mapping[str, int], *, now: datetime) -> int:
    """Quarantine these accounts, each for an alert, and return how many of them were not."""
    keys = bigints(map(account_key, alerts))
    return conn.execute(INSERT_QUARANTINES, [now, list(alerts), keys, bigints(alerts.values())]).rowcount


async def lock(conn: AsyncConnection[Any], account: str) -> None:
    """
    Let nobody decide a command of the account, open an alert or release another account meanwhile.

    A worker that found the account in quarantine has moved its commands, or will find that it is not.
    """
    await conn.execute(locks.LOCK_ACCOUNTS, [bigints([account_key(account)])])
    await conn.execute(locks.LOCK_ONE, locks.ALERTS)


async def find(conn: AsyncConnection[Any], account: str) -> QuarantineRow | None:
    """The account's last quarantine, whether it is over or not."""
    row = await (await conn.execute(SELECT_LAST, [account])).fetchone()
    return QuarantineRow(*row) if row else None


async def page(
    conn: AsyncConnection[Any], *, account: str | None, released: bool, after: int, limit: int
) -> list[QuarantineRow]:
    """The next ``limit`` quarantines above the id ``after``, with those that are over if ``released`` says so."""
    wanted = {"account": account, "all": released, "after": after, "limit": limit}
    return [QuarantineRow(*row) async for row in await conn.execute(SELECT_PAGE, wanted)]


async def live_alerts(conn: AsyncConnection[Any], account: str) -> list[int]:
    """The alerts that name the account and are not resolved."""
    return [id_ async for (id_,) in await conn.execute(SELECT_LIVE_ALERTS, [account])]


async def ask(conn: AsyncConnection[Any], quarantine_id: int, *, by: str, now: datetime) -> None:
    """Note the first of two admins."""
    await conn.execute(ASK, [now, by, quarantine_id])


async def put_back(conn: AsyncConnection[Any], row: QuarantineRow, *, limit: int) -> bool:
    """Put so many of its commands back in line, and say whether there may be more. The account is locked."""
    wanted = {"key": account_key(row.account), "id": row.id, "limit": limit}
    slice_ = await (await conn.execute(PUT_BACK, wanted)).fetchone()
    count, reached = slice_ or (0, None)
    if reached is not None:
        await conn.execute(REACH, [reached, row.id])
    return bool(count == limit)


async def end(conn: AsyncConnection[Any], row: QuarantineRow, *, by: str, reason: str | None, now: datetime) -> None:
    """Note who released the account, all of whose commands are back in line."""
    await conn.execute(RELEASE, {"now": now, "by": by, "reason": reason, "id": row.id})
