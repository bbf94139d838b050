"""Answers only those who call the exporter by a name that it has."""

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]@/]+))(?::[0-9]{1,5})?")


class KnownHosts:
    """
    Turns away whoever asks for another host than this one.

    A browser on this machine, or in its network, can be led here by a page whose own name was made to lead here (DNS
    rebinding), and would hand it what the bank owes. It then asks for that name. Nobody can do so with an IP address.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http" or self._knows(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        words = "this exporter has no such name: use its IP address, or add the name to FLORIN_EXPORTER_HOSTS\n"
        await PlainTextResponse(words, status_code=421)(scope, receive, send)

    def _knows(self, said: list[str]) -> bool:
        match = _HOST.fullmatch(said[0]) if len(said) == 1 else None
        if match is None:
            return False
        name = match[1] or match[2]
        return name.lower() in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
