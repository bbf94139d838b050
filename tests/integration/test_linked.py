"""Linked commands through the engine: accepted together, applied all or none, whatever becomes of their messages."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import zip_longest
from random import Random
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

from processor import apply as apply_module
from processor import clock, dead_letters, pools, quarantine
from processor.alerts import report
from processor.breaks import Break
from processor.dead_letters import CannotError
from processor.domain.books import Books
from processor.domain.commands import Command
from processor.domain.commands import Linked as LinkedCommands
from processor.domain.decide import Decided, decide
from processor.errors import BooksError
from processor.proofs import PROOFS
from processor.proofs.proof import Limits, Scope
from processor.store import books as books_store
from processor.store import sweep
from processor.store.books import PendingRow
from processor.submissions import (
    FIELDS,
    Answer,
    CommandBody,
    KeyConflict,
    LinkConflict,
    Linked,
    LinkedReceipts,
    Receipt,
    Submission,
)
from tests.builders import RULES, deposit, opening, submit, transfer, withdraw
from tests.engine import Engine
from tests.oracle import Bank
from workers.messages import Batch, batches

SICK: Final = 666
"""The amount that nothing can be done with."""

ASKED = sql.SQL("SELECT position, link, {} FROM command ORDER BY position").format(
    sql.SQL(", ").join(map(sql.Identifier, FIELDS))
)


def linked(*bodies: CommandBody, keys: Sequence[str] = ()) -> Linked:
    """The commands as one element, each under a key of its own."""
    return Linked(tuple(submit(body, key=key) for body, key in zip_longest(bodies, keys)))


def accept(engine: Engine, *bodies: CommandBody) -> list[int]:
    """Make them durable together, and return their positions."""
    (answer,) = engine.answers([linked(*bodies)])
    assert isinstance(answer, LinkedReceipts)
    return [receipt.position for receipt in answer.receipts]


def statuses(engine: Engine, positions: Iterable[int]) -> list[str]:
    """Of each in turn; ``pending`` without an outcome."""
    return [engine.outcomes().get(position, ("pending", None))[0] for position in positions]


def assert_as_one_by_one(engine: Engine) -> None:
    """All is as if one person had done it in order of the receipts, what is linked on a copy."""
    bank = Bank()
    elements: list[list[dict[str, Any]]] = []
    last = None
    for position, link, *fields in engine.rows(ASKED):
        asked = {"command": CommandBody(**dict(zip(FIELDS, fields, strict=True))), "position": position}
        if link is not None and link == last:
            elements[-1].append(asked)
        else:
            elements.append([asked])
        last = link
    expected: dict[int, Any] = {}
    for each in elements:
        answers = bank.take_linked(each) if len(each) > 1 else [bank.take(**each[0])]
        expected |= {asked["position"]: answer for asked, answer in zip(each, answers, strict=True)}

    assert engine.outcomes() == expected
    assert engine.pending() == []
    assert engine.balances() == {name: bank.balance(name) for name in bank.accounts}
    engine.assert_every_account_is_a_chain()


def broken(engine: Engine, *, full: bool = True) -> set[str]:
    """Which of the proofs find something wrong."""
    with psycopg.connect(engine.database.owner_url) as conn:
        (below,) = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone() or (0,)
        scope = Scope(full, 0, below, (), clock.now(), None, Limits(rules=RULES), {})
        return {proof.name for proof in PROOFS if list(proof.check(conn, replace(scope, memory={})))}


# Applied.


def test_all_are_applied_or_none(engine: Engine) -> None:
    """Either both legs of an exchange are done, or it never was; and one of those that were not says why."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 100))
    done = accept(engine, transfer("alice", "bob", 60), withdraw("bob", 60), withdraw("alice", 40))
    undone = accept(engine, deposit("alice", 50), withdraw("bob", 1), deposit("bob", 1))
    settled = [position for applied in engine.drain() for position in applied.settled]

    assert sorted(settled) == [*done, *undone]
    assert statuses(engine, done) == ["applied"] * 3
    assert [engine.outcomes()[position] for position in undone] == [
        ("refused", "linked_command_refused"),
        ("refused", "insufficient_funds"),
        ("refused", "linked_command_refused"),
    ]
    assert engine.balances() == {"alice": 0, "bob": 0}
    assert engine.rows("SELECT count(DISTINCT xid) FROM outcome WHERE position = ANY(%s)", [done]) == [(1,)]
    assert broken(engine) == set()


