"""History as it is read while clocks disagree, checkpoints move and transactions take their time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import pytest
from psycopg import AsyncConnection

from processor import pools
from processor.store import reading_log, reading_statements, system_accounts
from processor.store.reading_log import Window
from tests.builders import NOON, deposit, opening, withdraw
from tests.conftest import Database
from tests.engine import Engine, running_engine

T = TypeVar("T")

TOLERANCE: Final = timedelta(seconds=30)
SETTLEMENT: Final = "@settlement:USD"


class Clock:
    """What the worker's clock says."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def engine(database: Database, clock: Clock) -> Iterator[Engine]:
    """An engine with that clock."""
    with running_engine(database, now=clock) as engine:
        yield engine


def ask(engine: Engine, question: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    """Ask as the API does."""

    async def asking() -> T:
        async with (
            pools.async_pool(engine.database.app_url, application_name="florin test", size=1) as pool,
            pool.connection() as conn,
        ):
            return await question(conn)

    return asyncio.run(asking())


def at(seconds: int) -> datetime:
    """So long after noon."""
    return NOON + timedelta(seconds=seconds)


def deposits_at(engine: Engine, clock: Clock, *seconds: int) -> None:
    """A deposit of 1, 2, 4 and so on, each when the clock says so."""
    for n, second in enumerate(seconds):
        clock.now = at(second)
        engine.settle(deposit("alice", 2**n))


def versions_before(engine: Engine, instant: datetime) -> int:
    """How far alice had come."""

    async def question(conn: AsyncConnection[Any]) -> int:
        alice = await reading_statements.find_account(conn, "alice")
        assert alice is not None
        return (
            await reading_statements.first_since(conn, alice.id, instant, last=alice.version, tolerance=TOLERANCE) - 1
        )

    return ask(engine, question)


def bank_before(engine: Engine, instant: datetime | None, *, look_ahead: int = 1_000) -> int | None:
    """What the bank's side had."""

    async def question(conn: AsyncConnection[Any]) -> int | None:
        account = await reading_statements.find_account(conn, SETTLEMENT)
        assert account is not None
        below = await reading_log.ceiling(conn)
        around = await reading_log.window(conn, below, instant, instant, tolerance=TOLERANCE)
        if instant is None:
            around = Window(below, below)
        return await reading_log.system_balance(conn, account.id, around, below, instant, look_ahead=look_ahead)

    return ask(engine, question)


def roll_forward(engine: Engine, outcomes: int) -> None:
    """Bring the checkpoint forward by so many outcomes."""
    with pools.connect(engine.database.app_url, "test") as conn:
        system_accounts.roll_forward(conn, now=NOON, outcomes=outcomes)


def test_an_accounts_order_is_that_of_its_versions_whatever_the_clocks_say(engine: Engine, clock: Clock) -> None:
    """A worker's clock was behind: what came later counts as later, so that no balance of the past ever jumps back."""
    clock.now = at(-60)
    engine.settle(opening("alice"))
    deposits_at(engine, clock, 0, 10, 5, 12, 40)

    reached = [versions_before(engine, at(seconds)) for seconds in (0, 1, 6, 10, 11, 12, 13, 40, 41)]
    assert reached == [0, 1, 1, 1, 3, 3, 4, 4, 5]


def test_an_instant_is_found_among_many(engine: Engine, clock: Clock) -> None:
    """Wherever it lies: bisected, and then looked at one by one. By versions for alice, by dates for the bank."""
    clock.now = at(-60)
    engine.settle(opening("alice"))
    dates = [n * 7 - (n % 3) * 9 for n in range(40)]
    for date in dates:
        clock.now = at(date)
        engine.settle(deposit("alice", 1))
    for rolled in (False, True):
        if rolled:
            roll_forward(engine, 1_000)
        for seconds in range(-20, 290, 17):
            expected = next((n for n, date in enumerate(dates) if date >= seconds), len(dates))

            assert versions_before(engine, at(seconds)) == expected
            assert bank_before(engine, at(seconds)) == -sum(date < seconds for date in dates)


@pytest.mark.parametrize("rolled", [0, 2, 4, 1_000])
def test_the_banks_balance_of_the_past_is_the_same_from_any_checkpoint(
    engine: Engine, clock: Clock, rolled: int
) -> None:
    """What is dated before the instant is counted once: found by adding to the checkpoint, or by taking off it."""
    engine.settle(opening("alice"))
    deposits_at(engine, clock, 0, 10, 5, 12, 400, 1_000)
    if rolled:
        roll_forward(engine, rolled)

    balances = [bank_before(engine, at(seconds)) for seconds in (0, 1, 6, 11, 12, 13, 401, 5_000)]
    assert balances == [0, -1, -5, -7, -7, -15, -31, -63]
    assert bank_before(engine, None) == -63


def test_the_banks_balance_is_not_sought_for_ever(engine: Engine, clock: Clock) -> None:
    """Too far from the checkpoint there is no answer, rather than a slow one or a wrong one."""
    engine.settle(opening("alice"))
    deposits_at(engine, clock, *range(0, 1_000, 100))
    roll_forward(engine, 1_000)

    assert bank_before(engine, at(0), look_ahead=5) is None
    assert bank_before(engine, at(900), look_ahead=5) == -511


def test_a_checkpoint_that_passes_a_page_takes_nothing_along(engine: Engine, clock: Clock) -> None:
    """Between the question how far the log is complete and the sum up to there, the scheduler may roll forward."""
    engine.settle(opening("alice"), deposit("alice", 1))

    async def question(conn: AsyncConnection[Any]) -> int | None:
        account = await reading_statements.find_account(conn, SETTLEMENT)
        assert account is not None
        below = await reading_log.watermark(conn)
        await asyncio.to_thread(engine.settle, deposit("alice", 2), withdraw("alice", 1))
        await asyncio.to_thread(roll_forward, engine, 1_000)
        around = Window(below, below)
        return await reading_log.system_balance(conn, account.id, around, below, None, look_ahead=100)

    assert ask(engine, question) == -1


def test_a_dump_that_was_restored_is_read_as_well(engine: Engine, clock: Clock) -> None:
    """Its outcomes have no transactions of this cluster, so their dates have no order: the first was decided late."""
    engine.settle(opening("alice"))
    deposits_at(engine, clock, 0, 100, 200)
    engine.rows("ALTER TABLE transfer DROP CONSTRAINT transfer_of_its_outcome")
    engine.rows("UPDATE outcome SET xid = '1'")
    engine.rows("UPDATE outcome SET decided_at = %s WHERE position = 1", [at(250)])
    engine.rows("DELETE FROM system_checkpoint")
    deposits_at(engine, clock, 300, 400)

    assert [bank_before(engine, at(seconds)) for seconds in (0, 101, 201, 301, 500)] == [0, -3, -7, -8, -10]
