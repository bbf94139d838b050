"""Which command is meant: an id, a position or a client's key, and never a guess between two."""

from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from psycopg import Connection

from cli.failing import fail
from cli.plain import plain
from processor.store import life
from processor.store.life import Asked

_Word = typer.Argument(help="The command's id or position, or the idempotency key that its client gave it.")
KeyOrId = Annotated[str, _Word]
MaybeKeyOrId = Annotated[str | None, _Word]
ClientName = Annotated[str | None, typer.Option("--client", help="KEY_OR_ID is a key of this client.")]


def one_command(conn: Connection[Any], word: str, client: str | None) -> Asked:
    """The command that is meant. Ends this one if there is none, or more than one."""
    if "\0" in word or "\0" in (client or "") or not word:
        fail("that is no id, position or key of a command", exit_code=2)
    found = life.find_named(conn, word, client)
    if not found:
        _fail_unknown(conn, word, client)
    if len(found) > 1:
        _fail_ambiguous(word, found)
    return found[0]


def _fail_unknown(conn: Connection[Any], word: str, client: str | None) -> NoReturn:
    if client is None:
        fail(f"there is no command with the id, position or key {plain(word)}")
    if not life.client_exists(conn, client):
        fail(f"there is no client {plain(client)}")
    fail(f"the client {plain(client)} has used no key {plain(word)}")


def _fail_ambiguous(word: str, found: Sequence[Asked]) -> NoReturn:
    """A number may be a position and somebody's key: about money, nobody guesses."""
    meant = "\n".join(
        f"  {each.id}  position {each.position}, key {plain(each.idempotency_key)} of {each.client}" for each in found
    )
    fail(f"{plain(word)} may mean {len(found)} commands: give the id, or --client with a key\n{meant}", exit_code=2)
