"""How long a statement of 100,000 lines takes against a million transfers: python -m benchmarks.reconcile"""

import hashlib
import logging
import time
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Final
from urllib.parse import urlsplit

import psycopg
import structlog

from benchmarks.stage import stage
from migrations import allow_login, migrate
from processor import pools
from processor.domain.books import system_account_id
from processor.domain.matching import Limits
from processor.reconciliation.mapping import Mapping
from processor.reconciliation.reading import read_statement
from processor.reconciliation.reconciling import reconcile

TRANSFERS: Final = 1_000_000
LINES: Final = 100_000
ACCOUNTS: Final = 20_000
FIRST_DAY: Final = date(2026, 1, 1)
DAYS: Final = 10
NOW: Final = datetime(2026, 2, 1, tzinfo=UTC)

# As the workers would have left them: a deposit each, of an amount and an account that repeat, spread over the days.
BOOKS: Final = """
    INSERT INTO client (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'bench');
    INSERT INTO account (id, name, key, kind, currency, opened_at)
    VALUES (%(settlement)s, '@settlement:EUR', 1, 'settlement', 'EUR', '2026-01-01Z');
    INSERT INTO command (id, client_id, idempotency_key, type, account, amount_minor, currency, reference, accepted_at)
    SELECT gen_random_uuid(), 1, 'key-' || n, 'deposit', 'acc-' || n %% %(accounts)s, 100 + n %% 99991, 'EUR',
        'INV-2026-' || n, '2026-01-01Z'::timestamptz + n * interval '864 ms'
    FROM generate_series(1, %(transfers)s) AS n;
    INSERT INTO account (id, name, key, kind, currency, version, credits_minor, opened_at)
    SELECT n, 'acc-' || n %% %(accounts)s, n, 'customer', 'EUR', 1000, 9000000000000000, '2026-01-01Z'
    FROM generate_series(1, %(accounts)s) AS n;
    INSERT INTO outcome (position, status, decided_at) SELECT position, 'applied', accepted_at FROM command;
    INSERT INTO transfer (
        position, leg, kind, debit_account_id, credit_account_id, amount_minor, currency, credit_version,
        credit_balance_minor
    )
    SELECT position, 1, 'deposit', %(settlement)s, 1 + (position - 1) %% %(accounts)s, amount_minor, 'EUR',
        1 + position / %(accounts)s, 0
    FROM command;
"""

MAPPING: Final = Mapping.model_validate(
    {"columns": {"date": "date", "amount": "amount", "bank_reference": "id", "text": "text"}, "currency": "EUR"}
)


def main() -> None:
    """Make the books and a statement of a tenth of them, with mistakes, and time what `florin reconcile` does."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    data = statement().encode()
    with stage() as here:
        address = here.servers.owner_url
        migrate(address)
        app_url = _as_application(address)
        allow_login(address, app_url)
        with psycopg.connect(address, autocommit=True) as conn:
            client_cursor = psycopg.ClientCursor(conn)
            numbers = {"settlement": system_account_id("@settlement:EUR"), "accounts": ACCOUNTS, "transfers": TRANSFERS}
            client_cursor.execute(BOOKS, numbers)
            conn.execute("VACUUM ANALYZE")
        started = time.perf_counter()
        read = read_statement(data, mapping=MAPPING)
        after_reading = time.perf_counter()
        with pools.connect(app_url, "bench") as conn:
            reconcile(
                conn,
                read,
                data,
                name="bench.csv",
                bank_account="main",
                limits=Limits(),
                zone=UTC,
                by="bench",
                now=NOW,
            )
            took = time.perf_counter() - started
            rules = conn.execute("SELECT rule, count(*) FROM statement_match GROUP BY 1 ORDER BY 1").fetchall()
            results = conn.execute("SELECT result, count(*) FROM reconciliation_break GROUP BY 1 ORDER BY 1").fetchall()
    print(f"{LINES:,} lines, {TRANSFERS:,} transfers: {took:.1f} s, of them reading {after_reading - started:.1f} s")
    print(dict(rules), dict(results))


def statement() -> str:
    """Of ten lines, seven have a reference, two name the account, and one is a mistake of the bank."""
    random = Random(7)
    lines = ["id,date,amount,text"]
    for place, number in enumerate(random.sample(range(1, TRANSFERS + 1), LINES)):
        day = FIRST_DAY + timedelta(seconds=number * 0.864, days=random.randrange(2))
        minor = 100 + number % 99991
        fate = place % 10
        text = f"SEPA credit inv 2026 {number} thanks" if fate < 7 else f"from ACC-{number % ACCOUNTS} thanks"
        if fate == 9:
            minor, text = minor + random.randrange(2), f"ref {hashlib.md5(str(number).encode()).hexdigest()}"
        lines.append(f"b{place},{day},{minor // 100}.{minor % 100:02},{text}")
    return "\n".join(lines) + "\n"


def _as_application(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=f"florin_app:bench@{parts.hostname}:{parts.port}").geturl()


if __name__ == "__main__":
    main()
