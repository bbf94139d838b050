"""Asks the API of this host whether it is there, as a client would."""

import time
from collections.abc import Callable
from typing import Final

import httpx

from exporter import figures
from exporter.state import Found, Reading

_TIMEOUT_S: Final = 2.0


class ProbeError(Exception):
    """The API answered, and not as it should."""


class ApiState:
    """One request at a time. Not through any proxy: it is this host that is asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        # A connection for each request: whether new ones are taken is part of the question.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(timeout=_TIMEOUT_S, limits=limits, trust_env=False)

    def read(self, _: Callable[[], None] | None = None) -> Reading:
        """Whether it answers with success in time. Raises what httpx raises if it does not, or ``ProbeError``."""
        began = time.monotonic()
        # Only the beginning of the answer: nobody wants the rest.
        with self._client.stream("GET", self._url) as answer:
            if not answer.is_success:
                raise ProbeError(f"it answered {answer.status_code}")
            # httpx's own limit is for each piece of it.
            if time.monotonic() - began > _TIMEOUT_S:
                raise ProbeError("it answered too late")
        found = Found()
        found.put(figures.API_UP, 1)
        return Reading(found.values, is_complete=True)

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()
