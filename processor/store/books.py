"""Reads what a batch needs under its locks, and writes what was decided, each in one round trip."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, Cursor

from processor.account_keys import account_key
from processor.delivery import Delivery
from processor.domain.advances import Advance
from processor.domain.books import Account, AccountStatus, Books, system_account_id
from processor.domain.commands import (
    Collect,
    Command,
    Deposit,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    Repay,
    Withdraw,
    WriteOff,
)
from processor.domain.decide import Decided
from processor.domain.outcomes import Outcome, Side
from processor.errors import BooksError
from processor.store import advances
from processor.store.arrays import bigints

# The oldest pending commands of the locked accounts, as far as the message goes. Whatever is not read is younger than
# all that is, so no command overtakes another of its account. One short look at the head of each line: what a line
# costs does not grow with its length.
GATHER_COMMANDS: Final[LiteralString] = """
    SELECT
        position, type, account, from_account, to_account, amount_minor, currency,
        overdraft_limit_minor, overdraft_fee_minor, accepted_at,
        instalments, first_due_on,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id) AS advance,
        instalment
    FROM command
    WHERE position IN (
        SELECT DISTINCT head.position
        FROM unnest(%(keys)b::bigint[]) AS line (account_key)
        CROSS JOIN LATERAL (
            SELECT position FROM pending
            WHERE pending.account_key = line.account_key AND position <= %(up_to)b
            ORDER BY position LIMIT %(limit)b
        ) AS head
        ORDER BY head.position LIMIT %(limit)b
    )
    ORDER BY position
"""

GATHER_ACCOUNTS: Final[LiteralString] = """
    SELECT
        name, id, currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor
    FROM account WHERE key = ANY(%b::bigint[]) AND kind = 'customer'
"""

# Made when first needed, each with a checkpoint, so that nobody ever looks for its transfers from the beginning. Two
# workers may try at once: one waits for the other's commit, and then does nothing.
INSERT_SYSTEM_ACCOUNTS: Final[LiteralString] = """
    WITH made AS (
        INSERT INTO account (id, name, key, kind, currency, opened_at)
        SELECT id, name, key, split_part(substr(name, 2), ':', 1), split_part(name, ':', 2), %b
        FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS wanted (id, name, key) ORDER BY name
        ON CONFLICT DO NOTHING
        RETURNING id, opened_at
    )
    INSERT INTO system_checkpoint (account_id, up_to_xid, credits_minor, debits_minor, made_at)
    SELECT id, pg_snapshot_xmin(pg_current_snapshot()), 0, 0, opened_at FROM made
"""

INSERT_ACCOUNTS: Final[LiteralString] = """
    INSERT INTO account (
        id, name, key, kind, currency, version, credits_minor, debits_minor,
        overdraft_limit_minor, overdraft_fee_minor, opened_at
    )
    SELECT id, name, key, 'customer', currency, version, credits_minor, debits_minor, overdraft_limit_minor,
        overdraft_fee_minor, %b
    FROM unnest(
        %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
        %b::bigint[]
    ) AS opened (
        id, name, key, currency, version, credits_minor, debits_minor, overdraft_limit_minor, overdraft_fee_minor
    )
"""

# The old version is named as well: a total is replaced only by one that was computed from it.
UPDATE_ACCOUNTS: Final[LiteralString] = """
    UPDATE account
    SET version = changed.version, credits_minor = changed.credits_minor, debits_minor = changed.debits_minor
    FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
        AS changed (id, version_before, version, credits_minor, debits_minor)
    WHERE account.id = changed.id AND account.version = changed.version_before
    RETURNING account.id
"""

INSERT_OUTCOMES: Final[LiteralString] = """
    INSERT INTO outcome (position, status, reason, decided_at)
    SELECT position, status, reason, %b
    FROM unnest(%b::bigint[], %b::text[], %b::text[]) AS decided (position, status, reason)
"""

INSERT_TRANSFERS: Final[LiteralString] = """
    INSERT INTO transfer (
        position, leg, kind, debit_account_id, credit_account_id, amount_minor, currency,
        debit_version, debit_balance_minor, credit_version, credit_balance_minor
    )
    SELECT * FROM unnest(
        %b::bigint[], %b::smallint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[],
        %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[]
    )
"""

# Who is in quarantine, in the round trip of the gathering: hardly ever anybody, so that the look costs next to nothing.
GATHER_QUARANTINED: Final[LiteralString] = """
    SELECT account, released_up_to FROM quarantine WHERE account_key = ANY(%b::bigint[]) AND released_at IS NULL
