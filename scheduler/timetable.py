"""Every job, how often it is due, and why. A tick only says 'look': what there is to do is read from rows."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from psycopg import Connection

from processor import collect
from processor.proofs.proof import Limits
from processor.prove import Prover, Result, raise_for_errors
from processor.settings import Settings
from processor.store import jobs as job_store
from processor.store import notices, system_accounts
from scheduler.jobs import Job
from scheduler.services import Services
from workers import notify

_FORGET_AT_ONCE: Final = 10_000
_LOOK_FOR_FULL_S: Final = 600
_KEEP_IDLE_RUNS: Final = timedelta(days=1)


def _sweep(services: Services) -> int:
    return services.sweeper.sweep()


def _roll_forward(services: Services) -> int:
    """Returns the number of steps, each over a slice of the log."""
    steps = 0
    more: bool | None = True
    with services.pool.connection() as conn:
        while more and not services.stop.is_set():
            more = system_accounts.roll_forward(conn, now=services.now())
            steps += more is not None
    return steps


def _collect(services: Services) -> int:
    return services.collector.collect()


def _expire_holds(services: Services) -> int:
    return services.expirer.expire()


def _check_advances(services: Services) -> int:
    return collect.watch_advances(services.pool)


def _seal(services: Services) -> int:
    return services.sealer.seal()


def _notify(services: Services) -> int:
    """Returns the number of notices that are due."""
    with services.pool.connection() as conn:
        due = notices.count_due(conn, now=services.now())
    if due:
        notify.ask()
    return due


def _prove(services: Services) -> int:
    """Returns the number of breaks."""
    with services.pool.connection() as conn:
        return _breaks(_prover(services, conn).run_all())


def _prove_full(services: Services) -> int:
    """When each was last proven is read from rows: neither a new leader nor a restart begins all of them again."""
    every = timedelta(seconds=services.settings.prove_full_every_s)
    with services.pool.connection() as conn:
        prover = _prover(services, conn)
        return _breaks(prover.run_all(prover.due(every), is_full=True))


def _prover(services: Services, conn: Connection) -> Prover:
    return Prover(
        conn,
        now=services.now,
        limits=proof_limits(services.settings),
        stopped=services.stop.is_set,
        pause=services.stop.wait,
        keep_runs=timedelta(days=services.settings.keep_runs_days),
    )


def _breaks(results: Sequence[Result]) -> int:
    raise_for_errors(results)
    return sum(len(result.breaks) for result in results)


def proof_limits(settings: Settings) -> Limits:
    """What the settings, and the timetable, allow before it is wrong."""
    return Limits(
        rules=settings.rules(),
        pending=timedelta(seconds=settings.pending_limit_s),
        clock=timedelta(seconds=settings.clock_tolerance_s),
        # As `florin jobs list` has it: a job is late after three periods and a minute.
        periods={job.name: timedelta(seconds=3 * job.period_s(settings) + 60) for job in JOBS},
    )


def _forget_runs(services: Services) -> int:
    before = services.now() - timedelta(days=services.settings.keep_runs_days)
    idle_before = services.now() - _KEEP_IDLE_RUNS
    return _forget(services, partial(job_store.forget_runs, before=before, idle_before=idle_before))


def _forget_batches(services: Services) -> int:
    before = services.now() - timedelta(days=services.settings.keep_runs_days)
    return _forget(services, partial(job_store.forget_batches, before=before))


def _forget(services: Services, delete: Callable[..., int]) -> int:
    """Delete slice by slice, each in a transaction of its own, until a slice is not full."""
    forgotten = 0
    with services.pool.connection() as conn:
        while not services.stop.is_set():
            deleted = delete(conn, limit=_FORGET_AT_ONCE)
            forgotten += deleted
            if deleted < _FORGET_AT_ONCE:
                break
    return forgotten


JOBS: Final = (
    Job(
        "sweep",
        "Redis may lose a message: commands that seem stranded are sent again.",
        lambda settings: settings.sweep_every_s,
        _sweep,
    ),
    Job(
        "roll_forward",
        "The bank's own balances are a checkpoint and the transfers after it: those must stay few.",
        lambda settings: settings.roll_forward_every_s,
        _roll_forward,
    ),
    Job(
        "collect",
        "An instalment whose day has come becomes a collect command.",
        lambda settings: settings.collect_every_s,
        _collect,
    ),
    Job(
        "expire_holds",
        "Money on hold whose time is over becomes an expire_hold command: it is its owner's again.",
        lambda settings: settings.expire_holds_every_s,
        _expire_holds,
    ),
    Job(
        "check_advances",
        "An advance that does not add up to its instalments is shown to a person.",
        lambda settings: settings.check_advances_every_s,
        _check_advances,
    ),
    Job(
        "seal",
        "Whoever rewrites history is found out: it is sealed in blocks, and the newest is made known outside.",
        lambda settings: settings.seal_every_s,
        _seal,
    ),
    Job(
        "notify",
        "An alert that opens or ends is told to people: the workers are asked to deliver what waits in the outbox.",
        lambda settings: settings.notify_every_s,
        _notify,
    ),
    Job(
        "prove",
        "The books prove themselves: what is new, and what was in doubt, is held to every proof.",
        lambda settings: settings.prove_every_s,
        _prove,
    ),
    Job(
        "prove_full",
        "Whoever changes old rows is found as well: each proof goes over everything once a week, or as it is set.",
        lambda settings: min(_LOOK_FOR_FULL_S, settings.prove_full_every_s),
        _prove_full,
    ),
    Job(
        "forget_runs",
        "The record of jobs grows with every run: old ones are deleted.",
        lambda settings: settings.forget_runs_every_s,
        _forget_runs,
    ),
    Job(
        "forget_deliveries",
        "How each command was delivered is of use for a while: old records of it are deleted.",
        lambda settings: settings.forget_runs_every_s,
        _forget_batches,
    ),
)
