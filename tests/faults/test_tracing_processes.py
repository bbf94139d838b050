"""Spans of real processes, as a collector receives them."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.faults.conftest import NewStack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Takes what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.spans: list[tuple[str, str, str]] = []
        """Service, name and trace of each."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = (
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            self.server.spans += [
                (service, span.name, span.trace_id.hex()) for scope in resource.scope_spans for span in scope.spans
            ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on the loopback interface."""
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def test_one_trace_goes_through_api_and_worker(new_stack: NewStack, collector: Collector) -> None:
    """Each process sends its part by itself; what is left when it is told to stop is sent before it ends."""
    settings = {
        "FLORIN_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
    }
    stack = new_stack(workers=1, schedulers=0, **settings)
    answer = httpx.post(
        f"{stack.url}/v1/commands",
        json={"type": "open_account", "account": "alice", "currency": "USD"},
        headers={
            "Authorization": f"Bearer {stack.key('shop')}",
            "Idempotency-Key": str(uuid4()),
            "Prefer": "wait=20",
            "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
        },
        timeout=30,
        trust_env=False,
    )
    codes = stack.stop("api-1", "worker-1")
    ours = {(service, name) for service, name, trace in collector.spans if trace == TRACE}

    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert codes == [0, 0]
    assert ours >= {
        ("florin-api", "POST /v1/commands"),
        ("florin-api", "intake.accept"),
        ("florin-api", "send"),
        ("florin-worker", "process commands"),
        ("florin-worker", "apply"),
        ("florin-worker", "record"),
    }
