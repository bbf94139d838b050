"""What Postgres refuses, whoever writes the SQL: rights that the application has not, and rows that no rule allows."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors, sql

from cli.servers import LocalServers
from migrations import latest_version, migrate
from processor.errors import SettingsError
from processor.store import schema
from tests.builders import LARGEST, NOON, TODAY
from tests.conftest import Database

Row = dict[str, Any]


@pytest.fixture(scope="module")
def connection(servers: LocalServers) -> Iterator[Connection]:
    """One database for all tests of this file, with some rows in it, as its owner."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(servers.postgres.url_of("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(servers.postgres.url_of(name))
        with psycopg.connect(servers.postgres.url_of(name)) as owner:
            for table, row in HERE:
                insert(owner, table, row)
            owner.commit()
            yield owner
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def owner(connection: Connection) -> Iterator[Connection]:
    """A transaction of the owner, who may do all that the schema allows. It is rolled back."""
    yield connection
    connection.rollback()


@pytest.fixture
def application(owner: Connection) -> Connection:
    """A transaction of the application's login."""
    owner.execute("SET LOCAL SESSION AUTHORIZATION florin_app")
    return owner


# What the application may do.

HISTORY: Final = {
    "command": "amount_minor",
    "outcome": "status",
    "transfer": "amount_minor",
    "dead_letter": "error",
    "client": "name",
    "statement_file": "name",
    "statement_line": "amount_minor",
    "statement_match": "amount_minor",
    "alert_change": "kind",
    "dead_letter_action": "action",
    "seal": "root",
    "seal_genesis": "history",
    "reversal": "reverses",
    "account_change": "status",
}
"""The tables that only grow, each with a column that one might like to change."""


@pytest.mark.parametrize("table", HISTORY)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_application_cannot_change_history(application: Connection, table: str, verb: str) -> None:
    """A bug in it, or whoever got hold of its login, can add a wrong payment but never hide one."""
    statement = {
        "UPDATE": "UPDATE {table} SET {column} = {column}",
        "DELETE": "DELETE FROM {table}",
        "TRUNCATE": "TRUNCATE {table} CASCADE",
    }[verb]
    names = {"table": sql.Identifier(table), "column": sql.Identifier(HISTORY[table])}

    with pytest.raises(errors.InsufficientPrivilege, match=table):
        application.execute(sql.SQL(statement).format(**names))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
        "DROP TABLE pending",
        "ALTER TABLE transfer DROP CONSTRAINT transfer_two_accounts",
        "DELETE FROM schema_migration",
    ],
)
def test_the_application_cannot_change_the_schema(application: Connection, statement: str) -> None:
    """The rules hold for it because it cannot take them away."""
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement.encode())


@pytest.mark.parametrize(
    ("column", "allowed"),
    [
        *((name, True) for name in ("version", "credits_minor", "debits_minor", "held_minor", "status")),
        *((name, False) for name in ("id", "name", "key", "kind", "currency", "opened_at")),
    ],
)
def test_of_an_account_only_what_commands_change_may_change(
    application: Connection, column: str, allowed: bool
) -> None:
    """Nobody is given another currency or another name by a slip in a query."""
    try:
        application.execute(sql.SQL("UPDATE account SET {column} = {column}").format(column=sql.Identifier(column)))
        worked = True
    except errors.InsufficientPrivilege:
        worked = False

    assert worked is allowed


def test_the_application_has_just_these_rights(owner: Connection) -> None:
    """Whoever grants it one more has to say so here."""
    tables = owner.execute("""
        SELECT relname, array_agg(privilege ORDER BY privilege)
        FROM pg_class CROSS JOIN unnest(
            ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']
        ) AS privilege
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
            AND has_table_privilege('florin_app', pg_class.oid, privilege)
        GROUP BY relname
    """).fetchall()

    assert dict(tables) == {
        **{table: ["SELECT"] for table in ("command", "outcome", "transfer", "client", "api_key", "schema_migration")},
        **{table: ["INSERT", "SELECT"] for table in ("dead_letter", "account", "advance", "instalment")},
        **{table: ["SELECT"] for table in ("statement_file", "statement_line", "statement_match")},
        "reconciliation_break": ["SELECT"],
        "pending": ["DELETE", "INSERT", "SELECT"],
        "held": ["DELETE", "INSERT", "SELECT"],
        **{table: ["SELECT"] for table in ("alert", "alert_notice", "quarantine")},
        "alert_change": ["INSERT", "SELECT"],
        "seal": ["INSERT", "SELECT"],
        "seal_genesis": ["SELECT"],
        "dead_letter_action": ["SELECT"],
        **{table: ["DELETE", "SELECT"] for table in ("job_run", "proof_run", "apply_batch")},
        "proof_state": ["INSERT", "SELECT", "UPDATE"],
        "system_checkpoint": ["INSERT", "SELECT", "UPDATE"],
        **{table: ["INSERT", "SELECT"] for table in ("hold", "reversal", "account_change")},
    }
    assert columns_of(owner, "UPDATE", allowed=True) == {
        "account": [
            *("credits_minor", "daily_amount_minor", "daily_count", "daily_on", "daily_used", "daily_used_minor"),
            *("debits_minor", "forced_minor", "held_minor", "overdraft_fee_minor", "overdraft_limit_minor"),
            *("revision", "status", "version"),
        ],
        "hold": ["attempts", "captured_minor", "failed_at", "settled_by", "state"],
        "reconciliation_break": ["closed_at"],
        "advance": ["instalments", "paid_minor", "state", "version", "written_off_minor"],
        "alert": [
            *("acknowledge_reason", "acknowledged_at", "acknowledged_by", "advice", "expected", "found"),
            *("last_seen_at", "resolve_reason", "resolved_at", "resolved_by", "seen", "severity", "since", "state"),
        ],
        "alert_notice": ["attempts", "delivered_to", "due_at", "error", "settled_at", "state"],
        "quarantine": ["asked_at", "asked_by", "release_reason", "released_at", "released_by", "released_up_to"],
        "api_key": ["revoked_at"],
        "instalment": [
            *("amount_minor", "attempts", "failed_at", "paid_minor", "rolled_minor", "settled_by", "state"),
        ],
        "job_run": ["emitted", "ended_at", "error", "result"],
    }
    assert columns_of(owner, "INSERT", allowed=False) == {
        "command": ["position"],
        "outcome": ["xid"],
        "transfer": ["xid"],
        "client": ["created_at", "id"],
        "api_key": ["created_at", "revoked_at"],
        "alert": [
            *("acknowledge_reason", "acknowledged_at", "acknowledged_by", "id", "resolve_reason", "resolved_at"),
            *("resolved_by", "seen", "state"),
        ],
        "alert_notice": ["attempts", "delivered_to", "error", "settled_at", "state"],
        "quarantine": [
            *("asked_at", "asked_by", "id", "release_reason", "released_at", "released_by", "released_up_to"),
        ],
        **{table: ["id"] for table in ("statement_file", "statement_line", "statement_match")},
        "reconciliation_break": ["closed_at", "id"],
        "job_run": ["emitted", "ended_at", "error", "id", "result"],
        "proof_run": ["id"],
        "apply_batch": ["xid"],
        "dead_letter_action": ["after_action", "after_number"],
    }


def columns_of(owner: Connection, privilege: str, *, allowed: bool) -> dict[str, list[str]]:
    """Where the application has the right on some columns only: those on which it has it, or those on which not."""
    found = owner.execute(
        """
        SELECT relname, array_agg(attname::text ORDER BY attname)
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND has_any_column_privilege('florin_app', pg_class.oid, %(privilege)s)
            AND NOT has_table_privilege('florin_app', pg_class.oid, %(privilege)s)
            AND has_column_privilege('florin_app', pg_class.oid, attnum, %(privilege)s) = %(allowed)s
        GROUP BY relname
        """,
        {"privilege": privilege, "allowed": allowed},
    )
    return dict(found.fetchall())


def test_who_logs_in_as_the_application_is_nothing_more(database: Database) -> None:
    """Its rights are the login's own: there is no stronger role behind it to go back to."""
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        conn.execute("RESET ROLE")
        who = conn.execute("""
            SELECT session_user, current_user, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,
                EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
            FROM pg_roles WHERE rolname = current_user
        """).fetchone()

        assert who == ("florin_app", "florin_app", *[False] * 6)
        schema.check(conn, wanted_version=latest_version())


