"""How far each proof has come, and the record of its runs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from zlib import crc32

from psycopg import Connection
from psycopg.types.json import Jsonb

from processor.store import locks

# A proof's lock is in a space of its own: one run at a time of each, without a wait.
_SPACE: Final = 0x50524F56

SELECT_STATE: Final[LiteralString] = """
    SELECT runs, below_xid::text::bigint, memory, ran_at, proven_at, proven_full_at, ran_full_at, breaks
    FROM proof_state WHERE proof = %s
"""

SELECT_FULL: Final[LiteralString] = "SELECT proof FROM proof_state WHERE ran_full_at > %s"

# Only over the state that the run began with: what another run has found meanwhile is newer.
PUT_STATE: Final[LiteralString] = """
    INSERT INTO proof_state (
        proof, runs, below_xid, memory, ran_at, proven_at, proven_full_at, ran_full_at, breaks
    )
    VALUES (
        %(proof)s, %(runs)s + 1, %(below_xid)s::text::xid8, %(memory)s, %(now)s,
        CASE WHEN %(proven)s THEN %(now)s::timestamptz END,
        CASE WHEN %(proven)s AND %(is_full)s THEN %(now)s::timestamptz END,
        CASE WHEN %(is_full)s THEN %(now)s::timestamptz END, %(breaks)s
    )
    ON CONFLICT (proof) DO UPDATE
    SET runs = excluded.runs, below_xid = excluded.below_xid, memory = excluded.memory, ran_at = excluded.ran_at,
        proven_at = coalesce(excluded.proven_at, proof_state.proven_at),
        proven_full_at = coalesce(excluded.proven_full_at, proof_state.proven_full_at),
        ran_full_at = coalesce(excluded.ran_full_at, proof_state.ran_full_at), breaks = excluded.breaks
    WHERE proof_state.runs = %(runs)s
    RETURNING runs
"""

INSERT_RUN: Final[LiteralString] = """
    INSERT INTO proof_run (proof, is_full, started_at, ended_at, checked, breaks, error)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

# A clean run of every minute is of no interest for long. A slice at a time, the oldest first.
DELETE_RUNS: Final[LiteralString] = """
    DELETE FROM proof_run WHERE id IN (
        SELECT id FROM proof_run
        WHERE proof = %(proof)s
            AND (ended_at < %(before)s OR (ended_at < %(idle_before)s AND NOT is_full AND breaks = 0))
        ORDER BY ended_at LIMIT 1000
    )
"""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a proof. ``proven_at`` and ``proven_full_at`` are of runs that found nothing wrong."""

    runs: int = 0
    below_xid: int = 0
    memory: dict[str, Any] | None = None
    ran_at: datetime | None = None
    proven_at: datetime | None = None
    proven_full_at: datetime | None = None
    ran_full_at: datetime | None = None
    breaks: int = 0


def try_lock(conn: Connection[Any], proof: str) -> bool:
    """Keep other runs of the proof away to the end of the transaction, or say that there is one."""
    return locks.try_lock(conn, (_SPACE, _number(proof)))


def state(conn: Connection[Any], proof: str) -> State:
    """How far the proof has come."""
    row = conn.execute(SELECT_STATE, [proof]).fetchone()
    return State(*row) if row else State()


def full_since(conn: Connection[Any], instant: datetime) -> set[str]:
    """The proofs that ran over everything after an instant."""
    return {proof for (proof,) in conn.execute(SELECT_FULL, [instant])}


def put_state(
    conn: Connection[Any],
    proof: str,
    before: State,
    *,
    below_xid: int,
    memory: dict[str, Any],
    breaks: int,
    is_full: bool,
    now: datetime,
) -> bool:
    """Keep what a run led to, unless another one has ended since it saw the state ``before``: then say no."""
    row = conn.execute(
        PUT_STATE,
        {
            "proof": proof,
            "runs": before.runs,
            "below_xid": str(below_xid),
            "memory": Jsonb(memory),
            "now": now,
            "proven": breaks == 0,
            "is_full": is_full,
            "breaks": breaks,
        },
    ).fetchone()
    return row is not None


def record_run(
    conn: Connection[Any],
    proof: str,
    *,
    is_full: bool,
    started_at: datetime,
    ended_at: datetime,
    checked: int | None,
    breaks: int | None,
    error: str | None = None,
) -> None:
    """Note a run and how it ended."""
    conn.execute(INSERT_RUN, [proof, is_full, started_at, ended_at, checked, breaks, error])


def forget_runs(conn: Connection[Any], proof: str, *, before: datetime, idle_before: datetime) -> None:
    """Delete old runs: those ``before`` an instant, and ``idle_before`` another those that found nothing."""
    conn.execute(DELETE_RUNS, {"proof": proof, "before": before, "idle_before": idle_before})


def _number(proof: str) -> int:
    """The second half of the proof's lock: the same in every process."""
    return crc32(proof.encode()) & 0x7FFFFFFF
