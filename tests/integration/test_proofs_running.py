"""A run of a proof: one snapshot, one record, alerts that open and close; whoever runs it, and whatever goes on."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any, Final

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg import Connection

from processor import pools
from processor.breaks import Break
from processor.domain.rules import Rules
from processor.proofs import PROOFS, account_totals, command_lines, job_runs, system_checkpoints
from processor.proofs.proof import Limits, Proof, Scope
from processor.prove import ProofsError, Prover, Result, raise_for_errors
from processor.store import system_accounts
from processor.submissions import CommandBody
from tests.builders import NOON, advance, deposit, opening, transfer, withdraw
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.eventually import eventually
from tests.watch import Watch

TOTALS: Final = account_totals.PROOF
WEEK: Final = timedelta(days=7)


@pytest.fixture
def watch() -> Watch:
    """Monday, noon."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """An engine whose clock the test turns."""
    with running_engine(database, now=watch, rules=Rules(max_live_advances=3)) as engine:
        yield engine


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection of the application's."""
    with pools.connect(database.app_url, "test prove") as conn:
        yield conn


@pytest.fixture
def prover(conn: Connection, watch: Watch) -> Prover:
    """What the scheduler has."""
    return Prover(conn, now=watch, limits=Limits(rules=Rules()))


def a_proof(*breaks: Break, name: str = "a_proof") -> Proof:
    """One that finds just these."""
    return Proof(name, "Something.", True, lambda conn, scope: list(breaks))


def a_break(subject: str = "account:alice") -> Break:
    """Something is wrong."""
    return Break("a_proof", subject, "one thing", "another", "Mend it.")


def ran(result: Result | None) -> Result:
    """A run that was not left to somebody else, and came to its end."""
    assert result is not None
    assert result.error is None
    return result


def subjects(result: Result | None) -> list[str]:
    """What it found."""
    return [each.subject for each in ran(result).breaks]


def open_alerts(engine: Engine) -> list[tuple[str, str]]:
    """What somebody is called for."""
    return engine.rows("SELECT proof, subject FROM alert WHERE state <> 'resolved' ORDER BY 1, 2")


def sample(metric: str, **labels: str) -> float:
    """What a metric says now."""
    return REGISTRY.get_sample_value(metric, labels) or 0


# From a break to its end.


