"""An account in quarantine: its commands are held, everybody else's go on, and nothing is lost on the way back."""

import asyncio
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from random import Random
from threading import Condition, Event
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import sql

from processor import clock, pools, quarantine
from processor.account_keys import account_key
from processor.alerts import report
from processor.breaks import Break
from processor.quarantine import Answer, Released
from processor.store import books as books_store
from processor.store import quarantine as quarantine_store
from processor.submissions import FIELDS, CommandBody
from processor.sweep import Sweeper
from tests.builders import advance, deposit, opening, transfer, withdraw
from tests.engine import Engine
from tests.eventually import eventually
from tests.oracle import Bank
from workers.messages import batches

REPLAYED = sql.SQL("""
    SELECT
        position, decided_at,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id) AS advance,
        {}
    FROM command JOIN outcome USING (position) ORDER BY outcome.xid, position
""").format(sql.SQL(", ").join(sql.Identifier("command", field) for field in FIELDS))


def suspect(engine: Engine, *accounts: str) -> None:
    """A proof doubts the books of just these accounts."""
    breaks = [
        Break("chain", f"account:{name}", expected="5", found="6", advice="Look.", account=name) for name in accounts
    ]
    with engine.pool.connection() as conn:
        report(conn, "chain", breaks, now=clock.now(), quarantine=True)


def release(engine: Engine, account: str, *, by: str = "operator", **how: Any) -> Released:
    """As the API does it, in another connection."""

    async def ask() -> Released:
        info = pools.conninfo(engine.database.app_url, "florin test")
        async with await psycopg.AsyncConnection.connect(info, autocommit=True) as conn:
            return await quarantine.release(conn, account, by=by, now=clock.now(), **how)

    return asyncio.run(ask())


def let_go(engine: Engine, account: str, **how: Any) -> None:
    """Release it, whatever alert is open."""
    assert release(engine, account, force=True, reason="looked at", **how).answer is Answer.RELEASED


def held(engine: Engine) -> list[int]:
    """The commands that are held."""
    return [position for (position,) in engine.rows("SELECT DISTINCT position FROM held ORDER BY 1")]


def sweep(engine: Engine) -> None:
    """What was put back in line has no message: the sweeper sends one."""
    engine.queue += batches(engine.in_line(engine.pending()))


def assert_as_in_the_log(engine: Engine) -> None:
    """The outcomes and the books are those of one person who did everything in the order of the outcome log."""
    bank = Bank(partial_collection=engine.rules.partial_collection, max_live_advances=engine.rules.max_live_advances)
    expected = {}
    for position, decided_at, granted, *fields in engine.rows(REPLAYED):
        body = CommandBody(**dict(zip(FIELDS, fields, strict=True)))
        today: date = engine.rules.business_date(decided_at)
        expected[position] = bank.take(body, today=today, position=position, advance=granted)

    assert engine.outcomes() == expected
    assert len(expected) == engine.rows("SELECT count(*) FROM command")[0][0]
    assert engine.balances() == {name: bank.balance(name) for name in bank.accounts}
    assert engine.own_accounts() == {name: minor for name, minor in bank.own.items() if minor}
    assert engine.schedules() == bank.schedules()
    engine.assert_every_account_is_a_chain()


def overtaken(engine: Engine, *, except_for: Collection[int]) -> list[int]:
    """Those that were decided after a later command of one of their accounts."""
    wrong, last = [], Counter[str]()
    for position, *accounts in engine.rows("""
        SELECT position, account, from_account, to_account FROM command JOIN outcome USING (position)
        ORDER BY outcome.xid, position
    """):
        if position in except_for:
            continue
        names = [name for name in accounts if name]
        wrong += [position for name in names if last[name] > position]
        last |= Counter(dict.fromkeys(names, position))
    return wrong


