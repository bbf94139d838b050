"""`florin explain` on a real database and queue: the life of every kind of command, in every state, on one screen."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result
from uuid_utils.compat import uuid7

from cli.main import app
from processor import apply as apply_module
from processor import clock
from processor.delivery import Delivery
from processor.submissions import Submission
from tests.builders import (
    adjust,
    advance,
    capture_hold,
    deposit,
    freeze,
    opening,
    place_hold,
    reverse,
    set_limits,
    transfer,
    withdraw,
)
from tests.engine import Engine
from workers.broker import make_broker
from workers.messages import message
from workers.queue import CommandQueue

pytestmark = pytest.mark.usefixtures("impatient")

Explain = Callable[..., Any]


@pytest.fixture
def florin(engine: Engine, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, as whoever is on call uses it."""
    for name in ("FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, columns: int = 100) -> Result:
        environment = {"DATABASE_URL": engine.database.app_url, "REDIS_URL": redis_url, "COLUMNS": str(columns)}
        return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)

    return run


@pytest.fixture
def explained(engine: Engine, florin: Callable[..., Result]) -> Explain:
    """The life of the command at a position, as a program is told; a person is shown it too, within 80 columns."""

    def explaining(position: int) -> Any:
        ((id_,),) = engine.rows("SELECT id FROM command WHERE position = %s", [position])
        said, shown = florin("explain", id_, "--json"), florin("explain", id_, columns=80)
        assert (said.exit_code, shown.exit_code) == (0, 0), f"{said.output}{said.exception!r} {shown.exception!r}"
        assert max(map(len, shown.stdout.splitlines())) <= 80
        document = orjson.loads(said.stdout)
        return SimpleNamespace(**document, screen=shown.stdout)

    return explaining


def test_an_applied_deposit_has_a_life_from_receipt_to_balance(engine: Engine, explained: Explain) -> None:
    """The question on the phone is 'where is my money?': the answer is on one screen."""
    engine.settle(opening("alice"))
    positions = engine.accept(deposit("alice", 1_000, reference="rent"), deposit("alice", 50), deposit("alice", 7))
    (batch,), engine.queue = engine.queue, []
    sent = message(batch)
    sent = sent.copy(options={"sent_by": "sweeper", "retries": 2})
    taken_at = datetime.fromtimestamp(sent.message_timestamp / 1000, UTC) + timedelta(milliseconds=250)
    delivery = Delivery.of(sent, worker="host-1:42", taken_at=taken_at)
    engine.applier.apply(batch.positions, batch.account_keys, delivery)
    life = explained(positions[1])

    assert (life.status, life.client, life.position) == ("applied", "acme", positions[1])
    assert life.delivery["worker"] == "host-1:42"
    assert (life.delivery["sent_by"], life.delivery["attempt"], life.delivery["commands"]) == ("sweeper", 3, 3)
    assert life.delivery["message_id"] == sent.message_id
    assert [step["step"] for step in life.timeline] == ["accepted", "sent", "taken", "locked", "decided"]
    assert life.timeline[2]["after_s"] == pytest.approx(0.25)
    assert life.transfers[0]["accounts"] == [
        {"account": "@settlement:USD", "change": "-0.50", "balance_before": None, "balance_after": None},
        {"account": "alice", "change": "+0.50", "balance_before": "10.00", "balance_after": "10.50"},
    ]
    for words in ("deposit 0.50 USD to alice", "in the queue 250.0 ms", "with 2 other commands", "host-1:42"):
        assert words in life.screen
    assert "rent" in explained(positions[0]).screen


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "1050"), ("USD", "10.50"), ("KWD", "1.050")], ids=["none", "two", "three"]
)
def test_amounts_have_the_decimals_of_their_currency(
    engine: Engine, explained: Explain, currency: str, amount: str
) -> None:
    """1050 yen are not 10.50 yen."""
    *_, position = engine.settle(opening("alice", currency), deposit("alice", 1_050, currency))
    life = explained(position)

    assert life.transfers[0]["accounts"][1]["balance_after"] == amount
    assert f"deposit {amount} {currency} to alice" in life.screen


