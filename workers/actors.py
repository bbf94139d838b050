"""What a worker does with a message: hand over, tell those who wait, send on what is left in line."""

import contextlib
from typing import Any

import dramatiq
import orjson
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError

from processor import telemetry
from processor.apply import Applier
from workers.messages import APPLY, COMMANDS, SETTLED, batches, message

log = structlog.get_logger()


def declare(broker: RedisBroker, applier: Applier, announcer: "redis.Redis") -> "dramatiq.Actor[Any, None]":
    """Make this process take messages. Every resource that an actor uses is given here, once."""

    @dramatiq.actor(actor_name=APPLY, queue_name=COMMANDS, broker=broker)
    def apply_commands(version: int, positions: list[int], account_keys: list[int]) -> None:
        """Apply accepted commands. Delivered twice, they are applied once."""
        if version != 1:
            raise ValueError(f"message version {version} is not known here: deploy the workers before the producers")
        applied = applier.apply(positions, account_keys)
        for batch in batches(applied.left):
            _send_on(broker, message(batch))
        _announce(announcer, applied.settled)

    return apply_commands


def _send_on(broker: RedisBroker, head: "dramatiq.Message[None]") -> None:
    try:
        broker.enqueue(head)
    except (BrokerError, redis.RedisError) as error:
        # The commands stay pending in Postgres, so the sweeper sends them again.
        telemetry.unannounced.inc()
        log.warning("message.unannounced", error=str(error))


def _announce(announcer: "redis.Redis", positions: Any) -> None:
    # Nobody's money waits for this: who is not told looks for himself.
    with contextlib.suppress(redis.RedisError):
        announcer.publish(SETTLED, orjson.dumps(list(positions)))
