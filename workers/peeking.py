"""Looks for commands in the queue without taking anything out: which messages name them now."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import redis

from workers.messages import COMMANDS

MOST: Final = 20_000
"""Messages that are looked at, at most: with more of them, nobody waits for an answer."""

GIVEN_UP: Final = "given up"
"""The state of a message that is tried no more, and is kept to be looked at."""

_AT_ONCE: Final = 500
_NAMESPACE: Final = "dramatiq"


@dataclass(frozen=True, slots=True)
class Found:
    """A message that names the command. ``state`` is ready, taken, delayed, or given up; ``failures`` are its tries."""

    message_id: str
    state: str
    sent_by: str | None
    sent_at: datetime | None
    commands: int
    failures: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found, and whether every message was looked at."""

    found: list[Found]
    at_all: bool


def look_for(client: "redis.Redis", position: int) -> Looked:
    """The messages that name the command at this position. Raises what Redis raises when it is away."""
    found: list[Found] = []
    seen = 0
    for queue, waiting in ((COMMANDS, "ready"), (f"{COMMANDS}.DQ", "delayed"), (f"{COMMANDS}.XQ", GIVEN_UP)):
        for id_, payload in _messages(client, queue):
            seen += 1
            if seen > MOST:
                return Looked(found, at_all=False)
            if named := _read(payload, position):
                message_id = id_.decode(errors="replace")
                # Of those that were given up there is no list; their last try is not written on them.
                is_gone = waiting == GIVEN_UP
                in_queue = is_gone or client.lpos(f"{_NAMESPACE}:{queue}", message_id) is not None
                state, failures = waiting if in_queue else "taken", named.failures + is_gone
                found.append(replace(named, message_id=message_id, state=state, failures=failures))
    return Looked(found, at_all=True)


def _messages(client: Any, queue: str) -> Iterator[tuple[bytes, bytes]]:
    yield from client.hscan_iter(f"{_NAMESPACE}:{queue}.msgs", count=_AT_ONCE)


def _read(payload: bytes, position: int) -> Found | None:
    """What a message says, if it names the position. What cannot be read names nothing."""
    try:
        message = orjson.loads(payload)
        positions = message["kwargs"]["positions"]
        if position not in positions:
            return None
        sent_by, sent_ms = message["options"].get("sent_by"), message["message_timestamp"]
        retries = message["options"].get("retries", 0)
        sent_at = datetime.fromtimestamp(sent_ms / 1000, UTC)
        failures = max(0, retries) if type(retries) is int else 0
        return Found("", "", sent_by if isinstance(sent_by, str) else None, sent_at, len(positions), failures)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError):
        return None
