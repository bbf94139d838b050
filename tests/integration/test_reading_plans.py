"""What people read stays on indexes, and costs what is on the page, with a million commands in the books."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from cli.servers import LocalServers
from processor import pools
from processor.store import reading_accounts, reading_log, reading_statements
from processor.store.reading_log import Place, Wanted
from tests.builders import NOON
from tests.conftest import TEMPLATE
from tests.stack import new_database

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

ROWS: Final = 1_000_000
ACCOUNTS: Final = 10_000
EACH: Final = ROWS // ACCOUNTS
BATCH: Final = 100
"""Commands of one transaction, as a worker would write them."""

FIRST_XID: Final = 1_000
LAST_XID: Final = FIRST_XID + ROWS // BATCH - 1
SETTLEMENT_ID: Final = -1 - 17_576 - 676 * 20 - 26 * 18 - 3

LARGE: Final = ("command", "outcome", "transfer", "account")
TOLERANCE: Final = timedelta(minutes=1)
MIDDLE: Final = NOON + timedelta(seconds=ROWS // 2)
PAGE: Final = {"limit": 100, "look_ahead": 10_000}

# Deposits, one a second, to each account in turn; as the books would have them, but for what nobody here looks at.
# Two indexes are made afterwards, which is three times as fast.
FILL: Final[LiteralString] = """
    SET session_replication_role = replica;
    SET synchronous_commit = off;
    DROP INDEX transfer_debit_version, transfer_credit_version;
    INSERT INTO client (name) VALUES ('acme');

    INSERT INTO account (id, name, key, kind, currency, version, opened_at)
    SELECT n, 'acc-' || n, n, 'customer', 'USD', {rows} / {accounts}, {noon} FROM generate_series(1, {accounts}) AS n;
    INSERT INTO account (id, name, key, kind, currency, opened_at)
    VALUES ({settlement}, '@settlement:USD', 0, 'settlement', 'USD', {noon});

    INSERT INTO command (id, client_id, idempotency_key, type, account, amount_minor, currency, accepted_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, n, 'deposit',
        'acc-' || n % {accounts} + 1, 1, 'USD', {noon}
    FROM generate_series(0, {rows} - 1) AS n;

    INSERT INTO outcome (position, status, decided_at, xid)
    SELECT n + 1, 'applied', {noon} + n * interval '1 second', ({first_xid} + n / {batch})::text::xid8
    FROM generate_series(0, {rows} - 1) AS n;

    INSERT INTO transfer (
        position, leg, kind, debit_account_id, credit_account_id, amount_minor, currency,
        credit_version, credit_balance_minor, xid
    )
    SELECT n + 1, 1, 'deposit', {settlement}, n % {accounts} + 1, 1, 'USD', n / {accounts} + 1, n / {accounts} + 1,
        ({first_xid} + n / {batch})::text::xid8
    FROM generate_series(0, {rows} - 1) AS n;

    INSERT INTO system_checkpoint (account_id, up_to_xid, credits_minor, debits_minor, made_at)
    VALUES ({settlement}, ({last_xid} - 100)::text::xid8, 0, {rows} - 101 * {batch}, {noon});
"""

Scans = list[tuple[str, int]]
"""Of each scan of a large table: how it was done, and how many rows it read."""


class Watched:
    """A connection that asks how Postgres does what it is told to, and then does it."""

    def __init__(self, conn: AsyncConnection[Any]) -> None:
        self._conn = conn
        self.scans: Scans = []

    async def execute(self, query: LiteralString, params: Any = None) -> psycopg.AsyncCursor[Any]:
        explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + query
        row = await (await self._conn.execute(explain, params)).fetchone()
        assert row is not None
        self._look(row[0][0]["Plan"])
        return await self._conn.execute(query, params)

    def _look(self, node: Mapping[str, Any]) -> None:
        if node.get("Relation Name") in LARGE:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            read = (node["Actual Rows"] + removed) * node["Actual Loops"]
            self.scans.append((f"{node['Node Type']} on {node['Relation Name']}", round(read)))
        for each in node.get("Plans", ()):
            self._look(each)


@pytest.fixture(scope="module")
def large(servers: LocalServers, _application_password: str) -> Iterator[str]:
    """The application's address of a database with a million deposits: about 15 s of a core, once for this file."""
    with new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url):
        with psycopg.connect(owner_url, autocommit=True) as owner:
            indexes = owner.execute("SELECT indexdef FROM pg_indexes WHERE indexname ~ '^transfer_.*_version$'")
            later = [definition for (definition,) in indexes]
            owner.execute(
                sql.SQL(FILL).format(
                    rows=sql.Literal(ROWS),
                    accounts=sql.Literal(ACCOUNTS),
                    batch=sql.Literal(BATCH),
                    noon=sql.Literal(NOON),
                    settlement=sql.Literal(SETTLEMENT_ID),
                    first_xid=sql.Literal(FIRST_XID),
                    last_xid=sql.Literal(LAST_XID),
                )
            )
            for definition in later:
                owner.execute(definition)
            owner.execute("ANALYZE command, outcome, transfer, account")
        yield app_url


@asynccontextmanager
async def watched(large: str) -> AsyncIterator[Watched]:
    """A connection as the API has it."""
    async with pools.async_pool(large, application_name="florin plans", size=1) as pool, pool.connection() as conn:
        yield Watched(conn)


