"""Reads a CSV file of transactions: every line is checked before the first one is sent."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from processor.money import parse_amount

COLUMNS: Final = ("id", "account", "date", "type", "amount")
"""What each line must have. ``operation`` is taken if it is there; more columns are ignored."""

_ERRORS_SHOWN: Final = 10

# No colon, so that a transaction's key is never that of the opening of an account.
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_LONGEST_REFERENCE: Final = 255


class FileError(Exception):
    """The file cannot be replayed. The text names the file and the lines."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One line of the file: money into ``account``, or out of it."""

    line: int
    id: str
    account: str
    type: Literal["deposit", "withdraw"]
    amount_minor: int
    reference: str

    @property
    def effect_minor(self) -> int:
        """What it adds to the balance of its account when it is applied."""
        return self.amount_minor if self.type == "deposit" else -self.amount_minor


def read_transactions(path: Path, currency: str) -> list[Transaction]:
    """The transactions of the file, in its order. Raises ``FileError`` with all that is wrong."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            transactions, errors = _read(csv.DictReader(file, strict=True), currency)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text: {error.reason}") from error
    if errors:
        raise FileError(_summary(path, errors))
    if not transactions:
        raise FileError(f"{path} holds no transactions")
    return transactions


def _read(reader: "csv.DictReader[str]", currency: str) -> tuple[list[Transaction], list[str]]:
    transactions: list[Transaction] = []
    errors = list(_errors_of_header(reader))
    if errors:
        return [], errors
    lines_by_id: dict[str, int] = {}
    line = 1
    try:
        for row in reader:
            line = reader.line_num
            try:
                transaction = _transaction(line, row, currency)
            except ValueError as error:
                errors.append(f"{line}: {error}")
                continue
            first = lines_by_id.setdefault(transaction.id, line)
            if first != line:
                errors.append(f"{line}: the id {transaction.id} stands on line {first} already")
            transactions.append(transaction)
    except csv.Error as error:
        errors.append(f"{line + 1}: not CSV: {error}")
    return transactions, errors


def _errors_of_header(reader: "csv.DictReader[str]") -> Iterator[str]:
    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        yield f"1: not CSV: {error}"
        return
    for name in COLUMNS:
        if header.count(name) != 1:
            times = "missing" if name not in header else "there more than once"
            yield f"1: the column {name} is {times}: the first line must name {', '.join(COLUMNS)}"


def _transaction(line: int, row: Mapping[str | Any, Any], currency: str) -> Transaction:
    """Raises ``ValueError`` with what is wrong."""
    if None in row or None in row.values():
        raise ValueError("it has not as many fields as the first line")
    if not _ID.fullmatch(row["id"]):
        raise ValueError(f"id {row['id']!r}: an id has 1 to 200 of A-Z a-z 0-9 . _ -")
    if not _ACCOUNT.fullmatch(row["account"]):
        raise ValueError(f"account {row['account']!r}: an account has 1 to 64 of A-Z a-z 0-9 . _ : -")
    if row["type"] not in ("deposit", "withdraw"):
        raise ValueError(f"type {row['type']!r}: give deposit or withdraw")
    reference = f"{row['date']} {row.get('operation') or ''}".strip()
    if len(reference) > _LONGEST_REFERENCE or "\0" in reference:
        raise ValueError(f"date and operation must be plain text of at most {_LONGEST_REFERENCE - 1} characters")
    try:
        amount_minor = parse_amount(row["amount"], currency)
    except ValueError as error:
        raise ValueError(f"amount {row['amount']!r}: {error}") from None
    type_ = cast(Literal["deposit", "withdraw"], row["type"])
    return Transaction(line, row["id"], row["account"], type_, amount_minor, reference)


def _summary(path: Path, errors: Iterable[str]) -> str:
    lines = [f"{path}:{error}" for error in errors]
    if len(lines) > _ERRORS_SHOWN:
        lines[_ERRORS_SHOWN:] = [f"and {len(lines) - _ERRORS_SHOWN:,} more"]
    return "\n".join([*lines, "Nothing was sent."])
