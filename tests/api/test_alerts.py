"""Alerts and quarantines as admins see them: over HTTP, and with `florin alerts` and `florin quarantine`."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from api_min.app import create_app
from cli.main import app as command_line
from processor import clock, pools
from processor.alerts import report
from processor.breaks import Break, Severity
from processor.settings import Settings
from tests.api.conftest import Api, a_deposit, assert_problem
from tests.eventually import eventually
from tests.stack import Stack


class Proof:
    """A proof of the test's own, and what it finds."""

    def __init__(self, stack: Stack) -> None:
        self.name = f"proof_{uuid4().hex[:12]}"
        self._stack = stack

    def find(self, *accounts: str, severity: Severity = Severity.PAGE) -> None:
        """The books of just these accounts are wrong."""
        breaks = [
            Break(
                self.name, f"account:{each}", expected="1", found="2", advice="Look.", account=each, severity=severity
            )
            for each in accounts
        ]
        with pools.connect(self._stack.app_url, "florin test") as conn:
            report(conn, self.name, breaks, now=clock.now())


@pytest.fixture
def proof(stack: Stack) -> Iterator[Proof]:
    """In the end, all that it found is in order again."""
    proof = Proof(stack)
    yield proof
    proof.find()


@pytest.fixture
def alert_of(admin: Api, proof: Proof) -> Callable[[str], dict[str, Any]]:
    """The alert of an account that the proof has just found wrong."""

    def find(account: str) -> dict[str, Any]:
        proof.find(account)
        (alert,) = admin.http.get("/v1/alerts", params={"proof": proof.name, "state": "open"}).json()["alerts"]
        assert isinstance(alert, dict)
        return alert

    return find


@pytest.fixture
def colleague(stack: Stack) -> Iterator[Api]:
    """Another admin."""
    client = Api(stack, stack.key("colleague", "admin"))
    yield client
    client.http.close()


def kinds(admin: Api, alert_id: int) -> list[tuple[str, str | None]]:
    """What became of the alert, and by whom."""
    document = admin.http.get(f"/v1/alerts/{alert_id}").json()
    return [(each["kind"], each["changed_by"]) for each in document["history"]]


