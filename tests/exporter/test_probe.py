"""Whether the API answers: asked as a client would, from outside of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.servers.process import free_port
from exporter import figures, probe
from exporter.probe import ApiState
from exporter.state import State, Watched
from tests.exporter.conftest import by_name
from tests.exporter.test_away import Stuck


class Answering(BaseHTTPRequestHandler):
    """As its path says."""

    end = threading.Event()

    def do_GET(self) -> None:
        """``/hang`` is accepted, and never answered."""
        if self.path == "/hang":
            self.end.wait(30)
        self.send_response({"/healthz": 200, "/moved": 302}.get(self.path, 503))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The address of something that answers, or does not."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Answering.end.set()
    server.shutdown()
    server.server_close()
    thread.join()


def seen(url: str | None) -> float | None:
    """What is said of it after it was asked once."""
    watched = Watched("api", ApiState(url), every_s=5) if url else None
    if watched:
        watched.look()
    others = {name: Watched(name, Stuck(figures.BACKLOG), every_s=5) for name in ("postgres", "redis")}
    return by_name(State(**others, api=watched).values()).get("florin_api_up")


@pytest.mark.parametrize(("path", "expected"), [("/healthz", 1), ("/sick", 0), ("/moved", 0), ("/hang", 0)])
def test_an_api_is_up_when_it_answers_with_success(
    api: str, path: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may live and be deaf: then no client is served, and no gauge of its own says so."""
    monkeypatch.setattr(probe, "_TIMEOUT_S", 0.5 if path == "/hang" else 5.0)

    assert seen(f"{api}{path}") == expected


def test_nobody_listening_is_zero_and_nobody_asked_is_nothing() -> None:
    """A host without an API has no figure of it, so no rule fires for it."""
    assert seen(f"http://127.0.0.1:{free_port()}/healthz") == 0
    assert seen(None) is None
