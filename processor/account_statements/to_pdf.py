"""A statement as a PDF that a customer could be sent: A4, black on white, the same bytes for the same figures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from processor.account_statements.sheet import GREY, LEFT, LIGHT, RIGHT, Sheet
from processor.account_statements.statement import Statement
from processor.account_statements.words import text_of
from processor.errors import ProcessorError
from processor.money import format_amount
from processor.store.account_statements import Line

MOST_TRANSFERS: Final = 2_000

_TEXT: Final = 8.5
_SMALL: Final = 7.0
_ROW: Final = 4.6
_DETAIL: Final = 3.4
_GAP: Final = 1.6
_DATE_WIDTH: Final = 21.0
_BOTTOM: Final = 277.0
_TOP: Final = 36.0
_END: Final = 8.0
_MISSING: Final = "□ stands for a character that this document cannot show. The statement as CSV has it."


class TooLongError(ProcessorError):
    """There are more transfers than a document may have."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A transfer as it stands on the page: what, in smaller letters more about it, and the numbers."""

    date: str
    text: str
    details: Sequence[str]
    amount: str
    balance: str

    @property
    def height(self) -> float:
        return _ROW + _DETAIL * len(self.details) + _GAP


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the columns of numbers end, which are as wide as the longest number needs."""

    amount: float
    balance: float
    text_width: float


def check_length(statement: Statement) -> None:
    """Raise ``TooLongError`` if the statement is for CSV only."""
    if statement.count > MOST_TRANSFERS:
        raise TooLongError(
            f"the period has {statement.count:,} transfers, and a PDF {MOST_TRANSFERS:,} at most: "
            "ask for a shorter period, or for CSV"
        )


def to_pdf(statement: Statement, pages: Iterable[Sequence[Line]], *, bank: str) -> bytes:
    """The document. ``bank`` is the name at its top. Raises ``TooLongError``."""
    check_length(statement)
    sheet = Sheet(
        title=f"Account statement {statement.account.name}, {_period(statement)}",
        author=bank,
        # Not the time of day: asked again, it is the same document.
        made_at=statement.made_at or statement.period.ends_at,
    )
    lines = [line for page in pages for line in page]
    columns = _columns(sheet, statement, lines)
    rows = [_row(sheet, statement, line, columns) for line in lines]
    sheets = list(_divide(rows, first=_height_of_front(statement)))
    for number, on_page in enumerate(sheets, start=1):
        sheet.add_page()
        y = _front(sheet, statement, lines, bank) if number == 1 else _continued(sheet, statement, bank)
        y = _heading(sheet, statement, columns, y)
        before = sheets[number - 2][-1].balance if number > 1 else _money(statement, statement.opening_minor)
        y = _balance_row(sheet, "Opening balance" if number == 1 else "Brought forward", before, columns, y)
        for row in on_page:
            y = _draw(sheet, row, columns, y)
        if number < len(sheets):
            _balance_row(sheet, "Carried forward", on_page[-1].balance, columns, y)
        else:
            _end(sheet, statement, columns, y)
        _footer(sheet, statement, number, len(sheets))
    return sheet.output()


def _divide(rows: Sequence[_Row], *, first: float) -> Iterator[list[_Row]]:
    """The rows of each page. What stands below the last one needs its place as well."""
    page: list[_Row] = []
    left = _BOTTOM - first - 2 * _ROW - 2 * _GAP - _END
    for row in rows:
        if page and row.height > left:
            yield page
            page, left = [], _BOTTOM - _TOP - 2 * _ROW - 2 * _GAP - _END
        page.append(row)
        left -= row.height
    yield page


def _height_of_front(statement: Statement) -> float:
    return 93.0 if statement.made_at is None else 107.0


def _front(sheet: Sheet, statement: Statement, lines: Sequence[Line], bank: str) -> float:
    """The top of the first page: who, what, when, and the figures that matter."""
    sheet.text(LEFT, 24, bank, size=11, bold=True, within=125)
    sheet.right(RIGHT, 24, "Account statement", size=11)
    sheet.rule(27.5, weight=0.5)
    facts = (
        ("Account", statement.account.name),
        ("Period", _period(statement)),
        ("Currency", statement.account.currency),
        ("Dates", f"days in {statement.zone_name}, both ends included"),
    )
    y = 36.0
    for name, value in facts:
        sheet.text(LEFT, y, name, size=_TEXT, grey=GREY)
        sheet.text(LEFT + 24, y, value, size=_TEXT, bold=name in ("Account", "Period"), within=145)
        y += 5.2
    y += 2.0
    amounts = [line.amount_minor for line in lines]
    figures = (
        ("Opening balance", _money(statement, statement.opening_minor)),
        ("Money in", _signed(statement, sum(each for each in amounts if each > 0))),
        ("Money out", _signed(statement, sum(each for each in amounts if each < 0))),
        ("Balance so far" if statement.made_at else "Closing balance", _money(statement, statement.closing_minor)),
    )
    sheet.frame(LEFT, y, RIGHT - LEFT, 16)
    width = (RIGHT - LEFT) / len(figures)
    size = min(sheet.fitting(value, width - 5, largest=11) for _, value in figures)
    for place, (name, value) in enumerate(figures):
        x = LEFT + width * (place + 1) - 3
        sheet.right(x, y + 5.5, name, size=_SMALL, grey=GREY)
        sheet.right(x, y + 12, value, size=size, bold=True)
        if place:
            sheet.upright(LEFT + width * place, y + 3, y + 13)
    y += 24.0
    if statement.made_at is not None:
        y = _so_far(sheet, statement, y)
    return y


def _so_far(sheet: Sheet, statement: Statement, y: float) -> float:
    """That the period is not over, and what the account's owner can use now."""
    assert statement.made_at is not None
    assert statement.held_minor is not None
    assert statement.available_minor is not None
    at = statement.made_at.astimezone(statement.period.zone).strftime("%Y-%m-%d %H:%M:%S")
    sheet.text(LEFT, y + 1.5, f"This period is not over: the statement is as of {at}.", size=_TEXT, bold=True)
    words = (
        f"On hold {_money(statement, statement.held_minor)}, available {_money(statement, statement.available_minor)}"
    )
    sheet.text(LEFT, y + 6.5, f"{words} {statement.account.currency}.", size=_TEXT)
    return y + 14.0