"""

# Out of the lines, under the locks of all their accounts: to those behind it, the command is as good as decided.
HOLD: Final[LiteralString] = """
    WITH moved AS (
        DELETE FROM pending WHERE position = ANY(%b::bigint[]) RETURNING position, account_key
    )
    INSERT INTO held (position, account_key, held_at) SELECT position, account_key, %b FROM moved
    ON CONFLICT DO NOTHING
"""

DELETE_PENDING: Final[LiteralString] = "DELETE FROM pending WHERE position = ANY(%b::bigint[])"

# Which of these commands are still in line, and who stands first in their lines; each with all of its accounts.
SELECT_LEFT: Final[LiteralString] = """
    WITH left_behind AS (
        SELECT position, account_key FROM pending WHERE position = ANY(%b::bigint[])
    ), wanted AS (
        SELECT position FROM left_behind
        UNION
        SELECT (SELECT min(position) FROM pending WHERE pending.account_key = line.account_key)
        FROM (SELECT DISTINCT account_key FROM left_behind) AS line
    )
    SELECT position, array_agg(account_key) FROM pending WHERE position IN (SELECT position FROM wanted)
    GROUP BY position ORDER BY position
"""

# The heads of these lines, each command with all of its accounts.
SELECT_LINES: Final[LiteralString] = """
    SELECT position, array_agg(account_key) FROM pending
    WHERE position IN (
        SELECT head.position
        FROM unnest(%(keys)b::bigint[]) AS line (account_key)
        CROSS JOIN LATERAL (
            SELECT position FROM pending
            WHERE pending.account_key = line.account_key AND position <= %(up_to)b
            ORDER BY position LIMIT %(limit)b
        ) AS head
    )
    GROUP BY position
"""

INSERT_DEAD_LETTER: Final[LiteralString] = "INSERT INTO dead_letter (position, error, failed_at) VALUES (%b, %b, %b)"

# How the commands came here, beside their outcomes, in the same transaction: no value in it can make that fail. In a
# restored cluster, the transaction's id may have been another one's before.
INSERT_BATCH: Final[LiteralString] = """
    INSERT INTO apply_batch (
        decided_at, commands, lock_wait_us, worker, message_id, sent_by, sent_at, taken_at, attempt
    )
    VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b) ON CONFLICT DO NOTHING
"""

_ABOUT_ADVANCES: Final = frozenset({"advance", "repay", "write_off", "collect"})

# Is any of the commands that a message names still waiting? Most repeated messages end here.
LOOK: Final[LiteralString] = "SELECT EXISTS (SELECT FROM pending WHERE position = ANY(%b::bigint[]))"


@dataclass(frozen=True, slots=True)
class PendingRow:
    """
    A pending command as it was read, not yet built: a row that cannot be built must not spoil the others.

    Which columns are filled depends on the type; the schema's ``command_shape`` sees to it.
    """

    position: int
    type: str
    account: Any
    from_account: Any
    to_account: Any
    amount_minor: Any
    currency: str
    overdraft_limit_minor: Any
    overdraft_fee_minor: Any
    accepted_at: datetime
    instalments: Any = None
    first_due_on: Any = None
    advance: Any = None
    instalment: Any = None

    def accounts(self) -> set[str]:
        """The names of the accounts that the command touches."""
        return {name for name in (self.account, self.from_account, self.to_account) if name is not None}

    def account_keys(self) -> set[int]:
        """The lock keys of these accounts."""
        return {account_key(name) for name in self.accounts()}

    def command(self) -> Command:
        """The command itself. Raises ``BooksError`` if the row is of a kind that this code does not know."""
        position, account, amount_minor, currency = self.position, self.account, self.amount_minor, self.currency
        match self.type:
            case "deposit":
                return Deposit(position, account, amount_minor, currency)
            case "withdraw":
                return Withdraw(position, account, amount_minor, currency)
            case "transfer":
                return MakeTransfer(position, self.from_account, self.to_account, amount_minor, currency)
            case "open_account":
                return OpenAccount(position, account, currency, self.overdraft_limit_minor, self.overdraft_fee_minor)
            case "collect":
                return Collect(position, account, self.advance, self.instalment, currency)
            case "advance":
                return MakeAdvance(position, account, amount_minor, currency, self.instalments, self.first_due_on)
            case "repay":
                return Repay(position, account, self.advance, amount_minor, currency)
            case "write_off":
                return WriteOff(position, account, self.advance, currency)
        raise BooksError(f"command {self.position} has the unknown type {self.type!r}: deploy the workers first")


@dataclass(frozen=True, slots=True)
class Came:
    """How the commands of a transaction came to it: the message, and how long their accounts' locks were waited for."""

    delivery: Delivery = Delivery()  # noqa: RUF009  # It is frozen.
    lock_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class InLine:
    """A command that is still pending, and the lock keys of all its accounts."""

    position: int
    account_keys: frozenset[int]


