"""
What a watcher reads every few seconds: how the line, the log, the jobs, the money and Postgres itself are.

Nothing here reads commands, outcomes, transfers or accounts from end to end; what may be long is counted up to a limit.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store import locks

COUNT_BACKLOG: Final[LiteralString] = "SELECT count(*) FROM (SELECT FROM pending LIMIT 1000000) AS backlog"

SELECT_OLDEST_PENDING: Final[LiteralString] = """
    SELECT accepted_at FROM command WHERE position = (SELECT min(position) FROM pending)
"""

# In order of position, so roughly of age: behind the first 100,000 places the oldest is hardly looked for.
MEASURE_HELD: Final[LiteralString] = """
    SELECT
        (SELECT count(*) FROM quarantine WHERE released_at IS NULL), count(DISTINCT position), min(held_at)
    FROM (SELECT position, held_at FROM held ORDER BY position LIMIT 100000) AS first
"""

# The first in the log that is not below the watermark; while nothing is under way there is none.
SELECT_ABOVE_WATERMARK: Final[LiteralString] = """
    SELECT decided_at FROM outcome WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, position LIMIT 1
"""

# The first outcome behind the one that each follower has come to. A new account of the bank's own has no checkpoint
# yet, and none of its transfers lies before the others'.
SELECT_UNSEEN: Final[LiteralString] = """
    SELECT 'seal', (
        SELECT decided_at FROM outcome
        WHERE (xid, position) > (
            coalesce((SELECT last_xid FROM seal ORDER BY number DESC LIMIT 1), '0'::xid8),
            coalesce((SELECT last_position FROM seal ORDER BY number DESC LIMIT 1), 0)
        )
        ORDER BY xid, position LIMIT 1
    )
    UNION ALL
    SELECT 'roll_forward', (
        SELECT decided_at FROM outcome
        WHERE xid >= coalesce((SELECT min(up_to_xid) FROM system_checkpoint), '0'::xid8)
        ORDER BY xid, position LIMIT 1
    )
"""

SELECT_LEADS: Final[LiteralString] = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s::bigint AND objid = %s::bigint
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""

# The index is read from one job to the next, not run by run.
SELECT_JOBS: Final[LiteralString] = """
    WITH RECURSIVE known AS (
        (SELECT job FROM job_run ORDER BY job LIMIT 1)
        UNION ALL
        SELECT (SELECT job_run.job FROM job_run WHERE job_run.job > known.job ORDER BY job_run.job LIMIT 1)
        FROM known WHERE known.job IS NOT NULL
    )
    SELECT known.job, success.ended_at, extract(epoch FROM ended.ended_at - ended.started_at)::double precision
    FROM known
    LEFT JOIN LATERAL (
        SELECT ended_at FROM job_run WHERE job_run.job = known.job AND result = 'success'
        ORDER BY started_at DESC LIMIT 1
    ) AS success ON true
    LEFT JOIN LATERAL (
        SELECT started_at, ended_at FROM job_run WHERE job_run.job = known.job AND result IN ('success', 'error')
        ORDER BY started_at DESC LIMIT 1
    ) AS ended ON true
    WHERE known.job IS NOT NULL
"""

# Each had a day on which it should have been decided: a worker or the scheduler is behind, or it failed. Currencies in
# which nothing is overdue are named as well, so that what was once seen goes back to zero. One advance at a time
# (OFFSET 0): Postgres does not know that days that are over are rarely scheduled still, and would read both tables.
SELECT_OVERDUE: Final[LiteralString] = """
    SELECT receivable.currency, count(overdue.left_minor), coalesce(sum(overdue.left_minor), 0)
    FROM account AS receivable
    LEFT JOIN (
        SELECT lent.currency, instalment.amount_minor - instalment.paid_minor AS left_minor
        FROM instalment
        CROSS JOIN LATERAL (SELECT currency FROM advance WHERE id = instalment.advance_id OFFSET 0) AS lent
        WHERE instalment.state = 'scheduled' AND instalment.due_on < %s
    ) AS overdue ON overdue.currency = receivable.currency
    WHERE receivable.id < 0 AND receivable.kind = 'advances_receivable'
    GROUP BY receivable.currency
