"""What the processes write while much goes wrong: every line can be read by a machine, and none has a secret."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from cli.servers import LocalServers
from tests.eventually import eventually
from tests.faults.conftest import NewStack
from tests.stack import Stack

LEVELS: Final = {"debug", "info", "warning", "error", "critical"}

SIGNER: Final = "whsec_TUFSS0VELXNlY3JldC1vZi10aGUtd2ViaG9vaw=="
WRONG_KEY: Final = "MARKED1wrongkey" + 28 * "x"
WEBHOOK_PASSWORD: Final = "MARKED2password"
WEBHOOK_PATH: Final = "MARKED3path"
COLLECTOR_TOKEN: Final = "MARKED4token"
IDEMPOTENCY_KEY: Final = "MARKED5idempotency"
REFERENCE: Final = "MARKED6reference"
METADATA: Final = "MARKED7metadata"
ACCOUNT: Final = "MARKED8account"
AMOUNT: Final = "7654321.98"
NO_JSON: Final = "MARKED9body"
ADDRESS: Final = "MARKED10address"
HEADER: Final = "MARKED11header"
WENT_WRONG: Final = {
    *("process.ready", "request.answered", "request.broken", "intake.unavailable", "message.applied"),
    *("message.failed", "batch.isolating", "job.failed", "alert.opened", "alert.not_told"),
}
MARKED: Final = {
    *(SIGNER.removeprefix("whsec_"), WRONG_KEY, WEBHOOK_PASSWORD, WEBHOOK_PATH, COLLECTOR_TOKEN, IDEMPOTENCY_KEY),
    *(REFERENCE, METADATA, ACCOUNT, AMOUNT, AMOUNT.replace(".", ""), NO_JSON, ADDRESS, HEADER),
}


def test_a_run_in_which_much_goes_wrong_leaves_no_secret_in_the_logs(
    servers: LocalServers, new_stack: NewStack
) -> None:
    """Logs are read by many, kept elsewhere and for long: what is in them once is nobody's secret any more."""
    with failing_receiver() as port:
        webhook = f"http://bell:{WEBHOOK_PASSWORD}@127.0.0.1:{port}/{WEBHOOK_PATH}"
        stack = new_stack(
            workers=1,
            exporters=1,
            FLORIN_LOG_LEVEL="DEBUG",
            FLORIN_ALERT_WEBHOOK_URL=webhook,
            FLORIN_ALERT_WEBHOOK_SECRET=SIGNER,
            FLORIN_NOTIFY_EVERY_S="1",
            FLORIN_PROVE_EVERY_S="1",
            FLORIN_PENDING_LIMIT_S="1",
            # Nobody listens there: payments do not care.
            FLORIN_TRACING="true",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={COLLECTOR_TOKEN}",
            OTEL_BSP_SCHEDULE_DELAY="100",
        )
        key = stack.key("shop")
        everything_goes_wrong(stack, servers, key)
        names = [name for kind in ("api", "worker", "scheduler", "exporter") for name in stack.running(kind)]
        stack.stop(*names)
    passwords = {str(urlsplit(url).password) for url in (stack.app_url, stack.redis_url)}
    secrets = MARKED | passwords | {key.rpartition("_")[2]}
    logs = {name: stack.log(name) for name in names}
    lines = [parsed(name, line) for name, log in logs.items() for line in log.splitlines()]
    events = Counter(line["event"] for line in lines)

    assert [(secret, name) for secret in secrets for name, log in logs.items() if secret in log] == []
    assert all(line["level"] in LEVELS and line["timestamp"].endswith("Z") for line in lines)
    # It did go wrong, and was told: else the silence above would say nothing.
    assert WENT_WRONG - set(events) == set()
    assert not {line["event"] for line in lines if line["level"] == "critical"}


