"""Statements as CSV, read as a mapping says. Every line is checked, and all that is wrong is said at once."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime

from processor.reconciliation.mapping import Mapping
from processor.reconciliation.statements import Entry, FileError, Statement, exact_minor, known_currency, tidy


def read_csv(data: bytes, mapping: Mapping, *, currency: str | None, max_lines: int) -> Statement:
    """The statement in the file. ``currency`` is that of the file if the mapping does not say. Raises ``FileError``."""
    try:
        text = data.decode(mapping.encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not {mapping.encoding} text: set encoding in the mapping to what the bank writes"
        raise FileError([(f"line {line}", what)]) from None
    reading = _Reading(mapping, currency)
    reading.read(text, max_lines)
    if reading.errors:
        raise FileError(reading.errors)
    if not reading.entries:
        raise FileError([("", "the file holds no entries")])
    return reading.statement()


class _Reading:
    def __init__(self, mapping: Mapping, currency: str | None) -> None:
        self.mapping = mapping
        self.columns = mapping.columns
        self.currency = mapping.currency or currency
        self.entries: list[Entry] = []
        self.balances: list[tuple[int, int]] = []
        """After each line: the balance, and what the line added."""
        self.skipped = 0
        self.errors: list[tuple[str, str]] = []

    def read(self, text: str, max_lines: int) -> None:
        lines = io.StringIO(text, newline="")
        for _ in range(self.mapping.skip_lines):
            lines.readline()
        rows = csv.reader(lines, delimiter=self.mapping.delimiter, quotechar=self.mapping.quote, strict=True)
        before = self.mapping.skip_lines
        try:
            header = [name.strip() for name in next(rows, [])]
            self._check(header, before + 1)
            if self.errors:
                return
            numbered = [(before + rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
        except csv.Error as error:
            self.errors.append((f"line {before + rows.line_num}", f"not CSV: {error}"))
            return
        numbered = numbered[: len(numbered) - self.mapping.skip_last_lines]
        if len(numbered) > max_lines:
            self.errors.append(("", f"the file has {len(numbered):,} lines, and {max_lines:,} are the most"))
            return
        for number, row in numbered:
            try:
                self._take(f"line {number}", header, row)
            except ValueError as error:
                self.errors.append((f"line {number}", str(error)))
        if self.mapping.order == "newest_first":
            self.balances.reverse()
            self.entries.reverse()

    def statement(self) -> Statement:
        assert self.currency is not None
        days = [entry.booked_on for entry in self.entries]
        opening = self.balances[0][0] - self.balances[0][1] if self.balances else None
        closing = self.balances[-1][0] if self.balances else None
        return Statement(
            "csv", self.currency, min(days), max(days), self.entries, opening, closing, skipped=self.skipped
        )

    def _check(self, header: Sequence[str], number: int) -> None:
        wanted = self.columns.model_dump(exclude_none=True)
        texts = wanted.pop("text", ())
        for name in (*wanted.values(), *([texts] if isinstance(texts, str) else texts)):
            if header.count(name) != 1:
                times = "missing" if name not in header else "there more than once"
                self.errors.append((f"line {number}", f"the column {name!r} is {times}; there are {', '.join(header)}"))

    def _take(self, place: str, header: Sequence[str], row: Sequence[str]) -> None:
        if len(row) != len(header):
            raise ValueError(f"it has {len(row)} fields, and the header has {len(header)}")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        booked_on = self._day(cells[self.columns.date])
        currency = self._currency(cells)
        is_credit, amount_minor = self._amount(cells, currency)
        effect_minor = amount_minor if is_credit else -amount_minor
        if self.columns.balance:
            is_above, balance_minor = self._signed(cells[self.columns.balance], currency)
            self.balances.append((balance_minor if is_above else -balance_minor, effect_minor))
        if amount_minor == 0:
            self.skipped += 1
            return
        texts = self.columns.text or ()
        entry = Entry(
            place,
            booked_on,
            is_credit,
            amount_minor,
            bank_reference=tidy(cells.get(self.columns.bank_reference or "")),
            reference=tidy(cells.get(self.columns.reference or "")),
            end_to_end_id=tidy(cells.get(self.columns.end_to_end_id or "")),
            batch=tidy(cells.get(self.columns.batch or "")),
            counterparty=tidy(cells.get(self.columns.counterparty or "")),
            text=tidy(*(cells[column] for column in ([texts] if isinstance(texts, str) else texts))),
        )
        self.entries.append(entry)

    def _day(self, text: str) -> date:
        try:
            return datetime.strptime(text, self.mapping.date_format).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            raise ValueError(f"date {text!r} is not of the form {self.mapping.date_format}") from None

    def _currency(self, cells: dict[str, str]) -> str:
        if self.columns.currency:
            found = known_currency(cells[self.columns.currency])
            if self.currency is None:
                self.currency = found
            if found != self.currency:
                raise ValueError(f"it is in {found}, and the file in {self.currency}: give each currency its own file")
        if self.currency is None:
            raise ValueError("its currency is not known: set currency in the mapping, or give --currency")
        return self.currency

    def _amount(self, cells: dict[str, str], currency: str) -> tuple[bool, int]:
        """Whether it came in, and how much."""
        columns = self.columns
        if self.mapping.sign == "columns":
            assert columns.credit
            assert columns.debit
            credit, debit = cells[columns.credit], cells[columns.debit]
            if bool(credit) is bool(debit):
                raise ValueError(f"of {columns.credit} and {columns.debit}, one must be filled")
            is_above, amount_minor = self._signed(credit or debit, currency)
            # Some banks write what went out below zero in its own column as well.
            if credit and not is_above:
                raise ValueError(f"{columns.credit} {credit!r} is below zero")
            return bool(credit), amount_minor
        assert columns.amount
        is_above, amount_minor = self._signed(cells[columns.amount], currency)
        if self.mapping.sign == "direction":
            assert columns.direction
            if not is_above:
                raise ValueError(f"{columns.amount} {cells[columns.amount]!r} is below zero, and has a direction")
            return self._is_credit(cells[columns.direction]), amount_minor
        return is_above is (self.mapping.sign == "signed"), amount_minor

    def _is_credit(self, word: str) -> bool:
        if word in self.mapping.credit_words:
            return True
        if word in self.mapping.debit_words:
            return False
        known = ", ".join([*self.mapping.credit_words, *self.mapping.debit_words])
        raise ValueError(f"direction {word!r} is none of {known}")

    def _signed(self, text: str, currency: str) -> tuple[bool, int]:
        """Whether it is not below zero, and how much."""
        digits = text.removeprefix("+")
        is_above = not digits.startswith("-")
        digits = digits.removeprefix("-").replace("\xa0", " ")
        if self.mapping.thousands:
            digits = "".join(_ungrouped(digits, self.mapping.thousands, self.mapping.decimal))
        if self.mapping.decimal == ",":
            if "." in digits:
                raise ValueError(f"{text!r} is not an amount with a decimal comma")
            digits = digits.replace(",", ".")
        try:
            return is_above, exact_minor(digits, currency)
        except ValueError:
            if "," in digits or "." in text:
                # The two are easily taken for each other, and a thousandfold amount would be the price.
                hint = f"decimal is {self.mapping.decimal!r} and thousands {self.mapping.thousands!r} in the mapping"
                raise ValueError(f"{text!r} is not an amount in {currency}: {hint}") from None
            raise ValueError(f"{text!r} is not an amount in {currency}") from None


def _ungrouped(digits: str, thousands: str, decimal: str) -> Iterator[str]:
    """The digits without marks between thousands. Each group has three, or it is no such mark."""
    whole, point, fraction = digits.partition(decimal)
    first, *groups = whole.split(thousands)
    if groups and not (1 <= len(first) <= 3 and all(len(group) == 3 for group in groups)):
        raise ValueError(f"{digits!r} is not an amount: {thousands!r} does not stand between thousands")
    yield from (first, *groups, point, fraction)