"""

SELECT_LENDING_CURRENCIES: Final[LiteralString] = """
    SELECT currency FROM account WHERE id < 0 AND kind = 'advances_receivable'
"""

# The next day on which something is due, in any currency, and what is due on it.
SELECT_NEXT_DAY: Final[LiteralString] = """
    SELECT instalment.due_on, advance.currency, count(*), sum(instalment.amount_minor - instalment.paid_minor)
    FROM instalment JOIN advance ON advance.id = instalment.advance_id
    WHERE instalment.state = 'scheduled' AND instalment.due_on = (
        SELECT due_on FROM instalment WHERE state = 'scheduled' AND due_on >= %s ORDER BY due_on LIMIT 1
    )
    GROUP BY instalment.due_on, advance.currency
"""

# processor.domain.advances.arrears_minor, over all advances that have any. One advance at a time: those that live are
# found by an index, few of them are in arrears, and instalments are many.
SELECT_ARREARS: Final[LiteralString] = """
    SELECT advance.currency, coalesce(sum(missed.left_minor), 0)
    FROM advance
    CROSS JOIN LATERAL (
        SELECT sum(instalment.rolled_minor - instalment.paid_minor) AS left_minor
        FROM instalment
        WHERE instalment.advance_id = advance.id AND instalment.state = 'scheduled'
            AND instalment.rolled_minor > instalment.paid_minor
    ) AS missed
    WHERE advance.state = 'in_arrears'
    GROUP BY advance.currency
"""

# From an index that has the open holds only. Currencies in which nothing is on hold are named as well, so that what
# was once seen goes back to zero.
SELECT_HOLDS: Final[LiteralString] = """
    SELECT currency, coalesce(open_ones.count, 0), coalesce(open_ones.total_minor, 0)
    FROM (SELECT currency FROM account WHERE id < 0 AND kind = 'settlement') AS used
    FULL JOIN (
        SELECT currency, count(*), sum(amount_minor) AS total_minor FROM hold WHERE state = 'held' GROUP BY currency
    ) AS open_ones USING (currency)
"""

COUNT_OVERDUE_HOLDS: Final[LiteralString] = """
    SELECT count(*) FROM (
        SELECT FROM hold WHERE state = 'held' AND expires_at IS NOT NULL AND expires_at <= %s LIMIT 100000
    ) AS overdue
"""

SELECT_ALERTS: Final[LiteralString] = """
    SELECT proof, severity, count(*), min(first_seen_at) FROM alert WHERE state <> 'resolved' GROUP BY proof, severity
"""

SELECT_PROOFS: Final[LiteralString] = "SELECT proof, proven_at, proven_full_at, breaks FROM proof_state"

SELECT_SEALED: Final[LiteralString] = """
    SELECT number, first_leaf + leaves, sealed_at, hash FROM seal ORDER BY number DESC LIMIT 1
"""

# The checkpoint, and as much of the log after it as may be read every few seconds. A transfer has both sides in one
# row, so wherever the reading ends, all accounts together come to zero.
SELECT_BALANCES: Final[LiteralString] = """
    WITH tail AS (
        SELECT xid, position FROM outcome
        WHERE xid >= coalesce((SELECT min(up_to_xid) FROM system_checkpoint), '0'::xid8)
        ORDER BY xid, position LIMIT 5000
    ), moved AS MATERIALIZED (
        SELECT tail.xid, transfer.debit_account_id, transfer.credit_account_id, transfer.amount_minor
        FROM tail JOIN transfer ON transfer.position = tail.position
        WHERE transfer.debit_account_id < 0 OR transfer.credit_account_id < 0
    )
    SELECT account.kind, account.currency,
        coalesce(checkpoint.credits_minor - checkpoint.debits_minor, 0) + coalesce((
            SELECT sum(CASE moved.credit_account_id WHEN account.id THEN amount_minor ELSE -amount_minor END)
            FROM moved
            WHERE account.id IN (moved.credit_account_id, moved.debit_account_id)
                AND moved.xid >= coalesce(checkpoint.up_to_xid, '0'::xid8)
        ), 0)
    FROM account LEFT JOIN system_checkpoint AS checkpoint ON checkpoint.account_id = account.id
    WHERE account.id < 0
