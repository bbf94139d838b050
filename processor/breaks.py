"""What a proof found wrong: which thing, what it should be, what it is, and what a person is to do about it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Severity(Enum):
    """Who is told: ``page`` wakes somebody, ``ticket`` waits for the morning."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Break:
    """
    One thing that is wrong, as ``proof`` found it.

    ``subject`` names the thing for ever: ``account:alice``, ``command:17``, ``currency:USD``, ``job:collect``. A proof
    finds at most one break of a subject at a time, so proof and subject are the identity of its alert. ``account`` is
    given only if that account's own books are in doubt: it is what a quarantine freezes. ``advice`` is a sentence.
    """

    proof: str
    subject: str
    expected: str
    found: str
    advice: str
    severity: Severity = Severity.PAGE
    account: str | None = None
    position: int | None = None
    since: datetime | None = None
