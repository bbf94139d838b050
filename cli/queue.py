"""`florin queue`: what lies in Redis, and how messages that failed too often are taken away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import orjson
import redis
import typer
from rich.table import Table

from cli import addresses
from cli.addresses import DataDir
from cli.failing import fail
from cli.tables import print_table
from workers import counting
from workers.broker import client as redis_client
from workers.messages import COMMANDS

app = typer.Typer(
    name="queue",
    no_args_is_help=True,
    add_completion=False,
    help="See how many messages the queues have; forget those that failed too often.",
)

PREVIEWED: Final = 3
"""The exit code of what was only shown."""

_SHOWN: Final = 10


@app.command("list")
def list_queues(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False, data_dir: DataDir = None
) -> None:
    """
    Show the messages of each queue. Exits with 1 if some are dead, so that a script can ask.

    READY wait for a worker, TAKEN are in one's hands, DELAYED wait for another attempt, DEAD failed too often.
    """
    with _queue(data_dir) as client:
        found = counting.count(client)
    if as_json:
        document = [
            {"queue": each.queue, "ready": each.ready, "taken": each.taken, "delayed": each.delayed, "dead": each.dead}
            for each in found
        ]
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        table = Table(box=None, pad_edge=False)
        for name in ("QUEUE", "READY", "TAKEN", "DELAYED", "DEAD"):
            table.add_column(name, justify="left" if name == "QUEUE" else "right")
        for each in found:
            table.add_row(each.queue, *(f"{each_:,}" for each_ in (each.ready, each.taken, each.delayed, each.dead)))
        print_table(table)
    raise typer.Exit(1 if any(each.dead for each in found) else 0)


@app.command("forget-dead")
def forget_dead(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only shown.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Delete the messages that failed too often. No payment is lost: commands and notices are rows in Postgres, and
    whatever still waits there is sent again in another message.

    Done only with --yes. Exits with 3 if it was only shown.
    """
    with _queue(data_dir) as client:
        if not yes:
            dead = {each.queue: each.dead for each in counting.count(client)}
            named = counting.named_by_dead(client, COMMANDS, at_most=_SHOWN + 1)
        else:
            dead, named = counting.forget_dead(client), []
    if not any(dead.values()):
        typer.echo("No message is dead.")
        return
    for queue, messages in dead.items():
        typer.echo(
            f"{queue}: {messages:,} dead {'message' if messages == 1 else 'messages'}{' deleted' if yes else ''}"
        )
    if yes:
        return
    if named:
        more = " and more" if len(named) > _SHOWN else ""
        typer.echo(f"They named the commands at positions {', '.join(map(str, named[:_SHOWN]))}{more}:")
        typer.echo("`florin explain POSITION` says what became of each. Whatever is still pending has been sent again.")
    typer.echo("\nNothing was done. With --yes they are deleted.")
    raise typer.Exit(PREVIEWED)


@contextmanager
def _queue(data_dir: Path | None) -> Iterator["redis.Redis"]:
    """The queue. What keeps it from answering ends the command with a sentence."""
    url = addresses.queue(data_dir)
    try:
        with redis_client(url) as client:
            yield client
    except redis.AuthenticationError:
        fail("the queue does not take the login that REDIS_URL has")
    except redis.RedisError as error:
        fail(f"the queue does not answer: {error}")
    except ValueError:
        # Its text may show the address, and the password in it.
        fail("REDIS_URL is not an address of Redis: give redis://:password@host:port/0", exit_code=2)