def test_a_break_in_new_rows_opens_an_alert_that_closes_when_it_is_mended(engine: Engine, prover: Prover) -> None:
    """The admin hears of it once, within a minute, and sees that what they did was right."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.rows("UPDATE account SET credits_minor = 101 WHERE name = 'alice'")
    first, second = (subjects(prover.run(TOTALS)) for _ in range(2))
    meanwhile = open_alerts(engine)
    engine.rows("UPDATE account SET credits_minor = 100 WHERE name = 'alice'")
    third = subjects(prover.run(TOTALS))

    assert (first, second, third) == (["account:alice"], ["account:alice"], [])
    assert meanwhile == [("account_totals", "account:alice")]
    assert open_alerts(engine) == []


def test_a_break_in_old_rows_is_found_in_full_and_then_followed(engine: Engine, prover: Prover) -> None:
    """Once it is known, the run of every minute knows whether it is still there: nobody waits a week to be released."""
    engine.settle(opening("alice"), deposit("alice", 100))
    prover.run(TOTALS)
    engine.rows("UPDATE account SET credits_minor = 101 WHERE name = 'alice'")
    before, in_full, after = (subjects(prover.run(TOTALS, is_full=is_full)) for is_full in (False, True, False))
    engine.rows("UPDATE account SET credits_minor = 100 WHERE name = 'alice'")

    assert (before, in_full, after) == ([], ["account:alice"], ["account:alice"])
    assert subjects(prover.run(TOTALS)) == []


def test_what_is_proven_is_not_looked_at_again(engine: Engine, prover: Prover) -> None:
    """The second run costs nothing, and the third what came between."""
    engine.settle(opening("alice"), deposit("alice", 100))
    checked = [ran(prover.run(TOTALS)).checked]
    checked.append(ran(prover.run(TOTALS)).checked)
    engine.settle(deposit("alice", 1))
    checked.append(ran(prover.run(TOTALS)).checked)
    checked.append(ran(prover.run(TOTALS, is_full=True)).checked)

    assert checked == [2, 0, 1, 1]


def test_a_transaction_that_commits_late_is_looked_at(engine: Engine, prover: Prover) -> None:
    """It drew its number before those that were proven meanwhile: a run that went past it would never see it."""
    engine.settle(opening("alice"), opening("bob"))
    bobs, alices = engine.accept_apart(deposit("bob", 1), deposit("alice", 100))
    with psycopg.connect(engine.database.owner_url) as slow:
        slow.execute(
            "INSERT INTO outcome (position, status, reason, decided_at) VALUES (%s, 'refused', 'no_reason', %s)",
            [alices, NOON],
        )
        slow.execute("INSERT INTO dead_letter (position, error, failed_at) VALUES (%s, 'sick', %s)", [alices, NOON])
        slow.execute("DELETE FROM pending WHERE position = %s", [alices])
        engine.handle(engine.queue[0])
        meanwhile = subjects(prover.run(PROOFS[0]))
    # It has no place there: the proof of what commands lead to is the first of all.
    assert (meanwhile, subjects(prover.run(PROOFS[0]))) == ([], [f"command:{alices}"])
    assert bobs < alices


def test_a_checkpoint_is_held_to_the_one_before_it(engine: Engine, prover: Prover, conn: Connection) -> None:
    """It is moved every half a minute, and a slip in that would be in the bank's own balances for ever."""
    proof = system_checkpoints.PROOF

    def roll() -> None:
        system_accounts.roll_forward(conn, now=NOON)

    engine.settle(opening("alice", overdraft_limit_minor=100, overdraft_fee_minor=5), deposit("alice", 100))
    roll()
    found = [subjects(prover.run(proof))]
    # With the withdrawal comes an account that was not there: the fees'.
    engine.settle(withdraw("alice", 150))
    roll()
    result = ran(prover.run(proof))
    found.append(subjects(result))
    engine.rows("UPDATE system_checkpoint SET debits_minor = debits_minor + 1 WHERE debits_minor > 0")
    engine.settle(deposit("alice", 100))
    roll()
    found += [subjects(prover.run(proof)), subjects(prover.run(proof, is_full=True)), subjects(prover.run(proof))]
    engine.rows("UPDATE system_checkpoint SET debits_minor = debits_minor - 1 WHERE debits_minor > 0")
    found += [subjects(prover.run(proof)), subjects(prover.run(proof))]

    assert found == [[], [], *[["account:@settlement:USD"]] * 3, [], []]
    assert result.checked == 1


def test_a_command_that_is_lost_from_its_line_is_missed(engine: Engine, prover: Prover) -> None:
    """It has a receipt, and nobody would ever have decided it."""
    engine.settle(opening("alice"))
    (position,) = engine.accept(deposit("alice", 100))
    proof = command_lines.PROOF
    before = subjects(prover.run(proof))
    lost = engine.rows("DELETE FROM pending RETURNING account_key")
    found = [subjects(prover.run(proof)), subjects(prover.run(proof))]
    engine.rows("INSERT INTO pending VALUES (%s, %s)", [position, *lost[0]])
    found.append(subjects(prover.run(proof)))
    engine.drain()

    assert (before, found) == ([], [[f"command:{position}"], [f"command:{position}"], []])
    assert subjects(prover.run(proof)) == []


# What a run leaves behind.


def test_every_run_is_on_record(engine: Engine, prover: Prover, watch: Watch) -> None:
    """Whoever audits the books sees when they were proven, over what, and by what kind of run."""
    before = [
        sample("florin_proof_runs_total", proof=TOTALS.name, scope="new", result=each) for each in ("proven", "broken")
    ]
    engine.settle(opening("alice"), deposit("alice", 100))
    prover.run(TOTALS)
    watch.forward(hours=1)
    engine.rows("UPDATE account SET credits_minor = 101 WHERE name = 'alice'")
    prover.run(TOTALS, is_full=True)
    watch.forward(hours=1)
    prover.run(TOTALS)
    after = [
        sample("florin_proof_runs_total", proof=TOTALS.name, scope="new", result=each) for each in ("proven", "broken")
    ]

    assert engine.rows("SELECT is_full, started_at, checked, breaks, error FROM proof_run ORDER BY id") == [
        (False, NOON, 2, 0, None),
        (True, NOON + timedelta(hours=1), 1, 1, None),
        (False, NOON + timedelta(hours=2), 1, 1, None),
    ]
    assert engine.rows("SELECT ran_at, proven_at, proven_full_at, ran_full_at, breaks FROM proof_state") == [
        (NOON + timedelta(hours=2), NOON, None, NOON + timedelta(hours=1), 1)
    ]
    assert [after[0] - before[0], after[1] - before[1]] == [1, 1]


