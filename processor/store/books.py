"""Reads what a batch needs under its locks, and writes what was decided, each in one round trip."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection, Cursor

from processor.account_keys import account_key
from processor.delivery import Delivery
from processor.domain.advances import Advance
from processor.domain.books import UNLIMITED, Account, AccountStatus, Books, Daily, system_account_id
from processor.domain.commands import (
    Adjust,
    CaptureHold,
    Close,
    Collect,
    Command,
    Deposit,
    ExpireHold,
    Freeze,
    Linked,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    PlaceHold,
    ReleaseHold,
    Repay,
    Reverse,
    SetLimits,
    Unfreeze,
    Withdraw,
    WriteOff,
)
from processor.domain.decide import Decided
from processor.domain.outcomes import Outcome, Side
from processor.errors import BooksError
from processor.store import account_changes, advances, holds, reversals
from processor.store.arrays import bigints

_COLUMNS: Final[LiteralString] = """
        position, type, account, from_account, to_account, amount_minor, currency,
        overdraft_limit_minor, overdraft_fee_minor, accepted_at,
        instalments, first_due_on,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id) AS advance,
        instalment,
        (SELECT reserving.position FROM command AS reserving WHERE reserving.id = command.hold_id) AS hold,
        expires_at,
        (SELECT earlier.position FROM command AS earlier WHERE earlier.id = command.reverses) AS reverses,
        force, daily_count, daily_amount_minor, link, link_size
"""

# The oldest pending commands of the locked accounts, as far as the message goes. Whatever is not read is younger than
# all that is, so no command overtakes another of its account. One short look at the head of each line: what a line
# costs does not grow with its length. Of those that are linked, it is the first.
GATHER_COMMANDS: Final[LiteralString] = """
    SELECT {_COLUMNS}
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
""".replace("{_COLUMNS}", _COLUMNS)

# Those that stand in line with the first of them: their positions follow its own.
GATHER_LINKED: Final[LiteralString] = """
    SELECT {_COLUMNS}
    FROM unnest(%b::bigint[], %b::uuid[], %b::smallint[]) AS first (first_position, first_id, size)
    CROSS JOIN LATERAL (
        SELECT * FROM command
        WHERE position >= first_position AND position < first_position + size AND link = first_id
        ORDER BY position LIMIT 100
    ) AS command
    ORDER BY first_position, position
""".replace("{_COLUMNS}", _COLUMNS)

GATHER_ACCOUNTS: Final[LiteralString] = """
    SELECT
        name, id, currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor, revision, forced_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
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
        id, name, key, kind, currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor, revision, forced_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor, opened_at
    )
    SELECT id, name, key, 'customer', currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor, revision, forced_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor, %b
    FROM unnest(
        %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[],
        %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
        %b::bigint[], %b::bigint[], %b::date[], %b::bigint[], %b::bigint[]
    ) AS opened (
        id, name, key, currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor, revision, forced_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
    )
"""

# The old version and revision are named as well: a total is replaced only by one that was computed from it.
UPDATE_ACCOUNTS: Final[LiteralString] = """
    UPDATE account
    SET version = changed.version, revision = changed.revision,
        credits_minor = changed.credits_minor, debits_minor = changed.debits_minor
    FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
        AS changed (id, version_before, revision_before, version, revision, credits_minor, debits_minor)
    WHERE account.id = changed.id
        AND account.version = changed.version_before AND account.revision = changed.revision_before
    RETURNING account.id
