"""Dead letters by hand: retried once, whoever is killed or comes second; discarded for good; seen by their clients."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection, errors
from typer.testing import CliRunner, Result
from uuid_utils.compat import uuid7

from cli.main import app
from processor import alerts, clock, dead_letters, dry_run, pools
from processor import apply as apply_module
from processor.breaks import Break
from processor.dead_letters import AlikeError, CannotError, Retried
from processor.domain.books import Books
from processor.domain.decide import Decided, decide
from processor.store import commands as command_store
from processor.store import dead_letters as store
from processor.store import locks
from processor.submissions import CommandBody, Submission
from tests.builders import RULES, advance, deposit, opening, place_hold, transfer, withdraw
from tests.conftest import Database
from tests.engine import Engine
from tests.eventually import eventually

ALICE_IS_BROKEN = Break("chain", "account:alice", expected="1", found="2", advice="Look.", account="alice")

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def sickness(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Types of commands on which the rules of the workers break, until the test heals them."""
    sick = set[str]()

    def deciding(books: Books, asked: Any, **kwargs: Any) -> Decided:
        listed = list(asked)
        if "all" in sick or any(type(each).__name__ in sick for each in listed):
            raise RuntimeError("sick [bold]of[/bold] it\nand more")
        return decide(books, listed, **kwargs)

    monkeypatch.setattr(apply_module, "decide", deciding)
    return sick


@pytest.fixture
def fail_once(engine: Engine, sickness: set[str]) -> Callable[..., int]:
    """Accept a command and let it become a dead letter; afterwards the workers are well again."""

    def failing(body: CommandBody) -> int:
        sickness.add("all")
        (position,) = engine.settle(body)
        sickness.clear()
        assert engine.outcomes()[position] == ("failed", "internal_error")
        return position

    return failing


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    """What a command of the command line has."""
    with pools.connect(engine.database.app_url, "test of dead letters") as conn:
        yield conn


