"""Times every request. Plain ASGI: Starlette's own middleware class costs as much as the rest of a small request."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from processor import telemetry


class Measured:
    """ASGI middleware. A request whose connection ended before its answer counts with status 499."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how long its answer took to begin and end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            telemetry.http_seconds.labels(scope["method"], route, str(status)).observe(time.perf_counter() - start)