"""

# The same for the few accounts of which more has changed than the totals. One statement for all columns: the schema
# holds each row to its floor, and in two steps the first might be below it.
REWRITE_ACCOUNTS: Final[LiteralString] = """
    UPDATE account
    SET version = changed.version, revision = changed.revision,
        credits_minor = changed.credits_minor, debits_minor = changed.debits_minor,
        status = changed.status, held_minor = changed.held_minor, forced_minor = changed.forced_minor,
        overdraft_limit_minor = changed.overdraft_limit_minor, overdraft_fee_minor = changed.overdraft_fee_minor,
        daily_count = changed.daily_count, daily_amount_minor = changed.daily_amount_minor,
        daily_on = changed.daily_on, daily_used = changed.daily_used, daily_used_minor = changed.daily_used_minor
    FROM unnest(
        %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
        %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
        %b::bigint[], %b::bigint[], %b::date[], %b::bigint[], %b::bigint[]
    ) AS changed (
        id, version_before, revision_before, version, revision, credits_minor, debits_minor,
        status, held_minor, forced_minor, overdraft_limit_minor, overdraft_fee_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
    )
    WHERE account.id = changed.id
        AND account.version = changed.version_before AND account.revision = changed.revision_before
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
        DELETE FROM pending WHERE position = ANY(%b::bigint[]) RETURNING position, account_key, link_size
    )
    INSERT INTO held (position, account_key, link_size, held_at) SELECT position, account_key, link_size, %b FROM moved
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
    SELECT position, array_agg(account_key), coalesce(max(link_size), 1)
    FROM pending WHERE position IN (SELECT position FROM wanted)
    GROUP BY position ORDER BY position
"""

# The heads of these lines, each command with all of its accounts.
SELECT_LINES: Final[LiteralString] = """
    SELECT position, array_agg(account_key), coalesce(max(link_size), 1) FROM pending
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

_ABOUT_ADVANCES: Final = frozenset({"advance", "repay", "write_off", "collect", "close"})

# Is any of the commands that a message names still waiting? Most repeated messages end here.
LOOK: Final[LiteralString] = "SELECT EXISTS (SELECT FROM pending WHERE position = ANY(%b::bigint[]))"


@dataclass(frozen=True, slots=True)
class PendingRow:
    """
    A pending command as it was read, not yet built: a row that cannot be built must not spoil the others.

    The first of linked commands has them all in ``linked``, itself included: they are one place in line.
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
    hold: Any = None
    expires_at: Any = None
    reverses: Any = None
    force: Any = None
    daily_count: Any = None
    daily_amount_minor: Any = None
    link: Any = None
    link_size: Any = None
    linked: "tuple[PendingRow, ...]" = ()

    def rows(self) -> "tuple[PendingRow, ...]":
        """The commands at this place in line, each as a row of its own."""
        return self.linked or (self,)

    def accounts(self) -> set[str]:
        """The names of the accounts that the commands touch."""
        if self.linked:
            return {name for row in self.linked for name in (row.account, row.from_account, row.to_account) if name}
        return {name for name in (self.account, self.from_account, self.to_account) if name is not None}

    def account_keys(self) -> set[int]:
        """The lock keys of these accounts."""
        return {account_key(name) for name in self.accounts()}

    def asked(self) -> Command | Linked:
        """What is to be decided at this place. Raises ``BooksError`` if not all are there that were linked."""
        if self.link_size is None:
            return self.command()
        if len(self.linked) != self.link_size or self.linked[0].position != self.position:
            raise BooksError(f"{len(self.linked)} of {self.link_size} linked commands are at position {self.position}")
        return Linked(tuple(row.command() for row in self.linked))

    def command(self) -> Command:  # noqa: PLR0911, PLR0912
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
            case "place_hold":
                return PlaceHold(position, account, amount_minor, currency, self.expires_at)
            case "capture_hold":
                return CaptureHold(position, account, self.hold, currency, amount_minor, self.to_account)
            case "release_hold":
                return ReleaseHold(position, account, self.hold, currency)
            case "expire_hold":
                return ExpireHold(position, account, self.hold, currency)
            case "freeze":
                return Freeze(position, account, currency)
            case "unfreeze":
                return Unfreeze(position, account, currency)
            case "close":
                return Close(position, account, currency)
            case "set_limits":
                return SetLimits(
                    position,
                    account,
                    currency,
                    self.overdraft_limit_minor,
                    self.overdraft_fee_minor,
                    self.daily_count,
                    self.daily_amount_minor,
                )
            case "reverse":
                return Reverse(position, self.reverses, currency, self.force)
            case "adjust":
                return Adjust(position, self.from_account, self.to_account, amount_minor, currency, self.force)
        raise BooksError(f"command {self.position} has the unknown type {self.type!r}: deploy the workers first")


@dataclass(frozen=True, slots=True)
class Came:
    """How the commands of a transaction came to it: the message, and how long their accounts' locks were waited for."""

    delivery: Delivery = Delivery()  # noqa: RUF009  # It is frozen.
    lock_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class InLine:
    """A command that is still pending, or the first of linked ones for all, and the lock keys of all its accounts."""

    position: int
    account_keys: frozenset[int]
    commands: int = 1


