"""A command that cannot be applied is given up alone, and trouble that passes costs nothing."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import errors
from structlog.testing import capture_logs

from processor import apply as apply_module
from processor.domain.books import Books
from processor.domain.commands import Command
from processor.domain.decide import Decided, decide
from processor.errors import BooksError, TransientError
from processor.store import books as books_store
from tests.builders import deposit, opening, transfer, withdraw
from tests.engine import Engine, counted
from workers.messages import Batch, batches

pytestmark = pytest.mark.usefixtures("impatient")

SICK = 666
"""The amount that nothing can be done with."""


@pytest.fixture
def sick_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules raise when they meet the amount: a bug of ours."""

    def raising(books: Books, commands: Iterable[Command], **kwargs: Any) -> Decided:
        asked = list(commands)
        if any(getattr(command, "amount_minor", 0) == SICK for command in asked):
            raise RuntimeError("sick")
        return decide(books, asked, **kwargs)

    monkeypatch.setattr(apply_module, "decide", raising)


@pytest.fixture
def sick_in_postgres(engine: Engine) -> None:
    """Postgres cannot take the amount as data."""
    engine.rows(
        "CREATE FUNCTION be_well() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.amount_minor = 666 THEN"
        " RAISE EXCEPTION 'sick' USING ERRCODE = 'data_exception'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER well BEFORE INSERT ON transfer FOR EACH ROW EXECUTE FUNCTION be_well()"
    )


@pytest.fixture(params=["sick_in_python", "sick_in_postgres"])
def sick(request: pytest.FixtureRequest) -> str:
    """One way or the other."""
    request.getfixturevalue(request.param)
    return str(request.param)


def dead_letters(engine: Engine) -> dict[int, str]:
    """The errors of those that were given up, by position."""
    return dict(engine.rows("SELECT position, error FROM dead_letter ORDER BY position"))


# One command that cannot be applied.


@pytest.mark.parametrize("place", [0, 1, 7, 49])
def test_a_command_that_cannot_be_applied_fails_alone(engine: Engine, sick: str, place: int) -> None:
    """First, last or in between: its neighbours get their answers, and a person finds the error."""
    engine.settle(opening("alice"), opening("bob"))
    bodies = [deposit("bob", 1 + number) for number in range(50)]
    bodies[place] = deposit("alice", SICK)
    positions = engine.settle(*bodies)
    (error,) = dead_letters(engine).values()

    assert counted(engine.outcomes()) == {"applied": 51, "failed": 1}
    assert engine.outcomes()[positions[place]] == ("failed", "internal_error")
    assert "sick" in error
    engine.assert_as_one_by_one(failed=dead_letters(engine))


