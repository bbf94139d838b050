"""
What is read from rows and from Redis: the name of each figure, what it says, and its labels.

It is true whoever has died, and the same on every host: queries take the ``max`` of it, never the ``sum``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["postgres", "redis", "exporter"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric that the exporter reads from a ``source``. ``kind`` is what Prometheus takes it for."""

    name: str
    help: str
    source: Source
    labels: Sequence[str] = ()
    kind: Literal["gauge", "counter"] = "gauge"


FIGURES: Final[dict[str, Figure]] = {}
"""Every figure by its name."""


def _figure(source: Source, name: str, help_: str, *labels: str, kind: Literal["gauge", "counter"] = "gauge") -> Figure:
    figure = FIGURES[name] = Figure(name, help_, source, labels, kind)
    return figure


def _postgres(name: str, help_: str, *labels: str) -> Figure:
    return _figure("postgres", name, help_, *labels)


def _redis(name: str, help_: str, *labels: str) -> Figure:
    return _figure("redis", name, help_, *labels)


# The exporter itself.
BUILD_INFO: Final = _figure("exporter", "florin_build_info", "Always 1.", "component", "version")
POSTGRES_UP: Final = _figure(
    "exporter",
    "florin_postgres_up",
    "1 if Postgres gave every figure when it was last asked; what it did not give is not shown.",
)
REDIS_UP: Final = _figure(
    "exporter", "florin_redis_up", "1 if Redis gave every figure when it was last asked; if not, none is shown."
)
UNREAD: Final = _figure(
    "exporter",
    "florin_state_unread",
    "1 if Postgres did not give a part of its figures when it was last asked; absent while it does not answer at all.",
    "part",
)
API_UP: Final = _figure(
    "exporter",
    "florin_api_up",
    "1 if the API of this host answered a GET of FLORIN_PROBE_URL in two seconds; absent if that is not set.",
)
READ_AT: Final = _figure(
    "exporter", "florin_state_read_timestamp_seconds", "When every figure of a source was last read.", "source"
)

# The line of commands.
BACKLOG: Final = _postgres(
    "florin_backlog_commands", "Places in line taken by pending commands, counted up to a million."
)
OLDEST_PENDING: Final = _postgres(
    "florin_oldest_pending_age_seconds", "Age of the oldest command in line; 0 if there is none."
)
HELD: Final = _postgres("florin_held_commands", "Commands that wait for an account's release, up to 100,000 places.")
OLDEST_HELD: Final = _postgres(
    "florin_oldest_held_age_seconds", "How long the oldest held command is held; 0 if there is none."
)
QUARANTINED: Final = _postgres("florin_quarantined_accounts", "Accounts whose commands are held.")
DEAD_LETTERS: Final = _postgres(
    "florin_dead_letters_open",
    "Commands given up on that nobody has retried or discarded; a retry that was refused does not count.",
)
OLDEST_DEAD_LETTER: Final = _postgres(
    "florin_dead_letter_oldest_age_seconds", "Age of the oldest of them; 0 if there is none."
)

# The log of outcomes.
WATERMARK_LAG: Final = _postgres(
    "florin_watermark_lag_seconds",
    "Age of the oldest outcome that nobody who follows the log may read yet; 0 if there is none.",
)
FOLLOWER_LAG: Final = _postgres(
    "florin_follower_lag_seconds",
    "Age of the oldest outcome that a follower of the log has not seen; 0 if it has seen all.",
    "follower",
)

# The scheduler.
LEADER: Final = _postgres("florin_scheduler_leader", "1 if a scheduler leads.")
JOB_LAST_SUCCESS: Final = _postgres(
    "florin_job_last_success_timestamp_seconds", "When a scheduler job last succeeded; 0 if it never did.", "job"
)
JOB_LAST_DURATION: Final = _postgres(
    "florin_job_last_duration_seconds", "Time of the last run of a scheduler job, a failed one included.", "job"
)

# Advances.
OVERDUE: Final = _postgres(
    "florin_overdue_instalments", "Instalments whose day is over, and that are neither paid nor missed.", "currency"
)
OVERDUE_AMOUNT: Final = _postgres(
    "florin_overdue_amount", "What is left of overdue instalments, in whole units of the currency.", "currency"
)
NEXT_COLLECTION: Final = _postgres(
    "florin_next_collection_timestamp_seconds",
    "The beginning of the next business day on which instalments are due, today included.",
    "currency",
)
NEXT_COLLECTION_INSTALMENTS: Final = _postgres(
    "florin_next_collection_instalments", "Instalments that are due on that day.", "currency"
)
NEXT_COLLECTION_AMOUNT: Final = _postgres(
    "florin_next_collection_amount", "What is left of them, in whole units of the currency.", "currency"
)
ADVANCES_OUTSTANDING: Final = _postgres(
    "florin_advances_outstanding_amount", "What customers owe by advances, in whole units of the currency.", "currency"
)
ARREARS: Final = _postgres(
    "florin_arrears_amount", "What was missed and has not been paid since, in whole units of the currency.", "currency"
)

# Holds. Those whose time is over are given back by a job and a worker.
HOLDS: Final = _postgres("florin_holds_open", "Holds that are neither captured nor released.", "currency")
HOLDS_AMOUNT: Final = _postgres("florin_holds_amount", "What is on hold, in whole units of the currency.", "currency")
HOLDS_OVERDUE: Final = _postgres(
    "florin_holds_overdue", "Holds whose time is over, and that are not given back, counted up to 100,000."
)

