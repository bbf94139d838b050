"""`florin prove-inclusion`: a file with which an outsider checks that a command is in the sealed history."""

import json
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from psycopg import Connection

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from processor.domain import merkle
from processor.store import seals

FORMAT: Final = "florin inclusion proof 1"

_NOT_YET: Final = 3
"""The exit code that says: ask again later."""

_LONGEST: Final = 10_000
"""Headers in a proof, at most: it is meant to be small."""


def prove_inclusion(
    command_id: Annotated[str, typer.Argument(help="As the receipt has it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Where to write the proof.", show_default="standard output")] = None,
    to: Annotated[int | None, typer.Option(min=1, help="The last block to name.", show_default="the newest")] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Write a proof that a settled command is in its block, and the block in the chain.

    `python3 tools/verify_inclusion.py PROOF --roots FILE` checks it, anywhere, without Florin. Exits with 3 if the
    command is pending or not sealed yet.
    """
    try:
        id_ = UUID(command_id)
    except ValueError:
        fail(f"{command_id} is no command's id: give the `id` of the receipt", exit_code=2)
    with connected(addresses.database(data_dir), "florin prove-inclusion") as conn:
        proof = _prove(conn, id_, to)
    document = json.dumps(proof, ensure_ascii=False, indent=1) + "\n"
    if out is None:
        typer.echo(document, nl=False)
        return
    try:
        out.write_text(document, encoding="utf-8")
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}", exit_code=2)
    typer.echo(f"Wrote {out}: check it with python3 tools/verify_inclusion.py {out} --roots FILE", err=True)


def _prove(conn: Connection, command_id: UUID, to: int | None) -> dict[str, Any]:
    found = seals.find_command(conn, command_id)
    if found is None:
        fail(f"there is no command {command_id}")
    position, is_settled = found
    if not is_settled:
        fail(f"command {command_id} is pending: there is nothing to prove before its outcome", exit_code=_NOT_YET)
    sealed = seals.block_of(conn, position)
    if sealed is None:
        fail(f"command {command_id} is not sealed yet: the next run of the job `seal` does it", exit_code=_NOT_YET)
    number, index = sealed
    newest = seals.newest(conn)
    highest = newest.header.number if newest else number
    last = to or highest
    if not number <= last <= highest:
        fail(f"--to {last}: the command is in block {number}, and the newest is {highest}", exit_code=2)
    if last - number >= _LONGEST:
        fail(f"the chain from block {number} to {last} is long: give --to the next block whose hash is published")
    leaves = seals.leaves(conn, number, number)[number]
    record = seals.records(conn, [position]).get(position)
    canonical = merkle.canonical(record) if record else b""
    if merkle.leaf_hash(canonical) != leaves.hashes[index]:
        fail(f"command {command_id} is not as it was sealed in block {number}: run `florin verify`")
    return {
        "format": FORMAT,
        "record": canonical.decode(),
        "index": index,
        "path": [each.hex() for each in merkle.audit_path(leaves.hashes, index)],
        "headers": [each.header.fields() for each in seals.headers(conn, number, last)],
    }
