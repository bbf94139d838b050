"""Runs of the scheduler's jobs: each is a row from its start, so that one that never ended is seen as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from psycopg import Connection

INSERT_RUN: Final[LiteralString] = "INSERT INTO job_run (job, started_at) VALUES (%b, %b) RETURNING id"

# Whatever stands there: a run that another leader took for lost ended after all, and says how.
END_RUN: Final[LiteralString] = """
    UPDATE job_run SET ended_at = %(ended_at)b, result = %(result)b, emitted = %(emitted)b, error = %(error)b
    WHERE id = %(id)b
"""

MARK_LOST: Final[LiteralString] = "UPDATE job_run SET ended_at = %b, result = 'lost' WHERE ended_at IS NULL"

# The last run of each kind stays however old it is: when a job last succeeded is known even if it is due once a year.
# A slice at a time, the oldest first: no statement is long however much there is.
DELETE_RUNS: Final[LiteralString] = """
    DELETE FROM job_run WHERE id IN (
        SELECT id FROM job_run
        WHERE (ended_at < %(before)b OR (ended_at < %(idle_before)b AND result = 'success' AND emitted = 0))
        AND id NOT IN (SELECT max(id) FROM job_run GROUP BY job, result)
        ORDER BY id LIMIT %(limit)b
    )
"""

# How commands came to their workers, the oldest first and a slice at a time.
DELETE_BATCHES: Final[LiteralString] = """
    DELETE FROM apply_batch WHERE xid IN (
        SELECT xid FROM apply_batch WHERE decided_at < %b ORDER BY decided_at LIMIT %b
    )
"""

# An open run that is older than one that ended is nobody's any more: its end could not be recorded.
SELECT_LAST: Final[LiteralString] = """
    SELECT
        wanted.job, ended.started_at, ended.ended_at, ended.result, ended.emitted, ended.error,
        under_way.started_at, success.ended_at
    FROM unnest(%b::text[]) WITH ORDINALITY AS wanted (job, place)
    LEFT JOIN LATERAL (
        SELECT * FROM job_run
        WHERE job_run.job = wanted.job AND ended_at IS NOT NULL
        ORDER BY started_at DESC, id DESC LIMIT 1
    ) AS ended ON true
    LEFT JOIN LATERAL (
        SELECT started_at FROM job_run
        WHERE job_run.job = wanted.job AND ended_at IS NULL
        AND started_at >= coalesce(ended.started_at, '-infinity')
        ORDER BY started_at LIMIT 1
    ) AS under_way ON true
    LEFT JOIN LATERAL (
        SELECT ended_at FROM job_run
        WHERE job_run.job = wanted.job AND result = 'success'
        ORDER BY started_at DESC, id DESC LIMIT 1
    ) AS success ON true
    ORDER BY wanted.place
"""


@dataclass(frozen=True, slots=True)
class LastRun:
    """What is known of a job: its last run that ended, whether one is under way, and when one last succeeded."""

    job: str
    started_at: datetime | None
    ended_at: datetime | None
    result: str | None
    emitted: int | None
    error: str | None
    running_since: datetime | None
    last_success_at: datetime | None


def begin_run(conn: Connection, job: str, *, now: datetime) -> int:
    """Note that a run begins, and return its id."""
    row = conn.execute(INSERT_RUN, [job, now]).fetchone()
    assert row is not None
    return int(row[0])


def end_run(conn: Connection, run_id: int, *, emitted: int | None, error: str | None, now: datetime) -> None:
    """Note how a run ended: an ``error`` is what is wrong, and without one it ``emitted`` something or nothing."""
    result = "success" if error is None else "error"
    conn.execute(END_RUN, {"id": run_id, "ended_at": now, "result": result, "emitted": emitted, "error": error})


def mark_lost(conn: Connection, *, now: datetime) -> int:
    """End the runs that nobody ended, and return how many those were."""
    return conn.execute(MARK_LOST, [now]).rowcount


def forget_runs(conn: Connection, *, before: datetime, idle_before: datetime, limit: int) -> int:
    """
    Delete ``limit`` runs at most that ended ``before`` an instant, and return how many those were.

    Those that succeeded and emitted nothing go if they ended ``idle_before`` another one.
    """
    return conn.execute(DELETE_RUNS, {"before": before, "idle_before": idle_before, "limit": limit}).rowcount


def forget_batches(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete ``limit`` records of transactions at most that decided ``before`` an instant, and return how many."""
    return conn.execute(DELETE_BATCHES, [before, limit]).rowcount


def last_runs(conn: Connection, jobs: Sequence[str]) -> list[LastRun]:
    """What is known of each of the ``jobs``, in their order."""
    return [LastRun(*row) for row in conn.execute(SELECT_LAST, [list(jobs)])]
