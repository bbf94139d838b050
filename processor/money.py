"""Amounts at the edge: decimal strings in the currency's own exponent outside, whole minor units inside."""

import re
from typing import Final

from iso4217 import Currency

from processor.domain.commands import MAX_AMOUNT_MINOR

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,6}))?", re.ASCII)

EXPONENTS: Final[dict[str, int]] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}
"""The decimals of each currency by its code, as ISO 4217 lists them. Units without decimals (XAU, XXX) are left out."""


def exponent(currency: str) -> int:
    """How many decimals ``currency`` has. Raises ``ValueError`` for a code that ISO 4217 does not have."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise ValueError(f"unknown currency {currency!r}: give an ISO 4217 code such as USD, JPY or KWD") from None


def parse_amount(text: str, currency: str, *, zero: bool = False) -> int:
    """
    The minor units of a decimal string: "10.50" USD is 1050, "1050" JPY is 1050, "1.050" KWD is 1050.

    Raises ``ValueError`` for anything else than digits with at most the currency's decimals, for zero (unless ``zero``
    is true) and for more than 2**53 - 1 minor units. The message says what to send instead.
    """
    decimals = exponent(currency)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f'not an amount: give a positive decimal string such as "{_example(decimals)}"')
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        allowed = f"at most {decimals} decimals" if decimals else "no decimals"
        raise ValueError(f'{currency} has {allowed}: give a string such as "{_example(decimals)}"')
    amount_minor = int(whole + fraction.ljust(decimals, "0"))
    if amount_minor == 0 and not zero:
        raise ValueError("the amount must be above zero")
    if amount_minor > MAX_AMOUNT_MINOR:
        raise ValueError(f"the amount is above the largest, {format_amount(MAX_AMOUNT_MINOR, currency)} {currency}")
    return amount_minor


def format_amount(amount_minor: int, currency: str) -> str:
    """The decimal string of ``amount_minor``, which may be negative, with all of the currency's decimals."""
    decimals = exponent(currency)
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def _example(decimals: int) -> str:
    return f"10.{'50'.ljust(decimals, '0')[:decimals]}" if decimals else "1050"
