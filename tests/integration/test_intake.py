"""What was answered with a receipt is in Postgres, once, in order of arrival; and what was not can be sent again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import AsyncMock, Mock

import psycopg
import pytest

from cli.servers import LocalServers
from processor import clock, pools
from processor.account_keys import account_key
from processor.errors import Overloaded, Unavailable
from processor.intake import Accepted, Intake, Pool
from processor.store import commands
from processor.submissions import Answer, CommandBody, KeyConflict, Receipt, Submission, Unstorable
from tests.builders import deposit, opening, submit, transfer, withdraw
from tests.conftest import Database
from tests.eventually import eventually

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def an_intake(
    database: Database, announce: Callable[[Sequence[Accepted]], None] = lambda accepted: None, **options: int
) -> AsyncIterator[Intake]:
    """One of an API process's own, with its own connections."""
    async with a_pool(database) as pool:
        intake = Intake(pool, announce=announce, now=clock.now, **options)
        async with running(intake):
            yield intake


@asynccontextmanager
async def a_pool(database: Database) -> AsyncIterator[Pool]:
    """Connections of one process."""
    async with pools.async_pool(database.app_url, application_name="test intake", size=2) as pool:
        yield pool


@asynccontextmanager
async def running(intake: Intake) -> AsyncIterator[None]:
    """The intake at work."""
    task = asyncio.create_task(intake.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def rows(database: Database, query: Any, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What anybody else sees who asks the database now."""
    with psycopg.connect(database.owner_url, autocommit=True) as conn:
        cursor = conn.execute(query, params)
        return cursor.fetchall() if cursor.description else []


def stored(database: Database) -> list[tuple[int, str]]:
    """The accepted commands: positions and keys."""
    return rows(database, "SELECT position, idempotency_key FROM command ORDER BY position")


def positions(answers: Sequence[Answer]) -> list[int]:
    """Of the receipts among the answers."""
    return [answer.position for answer in answers if isinstance(answer, Receipt)]


# Receipts.


async def test_a_receipt_is_durable_and_positions_follow_arrival(clients: Database) -> None:
    """When the answer comes, the row is there for everybody; a thousand lines of one request stay in their order."""
    sent = [submit(deposit("alice", 1 + number)) for number in range(250)]
    async with an_intake(clients, group_size=100) as intake:
        answers = await intake.accept(sent)
        there = stored(clients)

    assert there == [(position, each.idempotency_key) for position, each in zip(positions(answers), sent, strict=True)]
    assert positions(answers) == sorted(positions(answers))
    assert [answer.id for answer in answers if isinstance(answer, Receipt)] == [each.id for each in sent]


async def test_a_command_waits_in_the_lines_of_its_accounts(clients: Database) -> None:
    """The lines are written with the command, or not at all: nothing accepted is without its place."""
    async with an_intake(clients) as intake:
        first, second = positions(
            await intake.accept([submit(deposit("alice", 1)), submit(transfer("alice", "bob", 1))])
        )

    assert set(rows(clients, "SELECT position, account_key FROM pending")) == {
        (first, account_key("alice")),
        (second, account_key("alice")),
        (second, account_key("bob")),
    }


async def test_what_was_sent_is_what_is_stored(clients: Database) -> None:
    """Every field, and characters of every kind."""
    body = CommandBody(
        type="transfer",
        currency="KWD",
        from_account="alice",
        to_account="bob",
        amount_minor=2**53 - 1,
        reference="Zahlung №1 “für” 猫\n\t\\x00 %s 'quoted'",
        metadata={"é": "e\u0301", "": "", 'a"b': "\U0001f4b8"},
    )
    async with an_intake(clients) as intake:
        await intake.accept([submit(body)])
    ((*fields, metadata),) = rows(
        clients, "SELECT type, currency, from_account, to_account, amount_minor, reference, metadata FROM command"
    )

    assert fields == ["transfer", "KWD", "alice", "bob", 2**53 - 1, body.reference]
    assert metadata == body.metadata


async def test_commands_are_announced_once_they_can_be_seen_and_in_order(clients: Database) -> None:
    """A worker that takes the message at once must find them, and all of their accounts are named."""
    announced: list[Accepted] = []
    visible: list[bool] = []

    def announce(accepted: Sequence[Accepted]) -> None:
        announced.extend(accepted)
        visible.append({each.position for each in accepted} <= {position for position, _ in stored(clients)})

    bodies = [opening("alice"), deposit("alice", 1), transfer("alice", "bob", 1)]
    async with an_intake(clients, announce) as intake:
        answers = await intake.accept([submit(body) for body in bodies])

    assert all(visible)
    assert [each.position for each in announced] == positions(answers)
    assert [each.account_keys for each in announced] == [body.account_keys() for body in bodies]


async def test_an_announcement_that_fails_costs_nobody_the_receipt(clients: Database) -> None:
    """The commands are durable, and the sweeper finds them: an error would say the opposite."""

    def announce(accepted: Sequence[Accepted]) -> None:
        raise ConnectionError("Redis is away")

    async with an_intake(clients, announce) as intake:
        answers = await intake.accept([submit(deposit("alice", 1))])

    assert positions(answers) == [position for position, _ in stored(clients)]


async def test_whoever_goes_away_takes_nobody_along(clients: Database) -> None:
    """A client that hangs up is one of many in its group; its own command may be accepted or not."""
    async with an_intake(clients) as intake:
        requests = [asyncio.create_task(intake.accept([submit(deposit("alice", 1))])) for _ in range(20)]
        await asyncio.sleep(0)
        requests[7].cancel()
        answers = await asyncio.gather(*requests, return_exceptions=True)

    assert isinstance(answers.pop(7), asyncio.CancelledError)
    assert all(isinstance(answer, list) and positions(answer) for answer in answers)


async def test_everybody_is_answered_when_the_intake_stops(clients: Database) -> None:
    """A process that ends in the middle of a large request says 'unknown, send again': not half a list, nor nothing."""
    sent = [submit(deposit("alice", 1)) for _ in range(30)]
    async with a_pool(clients) as pool:
        intake = Intake(pool, announce=lambda accepted: stop.set(), now=clock.now, group_size=10)
        stop = asyncio.Event()
        async with running(intake):
            request = asyncio.create_task(intake.accept(sent))
            await stop.wait()
        done, _ = await asyncio.wait([request], timeout=5)
        request.cancel()

    assert done, "the request waits for an intake that is gone"
    assert isinstance(request.exception(), Unavailable)


# The same key again.


async def test_a_key_that_comes_twice_in_a_group_is_one_command(clients: Database) -> None:
    """A client that lost patience sends again while the first is still under way: both get the same receipt."""
    body = deposit("alice", 5)
    async with an_intake(clients) as intake:
        first, second, third = await intake.accept([submit(body, key="k") for _ in range(3)])

    assert isinstance(first, Receipt)
    assert not first.replayed
    assert second == third == Receipt(first.id, first.position, first.accepted_at, replayed=True)
    assert len(stored(clients)) == 1


async def test_a_key_that_comes_again_later_gets_the_first_receipt(clients: Database) -> None:
    """From the same process, or from one that was started later."""
    body = deposit("alice", 5)
    async with an_intake(clients) as intake:
        (first,) = await intake.accept([submit(body, key="k")])
        (again,) = await intake.accept([submit(body, key="k")])
    async with an_intake(clients) as intake:
        (later,) = await intake.accept([submit(body, key="k")])

    assert isinstance(first, Receipt)
    assert again == later == Receipt(first.id, first.position, first.accepted_at, replayed=True)


@pytest.mark.parametrize("group_size", [1, 7])
async def test_keys_that_race_through_two_processes_are_one_command_each(clients: Database, group_size: int) -> None:
    """Two API processes, many requests at once, each key in both: whoever is first, all get the same receipt."""
    keys = [f"k{number}" for number in range(25)]
    async with (
        an_intake(clients, group_size=group_size) as one,
        an_intake(clients, group_size=group_size) as other,
    ):
        requests = [
            intake.accept([submit(deposit("alice", 5), key=key)]) for key in keys for intake in (one, other, one)
        ]
        answers = [answer for (answer,) in await asyncio.gather(*requests)]

    receipts = [answer for answer in answers if isinstance(answer, Receipt)]
    assert len(receipts) == len(answers)
    assert len(stored(clients)) == len({(each.id, each.position, each.accepted_at) for each in receipts}) == len(keys)
    assert sum(not each.replayed for each in receipts) == len(keys)


async def test_another_request_under_the_same_key_is_told_what_differs(clients: Database) -> None:
    """In the group of the first and in a later one; the second is not accepted, and the first stays as it was."""
    async with an_intake(clients) as intake:
        first, conflict = await intake.accept(
            [submit(deposit("alice", 5), key="k"), submit(deposit("bob", 6), key="k")]
        )
        (later,) = await intake.accept([submit(transfer("alice", "bob", 5), key="k")])
        (same,) = await intake.accept([submit(deposit("alice", 5), key="k")])

    assert conflict == KeyConflict(["account", "amount"])
    assert later == KeyConflict(["type", "account", "from_account", "to_account"])
    assert isinstance(first, Receipt)
    assert isinstance(same, Receipt)
    assert (same.position, same.replayed) == (first.position, True)
    assert [position for position, _ in stored(clients)] == [first.position]


async def test_another_clients_key_is_another_key(clients: Database) -> None:
    """Both number their payments from one; neither ever sees what the other sent."""
    async with an_intake(clients) as intake:
        answers = await intake.accept(
            [submit(deposit("alice", 5), key="1", client_id=1), submit(deposit("bob", 6), key="1", client_id=2)]
        )
        again = await intake.accept(
            [submit(deposit("alice", 5), key="1", client_id=1), submit(deposit("bob", 6), key="1", client_id=2)]
        )

    assert len(set(positions(answers))) == 2
    assert positions(again) == positions(answers)
    assert [answer.replayed for answer in (*answers, *again) if isinstance(answer, Receipt)] == [False] * 2 + [True] * 2


BODIES = [
    opening("alice", "JPY"),
    opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500),
    deposit("alice", 2**53 - 1),
    withdraw("alice", 1, "KWD"),
    transfer("alice", "bob", 1),
    deposit("alice", 1, reference=""),
    deposit("alice", 1, reference="e\u0301 \u00e9 \u2028 \U0001f4b8 \\u0041"),
    CommandBody(type="deposit", currency="USD", account="alice", amount_minor=1, metadata={}),
    CommandBody(type="deposit", currency="USD", account="alice", amount_minor=1, metadata={"b": "1", "aa": "2"}),
    CommandBody(type="deposit", currency="USD", account="alice", amount_minor=1, metadata={"": "\u2028\x7f\x01"}),
]


async def test_a_request_is_still_itself_after_a_trip_through_postgres(clients: Database) -> None:
    """A field that came back otherwise would turn every honest repetition into a conflict."""
    keyed = {f"k{number}": body for number, body in enumerate(BODIES)}
    async with an_intake(clients) as intake:
        await intake.accept([submit(body, key=key) for key, body in keyed.items()])
        again = await intake.accept([submit(body, key=key) for key, body in keyed.items()])

    assert all(isinstance(answer, Receipt) and answer.replayed for answer in again)


# What cannot be stored.


def unstorable(**changes: Any) -> Submission:
    """A submission that validation should not have let through."""
    good = {"type": "deposit", "currency": "USD", "account": "alice", "amount_minor": 1}
    key, client_id = changes.pop("key", None), changes.pop("client_id", 1)
    return submit(CommandBody(**{**good, **changes}), key=key, client_id=client_id)


UNSTORABLE = {
    "NUL in a text": unstorable(reference="a\x00b"),
    "NUL in metadata": unstorable(metadata={"a": "\x00"}),
    "half a character in metadata": unstorable(metadata={"a": "\ud800"}),
    "a long reference": unstorable(reference="x" * 256),
    "a long key": unstorable(key="x" * 256),
    "an unknown client": unstorable(client_id=99),
    "an unknown type": unstorable(type="levitate"),
    "no currency": unstorable(currency="dollars"),
    "nothing": unstorable(amount_minor=0),
    "more than bigint holds": unstorable(amount_minor=2**63),
    "more than the machine's numbers hold": unstorable(amount_minor=2**64),
    "no amount": unstorable(amount_minor=None),
    "no account": unstorable(account=None),
}


async def test_rows_that_cannot_be_stored_cost_their_neighbours_nothing(clients: Database) -> None:
    """One strange character in one request, and a thousand others would be turned away with it."""
    good = [submit(deposit("alice", 1 + number)) for number in range(len(UNSTORABLE))]
    async with an_intake(clients) as intake:
        answers = await intake.accept([each for pair in zip(good, UNSTORABLE.values(), strict=True) for each in pair])

    assert dict(zip(UNSTORABLE, map(type, answers[1::2]), strict=True)) == dict.fromkeys(UNSTORABLE, Unstorable)
    assert [key for _, key in stored(clients)] == [each.idempotency_key for each in good]
    assert positions(answers[::2]) == [position for position, _ in stored(clients)]
    assert len(rows(clients, "SELECT position FROM pending")) == len(good)


async def test_a_text_that_is_no_unicode_costs_its_neighbours_nothing(clients: Database) -> None:
    """Half of a surrogate pair is found before Postgres sees it, by Python, with an error of another kind."""
    async with an_intake(clients) as intake:
        bad, good = await intake.accept([unstorable(reference="\ud800"), submit(deposit("alice", 1))])

    assert isinstance(bad, Unstorable)
    assert isinstance(good, Receipt)


async def test_what_could_not_be_stored_leaves_its_key_free(clients: Database) -> None:
    """The client mends the request and sends it under the same key, even in the same breath."""
    async with an_intake(clients) as intake:
        bad, good = await intake.accept(
            [unstorable(key="k", reference="\x00"), submit(deposit("alice", 1, reference="mended"), key="k")]
        )

    assert isinstance(bad, Unstorable)
    assert isinstance(good, Receipt)
    assert not good.replayed


# Postgres away, and too much of everything.


async def test_a_connection_that_dies_before_the_commit_accepts_nothing(
    clients: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole group is told; the same keys, sent again, are new."""
    sent = [submit(deposit("alice", 1)) for _ in range(5)]
    original, died = commands.accept, list[bool]()

    async def dying(conn: psycopg.AsyncConnection, *args: Any, **kwargs: Any) -> Any:
        if not died:
            died.append(True)
            rows(clients, "SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])
        return await original(conn, *args, **kwargs)

    monkeypatch.setattr(commands, "accept", dying)
    async with an_intake(clients) as intake:
        with pytest.raises(Unavailable):
            await intake.accept(sent)
        left_behind = stored(clients), rows(clients, "SELECT position FROM pending")
        answers = await intake.accept(sent)

    assert left_behind == ([], [])
    assert all(isinstance(answer, Receipt) and not answer.replayed for answer in answers)


async def test_a_connection_that_dies_after_the_commit_is_found_out_by_the_same_keys(
    clients: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what became of them until they are sent again: then each gets its first receipt."""
    sent = [submit(deposit("alice", 1)) for _ in range(5)]
    original = commands.accept

    async def dying(conn: psycopg.AsyncConnection, *args: Any, **kwargs: Any) -> Any:
        await original(conn, *args, **kwargs)
        return Mock(fetchall=AsyncMock(side_effect=psycopg.OperationalError("the connection is lost")))

    async with an_intake(clients) as intake:
        with monkeypatch.context() as patch:
            patch.setattr(commands, "accept", dying)
            with pytest.raises(Unavailable):
                await intake.accept(sent)
        accepted = stored(clients)
        answers = await intake.accept([submit(each.body, key=each.idempotency_key) for each in sent])

    assert len(accepted) == 5
    assert stored(clients) == accepted
    assert all(isinstance(answer, Receipt) and answer.replayed for answer in answers)


async def test_while_postgres_is_away_nothing_is_accepted_and_afterwards_all_is(
    clients: Database, servers: LocalServers
) -> None:
    """The plug is pulled and put in again: what had a receipt is there, and the process needs no restart."""
    async with a_pool(clients) as pool:
        pool.timeout = 0.3
        intake = Intake(pool, announce=lambda accepted: None, now=clock.now)
        async with running(intake):
            (before,) = await intake.accept([submit(deposit("alice", 1))])
            servers.postgres.kill()
            try:
                with pytest.raises(Unavailable):
                    await intake.accept([submit(deposit("alice", 2), key="k")])
            finally:
                servers.postgres.start()
            pool.timeout = 30
            there = stored(clients)
            (after,) = await intake.accept([submit(deposit("alice", 2), key="k")])

    assert isinstance(before, Receipt)
    assert isinstance(after, Receipt)
    assert [position for position, _ in there] == [before.position]
    assert not after.replayed


async def test_a_failure_in_the_middle_of_a_request_stops_what_is_behind_it(
    clients: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted, the later lines would have overtaken those that the client is about to send again."""
    sent = [submit(deposit("alice", 1)) for _ in range(30)]
    original, calls = commands.accept, list[int]()

    async def failing_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise psycopg.OperationalError("away for an instant")
        return await original(*args, **kwargs)

    monkeypatch.setattr(commands, "accept", failing_once)
    async with an_intake(clients, group_size=10) as intake:
        with pytest.raises(Unavailable):
            await intake.accept(sent)
        first_part = stored(clients)
        answers = await intake.accept(sent)

    assert [key for _, key in first_part] == [each.idempotency_key for each in sent[:10]]
    assert positions(answers) == sorted(positions(answers))
    assert [answer.replayed for answer in answers if isinstance(answer, Receipt)] == [True] * 10 + [False] * 20


async def test_more_than_one_process_can_hold_is_turned_away_whole(clients: Database) -> None:
    """Before anything of it was accepted, with a time to come back; the next request is served again."""
    async with an_intake(clients, max_waiting=10) as intake:
        with pytest.raises(Overloaded) as error:
            await intake.accept([submit(deposit("alice", 1)) for _ in range(11)])
        nothing = stored(clients)
        await intake.accept([submit(deposit("alice", 1)) for _ in range(10)])

    assert error.value.retry_after_s > 0
    assert nothing == []
    assert len(stored(clients)) == 10


async def test_a_backlog_above_its_limit_closes_the_door_until_it_is_below(clients: Database) -> None:
    """Workers that are slower than the clients: a receipt would be a promise for tomorrow."""
    async with an_intake(clients, max_backlog=3) as intake:
        watching = asyncio.create_task(intake.watch_backlog(0.01))
        await intake.accept([submit(deposit("alice", 1)) for _ in range(3)])
        with pytest.raises(Overloaded):
            await until_it_raises(intake)
        closed = len(stored(clients))
        rows(clients, "DELETE FROM pending")
        await until_it_accepts(intake)
        watching.cancel()

    assert closed < 3 + 2_000
    assert len(stored(clients)) == closed + 1


async def until_it_raises(intake: Intake) -> None:
    """Send until the intake has seen its backlog."""
    for _ in range(2_000):
        await intake.accept([submit(deposit("alice", 1))])


async def until_it_accepts(intake: Intake) -> None:
    """Ask again until the intake has seen that its backlog is gone."""
    for _ in range(2_000):
        with suppress(Overloaded):
            await intake.accept([submit(deposit("alice", 1))])
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the door stays closed")


# Order between processes.


async def test_positions_become_visible_in_their_order(clients: Database) -> None:
    """A reader that asks for what is above the last one it saw misses nothing, though two processes write at once."""
    rows(
        clients,
        """
        CREATE FUNCTION slow_down() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.account_key = TG_ARGV[0]::bigint THEN PERFORM pg_sleep(0.3); END IF;
            RETURN NULL;
        END
        $$
        """,
    )
    rows(
        clients,
        "CREATE TRIGGER slow_down AFTER INSERT ON pending FOR EACH ROW EXECUTE FUNCTION"
        f" slow_down({account_key('slow')})",
    )
    async with an_intake(clients) as one, an_intake(clients) as other:
        slow = asyncio.create_task(one.accept([submit(deposit("slow", 1))]))
        await asyncio.to_thread(eventually, lambda: rows(clients, SLEEPING))
        quick = positions(await other.accept([submit(deposit("quick", 1))]))
        seen = [position for position, _ in stored(clients)]
        drawn_first = positions(await slow)

    assert drawn_first < quick
    assert seen == [*drawn_first, *quick]


SLEEPING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def test_a_reader_that_pages_by_position_misses_no_row(clients: Database) -> None:
    """The same with two busy processes and a busy reader: events, proofs and the client's own list page like that."""
    seen: list[int] = []
    done = asyncio.Event()

    async def read() -> None:
        async with await psycopg.AsyncConnection.connect(clients.owner_url, autocommit=True) as conn:
            finished = False
            while not finished:
                finished = done.is_set()
                last = seen[-1] if seen else 0
                cursor = await conn.execute(
                    "SELECT position FROM command WHERE position > %s ORDER BY position", [last]
                )
                seen.extend([position async for (position,) in cursor])

    async with an_intake(clients, group_size=3) as one, an_intake(clients, group_size=3) as other:
        reader = asyncio.create_task(read())
        requests = [
            intake.accept([submit(deposit("alice", 1)) for _ in range(5)]) for _ in range(30) for intake in (one, other)
        ]
        await asyncio.gather(*requests)
        done.set()
        await reader

    assert len(seen) == 300
    assert seen == [position for position, _ in stored(clients)]
