"""`florin dead-letters`: commands that were given up: see them, retry them as new commands, or discard them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
import redis
import typer
from dramatiq.errors import BrokerError
from psycopg import Connection, errors
from rich.table import Table
from rich.text import Text
from uuid_utils.compat import uuid7

from cli import addresses
from cli.addresses import DataDir
from cli.database import connected
from cli.failing import fail
from cli.naming import ClientName, KeyOrId, one_command
from cli.plain import plain
from cli.settings import settings_of
from cli.tables import print_table
from cli.who import By, who
from processor import clock, dead_letters
from processor.dead_letters import AlikeError, CannotError, Case, Preview
from processor.explaining import sentence
from processor.money import format_amount
from processor.store import dead_letters as store
from processor.store.dead_letters import LOOK_BACK, Action
from workers.broker import make_broker
from workers.queue import CommandQueue

app = typer.Typer(
    name="dead-letters",
    no_args_is_help=True,
    add_completion=False,
    help="Commands that could not be processed: see them, retry them, or discard them.",
)

PREVIEWED: Final = 3
"""The exit code that says: this is what would be done, and nothing was."""

ALIKE: Final = 4
"""The exit code that says: the client may have it already, so nothing was done."""

_LONGEST_REASON: Final = 255
_FIRST_LINE: Final = 60

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Reason = Annotated[str | None, typer.Option(help="Why: others will ask.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without it, only what would be done is shown.")]
AlthoughAlike = Annotated[
    bool,
    typer.Option(
        "--although-alike",
        help="With --yes: the client was asked, and wants this one besides those that ask for the same.",
    ),
]


@app.command("list")
def list_dead_letters(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that were retried or discarded as well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The oldest so many.")] = 1_000,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the dead letters that nobody has dealt with. Exits with 1 if there is one, so that a script can ask."""
    with connected(addresses.database(data_dir), "florin dead-letters") as conn:
        open_count, _ = store.dead_letters_open(conn)
        found = dead_letters.cases(conn, store.list_positions(conn, every=every, limit=limit))
    if as_json:
        _print_json([case_document(each) for each in found])
    elif found:
        print_table(_table(found, clock.now()))
        if len(found) == limit:
            typer.echo(f"These are the oldest {limit}; there may be more: --limit shows them.")
    else:
        typer.echo("There are no such dead letters.")
    raise typer.Exit(1 if open_count else 0)


