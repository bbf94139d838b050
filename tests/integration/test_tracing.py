"""One trace from the request over the message to the transaction and the webhook; links where many share a batch."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import anyio
import httpx
import orjson
import psycopg
import pytest
import structlog
from dramatiq import Message, Worker
from dramatiq.brokers.redis import RedisBroker
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from api_min.app import create_app
from processor import alerts, clock, keys, pools, tracing
from processor.apply import Applier
from processor.breaks import Break
from processor.notifying import Notifier, targets_of
from processor.settings import Settings
from processor.store import locks
from scheduler import services
from scheduler.accepting import accepting
from scheduler.jobs import Job, run
from scheduler.services import Services, queue_of
from scheduler.timetable import JOBS
from tests.builders import RULES, opening, submit
from tests.conftest import Database
from tests.engine import Engine
from tests.eventually import eventually
from workers import actors, notify
from workers.broker import make_broker
from workers.messages import COMMANDS, Batch, message
from workers.queue import CommandQueue

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class Spans:
    """What was recorded so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name, in the order in which they ended."""
        return [each for each in self._exporter.get_finished_spans() if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (span,) = self.named(name)
        return span

    def path(self, span: ReadableSpan) -> list[str]:
        """Its name, its parent's, and so on, as far as they were recorded here."""
        known = {id_of(each): each for each in self._exporter.get_finished_spans()}
        found = [span.name]
        while span.parent is not None and (above := known.get(f"{span.parent.span_id:016x}")) is not None:
            span = above
            found.append(span.name)
        return found


def id_of(span: ReadableSpan) -> str:
    """The span's own id."""
    return f"{span.get_span_context().span_id:016x}"  # type: ignore[union-attr]


def trace_of(span: ReadableSpan) -> str:
    """The id of the trace that the span is in."""
    return f"{span.get_span_context().trace_id:032x}"  # type: ignore[union-attr]


def linked(span: ReadableSpan) -> set[str]:
    """The traces that the span is linked to."""
    return {f"{link.context.trace_id:032x}" for link in span.links}


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Spans are recorded, in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing.using(provider):
        yield Spans(exporter)


@pytest.fixture
def settings(database: Database, redis_url: str) -> Settings:
    """What the processes of this database are told."""
    return Settings(database_url=SecretStr(database.app_url), redis_url=SecretStr(redis_url))  # type: ignore[call-arg]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, asked by somebody with a key."""
    with pools.connect(settings.database_url.get_secret_value(), "florin test keys") as conn:
        key = keys.create(conn, "shop", ("commands:write", "read"))
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://florin", headers={"Authorization": f"Bearer {key}"}
        ) as client,
    ):
        yield client


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    """The queue, as workers see it."""
    broker = make_broker(redis_url)
    yield broker
    broker.client.close()


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool]:
    """A worker's connection."""
    with pools.sync_pool(database.app_url, application_name="florin worker", size=1) as pool:
        yield pool


@contextmanager
def working(broker: RedisBroker, pool: ConnectionPool) -> Iterator[None]:
    """A worker as ``python -m workers`` runs it, until what it has in hand is done."""
    actors.declare(broker, Applier(pool, now=clock.now, rules=RULES), broker.client)
    worker = Worker(broker, queues={COMMANDS}, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=10_000)


async def send(client: httpx.AsyncClient, traceparent: str) -> httpx.Response:
    """Send a command in this trace."""
    body = {"type": "open_account", "account": f"acc-{uuid4().hex[:8]}", "currency": "USD"}
    headers = {"Idempotency-Key": str(uuid4()), "traceparent": traceparent}
    return await client.post("/v1/commands", json=body, headers=headers)


async def until(condition: Callable[[], object]) -> None:
    """Wait for it, and let the API work meanwhile."""
    await anyio.to_thread.run_sync(lambda: eventually(condition))


def received() -> float:
    """The commands that have reached the intake of this process."""
    return REGISTRY.get_sample_value("florin_commands_received_total") or 0


def applied(span: ReadableSpan) -> int:
    """How many commands the transaction applied."""
    count = (span.attributes or {}).get("florin.applied", 0)
    assert isinstance(count, int)
    return count