PATHS = [
    ("GET", "/v1/alerts"),
    ("GET", "/v1/alerts/1"),
    ("POST", "/v1/alerts/1/acknowledge"),
    ("POST", "/v1/alerts/1/resolve"),
    ("GET", "/v1/quarantine"),
    ("POST", "/v1/quarantine/alice/release"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_alerts_are_for_admins(api: Api, stranger: Api, method: str, path: str) -> None:
    """What is wrong with the books is not for clients, and they release nobody."""
    assert_problem(stranger.http.request(method, path), 401, "unauthenticated")
    assert_problem(api.http.request(method, path), 403, "forbidden")


def test_an_alert_shows_what_is_wrong_and_what_to_do(
    admin: Api, alert_of: Callable[[str], dict[str, Any]], proof: Proof
) -> None:
    """Whoever was woken by it needs no second place to look."""
    alert = alert_of("alice")

    assert (
        alert.items()
        >= {
            "proof": proof.name,
            "subject": "account:alice",
            "account": "alice",
            "severity": "page",
            "state": "open",
            "expected": "1",
            "found": "2",
            "advice": "Look.",
            "runbook_url": f"docs/runbooks.md#{proof.name}",
            "seen": 1,
            "resolved_by": None,
        }.items()
    )
    assert admin.http.get(f"/v1/alerts/{alert['id']}").json().items() >= alert.items()


def test_alerts_are_found_by_what_they_are_about(admin: Api, proof: Proof) -> None:
    """And page by page, the oldest first."""
    proof.find("alice", severity=Severity.TICKET)
    proof.find("alice", "bob", severity=Severity.TICKET)
    proof.find("bob", "carol")

    def subjects(**wanted: Any) -> list[str]:
        found = admin.http.get("/v1/alerts", params={"proof": proof.name, **wanted}).json()
        return [each["account"] for each in found["alerts"]]

    assert subjects() == ["alice", "bob", "carol"]
    assert subjects(state="resolved") == ["alice"]
    assert subjects(severity="ticket") == ["alice"]
    assert subjects(account="bob") == ["bob"]
    first = admin.http.get("/v1/alerts", params={"proof": proof.name, "limit": 2}).json()
    assert [each["account"] for each in first["alerts"]] == ["alice", "bob"]
    assert subjects(after=first["next"]) == ["carol"]


def test_whoever_acknowledges_first_is_named(
    admin: Api, colleague: Api, alert_of: Callable[[str], dict[str, Any]]
) -> None:
    """Two people woken at once see which of them looks after it; asking twice changes nothing."""
    alert_id = alert_of("alice")["id"]
    first = admin.http.post(f"/v1/alerts/{alert_id}/acknowledge", json={"reason": "looking"}).json()
    second = colleague.http.post(f"/v1/alerts/{alert_id}/acknowledge").json()

    assert first == second
    assert (first["state"], first["acknowledged_by"], first["acknowledge_reason"]) == (
        *("acknowledged", "operator", "looking"),
    )
    assert kinds(admin, alert_id) == [("opened", None), ("acknowledged", "operator")]


def test_an_alert_is_resolved_by_hand_with_a_reason(
    admin: Api, colleague: Api, alert_of: Callable[[str], dict[str, Any]], proof: Proof
) -> None:
    """Once: the second word is not written over the first. And if it is wrong still, there is a new alert."""
    alert_id = alert_of("alice")["id"]
    without = admin.http.post(f"/v1/alerts/{alert_id}/resolve")
    first = admin.http.post(f"/v1/alerts/{alert_id}/resolve", json={"reason": "restored"})
    second = colleague.http.post(f"/v1/alerts/{alert_id}/resolve", json={"reason": "me too"})

    assert assert_problem(without, 422, "invalid")["errors"] == [{"field": "reason", "message": "Field required"}]
    assert first.json() == second.json()
    assert (first.json()["resolved_by"], first.json()["resolve_reason"]) == ("operator", "restored")
    assert alert_of("alice")["id"] > alert_id


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b'{"reason": " "}', 422, "invalid"),
        (b'{"reason": 7}', 422, "invalid"),
        (b'{"reason": "\\u0000"}', 422, "invalid"),
        (b'{"reason": "x", "colour": "red"}', 422, "invalid"),
        (b'{"reason": "' + b"x" * 501 + b'"}', 422, "invalid"),
        (b" " * 20_000, 413, "too_large"),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(admin: Api, body: bytes, status: int, kind: str) -> None:
    """Whoever is in a hurry at night is told what is missing."""
    for path in ("/v1/alerts/1/acknowledge", "/v1/alerts/1/resolve", "/v1/quarantine/alice/release"):
        assert_problem(admin.http.post(path, content=body), status, kind)


def test_what_is_not_there_is_not_found(admin: Api) -> None:
    """A slip in the number must not look as if it had worked."""
    for path in (f"/v1/alerts/{2**62}", "/v1/alerts/none"):
        assert_problem(admin.http.get(path), 404, "not_found")
    assert_problem(admin.http.post(f"/v1/alerts/{2**62}/acknowledge"), 404, "not_found")
    assert_problem(admin.http.post(f"/v1/alerts/{2**62}/resolve", json={"reason": "x"}), 404, "not_found")
    assert_problem(admin.http.post("/v1/quarantine/nobody-here/release"), 404, "not_found")
    assert_problem(admin.http.get("/v1/alerts?state=sleeping"), 422, "invalid")


def quarantined(admin: Api, account: str) -> list[dict[str, Any]]:
    """Of this account, those that are over included."""
    found = admin.http.get("/v1/quarantine", params={"account": account, "released": True}).json()["quarantines"]
    assert isinstance(found, list)
    return found


def test_a_command_of_an_account_in_quarantine_waits_for_its_release(api: Api, admin: Api, proof: Proof) -> None:
    """
    The client sees a receipt and then nothing worse than patience; the admin sees what waits.

    Workers and the sweeper are processes here: nobody sends the messages by hand.
    """
    account, other = api.opened(), api.opened()
    proof.find(account)
    receipt = api.post(a_deposit(account)).json()
    url = receipt["status_url"]
    document = eventually(lambda: (found := api.http.get(url).json()).get("held") and found)
    (quarantine,) = quarantined(admin, account)
    refused = admin.http.post(f"/v1/quarantine/{account}/release")
    forced = admin.http.post(f"/v1/quarantine/{account}/release", json={"force": True})

    assert document["status"] == "pending"
    assert api.settle(a_deposit(other))["status"] == "applied"
    assert (quarantine["state"], quarantine["held_commands"]) == ("held", 1)
    assert "alerts" in assert_problem(refused, 422, "invalid")["detail"]
    assert "say why" in assert_problem(forced, 422, "invalid")["detail"]
    proof.find()
    released = admin.http.post(f"/v1/quarantine/{account}/release", json={"reason": "it passes again"})
    settled = eventually(lambda: (found := api.http.get(url).json())["status"] == "applied" and found)

    assert (released.status_code, released.json()["state"], released.json()["released_by"]) == (
        *(200, "released", "operator"),
    )
    assert "held" not in settled
    assert [each["state"] for each in quarantined(admin, account)] == ["released"]


def test_a_quarantine_in_mid_load_and_workers_that_are_killed_lose_nothing(
    api: Api, admin: Api, proof: Proof, stack: Stack
) -> None:
    """Both workers die while they hold the account's commands, and again while these are put back in line."""
    accounts = [api.opened(deposit="100.00") for _ in range(3)]
    suspect, *others = accounts
    sent = dict.fromkeys(accounts, 1)
    lines: list[dict[str, object]] = []

    def load() -> None:
        lines[:] = [a_deposit(each, "1.00") | {"idempotency_key": str(uuid4())} for each in accounts * 60]
        content = b"\n".join(json.dumps(line).encode() for line in lines)
        headers = {"Content-Type": "application/x-ndjson"}
        answer = api.http.post("/v1/commands/batch", content=content, headers=headers)
        assert answer.text.count('"accepted"') == len(lines)
        for account in accounts:
            sent[account] += 60

    def restart() -> None:
        workers = stack.running("worker")
        stack.kill(*workers)
        stack.start(*workers)

    load()
    proof.find(suspect)
    load()
    restart()
    for each in others:
        eventually(lambda each=each: api.account(each)["version"] == sent[each])  # type: ignore[misc]
    eventually(lambda: quarantined(admin, suspect)[0]["held_commands"])
    load()
    body = {"force": True, "reason": "looked at"}
    assert admin.http.post(f"/v1/quarantine/{suspect}/release", json=body).status_code == 200
    restart()
    for each in accounts:
        eventually(lambda each=each: api.account(each)["version"] == sent[each])  # type: ignore[misc]

    with stack.owner() as owner:
        assert owner.execute("SELECT FROM held").fetchall() == []
    assert {api.account(each)["balance"] for each in accounts} == {"280.00"}


def test_where_a_release_needs_two_the_first_admin_is_answered_202(stack: Stack, api: Api, proof: Proof) -> None:
    """Asked for and not done: a script that looks at the status only does not take it for released."""
    account = api.opened()
    proof.find(account)
    settings = Settings(
        database_url=SecretStr(stack.app_url), redis_url=SecretStr(stack.redis_url), release_needs_two=True
    )  # type: ignore[call-arg]
    people = (stack.key("ann", "admin"), stack.key("ann", "admin"), stack.key("ben", "admin"))

    async def ask_all() -> list[httpx.Response]:
        app = create_app(settings)
        body = {"force": True, "reason": "looked at"}
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=stack.url) as http:
            return [
                await http.post(
                    f"/v1/quarantine/{account}/release", json=body, headers={"Authorization": f"Bearer {key}"}
                )
                for key in people
            ]

    answers = asyncio.run(ask_all())

    assert [(each.status_code, each.json()["state"]) for each in answers] == [
        *[(202, "asked")] * 2,
        (200, "released"),
    ]
    assert (answers[-1].json()["asked_by"], answers[-1].json()["released_by"]) == ("ann", "ben")


