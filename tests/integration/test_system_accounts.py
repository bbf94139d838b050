"""The bank's own accounts: made when first needed, locked by nobody, and right at any instant."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from threading import Barrier
from typing import Any, Final
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import sql

from processor import clock, pools
from processor.apply import Applier
from processor.errors import BooksError
from processor.store import books as books_store
from processor.store import locks, system_accounts
from tests.builders import deposit, opening, withdraw
from tests.engine import Engine
from tests.eventually import eventually

USD: Final = "@settlement:USD"


def roll_forward(engine: Engine, outcomes: int = 1_000) -> bool | None:
    """One step of what the scheduler does every half a minute: are there more? ``None`` if it was not done."""
    with pools.connect(engine.database.app_url, "test") as conn:
        return system_accounts.roll_forward(conn, now=clock.now(), outcomes=outcomes)


def checkpoint(engine: Engine, name: str = USD) -> tuple[int, int]:
    """How far the account's totals have been rolled forward."""
    (totals,) = engine.rows(
        "SELECT point.credits_minor, point.debits_minor FROM system_checkpoint AS point"
        " JOIN account ON id = account_id WHERE name = %s",
        [name],
    )
    return int(totals[0]), int(totals[1])


def plain_sum(engine: Engine, name: str = USD) -> tuple[int, int]:
    """The totals over all transfers, from the first one on."""
    ((credits, debits),) = engine.rows(
        """
        SELECT coalesce(sum(amount_minor) FILTER (WHERE credit_account_id = id), 0),
            coalesce(sum(amount_minor) FILTER (WHERE debit_account_id = id), 0)
        FROM account JOIN transfer ON id IN (debit_account_id, credit_account_id) WHERE name = %s
        """,
        [name],
    )
    return int(credits), int(debits)