def look(conn: Connection, positions: Collection[int]) -> bool:
    """Whether any of the commands is still pending. Takes no lock."""
    row = conn.execute(LOOK, [bigints(positions)]).fetchone()
    return bool(row and row[0])


def gather(conn: Connection, keys: Collection[int], *, up_to: int, limit: int) -> tuple[list[PendingRow], Books]:
    """
    The oldest ``limit`` pending commands of the locked accounts, in order of position, and these accounts.

    Commands above the position ``up_to`` are left for the messages that name them.
    """
    wanted = bigints(keys)
    rows = conn.execute(GATHER_COMMANDS, {"keys": wanted, "up_to": up_to, "limit": limit})
    accounts = conn.execute(GATHER_ACCOUNTS, [wanted])
    pending = [PendingRow(*row) for row in rows]
    found = read_accounts(accounts)
    return pending, Books.of(found, _gather_advances(conn, pending, found))


def read_books(conn: Connection, row: PendingRow) -> Books:
    """What the command would be decided on if it were its turn now. Takes no lock."""
    found = read_accounts(conn.execute(GATHER_ACCOUNTS, [bigints(row.account_keys())]))
    return Books.of(found, _gather_advances(conn, [row], found))


def quarantined(conn: Connection, keys: Collection[int]) -> Cursor[tuple[str, int]]:
    """
    Those of the locked accounts that are in quarantine, by name; in a pipeline, to be read later.

    With each, the position up to which its commands are released already.
    """
    return conn.execute(GATHER_QUARANTINED, [bigints(keys)])


def hold(conn: Connection, positions: Collection[int], *, now: datetime) -> None:
    """Take the commands out of their lines and keep them, until their accounts are released."""
    conn.execute(HOLD, [bigints(positions), now])


def read_accounts(rows: Iterable[tuple[Any, ...]]) -> list[Account]:
    """Accounts of their columns in the order of ``GATHER_ACCOUNTS``."""
    return [
        Account(name, id_, currency, AccountStatus(status), *totals) for name, id_, currency, status, *totals in rows
    ]


def _gather_advances(conn: Connection, pending: Sequence[PendingRow], accounts: Sequence[Account]) -> Sequence[Advance]:
    """Round trips more, for batches that have to do with advances only."""
    lending = [row for row in pending if row.type in _ABOUT_ADVANCES]
    if not lending:
        return ()
    borrowers = {row.account for row in lending}
    return advances.gather(
        conn,
        [account for account in accounts if account.name in borrowers],
        {row.advance for row in lending if row.advance is not None},
    )


def read_lines(conn: Connection, keys: Collection[int], *, up_to: int, limit: int) -> list[InLine]:
    """The first ``limit`` pending commands of each account's line, not above ``up_to``. Takes no lock."""
    rows = conn.execute(SELECT_LINES, {"keys": bigints(keys), "up_to": up_to, "limit": limit})
    return [InLine(position, frozenset(keys)) for position, keys in rows]


def make_system_accounts(conn: Connection, names: Collection[str], *, now: datetime) -> None:
    """Make those of the named system accounts that do not exist."""
    ordered = sorted(names)
    ids, keys = bigints(map(system_account_id, ordered)), bigints(map(account_key, ordered))
    conn.execute(INSERT_SYSTEM_ACCOUNTS, [now, ids, ordered, keys])