def test_clean_runs_are_kept_for_a_day_and_others_for_longer(engine: Engine, prover: Prover, watch: Watch) -> None:
    """There is one of each proof every minute."""
    for is_full, breaks in ((False, ()), (True, ()), (False, (a_break(),)), (False, ())):
        prover.run(a_proof(*breaks), is_full=is_full)
    watch.forward(days=1, seconds=1)
    prover.run(a_proof())
    after_a_day = engine.rows("SELECT is_full, breaks FROM proof_run ORDER BY id")
    watch.forward(days=30)
    prover.run(a_proof())

    assert after_a_day == [(True, 0), (False, 1), (False, 0)]
    assert engine.rows("SELECT is_full, breaks FROM proof_run") == [(False, 0)]


def test_a_proof_that_fails_is_on_record_and_does_not_stop_the_next(engine: Engine, prover: Prover) -> None:
    """That the books are right is then not known: the alert stays as it is, and the job is a failure."""

    def fails(conn: Connection[Any], scope: Scope) -> Iterable[Break]:
        conn.execute("SELECT 1 / 0")
        return []

    prover.run(a_proof(a_break()))
    failing = Proof("a_proof", "Something.", True, fails)
    results = prover.run_all([failing, a_proof(name="another")])

    assert [(result.proof.name, result.error) for result in results] == [
        ("a_proof", "22012 division by zero"),
        ("another", None),
    ]
    assert engine.rows("SELECT error FROM proof_run WHERE error IS NOT NULL") == [("22012 division by zero",)]
    assert open_alerts(engine) == [("a_proof", "account:alice")]
    with pytest.raises(ProofsError, match="a_proof: 22012 division by zero"):
        raise_for_errors(results)


def test_a_proof_reads_only(engine: Engine, prover: Prover) -> None:
    """What proves the books must not be able to change them."""

    def writes(conn: Connection[Any], scope: Scope) -> Iterable[Break]:
        conn.execute("DELETE FROM pending")
        return []

    result = prover.run(Proof("a_proof", "Something.", True, writes))

    assert result is not None
    assert str(result.error).startswith("25006")


def test_too_many_breaks_are_counted_until_everything_was_looked_at(
    engine: Engine, conn: Connection, watch: Watch
) -> None:
    """Ten thousand alerts help nobody. That some were not told is not forgotten before a run over everything."""
    prover = Prover(conn, now=watch, limits=Limits(rules=Rules()), max_breaks=2)
    many = [a_break(f"account:{number}") for number in range(5)]
    first = ran(prover.run(a_proof(*many)))
    mended = [subjects(prover.run(a_proof(*each))) for each in (many[1:], many[1:], [])]

    assert [each.subject for each in first.breaks] == ["account:0", "account:1", "proof:a_proof"]
    assert first.breaks[-1].found == "3 more now"
    assert mended == [["account:1", "proof:a_proof"], ["account:1", "account:2", "proof:a_proof"], ["proof:a_proof"]]
    assert subjects(prover.run(a_proof(), is_full=True)) == []


def test_what_was_told_before_is_told_again_before_what_is_new(engine: Engine, conn: Connection, watch: Watch) -> None:
    """An alert that closed for want of room would open and close each minute."""
    prover = Prover(conn, now=watch, limits=Limits(rules=Rules()), max_breaks=2)
    prover.run(a_proof(a_break("account:y"), a_break("account:z")))
    found = subjects(
        prover.run(a_proof(*map(a_break, ("account:a", "account:b", "account:y", "account:z", "account:z"))))
    )

    assert {"account:y", "account:z", "proof:a_proof"} <= set(found)
    assert len(found) == len(set(found))