def test_its_account_goes_on_in_order(engine: Engine, sick: str) -> None:
    """Nothing was moved by it, and what comes after it is decided as if it had not been there."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.settle(withdraw("alice", 60), deposit("alice", SICK), withdraw("alice", 60), deposit("alice", 5))

    assert [status for status, _ in engine.outcomes().values()] == [*["applied"] * 3, "failed", "refused", "applied"]
    assert engine.balances() == {"alice": 45}
    engine.assert_as_one_by_one(failed=dead_letters(engine))


def test_a_failed_command_is_applied_by_no_later_message(engine: Engine, sick: str) -> None:
    """Its outcome is frozen like any other: whoever sends it again after the repair gets this answer."""
    engine.settle(opening("alice"))
    (position,) = engine.accept(deposit("alice", SICK))
    (message,) = engine.queue
    engine.drain()

    assert engine.handle(message).settled == [position]
    assert engine.balances() == {"alice": 0}
    assert len(dead_letters(engine)) == 1


@pytest.mark.parametrize("seed", range(2))
def test_several_of_them_fail_and_all_others_are_applied_in_order(engine: Engine, sick: str, seed: int) -> None:
    """Four workers share overlapping messages in any order; each sick command fails once, whoever meets it."""
    random = Random(seed)
    names = [f"house.{number}" for number in range(5)]
    bodies = [opening(name) for name in names] + [deposit(name, 500) for name in names]
    for _ in range(120):
        one, other = random.sample(names, 2)
        amount_minor = random.choice((SICK, 10, 50, 100, 200, 300))
        bodies.append(random.choice((deposit(one, amount_minor), transfer(one, other, min(amount_minor, 665)))))
    positions = engine.accept_apart(*bodies)
    singles = engine.queue
    engine.queue = [
        Batch([each.positions[0] for each in some], sorted({key for each in some for key in each.account_keys}))
        for some in (singles[first::8] + random.sample(singles, 5) for first in range(8))
    ]
    engine.drain(workers=4, order=random)
    sick_ones = [position for position, body in zip(positions, bodies, strict=True) if body.amount_minor == SICK]

    assert list(dead_letters(engine)) == sick_ones
    engine.assert_as_one_by_one(failed=dead_letters(engine))


@pytest.mark.parametrize("gap", [1, 2, 5, 8, 9, 10])
def test_two_workers_that_meet_the_same_sick_command_give_up_no_other(
    engine: Engine, sick_in_python: None, monkeypatch: pytest.MonkeyPatch, gap: int
) -> None:
    """While one narrows it down, the other has given it up: the next in line is healthy and must not fail for it."""
    engine.settle(opening("alice"))
    positions = engine.accept(deposit("alice", SICK), *[deposit("alice", 1)] * 5)
    (message,) = engine.queue
    original, looks = books_store.look, list[int]()

    def look(conn: Any, wanted: Any) -> bool:
        if threading.current_thread() is threading.main_thread():
            looks.append(1)
            if len(looks) == gap:
                with ThreadPoolExecutor(1) as other_worker:
                    other_worker.submit(engine.another_applier().apply, *both(message)).result()
        return original(conn, wanted)

    monkeypatch.setattr(books_store, "look", look)
    engine.handle(message)
    engine.drain()

    assert len(looks) >= gap
    assert list(dead_letters(engine)) == positions[:1]
    engine.assert_as_one_by_one(failed=dead_letters(engine))


def both(message: Batch) -> tuple[Sequence[int], Sequence[int]]:
    """What the actor gives to the applier."""
    return message.positions, message.account_keys


# Books that contradict themselves.


@pytest.fixture
def contradicting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Somebody who holds no lock writes on alice's account, each time just before a worker does. It ends by itself."""

    def meddling(books: Books, commands: Iterable[Command], **kwargs: Any) -> Decided:
        decided = decide(books, commands, **kwargs)
        if any(account.name == "alice" for account in decided.changed):
            engine.rows("UPDATE account SET version = version + 1 WHERE name = 'alice'")
        return decided

    with monkeypatch.context() as patch:
        patch.setattr(apply_module, "decide", meddling)
        yield patch