@pytest.mark.anyio
async def test_one_trace_leads_from_the_request_to_the_transaction(
    spans: Spans, client: httpx.AsyncClient, broker: RedisBroker, pool: ConnectionPool
) -> None:
    """A client that says where it waits sees what the bank did with that time, in its own trace."""
    answer = await send(client, GIVEN)
    with working(broker, pool):
        await until(lambda: spans.named("process commands"))
    server, consumer = spans.one("POST /v1/commands"), spans.one("process commands")

    assert answer.status_code == 202
    assert answer.headers["traceresponse"] == f"00-{GIVEN[3:35]}-{id_of(server)}-01"
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == GIVEN[36:52]
    assert (server.kind, consumer.kind, spans.one("send").kind) == (
        SpanKind.SERVER,
        SpanKind.CONSUMER,
        SpanKind.PRODUCER,
    )
    for name in ("lock", "gather", "decide", "record"):
        assert spans.path(spans.one(name)) == [name, "apply", "process commands", "send", "POST /v1/commands"]
        assert trace_of(spans.one(name)) == GIVEN[3:35]
    assert spans.path(spans.one("intake.wait")) == ["intake.wait", "POST /v1/commands"]
    assert spans.path(spans.one("intake.accept")) == ["intake.accept", "POST /v1/commands"]
    assert server.attributes is not None
    assert {name: server.attributes[name] for name in server.attributes if name.startswith("http")} == {
        "http.request.method": "POST",
        "http.route": "/v1/commands",
        "http.response.status_code": 202,
    }
    assert dict(spans.one("apply").attributes or {}) == {
        "florin.commands": 1,
        "florin.held": 0,
        "florin.applied": 1,
    }
    assert (consumer.attributes or {})["florin.sent_by"] == "intake"


@pytest.mark.anyio
async def test_requests_that_share_a_transaction_are_linked_to_it_and_see_its_commit(
    spans: Spans, client: httpx.AsyncClient, broker: RedisBroker, pool: ConnectionPool, database: Database
) -> None:
    """A batch belongs to no single one of them: a trace of its own, which each of theirs leads to and back."""
    traces = [f"{number:032x}" for number in range(1, 21)]
    with psycopg.connect(database.owner_url, autocommit=False) as owner:
        async with anyio.create_task_group() as requests:
            # The first one holds the intake up, so that the others wait for the same transaction.
            owner.execute("SELECT pg_advisory_xact_lock(%s, %s)", locks.INTAKE)
            requests.start_soon(send, client, f"00-{traces[0]}-00f067aa0ba902b7-01")
            await until(lambda: owner.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None)
            before = received()
            for trace in traces[1:]:
                requests.start_soon(send, client, f"00-{trace}-00f067aa0ba902b7-01")
            await until(lambda: received() == before + 19)
            owner.rollback()
    with working(broker, pool):
        await until(lambda: sum(applied(span) for span in spans.named("apply")) == 20)
    group = max(spans.named("intake.accept"), key=lambda span: len(span.links))
    batch = max(spans.named("process commands"), key=lambda span: len(span.links))
    commits = spans.named("intake.commit")

    assert len(group.links) == len(batch.links) == 16
    assert linked(group) < set(traces)
    assert linked(batch) < set(traces)
    assert not {trace_of(group), trace_of(batch)} & set(traces)
    assert len(commits) == 19
    assert {trace_of(commit) for commit in commits} < set(traces)
    assert all(linked(commit) == {trace_of(group)} for commit in commits)
    assert all(spans.path(commit) == ["intake.commit", "intake.wait", "POST /v1/commands"] for commit in commits)
    # A link of the batch leads to the span in a request's own trace that says when it was sent.
    sent = {id_of(span) for span in spans.named("send")}
    assert {f"{link.context.span_id:016x}" for link in batch.links} <= sent


@pytest.mark.anyio
async def test_a_client_that_says_nonsense_is_given_a_trace_of_its_own(spans: Spans, client: httpx.AsyncClient) -> None:
    """Whatever stands in the header, the request is done, and the answer says where to look."""
    bad = [
        *("", "abc", GIVEN[:-1], GIVEN + "-x", "ff" + GIVEN[2:], GIVEN.upper(), "x" * 10_000),
        f"00-{32 * '0'}-00f067aa0ba902b7-01",
    ]
    answers = [await client.get("/v1/commands", headers={"traceparent": each}) for each in bad]
    twice = await client.get("/v1/commands", headers=[("traceparent", GIVEN), ("traceparent", GIVEN)])
    missing = await client.get("/v1/nothing", headers={"traceparent": GIVEN})

    given = [answer.headers["traceresponse"][3:35] for answer in [*answers, twice]]
    assert {answer.status_code for answer in answers} == {200}
    assert GIVEN[3:35] not in given
    assert len(set(given)) == len(given)
    assert missing.json()["trace_id"] == GIVEN[3:35]


@pytest.mark.parametrize(
    "options",
    [
        {"trace": "x", "sent_by": 7},
        {"trace": {"a": "b"}, "sent_by": "x" * 10_000},
        {"trace": [None, 1, [], {}, "nonsense", GIVEN[:-1], "00-" + "é" * 52], "sent_by": None},
        {"trace": [f"00-{number:032x}-00f067aa0ba902b7-01" for number in range(1, 5_000)], "sent_by": ["intake"]},
        {"trace": [GIVEN] * 5_000, "sent_by": {}, "retries": "many"},
        {"trace": "x" * 1_000_000, "unknown": [1, 2, 3]},
        {"trace": [GIVEN], "sent_by": "intake", "requeue_timestamp": "yesterday"},
    ],
)
def test_what_a_message_says_of_itself_does_no_harm(
    spans: Spans, engine: Engine, broker: RedisBroker, pool: ConnectionPool, options: dict[str, object]
) -> None:
    """Whoever can write to Redis can forge it. The command is applied once, and no batch is linked to thousands."""
    (position,) = engine.accept(opening("alice"))
    honest = message(Batch([position], engine.queue.pop().account_keys))
    broker.enqueue(Message(**{**honest.asdict(), "options": options}))
    with working(broker, pool):
        eventually(lambda: spans.named("process commands"))
    consumer = spans.one("process commands")

    assert engine.outcomes() == {position: ("applied", None)}
    assert len(consumer.links) <= 16
    assert broker.client.hlen(f"{broker.namespace}:{COMMANDS}.msgs") == 0