@pytest.fixture
def florin(engine: Engine, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, as whoever is on call uses it."""
    for name in ("FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    environment = {"DATABASE_URL": engine.database.app_url, "REDIS_URL": redis_url, "COLUMNS": "200"}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)

    return run


def retry(conn: Connection, position: int, *, by: str = "ann", reason: str = "repaired") -> Retried:
    return dead_letters.retry(conn, position, by=by, reason=reason, now=clock.now(), new_id=uuid7)


def apply_retry(engine: Engine, retried: Retried) -> tuple[str, str | None]:
    """What the sweeper's message, or the command line's own, leads to."""
    engine.applier.apply([retried.position], retried.in_line.account_keys)
    return engine.outcomes()[retried.position]


def id_of(engine: Engine, position: int) -> str:
    ((id_,),) = engine.rows("SELECT id::text FROM command WHERE position = %s", [position])
    return str(id_)


def actions(engine: Engine) -> list[tuple[Any, ...]]:
    return engine.rows(
        "SELECT position, number, action, acted_by, reason, retry_position FROM dead_letter_action ORDER BY 1, 2"
    )


# A retry.


def test_a_retry_does_what_was_asked_as_a_command_of_its_own(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """The failed command keeps its answer for ever; its client gets the money by another one that names it."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500, reference="rent"))
    retried = retry(conn, position)

    assert apply_retry(engine, retried) == ("applied", None)
    assert engine.outcomes()[position] == ("failed", "internal_error")
    assert engine.balances() == {"alice": 500}
    assert actions(engine) == [(position, 1, "retry", "ann", "repaired", retried.position)]
    assert engine.rows("SELECT client_id, idempotency_key, reference FROM command WHERE id = %s", [retried.id]) == [
        (1, f"retry:{id_of(engine, position)}:1", "rent")
    ]
    assert store.dead_letters_open(conn) == (0, None)


@pytest.mark.parametrize("settled", [False, True])
def test_what_is_retried_already_is_not_retried_again(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, settled: bool
) -> None:
    """While the first retry is pending, and once it is applied: a second one would pay twice."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    retried = retry(conn, position)
    if settled:
        apply_retry(engine, retried)

    with pytest.raises(CannotError, match=f"retried already, by ann: command {retried.id}"):
        retry(conn, position, by="ben")
    assert len(actions(engine)) == 1


def test_after_a_refusal_it_may_be_retried_once_more(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """A refusal moved nothing: once the account is there, the same can be asked for under the next key."""
    position = fail_once(deposit("alice", 500))
    first = retry(conn, position)

    assert apply_retry(engine, first) == ("refused", "account_not_found")
    assert store.dead_letters_open(conn)[0] == 1
    assert store.list_positions(conn, every=False, limit=9) == [position]

    engine.settle(opening("alice"))
    second = retry(conn, position)

    assert second.idempotency_key.endswith(":2")
    assert store.dead_letters_open(conn)[0] == 0
    assert apply_retry(engine, second) == ("applied", None)
    assert engine.balances() == {"alice": 500}
    assert store.list_positions(conn, every=False, limit=9) == []
    with pytest.raises(CannotError, match="retried already"):
        retry(conn, position)


def test_after_a_refusal_it_may_be_discarded(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, florin: Callable[..., Result]
) -> None:
    """It waits for somebody again, in the list and in the count, until somebody says that nothing is to be done."""
    position = fail_once(deposit("alice", 500))
    apply_retry(engine, retry(conn, position))
    before = florin("dead-letters", "list", "--json")
    dead_letters.discard(conn, position, by="ann", reason="no such account", now=clock.now())
    after = florin("dead-letters", "list")

    assert [(each["state"], each["open"]) for each in orjson.loads(before.stdout)] == [("retried: refused", True)]
    assert (before.exit_code, after.exit_code) == (1, 0)
    assert [action for _, _, action, *_ in actions(engine)] == ["retry", "discard"]


def test_a_retry_that_fails_is_a_dead_letter_of_its_own(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, sickness: set[str]
) -> None:
    """Who was too early finds it in the list again, with whose retry it is; the old one leads to it."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    first = retry(conn, position)
    sickness.add("all")
    apply_retry(engine, first)
    sickness.clear()
    (case,) = dead_letters.cases(conn, [first.position])

    assert (case.state, case.parent and case.parent.position) == ("open", position)
    with pytest.raises(CannotError, match=f"its retry {first.id} is a dead letter itself"):
        retry(conn, position)

    assert apply_retry(engine, retry(conn, first.position)) == ("applied", None)
    assert engine.balances() == {"alice": 500}


def test_a_collect_is_left_to_the_scheduler(engine: Engine, sickness: set[str], conn: Connection) -> None:
    """It tries again by itself: by hand as well, an instalment would be collected by two commands."""
    engine.settle(opening("alice"), advance("alice", 1_200, first_due_on=clock.now().date()))
    sickness.add("Collect")
    engine.collect()
    engine.drain()
    ((position,),) = engine.rows("SELECT position FROM dead_letter")

    with pytest.raises(CannotError, match="scheduler tries again by itself"):
        retry(conn, position)
    with pytest.raises(CannotError, match="scheduler tries again by itself"):
        dead_letters.preview(conn, dead_letters.cases(conn, [position])[0], now=clock.now(), rules=RULES)
    dead_letters.discard(conn, position, by="ann", reason="collected since", now=clock.now())
    assert actions(engine) == [(position, 1, "discard", "ann", "collected since", None)]


def test_an_expiry_is_left_to_the_scheduler(engine: Engine, sickness: set[str], conn: Connection) -> None:
    """As a collect is: after a day it gives the money back by itself."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.settle(place_hold("alice", 100, expires_at=clock.now() + timedelta(days=1)))
    engine.rows("UPDATE hold SET expires_at = now()")
    sickness.add("ExpireHold")
    engine.expire_holds()
    engine.drain()
    ((position,),) = engine.rows("SELECT position FROM dead_letter")

    with pytest.raises(CannotError, match="an expire_hold is not retried by hand: the scheduler tries again by itself"):
        retry(conn, position)
    dead_letters.discard(conn, position, by="ann", reason="released since", now=clock.now())
    assert actions(engine) == [(position, 1, "discard", "ann", "released since", None)]


def test_a_clients_own_use_of_the_key_stops_the_retry(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, florin: Callable[..., Result]
) -> None:
    """Whoever guessed the key has another command under it, even if with the same body: that is not the retry."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    key = f"retry:{id_of(engine, position)}:1"
    (taken,) = engine.answers([Submission(uuid7(), 1, key, deposit("alice", 500))])
    said = florin("dead-letters", "retry", str(position), "--reason", "repaired", "--yes")

    with pytest.raises(CannotError, match=f"used the key {key} itself, for command {taken.id}"):  # type: ignore[union-attr]
        retry(conn, position)
    assert said.exit_code == 1
    assert "has used the key" in said.stderr
    assert actions(engine) == []
    assert engine.rows("SELECT count(*) FROM command WHERE idempotency_key LIKE 'retry:%%'") == [(1,)]


def test_the_same_key_of_another_client_is_no_matter(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """Keys belong to their clients: nobody can keep another's money back by taking a key."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    engine.answers([Submission(uuid7(), 2, f"retry:{id_of(engine, position)}:1", deposit("alice", 1))])

    assert apply_retry(engine, retry(conn, position))[0] == "applied"


# Whatever is killed, and whoever comes second.


@pytest.mark.parametrize("step", ["cases", "accept_one", "add_action", "commit"])
def test_a_retry_that_is_killed_leaves_all_or_nothing(
    engine: Engine, fail_once: Callable[..., int], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At whatever instant the session dies, repeating the retry ends with the money moved once."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    with pools.connect(engine.database.app_url, "dies") as dying:
        module: Any = {"cases": dead_letters, "accept_one": command_store}.get(step, store)
        original = getattr(module, step if step != "commit" else "add_action")

        def killed(*args: Any, **kwargs: Any) -> Any:
            done = original(*args, **kwargs)
            if step == "commit":
                # The answer to COMMIT is lost: whether it happened is not known here.
                dying.execute("COMMIT")
            engine.rows("SELECT pg_terminate_backend(%s, 10000)", [dying.info.backend_pid])
            return done

        monkeypatch.setattr(module, step if step != "commit" else "add_action", killed)
        with pytest.raises(psycopg.OperationalError):
            retry(dying, position)
    monkeypatch.undo()
    with pools.connect(engine.database.app_url, "again") as again:
        if step == "commit":
            with pytest.raises(CannotError, match="retried already"):
                retry(again, position)
        else:
            retry(again, position)
    ((retry_position,),) = engine.rows("SELECT retry_position FROM dead_letter_action")
    keys = engine.rows("SELECT account_key FROM pending WHERE position = %s", [retry_position])
    engine.applier.apply([retry_position], [key for (key,) in keys])

    assert engine.balances() == {"alice": 500}
    assert len(actions(engine)) == 1


def test_two_people_at_once_retry_it_once(
    engine: Engine, fail_once: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw it open. The second comes when the first has written and not committed: it waits, and then is told."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    written, go_on = threading.Event(), threading.Event()
    original = store.add_action

    def slowly(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        written.set()
        assert go_on.wait(20)

    monkeypatch.setattr(store, "add_action", slowly)

    def one(by: str) -> Retried | CannotError:
        with pools.connect(engine.database.app_url, by) as conn:
            try:
                return retry(conn, position, by=by)
            except CannotError as error:
                return error

    with ThreadPoolExecutor(2) as people:
        first = people.submit(one, "ann")
        assert written.wait(20)
        second = people.submit(one, "ben")
        while not engine.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert not second.done()
        go_on.set()
        answers = [first.result(), second.result()]

    assert isinstance(answers[0], Retried)
    assert "retried already, by ann" in str(answers[1])
    assert len(actions(engine)) == 1


def test_a_retry_stands_in_line_with_the_intakes(
    engine: Engine, fail_once: Callable[..., int], database: Database
) -> None:
    """Positions become visible in their order only if nobody gives out one beside the intake that is at work."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))

    def one() -> Retried:
        with pools.connect(database.app_url, "waits") as conn:
            return retry(conn, position)

    with psycopg.connect(database.app_url) as intake, ThreadPoolExecutor(1) as people:
        locks.lock_one(intake, locks.INTAKE)
        waiting = people.submit(one)
        eventually(lambda: engine.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        early = waiting.done()
        intake.rollback()
        retried = waiting.result()

    assert not early
    assert apply_retry(engine, retried) == ("applied", None)


def test_whoever_is_paused_in_a_retry_stops_no_intake_for_long(
    engine: Engine, fail_once: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop's lid is closed with the intake's lock in hand: Postgres ends the session before clients give up."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    original = store.add_action

    def paused(*args: Any, **kwargs: Any) -> None:
        with pools.connect(engine.database.app_url, "intake", lock_timeout="6s") as intake, intake.transaction():
            locks.lock_one(intake, locks.INTAKE)
        original(*args, **kwargs)

    monkeypatch.setattr(store, "add_action", paused)
    with (
        pools.connect(engine.database.app_url, "paused") as conn,
        pytest.raises(errors.IdleInTransactionSessionTimeout),
    ):
        retry(conn, position)

    assert actions(engine) == []
    assert engine.pending() == []


def test_postgres_refuses_a_second_retry_without_the_lock(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """The rule holds even for code that forgot to ask: a number is given once, and nothing follows a discard."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    retried = retry(conn, position)
    facts = {"by": "ben", "reason": "me too", "now": clock.now()}

    with pytest.raises(psycopg.errors.UniqueViolation, match="dead_letter_action_pkey"):
        store.add_action(conn, position, 1, "discard", **facts)  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.UniqueViolation, match="dead_letter_action_retry_key"):
        store.add_action(conn, position, 2, "retry", retry_position=retried.position, **facts)  # type: ignore[arg-type]
    store.add_action(conn, position, 2, "discard", **facts)  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="dead_letter_action_after"):
        store.add_action(conn, position, 3, "discard", **facts)  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["retry", "killed", "apply", "discard", "open"]), min_size=2, max_size=8), st.data())
def test_whatever_is_tried_in_whatever_order_pays_once_at_most(
    engine: Engine, fail_once: Callable[..., int], steps: list[str], data: st.DataObject
) -> None:
    """Retries by several people, some of which die, and workers in between: the money arrives once or not at all."""
    name = f"a.{uuid7()}"
    position = fail_once(deposit(name, 500))
    with pools.connect(engine.database.app_url, "several") as conn:
        for step in steps:
            if step == "open":
                engine.settle(opening(name))
            elif step == "apply":
                pending = engine.in_line(engine.pending())
                for each in data.draw(st.permutations(pending)):
                    engine.applier.apply([each.position], each.account_keys)
            else:
                with pytest.MonkeyPatch.context() as patched:
                    if step == "killed":
                        patched.setattr(store, "add_action", _dying)
                    try:
                        if step == "discard":
                            dead_letters.discard(conn, position, by="ann", reason="no", now=clock.now())
                        else:
                            retry(conn, position)
                    except (CannotError, ConnectionError):
                        pass
    for each in engine.in_line(engine.pending()):
        engine.applier.apply([each.position], each.account_keys)
    paid = engine.balances().get(name, 0)
    done = [(action, becoming) for _, _, action, _, _, becoming in actions(engine) if _belongs(engine, becoming, name)]
    applied = [becoming for _, becoming in done if engine.outcomes()[becoming] == ("applied", None)]

    assert paid == 500 * len(applied)
    assert len(applied) <= 1
    assert engine.rows(
        "SELECT count(*) - count(DISTINCT (client_id, idempotency_key)) FROM command WHERE account = %s", [name]
    ) == [(0,)]
    assert (
        len(done)
        == engine.rows("SELECT count(*) FROM command WHERE account = %s AND idempotency_key LIKE 'retry:%%'", [name])[
            0
        ][0]
    )
    engine.assert_every_account_is_a_chain()


def _dying(*_: Any, **__: Any) -> None:
    raise ConnectionError("killed")


def _belongs(engine: Engine, position: int | None, name: str) -> bool:
    return bool(engine.rows("SELECT 1 FROM command WHERE position = %s AND account = %s", [position, name]))


# The preview.


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (withdraw("alice", 400), {"alice": (1_000, 600)}),
        (withdraw("alice", 4_000), {"alice": (1_000, 1_000)}),
        (transfer("alice", "bob", 400), {"alice": (1_000, 600), "bob": (0, 400)}),
        (opening("carol"), {"carol": (None, 0)}),
        (deposit("nobody", 1), {"nobody": (None, None)}),
        (advance("alice", 1_200), {"alice": (1_000, 2_200)}),
    ],
    ids=lambda value: value.type if isinstance(value, CommandBody) else "",
)
def test_the_preview_says_what_the_retry_then_does(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, body: CommandBody, says: dict[str, Any]
) -> None:
    """Whoever decides looks at the balances first, and looking changes nothing."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 1_000))
    (case,) = dead_letters.cases(conn, [fail_once(body)])
    before = engine.rows("SELECT count(*), max(position) FROM command")
    shown = dead_letters.preview(conn, case, now=clock.now(), rules=RULES)

    assert shown.foreseen.outcome is not None
    assert {each.account: (each.before_minor, each.after_minor) for each in shown.foreseen.balances} == says
    assert engine.rows("SELECT count(*), max(position) FROM command") == before
    assert actions(engine) == []
    assert apply_retry(engine, retry(conn, case.asked.position)) == (
        shown.foreseen.outcome.status.value,
        shown.foreseen.outcome.reason and shown.foreseen.outcome.reason.value,
    )


def test_the_preview_shows_what_the_client_sent_again(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """Told 'failed', a client may have asked under a new key, or have done so before: a retry would pay twice."""
    engine.settle(opening("alice"), opening("bob"))
    old, early = engine.settle(deposit("alice", 500), deposit("alice", 500))
    engine.rows("UPDATE command SET accepted_at = accepted_at - interval '25 hours' WHERE position = %s", [old])
    position = fail_once(deposit("alice", 500))
    (again,) = engine.settle(deposit("alice", 500))
    engine.settle(deposit("alice", 501), withdraw("alice", 500), deposit("bob", 500))
    engine.answers([Submission(uuid7(), 2, "of another client", deposit("alice", 500))])
    engine.drain()
    (waiting,) = engine.accept(deposit("alice", 500))
    (case,) = dead_letters.cases(conn, [position])
    shown = dead_letters.preview(conn, case, now=clock.now(), rules=RULES)

    assert [(each.position, each.status) for each in shown.alike] == [
        *((early, "applied"), (again, "applied"), (waiting, "pending"))
    ]
    assert shown.looked_at_all
    assert shown.foreseen.ahead == {"alice": 1}


@pytest.mark.parametrize("twin", ["applied before", "applied after", "pending", "held", "not to be known"])
def test_what_the_client_may_have_already_is_not_retried_unless_somebody_insists(
    engine: Engine,
    fail_once: Callable[..., int],
    florin: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    twin: str,
) -> None:
    """Whoever copies the line with --yes from a runbook must not pay twice: the client is asked first."""
    engine.settle(opening("alice"))
    if twin == "applied before":
        engine.settle(deposit("alice", 500))
    position = fail_once(deposit("alice", 500))
    if twin == "applied after":
        engine.settle(deposit("alice", 500))
    elif twin == "pending":
        engine.accept(deposit("alice", 500))
    elif twin == "held":
        with engine.pool.connection() as conn:
            alerts.report(conn, "chain", [ALICE_IS_BROKEN], now=clock.now())
        engine.settle(deposit("alice", 500))
    elif twin == "not to be known":
        monkeypatch.setattr(store, "LOOK_BACK", 1)
        engine.settle(deposit("alice", 7))
    arguments = ("dead-letters", "retry", str(position), "--reason", "repaired", "--yes")
    refused = florin(*arguments)
    before = actions(engine)
    insisted = florin(*arguments, "--although-alike")

    assert (refused.exit_code, before) == (4, [])
    assert "--although-alike" in refused.stderr
    assert f", which is {twin.split(maxsplit=1)[0]}" in refused.stderr or twin == "not to be known"
    assert (insisted.exit_code, len(actions(engine))) == (0, 1)


def test_what_was_sent_again_after_somebody_looked_is_not_retried(
    engine: Engine, fail_once: Callable[..., int], conn: Connection
) -> None:
    """Between the preview and the retry, minutes may pass: what counts is what there is when it is done."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    shown = dead_letters.preview(conn, dead_letters.cases(conn, [position])[0], now=clock.now(), rules=RULES)
    engine.accept(deposit("alice", 500))

    assert (shown.alike, shown.looked_at_all) == ([], True)
    with pytest.raises(AlikeError, match="which is pending"):
        retry(conn, position)
    assert actions(engine) == []


def test_the_preview_says_when_it_could_not_look_back_far_enough(
    engine: Engine, fail_once: Callable[..., int], conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'No such command' must not be read where nobody looked."""
    monkeypatch.setattr(store, "LOOK_BACK", 3)
    engine.settle(opening("alice"))
    (case,) = dead_letters.cases(conn, [fail_once(deposit("alice", 500))])
    engine.settle(*[deposit("alice", 1)] * 4)

    assert not dead_letters.preview(conn, case, now=clock.now(), rules=RULES).looked_at_all


def test_what_would_fail_again_is_not_retried(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are not repaired where this runs: another dead letter would help nobody."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))

    def sick(*_: Any, **__: Any) -> Decided:
        raise RuntimeError("still sick")

    monkeypatch.setattr(dry_run, "decide", sick)
    said = florin("dead-letters", "retry", str(position), "--reason", "again", "--yes")

    assert said.exit_code == 1
    assert "still sick" in said.stdout
    assert actions(engine) == []


# The command line.


def test_without_yes_nothing_is_done(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result]
) -> None:
    """A preview is shown, a script can tell by the exit code, and --yes alone is not enough."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    shown = florin("dead-letters", "retry", id_of(engine, position))
    unsaid = florin("dead-letters", "retry", str(position), "--yes")
    discarding = florin("dead-letters", "discard", str(position), "--reason", "no")

    assert (shown.exit_code, unsaid.exit_code, discarding.exit_code) == (3, 2, 3)
    assert "balance of alice: 0.00 USD -> 5.00 USD" in shown.stdout
    assert "may have sent the same again" in shown.stdout
    assert "--yes needs --reason" in unsaid.stderr
    assert actions(engine) == []


def test_retry_on_the_command_line_sends_the_message_too(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result]
) -> None:
    """It is queued as the intake would, recorded with who and why, and a second call is told of the first."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    done = florin("dead-letters", "retry", str(position), "--reason", "repaired", "--by", "ann", "--yes")
    again = florin("dead-letters", "retry", str(position), "--reason", "repaired", "--by", "ben", "--yes")
    ((_, _, _, by, reason, retry_position),) = actions(engine)

    assert (done.exit_code, again.exit_code) == (0, 1)
    assert (by, reason) == ("ann", "repaired")
    assert f"Accepted as command {id_of(engine, retry_position)}" in done.stdout
    assert "retried already, by ann" in again.stderr


def test_a_retry_does_not_need_the_queue(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is away: it is accepted all the same, and the sweeper sends it on."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    environment = {"DATABASE_URL": engine.database.app_url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    arguments = ["dead-letters", "retry", str(position), "--reason", "repaired", "--yes"]
    done = CliRunner().invoke(app, arguments, env=environment)

    assert done.exit_code == 0
    assert "The queue is away" in done.stdout
    assert len(actions(engine)) == 1


def test_list_shows_the_open_ones(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result], conn: Connection
) -> None:
    """A script can ask by the exit code; what is dealt with is shown on demand, and markup in an error is text."""
    engine.settle(opening("alice", "JPY"))
    nothing = florin("dead-letters", "list")
    first, second = fail_once(deposit("alice", 500, "JPY")), fail_once(transfer("alice", "bob", 7, "JPY"))
    both = florin("dead-letters", "list")
    dead_letters.discard(conn, first, by="ann", reason="paid in cash", now=clock.now())
    one = florin("dead-letters", "list", "--json")
    all_of_them = florin("dead-letters", "list", "--all")
    retry(conn, second)
    none = florin("dead-letters", "list")

    assert [each.exit_code for each in (nothing, both, one, all_of_them, none)] == [0, 1, 1, 1, 0]
    assert "500 JPY" in both.stdout
    assert "alice > bob" in both.stdout
    assert "sick [bold]of[/bold] it" in both.stdout
    assert [(each["position"], each["state"]) for each in orjson.loads(one.stdout)] == [(second, "open")]
    assert "discarded" in all_of_them.stdout


def test_a_discarded_one_stays_so(engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result]) -> None:
    """Nothing of the books changes, who and why is kept, and neither a retry nor another discard follows."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    done = florin("dead-letters", "discard", str(position), "--reason", "paid in cash", "--by", "ann", "--yes")
    shown = florin("dead-letters", "show", id_of(engine, position))
    more = [
        florin("dead-letters", what, str(position), "--reason", "but", "--yes").stderr for what in ("retry", "discard")
    ]

    assert done.exit_code == 0
    assert "discarded by ann" in shown.stdout
    assert "paid in cash" in shown.stdout
    assert ["discarded" in each for each in more] == [True, True]
    assert engine.balances() == {"alice": 0}
    assert actions(engine) == [(position, 1, "discard", "ann", "paid in cash", None)]


def test_a_word_that_may_mean_two_commands_means_none(
    engine: Engine, fail_once: Callable[..., int], florin: Callable[..., Result]
) -> None:
    """A number is a position, and may be somebody's key: the wrong one must not be retried."""
    engine.settle(opening("alice"))
    position = fail_once(deposit("alice", 500))
    engine.answers([Submission(uuid7(), 2, str(position), deposit("alice", 1))])
    said = florin("dead-letters", "show", str(position))
    unknown = florin("dead-letters", "show", "no-such-key")
    healthy = florin("dead-letters", "show", str(position), "--client", "globex")

    assert (said.exit_code, unknown.exit_code, healthy.exit_code) == (2, 1, 1)
    assert f"{position} may mean 2 commands" in said.stderr
    assert "there is no command" in unknown.stderr
    assert "is no dead letter: it is pending" in healthy.stderr
