"""Who asks: ``Authorization: Bearer KEY``, checked against the stored hash and remembered for seconds."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api_min.problem import ProblemError
from processor import keys, tracing
from processor.keys import Client
from processor.store.keys import FoundKey, find_key

_BEARER: Final = HTTPBearer(auto_error=False, description="An API key: florin_<prefix>_<secret>")
_REMEMBERED: Final = 10_000


class KeyRing:
    """Live keys by their prefix, for ``seconds`` each: a revoked key is refused after that."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        *,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._seconds = seconds
        self._monotonic = monotonic
        self._found: dict[str, tuple[float, FoundKey | None]] = {}

    async def client(self, key: str) -> Client | None:
        """Whose key this is, if it is a live one. Unknown prefixes are looked up each time and remembered never."""
        prefix = keys.prefix_of(key)
        if prefix is None:
            return None
        until, found = self._found.get(prefix, (0.0, None))
        if self._monotonic() >= until:
            found = await self._look_up(prefix)
        if found is None or not keys.matches(key, found.secret_sha256):
            return None
        return Client(found.client_id, found.client, frozenset(found.scopes))

    async def _look_up(self, prefix: str) -> FoundKey | None:
        async with self._pool.connection() as conn:
            found = await find_key(conn, prefix)
        if found is None:
            self._found.pop(prefix, None)
            return None
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[prefix] = (self._monotonic() + self._seconds, found)
        return found


async def authenticated(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> Client:
    """The client, or a 401 that does not say what was wrong with the key."""
    ring: KeyRing = request.app.state.key_ring
    client = await ring.client(credentials.credentials) if credentials else None
    if client is None:
        raise ProblemError(
            "unauthenticated",
            "Send a valid key as 'Authorization: Bearer KEY'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    structlog.contextvars.bind_contextvars(client=client.name)
    tracing.annotate(florin__client=client.name)
    return client


def scoped(scope: str) -> Callable[[Client], Awaitable[Client]]:
    """A dependency that lets only clients with ``scope`` pass."""

    async def check(client: Annotated[Client, Depends(authenticated)]) -> Client:
        require(client, scope)
        return client

    return check


def require(client: Client, scope: str) -> None:
    """Raise a ``forbidden`` problem unless the client's key has the scope."""
    if not client.may(scope):
        raise ProblemError("forbidden", f"This needs a key with the scope {scope}.")


Writer = Annotated[Client, Depends(scoped(keys.WRITE))]
Reader = Annotated[Client, Depends(scoped(keys.READ))]