@pytest.mark.parametrize("role", ["none", "florin_app"])
def test_the_owners_login_is_refused(owner: Connection, role: str) -> None:
    """It has none of the protection above, whatever role it takes on for a while: it is told which login to use."""
    owner.execute(f"SET LOCAL ROLE {role}".encode())

    with pytest.raises(SettingsError, match=r"may change command, outcome, transfer: give the login of .* florin_app"):
        schema.check(owner, wanted_version=latest_version())


@pytest.mark.parametrize("right", ["UPDATE", "UPDATE ({column})", "DELETE", "TRUNCATE"])
@pytest.mark.parametrize("table", ["command", "outcome", "transfer"])
def test_a_single_right_too_many_is_refused(application: Connection, table: str, right: str) -> None:
    """Somebody granted it to repair something, and forgot."""
    schema.check(application, wanted_version=latest_version())
    application.execute("RESET SESSION AUTHORIZATION")
    application.execute(f"GRANT {right.format(column=HISTORY[table])} ON {table} TO florin_app".encode())
    application.execute("SET LOCAL SESSION AUTHORIZATION florin_app")

    with pytest.raises(SettingsError, match=f"may change {table}:"):
        schema.check(application, wanted_version=latest_version())


SETTLEMENT: Final = -1 - 17_576 - 676 * 20 - 26 * 18 - 3
"""The id of the settlement account in USD: the first of the kinds, and three letters counted from A."""
FEE_INCOME: Final = SETTLEMENT - 17_576

LENT: Final[Row] = {
    "amount_minor": 100,
    "first_due_on": TODAY,
    "granted_at": NOON,
    "version": 3,
    "instalments": 2,
    "paid_minor": 40,
    "written_off_minor": 0,
    "state": "open",
}
"""An advance of which a part is paid."""

WEEKLY: Final[Row] = {
    "due_on": TODAY,
    "amount_minor": 50,
    "rolled_minor": 10,
    "paid_minor": 20,
    "state": "scheduled",
    "attempts": 1,
    "failed_at": NOON,
}
"""An instalment of which a part is paid, and which was tried once."""

RESERVED: Final[Row] = {"account_id": 1, "currency": "USD", "amount_minor": 50, "expires_at": NOON, "state": "held"}
"""Money on hold that will expire."""

CHANGED: Final[Row] = {
    "account_id": 1,
    "version": 0,
    "status": "open",
    "overdraft_limit_minor": 0,
    "overdraft_fee_minor": 0,
    "daily_count": 3,
    "daily_amount_minor": 0,
}
"""What an account is allowed from now on."""

SEALED: Final[Row] = {
    "version": 1,
    "leaves": 2,
    "root": bytes(32),
    "sealed_at": NOON,
    "hash": bytes(32),
    "positions": [2, 1],
    "leaf_hashes": bytes(64),
    "lowest_position": 1,
    "highest_position": 2,
    "last_xid": "9",
    "last_position": 1,
}
"""A block of two leaves."""

DOUBTED: Final[Row] = {
    "proof": "chain",
    "severity": "page",
    "expected": "1",
    "found": "2",
    "advice": "Look.",
    "first_seen_at": NOON,
    "last_seen_at": NOON,
}
"""An alert that is open."""

IMPORTED: Final[Row] = {
    "name": "january.csv",
    "format": "csv",
    "bank_account": "main",
    "currency": "USD",
    "from_on": TODAY,
    "to_on": TODAY,
    "opening_minor": None,
    "closing_minor": None,
    "total_minor": -5,
    "lines": 2,
    "new_lines": 1,
    "amount_minor": 5,
    "skipped": 0,
    "imported_by": "ann",
    "imported_at": NOON,
}
"""A statement of a bank."""

BOOKED: Final[Row] = {
    "number": 1,
    "bank_account": "main",
    "currency": "USD",
    "booked_on": TODAY,
    "direction": "debit",
    "amount_minor": 5,
    "is_reversal": False,
}
"""A line of it."""

BY_ANN: Final[Row] = {"acted_by": "ann", "acted_at": NOON, "reason": "repaired"}
"""What a person did."""

MATCHED: Final[Row] = {"amount_minor": 5, "rule": "reference", "made_by": "ann", "made_at": NOON}
TAKEN_BACK: Final[Row] = {"rule": "by_hand", "reason": "another", "undoes": 1}
BROKEN: Final[Row] = {"currency": "USD", "amount_minor": 5, "detail": "no line", "since": NOON, "opened_at": NOON}

OF_A_LINE: Final[Row] = {"result": "duplicate", "position": None, "leg": None}
OF_A_FILE: Final[Row] = {"result": "balance", "position": None, "leg": None}

# Rows. Some are there; of each table there is a new one that is as it should be; and each bad row differs from it.

HERE: Final[list[tuple[str, Row]]] = [
    ("client", {"id": 1, "name": "acme"}),
    *(
        (
            "command",
            {"position": position, "id": UUID(int=position), "client_id": 1, "idempotency_key": f"k{position}"}
            | {"type": "deposit", "account": "a", "amount_minor": 100, "currency": "USD", "accepted_at": NOON},
        )
        for position in (1, 2, 3, 5, 6)
    ),
    *(("outcome", {"position": position, "status": "applied", "decided_at": NOON}) for position in (1, 2, 3)),
    *(
        (
            "account",
            {"id": number, "name": name, "key": number, "kind": kind, "currency": currency, "opened_at": NOON},
        )
        for number, name, kind, currency in (
            (1, "alice", "customer", "USD"),
            (2, "bob", "customer", "USD"),
            (3, "yoko", "customer", "JPY"),
            (SETTLEMENT, "@settlement:USD", "settlement", "USD"),
        )
    ),
    *(
        (
            "transfer",
            {"position": 1, "leg": leg, "kind": "transfer", "amount_minor": 5, "currency": "USD"}
            | {"debit_account_id": debit, "debit_version": leg, "debit_balance_minor": 0}
            | {"credit_account_id": credit, "credit_version": leg, "credit_balance_minor": 0},
        )
        for leg, debit, credit in ((1, 1, 2), (2, 2, 1))
    ),
    ("api_key", {"prefix": "A" * 8, "client_id": 1, "secret_sha256": bytes(32), "scopes": ["read"]}),
    ("pending", {"position": 5, "account_key": 7}),
    ("dead_letter", {"position": 1, "error": "sick", "failed_at": NOON}),
    ("dead_letter", {"position": 3, "error": "sick", "failed_at": NOON}),
    ("dead_letter_action", {"position": 1, "number": 1, "action": "retry", "retry_position": 5} | BY_ANN),
    ("dead_letter_action", {"position": 3, "number": 1, "action": "discard"} | BY_ANN),
    ("apply_batch", {"xid": "7", "decided_at": NOON, "commands": 1, "lock_wait_us": 0}),
    ("system_checkpoint", {"account_id": 1, "up_to_xid": "0", "credits_minor": 0, "debits_minor": 0, "made_at": NOON}),
    ("advance", {"id": 1, "account_id": 1, "currency": "USD"} | LENT),
    ("instalment", {"advance_id": 1, "number": 1} | WEEKLY),
    ("hold", {"id": 1} | RESERVED | {"state": "released", "settled_by": 3}),
    ("reversal", {"position": 2, "reverses": 1}),
    ("account_change", {"position": 1} | CHANGED),
    ("statement_file", {"id": 1, "sha256": bytes(32)} | IMPORTED),
    ("statement_line", {"id": 1, "file_id": 1, "line_key": bytes(32)} | BOOKED),
    ("statement_match", {"id": 1, "line_id": 1, "position": 1, "leg": 1} | MATCHED),
    ("statement_match", {"id": 2, "line_id": 1, "position": 1, "leg": 1} | MATCHED | TAKEN_BACK),
    *(
        ("reconciliation_break", {"id": number, "result": result} | BROKEN | subject)
        for number, result, subject in (
            (1, "missing_in_books", {"line_id": 1}),
            (2, "missing_in_statement", {"position": 1, "leg": 1}),
            (3, "balance", {"file_id": 1}),
        )
    ),
    ("job_run", {"id": 1, "job": "sweep", "started_at": NOON}),
    ("proof_state", {"proof": "zero_sum"} | {"runs": 1, "below_xid": "9", "memory": "{}", "ran_at": NOON, "breaks": 0}),
    (
        "proof_run",
        {"id": 1, "proof": "zero_sum", "is_full": False, "started_at": NOON, "ended_at": NOON, "error": "sick"},
    ),
    ("alert", {"id": 1, "subject": "account:alice"} | DOUBTED),
    *(
        ("alert_change", {"id": UUID(int=number), "alert_id": 1, "kind": "opened", "changed_at": NOON})
        for number in (1, 2)
    ),
    ("alert_notice", {"change_id": UUID(int=1), "due_at": NOON}),
    ("quarantine", {"id": 1, "account": "alice", "account_key": 1, "alert_id": 1, "began_at": NOON}),
    ("held", {"position": 5, "account_key": 7, "held_at": NOON}),
    ("seal", {"number": 1, "first_leaf": 0, "previous": bytes(32)} | SEALED),
]

