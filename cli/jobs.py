"""`florin jobs`: how the scheduler's jobs are doing, and run one now."""

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.settings import settings_of
from processor import clock, logs
from processor.settings import Settings
from processor.store import jobs as job_store
from processor.store.jobs import LastRun
from scheduler import services
from scheduler.jobs import Job, is_late, run
from scheduler.timetable import JOBS

app = typer.Typer(
    name="jobs", no_args_is_help=True, add_completion=False, help="See how the scheduler's jobs are doing; run one."
)


@app.command("list")
def list_jobs(
    reasons: Annotated[bool, typer.Option("--reasons", help="Say what each job is for.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Show every job with its last run. Exits with 1 if one is late or failed, so that a script can ask.

    How often a job is due is read from this command's environment, which should be the scheduler's.
    """
    database_url = addresses.database(data_dir)
    settings = settings_of(database_url)
    with connected(database_url, "florin jobs") as conn:
        last_runs = job_store.last_runs(conn, [job.name for job in JOBS])
    lines: list[tuple[str, ...]] = [("NAME", "EVERY", "LAST RUN (UTC)", "RESULT", "TOOK", "EMITTED")]
    lines += [_line(job, last, settings) for job, last in zip(JOBS, last_runs, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    heading, *rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    typer.echo(heading)
    all_is_well = True
    for job, last, row in zip(JOBS, last_runs, rows, strict=True):
        late = is_late(period_s=job.period_s(settings), last_success_at=last.last_success_at, now=clock.now())
        all_is_well = all_is_well and not late and last.result in ("success", None)
        typer.echo(row)
        for remark in _remarks(job, last, late=late, reasons=reasons):
            typer.echo(f"    {remark}")
    raise typer.Exit(0 if all_is_well else 1)


@app.command("run")
def run_job(
    name: Annotated[str, typer.Argument(help="As `florin jobs list` has it.")], data_dir: DataDir = None
) -> None:
    """Run a job now, in this process, whoever leads: what is done twice does no harm. It is recorded as any run is."""
    known = {job.name: job for job in JOBS}
    if name not in known:
        fail(f"there is no job {name}: the jobs are {', '.join(known)}", exit_code=2)
    database_url = addresses.database(data_dir)
    settings = settings_of(database_url, addresses.queue(data_dir))
    logs.for_a_command()
    with (
        connected(database_url, "florin jobs"),
        services.opened(settings, services.queue_of(settings), connections=1, stop=threading.Event()) as provided,
    ):
        ended = run(known[name], provided)
    if ended.error is not None:
        fail(f"{name} failed: {ended.words}")
    typer.echo(f"{name} emitted {ended.emitted}.")


def _line(job: Job, last: LastRun, settings: Settings) -> tuple[str, ...]:
    if last.started_at is None or last.ended_at is None:
        return (job.name, _duration(job.period_s(settings)), "-", "-", "-", "-")
    return (
        job.name,
        _duration(job.period_s(settings)),
        _second(last.started_at),
        last.result or "-",
        f"{(last.ended_at - last.started_at).total_seconds():.3f} s",
        "-" if last.emitted is None else str(last.emitted),
    )


def _remarks(job: Job, last: LastRun, *, late: bool, reasons: bool) -> Iterator[str]:
    """What a person should know beyond the figures, in lines."""
    if reasons:
        yield job.reason
    if late:
        last_success = _second(last.last_success_at) if last.last_success_at else "never"
        yield f"LATE: last success {last_success}"
    if last.running_since:
        yield f"running since {_second(last.running_since)}"
    if last.error:
        yield f"error: {last.error}"
    if last.result == "lost":
        yield "lost: its scheduler died before it ended"


def _duration(seconds: float) -> str:
    """In the largest unit that has a whole number of them."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:g} s"


def _second(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S")
