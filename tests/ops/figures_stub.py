"""An exporter that says what a test wants: situations that a healthy stack is never in, and lies."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

POINTS: Final = 180
PROOFS: Final = (
    *("account_totals", "advance_schedules", "balance_floors", "clock_sanity", "command_effects", "command_lines"),
    *("instalment_outcomes", "job_runs", "links", "overdue_instalments", "receivables", "running_balances"),
    *("system_checkpoints", "zero_sum"),
)

Answer = Callable[[BaseHTTPRequestHandler], None]


class Stub:
    """Answers ``/overview`` with whatever ``says`` or ``answers`` set last, and counts how often it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked = 0
        self._answer: Answer = _json(a_document)

    def says(self, *, age_s: float = 0.0, **current: Any) -> None:
        """The figures of a good moment, but for these, always as if read ``age_s`` ago."""
        self._answer = _json(lambda: a_document(now=time.time() - age_s, **current))

    def answers(self, answer: Answer) -> None:
        """Anything at all."""
        self._answer = answer

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """As it was told."""
        self.asked += 1
        self._answer(request)


@contextmanager
def stub_exporter() -> Iterator[Stub]:
    """One on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = Stub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def a_document(now: float | None = None, **changes: Any) -> dict[str, Any]:
    """A quarter of an hour in which money moved. ``series`` and ``refusals`` among the changes replace those."""
    now = now or time.time()
    wave = [1 + math.sin(n / 11) / 3 + math.sin(n / 2.3) / 14 for n in range(POINTS)]
    series = {
        "settled_per_s": [412 * each for each in wave],
        "accepted_per_s": [410 * each for each in [*wave[1:], wave[-1]]],
        "oldest_pending_s": [0.02 + 0.3 * max(0, each - 1) for each in wave],
        "p50_s": [0.011 * each for each in wave],
        "p99_s": [0.06 * each**3 for each in wave],
        "backlog": [round(40 * each) for each in wave],
    }
    refusals = {
        "insufficient_funds": [6 * each for each in wave],
        "account_not_open": [1.5 * each**2 for each in wave],
        "currency_mismatch": [0.4 for _ in wave],
    }
    return {
        "source": "florin",
        "now": now,
        "step_s": 5,
        "times": [now - 5 * (POINTS - 1 - n) for n in range(POINTS)],
        "series": series | changes.pop("series", {}),
        "refusals": changes.pop("refusals", refusals),
        "current": _a_good_moment(now) | changes,
    }


def _a_good_moment(now: float) -> dict[str, Any]:
    return {
        "postgres_up": True,
        "redis_up": True,
        "leader": True,
        "workers": 2,
        "oldest_pending_s": 0.02,
        "backlog": 38,
        "held_commands": 0,
        "quarantined_accounts": 0,
        "dead_letters": 0,
        "alerts": [],
        "proofs": [{"proof": proof, "proven_age_s": 12.0 + n, "breaks": 0} for n, proof in enumerate(PROOFS)],
        "jobs": [{"job": job, "age_s": 1.5, "period_s": 60} for job in ("sweep", "collect", "prove", "seal")],
        "next_collections": [
            {"currency": "JPY", "at": now + 86_400, "instalments": 31, "amount": 155000.0},
            {"currency": "USD", "at": now + 86_400, "instalments": 1204, "amount": 98213.5},
        ],
        "money": [
            {"currency": "JPY", "deposits": 81230455.0, "advances_outstanding": 1600000.0, "arrears": 0.0},
            {"currency": "KWD", "deposits": 1045.125, "advances_outstanding": 0.0, "arrears": 0.0},
            {"currency": "USD", "deposits": 1284113.07, "advances_outstanding": 120000.0, "arrears": 310.55},
        ],
        "version": "0.1.0",
    }


def _json(document: Callable[[], dict[str, Any]]) -> Answer:
    return lambda request: send(request, json.dumps(document()).encode())


def send(request: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, **headers: str) -> None:
    """One answer."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)