NEW: Final[dict[str, Row]] = {
    "client": {"id": 9, "name": "globex"},
    "api_key": {"prefix": "B" * 8, "client_id": 1, "secret_sha256": bytes(32), "scopes": ["commands:write", "ops"]},
    "command": (
        {"position": 9, "id": UUID(int=9), "client_id": 1, "idempotency_key": "k9", "type": "deposit"}
        | {"account": "alice", "amount_minor": 1, "currency": "USD", "accepted_at": NOON}
    ),
    "pending": {"position": 5, "account_key": 8},
    "outcome": {"position": 5, "status": "applied", "decided_at": NOON},
    "dead_letter": {"position": 2, "error": "sick", "failed_at": NOON},
    "dead_letter_action": {"position": 1, "number": 2, "action": "retry", "retry_position": 6} | BY_ANN,
    "apply_batch": {"xid": "9", "decided_at": NOON, "commands": 1, "lock_wait_us": 0, "sent_by": "sweeper"},
    "account": (
        {"id": 9, "name": "carol", "key": 9, "kind": "customer", "currency": "USD", "opened_at": NOON}
        | {"version": 2, "credits_minor": 100, "debits_minor": 250, "held_minor": 0}
        | {"overdraft_limit_minor": 100, "overdraft_fee_minor": 50}
    ),
    "transfer": (
        {"position": 6, "leg": 1, "kind": "transfer", "amount_minor": 1, "currency": "USD"}
        | {"debit_account_id": 1, "debit_version": 9, "debit_balance_minor": 0}
        | {"credit_account_id": 2, "credit_version": 9, "credit_balance_minor": 0}
    ),
    "system_checkpoint": {
        "account_id": SETTLEMENT,
        "up_to_xid": "1",
        "credits_minor": 0,
        "debits_minor": 2 * LARGEST,
        "made_at": NOON,
    },
    "advance": {"id": 2, "account_id": 1, "currency": "USD"} | LENT,
    "instalment": {"advance_id": 1, "number": 2} | WEEKLY,
    "hold": {"id": 2} | RESERVED,
    "reversal": {"position": 3, "reverses": 2},
    "account_change": {"position": 2} | CHANGED,
    "statement_file": {"id": 9, "sha256": b"\x01" * 32} | IMPORTED,
    "statement_line": {"id": 9, "file_id": 1, "line_key": b"\x01" * 32} | BOOKED,
    "statement_match": {"id": 9, "line_id": 1, "position": 1, "leg": 2} | MATCHED,
    "reconciliation_break": {"id": 9, "result": "missing_in_statement", "position": 1, "leg": 2} | BROKEN,
    "job_run": {"id": 9, "job": "sweep", "started_at": NOON},
    "proof_state": {
        "proof": "chains",
        "runs": 1,
        "below_xid": "9",
        "memory": "{}",
        "ran_at": NOON,
        "ran_full_at": NOON,
        "breaks": 0,
    },
    "proof_run": (
        {"id": 9, "proof": "zero_sum", "is_full": False, "started_at": NOON, "ended_at": NOON}
        | {"checked": 3, "breaks": 0, "error": None}
    ),
    "alert": {"id": 9, "subject": "account:bob"} | DOUBTED,
    "alert_change": {"id": UUID(int=9), "alert_id": 1, "kind": "resolved", "changed_at": NOON},
    "alert_notice": {"change_id": UUID(int=2), "due_at": NOON},
    "quarantine": {"id": 9, "account": "bob", "account_key": 2, "alert_id": 1, "began_at": NOON},
    "held": {"position": 5, "account_key": 8, "held_at": NOON},
    "seal": {"number": 2, "first_leaf": 2, "previous": b"\x01" * 32} | SEALED,
}

SYSTEM: Final[Row] = {
    "id": FEE_INCOME,
    "name": "@fee_income:USD",
    "kind": "fee_income",
    "version": 0,
    "credits_minor": 0,
    "debits_minor": 0,
} | {"overdraft_limit_minor": 0, "overdraft_fee_minor": 0}
"""What makes an account of the new one that is the bank's own."""

OPENING: Final[Row] = {
    "type": "open_account",
    "amount_minor": None,
    "overdraft_limit_minor": 0,
    "overdraft_fee_minor": 0,
}
TRANSFER: Final[Row] = {"type": "transfer", "account": None, "from_account": "alice", "to_account": "bob"}
WITHDRAW: Final[Row] = {"type": "withdraw"}
ADVANCE: Final[Row] = {"type": "advance", "instalments": 12}
REPAY: Final[Row] = {"type": "repay", "advance_id": UUID(int=1)}
WRITE_OFF: Final[Row] = {"type": "write_off", "amount_minor": None, "advance_id": UUID(int=1), "reason": "gone"}
COLLECT: Final[Row] = {
    "type": "collect",
    "client_id": 0,
    "amount_minor": None,
    "advance_id": UUID(int=1),
    "instalment": 1,
}

HOLDING: Final[Row] = {"type": "place_hold", "expires_at": NOON}
CAPTURE: Final[Row] = {"type": "capture_hold", "hold_id": UUID(int=1), "amount_minor": None}
RELEASE: Final[Row] = CAPTURE | {"type": "release_hold"}
EXPIRY: Final[Row] = CAPTURE | {"type": "expire_hold", "client_id": 0}
FREEZE: Final[Row] = {"type": "freeze", "amount_minor": None, "reason": "lost card"}
LIMITS: Final[Row] = FREEZE | {"type": "set_limits", "daily_count": 0, "daily_amount_minor": 2**53 - 1}
REVERSE: Final[Row] = FREEZE | {"type": "reverse", "reverses": UUID(int=1), "force": False}
OF_A_TRANSFER: Final[Row] = {"account": None, "from_account": "alice", "to_account": "bob"}
ADJUST: Final[Row] = TRANSFER | {"type": "adjust", "reason": "found it", "force": True, "to_account": "@suspense:USD"}

LIMITED: Final[Row] = {
    "daily_count": 3,
    "daily_amount_minor": 100,
    "daily_on": TODAY,
    "daily_used": 1,
    "daily_used_minor": 9,
}
FORCED: Final[Row] = {"debits_minor": 257, "forced_minor": 7}
CLOSED: Final[Row] = {"status": "closed", "debits_minor": 100}
CAPTURED: Final[Row] = {"state": "captured", "captured_minor": 50, "settled_by": 6}
GIVEN_BACK: Final[Row] = {"state": "expired", "settled_by": 6}

DISCARDED: Final[Row] = {"action": "discard", "retry_position": None}
PAID: Final[Row] = {"state": "paid", "paid_minor": 50, "settled_by": 2}
MISSED: Final[Row] = {"state": "missed", "settled_by": 2}
ACKNOWLEDGED: Final[Row] = {"state": "acknowledged", "acknowledged_at": NOON, "acknowledged_by": "ann"}
RESOLVED: Final[Row] = {"state": "resolved", "resolved_at": NOON}
BY_HAND: Final[Row] = RESOLVED | {"resolved_by": "ann", "resolve_reason": "repaired"}
RELEASED: Final[Row] = {"released_at": NOON, "released_by": "ann"}
ENDED: Final[Row] = {"ended_at": NOON, "result": "success", "emitted": 3}

