"""A hold whose time is over is given back once, whoever says so and how often, whatever becomes of who says it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from processor import apply, emitting
from processor.emitting import Emitter
from processor.errors import Unavailable
from processor.expire import Expirer
from processor.submissions import Answer, Submission
from tests.builders import capture_hold, deposit, freeze, opening, place_hold, release_hold
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.watch import Watch


@pytest.fixture
def watch() -> Watch:
    """The clock of everybody in a test."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """Alice and her money, by that clock. Whatever a test does, the proofs find nothing wrong with it."""
    with running_engine(database, now=watch) as engine:
        engine.settle(opening("alice"), deposit("alice", 1_000))
        yield engine
        assert engine.breaks() == []


def reserve(engine: Engine, *amounts_minor: int, hours: float = 1) -> list[UUID]:
    """Place holds on Alice's account that are over in so many hours; their ids are those of their commands."""
    until = engine.now() + timedelta(hours=hours)
    positions = engine.settle(*(place_hold("alice", minor, expires_at=until) for minor in amounts_minor))
    return [id_ for (id_,) in engine.rows("SELECT id FROM command WHERE position = ANY(%s)", [positions])]


def expirer(engine: Engine, submit: Any, **more: Any) -> Expirer:
    """Another scheduler's, with something replaced."""
    given = {"is_full": lambda _: False, "pause": lambda _: False} | more
    return Expirer(Emitter(engine.pool, submit, **given), now=engine.now, new_id=uuid7)


def tick(engine: Engine) -> int:
    """The scheduler says that it is time, and the workers do what there is to do."""
    emitted = engine.expire_holds()
    engine.drain()
    return emitted


def expiries(engine: Engine) -> list[tuple[Any, ...]]:
    """The key of every expiry so far, and what became of it, in order of position."""
    return engine.rows("""
        SELECT idempotency_key, outcome.status, outcome.reason FROM command LEFT JOIN outcome USING (position)
        WHERE type = 'expire_hold' ORDER BY position
    """)


def test_a_hold_expires_at_its_instant_and_not_before(engine: Engine, watch: Watch) -> None:
    """In the scheduler's name, under a key that says which hold and which attempt; one without an end stays."""
    reserve(engine, 300)
    engine.settle(place_hold("alice", 50))
    watch.forward(minutes=59, seconds=59)
    early = tick(engine)
    watch.forward(seconds=1)
    emitted = [tick(engine), tick(engine)]

    assert (early, emitted) == (0, [1, 0])
    assert expiries(engine) == [("hold:3:1", "applied", None)]
    assert engine.holds() == {3: ("alice", 300, "expired"), 4: ("alice", 50, "held")}
    engine.assert_as_one_by_one()


def test_repeated_ticks_and_two_schedulers_that_both_lead_expire_once(engine: Engine, watch: Watch) -> None:
    """Each reads what is over before the other has sent it: the key is the same, so it is one command."""
    reserve(engine, *[10] * 20)
    watch.forward(hours=1)
    both_have_read = Barrier(2)

    def submit(submissions: Sequence[Submission]) -> list[Answer]:
        both_have_read.wait(30)
        return engine.answers(submissions)

    with ThreadPoolExecutor(2) as threads:
        emitted = list(threads.map(lambda _: expirer(engine, submit).expire(), range(2)))
    again = engine.expire_holds()
    engine.drain(workers=4)

    assert (sum(emitted), again) == (20, 0)
    assert len(expiries(engine)) == 20
    assert engine.rows("SELECT held_minor FROM account WHERE name = 'alice'") == [(0,)]
    engine.assert_as_one_by_one()


def test_what_was_captured_or_released_between_the_tick_and_the_worker_is_not_given_back_twice(
    engine: Engine, watch: Watch
) -> None:
    """The commands stand in line before the expiry; a capture that comes too late finds nothing to take."""
    first, second, third = reserve(engine, 100, 200, 300)
    engine.accept(capture_hold("alice", first), release_hold("alice", second))
    watch.forward(hours=1)
    emitted = engine.expire_holds()
    engine.accept(capture_hold("alice", third))
    engine.drain()

    # The capture was accepted in time, and decided when the time was over.
    assert emitted == 3
    assert [state for _, _, state in engine.holds().values()] == ["expired", "released", "expired"]
    assert [reason for _, _, reason in expiries(engine)] == [None, "hold_not_open", None]
    assert engine.balances() == {"alice": 1_000}
    engine.assert_as_one_by_one()


