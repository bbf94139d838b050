"""Reads the queue, and how Redis itself is."""

from collections.abc import Callable
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from exporter import figures
from exporter.state import Found, Reading
from processor.errors import SettingsError
from workers.messages import COMMANDS
from workers.notify import NOTICES

_NAMESPACE: Final = "dramatiq"
_TIMEOUT_S: Final = 2.0

_OF_THE_SERVER: Final = {
    "used_memory": figures.REDIS_MEMORY,
    "maxmemory": figures.REDIS_MAX_MEMORY,
    "connected_clients": figures.REDIS_CLIENTS,
    "uptime_in_seconds": figures.REDIS_UPTIME,
    "total_commands_processed": figures.REDIS_COMMANDS,
    "evicted_keys": figures.REDIS_EVICTED,
    "rejected_connections": figures.REDIS_REJECTED,
}
"""What INFO calls them."""


class RedisState:
    """One connection, which is opened again when it breaks."""

    def __init__(self, redis_url: str) -> None:
        try:
            self._client = redis.Redis.from_url(
                redis_url,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
                max_connections=1,
            )
        except ValueError:
            # Its text may show the address, and the password in it.
            raise SettingsError("REDIS_URL is not an address of Redis: give redis://:password@host:port/0") from None

    def read(self, _: Callable[[], None] | None = None) -> Reading:
        """Every figure. Raises what Redis raises when it is away."""
        found = Found()
        # At one instant: a message that is taken meanwhile is neither ready nor taken, or both.
        pipeline = self._client.pipeline(transaction=True)
        pipeline.info()
        for queue in (COMMANDS, NOTICES):
            name = f"{_NAMESPACE}:{queue}"
            pipeline.llen(name)
            # The texts of all that are ready or taken; those of a queue that is delayed are held by its own workers.
            pipeline.hlen(f"{name}.msgs")
            pipeline.hlen(f"{name}.DQ.msgs")
            pipeline.zcard(f"{name}.XQ")
        info, *lengths = pipeline.execute()
        _put_server(info, found)
        for number, queue in enumerate((COMMANDS, NOTICES)):
            ready, texts, delayed, dead = lengths[4 * number : 4 * number + 4]
            found.put(figures.QUEUE, ready, queue, "ready")
            found.put(figures.QUEUE, max(0, texts - ready), queue, "taken")
            found.put(figures.QUEUE, delayed, queue, "delayed")
            found.put(figures.QUEUE, dead, queue, "dead")
        return Reading(found.values, is_complete=True)

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()


def _put_server(info: dict[str, Any], found: Found) -> None:
    for name, figure in _OF_THE_SERVER.items():
        found.put(figure, info[name])