@app.command()
def show(key_or_id: KeyOrId, client: ClientName = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show all that is known of a dead letter: what was asked, the error, and what was done about it."""
    with connected(addresses.database(data_dir), "florin dead-letters") as conn:
        case = _case(conn, key_or_id, client)
    if as_json:
        _print_json(case_document(case))
        return
    for line in _facts(case):
        typer.echo(line)
    typer.echo(f"`florin explain {case.asked.id}` shows its whole life.")


@app.command()
def retry(
    key_or_id: KeyOrId,
    *,
    client: ClientName = None,
    reason: Reason = None,
    by: By = None,
    yes: Yes = False,
    although_alike: AlthoughAlike = False,
    data_dir: DataDir = None,
) -> None:
    """
    Send what a dead letter asked for once more, as a new command of the same client.

    Shows first what it would come to now; only with --yes and --reason is it done. Exits with 3 if it was only shown,
    and with 4 if the client may have sent the same again, so that it must be asked first.
    """
    reason = _reason(reason, needed=yes)
    database_url = addresses.database(data_dir)
    settings = settings_of(database_url)
    queue_url = addresses.queue(data_dir) if yes else ""
    with connected(database_url, "florin dead-letters") as conn:
        case = _case(conn, key_or_id, client)
        try:
            shown = dead_letters.preview(conn, case, now=clock.now(), rules=settings.rules())
            for line in _facts(case):
                typer.echo(line)
            for line in _preview_lines(case, shown):
                typer.echo(line)
            if not yes:
                typer.echo("\nNothing was done. With --reason and --yes, it is.")
                raise typer.Exit(PREVIEWED)
            if shown.foreseen.breaks_with:
                fail("it would become a dead letter again, so nothing was done: repair what is wrong first")
            retried = dead_letters.retry(
                conn,
                case.asked.position,
                by=_by(by),
                reason=reason,
                now=clock.now(),
                new_id=uuid7,
                although_alike=although_alike,
            )
        except AlikeError as error:
            fail(
                f"{_name(case)} was not retried, since the money might move twice: {error}. Ask the client; "
                "if it wants both, say --although-alike as well",
                exit_code=ALIKE,
            )
        except CannotError as error:
            fail(f"{_name(case)} cannot be retried: {error}")
        except (errors.LockNotAvailable, errors.UniqueViolation):
            fail(f"somebody else is at it: see `florin dead-letters show {case.asked.id}`, and try again")
    typer.echo(f"\nAccepted as command {retried.id} at position {retried.position}.")
    try:
        CommandQueue(make_broker(queue_url)).send([retried.in_line])
    except (BrokerError, redis.RedisError, ValueError):
        typer.echo("The queue is away: the sweeper sends it on within seconds of its return.")
    typer.echo(f"`florin explain {retried.id}` says what becomes of it.")


@app.command()
def discard(
    key_or_id: KeyOrId,
    *,
    client: ClientName = None,
    reason: Reason = None,
    by: By = None,
    yes: Yes = False,
    data_dir: DataDir = None,
) -> None:
    """
    Say that nothing more is to be done about a dead letter. It stays failed; the books stay as they are.

    Done only with --yes and --reason, and for good. Exits with 3 if it was only shown.
    """
    reason = _reason(reason, needed=yes)
    with connected(addresses.database(data_dir), "florin dead-letters") as conn:
        case = _case(conn, key_or_id, client)
        try:
            dead_letters.check_discard(case)
            for line in _facts(case):
                typer.echo(line)
            if not yes:
                typer.echo("\nNothing was done. With --reason and --yes it is discarded, and can never be retried.")
                raise typer.Exit(PREVIEWED)
            dead_letters.discard(conn, case.asked.position, by=_by(by), reason=reason, now=clock.now())
        except CannotError as error:
            fail(f"{_name(case)} cannot be discarded: {error}")
        except (errors.LockNotAvailable, errors.UniqueViolation):
            fail(f"somebody else is at it: see `florin dead-letters show {case.asked.id}`, and try again")
    typer.echo(f"\n{_name(case)} is discarded. Nothing was moved.")


def case_document(case: Case) -> dict[str, Any]:
    """A dead letter for a program."""
    asked, body = case.asked, case.asked.body
    return {
        "id": asked.id,
        "position": asked.position,
        "client": asked.client,
        "idempotency_key": asked.idempotency_key,
        "type": body.type,
        "accounts": list(body.accounts()),
        "amount": None if body.amount_minor is None else format_amount(body.amount_minor, body.currency),
        "currency": body.currency,
        "accepted_at": asked.accepted_at,
        "failed_at": case.letter.failed_at,
        "error": case.letter.error,
        "state": case.state,
        "open": case.is_open,
        "retry_of": case.parent.id if case.parent else None,
        "actions": [
            {
                "number": each.number,
                "action": each.action,
                "by": each.acted_by,
                "at": each.acted_at,
                "reason": each.reason,
                "retried_as": each.retry_id,
                "retry_status": each.retry_status,
                "retry_reason": each.retry_reason,
            }
            for each in case.actions
        ],
    }


def action_words(action: Action) -> str:
    """What somebody did, in a line."""
    who_and_when = f"{action.acted_by} at {second(action.acted_at)} UTC: {action.reason}"
    if action.action == "discard":
        return f"discarded by {who_and_when}"
    became = f"{action.retry_status}{f' ({action.retry_reason})' if action.retry_reason else ''}"
    return f"retried as {action.retry_id}, {became}, by {who_and_when}"


def age(elapsed: timedelta) -> str:
    """``4 h 12 min``, in two units at most."""
    seconds = max(0, int(elapsed.total_seconds()))
    parts = [(seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def second(instant: datetime) -> str:
    """An instant without its fraction."""
    return instant.strftime("%Y-%m-%d %H:%M:%S")


def _case(conn: Connection[Any], word: str, client: str | None) -> Case:
    asked = one_command(conn, word, client)
    found = dead_letters.cases(conn, [asked.position])
    if not found:
        fail(f"command {asked.id} is no dead letter: it is {asked.status}")
    return found[0]


def _table(found: Sequence[Case], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("POSITION", "AGE", "CLIENT", "TYPE", "ACCOUNT", "AMOUNT", "STATE", "ERROR"):
        table.add_column(name, justify="right" if name in ("POSITION", "AMOUNT") else "left")
    for each in found:
        body = each.asked.body
        amount = (
            "-" if body.amount_minor is None else f"{format_amount(body.amount_minor, body.currency)} {body.currency}"
        )
        what = (body.type, " > ".join(body.accounts()), amount, each.state)
        since = age(now - each.letter.failed_at)
        cells = (str(each.asked.position), since, each.asked.client, *what, _first_line(each.letter.error))
        table.add_row(*map(Text, cells))
    return table


def _first_line(error: str) -> str:
    line = plain(error.strip().partition("\n")[0])
    return line if len(line) <= _FIRST_LINE else f"{line[: _FIRST_LINE - 3]}..."


def _facts(case: Case) -> list[str]:
    asked = case.asked
    lines = [
        f"{sentence(asked.body)}",
        f"  command   {asked.id}  position {asked.position}",
        f"  client    {asked.client}, key {plain(asked.idempotency_key)}",
        f"  accepted  {second(asked.accepted_at)} UTC",
        f"  failed    {second(case.letter.failed_at)} UTC, {age(clock.now() - case.letter.failed_at)} ago",
        f"  state     {case.state}",
        *(
            f"  {'error' if place == 0 else '':8}  {plain(line)}"
            for place, line in enumerate(case.letter.error.splitlines())
        ),
    ]
    if case.parent:
        lines.append(f"  retry of  {case.parent.id} (number {case.parent.number}, by {case.parent.acted_by})")
    lines += [f"  action    {action_words(each)}" for each in case.actions]
    return lines


def _preview_lines(case: Case, shown: Preview) -> list[str]:
    asked = case.asked
    lines = [
        "",
        f"A retry would be a new command of {asked.client} with the key {shown.key}. Decided now, it would be:",
    ]
    if shown.foreseen.outcome is None:
        lines.append(f"  a dead letter again: the rules break with {shown.foreseen.breaks_with}")
    elif shown.foreseen.outcome.reason is not None:
        lines.append(f"  refused: {shown.foreseen.outcome.reason.value}. {shown.foreseen.outcome.reason.text}")
    else:
        lines.append("  applied")
        lines += [
            f"  {each.kind.value}: {each.debit.account} -> {each.credit.account}"
            f"  {format_amount(each.amount_minor, each.currency)} {each.currency}"
            for each in shown.foreseen.outcome.transfers
        ]
    for each in shown.foreseen.balances:
        before, after = (
            "no account" if minor is None else f"{format_amount(minor, each.currency)} {each.currency}"
            for minor in (each.before_minor, each.after_minor)
        )
        lines.append(f"  balance of {each.account}: {before}" + ("" if before == after else f" -> {after}"))
    lines += [
        f"  {'1 command waits' if count == 1 else f'{count} commands wait'} in the line of {name}, before this one."
        for name, count in shown.foreseen.ahead.items()
        if count
    ]
    lines += [
        f"  {each.account} is in quarantine since {second(each.began_at)}: it would be held."
        for each in shown.foreseen.quarantines
    ]
    return lines + _alike_lines(asked.client, shown)


def _alike_lines(client: str, shown: Preview) -> list[str]:
    lines = [
        "",
        f"The answer to {client} was 'failed': it may have sent the same again under another key, and then a retry",
        "does it twice. Ask before you retry.",
    ]
    if shown.alike:
        lines.append("Other commands of this client with the same type, accounts and amount:")
        lines += [
            f"  {each.id}  {second(each.accepted_at)}  {each.status}  key {plain(each.idempotency_key)}"
            for each in shown.alike
        ]
    else:
        lines.append("No other command of this client asks for the same, from a day before this one until now.")
    if not shown.looked_at_all:
        lines.append(f"Only the last {LOOK_BACK:,} of the account were looked at: there may be more.")
    return lines


def _name(case: Case) -> str:
    return f"Command {case.asked.id}"


def _reason(reason: str | None, *, needed: bool) -> str:
    """The reason as it is recorded."""
    said = (reason or "").strip()
    if needed and not said:
        fail("--yes needs --reason: others will ask why", exit_code=2)
    if len(said) > _LONGEST_REASON or "\0" in said:
        fail(f"a reason is a text of at most {_LONGEST_REASON} characters", exit_code=2)
    return said


def _by(by: str | None) -> str:
    name = who(by)
    if len(name) > _LONGEST_REASON or "\0" in name:
        fail(f"--by is a name of at most {_LONGEST_REASON} characters", exit_code=2)
    return name


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))
