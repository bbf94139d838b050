"""Somebody writes in the books as their owner: each proof finds exactly what it is about, and the others keep still."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg import Connection

from cli.servers import LocalServers
from processor.account_keys import account_key
from processor.alerts import Suspect
from processor.breaks import Break, Severity
from processor.domain.rules import Rules
from processor.proofs import PROOFS, walking
from processor.proofs.proof import Interrupted, Limits, Proof, Scope
from processor.store.proving import log
from tests.builders import (
    adjust,
    advance,
    capture_hold,
    close,
    deposit,
    freeze,
    opening,
    place_hold,
    release_hold,
    repay,
    reverse,
    set_limits,
    transfer,
    unfreeze,
    withdraw,
    write_off,
)
from tests.conftest import TEMPLATE, Database
from tests.engine import Engine, running_engine
from tests.stack import new_database
from tests.watch import Watch

Found = Mapping[str, set[str]]
"""The subjects of the breaks, by proof."""

LIMITS: Final = Limits(rules=Rules())
END: Final = 2**62


@dataclass(frozen=True)
class Books:
    """Books with some history, as their owner sees them, and what the proofs remember of them."""

    owner: Connection
    now: datetime
    memories: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def history(servers: LocalServers, _application_password: str) -> Iterator[Books]:
    """Three weeks of three customers: every kind of command, two of them still in line."""
    watch = Watch()
    with new_database(servers, TEMPLATE, _application_password) as urls, psycopg.connect(urls[0]) as owner:
        with running_engine(Database(*urls), now=watch, threads=1) as engine:
            engine.settle(
                opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500),  # 1
                opening("bob"),
                opening("carol"),
                deposit("alice", 10_000),  # 4
                deposit("bob", 5_000),
                transfer("alice", "bob", 2_500),
                withdraw("alice", 8_000),  # 7: leaves -5.00, and after the fee -20.00
                withdraw("bob", 100_000),  # 8: refused
                deposit("alice", 300),
                advance("bob", 300, instalments=3),  # 10
                advance("carol", 400, instalments=4),  # 11
                withdraw("carol", 400),
            )
            ids = dict(engine.rows("SELECT position, id FROM command WHERE type = 'advance'"))
            watch.forward(days=7)
            engine.collect()  # 13: bob pays; 14: carol misses
            engine.drain()
            engine.settle(repay("bob", ids[10], 50))  # 15
            watch.forward(days=7)
            engine.collect()  # 16: bob pays what is left; 17: carol misses
            engine.drain()
            engine.settle(write_off("carol", ids[11]))  # 18
            engine.settle(opening("dora", "JPY"), deposit("dora", 7_000, "JPY"))
            money_rules(engine, watch)  # 21 to 48
            engine.accept(deposit("bob", 100), transfer("alice", "bob", 10))  # 49, 50
        memories: dict[str, dict[str, Any]] = {}
        for proof in PROOFS:
            scope = a_scope(owner, watch.instant)
            assert list(proof.check(owner, scope)) == []
            memories[proof.name] = scope.memory
        owner.rollback()
        yield Books(owner, watch.instant, memories)


def money_rules(engine: Engine, watch: Watch) -> None:
    """Holds of every fate, reversals, an adjustment, and what two accounts were allowed from one day to the next."""
    engine.settle(
        replace(opening("erin"), overdraft_limit_minor=None, overdraft_fee_minor=None),  # 21: the bank's usual, none
        opening("shop"),
        deposit("erin", 10_000),
        place_hold("erin", 1_000),  # 24
        place_hold("erin", 600),
        place_hold("erin", 200, expires_at=watch() + timedelta(hours=1)),  # 26
        place_hold("erin", 300),  # 27: stays
        freeze("erin"),
        withdraw("erin", 1),  # 29: refused
        unfreeze("erin"),
        set_limits("erin", overdraft_limit_minor=2_000, overdraft_fee_minor=150, daily_count=9),  # 31
    )
    ids = dict(engine.rows("SELECT position, id FROM command"))
    engine.settle(
        capture_hold("erin", ids[24], 700, to_account="shop"),  # 32
        release_hold("erin", ids[25]),
    )
    watch.forward(hours=1)
    engine.expire_holds()  # 34
    engine.drain()
    engine.settle(
        paid := transfer("erin", "shop", 500),  # 35
        withdraw("shop", 1_150),
        adjusted := adjust("@suspense:USD", "erin", 40),  # 37
        place_hold("shop", 30),
    )
    ids = dict(engine.rows("SELECT position, id FROM command"))
    engine.settle(
        reverse(ids[35], paid),  # 39: refused
        reverse(ids[35], paid, force=True),  # 40: leaves shop at -4.50, with 0.30 on hold
        reverse(ids[37], adjusted),  # 41
        capture_hold("shop", ids[38]),  # 42: leaves it still lower
        deposit("shop", 480),
        close("shop"),  # 44
        release_hold("erin", ids[27]),
        withdraw("erin", 10_300),  # 46: leaves -10.00, and after the fee -11.50
    )
    engine.settle(
        place_hold("erin", 400),  # 47: stays
        set_limits("erin", overdraft_fee_minor=200),  # 48
    )


@pytest.fixture
def books(history: Books) -> Iterator[Books]:
    """A transaction of the owner, who may do all that the schema allows. It is rolled back."""
    yield history
    history.owner.rollback()


def a_scope(conn: Connection, now: datetime, *, since_xid: int = 0, is_full: bool = False) -> Scope:
    """What a first run looks at, unless the test says otherwise."""
    return Scope(is_full, since_xid, END, (), now, now, LIMITS, {}, page=7)


def found(books: Books, scope: Scope, *, suspects: Mapping[str, Sequence[Suspect]] | None = None) -> Found:
    """What each proof finds that finds anything."""
    breaks = {proof.name: list(_check(books, proof, scope, suspects or {})) for proof in PROOFS}
    for name, each in breaks.items():
        assert all(broken.proof == name and broken.advice and broken.expected != broken.found for broken in each)
    return {name: {broken.subject for broken in each} for name, each in breaks.items() if each}


def _check(books: Books, proof: Proof, scope: Scope, suspects: Mapping[str, Sequence[Suspect]]) -> Iterator[Break]:
    own = replace(scope, suspects=suspects.get(proof.name, ()))
    own.memory = dict(books.memories[proof.name]) if scope.since_xid else {}
    yield from proof.check(books.owner, own)


def the_number_of_the_next_transaction(conn: Connection) -> int:
    """All that is written already lies below it."""
    row = conn.execute("SELECT pg_current_xact_id()::text::bigint + 1").fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class Damage:
    """
    What somebody writes, and the subjects that each proof then names.

    ``only_in_full`` are proofs that find it only when they look at everything, also if it is new.
    """

    statement: LiteralString
    breaks: Found
    only_in_full: tuple[str, ...] = ()


ALICE, BOB, ERIN, SHOP = ({f"account:{name}"} for name in ("alice", "bob", "erin", "shop"))
USD: Final = {"currency:USD"}

DAMAGES: Final = {
    "an amount is changed": Damage(
        "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE position = 6",
        {"account_totals": ALICE | BOB, "running_balances": ALICE | BOB, "command_effects": {"command:6"}},
    ),
    "the amount of a deposit is changed": Damage(
        "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE position = 5",
        {"account_totals": BOB, "running_balances": BOB, "command_effects": {"command:5"}, "zero_sum": USD},
    ),
    "a transfer is dropped": Damage(
        "DELETE FROM transfer WHERE position = 6",
        {"account_totals": ALICE | BOB, "running_balances": ALICE | BOB, "command_effects": {"command:6"}},
    ),
    "the last transfer of an account is dropped": Damage(
        "DELETE FROM transfer WHERE position = 20",
        {
            "account_totals": {"account:dora"},
            "running_balances": {"account:dora"},
            "command_effects": {"command:20"},
            "zero_sum": {"currency:JPY"},
        },
        only_in_full=("zero_sum",),
    ),
    "a fee is dropped": Damage(
        "DELETE FROM transfer WHERE position = 7 AND leg = 2",
        {"account_totals": ALICE, "running_balances": ALICE, "command_effects": {"command:7"}, "zero_sum": USD},
    ),
    "a transfer is doubled": Damage(
        """
        DROP INDEX transfer_debit_version, transfer_credit_version;
        INSERT INTO transfer SELECT (copy).* FROM (
            SELECT jsonb_populate_record(transfer, '{"leg": 2}') AS copy FROM transfer WHERE position = 6
        ) AS copied
        """,
        {"account_totals": ALICE | BOB, "running_balances": ALICE | BOB, "command_effects": {"command:6"}},
    ),
    "the accounts of a transfer are swapped": Damage(
        """
        UPDATE transfer SET debit_account_id = credit_account_id, credit_account_id = debit_account_id,
            debit_version = credit_version, credit_version = debit_version
        WHERE position = 6
        """,
        {"account_totals": ALICE | BOB, "running_balances": ALICE | BOB, "command_effects": {"command:6"}},
    ),
    "a transfer answers a refused command": Damage(
        """
        INSERT INTO transfer SELECT (copy).* FROM (
            SELECT jsonb_populate_record(transfer, jsonb_build_object(
                'position', 8, 'debit_version', 60, 'credit_version', 60,
                'xid', (SELECT xid::text FROM outcome WHERE position = 8)
            )) AS copy FROM transfer WHERE position = 6
        ) AS copied
        """,
        {"account_totals": ALICE | BOB, "running_balances": ALICE | BOB, "command_effects": {"command:8"}},
    ),
    "a balance is edited": Damage(
        "UPDATE account SET credits_minor = credits_minor + 1 WHERE name = 'bob'",
        {"account_totals": BOB, "zero_sum": USD},
    ),
    "both totals of an account are edited, and its balance is not": Damage(
        "UPDATE account SET credits_minor = credits_minor + 1, debits_minor = debits_minor + 1 WHERE name = 'bob'",
        {"account_totals": BOB},
        only_in_full=("account_totals",),
    ),
    "the version of an account is edited": Damage(
        "UPDATE account SET version = version + 1 WHERE name = 'bob'", {"running_balances": BOB}
    ),
    "the version of an account is edited to one that no history has": Damage(
        "UPDATE account SET version = 1000000000000000 WHERE name = 'bob'", {"running_balances": BOB}
    ),
    "the versions of an account and of its last transfer are edited to one that no history has": Damage(
        """
        UPDATE transfer SET credit_version = 1000000000000000 WHERE position = 9;
        UPDATE account SET version = 1000000000000000 WHERE name = 'alice'
        """,
        {"running_balances": ALICE},
    ),
    "a running balance is edited": Damage(
        "UPDATE transfer SET credit_balance_minor = credit_balance_minor + 1 WHERE position = 4",
        {"running_balances": ALICE},
    ),
    "the version of a transfer is edited": Damage(
        "UPDATE transfer SET debit_version = 20 WHERE position = 6", {"running_balances": ALICE}
    ),
    "a debit and a credit of an account have the same version": Damage(
        """
        UPDATE transfer SET credit_version = 4, credit_balance_minor = -200 WHERE position = 9;
        UPDATE account SET version = 4 WHERE name = 'alice'
        """,
        {"running_balances": ALICE},
    ),
    "an outcome is deleted": Damage(
        """
        ALTER TABLE transfer DROP CONSTRAINT transfer_of_its_outcome;
        DELETE FROM outcome WHERE position = 6
        """,
        {"command_effects": {"command:6"}, "command_lines": {"command:6"}},
        only_in_full=("command_effects",),
    ),
    "an outcome is doubled": Damage(
        """
        ALTER TABLE outcome DROP CONSTRAINT outcome_pkey CASCADE;
        INSERT INTO outcome (position, status, decided_at)
        SELECT position, status, decided_at FROM outcome WHERE position = 4
        """,
        # Whoever reads the bank's own balance along the log reads the deposit twice.
        {"command_effects": {"command:4"}, "zero_sum": USD},
        only_in_full=("zero_sum",),
    ),
    "a refusal is made an application": Damage(
        "UPDATE outcome SET status = 'applied', reason = NULL WHERE position = 8", {"command_effects": {"command:8"}}
    ),
    "an application is made a refusal": Damage(
        "UPDATE outcome SET status = 'refused', reason = 'account_not_found' WHERE position = 5",
        {"command_effects": {"command:5"}},
    ),
    "a command is changed": Damage(
        "UPDATE command SET amount_minor = amount_minor + 1 WHERE position = 4", {"command_effects": {"command:4"}}
    ),
    "a command is deleted": Damage(
        """
        ALTER TABLE outcome DROP CONSTRAINT outcome_position_fkey;
        DELETE FROM command WHERE position = 8
        """,
        {"command_effects": {"command:8"}},
    ),
    # Nobody's books are in doubt: it is the scheduler that is too old.
    "the workers know a type that the scheduler does not": Damage(
        """
        ALTER TABLE command DROP CONSTRAINT command_type_known;
        INSERT INTO command (
            position, id, client_id, idempotency_key, type, account, amount_minor, currency, accepted_at
        )
        OVERRIDING SYSTEM VALUE
        SELECT 100 + nth, gen_random_uuid(), client_id, format('gift %s', nth), 'gift', 'bob', 1, 'USD', accepted_at
        FROM command CROSS JOIN generate_series(1, 9) AS nth WHERE position = 48;
        INSERT INTO outcome (position, status, decided_at)
        SELECT command.position, 'applied', accepted_at FROM command WHERE type = 'gift'
        """,
        {"command_effects": {"command_type:gift"}},
    ),
    "a dead letter is made up": Damage(
        "INSERT INTO dead_letter (position, error, failed_at) VALUES (8, 'sick', now())",
        {"command_effects": {"command:8"}},
    ),
    "a command failed without a dead letter": Damage(
        "UPDATE outcome SET status = 'failed' WHERE position = 8", {"command_effects": {"command:8"}}
    ),
    "a pending row is deleted": Damage("DELETE FROM pending WHERE position = 49", {"command_lines": {"command:49"}}),
    "one of two pending rows is deleted": Damage(
        "DELETE FROM pending WHERE ctid = (SELECT min(ctid) FROM pending WHERE position = 50)",
        {"command_lines": {"command:50"}},
    ),
    "a command waits in the line of another account": Damage(
        "UPDATE pending SET account_key = account_key + 1 WHERE position = 49", {"command_lines": {"command:49"}}
    ),
    "a command that has its outcome is put in line again": Damage(
        f"INSERT INTO pending (position, account_key) VALUES (48, {account_key('erin')})",
        {"command_lines": {"command:48"}},
    ),
    "a command is held and in line": Damage(
        "INSERT INTO held SELECT position, account_key, now() FROM pending WHERE position = 49",
        {"command_lines": {"command:49"}},
    ),
    "a command that nobody sent is in line": Damage(
        "INSERT INTO pending (position, account_key) VALUES (99, 7)", {"command_lines": {"command:99"}}
    ),
    "a command is in line for too long": Damage(
        "UPDATE command SET accepted_at = accepted_at - interval '1 h' WHERE position = 49",
        {"command_lines": {"pending:oldest"}},
    ),
    "a checkpoint is edited": Damage(
        """
        UPDATE system_checkpoint SET credits_minor = system_checkpoint.credits_minor + 1
        FROM account WHERE account.id = account_id AND name = '@settlement:USD'
        """,
        {"system_checkpoints": {"account:@settlement:USD"}, "zero_sum": USD},
        only_in_full=("zero_sum",),
    ),
    "an overdraft limit is lowered": Damage(
        "UPDATE account SET overdraft_limit_minor = 500 WHERE name = 'alice'", {"account_changes": ALICE}
    ),
    "an overdraft limit was lower when it was used": Damage(
        "UPDATE command SET overdraft_limit_minor = 499 WHERE position = 1",
        {"account_changes": ALICE, "balance_floors": ALICE},
    ),
    "the limits of a day are lifted": Damage(
        "UPDATE account SET daily_count = 100 WHERE name = 'erin'", {"account_changes": ERIN}
    ),
    "an account is frozen by hand": Damage(
        "UPDATE account SET status = 'frozen' WHERE name = 'bob'", {"account_changes": BOB}
    ),
    "a closed account is open again": Damage(
        "UPDATE account SET status = 'open' WHERE name = 'shop'", {"account_changes": SHOP}
    ),
    "a change of an account is made up": Damage(
        """
        INSERT INTO account_change (position, account_id, version, status, overdraft_limit_minor, overdraft_fee_minor)
        VALUES (5, 2, 1, 'open', 1000, 0)
        """,
        {"account_changes": BOB},
    ),
    "a change of an account is dropped": Damage(
        "DELETE FROM account_change WHERE position = 48",
        {"account_changes": ERIN, "command_effects": {"command:48"}},
    ),
    "the bank's usual overdraft is forgotten": Damage(
        "DELETE FROM account_change WHERE position = 21",
        {"account_changes": ERIN, "command_effects": {"command:21"}},
    ),
    "a change of an account is another than was asked for": Damage(
        "UPDATE account_change SET daily_amount_minor = 5 WHERE position = 31", {"account_changes": ERIN}
    ),
    "the fee was another when it was owed": Damage(
        "UPDATE account_change SET overdraft_fee_minor = 151 WHERE position = 31",
        {"account_changes": ERIN, "command_effects": {"command:46"}},
    ),
    "a fee is another than was in force": Damage(
        """
        UPDATE transfer SET amount_minor = 200, debit_balance_minor = debit_balance_minor - 50
        WHERE position = 46 AND leg = 2;
        UPDATE account SET debits_minor = debits_minor + 50 WHERE name = 'erin'
        """,
        {"command_effects": {"command:46"}},
    ),
    "an account was frozen when it was debited": Damage(
        """
        DELETE FROM account_change WHERE position = 30;
        UPDATE account_change SET status = 'frozen' WHERE position = 31
        """,
        {"account_changes": ERIN, "command_effects": {"command:30"}},
    ),
    "something comes to a closed account": Damage(
        """
        INSERT INTO transfer SELECT (copy).* FROM (
            SELECT jsonb_populate_record(transfer, jsonb_build_object(
                'position', 48, 'debit_account_id', 22, 'debit_version', 7, 'debit_balance_minor', -1,
                'credit_account_id', 1, 'credit_version', 60, 'amount_minor', 1,
                'xid', (SELECT xid::text FROM outcome WHERE position = 48)
            )) AS copy FROM transfer WHERE position = 6
        ) AS copied
        """,
        {
            "account_changes": SHOP,
            "account_totals": ALICE | SHOP,
            "balance_floors": SHOP,
            "running_balances": ALICE | SHOP,
            "command_effects": {"command:48"},
        },
    ),
    "a debit below the floor was not forced": Damage(
        "UPDATE command SET force = false WHERE position = 40", {"balance_floors": SHOP}
    ),
    "the amount of a hold is changed": Damage(
        "UPDATE hold SET amount_minor = amount_minor + 1 WHERE id = 47",
        {"holds": ERIN, "command_effects": {"command:47"}},
    ),
    "the amount of a hold that is over is changed": Damage(
        "UPDATE hold SET amount_minor = amount_minor + 1 WHERE id = 38",
        {"command_effects": {"command:38", "command:42"}},
    ),
    "the expiry of a hold is put off": Damage(
        "UPDATE hold SET expires_at = now() + interval '1 y' WHERE id = 26", {"command_effects": {"command:26"}}
    ),
    "a hold is dropped": Damage("DELETE FROM hold WHERE id = 47", {"holds": ERIN, "command_effects": {"command:47"}}),
    "a hold is made up": Damage(
        """
        INSERT INTO hold (id, account_id, currency, amount_minor, state) VALUES (5, 2, 'USD', 10, 'held');
        UPDATE account SET held_minor = 10 WHERE id = 2
        """,
        {"holds": BOB},
    ),
    "a hold is somebody else's": Damage(
        "UPDATE hold SET account_id = 2 WHERE id = 47", {"holds": BOB | ERIN, "command_effects": {"command:47"}}
    ),
    "a hold that is over is open again": Damage(
        "UPDATE hold SET state = 'held', settled_by = NULL WHERE id = 25",
        {"holds": ERIN, "command_effects": {"command:33"}},
    ),
    "a hold that is open is over": Damage(
        "UPDATE hold SET state = 'released', settled_by = 48 WHERE id = 47", {"holds": ERIN}
    ),
    "a hold that was released was captured": Damage(
        "UPDATE hold SET state = 'captured', captured_minor = 600 WHERE id = 25",
        {"holds": ERIN, "command_effects": {"command:33"}},
    ),
    "more was captured than was taken": Damage(
        "UPDATE hold SET captured_minor = 701 WHERE id = 24", {"command_effects": {"command:32"}}
    ),
    "an expiry that came to nothing is made up": Damage("UPDATE hold SET attempts = 1 WHERE id = 47", {"holds": ERIN}),
    "what is on hold is edited": Damage("UPDATE account SET held_minor = 399 WHERE name = 'erin'", {"holds": ERIN}),
    "a reversal is forgotten": Damage("DELETE FROM reversal WHERE position = 40", {"command_effects": {"command:40"}}),
    "a reversal is made up": Damage(
        "INSERT INTO reversal (position, reverses) VALUES (43, 36)", {"command_effects": {"command:43"}}
    ),
    "a reversal that was refused is noted": Damage(
        "UPDATE reversal SET position = 39 WHERE position = 40", {"command_effects": {"command:39", "command:40"}}
    ),
    "a reversal is of another command": Damage(
        "UPDATE reversal SET reverses = 36 WHERE position = 40", {"command_effects": {"command:40"}}
    ),
    "a reversal is not the mirror of what it reverses": Damage(
        "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE position = 41",
        {"account_totals": ERIN, "running_balances": ERIN, "command_effects": {"command:41"}, "zero_sum": USD},
    ),
    "an instalment that was paid is missed": Damage(
        "UPDATE instalment SET state = 'missed', paid_minor = 0 WHERE advance_id = 10 AND number = 1",
        {"advance_schedules": {"advance:10"}, "instalment_outcomes": {"advance:10"}},
    ),
    "an instalment that was missed is paid": Damage(
        "UPDATE instalment SET state = 'paid', paid_minor = amount_minor WHERE advance_id = 11 AND number = 1",
        {"advance_schedules": {"advance:11"}, "instalment_outcomes": {"advance:11"}},
    ),
    "an instalment is settled by another command": Damage(
        "UPDATE instalment SET settled_by = 5 WHERE advance_id = 10 AND number = 1",
        {"instalment_outcomes": {"advance:10"}},
    ),
    "an instalment that was paid is scheduled again": Damage(
        """
        UPDATE instalment SET state = 'scheduled', settled_by = NULL, paid_minor = 0
        WHERE advance_id = 10 AND number = 1
        """,
        {
            "advance_schedules": {"advance:10"},
            "instalment_outcomes": {"advance:10"},
        },
    ),
    "a collect that came to nothing is made up": Damage(
        "UPDATE instalment SET attempts = 1 WHERE advance_id = 10 AND number = 3",
        {"instalment_outcomes": {"advance:10"}},
        only_in_full=("instalment_outcomes",),
    ),
    "the day of an instalment is moved": Damage(
        "UPDATE instalment SET due_on = due_on + 1 WHERE advance_id = 10 AND number = 3",
        {"advance_schedules": {"advance:10"}},
    ),
    "the amount of an instalment is raised": Damage(
        "UPDATE instalment SET amount_minor = amount_minor + 1 WHERE advance_id = 10 AND number = 3",
        {"advance_schedules": {"advance:10"}},
    ),
    "an instalment is deleted": Damage(
        "DELETE FROM instalment WHERE advance_id = 10 AND number = 3", {"advance_schedules": {"advance:10"}}
    ),
    "more is paid on an advance than was": Damage(
        "UPDATE advance SET paid_minor = paid_minor + 1 WHERE id = 10",
        {"advance_schedules": {"advance:10"}, "instalment_outcomes": {"advance:10"}, "receivables": USD},
        only_in_full=("instalment_outcomes",),
    ),
    "an advance is in arrears that is not": Damage(
        "UPDATE advance SET state = 'in_arrears' WHERE id = 10", {"advance_schedules": {"advance:10"}}
    ),
    "an advance is somebody else's": Damage(
        "UPDATE advance SET account_id = 1 WHERE id = 10",
        {"advance_schedules": {"advance:10"}, "instalment_outcomes": {"advance:10"}},
        only_in_full=("instalment_outcomes",),
    ),
    "a decision is dated in the future": Damage(
        "UPDATE outcome SET decided_at = decided_at + interval '1 y' WHERE position = 4",
        {"clock_sanity": {"command:4"}},
    ),
    "a receipt is dated after its decision": Damage(
        "UPDATE command SET accepted_at = accepted_at + interval '1 h' WHERE position = 4",
        {"clock_sanity": {"command:4"}},
    ),
    "a receipt is dated before the one before it": Damage(
        "UPDATE command SET accepted_at = accepted_at - interval '1 h' WHERE position = 5",
        {"clock_sanity": {"command:5"}},
    ),
}

BY_THE_LOG: Final = {
    *("command_effects", "running_balances", "account_totals", "balance_floors", "account_changes", "holds"),
    *("zero_sum", "links"),
    *("advance_schedules", "instalment_outcomes", "clock_sanity"),
}
"""Proofs that look at old rows only in full, and where there is a doubt."""


@pytest.mark.parametrize("what", DAMAGES)
def test_each_proof_finds_its_breaks_and_no_other(books: Books, what: str) -> None:
    """Whoever is called at night is told what is wrong, and nothing else; and as long as it is wrong, in every run."""
    damage = DAMAGES[what]
    books.owner.execute(damage.statement)
    new = {name: subjects for name, subjects in damage.breaks.items() if name not in damage.only_in_full}
    later = the_number_of_the_next_transaction(books.owner)
    suspects = {
        name: [Suspect(subject, None, None) for subject in subjects] for name, subjects in damage.breaks.items()
    }

    in_new_rows = found(books, a_scope(books.owner, books.now))
    in_old_rows = found(books, a_scope(books.owner, books.now, since_xid=later))
    in_full = found(books, a_scope(books.owner, books.now, is_full=True))
    again = found(books, a_scope(books.owner, books.now, since_xid=later), suspects=suspects)

    assert in_new_rows == new
    assert not in_old_rows.keys() & BY_THE_LOG
    assert in_full == damage.breaks
    assert again == damage.breaks


def test_books_that_are_right_are_proven(books: Books) -> None:
    """Overdrafts, misses, refusals, partial repayments, write-offs and lines are all as they should be."""
    # Only the fee, and what came in after it, may be below the limit.
    books.owner.execute("""
        UPDATE account SET overdraft_limit_minor = 500 WHERE name = 'alice';
        UPDATE command SET overdraft_limit_minor = 500 WHERE position = 1
    """)
    books.owner.execute("""
        WITH moved AS (DELETE FROM pending WHERE position = 50 RETURNING *)
        INSERT INTO held SELECT position, account_key, now() FROM moved
    """)

    assert found(books, a_scope(books.owner, books.now)) == {}
    assert found(books, a_scope(books.owner, books.now, is_full=True)) == {}


def test_a_suspect_that_is_right_again_is_let_go(books: Books) -> None:
    """Otherwise its alert would never close, and its account would stay in quarantine."""
    subjects = ("account:alice", "account:@settlement:USD", "command:4", "advance:10", "currency:USD", "account:nobody")
    suspects = {proof.name: [Suspect(subject, None, None) for subject in subjects] for proof in PROOFS}
    later = the_number_of_the_next_transaction(books.owner)

    assert found(books, a_scope(books.owner, books.now, since_xid=later), suspects=suspects) == {}


@pytest.mark.parametrize("name", sorted(BY_THE_LOG))
def test_a_run_costs_what_is_new(books: Books, name: str) -> None:
    """A minute's run must not take longer from year to year."""
    (proof,) = [proof for proof in PROOFS if proof.name == name]
    row = books.owner.execute("SELECT max(xid)::text::bigint FROM outcome WHERE position <= 46").fetchone()
    assert row is not None
    scope = a_scope(books.owner, books.now, since_xid=int(row[0]) + 1)
    list(proof.check(books.owner, scope))

    assert proof.is_incremental
    assert scope.checked == 2


