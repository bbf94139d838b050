"""How many messages each queue has and where they are; and those that failed too often: what they named, their end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
import redis

from workers.messages import COMMANDS
from workers.notify import NOTICES

QUEUES: Final = (COMMANDS, NOTICES)

_NAMESPACE: Final = "dramatiq"
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Messages:
    """Those of a queue: ``ready`` wait, ``taken`` are in a worker's hands, ``dead`` failed too often and lie aside."""

    queue: str
    ready: int
    taken: int
    delayed: int
    dead: int


def count(client: "redis.Redis") -> list[Messages]:
    """The messages of each queue, all at one instant. Raises what Redis raises when it is away."""
    pipeline = client.pipeline(transaction=True)
    for queue in QUEUES:
        name = f"{_NAMESPACE}:{queue}"
        pipeline.llen(name)
        # The texts of all that are ready or taken.
        pipeline.hlen(f"{name}.msgs")
        pipeline.hlen(f"{name}.DQ.msgs")
        pipeline.zcard(f"{name}.XQ")
    lengths = pipeline.execute()
    found = []
    for number, queue in enumerate(QUEUES):
        ready, texts, delayed, dead = lengths[4 * number : 4 * number + 4]
        found.append(Messages(queue, ready, max(0, texts - ready), delayed, dead))
    return found


def named_by_dead(client: "redis.Redis", queue: str, *, at_most: int) -> list[int]:
    """Positions of commands that the dead messages of a queue name, in order. What cannot be read names none."""
    positions: set[int] = set()
    for payload in _dead_texts(client, queue):
        try:
            positions.update(each for each in orjson.loads(payload)["kwargs"]["positions"] if isinstance(each, int))
        except (ValueError, LookupError, TypeError):
            continue
        if len(positions) >= at_most:
            break
    return sorted(positions)[:at_most]


def forget_dead(client: "redis.Redis") -> dict[str, int]:
    """Delete the dead messages of every queue, and nothing else; return how many each had. Raises as ``count``."""
    # Together, so that a message that dies at this moment is counted or kept.
    pipeline = client.pipeline(transaction=True)
    for queue in QUEUES:
        dead = f"{_NAMESPACE}:{queue}.XQ"
        pipeline.zcard(dead)
        pipeline.delete(dead, f"{dead}.msgs")
    results = pipeline.execute()
    return dict(zip(QUEUES, results[::2], strict=True))


def _dead_texts(client: Any, queue: str) -> Iterator[bytes]:
    for _, payload in client.hscan_iter(f"{_NAMESPACE}:{queue}.XQ.msgs", count=_AT_ONCE):
        yield payload
