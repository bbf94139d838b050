"""A statement becomes rows: once, however often its file, or one that overlaps it, is imported."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from psycopg import Connection

from processor.reconciliation.statements import Entry, FileError, Statement
from processor.store import statements as store
from processor.store.statements import FileRow

_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Imported:
    """A file as it is stored. ``again`` if it was imported before, and nothing was done now."""

    file: FileRow
    again: bool = False


def check_bank_account(name: str) -> str:
    """The name, if it can be a bank account's. Raises ``ValueError``."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot be a bank account's name: it has 1 to 64 of A-Z a-z 0-9 . _ : -")
    return name


def imported_before(conn: Connection, data: bytes, bank_account: str) -> Imported | None:
    """The file, if it was imported. Raises ``FileError`` if that was for another account."""
    file = store.find_file(conn, hashlib.sha256(data).digest())
    if file is None:
        return None
    if file.bank_account != bank_account:
        raise FileError([("", f"it was imported as a statement of {file.bank_account}, and is none of {bank_account}")])
    return Imported(file, again=True)


def import_statement(
    conn: Connection,
    statement: Statement,
    data: bytes,
    *,
    name: str,
    bank_account: str,
    by: str,
    now: datetime,
) -> Imported:
    """
    Store the statement and those of its lines that are new. Call it in a transaction that holds the store's lock.

    Raises ``FileError`` if the account is in another currency, or if the file may be another part of a day that is
    stored.
    """
    currency = store.currency_of(conn, bank_account)
    if currency not in (None, statement.currency):
        what = f"it is in {statement.currency}, and {bank_account} in {currency}: a bank account has one currency"
        raise FileError([("", what)])
    days = [entry.booked_on for entry in statement.entries] or [statement.from_on]
    there = store.line_keys(conn, statement.currency, bank_account, min(days), max(days))
    keyed = list(zip(_keys(statement), range(1, len(statement.entries) + 1), statement.entries, strict=True))
    _check_whole_days(keyed, there)
    new = [each for each in keyed if each[0] not in there]
    file_id = store.insert_file(
        conn,
        [
            hashlib.sha256(data).digest(),
            name[-255:],
            statement.format,
            bank_account,
            statement.currency,
            statement.from_on,
            statement.to_on,
            statement.opening_minor,
            statement.closing_minor,
            statement.total_minor,
            len(keyed),
            len(new),
            sum(entry.amount_minor for _, _, entry in new),
            statement.skipped,
            by,
            now,
        ],
    )
    store.insert_lines(
        conn, ([file_id, number, bank_account, statement.currency, key, *_values(entry)] for key, number, entry in new)
    )
    file = store.find_file(conn, hashlib.sha256(data).digest())
    assert file is not None
    return Imported(file)


def _check_whole_days(keyed: Sequence[tuple[bytes, int, Entry]], there: Mapping[bytes, date]) -> None:
    """
    Refuse a file of which nobody can say whether its lines are the stored ones.

    A line without the bank's reference that is there already is the same one if the file has all else that is stored of
    the day. If not, it may be of another hour of that day.
    """
    own = {key for key, _, _ in keyed}
    in_part = {day for key, day in there.items() if key not in own}
    for key, _, entry in keyed:
        if entry.booked_on in in_part and key in there and not entry.bank_reference:
            what = (
                f"it says the same as a line of {entry.booked_on} that is stored, and the file lacks others of that "
                "day: it may be the same line or one more. Import the whole day in one file"
            )
            raise FileError([(entry.place, what)])


def _keys(statement: Statement) -> Iterator[bytes]:
    """
    What tells each line from every other of its account.

    The bank's own reference, or without one all of the line's texts, with day, direction and amount; and how many such
    lines of the day came before it, since a bank may book the same twice. Banks cut statements between days.
    """
    seen: Counter[bytes] = Counter()
    for entry in statement.entries:
        texts = (
            ("reference", entry.bank_reference, entry.end_to_end_id)
            if entry.bank_reference
            else ("texts", entry.reference, entry.end_to_end_id, entry.batch, entry.counterparty, entry.text)
        )
        said = repr((entry.booked_on.isoformat(), entry.is_credit, entry.amount_minor, texts))
        digest = hashlib.sha256(said.encode()).digest()
        seen[digest] += 1
        yield hashlib.sha256(digest + seen[digest].to_bytes(8, "big")).digest()


def _values(entry: Entry) -> list[Any]:
    direction = "credit" if entry.is_credit else "debit"
    return [
        *(entry.booked_on, direction, entry.amount_minor, entry.is_reversal, entry.bank_reference, entry.reference),
        *(entry.end_to_end_id, entry.batch, entry.counterparty, entry.text),
    ]
