"""`florin explain`: the whole life of one command on one screen, from its receipt to its seal."""

from typing import Annotated, Any

import orjson
import redis
import typer
from rich.console import Console

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.explaining.document import document
from cli.explaining.screen import screen
from cli.failing import fail
from cli.naming import ClientName, MaybeKeyOrId, one_command
from processor import clock, explaining
from processor.store.life import find_oldest
from workers.broker import client as redis_client
from workers.peeking import Looked, look_for

_WIDEST = 100


def explain(
    key_or_id: MaybeKeyOrId = None,
    *,
    client: ClientName = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The command that waits longest, in line or held.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show all that is known of a command: receipt, deliveries, outcome, transfers, alerts, seal."""
    if oldest == (key_or_id is not None) or (oldest and client):
        fail("give the id, position or key of one command, or --oldest", exit_code=2)
    queue_url = addresses.queue_if_known(data_dir)
    with connected(addresses.database(data_dir), "florin explain") as conn:
        asked = find_oldest(conn) if key_or_id is None else one_command(conn, key_or_id, client)
        if asked is None:
            typer.echo("null" if as_json else "No command waits, neither in line nor held.")
            return
        life = explaining.explain(conn, asked)
    waits = life.asked.status == "pending" and life.asked.held_at is None
    looked = _look(queue_url, life.asked.position) if waits else None
    if as_json:
        typer.echo(orjson.dumps(document(life, looked), option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False, emoji=False)
    console.width = min(console.width, _WIDEST)
    console.print(screen(life, looked, now=clock.now()))


def _look(queue_url: str | None, position: int) -> Looked | None:
    """The messages that name the command now, unless nobody can say."""
    if queue_url is None:
        return None
    try:
        client: Any = redis_client(queue_url)
        with client:
            return look_for(client, position)
    except (redis.RedisError, ValueError):
        return None