"""

SELECT_STATEMENT_BREAKS: Final[LiteralString] = """
    SELECT result, currency, count(*)
    FROM (SELECT result, currency FROM reconciliation_break WHERE closed_at IS NULL LIMIT 100000) AS open_ones
    GROUP BY result, currency
"""

SELECT_STATEMENTS: Final[LiteralString] = "SELECT currency, max(imported_at) FROM statement_file GROUP BY currency"

# Whoever may not see what a session does is told when it was connected, and not since when its transaction runs; of
# prepared ones everybody is told.
MEASURE_SERVER: Final[LiteralString] = """
    SELECT
        (SELECT sum(numbackends) FROM pg_stat_database),
        current_setting('max_connections')::bigint,
        (SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted),
        coalesce(extract(epoch FROM clock_timestamp() - least(
            (SELECT min(xact_start) FROM pg_stat_activity WHERE pid <> pg_backend_pid()),
            (SELECT min(prepared) FROM pg_prepared_xacts)
        )), 0)::double precision,
        xact_commit, xact_rollback, deadlocks, blks_read, blks_hit, temp_bytes,
        (SELECT wal_bytes FROM pg_stat_wal)
    FROM pg_stat_database WHERE datname = current_database()
"""

MEASURE_DATABASE: Final[LiteralString] = "SELECT pg_database_size(current_database())"

MEASURE_TABLES: Final[LiteralString] = """
    SELECT relname, pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'public'
"""

_DAYS: Final = 8
"""Days on which something is due that are looked at, at most: instalments are weekly."""


@dataclass(frozen=True, slots=True)
class Held:
    """How much waits for a person."""

    accounts: int
    commands: int
    oldest_held_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job that has ever run."""

    job: str
    last_success_at: datetime | None
    last_duration_s: float | None


@dataclass(frozen=True, slots=True)
class ProofRow:
    """A proof that has ever run."""

    proof: str
    proven_at: datetime | None
    proven_full_at: datetime | None
    breaks: int


@dataclass(frozen=True, slots=True)
class AlertRow:
    """Alerts of one proof and severity that are not resolved."""

    proof: str
    severity: str
    count: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Instalments:
    """So many instalments of one currency, and what is left of them."""

    currency: str
    count: int
    left_minor: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day on which instalments are due."""

    due_on: date
    instalments: Instalments


@dataclass(frozen=True, slots=True)
class Sealed:
    """The newest block; ``leaves`` are those of all blocks."""

    number: int
    leaves: int
    sealed_at: datetime
    hash: bytes


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits less debits of one of the bank's own accounts."""

    kind: str
    currency: str
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Server:
    """How Postgres itself is."""

    connections: int
    max_connections: int
    lock_waiters: int
    oldest_transaction_s: float
    commits: int
    rollbacks: int
    deadlocks: int
    blocks_read: int
    blocks_hit: int
    temp_bytes: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with its indexes."""

    name: str
    bytes: int
    dead_rows: int


def backlog(conn: Connection) -> int:
    """How many places in line are taken, up to a million."""
    return int(_row(conn, COUNT_BACKLOG)[0])


def oldest_pending(conn: Connection) -> datetime | None:
    """When the oldest command in line was accepted."""
    return _first(conn, SELECT_OLDEST_PENDING)


def held(conn: Connection) -> Held:
    """Accounts in quarantine, commands that are held, and since when the oldest of them is."""
    return Held(*_row(conn, MEASURE_HELD))


def above_watermark(conn: Connection) -> datetime | None:
    """When the oldest outcome was decided that whoever follows the log may not read yet."""
    return _first(conn, SELECT_ABOVE_WATERMARK)


def unseen(conn: Connection) -> list[tuple[str, datetime | None]]:
    """Each follower of the log, and when the oldest outcome that it has not seen was decided."""
    return [(follower, decided_at) for follower, decided_at in conn.execute(SELECT_UNSEEN)]


def somebody_leads(conn: Connection) -> bool:
    """Whether a scheduler holds the leader's lock."""
    return bool(_row(conn, SELECT_LEADS, locks.LEADER)[0])


