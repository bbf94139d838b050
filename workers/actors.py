"""What a worker does with a message: hand over, tell those who wait, send on what is left in line."""

import contextlib
from dataclasses import replace
from typing import Any

import dramatiq
import orjson
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError
from dramatiq.middleware import CurrentMessage

from processor import clock, telemetry, tracing
from processor.apply import Applier
from processor.delivery import Delivery, identity
from processor.logs import in_short
from workers.messages import APPLY, COMMANDS, SETTLED, batches, message

log = structlog.get_logger()


def declare(broker: RedisBroker, applier: Applier, announcer: "redis.Redis") -> "dramatiq.Actor[Any, None]":
    """Make this process take messages. Every resource that an actor uses is given here, once."""

    @dramatiq.actor(actor_name=APPLY, queue_name=COMMANDS, broker=broker)
    def apply_commands(version: int, positions: list[int], account_keys: list[int]) -> None:
        """Apply accepted commands. Delivered twice, they are applied once."""
        if version != 1:
            raise ValueError(f"message version {version} is not known here: deploy the workers before the producers")
        message_in_hand = CurrentMessage.get_current_message()
        delivery = Delivery.of(message_in_hand, worker=identity(), taken_at=clock.now())
        applied = applier.apply(positions, account_keys, delivery)
        for batch in batches(applied.left):
            # What is left is other commands' turn: a trace of its own, or the trace of a busy account would never end.
            _send_on(broker, message(replace(batch, traces=tracing.few([tracing.current()])), sent_by="worker"))
        _announce(announcer, applied.settled)
        tracing.annotate(florin__settled=len(applied.settled), florin__left=len(applied.left))
        log.debug("message.applied", settled=len(applied.settled), left=len(applied.left))

    return apply_commands


def _send_on(broker: RedisBroker, head: "dramatiq.Message[None]") -> None:
    try:
        broker.enqueue(head)
    except (BrokerError, redis.RedisError) as error:
        # The commands stay pending in Postgres, so the sweeper sends them again.
        telemetry.unannounced.inc()
        log.warning("message.unannounced", error=in_short(error), commands=len(head.kwargs["positions"]))


def _announce(announcer: "redis.Redis", positions: Any) -> None:
    # Nobody's money waits for this: who is not told looks for himself.
    with contextlib.suppress(redis.RedisError):
        announcer.publish(SETTLED, orjson.dumps(list(positions)))
