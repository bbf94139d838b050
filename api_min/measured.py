"""
Times every request, names it in the log and in a trace, and answers for what nobody caught.

Plain ASGI: Starlette's own middleware class costs as much as the rest of a small request.
"""

import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_min import problem
from processor import telemetry, tracing

log = structlog.get_logger()

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class Measured:
    """ASGI middleware. A request whose connection ended before its answer counts with status 499."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how long its answer took to begin and end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A request that was sent before the last one was answered has the context of that one.
        structlog.contextvars.clear_contextvars()
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        status = 499
        start = time.perf_counter()
        with tracing.begin(method, "server", traces=_traces(scope), http__request__method=method) as begun:
            traceresponse = begun.traceparent.encode()

            async def send_and_note(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    message["headers"] = [*message.get("headers", ()), (b"traceresponse", traceresponse)]
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            except Exception as error:
                if status != 499:
                    log.exception("request.broken_off")
                    raise
                await problem.of(error).response()(scope, receive, send_and_note)
            finally:
                seconds = time.perf_counter() - start
                route = getattr(scope.get("route"), "path", "none")
                telemetry.http_seconds.labels(method, route, str(status)).observe(seconds)
                begun.rename(f"{method} {route}")
                begun.annotate(http__route=route, http__response__status_code=status)
                if status >= 500:
                    begun.failed(str(status))
                say = log.error if status >= 500 else log.debug
                say("request.answered", method=method, route=route, status=status, ms=round(seconds * 1_000, 1))
                structlog.contextvars.clear_contextvars()


def _traces(scope: Scope) -> list[str]:
    """The trace that the client says it is in. A second header makes both worthless."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    trace = tracing.read(given[0].decode("latin-1")) if len(given) == 1 else None
    return [trace] if trace else []
