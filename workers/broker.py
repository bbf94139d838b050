"""Dramatiq over Redis, with the holes closed that lose or delay a message; the sweeper covers what remains."""

from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware, Retries
from redis.backoff import NoBackoff
from redis.retry import Retry

from processor import clock, telemetry
from workers.messages import COMMANDS, OrjsonEncoder
from workers.traced import Traced


class SafeRetries(Retries):
    """
    Retries that never acknowledge what they could not enqueue again.

    Dramatiq's own swallow the error when Redis is away at that moment, and the message is lost (dramatiq#545).
    """

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        try:
            super().after_process_message(broker, message, result=result, exception=exception)
        except Exception:
            message.fail()
            raise
        if exception is not None:
            counter = telemetry.messages_given_up if message.failed else telemetry.message_retries
            counter.labels(message.queue_name).inc()


class QueueWait(Middleware):
    """Measures how long messages lay in the queue. Sender and worker may have different clocks."""

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        options = message.options
        since_ms = max(message.message_timestamp, options.get("requeue_timestamp", 0), options.get("eta") or 0)
        waited_s = clock.now().timestamp() - since_ms / 1000
        telemetry.queue_wait_seconds.labels(message.queue_name).observe(max(0.0, waited_s))


def client(redis_url: str) -> "redis.Redis":
    """
    A client that never repeats a command by itself.

    A script that is sent again after a lost reply runs twice: a message is then queued twice, or taken and lost.
    """
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=30,
        socket_connect_timeout=2,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
    )


def make_broker(redis_url: str) -> RedisBroker:
    """The broker that every process uses, set as Dramatiq's own."""
    dramatiq.set_encoder(OrjsonEncoder())
    broker = RedisBroker(
        client=client(redis_url),
        middleware=[
            Traced(),
            SafeRetries(max_retries=8, min_backoff=200, max_backoff=5_000),
            QueueWait(),
            CurrentMessage(),
        ],
        heartbeat_timeout=15_000,
        # A dead worker's messages go back to the queue at one operation in twenty, not at one in a thousand.
        maintenance_chance=50_000,
    )
    broker.declare_queue(COMMANDS)
    dramatiq.set_broker(broker)
    return broker
