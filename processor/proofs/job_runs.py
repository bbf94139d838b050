"""The scheduler's jobs run: none has been without a success for longer than it may."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break, Severity
from processor.proofs.proof import Proof, Scope
from processor.store.proving import jobs


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Look at the time since each job last succeeded, and at those between successes since this proof last ran.

    So a gap that is over is told once. A job that never ran is given its time from when this proof first heard of it.
    """
    periods = scope.limits.periods
    first_heard = {job: scope.memory.get(job, scope.now.isoformat()) for job in periods}
    since = scope.ran_at or scope.now
    for job, last_at, gap_from, gap_to in jobs.gaps(conn, list(periods), since=since):
        scope.count(1)
        began_at = last_at or datetime.fromisoformat(first_heard[job])
        if scope.now - began_at > periods[job]:
            yield _broken(job, scope, "no success since then" if last_at else "no success ever", began_at)
        elif gap_from and gap_to and gap_to - gap_from > periods[job]:
            yield _broken(job, scope, f"the next success at {gap_to}", gap_from)
    scope.memory = first_heard


def _broken(job: str, scope: Scope, found: str, since: datetime) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"job:{job}",
        expected=f"a success every {scope.limits.periods[job].total_seconds():.0f} s at the latest",
        found=found,
        advice="See `florin jobs list`: no scheduler leads, or the job fails. One that runs again makes up for it.",
        severity=Severity.TICKET,
        since=since,
    )


PROOF: Final = Proof("job_runs", "Every job of the scheduler succeeds as often as it should.", False, check)