def _continued(sheet: Sheet, statement: Statement, bank: str) -> float:
    sheet.text(LEFT, 20, bank, size=_TEXT, bold=True, within=55)
    name = statement.account.name
    account_width = sheet.width(name, size := sheet.fitting(name, 70, largest=_TEXT))
    sheet.text(RIGHT - 42 - account_width, 20, name, size=size)
    sheet.right(RIGHT, 20, _period(statement), size=_TEXT)
    sheet.rule(22.5, weight=0.5)
    return 29.0


def _heading(sheet: Sheet, statement: Statement, columns: _Columns, y: float) -> float:
    currency = statement.account.currency
    sheet.text(LEFT, y, "Date", size=_SMALL, bold=True)
    sheet.text(LEFT + _DATE_WIDTH, y, "Transaction", size=_SMALL, bold=True)
    sheet.right(columns.amount, y, f"Amount {currency}", size=_SMALL, bold=True)
    sheet.right(columns.balance, y, f"Balance {currency}", size=_SMALL, bold=True)
    sheet.rule(y + 1.8, weight=0.3)
    return y + 6.5


def _balance_row(sheet: Sheet, name: str, balance: str, columns: _Columns, y: float) -> float:
    sheet.text(LEFT + _DATE_WIDTH, y, name, size=_TEXT, grey=GREY)
    sheet.right(columns.balance, y, balance, size=_TEXT)
    sheet.rule(y + 2.0, weight=0.1, grey=LIGHT)
    return y + _ROW + _GAP