def test_a_refusal_says_why(engine: Engine, explained: Explain) -> None:
    """In words, and nothing was moved."""
    *_, position = engine.settle(opening("alice"), withdraw("alice", 5))
    life = explained(position)

    assert (life.status, life.reason, life.transfers) == ("refused", "insufficient_funds", [])
    assert "above what is available" in life.screen


def test_a_withdrawal_with_its_fee_and_a_transfer_show_every_balance(engine: Engine, explained: Explain) -> None:
    """Two transfers of one command, each from the balance that the one before it left."""
    engine.settle(opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500), opening("bob"))
    paid, moved = engine.settle(withdraw("alice", 2_000), transfer("alice", "bob", 300))
    life = explained(paid)

    assert [each["kind"] for each in life.transfers] == ["withdrawal", "overdraft_fee"]
    assert [side["balance_after"] for each in life.transfers for side in each["accounts"]] == [
        *("-20.00", None),
        *("-35.00", None),
    ]
    assert [side["balance_after"] for side in explained(moved).transfers[0]["accounts"]] == ["-38.00", "3.00"]
    assert explained(1).sentence == "open account alice in USD, overdraft 100.00 USD"


def test_lending_shows_what_became_of_the_instalments(engine: Engine, explained: Explain) -> None:
    """Granted, collected, repaid early, written off: each shows the instalments that it touched, as they are now."""
    today = clock.now().date()
    _, granted = engine.settle(opening("alice"), advance("alice", 1_200, instalments=4, first_due_on=today))
    engine.collect()
    engine.drain()
    collected = granted + 1
    ((advance_id,),) = engine.rows("SELECT id FROM command WHERE position = %s", [granted])
    repay = replace(deposit("alice", 300), type="repay", advance_id=advance_id)
    write_off = replace(deposit("alice", 1), type="write_off", advance_id=advance_id, amount_minor=None, reason="gone")
    repaid, written_off = engine.settle(repay, write_off)

    assert [each["number"] for each in explained(granted).instalments] == [1, 2, 3, 4]
    assert [(each["number"], each["state"]) for each in explained(collected).instalments] == [(1, "paid")]
    assert [(each["number"], each["settled_by_this"]) for each in explained(repaid).instalments] == [(2, True)]
    life = explained(written_off)
    assert [(each["number"], each["state"]) for each in life.instalments] == [(3, "written_off"), (4, "written_off")]
    assert (life.advance["state"], life.advance["written_off"]) == ("written_off", "6.00")
    assert "settled by this command" in life.screen


def test_a_hold_is_shown_by_whoever_placed_or_ended_it(engine: Engine, explained: Explain) -> None:
    """The balance does not say where the money is: the hold does, and who took it."""
    engine.settle(opening("alice"), opening("shop"), deposit("alice", 3_000))
    (placed,) = engine.settle(place_hold("alice", 2_500, expires_at=engine.now() + timedelta(days=1)))
    ((hold_id,),) = engine.rows("SELECT id FROM command WHERE position = %s", [placed])
    pending = explained(placed)
    (captured,) = engine.settle(capture_hold("alice", hold_id, amount_minor=2_000, to_account="shop"))
    taking, by_then = explained(captured), explained(placed)

    assert pending.sentence == "hold 25.00 USD on alice"
    assert (pending.hold["id"], pending.hold["state"], pending.hold["settled_by"]) == (str(hold_id), "held", None)
    assert taking.sentence == f"capture 20.00 USD of hold {hold_id} on alice to shop"
    assert (taking.hold["captured"], taking.hold["settled_by_this"]) == ("20.00", True)
    assert (by_then.hold["settled_by"], by_then.hold["settled_by_this"]) == (taking.id, False)
    assert "captured: 25.00 USD, 20.00 of it taken" in by_then.screen
    assert "by this command" in taking.screen


