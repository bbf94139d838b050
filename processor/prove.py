"""Runs the proofs: reads in one snapshot, then writes what was found, in one short transaction."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection

from processor import alerts, telemetry
from processor.breaks import Break
from processor.errors import ProcessorError
from processor.logs import in_short
from processor.proofs import PROOFS
from processor.proofs.proof import Interrupted, Limits, Proof, Scope
from processor.store import proofs as proof_store
from processor.store.proofs import State
from processor.store.proving import log as log_store

log = structlog.get_logger()

MAX_BREAKS: Final = 200
"""Breaks of one proof that are told one by one. The rest is counted."""

_KEEP_CLEAN_RUNS: Final = timedelta(days=1)


_TRIES_IN_FULL: Final = 5
_PAUSE_S: Final = 1.0


class ProofsError(ProcessorError):
    """Some proofs could not be run to their end: whether the books are right is not known."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run led to: what it found wrong of how much that it ``checked``; or the ``error`` that ended it."""

    proof: Proof
    is_full: bool
    started_at: datetime
    ended_at: datetime
    checked: int = 0
    breaks: Sequence[Break] = ()
    error: str | None = None


class Prover:
    """One run at a time of each proof, whoever asks for it: what another process is at is left to it."""

    def __init__(
        self,
        conn: Connection[Any],
        *,
        now: Callable[[], datetime],
        limits: Limits,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], object] = time.sleep,
        keep_runs: timedelta = timedelta(days=30),
        max_breaks: int = MAX_BREAKS,
        page: int = 20_000,
    ) -> None:
        self._conn = conn
        self._now = now
        self._limits = limits
        self._stopped = stopped
        self._pause = pause
        self._keep_runs = keep_runs
        self._max_breaks = max_breaks
        self._page = page

    def due(self, every: timedelta) -> list[Proof]:
        """The proofs that did not run over everything for so long."""
        ran = proof_store.full_since(self._conn, self._now() - every)
        return [proof for proof in PROOFS if proof.name not in ran]

    def run_all(self, proofs: Iterable[Proof] = PROOFS, *, is_full: bool = False) -> list[Result]:
        """Run the proofs one after the other. One that fails is no reason to leave out the next."""
        results = (self.run(proof, is_full=is_full) for proof in proofs if not self._stopped())
        return [result for result in results if result is not None]

    def run(self, proof: Proof, *, is_full: bool = False) -> Result | None:
        """
        Run a proof over what is new and what is suspected, or over everything. What goes wrong is returned, not raised.

        ``None`` if there was no time to end it, or another run of it was under way or came to its end first; over
        everything, it is tried again a few times then.
        """
        started_at = self._now()
        try:
            with telemetry.proof_seconds.labels(proof.name).time():
                result = self._run(proof, is_full, started_at)
                for _ in range(_TRIES_IN_FULL if is_full else 0):
                    # The run of every minute came first. It must not keep this one, which is due once a week, from ever
                    # being counted.
                    if result is not None or self._stopped():
                        break
                    self._pause(_PAUSE_S)
                    result = self._run(proof, is_full, self._now())
        except Interrupted:
            return None
        except Exception as error:
            result = Result(proof, is_full, started_at, self._now(), error=in_short(error))
            self._record_failure(result)
        if result is not None:
            _count(result)
        return result

    def _run(self, proof: Proof, is_full: bool, started_at: datetime) -> Result | None:
        read = self._read(proof, is_full, started_at)
        if read is None:
            return None
        before, scope, breaks = read
        ended_at = self._now()
        with self._conn.transaction():
            kept = proof_store.put_state(
                self._conn,
                proof.name,
                before,
                below_xid=scope.below_xid,
                memory=scope.memory,
                breaks=len(breaks),
                is_full=is_full,
                now=started_at,
            )
            if not kept:
                return None
            result = Result(proof, is_full, started_at, ended_at, scope.checked, breaks)
            self._record(result)
            alerts.report(self._conn, proof.name, breaks, now=ended_at)
        return result

    def _read(self, proof: Proof, is_full: bool, now: datetime) -> tuple[State, Scope, list[Break]] | None:
        """What the proof finds in the snapshot of one transaction, which reads only."""
        conn = self._conn
        with conn.transaction():
            below_xid, end_xid = log_store.take_snapshot(conn)
            if not proof_store.try_lock(conn, proof.name):
                return None
            before = proof_store.state(conn, proof.name)
            # Transaction numbers belong to a cluster. Those of another one, from a dump, say nothing here.
            known = before if before.below_xid <= end_xid else State(runs=before.runs)
            suspects = alerts.open_subjects(conn, proof.name)
            scope = Scope(
                is_full=is_full,
                since_xid=0 if is_full else known.below_xid,
                below_xid=below_xid,
                suspects=suspects,
                now=now,
                ran_at=known.ran_at,
                limits=self._limits,
                memory=dict(known.memory or {}),
                stopped=self._stopped,
                page=self._page,
            )
            return before, scope, _bounded(proof, scope, proof.check(conn, scope), self._max_breaks)

    def _record(self, result: Result) -> None:
        is_known = result.error is None
        proof_store.record_run(
            self._conn,
            result.proof.name,
            is_full=result.is_full,
            started_at=result.started_at,
            ended_at=result.ended_at,
            checked=result.checked if is_known else None,
            breaks=len(result.breaks) if is_known else None,
            error=result.error,
        )
        proof_store.forget_runs(
            self._conn,
            result.proof.name,
            before=result.ended_at - self._keep_runs,
            idle_before=result.ended_at - _KEEP_CLEAN_RUNS,
        )

    def _record_failure(self, result: Result) -> None:
        log.error("proof.failed", proof=result.proof.name, error=result.error)
        try:
            self._record(result)
        except psycopg.Error as error:
            log.warning("proof.unrecorded", proof=result.proof.name, error=in_short(error))


def raise_for_errors(results: Sequence[Result]) -> None:
    """Raise ``ProofsError`` if a proof could not be run to its end."""
    if failed := [f"{result.proof.name}: {result.error}" for result in results if result.error]:
        raise ProofsError("; ".join(failed))


def _bounded(proof: Proof, scope: Scope, found: Iterable[Break], limit: int) -> list[Break]:
    """
    One break for each subject: all that were there before, and new ones as long as there are not too many.

    One more says how many there are besides. Only a run over everything takes that one back: nobody else knows whether
    the uncounted ones are mended.
    """
    before = {suspect.subject for suspect in scope.suspects}
    subject = f"proof:{proof.name}"
    room = limit - len(before - {subject})
    kept: dict[str, Break] = {}
    others: set[str] = set()
    for each in found:
        if each.subject in kept or each.subject in others:
            continue
        if each.subject in before:
            kept[each.subject] = each
        elif room > 0:
            kept[each.subject] = each
            room -= 1
        else:
            others.add(each.subject)
    if others or (subject in before and not scope.is_full):
        kept[subject] = _more(proof, subject, len(others))
    return list(kept.values())


def _more(proof: Proof, subject: str, count: int) -> Break:
    return Break(
        proof=proof.name,
        subject=subject,
        expected="no more breaks than are told one by one",
        found=f"{count} more now" if count else "more when it last ran over everything",
        advice=f"Mend what is told, then run `florin prove --full {proof.name}`, which alone finds all that is left.",
    )


def _count(result: Result) -> None:
    name = result.proof.name
    outcome = "error" if result.error else "broken" if result.breaks else "proven"
    telemetry.proof_runs.labels(name, "all" if result.is_full else "new", outcome).inc()
    telemetry.proof_checked.labels(name).inc(result.checked)
