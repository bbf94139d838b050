"""The engine of one database in this process, and what its books say."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from cli.simulating.engine import Engine as BareEngine
from processor import clock
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.domain.rules import Rules
from processor.proofs import PROOFS
from processor.proofs.proof import Limits, Scope
from processor.store import system_accounts
from processor.store.books import InLine
from processor.submissions import FIELDS, CommandBody
from tests.builders import RULES
from tests.conftest import Database
from tests.oracle import Bank
from workers.messages import Batch

CLIENTS: Final = ("acme", "globex")
"""The clients that every test finds; their ids are 1 and 2."""

SELECT_COMMANDS: Final = sql.SQL("""
    SELECT
        position, decided_at,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id) AS advance,
        (SELECT reserving.position FROM command AS reserving WHERE reserving.id = command.hold_id) AS hold,
        (SELECT earlier.position FROM command AS earlier WHERE earlier.id = command.reverses) AS reverses,
        {}
    FROM command LEFT JOIN outcome USING (position) ORDER BY position
""").format(sql.SQL(", ").join(sql.Identifier("command", field) for field in FIELDS))


class Engine(BareEngine):
    """Accepts, applies and says what the books say."""

    database: Database
    owner: psycopg.Connection

    def accept_apart(self, *bodies: CommandBody) -> list[int]:
        """The same, with a message for each."""
        before = list(self.queue)
        positions = self.accept(*bodies)
        self.queue = before
        for position, body in zip(positions, bodies, strict=True):
            self.queue.append(Batch([position], sorted(body.account_keys())))
        return positions

    # What the books say.

    def rows(self, query: LiteralString | sql.Composed, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask, or change, as the owner of the database."""
        cursor = self.owner.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def outcomes(self) -> dict[int, tuple[str, str | None]]:
        """Status and reason by position."""
        return {row[0]: row[1:] for row in self.rows("SELECT position, status, reason FROM outcome ORDER BY position")}

    def pending(self) -> list[int]:
        """Who is still in line."""
        return [row[0] for row in self.rows("SELECT DISTINCT position FROM pending ORDER BY position")]

    def in_line(self, positions: Sequence[int]) -> list[InLine]:
        """These commands as they wait, to be named in messages."""
        rows = self.rows(
            "SELECT position, array_agg(account_key) FROM pending WHERE position = ANY(%s) GROUP BY 1 ORDER BY 1",
            [list(positions)],
        )
        return [InLine(position, frozenset(keys)) for position, keys in rows]

    def balances(self) -> dict[str, int]:
        """What each customer has."""
        return dict(self.rows("SELECT name, credits_minor - debits_minor FROM account WHERE kind = 'customer'"))

    def schedules(self) -> dict[int, list[tuple[Any, ...]]]:
        """Of every advance, by its id: when each instalment is due, how much of what it is, and how it stands."""
        found: dict[int, list[tuple[Any, ...]]] = {}
        for advance_id, *instalment in self.rows("""
            SELECT advance_id, due_on, amount_minor, rolled_minor, paid_minor, state FROM instalment ORDER BY 1, number
        """):
            found.setdefault(advance_id, []).append(tuple(instalment))
        return found

    def own_accounts(self) -> dict[str, int]:
        """What each of the bank's own accounts has, if anything: the plain sum over all transfers."""
        return {
            name: int(total)
            for name, total in self.rows("""
                SELECT account.name, sum(CASE WHEN id = credit_account_id THEN amount_minor ELSE -amount_minor END)
                FROM account JOIN transfer ON id IN (debit_account_id, credit_account_id)
                WHERE account.kind <> 'customer' GROUP BY account.name
            """)
            if total
        }

    def totals(self, name: str) -> tuple[int, int] | None:
        """Credits and debits of one of the bank's own accounts, as the application reads them."""

        async def read() -> tuple[int, int] | None:
            async with await psycopg.AsyncConnection.connect(self.database.app_url, autocommit=True) as conn:
                return await system_accounts.totals(conn, name)

        return asyncio.run(read())

    def holds(self) -> dict[int, tuple[str, int, str]]:
        """Of every hold, by its id: the account, how much, and how it stands."""
        return {
            id_: (name, amount_minor, state)
            for id_, name, amount_minor, state in self.rows("""
                SELECT hold.id, account.name, hold.amount_minor, state FROM hold
                JOIN account ON account.id = account_id ORDER BY 1
            """)
        }

    def allowances(self) -> dict[str, tuple[Any, ...]]:
        """Of every customer: what is on hold, the status, the overdraft and the limits of a day."""
        return {
            name: tuple(rest)
            for name, *rest in self.rows(
                """
                SELECT name, held_minor, status, overdraft_limit_minor, overdraft_fee_minor,
                    coalesce(daily_count, %s), coalesce(daily_amount_minor, %s)
                FROM account WHERE kind = 'customer'
                """,
                [UNLIMITED_COUNT, UNLIMITED_MINOR],
            )
        }

    def breaks(self) -> list[tuple[str, str]]:
        """What the proofs find if they look at everything, by proof and subject; of jobs, none is expected."""
        scope = Scope(True, 0, 2**62, (), self.now(), None, Limits(rules=self.rules), {}, page=50)
        return [
            (proof.name, found.subject)
            for proof in PROOFS
            for found in proof.check(self.owner, replace(scope, memory={}))
        ]

    def assert_as_one_by_one(self, *, failed: Collection[int] = ()) -> None:
        """Every command has one outcome, and all are as if one person had done them in order of their receipts."""
        bank = Bank(
            partial_collection=self.rules.partial_collection,
            max_live_advances=self.rules.max_live_advances,
            bounds={key: (bounds.min_minor, bounds.max_minor) for key, bounds in self.rules.bounds.items()},
            overdrafts={
                currency: (usual.limit_minor, usual.fee_minor) for currency, usual in self.rules.overdrafts.items()
            },
        )
        expected = {}
        for position, decided_at, advance, hold, reverses, *fields in self.rows(SELECT_COMMANDS):
            body = CommandBody(**dict(zip(FIELDS, fields, strict=True)))
            today = self.rules.business_date(decided_at) if decided_at else date.min
            expected[position] = (
                ("failed", "internal_error")
                if position in failed
                else bank.take(
                    body,
                    today=today,
                    now=decided_at,
                    position=position,
                    advance=advance,
                    hold=hold,
                    reverses=reverses,
                )
            )

        assert self.outcomes() == expected
        assert self.pending() == []
        assert self.balances() == {name: bank.balance(name) for name in bank.accounts}
        assert self.own_accounts() == {name: minor for name, minor in bank.own.items() if minor}
        assert self.schedules() == bank.schedules()
        assert self.holds() == {
            id_: (hold["account"], hold["amount"], hold["state"]) for id_, hold in bank.holds.items()
        }
        assert self.allowances() == {
            name: (
                *(bank.held(name), account["status"], account["limit"], account["fee"]),
                *(account["daily_count"], account["daily_amount"]),
            )
            for name, account in bank.accounts.items()
        }
        assert {reverses for (reverses,) in self.rows("SELECT reverses FROM reversal")} == bank.reversed
        self.assert_every_account_is_a_chain()

    def assert_every_account_is_a_chain(self) -> None:
        """Versions without a gap, each balance the one before it and the amount, and at the end what the row says."""
        ends: dict[int, tuple[int, int]] = {}
        for account_id, version, balance_minor, moved_minor in self.rows("""
            SELECT credit_account_id, credit_version, credit_balance_minor, amount_minor FROM transfer
            WHERE credit_version IS NOT NULL
            UNION ALL
            SELECT debit_account_id, debit_version, debit_balance_minor, -amount_minor FROM transfer
            WHERE debit_version IS NOT NULL
            ORDER BY 1, 2
        """):
            before = ends.get(account_id, (0, 0))
            assert (version, balance_minor) == (before[0] + 1, before[1] + moved_minor)
            ends[account_id] = (version, balance_minor)

        assert ends == {
            account_id: (version, balance_minor)
            for account_id, version, balance_minor in self.rows(
                "SELECT id, version, credits_minor - debits_minor FROM account WHERE version > 0"
            )
        }


@contextmanager
def running_engine(
    database: Database, *, threads: int = 4, now: Callable[[], datetime] = clock.now, rules: Rules = RULES
) -> Iterator[Engine]:
    """An engine with clients that may send to it."""
    add_clients(database)
    with (
        psycopg.connect(database.owner_url, autocommit=True) as owner,
        Engine.running(database.app_url, now=now, rules=rules, threads=threads) as engine,
    ):
        engine.database, engine.owner = database, owner
        yield engine


def add_clients(database: Database) -> None:
    """Let the clients exist."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        for name in CLIENTS:
            conn.execute("INSERT INTO client (name) VALUES (%s)", [name])


def counted(statuses: dict[int, tuple[str, str | None]]) -> Counter[str]:
    """How many outcomes of each status there are."""
    return Counter(status for status, _ in statuses.values())