def test_what_changed_of_an_account_is_shown_beside_what_was(engine: Engine, explained: Explain) -> None:
    """Who asks why a payment was refused is told since when it would be, and why."""
    engine.settle(opening("alice"))
    limited, frozen = engine.settle(
        set_limits("alice", overdraft_limit_minor=5_000, daily_count=3), freeze("alice", reason="lost card")
    )
    first, second = explained(limited), explained(frozen)
    free = {"overdraft_fee": "0.00", "daily_amount": "unlimited"}
    after = {"status": "open", "overdraft_limit": "50.00", "daily_count": "3", **free}

    assert first.sentence == "limit alice: overdraft 50.00, 3 debits a day"
    assert first.change == {"account": "alice", "before": None, "after": after}
    assert second.change == {"account": "alice", "before": after, "after": after | {"status": "frozen"}}
    assert "lost card" in second.screen
    assert explained(1).change is None


def test_a_reversal_and_what_it_reversed_lead_to_each_other(engine: Engine, explained: Explain) -> None:
    """Whichever of the two somebody asks about."""
    paid = deposit("alice", 500)
    _, position = engine.settle(opening("alice"), paid)
    ((id_,),) = engine.rows("SELECT id FROM command WHERE position = %s", [position])
    (mirrored,) = engine.settle(reverse(id_, paid, force=True))
    (adjusted,) = engine.settle(adjust("@suspense:USD", "alice", 100))
    one, other = explained(position), explained(mirrored)

    assert (one.reverses, one.reversed_by) == (None, other.id)
    assert (other.reverses, other.reversed_by) == (one.id, None)
    assert other.sentence == f"reverse command {one.id} by force"
    assert other.id in one.screen
    assert one.id in other.screen
    assert explained(adjusted).sentence == "adjust 1.00 USD from @suspense:USD to alice"


def test_a_pending_one_says_who_is_before_it_and_which_message_names_it(
    engine: Engine, explained: Explain, redis_url: str
) -> None:
    """Is it stuck? Its place in line, and whether anything will ever look at it."""
    engine.settle(opening("alice"), opening("bob"))
    first, second = engine.accept(deposit("alice", 1), transfer("alice", "bob", 1))
    engine.queue.clear()
    stranded = explained(second)
    CommandQueue(make_broker(redis_url)).send(engine.in_line([second]))
    sent = explained(second)

    assert (stranded.status, stranded.delivery, stranded.messages) == ("pending", None, [])
    assert [(each["account"], each["ahead"], each["first_position"]) for each in stranded.lines] == [
        ("alice", 1, first),
        ("bob", 0, second),
    ]
    assert "the sweeper sends one" in stranded.screen
    assert [(each["state"], each["commands"]) for each in sent.messages] == [("ready", 1)]


def test_a_message_that_was_tried_and_failed_says_so(engine: Engine, explained: Explain, redis_url: str) -> None:
    """'It is the next' is not why it waits: the workers have tried, and their log says what is wrong with the books."""
    (position,) = engine.accept(opening("alice"))
    broker = make_broker(redis_url)
    (batch,), engine.queue = engine.queue, []
    sent = message(batch)
    untried = explained(position)
    broker.enqueue(sent.copy(options={**sent.options, "retries": 3}))
    tried = explained(position)
    for consumed in broker.consume("commands", timeout=1000):
        assert consumed is not None
        consumed.fail()
        broker.consume("commands").nack(consumed)
        break
    given_up = explained(position)

    assert "books.contradiction" not in untried.screen
    assert [(each["state"], each["failures"]) for each in tried.messages] == [("ready", 3)]
    assert "3 times, and failed each time" in " ".join(tried.screen.split())
    assert "books.contradiction" in tried.screen
    assert "with 1 command" in " ".join(tried.screen.split())
    assert "1 commands" not in tried.screen
    assert [(each["state"], each["failures"]) for each in given_up.messages] == [("given up", 4)]
    assert "given up: 1 that named it before" in " ".join(given_up.screen.split())


