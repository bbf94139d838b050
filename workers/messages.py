"""The wire contract of the queue. A message carries ids, never facts: positions of commands, lock keys of accounts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import dramatiq
import orjson
from dramatiq import Message

from processor import tracing

COMMANDS: Final = "commands"
"""The queue's name."""

APPLY: Final = "apply_commands"
"""The actor's name. Both are part of the contract: a producer needs no import of the actor."""

MAX_COMMANDS: Final = 200
MAX_KEYS: Final = 400

SETTLED: Final = "florin:settled"
"""The pub/sub channel on which positions are announced once their outcome is committed."""


Sender = Literal["intake", "worker", "sweeper", "scheduler"]


class Waiting(Protocol):
    """
    A pending command, as a message names it.

    One that was just accepted has the ``trace`` of its request as well; the first of linked ones says how many
    ``commands`` they are.
    """

    @property
    def position(self) -> int: ...

    @property
    def account_keys(self) -> frozenset[int]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message names."""

    positions: Sequence[int]
    account_keys: Sequence[int]
    traces: Sequence[str] = ()
    """The traceparents of the requests that sent these commands, 16 at most."""


class OrjsonEncoder(dramatiq.Encoder):
    """Dramatiq's JSON, several times as fast. Every process that sends or takes messages must set it."""

    def encode(self, data: dict[str, Any]) -> bytes:
        # Retries would keep the traceback, whose last line may name an account. It is in the log.
        data["options"].pop("traceback", None)
        return orjson.dumps(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        decoded: dict[str, Any] = orjson.loads(data)
        return decoded


def batches(waiting: Iterable[Waiting]) -> Iterator[Batch]:
    """
    Divide commands, in order, into messages: at most 200 commands and 400 accounts each, so some 8 KiB.

    Linked commands are named by the first of them, and count for as many as they are.
    """
    commands = 0
    positions: list[int] = []
    keys: set[int] = set()
    traces: list[str] = []
    for each in waiting:
        linked = getattr(each, "commands", 1)
        if positions and (commands + linked > MAX_COMMANDS or len(keys | each.account_keys) > MAX_KEYS):
            yield Batch(positions, sorted(keys), tracing.few(traces))
            commands, positions, keys, traces = 0, [], set(), []
        commands += linked
        positions.append(each.position)
        keys |= each.account_keys
        traces.append(getattr(each, "trace", ""))
    if positions:
        yield Batch(positions, sorted(keys), tracing.few(traces))


def message(batch: Batch, *, sent_by: Sender = "intake") -> "Message[None]":
    """
    The Dramatiq message that asks for the batch to be applied.

    Its options say who sent it and what it belongs to, for logs and traces only. Who takes it must not rely on them.
    """
    return Message(
        queue_name=COMMANDS,
        actor_name=APPLY,
        args=(),
        kwargs={"version": 1, "positions": list(batch.positions), "account_keys": list(batch.account_keys)},
        options=options(sent_by, batch.traces),
    )


def options(sent_by: Sender, traces: Sequence[str]) -> dict[str, Any]:
    """What a message says of itself. ``traces`` are what it is sent for; without any, it begins a trace of its own."""
    return {"sent_by": sent_by, "trace": tracing.sent("send", traces, florin__sent_by=sent_by)}
