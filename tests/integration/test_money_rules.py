"""The newer money rules through the engine: what Postgres holds after each is what the rules decided."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest

from processor.submissions import CommandBody
from tests.builders import (
    adjust,
    capture_hold,
    close,
    deposit,
    opening,
    place_hold,
    release_hold,
    reverse,
    set_limits,
    transfer,
    withdraw,
)
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.watch import Watch
from workers.messages import batches


@pytest.fixture
def watch() -> Watch:
    """The clock of everybody in a test."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """The engine by that clock."""
    with running_engine(database, now=watch) as engine:
        yield engine
        # Whatever a test does, the proofs find nothing wrong with it.
        assert engine.breaks() == []


def body(type_: str, account: str | None = None, currency: str = "USD", **fields: object) -> CommandBody:
    """A body of any type."""
    return CommandBody(type=type_, account=account, currency=currency, **fields)  # type: ignore[arg-type]


def ids(engine: Engine) -> dict[int, UUID]:
    """The ids of all commands by position."""
    return dict(engine.rows("SELECT position, id FROM command"))


def account(engine: Engine, name: str) -> tuple[object, ...]:
    """Balance, held, status and how low it was forced."""
    return engine.rows(
        "SELECT credits_minor - debits_minor, held_minor, status, forced_minor FROM account WHERE name = %s", [name]
    )[0]


def test_a_hold_is_placed_captured_in_part_released_and_expired(engine: Engine) -> None:
    """Money that is promised is not available to anybody else, and comes back if nobody takes it."""
    engine.settle(opening("alice"), opening("shop"), deposit("alice", 1_000))
    engine.settle(*(body("place_hold", "alice", amount_minor=minor) for minor in (300, 200, 100)))
    first, second, third = (ids(engine)[position] for position in (4, 5, 6))
    engine.settle(
        withdraw("alice", 401),  # 7: refused
        body("capture_hold", "alice", hold_id=first, amount_minor=250, to_account="shop"),
        body("capture_hold", "alice", hold_id=second),
        body("release_hold", "alice", hold_id=third),
        body("release_hold", "alice", hold_id=third),  # 11: refused
    )

    assert engine.outcomes()[7] == ("refused", "insufficient_funds")
    assert engine.outcomes()[11] == ("refused", "hold_not_open")
    assert account(engine, "alice") == (550, 0, "open", 0)
    assert account(engine, "shop") == (250, 0, "open", 0)
    assert engine.rows("SELECT id, state, captured_minor, settled_by FROM hold ORDER BY id") == [
        (4, "captured", 250, 8),
        (5, "captured", 200, 9),
        (6, "released", 0, 10),
    ]
    engine.assert_as_one_by_one()


def test_a_life_from_open_to_closed(engine: Engine) -> None:
    """Who may do what is on the account's row, and when it was changed beside it."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.settle(
        body("freeze", "alice", reason="lost card"),
        withdraw("alice", 1),  # 4
        deposit("alice", 1),
        body("unfreeze", "alice", reason="found it"),
        body("set_limits", "alice", reason="asked", overdraft_limit_minor=500, daily_count=2, daily_amount_minor=400),
        withdraw("alice", 401),  # 8
        withdraw("alice", 300),
        withdraw("alice", 10),
        withdraw("alice", 1),  # 11
        body("close", "alice", reason="bye"),  # 12
        deposit("alice", 209),
        body("close", "alice", reason="bye"),
        deposit("alice", 1),  # 15
    )

    assert {position: reason for position, (status, reason) in engine.outcomes().items() if status == "refused"} == {
        4: "account_not_open",
        8: "limit_exceeded",
        11: "limit_exceeded",
        12: "account_not_empty",
        15: "account_not_open",
    }
    assert account(engine, "alice") == (0, 0, "closed", 0)
    assert [row[1:] for row in engine.rows("SELECT * FROM account_change ORDER BY position")] == [
        (1, 1, "frozen", 0, 0, None, None),
        (1, 2, "open", 0, 0, None, None),
        (1, 2, "open", 500, 0, 2, 400),
        (1, 5, "closed", 500, 0, 2, 400),
    ]
    engine.assert_as_one_by_one()