def test_what_was_in_line_is_looked_for_afterwards(books: Books) -> None:
    """A command may be long accepted and be lost only now."""
    (proof,) = [proof for proof in PROOFS if proof.name == "command_lines"]
    later = the_number_of_the_next_transaction(books.owner)
    books.owner.execute("DELETE FROM pending WHERE position = 49")
    scope = a_scope(books.owner, books.now, since_xid=later)
    scope.memory = dict(books.memories["command_lines"])
    breaks = list(proof.check(books.owner, scope))

    assert books.memories["command_lines"] == {"seen": 50, "waiting": [49, 50]}
    assert [(each.subject, each.found) for each in breaks] == [("command:49", "none of these")]
    assert scope.memory == {"seen": 50, "waiting": [50]}


@pytest.mark.parametrize(("days", "overdue"), [(7, False), (8, True)])
def test_an_instalment_whose_day_is_over_needs_a_collect(books: Books, days: int, overdue: bool) -> None:
    """Nobody collects: the bank would lend for longer than it agreed to."""
    scope = a_scope(books.owner, books.now + timedelta(days=days))
    (proof,) = [proof for proof in PROOFS if proof.name == "overdue_instalments"]

    assert [each.subject for each in proof.check(books.owner, scope)] == (["job:collect"] if overdue else [])