GOOD: Final[list[tuple[str, Row]]] = [
    *((table, {}) for table in NEW),
    ("command", OPENING),
    ("command", TRANSFER),
    ("command", WITHDRAW),
    ("command", {"amount_minor": 2**53 - 1, "reference": "r" * 255, "idempotency_key": "k" * 255}),
    ("command", ADVANCE),
    ("command", ADVANCE | {"first_due_on": TODAY, "instalments": 104}),
    ("command", REPAY),
    ("command", WRITE_OFF),
    ("command", COLLECT),
    ("command", OPENING | {"overdraft_limit_minor": None, "overdraft_fee_minor": None}),
    *(("command", {"type": kind, "reason": "teller"}) for kind in ("deposit", "withdraw")),
    ("command", HOLDING),
    ("command", HOLDING | {"expires_at": None}),
    ("command", CAPTURE),
    ("command", CAPTURE | {"amount_minor": 5, "to_account": "bob"}),
    ("command", RELEASE),
    ("command", EXPIRY),
    *(("command", FREEZE | {"type": kind}) for kind in ("freeze", "unfreeze", "close")),
    ("command", LIMITS),
    *(
        ("command", LIMITS | {"daily_count": None, "daily_amount_minor": None, limit: 5})
        for limit in ("daily_count", "daily_amount_minor", "overdraft_limit_minor", "overdraft_fee_minor")
    ),
    ("command", REVERSE),
    ("command", REVERSE | {"to_account": "bob"}),
    ("command", REVERSE | OF_A_TRANSFER | {"force": True}),
    ("command", ADJUST),
    ("outcome", {"status": "refused", "reason": "insufficient_funds"}),
    ("dead_letter_action", DISCARDED),
    ("account", SYSTEM),
    ("account", SYSTEM | {"id": SETTLEMENT - 4 * 17_576, "name": "@credit_loss:USD", "kind": "credit_loss"}),
    ("account", LIMITED),
    ("account", {"daily_count": 0, "daily_amount_minor": 0}),
    ("account", FORCED),
    ("account", CLOSED),
    ("account", {"status": "frozen", "held_minor": 0}),
    ("account", {"credits_minor": LARGEST, "debits_minor": LARGEST - 9, "held_minor": 9}),
    *(("transfer", {"kind": kind}) for kind in ("advance", "collection", "repayment", "write_off")),
    *(("transfer", {"kind": kind}) for kind in ("capture", "reversal", "adjustment")),
    ("hold", {"expires_at": None, "attempts": 0}),
    ("hold", CAPTURED),
    ("hold", CAPTURED | {"captured_minor": 1, "expires_at": None}),
    ("hold", GIVEN_BACK | {"attempts": 1, "failed_at": NOON}),
    ("hold", {"attempts": 1}),
    ("account_change", {"daily_count": None, "daily_amount_minor": None}),
    ("advance", {"state": "in_arrears"}),
    ("advance", {"state": "repaid", "paid_minor": 100}),
    ("advance", {"state": "written_off", "written_off_minor": 60}),
    ("instalment", PAID),
    ("instalment", MISSED),
    ("instalment", MISSED | {"state": "written_off"}),
    ("instalment", {"attempts": 0, "failed_at": None}),
    ("alert", ACKNOWLEDGED),
    ("alert", RESOLVED | {"subject": "account:alice"}),
    ("alert", ACKNOWLEDGED | BY_HAND),
    ("alert_notice", {"state": "undelivered", "settled_at": NOON, "error": "nobody answers"}),
    ("quarantine", RELEASED | {"account": "alice"}),
    ("quarantine", RELEASED | {"asked_at": NOON, "asked_by": "ben"}),
    ("job_run", ENDED),
    ("proof_state", {"proven_at": NOON, "proven_full_at": NOON}),
    ("proof_run", {"checked": None, "breaks": None, "error": "sick"}),
    ("job_run", ENDED | {"result": "lost", "emitted": None}),
    ("job_run", ENDED | {"result": "error", "emitted": None, "error": "sick"}),
    ("transfer", {"debit_account_id": SETTLEMENT, "debit_version": None, "debit_balance_minor": None}),
    ("statement_file", {"opening_minor": 10, "closing_minor": -5, "lines": 0, "new_lines": 0, "amount_minor": 0}),
    ("statement_match", TAKEN_BACK | {"undoes": 2}),
    ("reconciliation_break", {"position": 1, "leg": 1, "closed_at": NOON}),
    ("transfer", {"credit_account_id": SETTLEMENT, "credit_version": None, "credit_balance_minor": None}),
]

