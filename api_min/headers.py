"""Request headers with a meaning of their own: ``Idempotency-Key`` and ``Prefer``."""

import re
from typing import Annotated, Final

from fastapi import Depends, Header, Query

from api_min.problem import ProblemError

_PRINTABLE: Final = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_WAIT: Final = re.compile(r"(?:^|[,;]\s*)wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE | re.ASCII)


def read_key(text: str) -> str:
    """
    The idempotency key in a header or a query: bare, or a structured-field string in quotes.

    Raises ``ValueError`` unless it has 1 to 255 printable ASCII characters (draft-ietf-httpapi-idempotency-key-header).
    """
    text = text.strip(" ")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    return check_key(text)


def check_key(text: str) -> str:
    """The idempotency key in JSON, where it stands as it is. Raises ``ValueError`` as ``read_key``."""
    if _PRINTABLE.fullmatch(text) is None:
        raise ValueError("an idempotency key has 1 to 255 printable ASCII characters")
    return text


async def _idempotency_key(
    value: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Names this payment for ever: sent again, it gets its first answer again. "
            "1 to 255 printable ASCII characters, bare or in double quotes. Required, except for a dry run.",
            examples=["payroll-2026-11-1001"],
        ),
    ] = None,
    dry_run: Annotated[
        bool, Query(description="Only say what would happen now. Nothing is recorded, and no key is needed")
    ] = False,
) -> str | None:
    if dry_run:
        return None
    if value is None:
        raise ProblemError("malformed", "A header is missing or malformed.", [("Idempotency-Key", "Field required")])
    try:
        return read_key(value)
    except ValueError as error:
        raise ProblemError("malformed", f"Idempotency-Key: {error}.") from None


async def _wait_s(
    prefer: Annotated[
        str | None,
        Header(description="wait=10 answers as soon as there is an outcome, or after 10 s", examples=["wait=10"]),
    ] = None,
) -> int:
    """The seconds that the client would wait; 0 if it says nothing or nothing that can be read (RFC 7240)."""
    match = _WAIT.search(prefer or "")
    return int(match[1]) if match else 0


KeyUnlessDryRun = Annotated[str | None, Depends(_idempotency_key)]
"""``None`` for a dry run: it has no use for a key."""

WaitSeconds = Annotated[int, Depends(_wait_s)]