@pytest.fixture
def provided(settings: Settings) -> Iterator[Services]:
    """What a job is given."""
    with services.opened(settings, queue_of(settings), connections=1, stop=threading.Event()) as provided:
        yield provided


def options_of(broker: RedisBroker) -> dict[str, object]:
    """What the only message in the queue says of itself."""
    (body,) = broker.client.hvals(f"{broker.namespace}:{COMMANDS}.msgs")
    options: dict[str, object] = orjson.loads(body)["options"]
    return options


def test_what_a_job_sends_belongs_to_its_run(
    spans: Spans, clients: Database, provided: Services, broker: RedisBroker
) -> None:
    """The trace goes over to the intake's event loop, in another thread, and on to the messenger's."""

    def work(services: Services) -> int:
        queue = CommandQueue(broker, sent_by="scheduler")
        with accepting(services.settings, queue, now=clock.now) as send:
            return len(send([submit(opening("alice"))]))

    run(Job("try", "The test wants to.", lambda _: 1, work), provided)
    options = options_of(broker)
    job = spans.one("job try")

    assert options["sent_by"] == "scheduler"
    assert options["trace"] == [f"00-{trace_of(job)}-{id_of(spans.one('send'))}-01"]
    assert spans.path(spans.one("intake.accept")) == ["intake.accept", "job try"]
    assert structlog.contextvars.get_contextvars() == {}


def test_what_the_sweeper_sends_again_begins_a_trace_of_its_own(
    spans: Spans, provided: Services, broker: RedisBroker, engine: Engine
) -> None:
    """Whose request it was nobody knows any more, and the sweeper's run is about many."""
    engine.accept(opening("alice"))
    engine.rows("UPDATE command SET accepted_at = accepted_at - interval '1 h'")
    run(next(job for job in JOBS if job.name == "sweep"), provided)
    options, sent = options_of(broker), spans.one("send")

    assert options["sent_by"] == (sent.attributes or {})["florin.sent_by"] == "sweeper"
    assert options["trace"] == [f"00-{trace_of(sent)}-{id_of(sent)}-01"]
    assert sent.parent is None
    assert linked(sent) == {trace_of(spans.one("job sweep"))}


def test_what_a_worker_sends_on_is_linked_to_where_it_came_from(
    spans: Spans, engine: Engine, broker: RedisBroker, pool: ConnectionPool
) -> None:
    """It is other commands' turn: as a part of the same trace, that of a busy account would never end."""
    (position,) = engine.accept(opening("alice"))
    batch = Batch([position], engine.queue.pop().account_keys, [GIVEN])
    broker.enqueue(message(batch, sent_by="worker"))
    with working(broker, pool):
        eventually(lambda: spans.named("process commands"))
    consumer = spans.one("process commands")

    assert (consumer.parent, linked(consumer)) == (None, {GIVEN[3:35]})


def test_a_webhook_is_part_of_the_trace_of_the_job_that_asked_for_it(
    spans: Spans, provided: Services, database: Database, broker: RedisBroker, settings: Settings
) -> None:
    """Whoever is told can find out why he was told late."""
    got: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.headers["traceparent"])
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/the-path-is-a-secret"
    told = targets_of(
        settings.model_copy(update={"alert_webhook_url": SecretStr(address), "alert_webhook_secret": SecretStr(SECRET)})
    )
    notify.declare(broker, Notifier(lambda: pools.connect(database.app_url, "florin test"), told, now=clock.now))
    with pools.connect(database.app_url, "florin test") as conn:
        alerts.report(conn, "zero_sum", [Break("zero_sum", "currency:USD", "0", "1", "look")], now=clock.now())
    run(next(job for job in JOBS if job.name == "notify"), provided)
    with notify.delivering(broker):
        eventually(lambda: spans.named("process notices"))
    server.shutdown()
    server.server_close()
    post = spans.one("POST")

    assert spans.path(post) == ["POST", "process notices", "send", "job notify"]
    assert got == [f"00-{trace_of(post)}-{id_of(post)}-01"]
    assert (post.kind, post.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert "secret" not in str(post.attributes)


def test_a_span_of_an_error_says_its_kind_and_nothing_of_its_text(spans: Spans) -> None:
    """Postgres's errors have the row in them, and traces are kept by others."""
    with pytest.raises(ValueError, match="alice"), tracing.begin("job try"):
        raise ValueError("alice has 12.50")
    span = spans.one("job try")

    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert "alice" not in span.to_json()