BAD: Final[list[tuple[str, str, Row]]] = [
    # Money moves from one account to another, in one currency, and only as the answer to a command.
    ("transfer_two_accounts", "transfer", {"credit_account_id": 1}),
    ("transfer_amount_positive", "transfer", {"amount_minor": 0}),
    ("transfer_amount_positive", "transfer", {"amount_minor": -1}),
    ("transfer_debit_account", "transfer", {"debit_account_id": 3}),
    ("transfer_credit_account", "transfer", {"credit_account_id": 3}),
    ("transfer_debit_account", "transfer", {"currency": "JPY", "credit_account_id": 3}),
    ("transfer_credit_account", "transfer", {"currency": "JPY", "debit_account_id": 3}),
    ("transfer_debit_account", "transfer", {"debit_account_id": 77}),
    ("transfer_credit_account", "transfer", {"credit_account_id": 77}),
    ("transfer_of_its_outcome", "transfer", {"position": 5}),
    ("transfer_of_its_outcome", "transfer", {"position": 77}),
    ("transfer_of_its_outcome", "transfer", {"position": 3}),
    ("transfer_kind_known", "transfer", {"kind": "gift"}),
    ("transfer_leg_positive", "transfer", {"leg": 0}),
    ("transfer_pkey", "transfer", {"position": 1, "leg": 2}),
    # An account's version is given once: two workers cannot both have decided on the same balance.
    ("transfer_debit_version", "transfer", {"debit_version": 1}),
    ("transfer_credit_version", "transfer", {"credit_version": 1}),
    # A customer's side says what it led to, and a system account's cannot.
    ("transfer_debit_customer", "transfer", {"debit_version": None}),
    ("transfer_debit_customer", "transfer", {"debit_balance_minor": None}),
    ("transfer_debit_customer", "transfer", {"debit_account_id": SETTLEMENT}),
    ("transfer_debit_customer", "transfer", {"debit_account_id": SETTLEMENT, "debit_version": None}),
    ("transfer_credit_customer", "transfer", {"credit_version": None}),
    ("transfer_credit_customer", "transfer", {"credit_balance_minor": None}),
    ("transfer_credit_customer", "transfer", {"credit_account_id": SETTLEMENT}),
    ("transfer_credit_customer", "transfer", {"credit_account_id": SETTLEMENT, "credit_version": None}),
    # No balance below the floor, no total that shrinks below nothing.
    ("account_floor", "account", {"debits_minor": 251}),
    ("account_floor", "account", {"overdraft_fee_minor": 49}),
    ("account_floor", "account", {"overdraft_limit_minor": 99}),
    ("account_credits_positive", "account", {"credits_minor": -1, "debits_minor": 0}),
    ("account_debits_positive", "account", {"debits_minor": -1}),
    ("account_held_positive", "account", {"held_minor": -1}),
    ("account_version_positive", "account", {"version": -1}),
    # What is on hold is promised, whatever else the account may do; and what was forced is just what was missing.
    ("account_floor", "account", {"held_minor": 1}),
    ("account_floor", "account", FORCED | {"forced_minor": 6}),
    ("account_floor", "account", {"credits_minor": 0, "debits_minor": LARGEST, "forced_minor": LARGEST - 151}),
    ("account_held_fits", "account", {"credits_minor": LARGEST, "debits_minor": LARGEST, "held_minor": 1}),
    ("account_forced_needed", "account", FORCED | {"forced_minor": 8}),
    ("account_forced_needed", "account", {"forced_minor": 1, "debits_minor": 0}),
    ("account_forced_positive", "account", {"forced_minor": -1, "debits_minor": 249}),
    ("account_closed_empty", "account", CLOSED | {"debits_minor": 99}),
    ("account_closed_empty", "account", CLOSED | {"debits_minor": 101}),
    ("account_closed_empty", "account", CLOSED | {"held_minor": 1}),
    ("account_revision_positive", "account", {"revision": -1}),
    *(("account_daily", "account", LIMITED | {column: None}) for column in LIMITED),
    *(("account_daily", "account", LIMITED | {column: -1}) for column in LIMITED if column != "daily_on"),
    ("account_daily", "account", LIMITED | {"daily_count": None, "daily_amount_minor": None}),
    ("account_overdraft_limit", "account", {"overdraft_limit_minor": -1, "debits_minor": 0}),
    ("account_overdraft_limit", "account", {"overdraft_limit_minor": 2**53}),
    ("account_overdraft_fee", "account", {"overdraft_fee_minor": -1, "debits_minor": 0}),
    ("account_overdraft_fee", "account", {"overdraft_fee_minor": 2**53}),
    # Nobody keeps totals on the bank's own accounts, and nobody passes for one of them.
    ("account_system_total", "account", SYSTEM | {"credits_minor": 1}),
    ("account_system_total", "account", SYSTEM | {"debits_minor": 1, "overdraft_limit_minor": 1}),
    ("account_system_total", "account", SYSTEM | {"version": 1}),
    ("account_system_plain", "account", SYSTEM | {"status": "frozen"}),
    ("account_system_plain", "account", SYSTEM | {"revision": 1}),
    ("account_system_plain", "account", SYSTEM | {"held_minor": 1, "overdraft_limit_minor": 1}),
    ("account_system_plain", "account", SYSTEM | {"daily_count": 1, "daily_amount_minor": 1}),
    ("account_id_by_kind", "account", {"id": -9}),
    ("account_id_by_kind", "account", {"id": 0}),
    ("account_id_by_kind", "account", SYSTEM | {"id": 9}),
    ("account_id_by_kind", "account", SYSTEM | {"id": FEE_INCOME - 1}),
    ("account_id_by_kind", "account", SYSTEM | {"id": SETTLEMENT}),
    ("account_id_by_kind", "account", SYSTEM | {"currency": "USE", "name": "@fee_income:USE"}),
    ("account_name_by_kind", "account", {"name": "@fee_income:USD"}),
    ("account_name_by_kind", "account", {"name": "carol smith"}),
    ("account_name_by_kind", "account", {"name": "carol\n"}),
    ("account_name_by_kind", "account", {"name": ""}),
    ("account_name_by_kind", "account", {"name": "c" * 65}),
    ("account_name_by_kind", "account", SYSTEM | {"name": "@fee_income:JPY"}),
    ("account_name_by_kind", "account", SYSTEM | {"name": "@suspense:USD"}),
    ("account_name_key", "account", {"name": "alice"}),
    ("account_pkey", "account", {"id": 1}),
    ("account_kind_known", "account", SYSTEM | {"kind": "slush_fund", "name": "@slush_fund:USD"}),
    ("account_status_known", "account", {"status": "sleeping"}),
    ("account_currency_form", "account", {"currency": "usd"}),
    # One answer for each command, with a reason or none.
    ("outcome_pkey", "outcome", {"position": 1}),
    ("outcome_pkey", "outcome", {"position": 1, "status": "refused", "reason": "insufficient_funds"}),
    ("outcome_position_fkey", "outcome", {"position": 77}),
    ("outcome_reason_unless_applied", "outcome", {"reason": "insufficient_funds"}),
    ("outcome_reason_unless_applied", "outcome", {"status": "refused"}),
    ("outcome_reason_unless_applied", "outcome", {"status": "failed"}),
    ("outcome_reason_form", "outcome", {"status": "refused", "reason": "Not today!"}),
    ("outcome_reason_form", "outcome", {"status": "refused", "reason": ""}),
    ("outcome_status_known", "outcome", {"status": "perhaps", "reason": "unsure"}),
    ("dead_letter_pkey", "dead_letter", {"position": 1}),
    ("dead_letter_position_fkey", "dead_letter", {"position": 5}),
    # A dead letter is retried by one command at a time, and nothing follows a discard.
    ("dead_letter_action_pkey", "dead_letter_action", {"number": 1}),
    ("dead_letter_action_pkey", "dead_letter_action", DISCARDED | {"number": 1}),
    ("dead_letter_action_position", "dead_letter_action", {"position": 2, "number": 1}),
    ("dead_letter_action_number", "dead_letter_action", {"number": 0}),
    ("dead_letter_action_known", "dead_letter_action", {"action": "forget"}),
    ("dead_letter_action_by_size", "dead_letter_action", {"acted_by": ""}),
    ("dead_letter_action_by_size", "dead_letter_action", {"acted_by": "a" * 256}),
    ("dead_letter_action_reason_size", "dead_letter_action", {"reason": ""}),
    ("dead_letter_action_reason_size", "dead_letter_action", {"reason": "r" * 256}),
    ("dead_letter_action_retry", "dead_letter_action", {"retry_position": 77}),
    ("dead_letter_action_retry_key", "dead_letter_action", {"retry_position": 5}),
    ("dead_letter_action_retried", "dead_letter_action", {"retry_position": None}),
    ("dead_letter_action_retried", "dead_letter_action", {"retry_position": 1}),
    ("dead_letter_action_retried", "dead_letter_action", {"action": "discard"}),
    ("dead_letter_action_after", "dead_letter_action", {"number": 3}),
    ("dead_letter_action_after", "dead_letter_action", {"position": 3}),
    ("dead_letter_action_after", "dead_letter_action", DISCARDED | {"position": 3}),
    ("apply_batch_pkey", "apply_batch", {"xid": "7"}),
    # A key names one command of its client for ever.
    ("command_client_key", "command", {"idempotency_key": "k1"}),
    ("command_client_key", "command", {"idempotency_key": "k1", "amount_minor": 2}),
    ("command_id_key", "command", {"id": UUID(int=1)}),
    ("command_pkey", "command", {"position": 1}),
    ("command_client_id_fkey", "command", {"client_id": 77}),
    ("command_idempotency_key_size", "command", {"idempotency_key": ""}),
    ("command_idempotency_key_size", "command", {"idempotency_key": "k" * 256}),
    # Each command says what its type needs, and nothing else.
    ("command_type_known", "command", {"type": "print_money"}),
    ("command_amount_positive", "command", {"amount_minor": 0}),
    ("command_amount_positive", "command", {"amount_minor": -1}),
    ("command_amount_positive", "command", {"amount_minor": 2**53}),
    ("command_currency_form", "command", {"currency": "usd"}),
    ("command_currency_form", "command", {"currency": "USDX"}),
    ("command_overdraft_limit", "command", OPENING | {"overdraft_limit_minor": -1}),
    ("command_overdraft_limit", "command", OPENING | {"overdraft_limit_minor": 2**53}),
    ("command_overdraft_fee", "command", OPENING | {"overdraft_fee_minor": -1}),
    ("command_overdraft_fee", "command", OPENING | {"overdraft_fee_minor": 2**53}),
    ("command_reference_size", "command", {"reference": "r" * 256}),
    *(
        ("command_shape", "command", kind | wrong)
        for kind in ({}, WITHDRAW)
        for wrong in (
            {"account": None},
            {"amount_minor": None},
            {"from_account": "bob"},
            {"to_account": "bob"},
            {"overdraft_limit_minor": 0},
            {"overdraft_fee_minor": 0},
        )
    ),
    *(
        ("command_shape", "command", OPENING | wrong)
        for wrong in (
            {"account": None},
            {"amount_minor": 1},
            {"from_account": "bob"},
            {"to_account": "bob"},
            {"to_account": "bob", "amount_minor": 1},
        )
    ),
    *(
        ("command_shape", "command", TRANSFER | wrong)
        for wrong in (
            {"to_account": "alice"},
            {"from_account": None},
            {"to_account": None},
            {"amount_minor": None},
            {"account": "carol"},
            {"overdraft_limit_minor": 0},
            {"overdraft_fee_minor": 0},
        )
    ),
    *(
        ("command_shape", "command", kind | wrong)
        for kind in (ADVANCE, REPAY, HOLDING)
        for wrong in ({"account": None}, {"amount_minor": None}, {"from_account": "bob"}, {"overdraft_fee_minor": 0})
    ),
    *(
        ("command_shape", "command", kind | wrong)
        for kind in (WRITE_OFF, COLLECT, RELEASE, EXPIRY, FREEZE)
        for wrong in ({"account": None}, {"amount_minor": 1}, {"to_account": "bob"}, {"overdraft_limit_minor": 0})
    ),
    ("command_advance_shape", "command", {"instalments": 12}),
    ("command_advance_shape", "command", {"first_due_on": TODAY}),
    ("command_advance_shape", "command", {"advance_id": UUID(int=1)}),
    ("command_advance_shape", "command", {"instalment": 1}),
    ("command_advance_shape", "command", ADVANCE | {"instalments": None}),
    ("command_advance_shape", "command", ADVANCE | {"advance_id": UUID(int=1)}),
    *(("command_advance_shape", "command", kind | {"advance_id": None}) for kind in (REPAY, WRITE_OFF, COLLECT)),
    ("command_advance_shape", "command", REPAY | {"instalment": 1}),
    ("command_advance_shape", "command", COLLECT | {"instalment": None}),
    *(
        ("command_shape", "command", CAPTURE | wrong)
        for wrong in ({"account": None}, {"from_account": "bob"}, {"to_account": "alice"}, {"overdraft_fee_minor": 0})
    ),
    *(("command_shape", "command", LIMITS | wrong) for wrong in ({"account": None}, {"amount_minor": 1})),
    *(
        ("command_shape", "command", REVERSE | wrong)
        for wrong in (
            {"account": None},
            {"from_account": "bob"},
            {"to_account": "alice"},
            {"amount_minor": 1},
            OF_A_TRANSFER | {"account": "alice"},
            OF_A_TRANSFER | {"to_account": None},
            OF_A_TRANSFER | {"to_account": "alice"},
        )
    ),
    *(
        ("command_shape", "command", ADJUST | wrong)
        for wrong in (
            {"to_account": "alice"},
            {"from_account": None},
            {"to_account": None},
            {"amount_minor": None},
            {"account": "carol"},
            {"overdraft_limit_minor": 0},
        )
    ),
    # What names a hold ends it, what names a command reverses it, and only what is limited has limits.
    ("command_hold_shape", "command", {"hold_id": UUID(int=1)}),
    *(("command_hold_shape", "command", kind | {"hold_id": None}) for kind in (CAPTURE, RELEASE, EXPIRY)),
    ("command_hold_shape", "command", HOLDING | {"hold_id": UUID(int=1)}),
    *(("command_hold_shape", "command", kind | {"expires_at": NOON}) for kind in ({}, CAPTURE)),
    ("command_correction_shape", "command", {"reverses": UUID(int=1)}),
    ("command_correction_shape", "command", {"force": True}),
    ("command_correction_shape", "command", REVERSE | {"reverses": None}),
    *(("command_correction_shape", "command", kind | {"force": None}) for kind in (REVERSE, ADJUST)),
    ("command_limits_shape", "command", {"daily_count": 1}),
    ("command_limits_shape", "command", OPENING | {"daily_amount_minor": 1}),
    ("command_limits_any", "command", LIMITS | {"daily_count": None, "daily_amount_minor": None}),
    ("command_daily_count", "command", LIMITS | {"daily_count": -1}),
    ("command_daily_amount", "command", LIMITS | {"daily_amount_minor": -1}),
    ("command_daily_amount", "command", LIMITS | {"daily_amount_minor": 2**53}),
    *(
        ("command_reason_given", "command", kind | {"reason": None})
        for kind in (WRITE_OFF, FREEZE, LIMITS, REVERSE, ADJUST, *(FREEZE | {"type": t} for t in ("unfreeze", "close")))
    ),
    *(("command_reason_given", "command", kind | {"reason": "why not"}) for kind in (TRANSFER, HOLDING, CAPTURE)),
    ("command_instalments", "command", ADVANCE | {"instalments": 0}),
    ("command_instalments", "command", ADVANCE | {"instalments": 105}),
    ("command_instalment", "command", COLLECT | {"instalment": 0}),
    ("command_reason_size", "command", WRITE_OFF | {"reason": ""}),
    ("command_reason_size", "command", WRITE_OFF | {"reason": "r" * 256}),
    # Nobody collects but the scheduler, and it does nothing else.
    ("command_collect_client", "command", COLLECT | {"client_id": 1}),
    ("command_collect_client", "command", EXPIRY | {"client_id": 1}),
    ("command_collect_client", "command", RELEASE | {"client_id": 0}),
    ("command_collect_client", "command", {"client_id": 0}),
    # Linked are 2 to 100, and never what has an effect though it is refused.
    ("command_link_size", "command", {"link": UUID(int=1)}),
    ("command_link_size", "command", {"link_size": 2}),
    *(("command_link_size", "command", {"link": UUID(int=1), "link_size": size}) for size in (1, 101)),
    ("command_link_client", "command", COLLECT | {"link": UUID(int=1), "link_size": 2}),
    # A hold is a customer's, ends once and by one command, and is captured up to its amount.
    ("hold_pkey", "hold", {"id": 1}),
    ("hold_id_fkey", "hold", {"id": 77}),
    ("hold_account", "hold", {"account_id": 77}),
    ("hold_account", "hold", {"account_id": 3}),
    ("hold_of_a_customer", "hold", {"account_id": SETTLEMENT}),
    ("hold_amount_positive", "hold", {"amount_minor": 0}),
    ("hold_state_known", "hold", GIVEN_BACK | {"state": "forgotten"}),
    ("hold_captured", "hold", {"captured_minor": 1}),
    ("hold_captured", "hold", CAPTURED | {"captured_minor": 0}),
    ("hold_captured", "hold", CAPTURED | {"captured_minor": 51}),
    ("hold_captured", "hold", GIVEN_BACK | {"captured_minor": 50}),
    ("hold_settled", "hold", {"settled_by": 5}),
    *(("hold_settled", "hold", state | {"settled_by": None}) for state in (CAPTURED, GIVEN_BACK)),
    ("hold_settled_later", "hold", GIVEN_BACK | {"settled_by": 2}),
    ("hold_settled_later", "hold", GIVEN_BACK | {"settled_by": 1}),
    ("hold_settled_by", "hold", GIVEN_BACK | {"settled_by": 3}),
    ("hold_settled_by_fkey", "hold", GIVEN_BACK | {"settled_by": 77}),
    ("hold_attempts_positive", "hold", {"attempts": -1}),
    ("hold_failed", "hold", {"failed_at": NOON}),
    ("hold_expired", "hold", GIVEN_BACK | {"expires_at": None}),
    # A command is reversed once, and by a later one.
    ("reversal_pkey", "reversal", {"position": 2, "reverses": 1}),
    ("reversal_once", "reversal", {"reverses": 1}),
    ("reversal_later", "reversal", {"reverses": 3}),
    ("reversal_later", "reversal", {"position": 2, "reverses": 3}),
    ("reversal_position_fkey", "reversal", {"position": 77}),
    ("account_change_pkey", "account_change", {"position": 1}),
    ("account_change_position_fkey", "account_change", {"position": 77}),
    ("account_change_account_id_fkey", "account_change", {"account_id": 77}),
    ("account_change_of_a_customer", "account_change", {"account_id": SETTLEMENT}),
    ("account_change_version_positive", "account_change", {"version": -1}),
    ("account_change_status_known", "account_change", {"status": "sleeping"}),
    ("account_change_overdraft_limit", "account_change", {"overdraft_limit_minor": -1}),
    ("account_change_overdraft_fee", "account_change", {"overdraft_fee_minor": 2**53}),
    *(
        ("account_change_daily", "account_change", {c: w})
        for c in ("daily_count", "daily_amount_minor")
        for w in (None, -1)
    ),
    # What is owed is the amount less what was paid or given up, and the state says the same.
    ("advance_pkey", "advance", {"id": 1}),
    ("advance_id_fkey", "advance", {"id": 77}),
    ("advance_account", "advance", {"account_id": 77}),
    ("advance_account", "advance", {"account_id": 3}),
    ("advance_to_a_customer", "advance", {"account_id": SETTLEMENT}),
    ("advance_amount_positive", "advance", {"amount_minor": 0, "paid_minor": -1}),
    ("advance_version_positive", "advance", {"version": -1}),
    ("advance_instalments_positive", "advance", {"instalments": 0}),
    ("advance_paid_positive", "advance", {"paid_minor": -1}),
    ("advance_state_known", "advance", {"state": "forgotten"}),
    ("advance_owed", "advance", {"paid_minor": 100}),
    ("advance_owed", "advance", {"paid_minor": 101}),
    ("advance_owed", "advance", {"written_off_minor": 1}),
    ("advance_owed", "advance", {"state": "in_arrears", "paid_minor": 100}),
    ("advance_owed", "advance", {"state": "repaid", "paid_minor": 99}),
    ("advance_owed", "advance", {"state": "repaid", "paid_minor": 99, "written_off_minor": 1}),
    ("advance_owed", "advance", {"state": "written_off", "written_off_minor": 59}),
    ("advance_owed", "advance", {"state": "written_off", "paid_minor": 100}),
    # An instalment is paid in full or not at all paid, and says which command ended it.
    ("instalment_pkey", "instalment", {"number": 1}),
    ("instalment_advance_id_fkey", "instalment", {"advance_id": 77}),
    ("instalment_settled_by_fkey", "instalment", PAID | {"settled_by": 77}),
    ("instalment_number_positive", "instalment", {"number": 0}),
    ("instalment_amount_positive", "instalment", {"amount_minor": 0, "rolled_minor": 0, "paid_minor": -1}),
    ("instalment_rolled", "instalment", {"rolled_minor": -1}),
    ("instalment_rolled", "instalment", {"rolled_minor": 51}),
    ("instalment_paid", "instalment", {"paid_minor": -1}),
    ("instalment_paid", "instalment", {"paid_minor": 50}),
    ("instalment_paid", "instalment", PAID | {"paid_minor": 49}),
    ("instalment_paid", "instalment", PAID | {"paid_minor": 51}),
    ("instalment_paid", "instalment", MISSED | {"paid_minor": 50}),
    ("instalment_state_known", "instalment", MISSED | {"state": "forgotten"}),
    ("instalment_settled", "instalment", {"settled_by": 2}),
    *(("instalment_settled", "instalment", state | {"settled_by": None}) for state in (PAID, MISSED)),
    ("api_key_of_a_client", "api_key", {"client_id": 0}),
    ("instalment_attempts_positive", "instalment", {"attempts": -1, "failed_at": None}),
    ("instalment_failed", "instalment", {"attempts": 0}),
    # A break has one alert at a time, and who ended it said why.
    ("alert_pkey", "alert", {"id": 1}),
    ("alert_live", "alert", {"subject": "account:alice"}),
    ("alert_live", "alert", ACKNOWLEDGED | {"subject": "account:alice"}),
    ("alert_proof_size", "alert", {"proof": ""}),
    ("alert_subject_size", "alert", {"subject": "s" * 501}),
    ("alert_severity_known", "alert", {"severity": "whisper"}),
    ("alert_state_known", "alert", {"state": "forgotten"}),
    ("alert_seen_positive", "alert", {"seen": 0}),
    ("alert_acknowledged", "alert", {"state": "acknowledged"}),
    ("alert_acknowledged", "alert", ACKNOWLEDGED | {"state": "open"}),
    ("alert_acknowledged", "alert", {"acknowledged_by": "ann"}),
    ("alert_resolved", "alert", {"state": "resolved"}),
    ("alert_resolved", "alert", RESOLVED | {"state": "open"}),
    ("alert_resolved", "alert", BY_HAND | {"resolve_reason": None}),
    ("alert_resolved", "alert", {"resolved_by": "ann", "resolve_reason": "repaired"}),
    ("alert_change_pkey", "alert_change", {"id": UUID(int=1)}),
    ("alert_change_alert", "alert_change", {"alert_id": 77}),
    ("alert_change_kind_known", "alert_change", {"kind": "forgotten"}),
    ("alert_notice_pkey", "alert_notice", {"change_id": UUID(int=1)}),
    ("alert_notice_change", "alert_notice", {"change_id": UUID(int=77)}),
    ("alert_notice_state_known", "alert_notice", {"state": "lost", "settled_at": NOON}),
    ("alert_notice_attempts_positive", "alert_notice", {"attempts": -1}),
    ("alert_notice_settled", "alert_notice", {"state": "delivered"}),
    ("alert_notice_settled", "alert_notice", {"settled_at": NOON}),
    # An account is in quarantine once, and two admins are two.
    ("quarantine_pkey", "quarantine", {"id": 1}),
    ("quarantine_live", "quarantine", {"account": "alice"}),
    ("quarantine_of_a_customer", "quarantine", {"account": "@settlement:USD"}),
    ("quarantine_of_a_customer", "quarantine", {"account": ""}),
    ("quarantine_alert", "quarantine", {"alert_id": 77}),
    ("quarantine_asked", "quarantine", {"asked_at": NOON}),
    ("quarantine_released", "quarantine", {"released_at": NOON}),
    ("quarantine_by_two", "quarantine", RELEASED | {"asked_at": NOON, "asked_by": "ann"}),
    ("held_pkey", "held", {"account_key": 7}),
    # A run has an end with a result, or neither.
    ("job_run_pkey", "job_run", {"id": 1}),
    ("job_run_job_form", "job_run", {"job": "Sweep it!"}),
    ("job_run_result_known", "job_run", {"ended_at": NOON, "result": "perhaps"}),
    ("job_run_emitted_positive", "job_run", ENDED | {"emitted": -1}),
    ("job_run_ended", "job_run", {"ended_at": NOON}),
    ("job_run_ended", "job_run", {"result": "lost"}),
    ("job_run_error", "job_run", ENDED | {"error": "sick"}),
    ("job_run_error", "job_run", ENDED | {"result": "error", "emitted": None}),
    ("job_run_emitted_by_success", "job_run", {"emitted": 3}),
    ("job_run_emitted_by_success", "job_run", ENDED | {"emitted": None}),
    # A block is in the chain once, and has as many leaves as it says.
    ("seal_pkey", "seal", {"number": 1}),
    ("seal_number_positive", "seal", {"number": 0}),
    ("seal_version_known", "seal", {"version": 2}),
    ("seal_first_leaf_key", "seal", {"first_leaf": 0}),
    ("seal_first_leaf_positive", "seal", {"first_leaf": -1}),
    ("seal_leaves_bounded", "seal", {"leaves": 0, "positions": [], "leaf_hashes": b""}),
    ("seal_leaves_listed", "seal", {"leaves": 3}),
    ("seal_leaves_listed", "seal", {"positions": [1]}),
    ("seal_leaves_listed", "seal", {"leaf_hashes": bytes(65)}),
    ("seal_root_size", "seal", {"root": bytes(31)}),
    ("seal_previous_key", "seal", {"previous": bytes(32)}),
    ("seal_previous_size", "seal", {"previous": bytes(33)}),
    ("seal_sealed_at_sane", "seal", {"sealed_at": "infinity"}),
    ("seal_hash_size", "seal", {"hash": b""}),
    ("seal_positions_range", "seal", {"lowest_position": 3}),
    ("seal_genesis_pkey", "seal_genesis", {}),
    ("seal_genesis_one", "seal_genesis", {"id": 2}),
    # A run of a proof has looked at something, or failed.
    ("proof_state_pkey", "proof_state", {"proof": "zero_sum"}),
    ("proof_state_form", "proof_state", {"proof": "Zero sum!"}),
    ("proof_state_runs", "proof_state", {"runs": 0}),
    ("proof_state_breaks", "proof_state", {"breaks": -1}),
    ("proof_state_full", "proof_state", {"proven_full_at": NOON}),
    ("proof_state_full", "proof_state", {"proven_at": NOON, "proven_full_at": NOON, "ran_full_at": None}),
    ("proof_run_pkey", "proof_run", {"id": 1}),
    ("proof_run_form", "proof_run", {"proof": "Zero sum!"}),
    ("proof_run_checked", "proof_run", {"checked": -1}),
    ("proof_run_breaks", "proof_run", {"breaks": -1}),
    ("proof_run_result", "proof_run", {"error": "sick"}),
    ("proof_run_result", "proof_run", {"checked": None}),
    ("proof_run_result", "proof_run", {"breaks": None}),
    ("proof_run_result", "proof_run", {"checked": None, "breaks": None}),
    # A statement is what the bank sent, and what became of it is said once and by somebody.
    ("statement_file_pkey", "statement_file", {"id": 1}),
    ("statement_file_sha256_key", "statement_file", {"sha256": bytes(32)}),
    ("statement_file_sha256_size", "statement_file", {"sha256": b"short"}),
    ("statement_file_name_size", "statement_file", {"name": ""}),
    ("statement_file_format_known", "statement_file", {"format": "pdf"}),
    ("statement_file_bank_account_form", "statement_file", {"bank_account": "a b"}),
    ("statement_file_currency_form", "statement_file", {"currency": "usd"}),
    ("statement_file_lines_positive", "statement_file", {"lines": -1}),
    ("statement_file_new_lines", "statement_file", {"new_lines": 3}),
    ("statement_file_amount_positive", "statement_file", {"amount_minor": -1}),
    ("statement_file_skipped_positive", "statement_file", {"skipped": -1}),
    ("statement_file_imported_by_size", "statement_file", {"imported_by": ""}),
    ("statement_file_period", "statement_file", {"from_on": TODAY + timedelta(days=1)}),
    ("statement_file_balances", "statement_file", {"opening_minor": 1}),
    ("statement_line_pkey", "statement_line", {"id": 1}),
    ("statement_line_key", "statement_line", {"line_key": bytes(32)}),
    ("statement_line_key_size", "statement_line", {"line_key": b"short"}),
    ("statement_line_file_id_fkey", "statement_line", {"file_id": 77}),
    ("statement_line_number_positive", "statement_line", {"number": 0}),
    ("statement_line_currency_form", "statement_line", {"currency": "usd"}),
    ("statement_line_direction_known", "statement_line", {"direction": "up"}),
    ("statement_line_amount_positive", "statement_line", {"amount_minor": 0}),
    ("statement_match_pkey", "statement_match", {"id": 1}),
    ("statement_match_line_id_fkey", "statement_match", {"line_id": 77}),
    ("statement_match_transfer", "statement_match", {"leg": 77}),
    ("statement_match_amount_positive", "statement_match", {"amount_minor": 0}),
    ("statement_match_rule_known", "statement_match", {"rule": "guess"}),
    ("statement_match_made_by_size", "statement_match", {"made_by": ""}),
    ("statement_match_reason_size", "statement_match", {"reason": ""}),
    ("statement_match_reason_by_hand", "statement_match", {"rule": "by_hand"}),
    ("statement_match_undone_by_hand", "statement_match", {"undoes": 2, "reason": "x"}),
    ("statement_match_undoes_key", "statement_match", TAKEN_BACK),
    ("statement_match_undoes_fkey", "statement_match", TAKEN_BACK | {"undoes": 77}),
    ("reconciliation_break_pkey", "reconciliation_break", {"id": 1}),
    ("reconciliation_break_result_known", "reconciliation_break", {"result": "odd", "position": None, "leg": None}),
    ("reconciliation_break_subject", "reconciliation_break", {"line_id": 1}),
    ("reconciliation_break_subject", "reconciliation_break", {"position": None, "leg": None}),
    ("reconciliation_break_subject", "reconciliation_break", {"result": "duplicate"}),
    ("reconciliation_break_currency_form", "reconciliation_break", {"currency": "usd"}),
    ("reconciliation_break_amount_positive", "reconciliation_break", {"amount_minor": -1}),
    ("reconciliation_break_transfer", "reconciliation_break", {"leg": 77}),
    ("reconciliation_break_transfer_open", "reconciliation_break", {"leg": 1}),
    ("reconciliation_break_line", "reconciliation_break", OF_A_LINE | {"line_id": 1}),
    ("reconciliation_break_line_id_fkey", "reconciliation_break", OF_A_LINE | {"line_id": 77}),
    ("reconciliation_break_file", "reconciliation_break", OF_A_FILE | {"file_id": 1}),
    ("reconciliation_break_file_id_fkey", "reconciliation_break", OF_A_FILE | {"file_id": 77}),
    # The rest: who may come in, and what the books are read by.
    ("client_name_key", "client", {"name": "acme"}),
    ("client_name_form", "client", {"name": "a b"}),
    ("client_name_form", "client", {"name": "@scheduler "}),
    ("client_name_form", "client", {"name": "@teller"}),
    ("client_pkey", "client", {"id": 1}),
    ("api_key_pkey", "api_key", {"prefix": "A" * 8}),
    ("api_key_prefix_form", "api_key", {"prefix": "short"}),
    ("api_key_client_id_fkey", "api_key", {"client_id": 77}),
    ("api_key_secret_size", "api_key", {"secret_sha256": b"the secret itself"}),
    ("api_key_scopes_known", "api_key", {"scopes": ["everything"]}),
    ("api_key_scopes_known", "api_key", {"scopes": ["ops", "operations"]}),
    ("api_key_scopes_known", "api_key", {"scopes": []}),
    ("pending_pkey", "pending", {"account_key": 7}),
    ("system_checkpoint_pkey", "system_checkpoint", {"account_id": 1}),
    ("system_checkpoint_account_id_fkey", "system_checkpoint", {"account_id": 77}),
]