def test_all_that_a_run_reads_is_of_one_instant(engine: Engine, prover: Prover) -> None:
    """It takes minutes: an account that is read before a transfer and a transfer that is read after it are no break."""
    read: list[tuple[Any, ...] | None] = []

    def check(conn: Connection[Any], scope: Scope) -> Iterable[Break]:
        for name in ("alice", "bob"):
            engine.settle(opening(name))
            read.append(conn.execute("SELECT count(*) FROM outcome").fetchone())
        return []

    ran(prover.run(Proof("a_proof", "Something.", True, check)))

    assert read == [(0,), (0,)]


# Several at once.


def test_a_run_of_a_proof_that_is_under_way_elsewhere_is_left_to_it(
    database: Database, conn: Connection, prover: Prover
) -> None:
    """A full run takes minutes, and the one of the next minute does not wait for it."""
    inside: list[Result | None] = []

    def check(conn: Connection[Any], scope: Scope) -> Iterable[Break]:
        with pools.connect(database.app_url, "test prove") as other:
            another = Prover(other, now=lambda: NOON, limits=Limits(rules=Rules()))
            inside.extend([another.run(a_proof()), another.run(a_proof(name="another"))])
        return []

    ran(prover.run(Proof("a_proof", "Something.", True, check)))

    assert inside[0] is None
    assert inside[1] is not None


def test_a_run_that_another_one_has_overtaken_is_not_written(engine: Engine, prover: Prover, conn: Connection) -> None:
    """Its snapshot is older: it would close an alert that the newer one has just opened."""

    def check(_: Connection[Any], scope: Scope) -> Iterable[Break]:
        engine.rows("UPDATE proof_state SET runs = runs + 1")
        return []

    ran(prover.run(a_proof(a_break())))

    assert prover.run(Proof("a_proof", "Something.", True, check)) is None
    assert open_alerts(engine) == [("a_proof", "account:alice")]


def test_a_run_over_everything_that_was_overtaken_is_tried_again(
    engine: Engine, watch: Watch, conn: Connection
) -> None:
    """The run of every minute begins with it: it would never be counted, and nobody would hear of it."""
    overtaken = [True, True, False]

    def check(_: Connection[Any], scope: Scope) -> Iterable[Break]:
        if overtaken.pop(0):
            engine.rows("UPDATE proof_state SET runs = runs + 1")
        return []

    pauses: list[float] = []
    prover = Prover(conn, now=watch, limits=Limits(rules=Rules()), pause=pauses.append)
    ran(prover.run(a_proof()))
    result = ran(prover.run(Proof("a_proof", "Something.", True, check), is_full=True))

    assert result.is_full
    assert (len(pauses), overtaken) == (2, [])
    assert engine.rows("SELECT is_full FROM proof_run WHERE proof = 'a_proof' ORDER BY id") == [(False,), (True,)]


def test_a_run_for_which_there_is_no_more_time_leaves_everything_as_it_was(
    engine: Engine, conn: Connection, watch: Watch
) -> None:
    """The scheduler is asked to end: half a proof proves nothing, and the next leader begins where this one did."""
    engine.settle(opening("alice"), deposit("alice", 100))
    stopping = Prover(conn, now=watch, limits=Limits(rules=Rules()), stopped=lambda: True)

    assert stopping.run(TOTALS) is None
    assert stopping.run_all() == []
    assert engine.rows("SELECT FROM proof_run UNION ALL SELECT FROM proof_state") == []


def test_the_log_of_another_cluster_is_proven_from_its_beginning(engine: Engine, prover: Prover) -> None:
    """After a restore, the numbers of transactions begin anew: what was proven up to there says nothing here."""
    engine.settle(opening("alice"), deposit("alice", 100))
    prover.run(TOTALS)
    engine.rows("UPDATE proof_state SET below_xid = '1000000000000'")

    assert ran(prover.run(TOTALS)).checked == 2
    assert ran(prover.run(TOTALS)).checked == 0


