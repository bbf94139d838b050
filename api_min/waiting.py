"""Wakes requests that wait for an outcome: workers announce positions on Redis pub/sub once they are committed."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

import orjson
import psycopg
import redis.asyncio
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from redis.exceptions import RedisError

from processor.store.reading import find_settled
from workers.messages import SETTLED

log = structlog.get_logger()

_REMEMBERED: Final = 50_000
"""Announcements kept for those who ask a moment too late."""

_LOOK_EVERY_S: Final = 1.0
"""How often Postgres is asked instead, for announcements that were lost: one query for all who wait."""


class SettledListener:
    """One per API process."""

    def __init__(self, redis_url: str, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._redis_url = redis_url
        self._pool = pool
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._announced: OrderedDict[int, None] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._released = False

    async def wait(self, position: int, *, seconds: float) -> bool:
        """Return ``True`` as soon as the command at ``position`` has an outcome, ``False`` after ``seconds``."""
        if position in self._announced:
            return True
        if self._released:
            return False
        told = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(position, set()).add(told)
        try:
            await asyncio.wait_for(told, seconds)
        except TimeoutError:
            return False
        finally:
            if others := self._waiting.get(position):
                others.discard(told)
                if not others:
                    del self._waiting[position]
        return not self._released

    def release(self) -> None:
        """Let everybody go, now and from now on: the process ends. May be called from a signal handler."""
        self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._released = True
        self._tell(list(self._waiting))

    async def listen(self) -> None:
        """Take announcements until cancelled; while Redis is away, try again each second."""
        while True:
            with suppress(RedisError, OSError):
                async with (
                    redis.asyncio.Redis.from_url(
                        self._redis_url, socket_connect_timeout=2, health_check_interval=10
                    ) as client,
                    client.pubsub(ignore_subscribe_messages=True) as pubsub,
                ):
                    await pubsub.subscribe(SETTLED)
                    async for message in pubsub.listen():
                        self._settled(_positions(message["data"]))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Ask Postgres for those who have waited long, until cancelled."""
        while True:
            asked = list(self._waiting)
            await asyncio.sleep(_LOOK_EVERY_S)
            asked = [position for position in asked if position in self._waiting]
            if asked:
                with suppress(psycopg.Error, PoolTimeout):
                    async with self._pool.connection() as conn:
                        self._settled(await find_settled(conn, asked))

    def _settled(self, positions: list[int]) -> None:
        self._announced |= dict.fromkeys(positions)
        self._tell(positions)
        while len(self._announced) > _REMEMBERED:
            self._announced.popitem(last=False)

    def _tell(self, positions: list[int]) -> None:
        for position in positions:
            for told in self._waiting.get(position, ()):
                if not told.done():
                    told.set_result(None)


def _positions(data: bytes) -> list[int]:
    """What a message says; nothing, if anybody else wrote it."""
    try:
        positions = orjson.loads(data)
    except orjson.JSONDecodeError:
        return []
    return [each for each in positions if isinstance(each, int)] if isinstance(positions, list) else []
