"""What the exporter answers: the figures for Prometheus, and an hour of them for the page of the API."""

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import orjson
import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.hosts import KnownHosts
from exporter.merging import Folder
from exporter.samples import STEP_S, Samples
from exporter.state import State, Values, families
from processor import clock, telemetry
from processor.logs import in_short

log = structlog.get_logger()


class Exporter:
    """Everything that is known, put together. Without a ``folder``, other processes serve their own figures."""

    def __init__(self, state: State, folder: Folder | None) -> None:
        self._state = state
        self._folder = folder
        self._samples = Samples()

    def metrics(self, accept: str) -> Response:
        """Every figure of this host and of its state, as Prometheus likes it."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_These([*self._of_processes(), *families(self._state.values())]))
        return Response(encode(registry), media_type=content_type)

    def overview(self) -> Response:
        """The last hour, and how things are now."""
        document = self._samples.document(clock.now().timestamp(), self._state.values())
        return Response(orjson.dumps(document), media_type="application/json")

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Take a sample every few seconds, in the background."""
        stop = threading.Event()
        threading.Thread(target=self._sample, args=[stop], name="samples", daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def sample(self) -> None:
        """Take a sample now."""
        values: Values = self._state.values()
        self._samples.add(clock.now().timestamp(), self._of_processes(), values)

    def _sample(self, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            try:
                self.sample()
            except Exception as error:
                log.error("sample.failed", error=in_short(error))
            # By the clock and not by pauses, or the hour would be longer than one.
            due = max(due + STEP_S, time.monotonic())
            stop.wait(due - time.monotonic())

    def _of_processes(self) -> Sequence[Metric]:
        if self._folder is not None:
            return self._folder.merged()
        own: Iterable[Collector] = (telemetry.processes, telemetry.cpu_seconds, telemetry.resident_bytes)
        return [metric for each in own for metric in each.collect()]


class _These(Collector):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._metrics


def create_app(exporter: Exporter, hosts: Collection[str] = ()) -> Starlette:
    """The three addresses, and no other, for whoever calls this host by an IP address or one of these names."""

    # Plain functions, each in a thread: files are read, and nobody else has to wait for that.
    def metrics(request: Request) -> Response:
        return exporter.metrics(request.headers.get("accept", ""))

    def overview(_: Request) -> Response:
        return exporter.overview()

    def healthz(_: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def failed(request: Request, error: Exception) -> Response:
        log.error("exporter.failed", path=request.url.path, error=in_short(error))
        return PlainTextResponse("something went wrong; the log says what\n", status_code=500)

    app = Starlette(
        routes=[Route("/metrics", metrics), Route("/overview", overview), Route("/healthz", healthz)],
        exception_handlers={Exception: failed},
        middleware=[Middleware(KnownHosts, names=hosts)],
    )
    app.router.redirect_slashes = False
    return app
