"""How a message came to the worker that took it: told by `florin explain`, and never a reason not to apply it."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

SENDERS: Final = ("intake", "worker", "sweeper", "scheduler")
"""Who sends messages."""

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_ODD: Final = re.compile(r"[^A-Za-z0-9._:-]", re.ASCII)
_LAST_MS: Final = 4_102_444_800_000
"""The year 2100: whatever says that it was sent later is mistaken."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is known of a message; ``None`` is what it did not say, or not in a way that can be kept."""

    worker: str | None = None
    message_id: str | None = None
    sent_by: str | None = None
    sent_at: datetime | None = None
    taken_at: datetime | None = None
    attempt: int | None = None

    @classmethod
    def of(cls, message: Any, *, worker: str, taken_at: datetime) -> "Delivery":
        """What a Dramatiq message says of itself. Whatever is in it, nothing is raised."""
        known = cls(worker=_ODD.sub("_", worker)[:255] or None, taken_at=taken_at)
        try:
            options = message.options if isinstance(message.options, Mapping) else {}
            sent_by, retries = options.get("sent_by"), options.get("retries", 0)
            return replace(
                known,
                message_id=_id(message.message_id),
                sent_by=sent_by if isinstance(sent_by, str) and sent_by in SENDERS else None,
                sent_at=_instant(message.message_timestamp),
                attempt=retries + 1 if type(retries) is int and 0 <= retries < 10_000 else None,
            )
        except Exception:  # It is about a few words in a report; the commands that the message names are about money.
            return known


def identity() -> str:
    """This worker process, as a report names it."""
    return f"{_host()}:{os.getpid()}"


@cache
def _host() -> str:
    return socket.gethostname()


def _id(value: Any) -> str | None:
    cut = value[:64] if isinstance(value, str) else ""
    return cut if _ID.fullmatch(cut) else None


def _instant(milliseconds: Any) -> datetime | None:
    """Of what a message says of when it was made."""
    if type(milliseconds) is not int or not 0 < milliseconds < _LAST_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
