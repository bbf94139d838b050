"""The engine of one database in this process; in place of Redis stands a list of messages that the test has in hand."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any, Final, LiteralString

import psycopg
from anyio.from_thread import BlockingPortal, start_blocking_portal
from psycopg import sql

from processor import clock, pools
from processor.apply import Applied, Applier, Pool
from processor.intake import Accepted, Intake
from processor.store import system_accounts
from processor.store.books import InLine
from processor.submissions import FIELDS, Answer, CommandBody, Receipt
from tests.builders import submit
from tests.conftest import Database
from tests.oracle import Bank
from workers.messages import Batch, batches

CLIENTS: Final = ("acme", "globex")
"""The clients that every test finds; their ids are 1 and 2."""

SELECT_COMMANDS: Final = sql.SQL("SELECT position, {} FROM command ORDER BY position").format(
    sql.SQL(", ").join(sql.Identifier(field) for field in FIELDS)
)


class Engine:
    """Accepts, applies and says what the books say."""

    def __init__(self, database: Database, owner: psycopg.Connection, pool: Pool, portal: BlockingPortal) -> None:
        self.database = database
        self._owner = owner
        self.pool = pool
        self.applier = self.another_applier()
        self.queue: list[Batch] = []
        self._portal = portal
        self._intake: Intake | None = None

    def another_applier(self) -> Applier:
        """What another worker process has: it remembers nothing."""
        return Applier(self.pool, now=clock.now)

    # What clients and workers do.

    def accept(self, *bodies: CommandBody) -> list[int]:
        """Make the commands durable, queue their message, and return their positions."""
        answers = self.answers(submit(body) for body in bodies)
        assert all(isinstance(answer, Receipt) for answer in answers), answers
        return [answer.position for answer in answers if isinstance(answer, Receipt)]

    def accept_apart(self, *bodies: CommandBody) -> list[int]:
        """The same, with a message for each."""
        before = list(self.queue)
        positions = self.accept(*bodies)
        self.queue = before
        for position, body in zip(positions, bodies, strict=True):
            self.queue.append(Batch([position], sorted(body.account_keys())))
        return positions

    def answers(self, submissions: Iterator[Any] | Sequence[Any]) -> list[Answer]:
        """What the intake says to each."""
        assert self._intake is not None
        return self._portal.call(self._intake.accept, list(submissions))

    def handle(self, batch: Batch, applier: Applier | None = None) -> Applied:
        """What the actor does with a message."""
        applied = (applier or self.applier).apply(batch.positions, batch.account_keys)
        self.queue += batches(applied.left)
        return applied

    def drain(self, *, workers: int = 1, order: Random | None = None) -> list[Applied]:
        """Handle messages until there are none, by several threads and in another order if one is given."""
        handled: list[Applied] = []
        with ThreadPoolExecutor(workers) as threads:
            while self.queue:
                messages, self.queue = self.queue, []
                if order:
                    order.shuffle(messages)
                handled += threads.map(self.handle, messages)
        return handled

    def settle(self, *bodies: CommandBody) -> list[int]:
        """Accept the commands and apply them."""
        positions = self.accept(*bodies)
        self.drain()
        return positions

    # What the books say.

    def rows(self, query: LiteralString | sql.Composed, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask, or change, as the owner of the database."""
        cursor = self._owner.execute(query, params)
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

        return self._portal.call(read)

    def assert_as_one_by_one(self, *, failed: Collection[int] = ()) -> None:
        """Every command has one outcome, and all are as if one person had done them in order of their receipts."""
        bank, expected = Bank(), {}
        for position, *fields in self.rows(SELECT_COMMANDS):
            body = CommandBody(**dict(zip(FIELDS, fields, strict=True)))
            expected[position] = ("failed", "internal_error") if position in failed else bank.take(body)

        assert self.outcomes() == expected
        assert self.pending() == []
        assert self.balances() == {name: bank.balance(name) for name in bank.accounts}
        assert self.own_accounts() == {name: minor for name, minor in bank.own.items() if minor}
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

    async def run_intake(self, ready: Callable[[], None]) -> None:
        """Take what ``accept`` brings, until cancelled."""
        async with pools.async_pool(self.database.app_url, application_name="test intake", size=2) as pool:
            self._intake = Intake(pool, announce=self._announce, now=clock.now)
            ready()
            await self._intake.run()

    def _announce(self, accepted: Sequence[Accepted]) -> None:
        self.queue += batches(accepted)


@contextmanager
def running_engine(database: Database, *, threads: int = 4) -> Iterator[Engine]:
    """An engine with clients that may send to it."""
    add_clients(database)
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        pool = stack.enter_context(pools.sync_pool(database.app_url, application_name="test worker", size=threads))
        owner = stack.enter_context(psycopg.connect(database.owner_url, autocommit=True))
        engine = Engine(database, owner, pool, portal)

        async def run(*, task_status: Any) -> None:
            await engine.run_intake(task_status.started)

        intake, _ = portal.start_task(run)
        stack.callback(intake.cancel)
        yield engine


def add_clients(database: Database) -> None:
    """Let the clients exist."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        for name in CLIENTS:
            conn.execute("INSERT INTO client (name) VALUES (%s)", [name])


def counted(statuses: dict[int, tuple[str, str | None]]) -> Counter[str]:
    """How many outcomes of each status there are."""
    return Counter(status for status, _ in statuses.values())