def test_they_stand_at_one_place_in_the_lines_of_all_their_accounts(engine: Engine) -> None:
    """Whoever touches one of the accounts waits for all of them, and nobody sees a part."""
    first, *_ = accept(engine, opening("alice"), opening("bob"), transfer("alice", "carol", 1))

    assert engine.pending() == [first]
    assert engine.rows("SELECT count(*), sum(link_size) FROM pending") == [(3, 3)]
    assert [len(message.account_keys) for message in engine.queue] == [3]
    assert broken(engine) == set()


def test_no_message_and_no_transaction_is_cut_through_them(engine: Engine) -> None:
    """A hundred do not fit behind 150 others: they come in the next message, all of them."""
    names = [f"house.{number}" for number in range(100)]
    engine.settle(*(opening(name) for name in names), opening("bank"))
    engine.settle(deposit("bank", 100))
    engine.answers(
        [
            *(submit(deposit("bank", 1)) for _ in range(150)),
            linked(*(transfer("bank", name, 1) for name in names)),
            linked(*(withdraw(name, 1) for name in reversed(names))),
        ]
    )
    sizes = [len(message.positions) for message in engine.queue]
    positions, keys = zip(*((each.positions, each.account_keys) for each in engine.queue), strict=True)
    engine.queue = [
        Batch([each for some in positions for each in some], sorted({key for some in keys for key in some}))
    ]
    engine.drain()

    assert sizes == [150, 2]
    assert engine.rows("SELECT commands FROM apply_batch ORDER BY xid")[-2:] == [(150,), (200,)]
    assert set(engine.outcomes().values()) == {("applied", None)}
    assert engine.balances() == {"bank": 150, **dict.fromkeys(names, 0)}