@pytest.mark.parametrize(("hours", "overdue"), [(1, False), (2, True)])
def test_a_hold_whose_time_is_over_needs_an_expiry(books: Books, hours: int, overdue: bool) -> None:
    """Money would stay promised that nobody can take any more; one alert says so, however many holds there are."""
    books.owner.execute("UPDATE hold SET expires_at = %s WHERE state = 'held'", [books.now + timedelta(hours=1)])
    scope = a_scope(books.owner, books.now + timedelta(hours=hours, minutes=14))
    (proof,) = [proof for proof in PROOFS if proof.name == "holds"]

    assert [each.subject for each in proof.check(books.owner, scope)] == (["job:expire_holds"] if overdue else [])


def test_a_hold_whose_expiry_waits_with_its_account_is_not_forgotten(books: Books) -> None:
    """Its account is in quarantine, and the expiry with it: the job did what it could."""
    books.owner.execute("UPDATE hold SET expires_at = %s WHERE id = 47", [books.now])
    books.owner.execute(
        """
        INSERT INTO command (
            position, id, client_id, idempotency_key, type, account, currency, hold_id, accepted_at
        )
        OVERRIDING SYSTEM VALUE
        SELECT 99, gen_random_uuid(), 0, 'hold:47:1', 'expire_hold', 'erin', 'USD', id, %(now)s
        FROM command WHERE position = 47
        """,
        {"now": books.now},
    )
    books.owner.execute("INSERT INTO held VALUES (99, %s, %s)", [account_key("erin"), books.now])
    (proof,) = [proof for proof in PROOFS if proof.name == "holds"]
    later = a_scope(books.owner, books.now + timedelta(hours=1))
    waits = list(proof.check(books.owner, later))
    # Somebody decides it, and nothing comes of it.
    books.owner.execute("DELETE FROM held WHERE position = 99")
    books.owner.execute(
        "INSERT INTO outcome (position, status, reason, decided_at) VALUES (99, 'refused', 'hold_not_open', now())"
    )

    assert waits == []
    assert {each.subject for each in proof.check(books.owner, later)} == {"account:erin", "job:expire_holds"}


