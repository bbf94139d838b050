"""The yardstick: what one writes first. One transaction per command, the same tables, locks and money rules."""

from collections.abc import Iterator, Sequence
from threading import Barrier, Lock, Thread
from typing import Any

import psycopg
import uuid_utils.compat
from psycopg import Connection
from psycopg.types.json import Jsonb

from processor import clock
from processor.domain.books import Account, AccountStatus, Books
from processor.domain.commands import Command, Deposit, MakeTransfer, Withdraw
from processor.domain.decide import Decided, decide
from processor.domain.rules import Rules
from processor.submissions import CommandBody


def settle(
    database_url: str, client_id: int, commands: Sequence[tuple[str, CommandBody]], connections: int, barrier: Barrier
) -> None:
    """Settle the commands over so many connections, a thread each; the clock starts at the barrier."""
    waiting, lock = iter(commands), Lock()
    opened = [psycopg.connect(database_url, autocommit=True) for _ in range(connections)]
    threads = [Thread(target=_work, args=(conn, client_id, waiting, lock)) for conn in opened]
    barrier.wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for conn in opened:
        conn.close()


def _work(conn: Connection, client_id: int, waiting: Iterator[tuple[str, CommandBody]], lock: Lock) -> None:
    system: dict[str, int] = dict(conn.execute("SELECT name, id FROM account WHERE kind <> 'customer'").fetchall())
    while True:
        with lock:
            each = next(waiting, None)
        if each is None:
            return
        with conn.transaction():
            _settle_one(conn, client_id, *each, system)


def _settle_one(conn: Connection, client_id: int, key: str, body: CommandBody, system: dict[str, int]) -> None:
    now = clock.now()
    for account_key in sorted(body.account_keys()):
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [account_key])
    row = conn.execute(
        "INSERT INTO command (id, client_id, idempotency_key, type, currency, account, from_account, to_account,"
        " amount_minor, reference, metadata, accepted_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (client_id, idempotency_key) DO NOTHING RETURNING position",
        [
            uuid_utils.compat.uuid7(),
            client_id,
            key,
            body.type,
            body.currency,
            body.account,
            body.from_account,
            body.to_account,
            body.amount_minor,
            body.reference,
            None if body.metadata is None else Jsonb(dict(body.metadata)),
            now,
        ],
    ).fetchone()
    if row is None:
        return
    books = Books.of(
        Account(name, id_, currency, AccountStatus(status), *totals)
        for name, id_, currency, status, *totals in conn.execute(
            "SELECT name, id, currency, status, version, credits_minor, debits_minor, held_minor,"
            " overdraft_limit_minor, overdraft_fee_minor FROM account WHERE name = ANY(%s)",
            [list(body.accounts())],
        )
    )
    _record(conn, books, decide(books, [_command(row[0], body)], now=now, rules=Rules()), system, now)


def _record(conn: Connection, books: Books, decided: Decided, system: dict[str, int], now: Any) -> None:
    ids = system | {account.name: account.id for account in books.accounts.values()}
    (outcome,) = decided.outcomes
    conn.execute(
        "INSERT INTO outcome (position, status, reason, decided_at) VALUES (%s, %s, %s, %s)",
        [outcome.position, outcome.status.value, outcome.reason and outcome.reason.value, now],
    )
    for leg, transfer in enumerate(outcome.transfers, start=1):
        conn.execute(
            "INSERT INTO transfer VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                outcome.position,
                leg,
                transfer.kind.value,
                ids[transfer.debit.account],
                ids[transfer.credit.account],
                transfer.amount_minor,
                transfer.currency,
                transfer.debit.version,
                transfer.debit.balance_minor,
                transfer.credit.version,
                transfer.credit.balance_minor,
            ],
        )
    for account in decided.changed:
        conn.execute(
            "UPDATE account SET version = %s, credits_minor = %s, debits_minor = %s WHERE id = %s",
            [account.version, account.credits_minor, account.debits_minor, account.id],
        )


def _command(position: int, body: CommandBody) -> Command:
    assert body.amount_minor is not None
    if body.type == "transfer":
        assert body.from_account is not None
        assert body.to_account is not None
        return MakeTransfer(position, body.from_account, body.to_account, body.amount_minor, body.currency)
    assert body.account is not None
    kind = Deposit if body.type == "deposit" else Withdraw
    return kind(position, body.account, body.amount_minor, body.currency)
