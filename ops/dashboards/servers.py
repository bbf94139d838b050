"""Postgres, where the money is, and Redis, which may lose what it has."""

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board
from ops.dashboards.panels import NONE_IS_BAD, NONE_IS_GOOD, Panel, Query, highest_rate, rising, series, stat
from ops.dashboards.runbooks import runbook


def servers() -> Board:
    """What the exporters read of both. Every host's exporter reads the same, so the largest is taken, never the sum."""
    return board(
        "servers",
        "Postgres and Redis",
        "The two servers that everything else needs: Postgres keeps the facts, Redis carries ids.",
        Section("Now", _now()),
        Section("Postgres", _postgres()),
        Section("Redis", _redis()),
    )


def _now() -> list[Panel]:
    return [
        stat(
            "Postgres",
            "Whether the exporters reach Postgres and can read every figure. 'Away': the intake answers 503 and "
            "nothing is decided; nothing is lost. See its log, its disk, its connections.",
            "max(florin_postgres_up)",
            steps=NONE_IS_BAD,
            words={"0": "away", "1": "up"},
            links=[runbook("postgresaway")],
        ),
        stat(
            "Redis",
            "Whether the exporters reach Redis. 'Away': commands are accepted and wait; they are decided once it "
            "is back.",
            "max(florin_redis_up)",
            steps=NONE_IS_BAD,
            words={"0": "away", "1": "up"},
            links=[runbook("redisaway")],
        ),
        stat(
            "Connections in use",
            "Share of the connections that Postgres takes. Good below 70 %. Near 100 %: new processes cannot "
            "start. Which pool is it? See the connections by pool in Queue and workers.",
            "max(florin_postgres_connections) / max(florin_postgres_max_connections)",
            unit=units.PercentUnit,
            steps=rising(0.7, 0.85),
            links=[runbook("connections")],
        ),
        stat(
            "Oldest transaction",
            "Age of the application's oldest open transaction. Good: a second or two. Minutes: followers of the "
            "log wait for it, and dead rows pile up. pg_stat_activity says whose it is.",
            "max(florin_postgres_oldest_transaction_age_seconds)",
            unit=units.Seconds,
            steps=rising(30, 300),
            ranges=[(None, 0, "none")],
            links=[runbook("watermarklagging")],
        ),
        stat(
            "Found in cache",
            "Share of blocks that Postgres found in its own cache, over five minutes. Good above 99 %. Below 95 % "
            "for long: give shared_buffers more memory.",
            "max(rate(florin_postgres_blocks_hit_total[5m])) "
            "/ (max(rate(florin_postgres_blocks_hit_total[5m])) + max(rate(florin_postgres_blocks_read_total[5m])))",
            unit=units.PercentUnit,
            steps=((None, "orange"), (0.95, "green")),
            decimals=1,
        ),
        stat(
            "Redis evicted keys",
            "Messages that Redis has dropped for want of memory since it started. Good is none, always. Any: its "
            "maxmemory-policy is not noeviction. No money is lost, the sweeper sends again; mend the setting.",
            "max(florin_redis_evicted_keys_total)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            links=[runbook("redismemorynearlimit")],
        ),
    ]


def _postgres() -> list[Panel]:
    return [
        series(
            "Transactions",
            "Commits and rollbacks per second. Good: rollbacks near zero. Many: see the retries in Queue and workers.",
            Query(highest_rate("florin_postgres_commits_total"), "commits"),
            Query(highest_rate("florin_postgres_rollbacks_total"), "rollbacks"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
        series(
            "Connections",
            "Good: far below the limit. Steps upward are new processes.",
            Query("max(florin_postgres_connections)", "connections"),
            Query("max(florin_postgres_max_connections)", "limit"),
            size=(8, 8),
            links=[runbook("connections")],
        ),
        series(
            "Waiting for locks, and deadlocks",
            "Sessions that wait for a lock, and deadlocks in five minutes. Good: a few that wait for an account's "
            "lock, no deadlocks ever: all workers lock in the same order, so a deadlock is a person's session or a "
            "bug.",
            Query("max(florin_postgres_lock_waiters)", "waiting"),
            Query("max(increase(florin_postgres_deadlocks_total[5m]))", "deadlocks"),
            size=(8, 8),
        ),
        series(
            "Age of the oldest transaction",
            "Good: a second or two. A slope of one second a second is a transaction that somebody left open.",
            Query("max(florin_postgres_oldest_transaction_age_seconds)", "oldest"),
            unit=units.Seconds,
            steps=((None, "transparent"), (30, "orange"), (300, "red")),
            size=(8, 8),
            links=[runbook("watermarklagging")],
        ),
        series(
            "Write-ahead log and temporary files",
            "Bytes per second. Log follows what is settled. Temporary files should be none: a query sorts more "
            "than work_mem holds.",
            Query(highest_rate("florin_postgres_wal_bytes_total"), "write-ahead log"),
            Query(highest_rate("florin_postgres_temp_bytes_total"), "temporary files"),
            unit=units.BytesPerSecondIEC,
            size=(8, 8),
        ),
        series(
            "Blocks",
            "Found in Postgres's cache, and read from disk or the system's cache, per second. Good: reads near zero.",
            Query(highest_rate("florin_postgres_blocks_hit_total"), "found"),
            Query(highest_rate("florin_postgres_blocks_read_total"), "read"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
        series(
            "Size of tables",
            "Tables with their indexes, and the database. History only grows: plan the disk by this slope.",
            Query("max by (table) (florin_postgres_table_bytes)", "{{table}}"),
            Query("max(florin_postgres_database_bytes)", "whole database"),
            unit=units.BytesIEC,
        ),
        series(
            "Dead rows",
            "Rows that vacuum has yet to clear, as estimated. Good: rises and falls. Only rising: autovacuum does "
            "not get to the table, mostly because of an old transaction.",
            Query("max by (table) (florin_postgres_table_dead_rows)", "{{table}}"),
        ),
    ]


def _redis() -> list[Panel]:
    return [
        series(
            "Memory",
            "Used, and the limit (zero: none is set). Good: flat, some megabytes. Near the limit, Redis takes no "
            "more messages; the sweeper sends them later.",
            Query("max(florin_redis_used_memory_bytes)", "used"),
            Query("max(florin_redis_max_memory_bytes)", "limit"),
            unit=units.BytesIEC,
            size=(8, 8),
            links=[runbook("redismemorynearlimit")],
        ),
        series(
            "Commands and refused connections",
            "What Redis does per second; idle workers ask too. Good: no refused connections.",
            Query(highest_rate("florin_redis_commands_total"), "commands"),
            Query(highest_rate("florin_redis_rejected_connections_total"), "refused connections"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
        series(
            "Clients",
            "Connections. Good: a few for each process, and flat. Only rising: somebody does not close theirs.",
            Query("max(florin_redis_connected_clients)", "clients"),
            size=(8, 8),
        ),
        series(
            "Up since",
            "Age of the Redis process. A fall to zero is a restart: the messages it had may be gone, and the "
            "sweeper has sent them again within seconds.",
            Query("max(florin_redis_uptime_seconds)", "Redis"),
            unit=units.Seconds,
            size=(24, 6),
        ),
    ]