def test_an_account_with_very_many_transfers_is_read_in_parts(books: Books) -> None:
    """One merchant with millions of them must not take a statement for longer than a statement may take."""
    for page in (1, 7):
        scope = replace(a_scope(books.owner, books.now, is_full=True), page=page)
        assert found(books, scope) == {}
    books.owner.execute(
        "UPDATE transfer SET debit_balance_minor = debit_balance_minor - 1 WHERE position = 7 AND leg = 2"
    )
    books.owner.execute("UPDATE account SET credits_minor = credits_minor + 1 WHERE name = 'alice'")
    # Pages of one account, and parts of five transfers.
    in_parts = found(books, replace(a_scope(books.owner, books.now, is_full=True), page=1))

    assert in_parts == {"running_balances": ALICE, "account_totals": ALICE, "zero_sum": USD}


def test_what_the_scheduler_is_too_old_for_freezes_nobody(books: Books) -> None:
    """The next release brings a type of command: its customers must not be frozen until the last scheduler has it."""
    books.owner.execute(DAMAGES["the workers know a type that the scheduler does not"].statement)
    (proof,) = [proof for proof in PROOFS if proof.name == "command_effects"]
    (told,) = proof.check(books.owner, a_scope(books.owner, books.now))

    assert (told.account, told.position, told.severity) == (None, None, Severity.TICKET)


