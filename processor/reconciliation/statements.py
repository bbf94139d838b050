"""What a statement file says, whatever its format; and what is wrong with one that cannot be taken."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from processor.domain.commands import MAX_AMOUNT_MINOR
from processor.money import exponent, format_amount

_DECIMAL: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{0,17}))?", re.ASCII)
_ERRORS_SHOWN: Final = 10
_LONGEST_TEXT: Final = 2_000

LARGEST_TOTAL: Final = 2**62
"""Of balances and totals, so that sums of them are still bigints."""


class FileError(Exception):
    """The file is rejected whole. ``errors`` are pairs of a place in it and what is wrong there."""

    def __init__(self, errors: Sequence[tuple[str, str]], *, more: int = 0) -> None:
        lines = [f"{place}: {wrong}" if place else wrong for place, wrong in errors[:_ERRORS_SHOWN]]
        more += max(len(errors) - _ERRORS_SHOWN, 0)
        super().__init__("\n".join([*lines, *([f"and {more:,} more"] if more else [])]))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Entry:
    """One booked line: money in (``is_credit``) or out. ``place`` is where in the file it stands."""

    place: str
    booked_on: date
    is_credit: bool
    amount_minor: int
    is_reversal: bool = False
    bank_reference: str | None = None
    reference: str | None = None
    end_to_end_id: str | None = None
    batch: str | None = None
    counterparty: str | None = None
    text: str | None = None

    @property
    def effect_minor(self) -> int:
        """What it adds to the balance."""
        return self.amount_minor if self.is_credit else -self.amount_minor


@dataclass(frozen=True, slots=True)
class Statement:
    """A file's statement of one bank account in one currency. ``skipped`` entries are pending or move nothing."""

    format: str
    currency: str
    from_on: date
    to_on: date
    entries: Sequence[Entry]
    opening_minor: int | None = None
    closing_minor: int | None = None
    skipped: int = 0

    @property
    def total_minor(self) -> int:
        """Credits less debits."""
        return sum(entry.effect_minor for entry in self.entries)


def exact_minor(text: str, currency: str) -> int:
    """
    The minor units of an unsigned decimal such as "10.5", "10.50" or "10.50000", which are the same.

    Raises ``ValueError`` for what is no such number, and if a unit smaller than the currency's would be lost.
    """
    decimals = exponent(currency)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount")
    whole, fraction = match[1], (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        allowed = f"{decimals} decimals" if decimals else "no decimals"
        raise ValueError(f"{text!r} is not an amount in {currency}, which has {allowed}")
    amount_minor = int(whole + fraction.ljust(decimals, "0"))
    if amount_minor > MAX_AMOUNT_MINOR:
        raise ValueError(f"{text!r} is above the largest amount, {format_amount(MAX_AMOUNT_MINOR, currency)}")
    return amount_minor


def known_currency(code: str) -> str:
    """The code, if ISO 4217 has it. Raises ``ValueError``."""
    exponent(code)
    return code


def day_after(day: date) -> date:
    """The first day of a statement whose opening balance is that of the end of ``day``."""
    return day + timedelta(days=1) if day < date.max else day


def tidy(*texts: str | None) -> str | None:
    """The texts as one, without line breaks and what cannot be stored; ``None`` if nothing is left."""
    words = " ".join(word for text in texts if text for word in text.replace("\0", " ").split())
    return words[:_LONGEST_TEXT] or None
