"""An alert gets out of a running stack, whatever is killed or flushed on the way."""

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import redis
from standardwebhooks import Webhook

from processor import clock, pools
from processor.alerts import report
from processor.breaks import Break
from tests.conftest import Database
from tests.eventually import eventually
from tests.folders import throwaway_folder
from tests.stack import Stack

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str]]]:
    """A receiver's address, and the ids of what it verified."""
    ids: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            Webhook(SECRET).verify(body, {name.lower(): value for name, value in self.headers.items()})
            ids.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", ids
        server.shutdown()
        thread.join()


def test_the_news_survives_a_flushed_queue_and_a_killed_worker(
    database: Database, redis_url: str, heard: tuple[str, list[str]]
) -> None:
    """What is to be told is a row in Postgres: scheduler and workers find it, whoever was asked before."""
    url, ids = heard
    settings = {
        "FLORIN_ALERT_WEBHOOK_URL": url,
        "FLORIN_ALERT_WEBHOOK_SECRET": SECRET,
        "FLORIN_NOTIFY_EVERY_S": "1",
    }
    with (
        throwaway_folder() as folder,
        pools.connect(database.app_url, "florin test") as conn,
        Stack(database.owner_url, database.app_url, redis_url, folder, api=0, workers=1, settings=settings) as stack,
    ):
        stack.kill("worker-1")
        report(conn, "chain", [Break("chain", "account:alice", "1", "2", "Look.")], now=clock.now())
        with redis.Redis.from_url(redis_url) as queue:
            eventually(lambda: queue.llen("dramatiq:notices"))
            queue.flushall()
        stack.start("worker-1")
        eventually(lambda: ids)
        report(conn, "chain", [], now=clock.now())
        eventually(lambda: len(set(ids)) == 2)
        changes = {str(id_) for (id_,) in conn.execute("SELECT id FROM alert_change")}

        assert set(ids) == changes
        assert eventually(lambda: not conn.execute("SELECT FROM alert_notice WHERE state = 'waiting'").rowcount)


def test_a_worker_with_a_wrong_address_does_not_start(database: Database, redis_url: str) -> None:
    """It says so now, and not in the night of the first alert; and shows nothing of the address."""
    settings = {"FLORIN_ALERT_URLS": '["hush://a-secret"]'}
    with throwaway_folder() as folder, pytest.raises(AssertionError, match="number 1 is no address") as refused:
        Stack(
            database.owner_url, database.app_url, redis_url, folder, api=0, workers=1, schedulers=0, settings=settings
        ).__enter__()

    assert "a-secret" not in str(refused.value)
