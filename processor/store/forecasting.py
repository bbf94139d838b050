"""Accounts with their live advances, page by page: read to look ahead, so without a lock on anything."""

from collections.abc import Iterator, Sequence
from typing import Final, LiteralString
from uuid import UUID

from psycopg import Connection

from processor.domain.books import Books
from processor.store import advances
from processor.store.arrays import bigints
from processor.store.books import GATHER_ACCOUNTS, read_accounts

# How far a page goes: over so many advances, live or not, so that no statement is long. An account is never divided.
SELECT_PAGE_END: Final[LiteralString] = """
    SELECT max(account_id) FROM (
        SELECT account_id FROM advance WHERE account_id > %b ORDER BY account_id LIMIT %b
    ) AS page
"""

SELECT_KEYS: Final[LiteralString] = """
    SELECT DISTINCT account.key
    FROM advance JOIN account ON account.id = advance.account_id
    WHERE advance.account_id > %(after)b AND advance.account_id <= %(end)b
        AND advance.state IN ('open', 'in_arrears')
        AND (%(currency)b::text IS NULL OR advance.currency = %(currency)b)
"""

SELECT_IDS: Final[LiteralString] = "SELECT position, id FROM command WHERE position = ANY(%b::bigint[])"

_PAGE: Final = 2_000


def read_pages(conn: Connection, *, currency: str | None = None, advances_each: int = _PAGE) -> Iterator[Books]:
    """
    Every account that owes something, in one currency or any, with all of its live advances.

    A page is read in one snapshot; between two pages time goes by.
    """
    after = 0
    while True:
        with conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = conn.execute(SELECT_PAGE_END, [after, advances_each]).fetchone()
            if row is None or row[0] is None:
                return
            page = _read_page(conn, after, row[0], currency)
        yield page
        after = row[0]


def read_ids(conn: Connection, advance_ids: Sequence[int]) -> dict[int, UUID]:
    """How clients name these advances."""
    return dict(conn.execute(SELECT_IDS, [bigints(advance_ids)]).fetchall())


def _read_page(conn: Connection, after: int, end: int, wanted_currency: str | None) -> Books:
    rows = conn.execute(SELECT_KEYS, {"after": after, "end": end, "currency": wanted_currency})
    keys = [key for (key,) in rows]
    accounts = read_accounts(conn.execute(GATHER_ACCOUNTS, [bigints(keys)]))
    return Books.of(accounts, advances.gather(conn, accounts, ()))
