"""A statement file of any format: which it is, and what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from processor.reconciliation import camt053, csv_files, mt940
from processor.reconciliation.mapping import Mapping
from processor.reconciliation.statements import LARGEST_TOTAL, FileError, Statement

Format = Literal["auto", "csv", "camt053", "mt940"]

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_LINES: Final = 1_000_000


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The file. Raises ``FileError`` if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FileError([("", f"it cannot be read: {error.strerror}")]) from None
    if len(data) > max_bytes:
        raise FileError([("", f"it has more than {max_bytes:,} bytes, which are the most")])
    if not data.strip():
        raise FileError([("", "the file is empty")])
    return data


def read_statement(
    data: bytes,
    *,
    format: Format = "auto",
    mapping: Mapping | None = None,
    currency: str | None = None,
    max_lines: int = MAX_LINES,
) -> Statement:
    """The statement in the file. ``currency`` is what it must be in. Raises ``FileError`` with all that is wrong."""
    known = guess_format(data) if format == "auto" else format
    readers: dict[str, Callable[[], Statement]] = {
        "csv": lambda: csv_files.read_csv(data, mapping or _needed(), currency=currency, max_lines=max_lines),
        "camt053": lambda: camt053.read_camt053(data, max_lines=max_lines),
        "mt940": lambda: mt940.read_mt940(data, max_lines=max_lines),
    }
    statement = readers[known]()
    if currency is not None and statement.currency != currency:
        raise FileError([("", f"it is in {statement.currency}, and --currency says {currency}")])
    if any(abs(minor or 0) > LARGEST_TOTAL for minor in (statement.total_minor, statement.opening_minor)):
        raise FileError([("", "its total is above the largest that the books can hold")])
    return statement


def guess_format(data: bytes) -> str:
    """The format that the file looks like: XML, tags in colons, or else CSV."""
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip()
    if start.lstrip(b"\xff\xfe").startswith(b"<"):
        return "camt053"
    return "mt940" if start.startswith((b":20:", b"{1:")) or b"\n:20:" in start or b"\n:60F:" in start else "csv"


def _needed() -> Mapping:
    raise FileError([("", "a CSV is read by a mapping: give --mapping FILE (docs/reconciliation.md shows one)")])
