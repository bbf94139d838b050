"""When the scheduler's jobs succeeded."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection

# Of each job, the longest time between two successes that ended after an instant, from the last one before that on.
SELECT_GAPS: Final[LiteralString] = """
    SELECT wanted.job, last.ended_at, longest.began_at, longest.ended_at
    FROM unnest(%(jobs)s::text[]) AS wanted (job)
    LEFT JOIN LATERAL (
        SELECT ended_at FROM job_run WHERE job_run.job = wanted.job AND result = 'success'
        ORDER BY started_at DESC, id DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT began_at, ended_at FROM (
            SELECT lag(ended_at) OVER (ORDER BY started_at, id) AS began_at, ended_at
            FROM job_run
            WHERE job_run.job = wanted.job AND result = 'success' AND started_at >= coalesce((
                SELECT max(before.started_at) FROM job_run AS before
                WHERE before.job = wanted.job AND before.result = 'success' AND before.ended_at <= %(since)s
            ), '-infinity')
        ) AS run
        WHERE began_at IS NOT NULL AND ended_at > %(since)s
        ORDER BY ended_at - began_at DESC LIMIT 1
    ) AS longest ON true
    ORDER BY wanted.job
"""

Gap = tuple[str, datetime | None, datetime | None, datetime | None]


def gaps(conn: Connection[Any], jobs: Sequence[str], *, since: datetime) -> list[Gap]:
    """
    Of each job, when it last succeeded; and from when to when was the longest time without a success.

    Only times that ended ``since`` an instant.
    """
    return conn.execute(SELECT_GAPS, {"jobs": list(jobs), "since": since}).fetchall()