# Proofs, alerts and the sealed log.
ALERTS: Final = _postgres("florin_alerts_open", "Alerts that are not resolved.", "severity", "proof")
OLDEST_ALERT: Final = _postgres(
    "florin_alert_oldest_open_age_seconds",
    "Age of the oldest alert that is not resolved; 0 if there is none.",
    "severity",
    "proof",
)
PROVEN_AT: Final = _postgres(
    "florin_proof_last_proven_timestamp_seconds", "When a proof last found nothing wrong; 0 if it never did.", "proof"
)
PROVEN_FULL_AT: Final = _postgres(
    "florin_proof_last_full_timestamp_seconds",
    "When a proof last found nothing wrong in the whole of history; 0 if it never did.",
    "proof",
)
BREAKS: Final = _postgres("florin_proof_breaks", "Breaks that a proof found last.", "proof")
SEAL_HEIGHT: Final = _postgres("florin_seal_height", "Number of the newest sealed block.")
SEAL_LEAVES: Final = _postgres("florin_seal_leaves", "Settled commands in all sealed blocks together.")
SEALED_AT: Final = _postgres("florin_seal_newest_timestamp_seconds", "When the newest block was sealed.")
SEAL_HASH: Final = _postgres("florin_seal_hash_prefix", "The first 48 bits of the newest block's hash, as a number.")

# Money. It follows the bank's own accounts, whose balances are kept up to half a minute behind under load.
DEPOSITS: Final = _postgres(
    "florin_deposits_amount", "What all customer accounts hold together, in whole units of the currency.", "currency"
)
SYSTEM_BALANCE: Final = _postgres(
    "florin_system_balance_amount",
    "Balance of one of the bank's own accounts, in whole units of the currency.",
    "kind",
    "currency",
)

# Reconciliation with bank statements.
STATEMENT_BREAKS: Final = _postgres(
    "florin_statement_breaks_open",
    "Differences between statements and books that are not closed, counted up to 100,000.",
    "result",
    "currency",
)
STATEMENT_IMPORTED_AT: Final = _postgres(
    "florin_statement_last_import_timestamp_seconds", "When a statement was last imported.", "currency"
)

# Postgres itself.
CONNECTIONS: Final = _postgres("florin_postgres_connections", "Connections that Postgres has, of any database.")
MAX_CONNECTIONS: Final = _postgres("florin_postgres_max_connections", "Connections that Postgres takes.")
OLDEST_TRANSACTION: Final = _postgres(
    "florin_postgres_oldest_transaction_age_seconds",
    "Age of the oldest transaction of the application's role, or prepared by anybody; 0 if there is none.",
)
LOCK_WAITERS: Final = _postgres("florin_postgres_lock_waiters", "Sessions that wait for a lock.")
DATABASE_BYTES: Final = _postgres("florin_postgres_database_bytes", "Size of the database.")
TABLE_BYTES: Final = _postgres("florin_postgres_table_bytes", "Size of a table with its indexes.", "table")
TABLE_DEAD_ROWS: Final = _postgres("florin_postgres_table_dead_rows", "Dead rows of a table, as estimated.", "table")


def _of_postgres(name: str, help_: str) -> Figure:
    return _figure("postgres", name, help_, kind="counter")


COMMITS: Final = _of_postgres("florin_postgres_commits_total", "Transactions committed in the database.")
ROLLBACKS: Final = _of_postgres("florin_postgres_rollbacks_total", "Transactions rolled back in the database.")
DEADLOCKS: Final = _of_postgres("florin_postgres_deadlocks_total", "Deadlocks in the database.")
BLOCKS_READ: Final = _of_postgres("florin_postgres_blocks_read_total", "Blocks read from disk or the system's cache.")
BLOCKS_HIT: Final = _of_postgres("florin_postgres_blocks_hit_total", "Blocks found in Postgres's own cache.")
TEMP_BYTES: Final = _of_postgres("florin_postgres_temp_bytes_total", "Bytes written to temporary files.")
WAL_BYTES: Final = _of_postgres("florin_postgres_wal_bytes_total", "Bytes of write-ahead log, of the whole cluster.")

# The queue, and Redis itself.
QUEUE: Final = _redis(
    "florin_queue_messages",
    "Messages of a queue: ready to be taken, delayed after an error, taken by a worker, or dead.",
    "queue",
    "state",
)
REDIS_MEMORY: Final = _redis("florin_redis_used_memory_bytes", "Memory that Redis uses.")
REDIS_MAX_MEMORY: Final = _redis("florin_redis_max_memory_bytes", "Memory that Redis may use; 0 if there is no limit.")
REDIS_CLIENTS: Final = _redis("florin_redis_connected_clients", "Connections that Redis has.")
REDIS_UPTIME: Final = _redis("florin_redis_uptime_seconds", "Time since Redis was started.")


def _of_redis(name: str, help_: str) -> Figure:
    return _figure("redis", name, help_, kind="counter")


REDIS_COMMANDS: Final = _of_redis("florin_redis_commands_total", "Commands that Redis has done.")
REDIS_EVICTED: Final = _of_redis(
    "florin_redis_evicted_keys_total", "Keys that Redis has dropped for want of memory; a queue must never lose any."
)
REDIS_REJECTED: Final = _of_redis(
    "florin_redis_rejected_connections_total", "Connections refused because there were too many."
)
