"""Waiting for what another thread or process does, without guessing how long that takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, within_s: float = 30) -> T:
    """What ``condition`` returns once that is true. It fails after a time that no healthy machine needs."""
    end = time.monotonic() + within_s
    while not (met := condition()):
        assert time.monotonic() < end, f"not within {within_s:.0f} s: the condition at {condition.__code__}"
        time.sleep(0.005)
    return met
