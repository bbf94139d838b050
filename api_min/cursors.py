"""Cursors: where the next page begins, as one word that a client hands back and never has to read."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request

from api_min.problem import ProblemError

_SUM_SIZE: Final = 8
_FREE: Final = ("cursor", "limit", "count")
"""Parameters that may differ from page to page."""


def list_of(request: Request) -> str:
    """Which list is asked for: the address and what it is filtered by. A cursor is of one list only."""
    given = sorted((name, value) for name, value in request.query_params.multi_items() if name not in _FREE)
    return f"{request.url.path} {given}"


def write(asked: str, *numbers: int) -> str:
    """The cursor of these numbers in the list that is ``asked`` for."""
    return write_name(asked, " ".join(map(str, numbers)))


def write_name(asked: str, name: str) -> str:
    """The cursor of a name, for a list that is in the order of names."""
    payload = name.encode()
    return base64.urlsafe_b64encode(_sum(asked, payload) + payload).rstrip(b"=").decode()


def read(cursor: str, asked: str, count: int) -> list[int]:
    """The ``count`` numbers that were written. Raises a problem if that was never done, or for another list."""
    name = read_name(cursor, asked)
    with trusted():
        numbers = [int(each) for each in name.split()]
        if len(numbers) != count or any(abs(number) >= 2**63 for number in numbers):
            raise ValueError("another list's")
        return numbers


def read_name(cursor: str, asked: str) -> str:
    """
    The name that was written. Raises a problem as ``read`` does.

    The sum in it is no secret: a cursor shows nothing that the list would not show anyway.
    """
    with trusted():
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if _sum(asked, raw[_SUM_SIZE:]) != raw[:_SUM_SIZE]:
            raise ValueError("another list's")
        return raw[_SUM_SIZE:].decode()


@contextmanager
def trusted() -> Iterator[None]:
    """What cannot be made of a cursor's numbers shows that nobody here has written it."""
    try:
        yield
    except (ValueError, OverflowError):
        message = (
            "not a cursor of this list: give the `next` of the page before, with the same other parameters, "
            "or none to begin anew"
        )
        raise ProblemError("invalid", "The cursor does not fit.", [("cursor", message)]) from None


def _sum(asked: str, payload: bytes) -> bytes:
    return hashlib.blake2s(asked.encode() + b"\0" + payload, digest_size=_SUM_SIZE).digest()