def test_a_quarantine_holds_the_commands_of_its_own_account_only(engine: Engine) -> None:
    """One account's books are in doubt: nobody else waits, not even for a transfer that the account is part of."""
    engine.settle(opening("alice"), opening("bob"), opening("carol"), deposit("bob", 100))
    suspect(engine, "alice")
    waiting = engine.accept(deposit("alice", 5), transfer("bob", "alice", 10))
    going_on = engine.accept(transfer("bob", "carol", 60), withdraw("bob", 40))
    applied = engine.drain()

    assert held(engine) == waiting
    assert engine.pending() == []
    assert [status for status, _ in map(engine.outcomes().__getitem__, going_on)] == ["applied", "applied"]
    assert engine.balances() == {"alice": 0, "bob": 0, "carol": 60}
    assert not any(each.left for each in applied)


def test_released_commands_are_decided_in_their_order(engine: Engine) -> None:
    """The withdrawal was accepted after the deposit, whichever of them was held for longer, or came while it was."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    engine.settle(deposit("alice", 50))
    first = engine.accept(withdraw("alice", 50))
    engine.drain()
    engine.accept(deposit("alice", 7))
    let_go(engine, "alice")
    assert held(engine) == []
    sweep(engine)
    engine.drain(order=Random(3))

    assert engine.outcomes()[first[0]] == ("applied", None)
    engine.assert_as_one_by_one()


def test_the_sweeper_sees_held_commands_only_once_they_are_released(engine: Engine) -> None:
    """Sent again and again, a held command would cost a batch each time; and after its release nobody else sends it."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    (position,) = engine.settle(deposit("alice", 50))
    queue = Mock(is_empty=lambda: True)
    later = Sweeper(
        engine.pool, queue, now=lambda: clock.now() + timedelta(hours=1), stranded_after=timedelta(seconds=3)
    )
    while_held = later.sweep()
    let_go(engine, "alice")

    assert while_held == 0
    assert later.sweep() == 1
    assert [each.position for each in queue.send.call_args.args[0]] == [position]


def test_an_instalment_of_the_account_is_held_and_not_sent_twice(engine: Engine) -> None:
    """The scheduler knows nothing of quarantines: its command waits like any other, and its key is taken."""
    engine.settle(opening("alice"), advance("alice", 1_200, instalments=1, first_due_on=clock.now().date()))
    suspect(engine, "alice")
    collected = engine.collect()
    engine.drain()

    assert (collected, engine.collect(), len(held(engine))) == (1, 0, 1)
    let_go(engine, "alice")
    sweep(engine)
    engine.drain()
    assert [state for *_, state in next(iter(engine.schedules().values()))] == ["paid"]
    engine.assert_as_one_by_one()


def test_a_command_is_held_for_each_of_its_accounts(engine: Engine) -> None:
    """Released for one of them, it waits for the other."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 9))
    suspect(engine, "alice", "bob")
    positions = engine.settle(transfer("alice", "bob", 9))
    let_go(engine, "alice")
    sweep(engine)
    engine.drain()
    still = held(engine)
    let_go(engine, "bob")
    sweep(engine)
    engine.drain()

    assert still == positions
    assert engine.balances() == {"alice": 0, "bob": 9}


def test_a_message_that_comes_again_does_not_wake_what_is_held(engine: Engine) -> None:
    """Dramatiq repeats messages: a held command stays held, once."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    positions = engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    engine.drain()

    assert list(engine.handle(message).settled) == positions
    assert held(engine) == positions
    assert positions[0] not in engine.outcomes()


def test_who_breaks_a_batch_is_found_among_those_that_are_held(engine: Engine) -> None:
    """A quarantine in the middle of an isolation: the one becomes a dead letter, the held one stays held."""
    engine.settle(opening("alice"), opening("bob"))
    suspect(engine, "alice")
    waiting, broken, good = engine.accept(deposit("alice", 1), deposit("bob", 2), deposit("bob", 3))
    engine.rows("ALTER TABLE command DISABLE TRIGGER ALL")
    engine.rows("ALTER TABLE command DROP CONSTRAINT command_shape")
    engine.rows("UPDATE command SET amount_minor = NULL WHERE position = %s", [broken])
    engine.drain()

    assert held(engine) == [waiting]
    assert engine.outcomes()[broken] == ("failed", "internal_error")
    assert engine.outcomes()[good] == ("applied", None)


