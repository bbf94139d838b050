"""What is due is collected once, whoever says so and how often, whatever becomes of schedulers and workers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any, LiteralString
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from processor import apply, emitting
from processor.collect import Collector, watch_advances
from processor.domain.advances import Instalment, InstalmentState, accounted_minor
from processor.domain.decide import decide
from processor.domain.rules import Rules
from processor.emitting import Emitter
from processor.errors import BooksError, Unavailable
from processor.store import collecting
from processor.store.books import InLine
from processor.submissions import Answer, Receipt, Submission
from processor.sweep import Sweeper
from tests.builders import advance, deposit, opening, repay, withdraw, write_off
from tests.conftest import Database
from tests.engine import Engine, counted, running_engine
from tests.watch import Watch
from workers.messages import batches

SCHEDULER = 0


@pytest.fixture
def watch() -> Watch:
    """Monday, noon."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """An engine whose clock the test turns."""
    with running_engine(database, now=watch, rules=Rules(max_live_advances=3)) as engine:
        yield engine


def lend(engine: Engine, amount_minor: int = 300, *, instalments: int = 3, account: str = "alice") -> UUID:
    """Open an account if it is new, lend to it, and take the money away; the first instalment is due in a week."""
    if account not in engine.balances():
        engine.settle(opening(account))
    (position,) = engine.settle(advance(account, amount_minor, instalments=instalments))
    engine.settle(withdraw(account, amount_minor))
    ((advance_id,),) = engine.rows("SELECT id FROM command WHERE position = %s", [position])
    return advance_id  # type: ignore[no-any-return]


def tick(engine: Engine) -> int:
    """The scheduler says that it is time, and the workers do what there is to do."""
    emitted = engine.collect()
    engine.drain()
    return emitted


def collects(engine: Engine) -> list[tuple[str, str | None, str | None]]:
    """The key of every collect so far, and what became of it, in order of position."""
    return [
        tuple(row)
        for row in engine.rows("""
            SELECT idempotency_key, outcome.status, outcome.reason FROM command LEFT JOIN outcome USING (position)
            WHERE type = 'collect' ORDER BY position
        """)
    ]


def states(engine: Engine) -> list[str]:
    """How the instalments stand."""
    return [state for (state,) in engine.rows("SELECT state FROM instalment ORDER BY advance_id, number")]


# A tick says 'look'.


def test_an_instalment_becomes_a_command_on_its_day(engine: Engine, watch: Watch) -> None:
    """Not a day before; in the scheduler's name, under a key that says which instalment and which attempt."""
    lend(engine)
    engine.settle(deposit("alice", 100))
    watch.forward(days=6, hours=11)
    early = engine.collect()
    watch.forward(hours=1)
    emitted = engine.collect()
    ((advance_id, client_id, key, pending),) = engine.rows("""
        SELECT advance.id, client_id, idempotency_key, position IN (SELECT position FROM pending)
        FROM command CROSS JOIN advance WHERE type = 'collect'
    """)

    assert (early, emitted) == (0, 1)
    assert (client_id, key, pending) == (SCHEDULER, f"instalment:{advance_id}-1:1", True)


def test_twelve_weeks_are_collected_and_the_advance_is_repaid(engine: Engine, watch: Watch) -> None:
    """From the first week to the last, each once; afterwards nothing is ever due again."""
    lend(engine, 1_000, instalments=12)
    engine.settle(deposit("alice", 1_000))
    emitted = []
    for _ in range(14):
        watch.forward(days=7)
        emitted.append(tick(engine))

    assert emitted == [1] * 12 + [0, 0]
    assert states(engine) == ["paid"] * 12
    assert engine.balances() == {"alice": 0}
    assert engine.own_accounts() == {}
    assert engine.rows("SELECT state, paid_minor FROM advance") == [("repaid", 1_000)]
    engine.assert_as_one_by_one()


def test_a_missed_week_is_collected_with_the_next(engine: Engine, watch: Watch) -> None:
    """And a last one that is missed makes another week."""
    lend(engine)
    for amount_minor in (0, 200, 0, 50):
        watch.forward(days=7)
        if amount_minor:
            engine.settle(deposit("alice", amount_minor))
        tick(engine)

    assert states(engine) == ["missed", "paid", "missed", "missed", "scheduled"]
    watch.forward(days=7)
    engine.settle(deposit("alice", 50))
    tick(engine)
    assert engine.rows("SELECT state, paid_minor, instalments FROM advance") == [("repaid", 300, 5)]
    engine.assert_as_one_by_one()