def jobs(conn: Connection) -> list[JobRow]:
    """Every job that has ever run."""
    return [JobRow(*row) for row in conn.execute(SELECT_JOBS)]


def overdue(conn: Connection, *, today: date) -> list[Instalments]:
    """What should have been paid or missed before ``today``."""
    return [Instalments(currency, count, int(left)) for currency, count, left in conn.execute(SELECT_OVERDUE, [today])]


def next_collections(conn: Connection, currencies: Collection[str], *, today: date) -> list[Day]:
    """For each of the currencies, the first day from ``today`` on which something is due, and what."""
    missing = set(currencies)
    found: list[Day] = []
    day = today
    for _ in range(_DAYS):
        rows = conn.execute(SELECT_NEXT_DAY, [day]).fetchall() if missing else []
        if not rows:
            break
        for due_on, currency, count, left in rows:
            if currency in missing:
                missing.remove(currency)
                found.append(Day(due_on, Instalments(currency, count, int(left))))
        day = date.fromordinal(rows[0][0].toordinal() + 1)
    return found


def arrears(conn: Connection) -> dict[str, int]:
    """What was missed and has not been paid since, in minor units by currency; zero for those without any."""
    nothing = {currency: 0 for (currency,) in conn.execute(SELECT_LENDING_CURRENCIES)}
    return nothing | {currency: int(minor) for currency, minor in conn.execute(SELECT_ARREARS)}


def holds(conn: Connection) -> list[tuple[str, int, int]]:
    """How many holds are open, and what they are together in minor units, by currency."""
    return [(currency, count, int(total_minor)) for currency, count, total_minor in conn.execute(SELECT_HOLDS)]


def overdue_holds(conn: Connection, *, now: datetime) -> int:
    """Holds that should have been given back, up to 100,000."""
    return int(_row(conn, COUNT_OVERDUE_HOLDS, [now])[0])


def alerts(conn: Connection) -> list[AlertRow]:
    """What is not resolved."""
    return [AlertRow(*row) for row in conn.execute(SELECT_ALERTS)]


def proofs(conn: Connection) -> list[ProofRow]:
    """How each proof stands that has ever run."""
    return [ProofRow(*row) for row in conn.execute(SELECT_PROOFS)]


def sealed(conn: Connection) -> Sealed | None:
    """The newest block, if there is one."""
    row = conn.execute(SELECT_SEALED).fetchone()
    return Sealed(*row) if row else None


def balances(conn: Connection) -> list[Balance]:
    """The bank's own accounts, as of now or, when much has happened, as of their last checkpoint or soon after it."""
    return [Balance(kind, currency, int(minor)) for kind, currency, minor in conn.execute(SELECT_BALANCES)]


def statement_breaks(conn: Connection) -> list[tuple[str, str, int]]:
    """Differences between statements and books that are not closed, by result and currency."""
    return [(result, currency, count) for result, currency, count in conn.execute(SELECT_STATEMENT_BREAKS)]


def statements(conn: Connection) -> list[tuple[str, datetime]]:
    """When a statement was last imported, by currency."""
    return [(currency, imported_at) for currency, imported_at in conn.execute(SELECT_STATEMENTS)]


def server(conn: Connection) -> Server:
    """How Postgres itself is."""
    return Server(*_row(conn, MEASURE_SERVER))


def database_bytes(conn: Connection) -> int:
    """How large the database is."""
    return int(_row(conn, MEASURE_DATABASE)[0])


def tables(conn: Connection) -> Iterator[Table]:
    """How large each table is."""
    return (Table(*row) for row in conn.execute(MEASURE_TABLES))


def _row(conn: Connection, query: LiteralString, params: Any = ()) -> tuple[Any, ...]:
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return tuple(row)


def _first(conn: Connection, query: LiteralString) -> datetime | None:
    row = conn.execute(query).fetchone()
    return row[0] if row else None
