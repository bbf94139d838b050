"""`florin keys`: give a client its API key, see who has which, and take one back."""

from datetime import datetime
from typing import Annotated

import typer

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from processor import keys

app = typer.Typer(
    name="keys", no_args_is_help=True, add_completion=False, help="Give out, list and take back API keys."
)


@app.command()
def create(
    client: Annotated[str, typer.Argument(help="The upstream system; made if it is new.")],
    scopes: Annotated[str, typer.Option(help=f"Any of {', '.join(keys.SCOPES)}, with commas between.")],
    data_dir: DataDir = None,
) -> None:
    """Make a key for a client, and print it: once, since only its hash is kept."""
    with connected(addresses.database(data_dir), "florin keys") as conn:
        try:
            key = keys.create(conn, client, [scope.strip() for scope in scopes.split(",")])
        except ValueError as error:
            fail(str(error), exit_code=2)
    typer.echo(key)
    typer.echo("This is the only time that the key is shown: give it to the client now.", err=True)


@app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """Show every key by its prefix, with its client and scopes."""
    lines = [("CLIENT", "PREFIX", "SCOPES", "CREATED", "REVOKED")]
    with connected(addresses.database(data_dir), "florin keys") as conn:
        for row in keys.listed(conn):
            scopes = ",".join(row.scopes)
            lines.append((row.client, row.prefix, scopes, _minute(row.created_at), _minute(row.revoked_at)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="What stands between the first two underscores of the key.")],
    data_dir: DataDir = None,
) -> None:
    """End a key: every process refuses it within seconds."""
    with connected(addresses.database(data_dir), "florin keys") as conn:
        if not keys.revoke(conn, prefix):
            fail(f"there is no live key with the prefix {prefix}: see `florin keys list`")
    typer.echo(f"The key {prefix} is revoked.")


def _minute(instant: datetime | None) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M%z") if instant else "-"