def test_after_three_weeks_of_outage_every_week_is_decided_in_its_order(engine: Engine, watch: Watch) -> None:
    """One tick finds all of them, of all advances; the oldest day comes first."""
    lend(engine, 400, instalments=4)
    watch.forward(days=1)
    lend(engine, 500, instalments=5, account="bob")
    engine.settle(deposit("alice", 150), deposit("bob", 500))
    watch.forward(days=23)
    emitted = tick(engine)
    days = [
        due_on
        for (due_on,) in engine.rows("""
            SELECT due_on FROM command JOIN command AS granting ON granting.id = command.advance_id
            JOIN instalment ON instalment.advance_id = granting.position AND instalment.number = command.instalment
            ORDER BY command.position
        """)
    ]

    assert emitted == 6
    assert days == sorted(days)
    assert states(engine) == ["paid", "missed", "missed", "scheduled", "paid", "paid", "paid", "scheduled", "scheduled"]
    assert engine.rows("SELECT amount_minor FROM instalment WHERE state = 'scheduled' ORDER BY 1") == [
        (100,),
        (100,),
        (300,),
    ]
    engine.assert_as_one_by_one()


def test_an_advance_that_is_written_off_or_paid_is_not_collected(engine: Engine, watch: Watch) -> None:
    """Also if that happened between the tick and the worker: the collect finds nothing to take."""
    written_off, repaid = lend(engine), lend(engine, account="bob")
    engine.settle(deposit("alice", 300), deposit("bob", 300))
    watch.forward(days=7)
    engine.accept(write_off("alice", written_off), repay("bob", repaid, 300))
    emitted = engine.collect()
    engine.drain()
    watch.forward(days=7)

    assert emitted == 2
    assert {reason for _, _, reason in collects(engine)} == {"instalment_not_scheduled"}
    assert tick(engine) == 0
    engine.assert_as_one_by_one()


# Once, whoever says it and how often.


def test_repeated_ticks_collect_once(engine: Engine, watch: Watch) -> None:
    """Before the worker came, and after it."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    before = [engine.collect() for _ in range(3)]
    engine.drain()
    after = [engine.collect() for _ in range(3)]

    assert (before, after) == ([1, 0, 0], [0, 0, 0])
    assert engine.balances() == {"alice": 200}


def test_two_schedulers_that_both_lead_collect_once(engine: Engine, watch: Watch) -> None:
    """Each reads what is due before the other has sent it: the key is the same, so it is one command."""
    for number in range(20):
        lend(engine, account=f"customer.{number}")
    watch.forward(days=21)
    both_have_read = Barrier(2)

    def submit(submissions: Sequence[Submission]) -> list[Answer]:
        both_have_read.wait(30)
        return engine.answers(submissions)

    with ThreadPoolExecutor(2) as threads:
        emitted = list(threads.map(lambda _: collector(engine, submit).collect(), range(2)))
    engine.drain(workers=4)

    assert sum(emitted) == 60
    assert len(collects(engine)) == 60
    engine.assert_as_one_by_one()


def test_what_the_queue_lost_after_the_tick_is_found_by_the_sweeper(engine: Engine, watch: Watch) -> None:
    """The next tick leaves it alone: the command is there, and only its message is gone."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    engine.collect()
    engine.queue = []
    again = engine.collect()
    watch.forward(seconds=10)
    swept = Sweeper(engine.pool, Queue(engine), now=watch, stranded_after=timedelta(seconds=3)).sweep()
    engine.drain()

    assert (again, swept) == (0, 1)
    assert states(engine)[0] == "paid"


class Queue:
    """The engine's list of messages as the sweeper sees it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_empty(self) -> bool:
        """Whether no message waits."""
        return not self._engine.queue

    def send(self, waiting: Sequence[InLine]) -> None:
        """Send messages that name these."""
        self._engine.queue += batches(waiting)


def test_a_worker_that_dies_in_the_middle_of_a_collection_takes_nothing(
    engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """Money and schedule are written in one transaction: whoever comes next finds both as they were."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    engine.collect()
    (message,) = engine.queue

    class DiedError(BaseException):
        pass

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(apply, "_system_accounts", die)
        with pytest.raises(DiedError):
            engine.handle(message)
    untouched = (engine.balances(), states(engine))
    engine.drain()

    assert untouched == ({"alice": 300}, ["scheduled"] * 3)
    assert (engine.balances(), states(engine)) == ({"alice": 200}, ["paid", "scheduled", "scheduled"])


# Another attempt.


