"""`florin prove`: run the proofs now, and say what is wrong, with what is to be done about it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.settings import settings_of
from cli.tables import print_table
from processor import clock, logs
from processor.breaks import Break
from processor.proofs import PROOFS
from processor.proofs.proof import Proof
from processor.prove import Prover, Result
from scheduler.timetable import proof_limits


def prove(
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Proofs to run.", show_default="all")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Look at everything, not only at what is new.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Run the proofs now. Exits with 1 if the books are wrong somewhere, or that could not be found out.

    A run is recorded, and opens and closes alerts, as the scheduler's do. What is late, or pending for too long, is
    read from this command's environment, which should be the scheduler's.
    """
    proofs = _named(names or [])
    database_url = addresses.database(data_dir)
    limits = proof_limits(settings_of(database_url))
    logs.for_a_command()
    with connected(database_url, "florin prove") as conn:
        prover = Prover(conn, now=clock.now, limits=limits)
        ended: list[tuple[Proof, Result | None]] = []
        for proof in proofs:
            # In full, a proof may take minutes.
            with _waiting(proof, shown=not as_json):
                ended.append((proof, prover.run(proof, is_full=full)))
    if as_json:
        typer.echo(orjson.dumps([_document(proof, result) for proof, result in ended], option=orjson.OPT_INDENT_2))
    else:
        print_table(_table(ended))
        for line in _lines([each for _, result in ended if result for each in result.breaks]):
            typer.echo(line)
    all_is_well = all(result is not None and not result.error and not result.breaks for _, result in ended)
    raise typer.Exit(0 if all_is_well else 1)


def _named(names: Sequence[str]) -> Sequence[Proof]:
    known = {proof.name: proof for proof in PROOFS}
    if unknown := [name for name in names if name not in known]:
        fail(f"there is no proof {', '.join(unknown)}: the proofs are {', '.join(known)}", exit_code=2)
    return [known[name] for name in dict.fromkeys(names)] or PROOFS


def _waiting(proof: Proof, *, shown: bool) -> AbstractContextManager[Any]:
    return Console(stderr=True).status(f"proving {proof.name}") if shown else nullcontext()


def _table(ended: Sequence[tuple[Proof, Result | None]]) -> Table:
    table = Table(title_justify="left")
    for name in ("proof", "scope"):
        table.add_column(name)
    for name in ("checked", "breaks", "took"):
        table.add_column(name, justify="right")
    table.add_column("")
    for proof, result in ended:
        if result is None:
            table.add_row(proof.name, "-", "-", "-", "-", "under way elsewhere: run it again")
        elif result.error:
            table.add_row(proof.name, _scope(result), "-", "-", _took(result), result.error)
        else:
            table.add_row(proof.name, _scope(result), f"{result.checked:,}", f"{len(result.breaks):,}", _took(result))
    return table


def _scope(result: Result) -> str:
    return "all" if result.is_full or not result.proof.is_incremental else "new"


def _took(result: Result) -> str:
    return f"{(result.ended_at - result.started_at).total_seconds():.3f} s"


def _lines(breaks: Sequence[Break]) -> Iterator[str]:
    """Each break, beneath the table."""
    for each in breaks:
        yield ""
        yield f"{each.proof}  {each.subject}"
        yield f"    expected  {each.expected}"
        yield f"    found     {each.found}"
        if each.since:
            yield f"    since     {each.since:%Y-%m-%d %H:%M:%S} UTC"
        yield f"    to do     {each.advice}"


def _document(proof: Proof, result: Result | None) -> dict[str, Any]:
    """A result for a program. Without one, another process is at it."""
    if result is None:
        return {"proof": proof.name, "result": "under way elsewhere"}
    return {
        "proof": proof.name,
        "result": "error" if result.error else "broken" if result.breaks else "proven",
        "scope": _scope(result),
        "started_at": result.started_at,
        "ended_at": result.ended_at,
        "checked": result.checked,
        "error": result.error,
        "breaks": [
            {
                "subject": each.subject,
                "severity": each.severity.value,
                "account": each.account,
                "position": each.position,
                "expected": each.expected,
                "found": each.found,
                "since": each.since,
                "advice": each.advice,
            }
            for each in result.breaks
        ],
    }