def test_the_account_of_a_break_is_quarantined_once_however_many_proofs_doubt_it(engine: Engine) -> None:
    """The second break is another alert; the account waits for one release."""
    suspect(engine, "alice")
    with engine.pool.connection() as conn:
        other = Break("totals", "account:alice", expected="1", found="2", advice="Look.", account="alice")
        report(conn, "totals", [other], now=clock.now(), quarantine=True)

    assert engine.rows("SELECT account, account_key FROM quarantine") == [("alice", account_key("alice"))]
    assert engine.rows("SELECT count(*) FROM alert") == [(2,)]


def test_neither_the_setting_nor_the_banks_own_account_quarantines(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off is off; and every deposit touches @settlement, which no command names: to hold it would mean nothing."""
    monkeypatch.setenv("FLORIN_QUARANTINE", "false")
    with engine.pool.connection() as conn:
        one = Break("chain", "account:alice", expected="1", found="2", advice="Look.", account="alice")
        report(conn, "chain", [one], now=clock.now())
        own = Break("sum", "account:@settlement:USD", expected="1", found="2", advice="!", account="@settlement:USD")
        report(conn, "sum", [own], now=clock.now(), quarantine=True)

    assert engine.rows("SELECT count(*) FROM quarantine") == [(0,)]
    assert engine.rows("SELECT count(*) FROM alert") == [(2,)]


def test_an_open_alert_is_in_the_way_of_a_release(engine: Engine) -> None:
    """To let an account go on whose books are still wrong takes somebody who says so."""
    suspect(engine, "alice")
    refused = release(engine, "alice")
    engine.rows("UPDATE alert SET state = 'acknowledged', acknowledged_at = now(), acknowledged_by = 'operator'")
    still = release(engine, "alice")
    suspect(engine)  # The proof passes again.
    released = release(engine, "alice", reason="it passes again")

    assert refused.answer is still.answer is Answer.ALERT_OPEN
    assert refused.alerts == (1,)
    assert released.answer is Answer.RELEASED
    assert released.quarantine is not None
    assert (released.quarantine.released_by, released.quarantine.release_reason) == ("operator", "it passes again")


def test_a_release_of_what_was_never_in_quarantine_is_none(engine: Engine) -> None:
    """A slip in the name must not look as if it had worked."""
    assert release(engine, "nobody").answer is Answer.UNKNOWN


def test_where_a_release_needs_two_admins_one_is_not_enough(engine: Engine) -> None:
    """However often the first one asks; and the second one's word does it."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    engine.settle(deposit("alice", 1))
    first = [release(engine, "alice", by="ann", force=True, needs_two=True).answer for _ in range(2)]
    in_between = held(engine)
    second = release(engine, "alice", by="ben", force=True, needs_two=True)

    assert first == [Answer.ASKED, Answer.ASKED]
    assert len(in_between) == 1
    assert second.answer is Answer.RELEASED
    assert held(engine) == []
    assert second.quarantine is not None
    assert (second.quarantine.asked_by, second.quarantine.released_by) == ("ann", "ben")


def test_an_admin_who_asked_first_releases_alone_once_two_are_not_needed(engine: Engine) -> None:
    """The setting may change in between; then nobody confirmed anything."""
    suspect(engine, "alice")
    release(engine, "alice", by="ann", force=True, needs_two=True)
    released = release(engine, "alice", by="ann", force=True)

    assert released.quarantine is not None
    assert (released.quarantine.asked_by, released.quarantine.released_by) == (None, "ann")


def test_two_releases_at_once_are_one(engine: Engine) -> None:
    """Two admins see the same page: the commands go back once, and both are told who did it."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    positions = engine.settle(*[deposit("alice", 1) for _ in range(20)])
    with ThreadPoolExecutor(4) as threads:
        admins = ("ann", "ben", "cleo", "dan")
        released = list(threads.map(lambda who: release(engine, "alice", by=who, force=True), admins))
    again = release(engine, "alice", by="eve")

    assert {each.answer for each in released} == {Answer.RELEASED}
    assert len({each.quarantine.released_by for each in [*released, again] if each.quarantine}) == 1
    assert engine.pending() == positions
    sweep(engine)
    engine.drain()
    engine.assert_as_one_by_one()


def test_a_release_waits_for_the_worker_that_holds_just_then(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw the quarantine and holds a command next: had the release not waited, it would stay held for ever."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    original, holding, go_on = books_store.hold, Event(), Event()

    def slow(*args: Any, **kwargs: Any) -> None:
        holding.set()
        go_on.wait(10)
        original(*args, **kwargs)

    monkeypatch.setattr(books_store, "hold", slow)
    with ThreadPoolExecutor(2) as threads:
        worker = threads.submit(engine.handle, message)
        assert holding.wait(10)
        releasing = threads.submit(let_go, engine, "alice")
        eventually(lambda: engine.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        go_on.set()
        worker.result()
        releasing.result()

    assert held(engine) == []
    assert engine.pending() == list(message.positions)


def test_a_worker_that_waited_for_a_release_sees_it(engine: Engine) -> None:
    """Read before the lock, the quarantine would be over, and the command held when nobody releases it any more."""
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    positions = engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    engine.rows("SELECT pg_advisory_lock(%s)", [account_key("alice")])
    with ThreadPoolExecutor(1) as threads:
        worker = threads.submit(engine.handle, message)
        eventually(lambda: engine.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        engine.rows("UPDATE quarantine SET released_at = now(), released_by = 'operator'")
        engine.rows("SELECT pg_advisory_unlock(%s)", [account_key("alice")])
        worker.result()

    assert held(engine) == []
    assert engine.outcomes()[positions[0]] == ("applied", None)


@pytest.mark.parametrize("moment", ["before the rows move", "after the rows moved"])
def test_a_worker_that_dies_while_it_holds_loses_nothing(
    engine: Engine, impatient: None, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The connection is gone with the transaction: the command is in line still, and the next attempt holds it."""
    engine.settle(opening("alice"), opening("bob"))
    suspect(engine, "alice")
    waiting, going_on = engine.accept(deposit("alice", 5), deposit("bob", 5))
    original, died = books_store.hold, list[bool]()

    def dying(conn: psycopg.Connection, *args: Any, **kwargs: Any) -> None:
        if moment == "after the rows moved":
            original(conn, *args, **kwargs)
        if not died:
            died.append(True)
            engine.rows("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
        if moment == "before the rows move":
            original(conn, *args, **kwargs)

    monkeypatch.setattr(books_store, "hold", dying)
    engine.drain()

    assert died
    assert held(engine) == [waiting]
    assert engine.outcomes()[going_on] == ("applied", None)
    assert engine.pending() == []


def test_an_admin_whose_connection_dies_has_released_the_lowest_or_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What is in line again is decided, and nothing overtakes what is not: neither old commands nor new ones.

    The next release goes on where this one broke off.
    """
    monkeypatch.setattr("processor.quarantine.SLICE", 2)
    engine.settle(opening("alice"))
    suspect(engine, "alice")
    positions = engine.settle(*[deposit("alice", 1) for _ in range(5)])
    original, slices = quarantine_store.put_back, []

    async def dying(conn: psycopg.AsyncConnection[Any], *args: Any, **kwargs: Any) -> bool:
        more = await original(conn, *args, **kwargs)
        slices.append(more)
        if len(slices) == 2:
            engine.rows("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
        return more

    with monkeypatch.context() as patch:
        patch.setattr(quarantine_store, "put_back", dying)
        with pytest.raises(psycopg.OperationalError):
            release(engine, "alice", force=True)
    in_line = engine.pending()
    engine.queue += batches(engine.in_line(in_line))
    later = engine.settle(deposit("alice", 1))

    assert in_line == positions[:2]
    assert held(engine) == [*positions[2:], *later]
    assert engine.rows("SELECT released_at FROM quarantine") == [(None,)]
    assert list(engine.outcomes())[-2:] == positions[:2]
    let_go(engine, "alice")
    assert engine.pending() == [*positions[2:], *later]


def test_what_is_in_line_and_held_at_once_stops_nobody(engine: Engine) -> None:
    """Somebody put its place back by hand. It is held, others of its batch go on, and its release works."""
    engine.settle(opening("alice"), opening("bob"), opening("carol"))
    suspect(engine, "alice")
    (waiting,) = engine.settle(deposit("alice", 1))
    engine.rows("INSERT INTO pending (position, account_key) SELECT position, account_key FROM held")
    later = engine.accept(deposit("alice", 2), deposit("bob", 3), deposit("carol", 4))
    engine.drain()
    engine.rows(
        "INSERT INTO pending (position, account_key) SELECT position, account_key FROM held WHERE position = %s",
        [waiting],
    )

    assert engine.outcomes()[later[1]] == engine.outcomes()[later[2]] == ("applied", None)
    assert held(engine) == [waiting, later[0]]
    let_go(engine, "alice")
    assert (held(engine), engine.pending()) == ([], [waiting, later[0]])


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_quarantined_and_released_every_command_is_decided_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """
    Threads apply, proofs doubt accounts and admins release them, all at once and in any order.

    In the end every command has one outcome, in order for each account but for those that were held; and the books are
    those of somebody who did everything in the order of the outcome log.
    """
    monkeypatch.setattr("processor.quarantine.SLICE", 3)
    random, names = Random(seed), ("alice", "bob", "carol", "dave", "erin")
    engine.rows("CREATE TABLE was_held (position bigint)")
    engine.rows("""
        CREATE FUNCTION note_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO was_held VALUES (NEW.position); RETURN NULL; END $$
    """)
    engine.rows("CREATE TRIGGER note_held AFTER INSERT ON held FOR EACH ROW EXECUTE FUNCTION note_held()")
    engine.settle(*[opening(name, overdraft_limit_minor=500, overdraft_fee_minor=10) for name in names])
    taking, over, doubted = Condition(), list[bool](), set[str]()

    def work(seed: int) -> None:
        """A worker takes any message: the queue is reordered at will, and some are repeated."""
        mine = Random(seed)
        while True:
            with taking:
                taking.wait_for(lambda: engine.queue or over)
                if not engine.queue:
                    return
                message = engine.queue.pop(mine.randrange(len(engine.queue)))
            left = engine.applier.apply(message.positions, message.account_keys).left
            with taking:
                engine.queue += [*batches(left), *([message] if mine.random() < 0.1 else [])]

    with ThreadPoolExecutor(3) as threads:
        workers = [threads.submit(work, seed * 10 + number) for number in range(3)]
        for _ in range(40):
            bodies = []
            for _ in range(random.randint(1, 6)):
                one, other = random.sample(names, 2)
                minor = random.choice((1, 60, 300))
                bodies.append(random.choice((deposit(one, minor), withdraw(one, minor), transfer(one, other, minor))))
            engine.accept(*bodies)
            with taking:
                taking.notify_all()
            match random.choice(("doubt", "doubt", "release", "nothing", "sweep")):
                case "doubt":
                    doubted.add(random.choice(names))
                    suspect(engine, *doubted)
                case "release" if doubted:
                    name = random.choice(sorted(doubted))
                    doubted.discard(name)
                    let_go(engine, name)
                    suspect(engine, *doubted)
                case "sweep":
                    with taking:
                        sweep(engine)
        with taking:
            over.append(True)
            taking.notify_all()
        for worker in workers:
            worker.result()
    for name in names:
        if release(engine, name, force=True).answer is Answer.RELEASED:
            assert release(engine, name).answer is Answer.RELEASED
    sweep(engine)
    engine.drain()
    once_held = {position for (position,) in engine.rows("SELECT position FROM was_held")}

    assert once_held
    assert (held(engine), engine.pending()) == ([], [])
    assert overtaken(engine, except_for=once_held) == []
    assert_as_in_the_log(engine)