def test_a_collect_that_failed_is_made_again_a_day_later(
    engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person looks at the dead letter; the instalment is neither paid nor missed, and not forgotten."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    engine.collect()

    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(apply, "decide", break_down)
        engine.drain()
    failed, standing = collects(engine), states(engine)
    watch.forward(hours=23)
    too_early = tick(engine)
    watch.forward(hours=1)
    emitted = tick(engine)
    ((advance_id,),) = engine.rows("SELECT id FROM advance")

    assert failed == [(f"instalment:{advance_id}-1:1", "failed", "internal_error")]
    assert standing == ["scheduled"] * 3
    assert (too_early, emitted) == (0, 1)
    assert collects(engine)[1:] == [(f"instalment:{advance_id}-1:2", "applied", None)]
    assert engine.balances() == {"alice": 200}


def test_a_scheduler_whose_clock_is_ahead_takes_nothing_early(engine: Engine, watch: Watch) -> None:
    """The worker says that it is not due. The next tick makes another attempt: nobody has to look at anything first."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    engine.collect()
    watch.forward(hours=-13)
    engine.drain()
    early = collects(engine)
    watch.forward(hours=13)
    tick(engine)

    assert [(status, reason) for _, status, reason in early] == [("refused", "instalment_not_due")]
    assert [status for _, status, _ in collects(engine)] == ["refused", "applied"]
    assert states(engine) == ["paid", "scheduled", "scheduled"]


# Many, and trouble.


def test_more_than_a_page_is_collected_in_one_tick(
    engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is due is due now, however much it is."""
    monkeypatch.setattr(emitting, "PAGE", 3)
    for number in range(5):
        lend(engine, 200, instalments=2, account=f"customer.{number}")
    watch.forward(days=14)

    assert tick(engine) == 10
    assert counted(engine.outcomes())["refused"] == 10


class Submits:
    """An intake that the test has in hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_away = False
        self.seen: list[int] = []

    def __call__(self, submissions: Sequence[Submission]) -> list[Answer]:
        self.seen.append(len(submissions))
        if self.is_away:
            raise Unavailable("The database is away.")
        return self.engine.answers(submissions)


def collector(engine: Engine, submit: Any, **more: Any) -> Collector:
    """A collector of the engine's, with something replaced."""
    given = {"is_full": lambda _: False, "pause": lambda _: False} | more
    return Collector(Emitter(engine.pool, submit, **given), now=engine.now, new_id=uuid7, rules=engine.rules)


def test_when_the_intake_is_away_the_next_tick_finds_the_same(engine: Engine, watch: Watch) -> None:
    """A tick that failed is a tick that has not been: what is due is read from rows."""
    lend(engine)
    watch.forward(days=7)
    submit = Submits(engine)
    submit.is_away = True
    with pytest.raises(Unavailable):
        collector(engine, submit).collect()
    submit.is_away = False

    assert collector(engine, submit).collect() == 1


def test_a_full_backlog_is_left_to_the_clients(engine: Engine, watch: Watch) -> None:
    """A million instalments of one day must not turn away everybody's payments: the collector waits its turn."""
    lend(engine)
    watch.forward(days=7)
    full, pauses = [True, True, False, False], []

    def pause(seconds: float) -> bool:
        if seconds:
            pauses.append(seconds)
        return False

    emitted = collector(engine, engine.answers, is_full=lambda _: full.pop(0), pause=pause).collect()

    assert (emitted, len(pauses)) == (1, 2)


def test_a_collector_that_is_told_to_stop_waits_no_longer(engine: Engine, watch: Watch) -> None:
    """The process ends; another scheduler goes on."""
    lend(engine)
    watch.forward(days=7)

    assert collector(engine, engine.answers, is_full=lambda _: True, pause=lambda _: True).collect() == 0
    assert collector(engine, engine.answers, pause=lambda _: True).collect() == 0
    assert collects(engine) == []


def test_a_key_of_the_schedulers_that_names_something_else_is_an_error(engine: Engine, watch: Watch) -> None:
    """Nobody but the scheduler writes in its name: whatever the intake says then, money is not where it should be."""
    lend(engine)
    watch.forward(days=7)

    def wrong(submissions: Sequence[Submission]) -> list[Answer]:
        return ["no receipt" for _ in submissions]  # type: ignore[misc]

    with pytest.raises(BooksError, match=r"does not take 1 commands, such as instalment:\d+-1:1$"):
        collector(engine, wrong).collect()


def test_a_receipt_that_was_given_before_is_not_counted(engine: Engine, watch: Watch) -> None:
    """What a job says that it emitted is what is new."""
    lend(engine)
    watch.forward(days=7)

    def replay(submissions: Sequence[Submission]) -> list[Answer]:
        return [Receipt(each.id, 1, watch(), replayed=True) for each in submissions]

    assert collector(engine, replay).collect() == 0


# Books that contradict themselves.


@pytest.fixture
def meddled(engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Callable[[LiteralString], None]:
    """Deliver the message of a collect while somebody who does not hold the account writes in the books."""
    lend(engine)
    engine.settle(deposit("alice", 300))
    watch.forward(days=7)
    engine.collect()

    def deliver(meanwhile: LiteralString) -> None:
        def decide_late(*args: Any, **kwargs: Any) -> Any:
            engine.rows(meanwhile)
            return decide(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(apply, "decide", decide_late)
            engine.handle(engine.queue.pop())

    return deliver


def test_an_advance_that_changed_behind_the_lock_is_not_overwritten(
    engine: Engine, meddled: Callable[[LiteralString], None]
) -> None:
    """Nothing is recorded, the command waits, and a person is called."""
    with pytest.raises(BooksError, match="advances not as they were read under their account's lock"):
        meddled("UPDATE advance SET version = version + 1")

    assert engine.balances() == {"alice": 300}
    assert [status for _, status, _ in collects(engine)] == [None]


def test_an_instalment_that_was_settled_behind_the_lock_is_not_settled_again(
    engine: Engine, meddled: Callable[[LiteralString], None]
) -> None:
    """Decided anew, there is nothing to collect."""
    meddled("UPDATE instalment SET state = 'missed', settled_by = 1 WHERE number = 1")

    assert engine.balances() == {"alice": 300}
    assert [reason for _, _, reason in collects(engine)] == ["instalment_not_scheduled"]
    assert engine.rows("SELECT settled_by FROM instalment WHERE number = 1") == [(1,)]


@pytest.fixture
def broken(engine: Engine, watch: Watch) -> Engine:
    """Two advances, one of them with a paid, a missed and an early repaid week."""
    first = lend(engine, 400, instalments=4)
    lend(engine, account="bob")
    engine.settle(deposit("alice", 100))
    for _ in range(2):
        watch.forward(days=7)
        tick(engine)
    engine.settle(deposit("alice", 50), repay("alice", first, 50))
    return engine


def incomplete(engine: Engine) -> int:
    """What the job finds, which is also what the metric says."""
    found = watch_advances(engine.pool)
    assert REGISTRY.get_sample_value("florin_advances_incomplete") == found
    return found


def test_advances_that_add_up_are_left_alone(broken: Engine) -> None:
    """No false alarm: paid, missed, partly repaid, in arrears."""
    assert incomplete(broken) == 0


@pytest.mark.parametrize(
    ("damage", "advances"),
    [
        ("UPDATE instalment SET amount_minor = amount_minor + 1 WHERE number = 4", 1),
        ("UPDATE instalment SET paid_minor = paid_minor - 1 WHERE state = 'scheduled' AND paid_minor > 0", 1),
        ("UPDATE instalment SET state = 'scheduled', settled_by = NULL WHERE state = 'missed'", 2),
        ("UPDATE instalment SET state = 'missed', settled_by = 1 WHERE number = 4", 1),
        ("UPDATE instalment SET state = 'written_off', settled_by = 1 WHERE number = 4", 1),
        ("DELETE FROM instalment WHERE number = 4", 1),
        ("DELETE FROM instalment", 2),
        ("DELETE FROM instalment WHERE state = 'missed' AND advance_id = (SELECT min(id) FROM advance)", 1),
        ("UPDATE advance SET amount_minor = amount_minor + 1 WHERE id = (SELECT min(id) FROM advance)", 1),
        ("UPDATE advance SET paid_minor = paid_minor - 1 WHERE paid_minor > 0", 1),
        ("UPDATE advance SET instalments = 5 WHERE instalments = 4", 1),
    ],
)
def test_an_advance_that_does_not_add_up_is_found(broken: Engine, damage: LiteralString, advances: int) -> None:
    """Just those, whatever was done to them by whoever owns the database."""
    broken.rows(damage)

    assert incomplete(broken) == advances


def test_advances_are_looked_at_a_page_at_a_time(broken: Engine) -> None:
    """A million of them is too much for one statement."""
    broken.rows("UPDATE instalment SET amount_minor = amount_minor + 1 WHERE state = 'scheduled'")
    with broken.pool.connection() as conn:
        first, end = collecting.find_incomplete(conn, advances=1)
        second, last = collecting.find_incomplete(conn, after=end or 0, advances=1)
        nothing = collecting.find_incomplete(conn, after=last or 0, advances=1)

    assert [each.account for each in (*first, *second)] == ["alice", "bob"]
    assert nothing == ([], None)


def test_the_domain_and_the_query_mean_the_same_by_complete(broken: Engine) -> None:
    """The formula is written down twice, in Python and in SQL."""
    broken.rows("UPDATE instalment SET amount_minor = amount_minor + 7 WHERE state = 'scheduled'")
    instalments: dict[int, list[Instalment]] = {}
    for advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state in broken.rows("""
        SELECT advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state FROM instalment
    """):
        each = Instalment(number, due_on, amount_minor, rolled_minor, paid_minor, InstalmentState(state))
        instalments.setdefault(advance_id, []).append(each)
    with broken.pool.connection() as conn:
        found, _ = collecting.find_incomplete(conn)

    assert {each.advance: each.accounted_minor for each in found} == {
        advance_id: accounted_minor(all_of_it) for advance_id, all_of_it in instalments.items()
    }