def look(conn: Connection, positions: Collection[int]) -> bool:
    """Whether any of the commands is still pending. Takes no lock."""
    row = conn.execute(LOOK, [bigints(positions)]).fetchone()
    return bool(row and row[0])


def gather(conn: Connection, keys: Collection[int], *, up_to: int, limit: int) -> tuple[list[PendingRow], Books]:
    """
    The oldest ``limit`` pending commands of the locked accounts, in order of position, and these accounts.

    Commands above the position ``up_to`` are left for the messages that name them. Those that are linked come all
    together, and if there are more of them than ``limit`` alone.
    """
    wanted = bigints(keys)
    rows = conn.execute(GATHER_COMMANDS, {"keys": wanted, "up_to": up_to, "limit": limit})
    accounts = conn.execute(GATHER_ACCOUNTS, [wanted])
    pending = _with_linked(conn, [PendingRow(*row) for row in rows], limit)
    return pending, _books(conn, pending, read_accounts(accounts))


def _with_linked(conn: Connection, places: list[PendingRow], limit: int) -> list[PendingRow]:
    """One round trip more, for batches with linked commands only. No more of the places than ``limit`` allows."""
    if all(place.link_size is None for place in places):
        return places
    taken = within((place.link_size or 1 for place in places), limit)
    firsts = [place for place in places[:taken] if place.link_size is not None]
    arrays = [bigints(place.position for place in firsts), [place.link for place in firsts]]
    found: dict[UUID, list[PendingRow]] = {}
    for row in conn.execute(GATHER_LINKED, [*arrays, [place.link_size for place in firsts]]):
        each = PendingRow(*row)
        found.setdefault(each.link, []).append(each)
    return [
        place if place.link_size is None else replace(place, linked=tuple(found.get(place.link, ())))
        for place in places[:taken]
    ]


def within(commands: Iterable[int], limit: int) -> int:
    """How many places, with so many ``commands`` each, have ``limit`` commands together: at least one place."""
    taken = total = 0
    for each in commands:
        total += each
        if taken and total > limit:
            break
        taken += 1
    return taken


def read_books(conn: Connection, row: PendingRow) -> Books:
    """What the command would be decided on if it were its turn now. Takes no lock."""
    return _books(conn, [row], read_accounts(conn.execute(GATHER_ACCOUNTS, [bigints(row.account_keys())])))


def _books(conn: Connection, places: Sequence[PendingRow], found: Sequence[Account]) -> Books:
    pending = [row for place in places for row in place.rows()]
    return Books.of(
        found,
        _gather_advances(conn, pending, found),
        holds.gather(conn, found, {row.hold for row in pending if row.hold is not None}),
        reversals.gather(conn, {row.reverses for row in pending if row.reverses is not None}),
    )


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
    return [_account(*row) for row in rows]


def _account(name: str, id_: int, currency: str, status: str, *rest: Any) -> Account:
    values = [AccountStatus(status), *rest[:-5], _daily(*rest[-5:])]
    return Account(name, id_, currency, *values)


def _daily(count: int | None, amount_minor: int | None, on: date | None, used: int | None, minor: int | None) -> Daily:
    """The limits of a day; most accounts have none."""
    if count is None or amount_minor is None:
        return UNLIMITED
    return Daily(count, amount_minor, on or date.min, used or 0, minor or 0)


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
    return [InLine(position, frozenset(keys), commands) for position, keys, commands in rows]


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
        held = holds.record(conn, books, decided, ids)
        reversals.record(conn, decided.reversals)
        account_changes.record(conn, decided.changes, ids)
        lent = advances.record(conn, books, decided, ids, now=now)
        conn.execute(DELETE_PENDING, [bigints(outcome.position for outcome in decided.outcomes)])
        _insert_batch(conn, len(decided.outcomes), came, now)
    kept = {account_id for cursor in updated for (account_id,) in cursor}
    if others := [account.id for account in decided.changed if account.id not in kept]:
        raise BooksError(f"accounts not as they were read under their locks, by id: {others}")
    holds.check(books, decided, held)
    if lent is not None:
        lent.check()


