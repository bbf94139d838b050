"""Asking other servers for figures: whatever they answer, in bounded time and memory."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
import orjson

PATIENCE_S: Final = 3.0
MOST_BYTES: Final = 4 * 1024 * 1024


class SourceError(Exception):
    """A source of figures does not answer, or not with figures. The text says what to look at."""


class HangingError(SourceError):
    """It is there, or something is, but says nothing."""


async def get_json(client: httpx.AsyncClient, url: str, parameters: Mapping[str, str] | None = None) -> Any:
    """
    The JSON at ``url``. Raises ``SourceError`` for any other answer, and for one that is too long.

    The caller limits the time: a server that sends a byte now and then never meets the client's own limit.
    """
    body = bytearray()
    try:
        async with client.stream("GET", url, params=parameters) as answer:
            if answer.status_code != 200:
                raise SourceError(f"it answers with status {answer.status_code}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceError("it answers with something compressed, which nobody asked for")
            async for part in answer.aiter_raw():
                body += part
                if len(body) > MOST_BYTES:
                    raise SourceError(f"its answer is longer than {MOST_BYTES:,} bytes")
        return orjson.loads(body)
    except httpx.ReadTimeout as error:
        raise HangingError(f"it runs, but does not answer within {PATIENCE_S:.0f} s ({type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(f"it does not answer ({type(error).__name__})") from None
    except orjson.JSONDecodeError:
        raise SourceError("its answer is not JSON") from None


def new_client() -> httpx.AsyncClient:
    """A client that follows nobody elsewhere and takes no proxy from the environment."""
    return httpx.AsyncClient(
        timeout=PATIENCE_S,
        trust_env=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
    )