def test_a_command_is_reversed_once_and_by_force_below_the_floor(engine: Engine) -> None:
    """The mirror of every transfer, linked both ways."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 100), transfer("alice", "bob", 60))
    engine.settle(withdraw("bob", 50))
    paid = ids(engine)[4]
    engine.settle(
        body("reverse", None, reverses=paid, force=False, reason="wrong", from_account="alice", to_account="bob"),
        body("reverse", None, reverses=paid, force=True, reason="wrong", from_account="alice", to_account="bob"),
        body("reverse", None, reverses=paid, force=True, reason="wrong", from_account="alice", to_account="bob"),
    )

    assert [engine.outcomes()[position] for position in (6, 7, 8)] == [
        ("refused", "insufficient_funds"),
        ("applied", None),
        ("refused", "command_already_reversed"),
    ]
    assert account(engine, "alice")[0] == 100
    assert account(engine, "bob") == (-50, 0, "open", 50)
    assert engine.rows("SELECT * FROM reversal") == [(7, 4)]
    engine.assert_as_one_by_one()


def test_an_adjustment_reaches_the_banks_own_accounts(engine: Engine) -> None:
    """What nobody can explain goes to suspense, with a reason."""
    engine.settle(opening("alice"))
    engine.settle(
        body("adjust", from_account="@suspense:USD", to_account="alice", amount_minor=5, force=False, reason="found"),
        body(
            "adjust",
            from_account="@suspense:USD",
            to_account="@settlement:USD",
            amount_minor=7,
            force=False,
            reason="found",
        ),
    )

    assert [status for status, _ in engine.outcomes().values()] == ["applied"] * 3
    assert engine.own_accounts() == {"@suspense:USD": -12, "@settlement:USD": 7}
    engine.assert_as_one_by_one()


def test_an_expired_hold_is_given_back(engine: Engine, watch: Watch) -> None:
    """Nobody has to remember it."""
    engine.settle(opening("alice"), deposit("alice", 100))
    engine.settle(body("place_hold", "alice", amount_minor=30, expires_at=watch() + timedelta(hours=1)))
    early = engine.expire_holds()
    watch.forward(hours=1)
    emitted = (engine.expire_holds(), engine.expire_holds())
    engine.drain()

    assert (early, emitted) == (0, (1, 0))
    assert engine.rows("SELECT state, settled_by FROM hold") == [("expired", 4)]
    assert account(engine, "alice") == (100, 0, "open", 0)
    engine.assert_as_one_by_one()


# Where a rule meets Postgres.


def statuses(engine: Engine, *positions: int) -> Counter[str]:
    """How many of these commands had which end: the reason, if they were refused."""
    return Counter(engine.outcomes()[position][1] or engine.outcomes()[position][0] for position in positions)


def test_one_command_is_reversed_once_by_however_many_at_once(engine: Engine) -> None:
    """Ten clerks see the same complaint: the customer is paid back once."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 100), wrong := transfer("alice", "bob", 60))
    again = reverse(ids(engine)[4], wrong, force=True)
    asked = engine.accept_apart(*[again] * 10)
    engine.drain(workers=4, order=Random(6))

    assert statuses(engine, *asked) == {"applied": 1, "command_already_reversed": 9}
    assert engine.balances() == {"alice": 100, "bob": 0}
    engine.assert_as_one_by_one()


def test_a_reversal_in_the_same_batch_finds_what_was_decided_a_moment_before(engine: Engine) -> None:
    """It was accepted after the payment, so it comes after it, whether that is written already or not."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 100))
    (paid,) = engine.accept(wrong := transfer("alice", "bob", 60))
    undone = reverse(ids(engine)[paid], wrong)
    positions = engine.accept(undone, undone)
    back = ids(engine)[positions[0]]
    positions += engine.accept(reverse(back, undone))
    engine.drain()

    assert [engine.outcomes()[position][1] for position in positions] == [
        None,
        "command_already_reversed",
        "command_not_reversible",
    ]
    assert engine.balances() == {"alice": 100, "bob": 0}
    engine.assert_as_one_by_one()


def test_a_hold_ends_once_by_however_many_at_once(engine: Engine) -> None:
    """The shop captures, the customer cancels, and both ask again: the money is gone or it is there."""
    engine.settle(opening("alice"), opening("shop"), deposit("alice", 2_000))
    placed = engine.settle(*[place_hold("alice", 100)] * 20)
    ends = [
        body
        for position in placed
        for body in [
            *[capture_hold("alice", ids(engine)[position], to_account="shop")] * 2,
            *[release_hold("alice", ids(engine)[position])] * 2,
        ]
    ]
    Random(6).shuffle(ends)
    asked = engine.accept_apart(*ends)
    engine.drain(workers=4, order=Random(6))

    states = Counter(state for _, _, state in engine.holds().values())
    assert statuses(engine, *asked) == {"applied": 20, "hold_not_open": 60}
    assert engine.balances() == {"alice": 2_000 - 100 * states["captured"], "shop": 100 * states["captured"]}
    assert account(engine, "alice")[1] == 0
    engine.assert_as_one_by_one()


def test_the_limits_of_a_day_hold_whatever_comes_at_once(engine: Engine, watch: Watch) -> None:
    """Thirty terminals and one card: three debits, whichever they are; and three more the next day."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 10_000), set_limits("alice", daily_count=3))
    days = []
    for _ in range(2):
        bodies = [withdraw("alice", 10), transfer("alice", "bob", 10), place_hold("alice", 10)] * 10
        asked = engine.accept_apart(*bodies)
        engine.drain(workers=4, order=Random(6))
        days.append(statuses(engine, *asked))
        watch.forward(days=1)

    assert days == [{"applied": 3, "limit_exceeded": 27}] * 2
    engine.assert_as_one_by_one()