NEW["seal_genesis"] = {"id": 1, "history": UUID(int=1)}
"""Only bad ones: a database has one, and nobody makes another."""

CANNOT_BE_BROKEN_ALONE: Final = {
    *("account_id_currency", "outcome_log", "dead_letter_action_target"),
    "reversal_reverses_fkey",
}
"""
Most are there for foreign keys to point at: whoever breaks one breaks the primary key first. What is reversed comes
before an outcome.
"""


@pytest.fixture
def books(owner: Connection) -> Connection:
    """The owner's transaction, in which command 6 has just been decided."""
    insert(owner, "outcome", {"position": 6, "status": "applied", "decided_at": NOON})
    return owner


def insert(conn: Connection, table: str, row: Row) -> None:
    """Write the row as it is, numbers that Postgres would give included."""
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def _id(changes: object) -> str | None:
    if not isinstance(changes, dict):
        return None
    return ",".join(f"{name}={value}" for name, value in changes.items())[:60] or "as it is"


@pytest.mark.parametrize(("table", "changes"), GOOD, ids=_id)
def test_postgres_accepts_a_row_that_is_as_it_should_be(books: Connection, table: str, changes: Row) -> None:
    """Each bad row below differs from one of these, so that it is refused for that and for nothing else."""
    insert(books, table, {**NEW[table], **changes})


