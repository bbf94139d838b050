"""`florin alerts` and `florin quarantine`: what is wrong, who looks after it, and which accounts wait for a release.
They go through the API, since it is the key that says who did it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import httpx
import orjson
import typer
from rich.table import Table

from cli import addresses
from cli.addresses import DataDir
from cli.failing import fail
from cli.tables import print_table

app = typer.Typer(
    name="alerts",
    no_args_is_help=True,
    add_completion=False,
    help="See what the proofs found wrong, and look after it.",
)
quarantine_app = typer.Typer(
    name="quarantine", no_args_is_help=True, add_completion=False, help="See which accounts wait, and release them."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
AlertId = Annotated[int, typer.Argument(min=1, help="As `florin alerts list` has it.")]
Account = Annotated[str, typer.Argument(help="The account's name.")]

_PAGE: Final = 1_000
_TIMEOUT: Final = httpx.Timeout(30, connect=5)
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}

Ask = Callable[..., Any]


@app.command("list")
def list_alerts(
    *,
    state: Annotated[str | None, typer.Option(help="open, acknowledged, resolved or all.", show_default="live")] = None,
    severity: Annotated[str | None, typer.Option(help="page or ticket.")] = None,
    proof: Annotated[str | None, typer.Option(help="Alerts of this proof.")] = None,
    account: Annotated[str | None, typer.Option(help="Alerts that name this account.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """
    Show the alerts that are not resolved, or those of a state. Exits with 1 if one is open, so that a script can ask.
    """
    wanted = {"severity": severity, "proof": proof, "account": account}
    states = ["open", "acknowledged"] if state is None else [None if state == "all" else state]
    with _api(data_dir) as ask:
        alerts = [alert for each in states for alert in _all(ask, "/v1/alerts", "alerts", wanted | {"state": each})]
    alerts.sort(key=lambda alert: alert["id"])
    if as_json:
        _print_json(alerts)
    elif alerts:
        table = _table("ID", "SEVERITY", "STATE", "PROOF", "SUBJECT", "EXPECTED", "FOUND", "SEEN", "SINCE (UTC)")
        for each in alerts:
            facts = (each["proof"], each["subject"], each["expected"], each["found"], str(each["seen"]))
            table.add_row(str(each["id"]), each["severity"], each["state"], *facts, _second(each["first_seen_at"]))
        print_table(table)
    else:
        typer.echo("There are no such alerts.")
    raise typer.Exit(1 if any(alert["state"] == "open" for alert in alerts) else 0)


@app.command()
def show(alert_id: AlertId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show all that is known of an alert, and its history."""
    with _api(data_dir) as ask:
        alert = ask("GET", f"/v1/alerts/{alert_id}")
    if as_json:
        _print_json(alert)
        return
    for name, value in alert.items():
        if name != "history" and value is not None:
            typer.echo(f"{name.replace('_', ' ')}: {value}")
    table = _table("WHEN (UTC)", "WHAT", "BY", "WHY", "TOLD")
    for each in alert["history"]:
        by = each["changed_by"] or "itself"
        table.add_row(_second(each["changed_at"]), each["kind"], by, each["reason"] or "-", each["notice"] or "-")
    print_table(table)


