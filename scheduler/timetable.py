"""Every job, how often it is due, and why. A tick only says 'look': what there is to do is read from rows."""

from datetime import timedelta
from typing import Final

from processor import collect
from processor.store import jobs as job_store
from processor.store import system_accounts
from scheduler.jobs import Job
from scheduler.services import Services

_FORGET_AT_ONCE: Final = 10_000
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


def _check_advances(services: Services) -> int:
    return collect.watch_advances(services.pool, now=services.now, rules=services.rules)


def _forget_runs(services: Services) -> int:
    now = services.now()
    forgotten = 0
    with services.pool.connection() as conn:
        while not services.stop.is_set():
            deleted = job_store.forget_runs(
                conn,
                before=now - timedelta(days=services.settings.keep_runs_days),
                idle_before=now - _KEEP_IDLE_RUNS,
                limit=_FORGET_AT_ONCE,
            )
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
        "check_advances",
        "An advance that does not add up to its instalments, or one overdue, is shown to a person.",
        lambda settings: settings.check_advances_every_s,
        _check_advances,
    ),
    Job(
        "forget_runs",
        "The record of jobs grows with every run: old ones are deleted.",
        lambda settings: settings.forget_runs_every_s,
        _forget_runs,
    ),
)
