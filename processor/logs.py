"""The format of the log: one line an event, for machines or for a person, and what a line may say of an error."""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Literal

import psycopg
import psycopg_pool
import stamina
import structlog
from structlog.typing import EventDict, WrappedLogger

from processor import tracing
from processor.errors import PermanentError, ProcessorError

Format = Literal["auto", "json", "console"]

_MAX_WORDS: Final = 500

_SECRETS: Final = re.compile(
    r"(?P<address>[a-z][a-z0-9+.-]*://)[^\s/@\"']*@"
    r"|(?P<key>florin_[A-Za-z0-9]{8,32}_)[A-Za-z0-9_-]{43}"
    r"|(?P<signer>whsec_)[A-Za-z0-9+/=_-]+"
    r"|(?P<bearer>[Bb]earer )[^\s\"']+"
)
"""What no line has by design. Whatever a library, or a bug, writes is looked through all the same."""

_HARMLESS: Final = (
    ProcessorError,
    psycopg.Error,
    psycopg_pool.PoolTimeout,
    OSError,
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    RuntimeError,
)
"""Errors whose texts are about the code, or the machine."""

_THEIR_DISTRESS: Final = ("dramatiq.", "opentelemetry.")
"""Libraries that cry out over what they try again by themselves: Redis, or a collector, that is away."""

_SAID_BY_US: Final = ("dramatiq.worker.WorkerThread", "dramatiq.middleware.retries")
"""What they say of a message that failed is in our own line, which tells passing trouble from the rest."""

log = structlog.get_logger()


def set_up(level: str, component: str = "process", *, log_format: Format = "auto") -> None:
    """
    Write to standard error: JSON, or coloured text if that is a terminal or ``log_format`` says so.

    Every line has ``component`` and, where something is under way, its ``trace_id``. Libraries write in the same form,
    from warnings on. What nobody caught is a line as well.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _Named(component),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
    ]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        processors=[*shared, render, _without_secrets],
        # One write a line: with two, those of other threads would come in between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _calm],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render, _without_secrets],
        )
    )
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), handlers=[handler], force=True
    )
    # A process has a worker for each queue, on one broker: that is meant.
    handler.addFilter(lambda record: not str(record.msg).startswith("You're adding a middleware of the same type"))
    stamina.instrumentation.set_on_retry_hooks([_tell_retry])
    for repeated in _SAID_BY_US:
        logging.getLogger(repeated).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = _crashed
    threading.excepthook = _thread_ended


def for_a_command() -> None:
    """What a command of ``florin`` logs goes to standard error, in text; standard output is for its result."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S"),
            _tell_exception,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
            _without_secrets,
        ],
        # The stream is looked up each time: who replaced it may put it back.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def in_short(error: BaseException) -> str:
    """What a log may say of an error: never what is in a row or was sent, so in case of doubt its kind only."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        # Postgres's detail would have the row.
        words = f"{error.sqlstate} {error.diag.message_primary}"
    elif isinstance(error, PermanentError) and error.__cause__ is not None:
        # It repeats what the rules met, with what was in their hands.
        words = f"PermanentError, because of {in_short(error.__cause__)}"
    elif isinstance(error, _HARMLESS) or _is_of(type(error), "redis", "dramatiq"):
        words = repr(error)
    else:
        words = type(error).__qualname__
    return _SECRETS.sub(_masked, " ".join(words.split()))[:_MAX_WORDS]


class _Named:
    """Says which part of Florin it is, and what it belongs to."""

    def __init__(self, component: str) -> None:
        self._component = component

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("component", self._component)
        if trace_id := tracing.trace_id():
            event.setdefault("trace_id", trace_id)
            if linked := tracing.linked():
                event.setdefault("linked", linked)
        return event


def _tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The traceback, without local variables, and of each error only what ``in_short`` says."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if error is None and given:
        error = sys.exc_info()[1]
    if error is not None:
        event["exception"] = "".join(_told(error, set())).rstrip("\n")
    return event


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "\nand, because of it or while it was handled:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    kind, words = type(error).__qualname__, in_short(error)
    yield f"{words}\n" if words.startswith(kind) else f"{kind}: {words}\n"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "\none of them:\n\n"
                yield from _told(each, seen)


def _calm(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Critical is what ends a process: what a library tries again is a warning."""
    record: logging.LogRecord = event["_record"]
    if record.levelno >= logging.ERROR and record.name.startswith(_THEIR_DISTRESS):
        kind = record.exc_info[0] if record.exc_info else None
        is_passing = kind is None or _is_of(kind, "redis", "dramatiq", "requests", "urllib3")
        event["level"] = "warning" if is_passing else "error"
    return event


def _is_of(kind: type[BaseException], *libraries: str) -> bool:
    """By name: not every process has them imported."""
    return kind.__module__.partition(".")[0] in libraries


def _without_secrets(_logger: WrappedLogger, _method: str, line: Any) -> str:
    return _SECRETS.sub(_masked, line)


def _masked(match: re.Match[str]) -> str:
    if match["address"]:
        return f"{match['address']}***@"
    return f"{match['key'] or match['signer'] or match['bearer']}***"


def _tell_retry(details: stamina.instrumentation.RetryDetails) -> None:
    """In place of stamina's own words, which repeat the error's text and the arguments."""
    log.warning(
        "transaction.retried",
        attempt=details.retry_num,
        error=in_short(details.caused_by),
        wait_s=round(details.wait_for, 2),
    )


def _crashed(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    log.critical("process.crashed", exc_info=error)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        name = ended.thread.name if ended.thread else None
        log.error("thread.ended", thread=name, exc_info=ended.exc_value or ended.exc_type)