# The command line.


@pytest.fixture
def florin(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, as an admin."""
    monkeypatch.setenv("FLORIN_API", stack.url)
    monkeypatch.setenv("FLORIN_API_KEY", stack.key("nightwatch", "admin"))
    return lambda *arguments: CliRunner().invoke(command_line, arguments)


def test_the_command_line_lists_looks_after_and_resolves(
    florin: Callable[..., Result], alert_of: Callable[[str], dict[str, Any]], proof: Proof
) -> None:
    """From the first look to the end, with the name of whose key it is; and a script sees whether one is open."""
    alert_id = str(alert_of("alice")["id"])
    listed = florin("alerts", "list", "--proof", proof.name)
    acknowledged = florin("alerts", "ack", alert_id, "--reason", "looking")
    quiet = florin("alerts", "list", "--proof", proof.name, "--json")
    shown = florin("alerts", "show", alert_id)
    resolved = florin("alerts", "resolve", alert_id, "--reason", "restored")
    none = florin("alerts", "list", "--proof", proof.name)
    everything = florin("alerts", "list", "--proof", proof.name, "--state", "all", "--json")

    assert listed.exit_code == 1
    assert "account:alice" in listed.stdout
    assert (acknowledged.exit_code, quiet.exit_code) == (0, 0)
    assert "nightwatch" in acknowledged.stdout
    assert [each["state"] for each in json.loads(quiet.stdout)] == ["acknowledged"]
    assert f"runbook url: docs/runbooks.md#{proof.name}" in shown.stdout
    assert [line.split()[2] for line in shown.stdout.splitlines()[-2:]] == ["opened", "acknowledged"]
    assert "nightwatch" in resolved.stdout
    assert none.stdout == "There are no such alerts.\n"
    assert [each["state"] for each in json.loads(everything.stdout)] == ["resolved"]


def test_the_command_line_releases(api: Api, florin: Callable[..., Result], proof: Proof) -> None:
    """It says who waits, and refuses what the API refuses with its sentence."""
    account = api.opened()
    proof.find(account)
    listed = florin("quarantine", "list")
    refused = florin("quarantine", "release", account)
    careless = florin("quarantine", "release", account, "--force")
    forced = florin("quarantine", "release", account, "--force", "--reason", "looked at")
    rows = json.loads(florin("quarantine", "list", "--released", "--json").stdout)

    assert account in listed.stdout
    assert (refused.exit_code, careless.exit_code, forced.exit_code) == (1, 2, 0)
    assert "resolve it, or release with force and a reason" in refused.stderr
    assert "--force needs --reason" in careless.stderr
    assert "was released by nightwatch" in forced.stdout
    assert [each["state"] for each in rows if each["account"] == account] == ["released"]


def test_the_command_line_says_what_keeps_it_from_working(
    stack: Stack, florin: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each, and no traceback."""
    unknown = florin("alerts", "show", str(2**62))
    wrong = florin("alerts", "list", "--state", "sleeping")
    monkeypatch.setenv("FLORIN_API_KEY", stack.key("shop", "read"))
    forbidden = florin("alerts", "list")
    monkeypatch.setenv("FLORIN_API", "http://127.0.0.1:1")
    away = florin("alerts", "list")
    monkeypatch.setenv("FLORIN_API", "nowhere")
    nowhere = florin("alerts", "list")
    results = [unknown, wrong, forbidden, away, nowhere]
    sentences = [
        "no such alert",
        "state: Input should be",
        "--scopes admin",
        "cannot be reached",
        "no address of an API",
    ]

    assert [each.exit_code for each in results] == [1] * 5
    for result, sentence in zip(results, sentences, strict=True):
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_figures_of_alerts_are_served(stack: Stack, api: Api, proof: Proof) -> None:
    """Whoever opened the alert: Prometheus reads it where it reads everything."""
    proof.find(api.opened())

    def figures() -> httpx.Response:
        return httpx.get(f"{stack.metrics_url}/metrics", trust_env=False)

    line = f'florin_alerts_open{{proof="{proof.name}",severity="page"}} 1.0'
    assert eventually(lambda: line in figures().text)
    assert "florin_quarantined_accounts" in figures().text