@contextmanager
def slow_transaction(engine: Engine, message: Any) -> Iterator[Future[Any]]:
    """A worker that has written its transfers, drawn its transaction's number, and does not commit before the end."""
    written, go_on = threading.Event(), threading.Event()
    original = books_store.record

    def slow(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        if not written.is_set():
            written.set()
            go_on.wait(30)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as worker:
        patch.setattr(books_store, "record", slow)
        handled = worker.submit(engine.handle, message)
        assert written.wait(30)
        try:
            yield handled
        finally:
            go_on.set()


def test_totals_are_those_of_all_transfers_before_and_after_a_checkpoint(engine: Engine) -> None:
    """A balance is a checkpoint and the tail after it: no transfer is in both, and none in neither."""
    engine.settle(opening("alice"), deposit("alice", 100), withdraw("alice", 30))
    read = [engine.totals(USD)]
    roll_forward(engine)
    read.append(engine.totals(USD))
    engine.settle(deposit("alice", 7))
    read.append(engine.totals(USD))
    roll_forward(engine)
    read.append(engine.totals(USD))

    assert read == [(30, 100), (30, 100), (30, 107), (30, 107)]
    assert checkpoint(engine) == (30, 107)


def test_rolling_forward_twice_counts_nothing_twice(engine: Engine) -> None:
    """Two schedulers may believe for an instant that they lead."""
    engine.settle(opening("alice"), deposit("alice", 100))
    for _ in range(3):
        assert roll_forward(engine) is False

    assert checkpoint(engine) == engine.totals(USD) == (0, 100)


def test_an_account_that_is_new_does_not_make_the_others_start_again(engine: Engine) -> None:
    """Its own tail begins with the first transfer of all; theirs begins where they were."""
    engine.settle(opening("alice", overdraft_limit_minor=500, overdraft_fee_minor=10), deposit("alice", 100))
    roll_forward(engine)
    engine.settle(withdraw("alice", 200))
    roll_forward(engine)

    assert checkpoint(engine) == plain_sum(engine) == (200, 100)
    assert checkpoint(engine, "@fee_income:USD") == plain_sum(engine, "@fee_income:USD") == (10, 0)


def test_a_transfer_that_commits_late_is_not_forgotten(engine: Engine) -> None:
    """It drew a lower number than what was committed meanwhile: a checkpoint that passed it would lose its money."""
    engine.settle(opening("alice"), opening("bob"), deposit("bob", 1))
    engine.accept(deposit("alice", 100))
    (message,) = engine.queue
    engine.queue = []
    with slow_transaction(engine, message):
        engine.settle(deposit("bob", 10))
        roll_forward(engine)
        meanwhile = engine.totals(USD), plain_sum(engine)
        behind = checkpoint(engine)
    roll_forward(engine)

    assert meanwhile == ((0, 11), (0, 11))
    assert behind == (0, 1)
    assert checkpoint(engine) == engine.totals(USD) == plain_sum(engine) == (0, 111)


def test_an_open_transaction_that_writes_nothing_holds_up_no_checkpoint(engine: Engine) -> None:
    """A report or a backup may read for an hour."""
    with psycopg.connect(engine.database.owner_url) as reader:
        reader.execute("SELECT count(*) FROM outcome")
        engine.settle(opening("alice"), deposit("alice", 100))
        roll_forward(engine)

        assert checkpoint(engine) == (0, 100)


def test_one_of_two_runs_at_a_time_does_the_work(engine: Engine) -> None:
    """The other goes home at once, and does not queue up behind it."""
    with psycopg.connect(engine.database.owner_url) as holder:
        assert locks.try_lock(holder, locks.ROLL_FORWARD)
        assert roll_forward(engine) is None
    assert roll_forward(engine) is False


def test_totals_are_right_while_everything_goes_on(engine: Engine) -> None:
    """Workers, checkpoints and readers at once: no instant shows a total that never was."""
    engine.settle(opening("alice"))
    engine.accept_apart(*[deposit("alice", 1)] * 150)
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            roll_forward(engine)
            totals = engine.totals(USD)
            seen.append(totals[1] if totals else 0)

    with ThreadPoolExecutor(1) as watcher:
        watching = watcher.submit(watch)
        engine.drain(workers=2)
        done.set()
        watching.result()
    roll_forward(engine)

    assert seen == sorted(seen)
    assert checkpoint(engine) == engine.totals(USD) == (0, 150)


def test_totals_may_pass_the_largest_bigint(engine: Engine) -> None:
    """Every customer's total fits, and the sum over all customers need not: it must be readable all the same."""
    largest = 2**53 - 1
    engine.settle(
        opening("alice"), opening("bob"), *[deposit("alice", largest)] * 600, *[deposit("bob", largest)] * 600
    )
    before = engine.totals(USD)
    roll_forward(engine)

    assert before == engine.totals(USD) == (0, 1_200 * largest)
    assert 1_200 * largest > 2**63


def test_an_unknown_name_or_a_customers_has_no_totals_here(engine: Engine) -> None:
    """A customer's are on the row."""
    engine.settle(opening("alice"), deposit("alice", 1))

    assert [engine.totals(name) for name in ("@settlement:JPY", "alice", "")] == [None] * 3


@pytest.fixture
def no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that fails is divided to find out why: here none may."""
    monkeypatch.setattr(Applier, "_isolate", Mock(side_effect=AssertionError("a batch failed")))


def test_workers_that_need_an_account_at_the_same_moment_share_it(engine: Engine, no_failure: None) -> None:
    """The first payment in a currency may be two: one settlement account, and neither worker fails."""
    currencies = ("USD", "JPY", "KWD")
    engine.settle(*(opening(f"{currency}.{n}", currency) for currency in currencies for n in range(4)))
    engine.accept_apart(*(deposit(f"{currency}.{n}", 5, currency) for n in range(4) for currency in currencies))
    appliers = [engine.another_applier() for _ in range(4)]
    messages, engine.queue = engine.queue, []
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(engine.handle, messages, appliers * 3))

    assert engine.rows("SELECT name FROM account WHERE kind = 'settlement' ORDER BY name") == [
        (f"@settlement:{currency}",) for currency in sorted(currencies)
    ]
    engine.assert_as_one_by_one()


def test_workers_that_make_an_account_in_the_same_instant_do_not_collide(engine: Engine) -> None:
    """Neither has seen the other's row when it writes its own: one of them does nothing, and none has an error."""
    names = [f"@settlement:{''.join(letters)}" for letters in product("BCDFGHJ", repeat=3)]
    together, collisions = Barrier(4), list[str]()

    def make(_: int) -> None:
        with pools.connect(engine.database.app_url, "test") as conn:
            for name in names:
                together.wait(30)
                try:
                    with conn.transaction():
                        books_store.make_system_accounts(conn, [name], now=clock.now())
                except psycopg.Error as error:
                    collisions.append(f"{name}: {error}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make, range(4)))

    assert collisions == []
    assert engine.rows("SELECT count(*) FROM account") == [(len(names),)]


def test_one_that_is_being_made_by_another_worker_is_waited_for(engine: Engine, no_failure: None) -> None:
    """It is there or it is not when the other commits: guessing either would be a foreign key that points nowhere."""
    engine.settle(opening("alice"), opening("bob"))
    engine.accept_apart(deposit("alice", 1), deposit("bob", 2))
    first, second = engine.queue
    engine.queue = []
    with ThreadPoolExecutor(1) as worker:
        with slow_transaction(engine, first):
            waiting = worker.submit(engine.handle, second, engine.another_applier())
            eventually(lambda: engine.rows("SELECT pid FROM pg_locks WHERE NOT granted"))
        waiting.result()

    assert engine.own_accounts() == {USD: -3}


def test_one_whose_maker_failed_is_made_again(engine: Engine, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that remembered the id of an account that was rolled back could never pay in that currency again."""
    engine.settle(opening("alice"))
    engine.accept(deposit("alice", 1))
    original, failed = books_store.record, list[bool]()

    def failing(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        if not failed:
            failed.append(True)
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(books_store, "record", failing)
    engine.drain()

    assert failed
    engine.assert_as_one_by_one()


def test_a_log_of_another_cluster_is_refused(engine: Engine) -> None:
    """A dump keeps transaction ids that lie in the future where it is restored: totals would silently stand still."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.rows("UPDATE system_checkpoint SET up_to_xid = '9000000000'")
    with pytest.raises(BooksError, match="another cluster"):
        roll_forward(engine)
    engine.rows("DELETE FROM system_checkpoint")
    mended = roll_forward(engine)

    assert mended is False
    assert checkpoint(engine) == plain_sum(engine) == (0, 100)


def test_a_long_tail_is_rolled_forward_in_slices(engine: Engine) -> None:
    """After a day without a scheduler, one step must not run into the time that a statement has."""
    engine.settle(opening("alice"))
    for _ in range(6):
        engine.settle(deposit("alice", 1))
    with pools.connect(engine.database.app_url, "test") as conn:
        more = [system_accounts.roll_forward(conn, now=clock.now(), outcomes=2) for _ in range(6)]

    assert more[0] is True
    assert more[-1] is False
    assert checkpoint(engine) == plain_sum(engine) == (0, 6)


def test_the_recipe_for_a_restored_dump_works(engine: Engine) -> None:
    """It stands in docs/operations.md, and will be needed on a bad day."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.rows(
        "ALTER TABLE transfer DROP CONSTRAINT transfer_of_its_outcome; UPDATE outcome SET xid = '9000000000';"
        " UPDATE transfer SET xid = '9000000000'; ALTER TABLE transfer ADD CONSTRAINT transfer_of_its_outcome"
        " FOREIGN KEY (xid, position) REFERENCES outcome (xid, position)"
    )
    with pytest.raises(BooksError, match="another cluster"):
        roll_forward(engine)
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    recipe = page.partition("## After a restore")[2].partition("```sql\n")[2].partition("```")[0]
    engine.rows(sql.SQL(recipe))  # type: ignore[arg-type]  # a page of the repository, never input
    roll_forward(engine)
    engine.settle(deposit("alice", 7))

    assert engine.totals(USD) == plain_sum(engine) == (0, 107)
