"""The whole way of a page, with nothing made up: workers die, Prometheus notices, Alertmanager calls, it clears."""

import http.server
import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest

from cli import monitoring
from cli.servers import process
from cli.servers.data_dir import DataDir
from tests.conftest import Database
from tests.eventually import eventually
from tests.folders import throwaway_folder
from tests.ops.rules import OF_PROMETHEUS, ROOT
from tests.stack import Stack

HURRY: Final = 30
"""Every duration of rules and routes is divided by it, and is a second at least. Thresholds stay as they are."""
RESEND: Final = {"prometheus": ["--rules.alert.resend-delay=1s"], "alertmanager": []}
"""What Prometheus could not hand over at its start, it would hand over a minute later."""
UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class Pager:
    """Whoever is on call: keeps every alert that the webhook is given."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        pager = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                pager.alerts.extend({**alert, "receiver": message["receiver"]} for alert in message["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def called(self, name: str, status: str) -> dict[str, Any]:
        """The first call about this alert that says ``firing`` or ``resolved``; empty if there was none."""
        return next(
            (each for each in self.alerts if (each["labels"]["alertname"], each["status"]) == (name, status)), {}
        )


@pytest.fixture
def pager() -> Iterator[Pager]:
    pager = Pager()
    with pager.listening():
        yield pager


@pytest.fixture
def stack(database: Database, redis_url: str) -> Iterator[Stack]:
    settings = {"FLORIN_EXPORTER_EVERY_S": "1", "FLORIN_SWEEP_EVERY_S": "1", "FLORIN_STRANDED_AFTER_S": "1"}
    with (
        throwaway_folder() as folder,
        Stack(
            database.owner_url, database.app_url, redis_url, folder, workers=1, exporters=1, settings=settings
        ) as stack,
    ):
        yield stack


@contextmanager
def watched(stack: Stack, pager: Pager, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Prometheus and Alertmanager as `florin up` starts them, in a hurry. Yields where Prometheus is."""
    installed = monitoring.look_for(None)
    if (missing := installed.missing()) is not None:
        pytest.skip(f"NO ALERT WAS TRIED IN EARNEST: {missing}")
    monkeypatch.delenv(monitoring.RUNBOOK_URL, raising=False)
    monkeypatch.setenv(monitoring.PAGE_WEBHOOK, pager.url)
    monkeypatch.setenv(monitoring.WATCHDOG_WEBHOOK, pager.url)
    said: list[str] = []
    with throwaway_folder() as folder, DataDir(folder) as data:
        planned = monitoring.prepare(
            installed, data, exporter=stack.metrics_url.removesuffix("/metrics"), say=said.append
        )
        for file in (*folder.glob("prometheus/rules/*.yml"), *folder.glob("*/*.yml")):
            file.write_text(in_a_hurry(file.read_text()))
        children = []
        try:
            for program in planned.programs:
                log, environment = data.log(program.name), program.environment or {}
                children.append(
                    process.spawn(
                        [*program.command, *RESEND[program.name]], env=environment, log=log, death_signal=signal.SIGKILL
                    )
                )
                eventually(lambda url=str(program.ready_url): answers(url))  # type: ignore[misc]
            yield str(planned.prometheus)
        finally:
            process.stop(children, signal.SIGTERM, patience_s=10)
    assert said == []


def in_a_hurry(text: str) -> str:
    """Divide what is waited for. What is measured, such as the window of a rate, is not touched."""

    def divided(match: re.Match[str]) -> str:
        seconds = int(match["number"]) * UNITS[match["unit"]]
        return f"{match['name']}: {max(1, seconds // HURRY)}s"

    names = "for|interval|evaluation_interval|scrape_interval|scrape_timeout|group_wait|group_interval"
    return re.sub(rf"\b(?P<name>{names}): (?P<number>\d+)(?P<unit>[smh])\b", divided, text)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_dead_workers_wake_somebody_and_living_ones_let_them_sleep(
    stack: Stack, pager: Pager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promise of all this: money is stuck, a person is told what and what to do, and told when it is over."""
    headers = {"Authorization": f"Bearer {stack.key('shop')}", "Idempotency-Key": "open-1"}
    command = {"type": "open_account", "account": "alice", "currency": "USD"}
    with watched(stack, pager, monkeypatch) as prometheus, httpx.Client(trust_env=False, timeout=30) as client:

        def workers_seen() -> list[Any]:
            answer = client.get(f"{prometheus}/api/v1/query", params={"query": 'florin_processes{component="worker"}'})
            return list(answer.json()["data"]["result"])

        def is_said(name: str) -> bool:
            return bool(client.get(f"{prometheus}/api/v1/query", params={"query": name}).json()["data"]["result"])

        eventually(workers_seen)
        for name in OF_PROMETHEUS:
            eventually(lambda name=name: is_said(name))  # type: ignore[misc]
        stack.kill("worker-1")
        receipt = client.post(f"{stack.url}/v1/commands", json=command, headers=headers)
        firing = eventually(lambda: pager.called("WorkersAbsent", "firing"))

        assert receipt.status_code == 202
        assert firing["receiver"] == "page"
        assert firing["labels"]["severity"] == "page"
        assert firing["annotations"]["summary"].startswith("No worker has run for more than a minute")
        assert firing["annotations"]["impact"].startswith("Payments are accepted and not settled.")
        assert firing["annotations"]["action"] == "start the workers; then ./florin top"
        assert firing["annotations"]["runbook_url"] == f"{(ROOT / 'docs/runbooks.md').as_uri()}#workersabsent"
        assert eventually(lambda: pager.called("Watchdog", "firing"))["receiver"] == "watchdog"
        assert not pager.called("WorkersAbsent", "resolved")

        stack.start("worker-1")
        resolved = eventually(lambda: pager.called("WorkersAbsent", "resolved"))
        outcome = client.post(f"{stack.url}/v1/commands", json=command, headers={**headers, "Prefer": "wait=20"})

    assert resolved["labels"] == firing["labels"]
    assert outcome.json()["status"] == "applied"