def test_the_oldest_is_whoever_waits_longest(engine: Engine, florin: Callable[..., Result]) -> None:
    """The page says for how long the oldest command waits, and an alert wakes somebody: which one is it?"""
    nobody = florin("explain", "--oldest")
    engine.settle(opening("alice"))
    engine.accept(deposit("alice", 2), deposit("alice", 3))
    in_line = florin("explain", "--oldest")
    engine.rows("INSERT INTO held (position, account_key, held_at) SELECT position, account_key, now() FROM pending")
    engine.rows("DELETE FROM pending")
    engine.accept(opening("bob"))
    held = florin("explain", "--oldest")
    wrong = [florin("explain"), florin("explain", "1", "--oldest"), florin("explain", "--oldest", "--client", "acme")]

    assert (nobody.exit_code, nobody.stdout) == (0, "No command waits, neither in line nor held.\n")
    assert "deposit 0.02 USD to alice" in in_line.stdout
    assert in_line.stdout.startswith("pending")
    assert "deposit 0.02 USD to alice" in held.stdout
    assert held.stdout.startswith("held")
    assert [each.exit_code for each in wrong] == [2, 2, 2]


def test_alerts_that_were_over_before_are_not_its_own(engine: Engine, explained: Explain) -> None:
    """An account that was mended in spring has nothing to do with a payment of today."""
    engine.settle(opening("alice"))
    insert = (
        "INSERT INTO alert (proof, subject, account, severity, expected, found, advice, first_seen_at, last_seen_at,"
        " state, resolved_at) SELECT 'chain', 'account:alice', 'alice', 'page', '1', '2', 'Look.',"
        " now() - interval '1 day', now() - interval '1 day', 'resolved', now() + %s::interval"
    )
    engine.rows(insert, ["-1 hour"])
    (position,) = engine.settle(deposit("alice", 1))
    engine.rows(insert, ["1 hour"])

    assert [each["id"] for each in explained(position).alerts] == [2]