@app.command()
def ack(
    alert_id: AlertId,
    reason: Annotated[str | None, typer.Option(help="What you are doing about it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say that you look after an alert."""
    with _api(data_dir) as ask:
        alert = ask("POST", f"/v1/alerts/{alert_id}/acknowledge", {} if reason is None else {"reason": reason})
    if alert["acknowledged_by"] is None:
        typer.echo(f"Alert {alert_id} is resolved already: there is nothing to look after.")
        return
    typer.echo(f"{alert['acknowledged_by']} looks after alert {alert_id} since {_second(alert['acknowledged_at'])}.")


@app.command()
def resolve(
    alert_id: AlertId,
    reason: Annotated[str, typer.Option(help="Why it is done with.")],
    data_dir: DataDir = None,
) -> None:
    """Say that an alert is done with. If the proof finds the same again, it opens another one."""
    with _api(data_dir) as ask:
        alert = ask("POST", f"/v1/alerts/{alert_id}/resolve", {"reason": reason})
    by = alert["resolved_by"] or "the proof itself"
    typer.echo(f"Alert {alert_id} was resolved by {by} at {_second(alert['resolved_at'])}.")


@quarantine_app.command("list")
def list_quarantine(
    released: Annotated[bool, typer.Option("--released", help="Those that are over as well.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the accounts whose commands are held."""
    with _api(data_dir) as ask:
        found = list(_all(ask, "/v1/quarantine", "quarantines", {"released": "true" if released else None}))
    if as_json:
        _print_json(found)
        return
    if not found:
        typer.echo("No account is in quarantine.")
        return
    table = _table("ACCOUNT", "STATE", "HELD COMMANDS", "ALERT", "SINCE (UTC)", "ASKED BY", "RELEASED BY")
    for each in found:
        who = (each["asked_by"] or "-", each["released_by"] or "-")
        facts = (str(each["held_commands"]), str(each["alert_id"]), _second(each["began_at"]))
        table.add_row(each["account"], each["state"], *facts, *who)
    print_table(table)


@quarantine_app.command()
def release(
    account: Account,
    reason: Annotated[str | None, typer.Option(help="Why it may go on.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Although an alert is open; needs --reason.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let an account go on: what was held for it is decided in order, within seconds."""
    if force and reason is None:
        fail("--force needs --reason: say why the account may go on", exit_code=2)
    body = {"force": force} | ({} if reason is None else {"reason": reason})
    with _api(data_dir) as ask:
        found = ask("POST", f"/v1/quarantine/{quote(account, safe='')}/release", body)
    if found["state"] == "asked":
        typer.echo(f"The release of {account} was asked for by {found['asked_by']}: another admin has to confirm it.")
    else:
        typer.echo(f"{account} was released by {found['released_by']} at {_second(found['released_at'])}.")


@contextmanager
def _api(data_dir: DataDir) -> Iterator[Ask]:
    """A function that asks the API; what it refuses ends the command with its sentence."""
    url, key = addresses.api(data_dir)
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        fail(f"{url!r} is no address of an API: give one such as http://127.0.0.1:8000 in FLORIN_API")
    headers = {"Authorization": f"Bearer {key}"}
    # A proxy that is set up for the outside world cannot reach this machine's own loopback.
    trust_env = address.hostname not in _LOOPBACK
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=trust_env) as http:

        def ask(method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
            try:
                answer = http.request(method, path, json=body, params=params)
            except (httpx.TransportError, UnicodeError) as error:
                fail(f"the API at {url} cannot be reached ({type(error).__name__}): is the stack running?")
            return _document(url, answer)

        yield ask


def _document(url: str, answer: httpx.Response) -> Any:
    try:
        document = orjson.loads(answer.content)
        sentence = None if answer.is_success else str(document["detail"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        fail(f"what answers at {url} is not Florin's API")
    if sentence is not None:
        wrong = "; ".join(f"{each['field']}: {each['message']}" for each in document.get("errors", ()))
        hint = " `florin keys create NAME --scopes admin` makes one." if answer.status_code in (401, 403) else ""
        fail(f"{sentence}{f' ({wrong})' if wrong else ''}{hint}")
    return document


def _all(ask: Ask, path: str, name: str, wanted: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """Every row of a list, page by page."""
    params: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None} | {"limit": _PAGE}
    after: int | None = 0
    while after is not None:
        page = ask("GET", path, None, params | {"after": after})
        yield from page[name]
        after = page["next"]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _print_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def _second(instant: str) -> str:
    """``2026-11-20 10:36:24`` of an instant as the API writes it."""
    return instant[:19].replace("T", " ")
