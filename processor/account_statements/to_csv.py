"""A statement as CSV (RFC 4180, UTF-8): one row for each transfer, between rows for what it opens and closes with."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from processor.account_statements.statement import Statement
from processor.account_statements.words import KINDS, text_of
from processor.money import format_amount
from processor.store.account_statements import Line

COLUMNS: Final = (
    *("row", "date", "decided_at", "account", "currency", "kind", "text", "counter_account", "reference", "reason"),
    *("amount", "balance", "command_id", "leg"),
)

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv(statement: Statement, pages: Iterable[Sequence[Line]]) -> Iterator[bytes]:
    """
    The lines, a page at a time, so that the largest account needs no memory.

    Others wrote names, references and reasons: what a spreadsheet would take for a formula gets an apostrophe.
    """
    yield _rows([COLUMNS])
    until = "" if statement.made_at is None else "so far: the period is not over"
    opening = _row(statement, "opening", date=statement.from_on, balance_minor=statement.opening_minor)
    yield _rows([opening])
    in_minor = out_minor = 0
    for page in pages:
        in_minor += sum(line.amount_minor for line in page if line.amount_minor > 0)
        out_minor += sum(line.amount_minor for line in page if line.amount_minor < 0)
        yield _rows([_transfer(statement, line) for line in page])
    ends = [
        _row(statement, "total_in", text=until, amount_minor=in_minor),
        _row(statement, "total_out", text=until, amount_minor=out_minor),
        _row(statement, "closing", date=_last(statement), text=until, balance_minor=statement.closing_minor),
    ]
    if statement.made_at is not None:
        ends += [
            _row(statement, "held", date=_last(statement), amount_minor=statement.held_minor),
            _row(statement, "available", date=_last(statement), amount_minor=statement.available_minor),
        ]
    yield _rows(ends)


def _last(statement: Statement) -> object:
    return statement.to_on if statement.made_at is None else statement.date_of(statement.made_at)


def _transfer(statement: Statement, line: Line) -> list[object]:
    return _row(
        statement,
        "transfer",
        date=statement.date_of(line.decided_at),
        decided_at=line.decided_at.isoformat().replace("+00:00", "Z"),
        kind=KINDS[line.kind],
        text=text_of(line.kind, line.amount_minor),
        counter_account=line.counter_account,
        reference=line.reference,
        reason=line.reason,
        amount_minor=line.amount_minor,
        balance_minor=line.balance_minor,
        command_id=line.command_id,
        leg=line.leg,
    )


def _row(
    statement: Statement,
    row: str,
    *,
    amount_minor: int | None = None,
    balance_minor: int | None = None,
    **cells: Any,
) -> list[object]:
    currency = statement.account.currency
    texts = {"row": row, "account": statement.account.name, "currency": currency, **cells}
    numbers = {"amount": amount_minor, "balance": balance_minor}
    return [
        ("" if numbers[name] is None else format_amount(numbers[name] or 0, currency))
        if name in numbers
        else _harmless(texts.get(name))
        for name in COLUMNS
    ]


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _rows(rows: Iterable[Iterable[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()
