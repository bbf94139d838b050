"""Lists of accounts, in the order of their names."""

from typing import Final, LiteralString

from psycopg import AsyncConnection

from processor.store import reading
from processor.store.reading import AccountRow

# A range of the index on names: '~' is behind every character that a name may have. How many unwanted ones a page looks
# at is bounded, as is the page.
SELECT_REACH: Final[LiteralString] = """
    SELECT name FROM account
    WHERE name > %(after)b::text AND name >= %(prefix)b::text AND name < %(prefix)b::text || '~'
    ORDER BY name OFFSET %(look_ahead)b::bigint - 1 LIMIT 1
"""
SELECT_PAGE: Final[LiteralString] = (
    reading.SELECT_ACCOUNTS
    + """
    WHERE name > %(after)b::text AND name >= %(prefix)b::text AND name < %(prefix)b::text || '~'
        AND (%(reach)b::text IS NULL OR name <= %(reach)b::text)
        AND (%(currency)b::text IS NULL OR currency = %(currency)b::text)
        AND (%(status)b::text IS NULL OR status = %(status)b::text)
        AND (%(kind)b::text IS NULL OR kind = %(kind)b::text)
        AND (%(own)b::boolean OR kind = 'customer')
    ORDER BY name LIMIT %(limit)b::bigint
    """
)


async def list_accounts(
    conn: AsyncConnection,
    *,
    prefix: str,
    currency: str | None,
    status: str | None,
    kind: str | None,
    with_system: bool,
    after: str,
    limit: int,
    look_ahead: int,
) -> tuple[list[AccountRow], str | None]:
    """
    The next ``limit`` accounts with names above ``after``, of ``look_ahead`` looked at; and where to go on.

    The totals of system accounts are not on their rows.
    """
    wanted = {
        "prefix": prefix,
        "currency": currency,
        "status": status,
        "kind": kind,
        "own": with_system,
        "after": after,
        "limit": limit + 1,
        "look_ahead": look_ahead,
    }
    row = await (await conn.execute(SELECT_REACH, wanted)).fetchone()
    reach = row[0] if row else None
    rows = [AccountRow(*row) async for row in await conn.execute(SELECT_PAGE, wanted | {"reach": reach})]
    return (rows[:limit], rows[limit - 1].name) if len(rows) > limit else (rows, reach)