def record(conn: Connection, books: Books, decided: Decided, *, now: datetime, came: Came | None = None) -> None:
    """
    Write every answer, and take the commands out of their lines. The system accounts exist already.

    ``came`` says how they got here. Raises ``BooksError``, before anything is committed, if an account is not as it was
    read.
    """
    ids = {account.name: account.id for account in (*books.accounts.values(), *decided.opened)}
    with conn.pipeline():
        _insert_accounts(conn, decided.opened, now)
        _insert_outcomes(conn, decided.outcomes, now)
        _insert_transfers(conn, decided.outcomes, ids)
        updated = _update_accounts(conn, books, decided.changed)
        lent = advances.record(conn, books, decided, ids, now=now)
        conn.execute(DELETE_PENDING, [bigints(outcome.position for outcome in decided.outcomes)])
        _insert_batch(conn, len(decided.outcomes), came, now)
    kept = {account_id for (account_id,) in updated}
    if others := [account.id for account in decided.changed if account.id not in kept]:
        raise BooksError(f"accounts not as they were read under their locks, by id: {others}")
    if lent is not None:
        lent.check()


def left_in_line(conn: Connection, positions: Collection[int]) -> list[InLine]:
    """Those of the commands that are still pending, and the first in each of their lines, in order of position."""
    return [InLine(position, frozenset(keys)) for position, keys in conn.execute(SELECT_LEFT, [bigints(positions)])]


def record_dead_letter(
    conn: Connection, outcome: Outcome, error: str, *, now: datetime, came: Came | None = None
) -> None:
    """Give up on a command: it is failed, keeps its error for a person to read, and blocks nobody."""
    with conn.pipeline():
        _insert_outcomes(conn, [outcome], now)
        conn.execute(INSERT_DEAD_LETTER, [outcome.position, error, now])
        advances.count_attempt(conn, outcome.position, now=now)
        conn.execute(DELETE_PENDING, [bigints([outcome.position])])
        _insert_batch(conn, 1, came, now)


def _insert_batch(conn: Connection, commands: int, came: Came | None, now: datetime) -> None:
    if came is None or not commands:
        return
    by = came.delivery
    facts = (by.worker, by.message_id, by.sent_by, by.sent_at, by.taken_at, by.attempt)
    conn.execute(INSERT_BATCH, [now, commands, round(max(0.0, came.lock_wait_s) * 1_000_000), *facts])


def _insert_accounts(conn: Connection, opened: Sequence[Account], now: datetime) -> None:
    if not opened:
        return
    conn.execute(
        INSERT_ACCOUNTS,
        [
            now,
            bigints(account.id for account in opened),
            [account.name for account in opened],
            bigints(account_key(account.name) for account in opened),
            [account.currency for account in opened],
            bigints(account.version for account in opened),
            bigints(account.credits_minor for account in opened),
            bigints(account.debits_minor for account in opened),
            bigints(account.overdraft_limit_minor for account in opened),
            bigints(account.overdraft_fee_minor for account in opened),
        ],
    )


def _insert_outcomes(conn: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    conn.execute(
        INSERT_OUTCOMES,
        [
            now,
            bigints(outcome.position for outcome in outcomes),
            [outcome.status.value for outcome in outcomes],
            [outcome.reason.value if outcome.reason else None for outcome in outcomes],
        ],
    )


def _insert_transfers(conn: Connection, outcomes: Sequence[Outcome], ids: Mapping[str, int]) -> None:
    legs = [
        (outcome.position, leg, transfer)
        for outcome in outcomes
        for leg, transfer in enumerate(outcome.transfers, start=1)
    ]
    if not legs:
        return
    conn.execute(
        INSERT_TRANSFERS,
        [
            bigints(position for position, _, _ in legs),
            [leg for _, leg, _ in legs],
            [transfer.kind.value for _, _, transfer in legs],
            bigints(_account_id(ids, transfer.debit) for _, _, transfer in legs),
            bigints(_account_id(ids, transfer.credit) for _, _, transfer in legs),
            bigints(transfer.amount_minor for _, _, transfer in legs),
            [transfer.currency for _, _, transfer in legs],
            bigints(transfer.debit.version for _, _, transfer in legs),
            bigints(transfer.debit.balance_minor for _, _, transfer in legs),
            bigints(transfer.credit.version for _, _, transfer in legs),
            bigints(transfer.credit.balance_minor for _, _, transfer in legs),
        ],
    )


def _account_id(ids: Mapping[str, int], side: Side) -> int:
    return system_account_id(side.account) if side.version is None else ids[side.account]


def _update_accounts(conn: Connection, books: Books, changed: Sequence[Account]) -> Cursor:
    return conn.execute(
        UPDATE_ACCOUNTS,
        [
            bigints(account.id for account in changed),
            bigints(books.accounts[account.name].version for account in changed),
            bigints(account.version for account in changed),
            bigints(account.credits_minor for account in changed),
            bigints(account.debits_minor for account in changed),
        ],
    )