def test_no_proof_cries_while_the_books_are_being_written(engine: Engine, database: Database, watch: Watch) -> None:
    """A false alarm would freeze a customer's account, and the next true one would be taken for another."""
    random = Random(7)
    names = [f"account-{number}" for number in range(12)]
    engine.settle(*(opening(name, overdraft_limit_minor=500, overdraft_fee_minor=15) for name in names))
    engine.settle(*(advance(name, 300, instalments=3) for name in names))
    over = threading.Event()
    results: list[Result] = []

    def prove() -> None:
        with pools.connect(database.app_url, "test prove") as conn:
            limits = Limits(rules=Rules(), pending=timedelta(days=1))
            prover = Prover(conn, now=watch, limits=limits, page=50)
            for number in count():
                results.extend(prover.run_all(is_full=number % 3 == 2))
                system_accounts.roll_forward(conn, now=watch(), outcomes=40)
                if over.is_set():
                    break
            results.extend(prover.run_all() + prover.run_all(is_full=True))

    with ThreadPoolExecutor(1) as background:
        proving = background.submit(prove)
        try:
            for _ in range(5):
                engine.accept_apart(*(some_payment(random, names) for _ in range(200)))
                engine.collect()
                engine.drain(workers=3, order=random)
                watch.forward(days=7)
            enough = len(results) + 3 * len(PROOFS)
            eventually(lambda: len(results) > enough or proving.done())
        finally:
            over.set()
        proving.result()

    assert [(each.proof.name, each.error, each.breaks) for each in results if each.error or each.breaks] == []
    assert len(results) > 4 * len(PROOFS)
    assert {each.proof.name for each in results} == {proof.name for proof in PROOFS}


def some_payment(random: Random, names: Sequence[str]) -> CommandBody:
    """In, out or from one to another; often more than there is."""
    one, other = random.sample(names, 2)
    amount_minor = random.choice((1, 40, 300, 700))
    return random.choice((deposit(one, amount_minor), withdraw(one, amount_minor), transfer(one, other, amount_minor)))


# The scheduler's own jobs.


def job_ran(engine: Engine, watch: Watch, job: str = "sweep") -> None:
    """Let it have succeeded now."""
    engine.rows(
        "INSERT INTO job_run (job, started_at, ended_at, result, emitted) VALUES (%s, %s, %s, 'success', 0)",
        [job, watch(), watch()],
    )


def test_a_job_without_a_success_for_too_long_is_told_until_it_has_one(
    engine: Engine, conn: Connection, watch: Watch
) -> None:
    """Nothing else tells of what does not happen. A gap that is over is told once: there is nothing to mend."""
    limits = Limits(rules=Rules(), periods={"sweep": timedelta(minutes=5), "collect": timedelta(hours=3)})
    prover = Prover(conn, now=watch, limits=limits)
    proof = job_runs.PROOF
    found = [subjects(prover.run(proof))]
    for minutes, runs in ((4, True), (5, True), (6, False), (6, False), (1, True), (1, True)):
        watch.forward(minutes=minutes)
        if runs:
            job_ran(engine, watch)
        found.append(subjects(prover.run(proof)))
    watch.forward(hours=3)
    job_ran(engine, watch)

    assert found == [[], [], [], ["job:sweep"], ["job:sweep"], ["job:sweep"], []]
    assert subjects(prover.run(proof)) == ["job:collect", "job:sweep"]
    assert subjects(prover.run(proof)) == ["job:collect"]


def test_what_was_proven_in_full_lately_is_not_due(engine: Engine, prover: Prover, watch: Watch) -> None:
    """A new leader does not begin a week's work again."""
    prover.run_all(PROOFS[:2], is_full=True)
    prover.run_all(PROOFS[2:4])
    watch.forward(days=6)
    due = prover.due(WEEK)
    watch.forward(days=1)

    assert due == list(PROOFS[2:])
    assert prover.due(WEEK) == list(PROOFS)


def test_every_proof_has_a_name_and_a_sentence() -> None:
    """They are what an admin reads, and what the rows of the record are found by."""
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)
    assert all(proof.name.replace("_", "").isalpha() and proof.proves.endswith(".") for proof in PROOFS)