def test_a_frozen_account_gets_its_money_back_all_the_same(engine: Engine, watch: Watch) -> None:
    """Nothing leaves it: what was promised is its owner's again."""
    reserve(engine, 100)
    engine.settle(freeze("alice"))
    watch.forward(hours=1)
    tick(engine)

    assert expiries(engine) == [("hold:3:1", "applied", None)]
    engine.assert_as_one_by_one()


def test_an_expiry_that_failed_is_made_again_a_day_later(
    engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person looks at the dead letter; the money stays on hold meanwhile, and is not forgotten."""
    reserve(engine, 100)
    watch.forward(hours=1)
    engine.expire_holds()

    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(apply, "decide", break_down)
        engine.drain()
    failed, standing = expiries(engine), engine.holds()
    proven = engine.breaks()
    watch.forward(hours=23)
    too_early = tick(engine)
    watch.forward(hours=1)
    emitted = tick(engine)

    assert failed == [("hold:3:1", "failed", "internal_error")]
    assert standing == {3: ("alice", 100, "held")}
    assert proven == []
    assert (too_early, emitted) == (0, 1)
    assert expiries(engine)[1:] == [("hold:3:2", "applied", None)]
    engine.assert_as_one_by_one(failed=[4])


def test_a_scheduler_whose_clock_is_ahead_gives_nothing_back_early(engine: Engine, watch: Watch) -> None:
    """The worker says that it is not over, and the next tick makes another attempt: nobody has to look at anything."""
    reserve(engine, 100)
    watch.forward(hours=1)
    engine.expire_holds()
    watch.forward(minutes=-1)
    engine.drain()
    early = engine.rows("SELECT state, attempts, failed_at FROM hold")
    proven = engine.breaks()
    watch.forward(minutes=1)
    emitted = tick(engine)

    assert early == [("held", 1, None)]
    assert proven == []
    assert emitted == 1
    assert expiries(engine) == [("hold:3:1", "refused", "hold_not_expired"), ("hold:3:2", "applied", None)]
    engine.assert_as_one_by_one()


def test_a_worker_that_dies_in_the_middle_of_an_expiry_gives_nothing_back(
    engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold and the account's row are written in one transaction: whoever comes next finds both as they were."""
    reserve(engine, 100)
    watch.forward(hours=1)
    engine.expire_holds()
    (message,) = engine.queue

    class DiedError(BaseException):
        pass

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(apply, "_system_accounts", die)
        with pytest.raises(DiedError):
            engine.handle(message)
    untouched = (engine.holds(), engine.rows("SELECT held_minor FROM account WHERE id > 0"))
    engine.drain()

    assert untouched == ({3: ("alice", 100, "held")}, [(100,)])
    assert engine.holds() == {3: ("alice", 100, "expired")}
    engine.assert_as_one_by_one()


def test_more_than_a_page_expires_in_one_tick(engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is over is over now, the oldest first, however much it is."""
    monkeypatch.setattr(emitting, "PAGE", 3)
    reserve(engine, 1, 2, 3, 4, hours=2)
    reserve(engine, 5, 6, 7, 8, hours=1)
    watch.forward(hours=2)

    assert tick(engine) == 8
    assert [key for key, _, _ in expiries(engine)] == [f"hold:{id_}:1" for id_ in (7, 8, 9, 10, 3, 4, 5, 6)]


def test_when_the_intake_is_away_the_next_tick_finds_the_same(engine: Engine, watch: Watch) -> None:
    """A tick that failed is a tick that has not been: what is over is read from rows."""
    reserve(engine, 100)
    watch.forward(hours=1)

    def away(_: Sequence[Submission]) -> list[Answer]:
        raise Unavailable("The database is away.")

    with pytest.raises(Unavailable):
        expirer(engine, away).expire()

    assert tick(engine) == 1


def test_a_full_backlog_is_left_to_the_clients_until_there_is_no_more_time(engine: Engine, watch: Watch) -> None:
    """A million holds of one night must not turn away everybody's payments; and who is told to stop waits no longer."""
    reserve(engine, 100)
    watch.forward(hours=1)
    full, pauses = [True, True, False, False], []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    stopped = expirer(engine, engine.answers, is_full=lambda _: True, pause=lambda _: True).expire()
    emitted = expirer(engine, engine.answers, is_full=lambda _: full.pop(0), pause=pause).expire()
    engine.drain()

    assert (stopped, emitted) == (0, 1)
    assert len([seconds for seconds in pauses if seconds]) == 2
