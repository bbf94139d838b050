"""Reads what a simulation has written down: all of it, once it is over, and the little that is asked for on its way."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Final, LiteralString

from psycopg import Connection

from cli.simulating.life import Owed
from processor.apply import Pool
from processor.domain.advances import Advance, Instalment, InstalmentState
from processor.domain.commands import Command
from processor.store.advances import read_advance
from processor.store.books import PendingRow
from processor.store.system_accounts import SELECT_TOTALS

SELECT_OWED: Final[LiteralString] = """
    SELECT account.name, granting.id, advance.amount_minor - advance.paid_minor - advance.written_off_minor
    FROM advance
    JOIN account ON account.id = advance.account_id
    JOIN command AS granting ON granting.position = advance.id
    WHERE advance.state IN ('open', 'in_arrears')
"""

SELECT_CLOSING: Final[LiteralString] = """
    SELECT
        coalesce(sum(amount_minor - paid_minor - written_off_minor), 0),
        count(DISTINCT account_id) FILTER (WHERE state = 'in_arrears')
    FROM advance WHERE state IN ('open', 'in_arrears')
"""

SELECT_ENTRIES: Final[LiteralString] = """
    SELECT
        command.position, command.type, command.account, command.from_account, command.to_account,
        command.amount_minor, command.currency, command.overdraft_limit_minor, command.overdraft_fee_minor,
        command.accepted_at, command.instalments, command.first_due_on,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id),
        command.instalment, outcome.status, outcome.reason, outcome.decided_at
    FROM command LEFT JOIN outcome USING (position)
    ORDER BY command.position
"""

SELECT_MOVES: Final[LiteralString] = """
    SELECT transfer.position, transfer.kind, debit.name, credit.name, transfer.amount_minor
    FROM transfer
    JOIN account AS debit ON debit.id = transfer.debit_account_id
    JOIN account AS credit ON credit.id = transfer.credit_account_id
"""

SELECT_ADVANCES: Final[LiteralString] = """
    SELECT
        advance.id, account.name, advance.currency, advance.amount_minor, advance.first_due_on, advance.instalments,
        advance.paid_minor, advance.written_off_minor, advance.state, advance.version
    FROM advance JOIN account ON account.id = advance.account_id ORDER BY advance.id
"""

SELECT_INSTALMENTS: Final[LiteralString] = """
    SELECT
        advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state, settled_by, attempts, failed_at
    FROM instalment ORDER BY advance_id, number
"""

SELECT_BALANCES: Final[LiteralString] = """
    SELECT name, credits_minor - debits_minor FROM account WHERE kind = 'customer'
"""
SELECT_OWN_NAMES: Final[LiteralString] = "SELECT name FROM account WHERE kind <> 'customer'"


@dataclass(frozen=True, slots=True)
class Closing:
    """What is owed at the end of a week, and how many accounts are in arrears."""

    ends_on: date
    owed_minor: int
    accounts_in_arrears: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A command with its outcome, which it may lack."""

    command: Command
    status: str | None
    reason: str | None
    decided_on: date | None


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer, and the position of the command that made it."""

    position: int
    kind: str
    debit: str
    credit: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    The books at the end: every command in order of position, every transfer, and every advance by its id, whole.

    ``balances`` are as the accounts' rows say, ``own_balances`` as the application reads those of the bank's accounts.
    """

    entries: Mapping[int, Entry]
    moves: Sequence[Move]
    advances: Mapping[int, Advance]
    balances: Mapping[str, int]
    own_balances: Mapping[str, int]


def read_ledger(pool: Pool) -> Ledger:
    """Everything."""
    with pool.connection() as conn:
        return Ledger(
            entries={row[0]: _entry(row) for row in conn.execute(SELECT_ENTRIES)},
            moves=[Move(*row) for row in conn.execute(SELECT_MOVES)],
            advances=_advances(conn),
            balances=dict(conn.execute(SELECT_BALANCES).fetchall()),
            own_balances={name: _own_balance(conn, name) for (name,) in conn.execute(SELECT_OWN_NAMES).fetchall()},
        )


def read_owed(pool: Pool) -> dict[str, Owed]:
    """The live advance of each account that has one."""
    with pool.connection() as conn:
        return {name: Owed(id_, remaining_minor) for name, id_, remaining_minor in conn.execute(SELECT_OWED)}


def read_closing(pool: Pool, *, ends_on: date) -> Closing:
    """How the week that ends now ends."""
    with pool.connection() as conn:
        row = conn.execute(SELECT_CLOSING).fetchone()
    owed_minor, accounts = row or (0, 0)
    return Closing(ends_on, int(owed_minor), accounts)


def _entry(row: tuple[Any, ...]) -> Entry:
    *columns, status, reason, decided_at = row
    decided_on = decided_at.astimezone(UTC).date() if decided_at else None
    return Entry(PendingRow(*columns).command(), status, reason, decided_on)


def _advances(conn: Connection) -> dict[int, Advance]:
    instalments: dict[int, list[Instalment]] = defaultdict(list)
    for row in conn.execute(SELECT_INSTALMENTS):
        advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state, *settled = row
        instalments[advance_id].append(
            Instalment(number, due_on, amount_minor, rolled_minor, paid_minor, InstalmentState(state), *settled)
        )
    return {row[0]: read_advance(row, tuple(instalments[row[0]])) for row in conn.execute(SELECT_ADVANCES)}


def _own_balance(conn: Connection, name: str) -> int:
    row = conn.execute(SELECT_TOTALS, [name]).fetchone()
    return int(row[0] - row[1]) if row else 0