def test_the_lines_of_a_command_are_found_by_its_trace(new_stack: NewStack) -> None:
    """Tracing is off, as it is unless set: the id that the client was given is in the lines of every process."""
    stack = new_stack(workers=1, schedulers=0, FLORIN_LOG_LEVEL="DEBUG")
    opening = {"type": "open_account", "account": "alice", "currency": "USD"}
    with asking(stack, stack.key("shop")) as client:
        answer = client.post("/v1/commands", json=opening, headers={"Idempotency-Key": "k", "Prefer": "wait=20"})
        refused = client.post("/v1/commands", json={"type": "nothing"}, headers={"Idempotency-Key": "k2"})
    trace = answer.headers["traceresponse"].split("-")[1]
    document = answer.json()
    eventually(lambda: "message.applied" in stack.log("worker-1"))
    ours = {
        line["event"]: line
        for name in ("api-1", "worker-1")
        for line in (parsed(name, each) for each in stack.log(name).splitlines())
        if line.get("trace_id") == trace
    }

    assert refused.json()["trace_id"] == refused.headers["traceresponse"].split("-")[1] != trace
    assert set(ours) == {"request.answered", "message.applied"}
    request, message = ours["request.answered"], ours["message.applied"]
    assert (request["component"], request["client"], request["route"]) == ("api", "shop", "/v1/commands")
    assert (request["command_id"], request["position"]) == (document["id"], document["position"])
    assert (message["component"], message["settled"]) == ("worker", 1)
    assert message["message_id"]


def everything_goes_wrong(stack: Stack, servers: LocalServers, key: str) -> None:
    """Nonsense is sent, Postgres and Redis are away, tables refuse what the rules allow, and a table is gone."""
    with asking(stack, key) as client, stack.owner() as owner:

        def command(idempotency_key: str, *, wait: int = 1, **body: Any) -> httpx.Response:
            marked = {"reference": REFERENCE, "metadata": {"name": METADATA}, "currency": "USD"}
            headers = {"Idempotency-Key": f"{IDEMPOTENCY_KEY}-{idempotency_key}", "Prefer": f"wait={wait}"}
            return client.post("/v1/commands", json={**marked, **body}, headers=headers)

        assert command("open", wait=20, type="open_account", account=ACCOUNT).json()["status"] == "applied"
        assert command("deposit", wait=20, type="deposit", account=ACCOUNT, amount=AMOUNT).json()["status"] == "applied"
        # What is sent is wrong.
        command("deposit", type="deposit", account=ACCOUNT, amount="1.00")
        command("field", type="deposit", account=ACCOUNT + "!", amount=AMOUNT + "1")
        wrong = {"Authorization": f"Bearer florin_abcdefgh1234_{WRONG_KEY}"}
        client.get("/v1/commands", headers=wrong)
        client.post("/v1/commands", content=NO_JSON, headers={"Idempotency-Key": "x"})
        client.get(f"/v1/accounts/{ADDRESS}?x={ADDRESS}")
        client.get("/v1/commands", headers={"traceparent": HEADER})
        # A table is gone: nobody expects that.
        owner.execute("ALTER TABLE alert RENAME TO gone")
        assert client.get("/v1/alerts").status_code == 500
        eventually(lambda: "job.failed" in stack.log("scheduler-1"))
        owner.execute("ALTER TABLE gone RENAME TO alert")
        # The schema refuses what the rules allow, and says in its detail what is in the row.
        owner.execute("ALTER TABLE account ADD CONSTRAINT no_more CHECK (name <> 'MARKED8account-2')")
        command("open-2", wait=0, type="open_account", account="MARKED8account-2")
        eventually(lambda: "message.failed" in stack.log("worker-1"))
        # The command waits for too long: an alert, and nobody can be told.
        eventually(lambda: "alert.not_told" in stack.log("worker-1"))
        # Sessions are killed while they work.
        for number in range(5):
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'florin_app'")
            command(f"killed-{number}", wait=0, type="deposit", account=ACCOUNT, amount=AMOUNT)
        servers.redis.stop()
        command("no-redis", wait=0, type="deposit", account=ACCOUNT, amount=AMOUNT)
        servers.redis.start()
        owner.close()
        servers.postgres.kill()
        eventually(lambda: command("no-postgres", type="deposit", account=ACCOUNT, amount=AMOUNT).status_code == 503)
        servers.postgres.start()
        eventually(lambda: command("again", type="deposit", account=ACCOUNT, amount=AMOUNT).status_code == 200)


@contextmanager
def asking(stack: Stack, key: str) -> Iterator[httpx.Client]:
    """A client with this key."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


@contextmanager
def failing_receiver() -> Iterator[int]:
    """The port of somebody who takes no notice."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def parsed(name: str, line: str) -> dict[str, Any]:
    """The line of a process's log, which has what every line has."""
    try:
        event: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        raise AssertionError(f"{name} wrote what is no JSON: {line}") from None
    assert event.keys() >= {"event", "level", "timestamp", "component"}, line
    assert event["component"] == name.partition("-")[0]
    return event
