"""
What belongs together: the trace ids by which log lines are found and, where it is on, OpenTelemetry's spans.

Off, as it is unless set, a trace is its id only: nothing of OpenTelemetry is imported, and a span is no object.
"""

import random
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

import structlog

from processor.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

log = structlog.get_logger()

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool

MAX_LINKS: Final = 16
"""Traces that a batch is linked to, at most."""

_MAX_LENGTH: Final = 1_000
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_FLUSH_S: Final = 3.0
"""How long a process that ends waits for a collector that does not answer."""

_tracer: "Tracer | None" = None
_current: ContextVar["Begun | None"] = ContextVar("florin_trace", default=None)


@contextmanager
def recording(component: str, *, on: bool) -> Iterator[None]:
    """
    Send spans by OTLP while the ``with`` block lasts, if ``on``; what is left is sent at its end.

    The standard ``OTEL_`` variables say where to and how many. A collector that is away costs spans, and nothing else.
    """
    if not on:
        yield
        return
    # Only who wants it pays for the import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    try:
        ours = Resource.create({"service.name": f"florin-{component}", "service.version": VERSION})
        provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except Exception as error:
        # A wrong OTEL_ variable costs the spans, never the worker.
        log.error("tracing.off", error=str(error))
        yield
        return
    with using(provider):
        try:
            yield
        finally:
            # A thread, for the exporter's own patience is longer than that of whoever stops this process.
            flushing = threading.Thread(target=provider.shutdown, name="tracing shutdown", daemon=True)
            flushing.start()
            flushing.join(_FLUSH_S)


@contextmanager
def using(provider: "TracerProvider") -> Iterator[None]:
    """Record with this provider of spans while the ``with`` block lasts."""
    global _tracer  # noqa: PLW0603 - the whole process traces, or does not
    before, _tracer = _tracer, provider.get_tracer("florin", VERSION)
    try:
        yield
    finally:
        _tracer = before


def is_on() -> bool:
    """Whether spans are recorded."""
    return _tracer is not None


def read(given: object) -> str | None:
    """The W3C traceparent in a header or a message, whoever wrote it; ``None`` if it is none."""
    if not isinstance(given, str) or len(given) > _MAX_LENGTH:
        return None
    match = _PARENT.fullmatch(given.strip())
    if match is None or (match[1] == "00" and match[5]):
        return None
    return f"00-{match[2]}-{match[3]}-{'01' if int(match[4], 16) & 1 else '00'}"


def read_all(given: object) -> list[str]:
    """The traceparents of a message, 16 at most, each once. Whatever is none is passed over."""
    if not isinstance(given, list):
        return []
    return list(dict.fromkeys(each for one in given[:MAX_LINKS] if (each := read(one)) is not None))


def few(traces: Iterable[str]) -> list[str]:
    """The first 16 of these, each once, without what is empty."""
    found = dict.fromkeys(traces)
    found.pop("", None)
    return list(found)[:MAX_LINKS]


def current() -> str:
    """The traceparent of what is being done here; empty if nothing is."""
    begun = _current.get()
    return begun.traceparent if begun else ""


def trace_id() -> str:
    """The trace of what is being done here; empty if nothing is."""
    return current()[3:35]


def linked() -> list[str]:
    """The other traces that what is being done here belongs to: those of a batch."""
    begun = _current.get()
    return [each[3:35] for each in begun.links] if begun else []


def annotate(**attributes: Attribute) -> None:
    """Write on the innermost span under way, if spans are recorded. Never amounts, names of accounts or keys."""
    begun = _current.get()
    if begun is not None:
        begun.annotate(**attributes)


def failed(kind: str) -> None:
    """Say that the innermost span under way met this kind of error."""
    begun = _current.get()
    if begun is not None:
        begun.failed(kind)


def begin(
    name: str, kind: Kind = "internal", *, traces: Sequence[str] = (), as_child: bool = True, **attributes: Attribute
) -> "Begun":
    """
    What came in from elsewhere, or begins by itself: a request, a message, the run of a job. To be used by ``with``.

    With one trace it is a part of that, unless ``as_child`` says no. With several it has a trace of its own, which is
    linked to them; with none, just one of its own.
    """
    is_child = as_child and len(traces) == 1
    parent = traces[0] if is_child else ""
    links = () if is_child else tuple(traces)
    if _tracer is None:
        return Begun(parent or _fresh(), links)
    return _Recorded(_start(_tracer, name, kind, parent, links=links, attributes=attributes), links)