def test_a_queue_that_is_away_is_no_trouble(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis down is when it is asked: what Postgres knows is shown all the same."""
    monkeypatch.delenv("FLORIN_API", raising=False)
    (position,) = engine.accept(opening("alice"))
    environment = {"DATABASE_URL": engine.database.app_url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    said = CliRunner().invoke(app, ["explain", str(position)], env=environment)

    assert said.exit_code == 0
    assert "not asked: it is away" in said.stdout


def test_a_held_one_names_the_quarantine_and_the_alert(engine: Engine, explained: Explain) -> None:
    """What is to be done is beside it: the alert, and the command that releases the account."""
    engine.settle(opening("alice"))
    engine.rows(
        "INSERT INTO alert (proof, subject, account, severity, expected, found, advice, first_seen_at, last_seen_at)"
        " VALUES ('chain', 'account:alice', 'alice', 'page', '1', '2', 'Look.', now(), now())"
    )
    engine.rows(
        "INSERT INTO quarantine (account, account_key, alert_id, began_at)"
        " SELECT 'alice', key, 1, now() FROM account WHERE name = 'alice'"
    )
    (position,) = engine.settle(deposit("alice", 1))
    life = explained(position)

    assert life.held_at is not None
    assert [(each["account"], each["alert_id"]) for each in life.quarantines] == [("alice", 1)]
    assert [(each["proof"], each["names_command"]) for each in life.alerts] == [("chain", False)]
    assert "./florin quarantine release alice" in life.screen


def test_a_dead_letter_and_its_retry_lead_to_each_other(
    engine: Engine, explained: Explain, florin: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at one of them finds the other, with who did it and why."""
    engine.settle(opening("alice"))

    def sick(*_: Any, **__: Any) -> Any:
        raise RuntimeError("sick [red]of[/red] it")

    with monkeypatch.context() as patched:
        patched.setattr(apply_module, "decide", sick)
        (position,) = engine.settle(deposit("alice", 5))
    before = explained(position)
    florin("dead-letters", "retry", position, "--reason", "repaired", "--by", "ann", "--yes")
    ((retried,),) = engine.rows("SELECT retry_position FROM dead_letter_action")
    (waiting,) = engine.in_line([retried])
    engine.applier.apply([retried], waiting.account_keys)
    failed, retry = explained(position), explained(retried)

    assert "sick [red]of[/red] it" in before.screen
    assert f"./florin dead-letters retry {failed.id}" in before.screen
    assert (failed.status, failed.dead_letter["state"]) == ("failed", "retried: applied")
    assert failed.dead_letter["actions"][0]["retried_as"] == retry.id
    assert (retry.status, retry.retry_of) == ("applied", failed.id)
    assert "by ann: repaired" in " ".join(retry.screen.split())


def test_a_key_means_a_command_of_its_client(engine: Engine, florin: Callable[..., Result]) -> None:
    """Two clients may use one key; who asks says which, and an unknown one is said to be so."""
    engine.answers([Submission(uuid7(), number, "invoice-1", opening(f"a.{number}")) for number in (1, 2)])
    both, one = florin("explain", "invoice-1"), florin("explain", "invoice-1", "--client", "globex")
    unknown, nobody = florin("explain", "invoice-2"), florin("explain", "invoice-1", "--client", "initech")
    by_position, beyond = florin("explain", 1), florin("explain", 10**19 - 1)

    assert [each.exit_code for each in (both, one, unknown, nobody, by_position, beyond)] == [2, 0, 1, 1, 0, 1]
    assert "may mean 2 commands" in both.stderr
    assert "open account a.2" in one.stdout
    assert "there is no command with the id, position or key invoice-2" in unknown.stderr
    assert "there is no client initech" in nobody.stderr


def test_what_was_forgotten_is_said_to_be(engine: Engine, explained: Explain) -> None:
    """Deliveries are kept for a while only; the books of the command are all there without them."""
    (position,) = engine.settle(opening("alice"))
    engine.rows("DELETE FROM apply_batch")
    life = explained(position)

    assert life.delivery is None
    assert "not remembered any more" in life.screen


def test_a_row_of_another_cluster_is_not_taken_for_its_own(engine: Engine, explained: Explain) -> None:
    """After a restore, ids of transactions begin anew: one that fits by chance tells of other commands."""
    (position,) = engine.settle(opening("alice"))
    engine.rows("UPDATE apply_batch SET decided_at = decided_at - interval '1 year'")

    assert explained(position).delivery is None


def test_a_row_of_another_cluster_stops_nobody(engine: Engine) -> None:
    """After a restore, the ids of the next transactions may all be taken: the commands are applied all the same."""
    engine.rows(
        "INSERT INTO apply_batch (xid, decided_at, commands, lock_wait_us)"
        " SELECT (pg_current_xact_id()::text::bigint + n)::text::xid8, now(), 1, 0 FROM generate_series(1, 500) AS n"
    )
    engine.settle(opening("alice"), deposit("alice", 5))

    assert engine.balances() == {"alice": 5}


@pytest.mark.parametrize(
    "odd",
    [
        {"options": {"sent_by": "x" * 1_000, "retries": "many"}},
        {"options": {"sent_by": ["worker"], "retries": -1}},
        {"options": None},
        {"options": {"sent_by": "sweeper\0"}, "message_id": "\0" * 9, "message_timestamp": 10**30},
        {"options": {}, "message_id": "é" * 500, "message_timestamp": "yesterday"},
        {},
    ],
)
def test_whatever_a_message_says_of_itself_its_commands_are_applied(engine: Engine, odd: dict[str, Any]) -> None:
    """An old sender, a broken one or a hostile one: nobody's money waits for a remark about it."""
    engine.accept(opening("alice"), deposit("alice", 5))
    (batch,), engine.queue = engine.queue, []
    delivery = Delivery.of(SimpleNamespace(**odd), worker="host\0:1" * 100, taken_at=clock.now())
    engine.applier.apply(batch.positions, batch.account_keys, delivery)

    assert engine.balances() == {"alice": 5}
    assert engine.rows("SELECT sent_by, sent_at, commands FROM apply_batch") == [(None, None, 2)]
    assert engine.rows("SELECT count(*) FROM dead_letter") == [(0,)]