async def page_of_a_customer(conn: Any, **more: Any) -> int:
    wanted = {"newest_first": True, "kind": None, **PAGE, **more}
    run = await reading_statements.page(conn, 77, 1, EACH, **wanted)
    return len(run.lines)


async def customer_since(conn: Any) -> int:
    return await reading_statements.first_since(conn, 77, MIDDLE, last=EACH, tolerance=TOLERANCE)


async def customers_command(conn: Any) -> int:
    row = await (await conn.execute("SELECT id FROM command WHERE position = 77")).fetchone()
    versions = await reading_statements.versions_of(conn, 77, row[0])
    assert versions is not None
    return versions[0]


async def window(conn: Any) -> reading_log.Window:
    return await reading_log.window(conn, LAST_XID + 1, MIDDLE, MIDDLE + timedelta(hours=2), tolerance=TOLERANCE)


async def report(conn: Any, *, newest_first: bool = True, **wanted: Any) -> int:
    rows, _ = await reading_log.report(
        conn, await window(conn), Wanted(**wanted), after=None, newest_first=newest_first, **PAGE
    )
    return len(rows)


async def next_page_of_a_report(conn: Any) -> int:
    after = Place(FIRST_XID + 5_010, 501_050)
    rows, _ = await reading_log.report(conn, await window(conn), Wanted(), after=after, newest_first=False, **PAGE)
    return len(rows)


async def count(conn: Any, **wanted: Any) -> int:
    counted, _ = await reading_log.count(conn, await window(conn), Wanted(**wanted), look_ahead=5_000)
    return counted


async def page_of_the_bank(conn: Any, *, newest_first: bool = True, kind: str | None = None) -> int:
    run = await reading_log.system_page(
        conn, SETTLEMENT_ID, await window(conn), 0, after=None, newest_first=newest_first, kind=kind, **PAGE
    )
    return len(run.lines)


async def balance_of_the_bank(conn: Any, instant: datetime) -> int | None:
    below = LAST_XID + 1
    around = await reading_log.window(conn, below, instant, instant, tolerance=TOLERANCE)
    return await reading_log.system_balance(conn, SETTLEMENT_ID, around, below, instant, look_ahead=50_000)


async def accounts(conn: Any, **more: Any) -> int:
    wanted = {"prefix": "acc-7", "currency": None, "status": None, "kind": None, "with_system": True, "after": "acc-70"}
    rows, _ = await reading_accounts.list_accounts(conn, **(wanted | PAGE | more))
    return len(rows)


LATE: Final = NOON + timedelta(seconds=ROWS - 20_000)

CASES: Final[Mapping[str, tuple[Callable[[Any], Awaitable[int | None]], int | None, int]]] = {
    # What it answers with, and how many rows of the large tables it may read for that. Where pages look ahead in the
    # log or among accounts, how far they may go is counted in an index: up to 10,000 entries.
    "a customer's page": (page_of_a_customer, 100, 500),
    "a customer's page, oldest first": (lambda conn: page_of_a_customer(conn, newest_first=False), 100, 500),
    "a customer's large page": (lambda conn: page_of_a_customer(conn, limit=1_000), 100, 500),
    "a customer's page of a kind": (lambda conn: page_of_a_customer(conn, kind="withdrawal"), 0, 500),
    "a customer's transfers since an instant": (customer_since, 51, 200),
    "a customer's transfers of a command": (customers_command, 1, 20),
    "a report": (report, 100, 11_000),
    "a report, oldest first": (lambda conn: report(conn, newest_first=False), 100, 11_000),
    "a report's next page": (next_page_of_a_report, 100, 11_000),
    "a report of one account": (lambda conn: report(conn, account="acc-5000"), 1, 40_000),
    "a report of what was refused": (lambda conn: report(conn, status="refused"), 0, 20_000),
    "a count": (count, 4_900, 10_000),
    "a count of a type": (lambda conn: count(conn, type="deposit"), 4_900, 20_000),
    "a page of the bank's own account": (page_of_the_bank, 100, 11_000),
    "the same, oldest first": (lambda conn: page_of_the_bank(conn, newest_first=False), 100, 11_000),
    "the same, of a kind": (lambda conn: page_of_the_bank(conn, kind="reversal"), 0, 80_000),
    "what the bank had a while ago": (lambda conn: balance_of_the_bank(conn, LATE), 20_000 - ROWS, 50_000),
    "what the bank had too long ago": (lambda conn: balance_of_the_bank(conn, MIDDLE), None, 150_000),
    "a list of accounts": (accounts, 100, 2_000),
    "a list of frozen accounts": (lambda conn: accounts(conn, status="frozen"), 0, 3_000),
}


@pytest.mark.parametrize("case", CASES)
async def test_no_large_table_is_read_from_end_to_end(large: str, case: str) -> None:
    """A page costs the same in the tenth year: it reads what is on it, and as far as it says that it looks."""
    ask, expected, allowed = CASES[case]
    async with watched(large) as conn:
        answer = await ask(conn)

    assert answer == expected
    assert conn.scans
    assert [scan for scan, _ in conn.scans if scan.startswith("Seq Scan")] == []
    assert sum(read for _, read in conn.scans) <= allowed, conn.scans