def test_a_run_may_end_between_two_parts_of_an_account(books: Books) -> None:
    """The parts of a merchant may take an hour: a leader that is told to stop must hear it."""
    told = [False, True]
    scope = replace(a_scope(books.owner, books.now), page=1, stopped=lambda: told.pop(0))
    # Bob, who has six transfers, comes in two parts.
    parts = walking.these_accounts(books.owner, scope, [2])

    assert next(parts).high == 5
    with pytest.raises(Interrupted):
        next(parts)


def test_a_collect_that_failed_too_late_is_not_missed_after_a_restore(books: Books) -> None:
    """All transactions of a dump have one number: what was right before it must not freeze a customer after it."""
    # Carol's third instalment was written off by 18. The collect that was in line by then became a dead letter.
    books.owner.execute(
        """
        INSERT INTO command (
            position, id, client_id, idempotency_key, type, account, currency, advance_id, instalment, accepted_at
        )
        OVERRIDING SYSTEM VALUE
        SELECT 99, gen_random_uuid(), 0, 'instalment:11-3:1', 'collect', 'carol', 'USD', id, 3, %(now)s
        FROM command WHERE position = 11
        """,
        {"now": books.now},
    )
    books.owner.execute(
        "INSERT INTO outcome (position, status, reason, decided_at) VALUES (99, 'failed', 'internal_error', %s)",
        [books.now],
    )
    books.owner.execute("INSERT INTO dead_letter (position, error, failed_at) VALUES (99, 'sick', %s)", [books.now])
    in_full = a_scope(books.owner, books.now, is_full=True)
    before = found(books, in_full)
    books.owner.execute("ALTER TABLE transfer DROP CONSTRAINT transfer_of_its_outcome")
    books.owner.execute("UPDATE outcome SET xid = '1'")
    books.owner.execute("UPDATE transfer SET xid = '1'")
    books.owner.execute("DELETE FROM system_checkpoint")
    after = found(books, in_full)
    books.owner.execute("UPDATE instalment SET attempts = 2 WHERE advance_id = 11 AND number = 3")

    assert before == {}
    assert after == {}
    assert found(books, in_full) == {"instalment_outcomes": {"advance:11"}}


def test_a_slice_of_the_log_may_end_within_a_transaction(books: Books) -> None:
    """Every position is in one slice, however the slices are cut."""
    whole = next(log.slices(books.owner, since_xid=0, below_xid=END, limit=1_000))
    cut = list(log.slices(books.owner, since_xid=0, below_xid=END, limit=2))

    assert [position for positions in cut for position in positions] == whole
    assert sorted(whole) == list(range(1, 49))