def _draw(sheet: Sheet, row: _Row, columns: _Columns, y: float) -> float:
    sheet.text(LEFT, y, row.date, size=_TEXT)
    sheet.text(LEFT + _DATE_WIDTH, y, row.text, size=_TEXT)
    sheet.right(columns.amount, y, row.amount, size=_TEXT)
    sheet.right(columns.balance, y, row.balance, size=_TEXT)
    for detail in row.details:
        y += _DETAIL
        sheet.text(LEFT + _DATE_WIDTH, y, detail, size=_SMALL, grey=GREY)
    sheet.rule(y + 2.0, weight=0.1, grey=LIGHT)
    return y + _ROW + _GAP


def _end(sheet: Sheet, statement: Statement, columns: _Columns, y: float) -> None:
    name = "Balance so far" if statement.made_at else "Closing balance"
    sheet.text(LEFT + _DATE_WIDTH, y, name, size=_TEXT, bold=True)
    sheet.right(columns.balance, y, _money(statement, statement.closing_minor), size=_TEXT, bold=True)
    sheet.rule(y + 2.0, weight=0.5)
    transfers = "1 transaction" if statement.count == 1 else f"{statement.count:,} transactions"
    sheet.text(LEFT + _DATE_WIDTH, y + 6.5, f"{transfers}.", size=_SMALL, grey=GREY)
    if sheet.has_replaced:
        sheet.text(LEFT + _DATE_WIDTH, y + 10.0, _MISSING, size=_SMALL, grey=GREY)


def _footer(sheet: Sheet, statement: Statement, number: int, count: int) -> None:
    sheet.rule(281.5, weight=0.1, grey=LIGHT)
    sheet.text(LEFT, 285.5, f"Account {statement.account.name}", size=_SMALL, grey=GREY, within=140)
    sheet.right(RIGHT, 285.5, f"Page {number} of {count}", size=_SMALL, grey=GREY)


def _columns(sheet: Sheet, statement: Statement, lines: Sequence[Line]) -> _Columns:
    balances = {statement.opening_minor, statement.closing_minor, *(line.balance_minor for line in lines)}
    amounts = {line.amount_minor for line in lines} | {0}
    widest_balance = max(sheet.width(_money(statement, each), _TEXT, bold=True) for each in _extremes(balances))
    widest_amount = max(sheet.width(_signed(statement, each), _TEXT) for each in _extremes(amounts))
    amount = RIGHT - max(27.0, widest_balance + 5)
    return _Columns(amount, RIGHT, amount - max(25.0, widest_amount + 5) - LEFT - _DATE_WIDTH)


def _extremes(minors: Iterable[int]) -> tuple[int, int]:
    """Digits are equally wide, so no number between these needs more."""
    all_minors = list(minors)
    return min(all_minors), max(all_minors)


def _row(sheet: Sheet, statement: Statement, line: Line, columns: _Columns) -> _Row:
    details = []
    if line.counter_account:
        details.append(f"{'From' if line.amount_minor > 0 else 'To'} account {line.counter_account}")
    if line.reference:
        details.append(f"Reference {line.reference}")
    if line.reason:
        details.append(f"Reason {line.reason}")
    return _Row(
        date=str(statement.date_of(line.decided_at)),
        text=text_of(line.kind, line.amount_minor),
        details=[part for each in details for part in sheet.wrapped(each, columns.text_width, _SMALL)],
        amount=_signed(statement, line.amount_minor),
        balance=_money(statement, line.balance_minor),
    )


def _period(statement: Statement) -> str:
    return f"{statement.from_on} to {statement.to_on}"


def _money(statement: Statement, minor: int) -> str:
    """With commas between the thousands."""
    plain = format_amount(abs(minor), statement.account.currency)
    whole, point, fraction = plain.partition(".")
    return f"{'-' if minor < 0 else ''}{int(whole):,}{point}{fraction}"


def _signed(statement: Statement, minor: int) -> str:
    """The same, and money in has a sign as well: without colours, a minus alone is easily missed."""
    return f"{'+' if minor > 0 else ''}{_money(statement, minor)}"