def test_books_that_contradict_themselves_hold_their_own_account_only(
    engine: Engine, contradicting: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded for it and nothing fails for ever, nobody overtakes; and the others are paid."""
    engine.settle(opening("alice"), opening("bob"))
    stuck, paid, behind = (
        engine.accept(deposit("alice", 5), transfer("alice", "bob", 1)),
        engine.accept(deposit("carol", 1), opening("carol")),
        engine.accept(deposit("bob", 1)),
    )
    (message,) = batches(engine.in_line([*stuck, *paid, *behind]))
    with (
        capture_logs() as logs,
        pytest.raises(BooksError, match=r"not as they were read under their locks, by id: \[1\]"),
    ):
        engine.handle(message)

    assert engine.pending() == [*stuck, *behind]
    assert [engine.outcomes()[position] for position in paid] == [("refused", "account_not_found"), ("applied", None)]
    assert engine.rows("SELECT count(*) FROM transfer") == [(0,)]
    assert dead_letters(engine) == {}
    # The person on call is told which commands, and no customer's name.
    (told,) = [line for line in logs if line["event"] == "books.contradiction"]
    assert set(told["positions"]) <= set(stuck)
    assert "alice" not in str(logs)


def test_what_the_schema_refuses_is_held_and_not_failed(engine: Engine) -> None:
    """A worker that is newer than the schema must not use up good keys: after the migration, they are applied."""
    engine.settle(opening("alice"), opening("bob"))
    engine.rows("ALTER TABLE transfer ADD CONSTRAINT old CHECK (amount_minor <> 666)")
    (message,) = batches(engine.in_line(engine.accept(deposit("alice", 666), deposit("bob", 1), deposit("alice", 1))))
    with pytest.raises(BooksError, match=r"transfer.*old"):
        engine.handle(message)
    held = engine.pending()
    engine.rows("ALTER TABLE transfer DROP CONSTRAINT old")
    engine.handle(message)

    assert held == [message.positions[0], message.positions[2]]
    assert engine.pending() == []
    assert engine.balances() == {"alice": 667, "bob": 1}
    assert dead_letters(engine) == {}


def test_a_long_line_of_a_contradicting_account_keeps_nobody_waiting(
    engine: Engine, contradicting: pytest.MonkeyPatch
) -> None:
    """More commands than a transaction reads are in the way: a neighbour in the message is paid all the same."""
    engine.settle(opening("alice"), opening("bob"))
    stuck = engine.accept(*[deposit("alice", 1)] * 250)
    (paid,) = engine.accept(deposit("bob", 1))
    (*_, message) = batches(engine.in_line([*stuck, paid]))
    with pytest.raises(BooksError):
        engine.handle(message)

    assert paid in message.positions
    assert engine.outcomes()[paid] == ("applied", None)
    assert engine.pending() == stuck


def test_after_the_repair_what_was_held_is_applied(engine: Engine, contradicting: pytest.MonkeyPatch) -> None:
    """The commands waited: nothing has to be sent again by its client."""
    engine.settle(opening("alice"))
    engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    with pytest.raises(BooksError):
        engine.handle(message)
    contradicting.undo()
    engine.rows("UPDATE account SET version = 0 WHERE name = 'alice'")
    engine.handle(message)

    assert engine.balances() == {"alice": 5}
    engine.assert_as_one_by_one()


def test_a_version_that_was_given_before_is_nobodys_fault_but_the_books(engine: Engine) -> None:
    """One table was brought back from a backup: the commands wait for a person, and none of their keys is used up."""
    engine.settle(opening("alice"), deposit("alice", 1), opening("bob"))
    engine.rows("UPDATE account SET version = 0, credits_minor = 0 WHERE name = 'alice'")
    (message,) = batches(engine.in_line(engine.accept(deposit("alice", 5), deposit("bob", 7))))
    with pytest.raises(BooksError, match="transfer_credit_version"):
        engine.handle(message)

    assert engine.pending() == [message.positions[0]]
    assert dead_letters(engine) == {}
    assert engine.balances()["bob"] == 7


def test_a_command_of_an_unknown_type_waits_for_newer_workers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment in the wrong order: failed would be for ever."""
    positions = engine.accept(opening("alice"))
    engine.rows("ALTER TABLE command DROP CONSTRAINT command_type_known, DROP CONSTRAINT command_shape")
    engine.rows("UPDATE command SET type = 'levitate'")

    with pytest.raises(BooksError, match="deploy the workers first"):
        engine.drain()
    assert engine.pending() == positions
    assert engine.outcomes() == {}


def test_a_schema_that_does_not_understand_us_fails_no_command(engine: Engine) -> None:
    """Each command of the world would be given up within a minute, and for ever."""
    engine.settle(opening("alice"))
    positions = engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    engine.rows("REVOKE INSERT ON transfer FROM florin_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        engine.handle(message)

    assert engine.pending() == positions
    engine.rows("GRANT INSERT ON transfer TO florin_app")
    engine.handle(message)
    assert engine.balances() == {"alice": 5}


# Trouble that passes.


def killing(engine: Engine, times: int = 1) -> Callable[[], None]:
    """Ends the worker's session as an administrator would, in the middle of whatever it does."""
    left = [None] * times

    def kill() -> None:
        if left:
            left.pop()
            victims = engine.rows("""
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE application_name = 'florin engine' AND datname = current_database() AND state <> 'idle'
            """)
            assert victims

    return kill


MOMENTS = {
    "after the look": (books_store, "gather"),
    "after reading": (apply_module, "decide"),
    "before writing": (books_store, "record"),
    "in the middle of writing": (books_store, "_insert_transfers"),
    "before COMMIT": (books_store, "left_in_line"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_session_that_is_killed_costs_a_retry(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str, times: int
) -> None:
    """Wherever it was, all of the batch is written or nothing; the second time it is written once."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 100))
    positions = engine.accept(transfer("alice", "bob", 60), transfer("alice", "bob", 60), deposit("bob", 1))
    (message,) = engine.queue
    module, name = MOMENTS[moment]
    kill, original = killing(engine, times), getattr(module, name)

    def killed_before(*args: Any, **kwargs: Any) -> Any:
        kill()
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, killed_before)
    if moment == "before COMMIT":
        # Only then is something left over to look for.
        message = Batch([*message.positions, 10**9], message.account_keys)
    applied = engine.handle(message)

    assert set(positions) <= set(applied.settled)
    assert engine.balances() == {"alice": 40, "bob": 61}
    engine.assert_as_one_by_one()


TROUBLE = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.QueryCanceled,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.AdminShutdown,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    psycopg.InterfaceError,
    MemoryError,
)


def test_trouble_of_the_server_fails_no_command_however_often_it_comes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed is for ever: a full disk or a long lock must not use up the keys of everybody's payments."""
    engine.settle(opening("alice"))
    positions = engine.accept(deposit("alice", 5))
    (message,) = engine.queue
    for error in TROUBLE:
        with monkeypatch.context() as patch:
            patch.setattr(books_store, "record", Mock(side_effect=error("the server's trouble")))
            with pytest.raises((TransientError, error)):
                engine.handle(message)

        assert engine.pending() == positions, error
    engine.handle(message)
    engine.assert_as_one_by_one()


def test_an_error_on_commit_is_tried_again(engine: Engine) -> None:
    """Postgres may find at the very end that it cannot: nothing was written, and nobody was told that it was."""
    engine.rows("CREATE SEQUENCE attempt")
    engine.rows("GRANT USAGE ON SEQUENCE attempt TO florin_app")
    engine.rows("""
        CREATE FUNCTION too_busy() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('attempt') <= 3 THEN
                RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN NULL;
        END
        $$
    """)
    engine.rows("""
        CREATE CONSTRAINT TRIGGER too_busy AFTER INSERT ON outcome DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION too_busy()
    """)
    positions = engine.settle(opening("alice"), deposit("alice", 5))

    assert engine.rows("SELECT last_value > 3 FROM attempt") == [(True,)]
    assert list(engine.outcomes()) == positions
    engine.assert_as_one_by_one()


def test_a_lost_answer_to_commit_is_found_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction was committed and the connection died before saying so: the second look says that it is done."""
    engine.settle(opening("alice"), deposit("alice", 100))
    positions = engine.accept(withdraw("alice", 60), withdraw("alice", 40))
    (message,) = engine.queue
    lost: list[bool] = []
    original = apply_module._count

    def dying(*args: Any) -> None:
        if not lost:
            lost.append(True)
            raise psycopg.OperationalError("the connection is lost")
        original(*args)

    monkeypatch.setattr(apply_module, "_count", dying)
    applied = engine.handle(message)

    assert lost
    assert list(applied.settled) == positions
    engine.assert_as_one_by_one()


def test_when_postgres_stays_away_the_message_goes_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker does not hold a message for ever; Dramatiq brings it again later."""
    positions = engine.accept(opening("alice"))
    (message,) = engine.queue
    with monkeypatch.context() as patch:
        patch.setattr(books_store, "look", away)
        with pytest.raises(TransientError):
            engine.handle(message)

    assert engine.pending() == positions
    engine.handle(message)
    engine.assert_as_one_by_one()


def away(*args: Any) -> bool:
    """What every statement says when the server is gone."""
    raise psycopg.OperationalError("the server is gone")