def left_in_line(conn: Connection, positions: Collection[int]) -> list[InLine]:
    """Those of the commands that are still pending, and the first in each of their lines, in order of position."""
    rows = conn.execute(SELECT_LEFT, [bigints(positions)])
    return [InLine(position, frozenset(keys), commands) for position, keys, commands in rows]


def record_dead_letters(
    conn: Connection, outcomes: Sequence[Outcome], error: str, *, now: datetime, came: Came | None = None
) -> None:
    """Give up on a command, or linked ones: they are failed, keep the error for a person to read, and block nobody."""
    with conn.pipeline():
        _insert_outcomes(conn, outcomes, now)
        for outcome in outcomes:
            conn.execute(INSERT_DEAD_LETTER, [outcome.position, error, now])
            advances.count_attempt(conn, outcome.position, now=now)
            holds.count_attempt(conn, outcome.position, now=now)
        conn.execute(DELETE_PENDING, [bigints(outcome.position for outcome in outcomes)])
        _insert_batch(conn, len(outcomes), came, now)


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
            [account.status.value for account in opened],
            bigints(account.version for account in opened),
            bigints(account.credits_minor for account in opened),
            bigints(account.debits_minor for account in opened),
            bigints(account.held_minor for account in opened),
            bigints(account.overdraft_limit_minor for account in opened),
            bigints(account.overdraft_fee_minor for account in opened),
            bigints(account.revision for account in opened),
            bigints(account.forced_minor for account in opened),
            *_days(opened),
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


def _update_accounts(conn: Connection, books: Books, changed: Sequence[Account]) -> list[Cursor[Any]]:
    plain = [account for account in changed if _only_totals(books.accounts[account.name], account)]
    others = [account for account in changed if not _only_totals(books.accounts[account.name], account)]
    updated = [conn.execute(UPDATE_ACCOUNTS, _totals(books, plain))] if plain else []
    if others:
        more = [
            [account.status.value for account in others],
            bigints(account.held_minor for account in others),
            bigints(account.forced_minor for account in others),
            bigints(account.overdraft_limit_minor for account in others),
            bigints(account.overdraft_fee_minor for account in others),
            *_days(others),
        ]
        updated.append(conn.execute(REWRITE_ACCOUNTS, [*_totals(books, others), *more]))
    return updated


def _only_totals(read: Account, account: Account) -> bool:
    """Whether money has moved and nothing else happened."""
    return (
        read.status is account.status
        and read.held_minor == account.held_minor
        and read.forced_minor == account.forced_minor
        and read.overdraft_limit_minor == account.overdraft_limit_minor
        and read.overdraft_fee_minor == account.overdraft_fee_minor
        and read.daily == account.daily
    )


def _totals(books: Books, changed: Sequence[Account]) -> list[Any]:
    return [
        bigints(account.id for account in changed),
        bigints(books.accounts[account.name].version for account in changed),
        bigints(books.accounts[account.name].revision for account in changed),
        bigints(account.version for account in changed),
        bigints(account.revision for account in changed),
        bigints(account.credits_minor for account in changed),
        bigints(account.debits_minor for account in changed),
    ]


def _days(accounts: Sequence[Account]) -> list[Any]:
    """The columns of the limits of a day."""
    days = [account.daily if account.daily.is_limited else None for account in accounts]
    # Nothing was used yet: there is no day, and the schema has no row of a day without use.
    used = [day if day is not None and day.used else None for day in days]
    return [
        bigints(None if day is None else day.count for day in days),
        bigints(None if day is None else day.amount_minor for day in days),
        [None if day is None else day.on for day in used],
        bigints(None if day is None else day.used for day in used),
        bigints(None if day is None else day.used_minor for day in used),
    ]
