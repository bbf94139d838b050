"""Statements as SWIFT MT940, read by the library mt-940; what it would pass over is refused here."""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import mt940 as library

from processor.reconciliation.joining import join
from processor.reconciliation.statements import (
    Entry,
    FileError,
    Statement,
    day_after,
    exact_minor,
    known_currency,
    tidy,
)

_BLOCK: Final = re.compile(r"(?m)^(?=:20:)")
# The comma must be there, and nothing but the type of the line behind the decimals: the library stops at a point, and
# takes the amount before it.
_LINE: Final = re.compile(r"[0-9]{6}([0-9]{4}|\s{4})?(R?[CD])[A-Z]?[0-9]{1,14},[0-9]{0,9}[A-Z][A-Z0-9 ]{3}")
_BALANCE: Final = re.compile(r"[CD][0-9]{6}[A-Z]{3}[0-9]{1,14},[0-9]{0,9}(\s*-}.*)?", re.DOTALL)
_TAG: Final = re.compile(r"(?m)^:([0-9]{2}[A-Z]?):")
_KNOWN: Final = {"13D", "20", "21", "25", "25P", "28", "28C", "34F", "60F", "60M", "61", "62F", "62M", "64", "65", "86"}
_KNOWN_TOTALS: Final = {"90C", "90D"}
_ENCODINGS: Final = ("utf-8-sig", "cp1252")


def read_mt940(data: bytes, *, max_lines: int) -> Statement:
    """The statement in the file. Raises ``FileError``."""
    text = _decoded(data).replace("\r\n", "\n")
    blocks = [(match.start(), end) for match, end in _blocks(text)]
    if not blocks:
        raise FileError([("line 1", "not MT940: no line begins with :20:")])
    errors: list[tuple[str, str]] = []
    accounts: set[str] = set()
    found: list[Statement] = []
    for start, end in blocks:
        line = text.count("\n", 0, start) + 1
        if wrong := _wrong_tags(text[start:end], line):
            errors += wrong
            continue
        try:
            found.append(_statement(text[start:end], line, accounts))
        except ValueError as error:
            errors.append((f"line {line}", str(error)))
    if errors:
        raise FileError(errors)
    if (lines := sum(len(each.entries) for each in found)) > max_lines:
        raise FileError([("", f"the file has {lines:,} lines, and {max_lines:,} are the most")])
    if len(accounts) > 1:
        raise FileError(
            [("", f"it has statements of several accounts ({', '.join(sorted(accounts))}): give each its own")]
        )
    return join("mt940", found)


def _decoded(data: bytes) -> str:
    """SWIFT's own characters are ASCII. Some banks write UTF-8, or what Windows wrote before it."""
    for encoding in _ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FileError([("", "not text: neither UTF-8 nor Windows-1252")])


def _blocks(text: str) -> Iterator[tuple[re.Match[str], int]]:
    starts = list(_BLOCK.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    yield from zip(starts, ends, strict=False)


def _wrong_tags(block: str, first_line: int) -> list[tuple[str, str]]:
    """What the library would misread or pass over without a word."""
    wrong: list[tuple[str, str]] = []
    tags = list(_TAG.finditer(block))
    seen = [tag[1] for tag in tags]
    for tag, following in zip(tags, [*tags[1:], None], strict=True):
        place = f"line {first_line + block.count(chr(10), 0, tag.start())}"
        value = block[tag.end() : following.start() if following else len(block)].strip()
        if tag[1] not in _KNOWN | _KNOWN_TOTALS:
            wrong.append((place, f"tag :{tag[1]}: is none of MT940"))
        elif tag[1] == "61" and _LINE.match(value) is None:
            wrong.append(
                (place, f":61: {value.splitlines()[0][:60]!r} has no date, mark, amount with a comma, and type")
            )
        elif tag[1][:2] in ("60", "62") and _BALANCE.fullmatch(value.removesuffix("\n-").strip()) is None:
            wrong.append((place, f":{tag[1]}: {value[:60]!r} is no balance: mark, date, currency, amount with a comma"))
    for code, what in (("60", "opening balance (:60F:)"), ("62", "closing balance (:62F:)"), ("25", "account")):
        count = sum(tag.startswith(code) for tag in seen)
        if count != 1:
            wrong.append((f"line {first_line}", f"the statement has {'no' if count == 0 else 'more than one'} {what}"))
    return wrong


def _statement(block: str, first_line: int, accounts: set[str]) -> Statement:
    """Raises ``ValueError`` with what is wrong."""
    # The text itself, never mt940.parse: that would open a file of this name.
    parsed = library.models.Transactions(options=library.Options.all())
    try:
        parsed.parse(block)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ValueError(str(error.args[0])) from None
    accounts.add(str(parsed.data["account_identification"]).strip())
    opening, opened_on, currency = _balance(parsed.data, "opening")
    closing, closed_on, closing_currency = _balance(parsed.data, "closing")
    if currency != closing_currency:
        raise ValueError(f"it opens in {currency} and closes in {closing_currency}")
    places = [
        f"line {first_line + block.count(chr(10), 0, tag.start())}" for tag in _TAG.finditer(block) if tag[1] == "61"
    ]
    entries, skipped = [], 0
    for place, transaction in zip(places, parsed.transactions, strict=True):
        try:
            entry = _entry(place, transaction.data, currency)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if entry is None:
            skipped += 1
        else:
            entries.append(entry)
    days = [*(entry.booked_on for entry in entries), closed_on]
    return Statement(
        "mt940", currency, min(*days, day_after(opened_on)), max(days), entries, opening, closing, skipped=skipped
    )


def _balance(data: dict[str, Any], which: str) -> tuple[int, date, str]:
    balance = data.get(f"final_{which}_balance") or data.get(f"intermediate_{which}_balance")
    if balance is None:
        raise ValueError(f"the {which} balance cannot be read")
    amount = balance.amount
    currency = known_currency(str(amount.currency))
    effect_minor = _minor(amount.amount, currency)
    return effect_minor, balance.date, currency


def _entry(place: str, data: dict[str, Any], currency: str) -> Entry | None:
    effect_minor = _minor(data["amount"].amount, currency)
    if effect_minor == 0:
        return None
    reference = tidy(data.get("customer_reference"))
    return Entry(
        place,
        date.fromisoformat(str(data.get("entry_date") if isinstance(data.get("entry_date"), date) else data["date"])),
        effect_minor > 0,
        abs(effect_minor),
        is_reversal=str(data["status"]).upper().startswith("R"),
        bank_reference=tidy(data.get("bank_reference")),
        reference=None if reference == "NONREF" else reference,
        end_to_end_id=tidy(data.get("end_to_end_reference")),
        counterparty=tidy(data.get("applicant_name"), data.get("applicant_iban")),
        text=tidy(data.get("extra_details"), data.get("transaction_details"), data.get("purpose")),
    )


def _minor(amount: Decimal, currency: str) -> int:
    """Exactly: the library reads amounts as decimals, and never as floats."""
    try:
        digits = f"{abs(amount):f}"
    except InvalidOperation:
        raise ValueError(f"{amount} is not an amount") from None
    amount_minor = exact_minor(digits, currency)
    return -amount_minor if amount < 0 else amount_minor