def span(name: str, kind: Kind = "internal", **attributes: Attribute) -> "Begun":
    """A part of what is being done here. To be used by ``with``; costs next to nothing when no spans are recorded."""
    if _tracer is None:
        return _NOTHING
    begun = _current.get()
    links = begun.links if begun else ()
    return _Recorded(_start(_tracer, name, kind, current(), attributes=attributes), links)


def past(name: str, began_ns: int, ended_ns: int, *, links: Sequence[str] = (), **attributes: Attribute) -> None:
    """A part of what is being done here that is over already. Times are those of ``time.time_ns``."""
    if _tracer is not None:
        _start(_tracer, name, "internal", current(), links=links, attributes=attributes, began_ns=began_ns).end(
            ended_ns
        )


def sent(name: str, traces: Sequence[str], **attributes: Attribute) -> list[str]:
    """
    The traceparents that a message carries which is sent for these ``traces``: a span in each says that it was.

    For none of them, the message begins a trace of its own, linked to what is being done here.
    """
    if _tracer is None:
        return list(traces) or [_fresh()]
    now = time.time_ns()
    parents = traces or [""]
    links = [here] if not traces and (here := current()) else []
    spans = [
        _start(_tracer, name, "producer", each, links=links, attributes=attributes, began_ns=now) for each in parents
    ]
    for each in spans:
        each.end()
    return [_written(each.get_span_context()) for each in spans]


class Begun:
    """Something under way. Without spans it is a trace's id only, for the log and for whatever is sent on."""

    __slots__ = ("_token", "links", "traceparent")

    def __init__(self, traceparent: str, links: Sequence[str] = ()) -> None:
        self.traceparent = traceparent
        self.links = links
        self._token: Token[Begun | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)

    def annotate(self, **attributes: Attribute) -> None:
        """Nobody would see it."""

    def rename(self, name: str) -> None:
        """Nobody would see it."""

    def failed(self, kind: str) -> None:
        """Nobody would see it."""


class _Nothing(Begun):
    """A span where none are recorded. One for all, so it must remember nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


_NOTHING: Final = _Nothing("")


class _Recorded(Begun):
    """A span of OpenTelemetry."""

    __slots__ = ("_span",)

    def __init__(self, recorded: "Span", links: Sequence[str]) -> None:
        super().__init__(_written(recorded.get_span_context()), links)
        self._span = recorded

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        # Its kind only: the text of an error may have a row's contents.
        if kind is not None and issubclass(kind, Exception):
            self.failed(kind.__name__)
        self._span.end()

    def annotate(self, **attributes: Attribute) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(_named(name), value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def failed(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_status(StatusCode.ERROR)
        self._span.set_attribute("error.type", kind)


def _start(
    tracer: "Tracer",
    name: str,
    kind: Kind,
    parent: str,
    *,
    links: Sequence[str] = (),
    attributes: dict[str, Attribute],
    began_ns: int | None = None,
) -> "Span":
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context  # noqa: PLC0415

    # An empty context, not none at all: what else this process traces must not become the parent.
    context = Context()
    if parent:
        context = set_span_in_context(NonRecordingSpan(_as_context(parent)), context)
    return tracer.start_span(
        name,
        context,
        SpanKind[kind.upper()],
        {_named(each): value for each, value in attributes.items()},
        [Link(_as_context(each)) for each in links],
        began_ns,
        record_exception=False,
        set_status_on_exception=False,
    )


def _as_context(traceparent: str) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

    _, trace, parent, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _written(context: "SpanContext") -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def _fresh() -> str:
    """A trace of its own. It is to be unique, not secret; and nobody records it."""
    return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"


def _named(name: str) -> str:
    """Python's name of an attribute as OpenTelemetry's: a double underscore is a dot."""
    return name.replace("__", ".")