def test_an_account_is_closed_or_a_deposit_comes_and_never_both(engine: Engine) -> None:
    """Money on a closed account would be nobody's."""
    names = [f"customer.{number}" for number in range(20)]
    engine.settle(*map(opening, names))
    bodies = [body for name in names for body in (close(name), deposit(name, 100))]
    Random(6).shuffle(bodies)
    asked = engine.accept_apart(*bodies)
    engine.drain(workers=4, order=Random(6))

    assert statuses(engine, *asked).keys() == {"applied", "account_not_open", "account_not_empty"}
    assert engine.rows("""
        SELECT DISTINCT status, credits_minor - debits_minor FROM account WHERE kind = 'customer' ORDER BY 1
    """) == [("closed", 0), ("open", 100)]
    engine.assert_as_one_by_one()


def test_an_account_is_opened_limited_used_and_closed_in_one_batch(engine: Engine) -> None:
    """Nothing of it is read from Postgres, and everything written at once; what it was allowed in between as well."""
    usual = CommandBody(type="open_account", account="alice", currency="USD")
    positions = engine.settle(
        usual,
        deposit("alice", 100),
        set_limits("alice", overdraft_limit_minor=500, overdraft_fee_minor=20, daily_count=2),
        withdraw("alice", 200),  # leaves -100, and after the fee -120
        withdraw("alice", 1),  # -121, and -141
        withdraw("alice", 1),
        deposit("alice", 141),
        close("alice"),
    )

    assert [engine.outcomes()[position][1] for position in positions] == [
        *(None, None, None, None, None, "limit_exceeded", None, None)
    ]
    assert account(engine, "alice") == (0, 0, "closed", 0)
    assert engine.rows("SELECT position, version, status FROM account_change ORDER BY 1") == [
        (1, 0, "open"),
        (3, 1, "open"),
        (8, 6, "closed"),
    ]
    engine.assert_as_one_by_one()


def test_large_batches_of_holds_are_answered_as_one_by_one(engine: Engine) -> None:
    """Two hundred in one transaction, on few accounts, placed, captured and released in the same batch."""
    names = ("alice", "bob", "carol")
    engine.settle(*map(opening, names), *(deposit(name, 3_000) for name in names))
    placed = engine.accept(*[place_hold(names[number % 3], 10 + number) for number in range(200)])
    of = ids(engine)
    ends = engine.accept(
        *(
            capture_hold(names[number % 3], of[position], 10, to_account=names[(number + 1) % 3])
            if number % 2
            else release_hold(names[number % 3], of[position])
            for number, position in enumerate(placed)
        )
    )
    engine.drain()

    assert statuses(engine, *placed).keys() == {"applied", "insufficient_funds"}
    assert statuses(engine, *ends).keys() == {"applied", "hold_not_found"}
    assert sum(engine.balances().values()) == 9_000
    assert {account(engine, name)[1] for name in names} == {0}
    engine.assert_as_one_by_one()


def test_a_transfer_that_waited_for_its_other_account_breaks_no_proof(engine: Engine) -> None:
    """
    Alice's account is in quarantine, and a transfer that names it is held; the other side is somebody who goes on.

    It is decided after commands of later positions: what was allowed by then is what counts, not what was before.
    """
    engine.settle(opening("alice"), opening("bob"), deposit("bob", 100))
    waiting = engine.accept(transfer("bob", "alice", 300))
    engine.queue.clear()
    engine.rows("INSERT INTO held SELECT position, account_key, now() FROM pending")
    engine.rows("DELETE FROM pending")
    engine.settle(set_limits("bob", overdraft_limit_minor=500), withdraw("bob", 100))
    engine.rows("INSERT INTO pending SELECT position, account_key FROM held")
    engine.rows("DELETE FROM held")
    engine.queue += batches(engine.in_line(waiting))
    engine.drain()

    assert engine.balances() == {"alice": 300, "bob": -300}
    assert engine.breaks() == []


def test_who_adjusts_what_customers_owe_on_advances_is_told_that_nobody_owes_it(engine: Engine) -> None:
    """The receivable account is what the advances make of it: the proof finds it until it is adjusted back."""
    wrong = adjust("@advances_receivable:USD", "@suspense:USD", 5)
    (position,) = engine.settle(wrong)
    found = engine.breaks()
    engine.settle(reverse(ids(engine)[position], wrong))

    assert found == [("receivables", "currency:USD")]
    engine.assert_as_one_by_one()