@pytest.fixture(params=["bounds of a bank", "bounds of a village"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and transactions as large as they are, or so small that every batch is divided, widened and sent on."""
    if request.param == "bounds of a village":
        for module in ("processor.apply", "processor.lines", "workers.messages"):
            monkeypatch.setattr(f"{module}.MAX_COMMANDS", 5)
        for module in ("processor.store.locks", "workers.messages"):
            monkeypatch.setattr(f"{module}.MAX_KEYS", 6)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_becomes_of_the_messages_the_books_are_those_of_a_naive_bank(
    engine: Engine, bounds: None, seed: int
) -> None:
    """Three workers at once, accounts in opposite orders, messages lost, repeated, mixed up: no deadlock, no part."""
    random = Random(seed)
    names = [f"house.{number}" for number in range(6)]
    engine.settle(*map(opening, names), *(deposit(name, 300) for name in names))

    def body() -> CommandBody:
        one, other = random.sample(names, 2)
        minor = random.choice((1, 50, 100, 400))
        return random.choice((deposit(one, minor), withdraw(one, minor), *[transfer(one, other, minor)] * 3))

    for _ in range(25):
        engine.answers(
            [
                linked(*(body() for _ in range(random.choice((2, 2, 3, 6)))))
                if random.random() < 0.5
                else submit(body())
                for _ in range(random.randint(1, 8))
            ]
        )
        random.shuffle(engine.queue)
        del engine.queue[: random.randint(0, 1)]
        engine.queue += random.sample(engine.queue, min(2, len(engine.queue)))
        with ThreadPoolExecutor(3) as threads:
            some, engine.queue = engine.queue[:3], engine.queue[3:]
            list(threads.map(engine.handle, some))
    engine.drain(workers=3, order=random)
    engine.queue += batches(engine.in_line(engine.pending()))
    engine.drain(workers=3)

    assert len({reason for _, reason in engine.outcomes().values()}) == 3
    assert_as_one_by_one(engine)
    assert broken(engine) == set()


# Postgres sees to it as well.


def test_a_worker_that_knows_nothing_of_links_can_commit_nothing_of_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a deployment old workers find them in line: they would apply the first, and never see the others."""
    engine.settle(opening("alice"), opening("bob"), deposit("alice", 5))
    positions = accept(engine, deposit("alice", 10), withdraw("bob", 1))
    (message,) = engine.queue
    with monkeypatch.context() as old:
        old.setattr(books_store, "_with_linked", lambda _, places, __: places)
        old.setattr(PendingRow, "asked", PendingRow.command)
        with pytest.raises(BooksError, match="all or none"):
            engine.handle(message)
        assert engine.balances() == {"alice": 5, "bob": 0}
        assert statuses(engine, positions) == ["pending"] * 2
    engine.drain()

    assert statuses(engine, positions) == ["refused"] * 2


def test_what_is_not_all_there_is_not_applied(engine: Engine) -> None:
    """Somebody took one of them out of the books: a contradiction, for a person to look at."""
    engine.settle(opening("alice"))
    first, second = accept(engine, deposit("alice", 1), deposit("alice", 2))
    engine.rows("UPDATE command SET link = NULL, link_size = NULL WHERE position = %s", [second])
    with pytest.raises(BooksError, match="1 of 2 linked commands"):
        engine.drain()

    assert statuses(engine, [first, second]) == ["pending"] * 2
    assert {"links", "command_lines"} & broken(engine) == {"command_lines"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outcome SET status = 'refused', reason = 'insufficient_funds' WHERE position = 3",
        "UPDATE outcome SET status = 'refused', reason = 'linked_command_refused' WHERE position IN (3, 4)",
        "DELETE FROM outcome WHERE position = 3",
        "UPDATE outcome SET xid = '7' WHERE position = 3",
        "UPDATE command SET link = NULL, link_size = NULL WHERE position = 4",
    ],
)
def test_the_proof_finds_what_somebody_changed(engine: Engine, change: str) -> None:
    """Whoever has the database may write in it; it is seen, and by the proof that names it."""
    engine.settle(opening("alice"), opening("bob"))
    accept(engine, opening("carol"), opening("dave"))
    engine.drain()
    assert broken(engine) == set()
    engine.owner.execute("SET session_replication_role = replica")
    engine.rows(change)

    assert "links" in broken(engine)


# Trouble.


@pytest.mark.usefixtures("impatient")
def test_one_that_cannot_be_applied_takes_those_that_are_linked_with_it_and_nobody_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halved as often as it needs, but never through a link: all are dead letters, and none is retried alone."""

    def raising(books: Books, commands: Iterable[Command | LinkedCommands], **kwargs: Any) -> Decided:
        asked = list(commands)
        flat = [each for one in asked for each in (one.commands if isinstance(one, LinkedCommands) else (one,))]
        if any(getattr(command, "amount_minor", 0) == SICK for command in flat):
            raise RuntimeError("sick")
        return decide(books, asked, **kwargs)

    engine.settle(opening("alice"), opening("bob"))
    monkeypatch.setattr(apply_module, "decide", raising)
    answers = engine.answers(
        [
            *(submit(deposit("alice", 1)) for _ in range(7)),
            linked(deposit("alice", 5), deposit("bob", SICK), deposit("alice", 7)),
            linked(deposit("bob", 2), transfer("bob", "alice", 2)),
            submit(deposit("bob", 3)),
        ]
    )
    engine.drain()
    sick, well = (
        [receipt.position for receipt in each.receipts] for each in answers if isinstance(each, LinkedReceipts)
    )

    assert [position for (position,) in engine.rows("SELECT position FROM dead_letter ORDER BY 1")] == sick
    assert statuses(engine, sick) == ["failed"] * 3
    assert statuses(engine, well) == ["applied"] * 2
    assert engine.balances() == {"alice": 9, "bob": 3}
    assert broken(engine) == set()
    with pools.connect(engine.database.app_url, "test") as conn:
        (case,) = dead_letters.cases(conn, sick[1:2])
        with pytest.raises(CannotError, match="linked with 2 others"):
            dead_letters.check_retry(case)
        dead_letters.check_discard(case)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["record", "left_in_line"])
def test_a_session_that_is_killed_in_between_leaves_no_part(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Before or after the answers are written: the transaction is gone, and the next one does it all."""
    engine.settle(opening("alice"), opening("bob"))
    positions = accept(engine, deposit("alice", 10), transfer("alice", "bob", 4))
    engine.queue = [replace(engine.queue[0], positions=[*engine.queue[0].positions, 99])]
    original: Callable[..., Any] = getattr(books_store, name)
    kills = [1]

    def killed(conn: psycopg.Connection, *args: Any, **kwargs: Any) -> Any:
        if kills:
            kills.pop()
            engine.rows("SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])
        return original(conn, *args, **kwargs)

    monkeypatch.setattr(books_store, name, killed)
    engine.drain()

    assert not kills
    assert statuses(engine, positions) == ["applied"] * 2
    assert engine.balances() == {"alice": 6, "bob": 4}
    assert broken(engine) == set()


def test_a_quarantine_holds_them_whole_and_a_release_puts_them_back_whole(engine: Engine) -> None:
    """One of three accounts is in doubt: the two others go on, without a part of what was linked."""
    engine.settle(opening("alice"), opening("bob"), opening("carol"), deposit("alice", 100))
    with engine.pool.connection() as conn:
        said = Break("chain", "account:bob", expected="5", found="6", advice="Look.", account="bob")
        report(conn, "chain", [said], now=clock.now(), quarantine=True)
    positions = accept(engine, transfer("alice", "carol", 60), deposit("bob", 1), withdraw("carol", 60))
    engine.accept(withdraw("alice", 10))
    engine.drain()
    kept = engine.rows("SELECT position, count(*), sum(link_size) FROM held GROUP BY 1")
    assert (kept, statuses(engine, positions)) == ([(positions[0], 3, 3)], ["pending"] * 3)
    assert engine.balances() == {"alice": 90, "bob": 0, "carol": 0}
    assert broken(engine) == set()
    let_go(engine, "bob")
    engine.queue += batches(engine.in_line(engine.pending()))
    engine.drain()

    assert statuses(engine, positions) == ["applied"] * 3
    assert engine.balances() == {"alice": 30, "bob": 1, "carol": 0}


def let_go(engine: Engine, account: str) -> None:
    """Release it, whatever alert is open."""

    async def ask() -> None:
        info = pools.conninfo(engine.database.app_url, "florin test")
        async with await psycopg.AsyncConnection.connect(info, autocommit=True) as conn:
            await quarantine.release(conn, account, by="operator", now=clock.now(), force=True, reason="looked at")

    asyncio.run(ask())


# Accepted.


def test_sent_again_they_get_their_first_receipts(engine: Engine) -> None:
    """The connection broke before the answer: the same element has the same answer, for ever."""
    first = linked(opening("alice"), deposit("alice", 1))
    (receipts,) = engine.answers([first])
    again = Linked(tuple(submit(each.body, key=each.idempotency_key) for each in first.submissions))

    assert isinstance(receipts, LinkedReceipts)
    assert (
        engine.answers([again, again])
        == [LinkedReceipts(tuple(replace(each, replayed=True) for each in receipts.receipts))] * 2
    )
    assert len(engine.queue) == 1


def another(element: Linked, *which: int, amount_minor: int | None = None) -> Linked:
    """Those of its commands, in this order, with other ids; and another amount in the last."""
    some = [element.submissions[number] for number in which]
    sent = [submit(each.body, key=each.idempotency_key) for each in some]
    if amount_minor is not None:
        sent[-1] = replace(sent[-1], body=replace(sent[-1].body, amount_minor=amount_minor))
    return Linked(tuple(sent))


def test_under_keys_that_name_anything_else_none_of_them_is_accepted(engine: Engine) -> None:
    """Part of them, others, another order, another amount: the answer says which keys, and nothing is in line."""
    element = linked(opening("alice"), deposit("alice", 1), deposit("alice", 2), keys=["a", "b", "c"])
    alone = submit(deposit("alice", 3), key="d")
    engine.answers([element, alone])
    rows = engine.rows("SELECT count(*) FROM command")
    new = submit(deposit("alice", 4), key="e")
    answers = engine.answers(
        [
            another(element, 0, 1),
            another(element, 1, 0, 2),
            another(element, 0, 1, 2, amount_minor=9),
            Linked((*another(element, 0, 1, 2).submissions, new)),
            Linked((new, submit(alone.body, key="d"))),
            another(element, 1).submissions[0],
        ]
    )

    assert answers == [
        LinkConflict({"a": ["linked"], "b": ["linked"]}),
        LinkConflict({"b": ["linked"], "a": ["linked"], "c": ["linked"]}),
        LinkConflict({"c": ["amount"]}),
        LinkConflict({"a": ["linked"], "b": ["linked"], "c": ["linked"]}),
        LinkConflict({"d": ["linked"]}),
        KeyConflict(["linked"]),
    ]
    assert engine.rows("SELECT count(*) FROM command") == rows


def test_of_several_elements_that_share_keys_in_one_moment_one_is_accepted_whole(engine: Engine) -> None:
    """Two processes of a client, and other lines of the same batch, send at once: the keys are given out once."""
    with (
        Engine.running(engine.database.app_url, now=clock.now, rules=RULES) as other,
        ThreadPoolExecutor(2) as threads,
    ):
        answers = [each for sent in threads.map(send_at_random, (engine, other), (1, 2)) for each in sent]
    stored = engine.rows("SELECT link, max(link_size), count(*), max(position) - min(position) FROM command GROUP BY 1")
    new = [
        receipt
        for answer in answers
        for receipt in (answer.receipts if isinstance(answer, LinkedReceipts) else [answer])
        if isinstance(receipt, Receipt) and not receipt.replayed
    ]

    assert len(new) == sum(count for _, _, count, _ in stored)
    assert all(size == count == span + 1 for link, size, count, span in stored if link is not None)
    assert broken(engine) == set()


def send_at_random(engine: Engine, seed: int) -> list[Answer]:
    """A dozen elements of six keys, all in one call."""
    random = Random(seed)
    elements: list[Submission | Linked] = []
    for _ in range(12):
        keys = [str(number) for number in random.sample(range(6), random.choice((1, 2, 3)))]
        bodies = [deposit("alice", int(key) + 1) for key in keys]
        elements.append(linked(*bodies, keys=keys) if len(keys) > 1 else submit(bodies[0], key=keys[0]))
    return engine.answers(elements)


def test_a_command_that_cannot_be_stored_keeps_those_out_that_are_linked_with_it(engine: Engine) -> None:
    """Accepted all or none, also when it is Postgres who says no; and the neighbours get their receipts."""
    bad = replace(deposit("alice", 1), amount_minor=0)
    answers = engine.answers([submit(opening("alice")), linked(deposit("alice", 1), bad), submit(deposit("alice", 2))])

    assert [type(answer).__name__ for answer in answers] == ["Receipt", "Unstorable", "Receipt"]
    assert engine.rows("SELECT count(*) FROM command WHERE link IS NOT NULL") == [(0,)]


def test_stranded_ones_are_found_by_the_sweeper(engine: Engine) -> None:
    """Redis lost the message: the place in line is enough to make another, which names them all."""
    engine.settle(opening("alice"))
    positions = accept(engine, deposit("alice", 1), deposit("alice", 2))
    engine.queue.clear()
    now = clock.now() + timedelta(minutes=1)
    with engine.pool.connection() as conn:
        found = sweep.find_stranded(conn, now=now, before=now, queue_is_empty=True, except_for=(), limit=10)

    assert [(each.position, each.commands) for each in found] == [(positions[0], 2)]
