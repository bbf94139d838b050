"""Who asks: ``Authorization: Bearer KEY``, checked against the stored hash and remembered for seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import psycopg
import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api_min.problem import ProblemError
from processor import keys, tracing
from processor.keys import Client
from processor.store.keys import FoundKey, find_key

_BEARER: Final = HTTPBearer(auto_error=False, description="An API key: florin_<prefix>_<secret>")
_REMEMBERED: Final = 10_000
_LOOKERS_PATIENCE_S: Final = 2.5
"""How long whoever only looks waits for Postgres to check the key."""
_LOOKERS_GRACE_S: Final = 3_600.0
"""How long ago a key may have been found valid, to still see that Postgres is away."""
_MOST_CHECKS: Final = 100


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
        self._found: dict[str, tuple[float, FoundKey]] = {}
        """When each was last found, and what."""
        self._checks: dict[str, tuple[float, asyncio.Task[FoundKey | None]]] = {}

    async def client(self, key: str) -> Client | None:
        """Whose key this is, if it is a live one. Unknown prefixes are looked up each time and remembered never."""
        prefix = keys.prefix_of(key)
        if prefix is None:
            return None
        found = self._remembered(prefix, self._seconds)
        return _if_theirs(key, found if found is not None else await self._look_up(prefix))

    async def looker(self, key: str) -> Client | None:
        """
        The same for whoever only asks how things are: that must be told just then when Postgres cannot check keys.

        A key that was valid within the last hour is taken while Postgres is away; a revocation is made there too. Never
        for anything that moves money or shows a client's. Raises ``ProblemError`` for a key that is not remembered.
        """
        prefix = keys.prefix_of(key)
        if prefix is None:
            return None
        found = self._remembered(prefix, self._seconds)
        if found is None:
            try:
                found = await self._check(prefix)
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, TimeoutError):
                found = self._remembered(prefix, _LOOKERS_GRACE_S)
                if found is None:
                    raise ProblemError(
                        "unavailable",
                        "Postgres is away, so this key cannot be checked either.",
                        headers={"Retry-After": "2"},
                    ) from None
        return _if_theirs(key, found)

    async def _check(self, prefix: str) -> FoundKey | None:
        """Look up with patience's end. One look-up of each prefix is under way: a hung Postgres never ends them."""
        if prefix not in self._checks:
            if len(self._checks) >= _MOST_CHECKS:
                raise TimeoutError
            task = asyncio.create_task(self._look_up(prefix))
            self._checks[prefix] = (self._monotonic() + _LOOKERS_PATIENCE_S, task)
            task.add_done_callback(lambda ended: self._checked(prefix, ended))
        until, task = self._checks[prefix]
        # Not cancelled when time is up: that would wait for Postgres as well.
        await asyncio.wait({task}, timeout=max(0.0, until - self._monotonic()))
        if not task.done():
            raise TimeoutError
        return task.result()

    def _checked(self, prefix: str, ended: "asyncio.Task[FoundKey | None]") -> None:
        del self._checks[prefix]
        if not ended.cancelled():
            ended.exception()  # Whoever waited for it was told, or has gone.

    def _remembered(self, prefix: str, seconds: float) -> FoundKey | None:
        at, found = self._found.get(prefix, (float("-inf"), None))
        return found if self._monotonic() < at + seconds else None

    async def _look_up(self, prefix: str) -> FoundKey | None:
        async with self._pool.connection() as conn:
            found = await find_key(conn, prefix)
        if found is None:
            self._found.pop(prefix, None)
            return None
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[prefix] = (self._monotonic(), found)
        return found


_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def _if_theirs(key: str, found: FoundKey | None) -> Client | None:
    if found is None or not keys.matches(key, found.secret_sha256):
        return None
    return Client(found.client_id, found.client, frozenset(found.scopes))


async def authenticated(request: Request, credentials: _Credentials) -> Client:
    """The client, or a 401 that does not say what was wrong with the key."""
    ring: KeyRing = request.app.state.key_ring
    return _known(await ring.client(credentials.credentials) if credentials else None)


async def looking(request: Request, credentials: _Credentials) -> None:
    """Lets only keys with the scope ``ops`` pass, as far as ``KeyRing.looker`` can tell."""
    ring: KeyRing = request.app.state.key_ring
    require(_known(await ring.looker(credentials.credentials) if credentials else None), keys.OPS)


def _known(client: Client | None) -> Client:
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
