"""Request bodies as bytes, bounded: what is too large is refused before it fills the memory."""

from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request
from starlette.requests import ClientDisconnect

from api_min.problem import ProblemError


async def read_all(request: Request, *, max_bytes: int) -> bytes:
    """The whole body. Raises a ``too_large`` problem as soon as it is known to be longer than ``max_bytes``."""
    return b"".join([chunk async for chunk in _chunks(request, max_bytes)])


async def read_lines(request: Request, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The body's lines as they arrive, without blank ones."""
    rest: list[bytes] = []
    async for chunk in _chunks(request, max_bytes):
        first, *others = chunk.split(b"\n")
        rest.append(first)
        for line in others:
            if (whole := b"".join(rest)).strip():
                yield whole
            rest = [line]
    if (whole := b"".join(rest)).strip():
        yield whole


async def _chunks(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    too_large = ProblemError("too_large", f"The body may have {max_bytes} bytes at most.")
    with suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > max_bytes:
            raise too_large
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > max_bytes:
                raise too_large
            yield chunk
    except ClientDisconnect:
        raise ProblemError("malformed", "The connection ended before the body did.") from None