@pytest.mark.parametrize(("rule", "table", "changes"), BAD, ids=_id)
def test_postgres_refuses_a_row_that_no_rule_allows(books: Connection, rule: str, table: str, changes: Row) -> None:
    """Money rules hold even for SQL that never went through the domain, by whoever owns the database."""
    with pytest.raises(errors.IntegrityError) as refused:
        insert(books, table, {**NEW[table], **changes})

    assert refused.value.diag.constraint_name == rule


def test_an_account_is_held_to_its_floor_when_it_changes(books: Connection) -> None:
    """Balances are mostly not inserted but moved."""
    insert(books, "account", NEW["account"])

    with pytest.raises(errors.CheckViolation, match="account_floor"):
        books.execute("UPDATE account SET debits_minor = debits_minor + 1 WHERE id = 9")


def test_an_account_with_transfers_keeps_its_currency(owner: Connection) -> None:
    """What was paid in dollars would be yen from one moment to the next."""
    with pytest.raises(errors.ForeignKeyViolation, match="transfer_debit_account"):
        owner.execute("UPDATE account SET currency = 'JPY' WHERE id = 1")


def test_every_rule_of_the_schema_is_tested_here(owner: Connection) -> None:
    """A rule without a row that it refuses may be one that refuses nothing."""
    rules = owner.execute("""
        SELECT conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u', 'p')
            AND conrelid <> 'schema_migration'::regclass
        UNION
        SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisunique AND relnamespace = 'public'::regnamespace AND indrelid <> 'schema_migration'::regclass
    """)

    assert {name for (name,) in rules} == {rule for rule, _, _ in BAD} | CANNOT_BE_BROKEN_ALONE
