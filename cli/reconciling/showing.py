"""A report of reconciliation as tables for a person, or as JSON for a program."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from cli.tables import figure
from processor.money import format_amount
from processor.reconciliation.importing import Imported
from processor.reconciliation.reconciling import Settlement
from processor.reconciliation.reporting import BUCKETS, Report, Total, age_days, row_of
from processor.store.statements import BreakRow, BreakTotal

_WIDEST_DETAIL: Final = 80


def sentence(imported: Imported, settlement: Settlement | None) -> str:
    """What became of the file."""
    file = imported.file
    if imported.again:
        return f"{file.name} was imported on {file.imported_at:%Y-%m-%d %H:%M} UTC already: nothing was done."
    known = file.lines - file.new_lines
    words = (
        f"{file.name}: {file.bank_account}, {file.from_on} to {file.to_on}, {file.lines:,} lines"
        + (f", {known:,} of them known from another file" if known else "")
        + (f"; {file.skipped:,} that are not booked or move nothing were left out" if file.skipped else "")
        + "."
    )
    if settlement is None:
        return words
    amounts = {
        "the bank moved": settlement.bank_minor,
        "the books moved": settlement.books_minor,
        "in breaks": settlement.in_breaks_minor,
        "on other days or accounts": settlement.other_days_minor,
    }
    said = ", ".join(f"{name} {format_amount(minor, file.currency)}" for name, minor in amounts.items())
    return f"{words}\nSettlement in {file.currency} on these days: {said}."


def totals_table(totals: Sequence[Total]) -> Table:
    """How many lines of each result, and how much together."""
    table = Table(title="Statements and books", title_justify="left")
    for name in ("bank account", "currency", "result"):
        table.add_column(name)
    for name in ("count", "amount"):
        table.add_column(name, justify="right")
    for each in totals:
        amount = format_amount(each.amount_minor, each.currency)
        table.add_row(each.bank_account or "-", each.currency, each.result, f"{each.count:,}", amount)
    return table


def ageing_table(ageing: Sequence[BreakTotal]) -> Table:
    """How old the breaks are, by the day on which the money moved."""
    table = Table(title="Breaks by age in days", title_justify="left")
    for name in ("currency", "result"):
        table.add_column(name)
    for name in BUCKETS:
        table.add_column(name, justify="right")
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for each in ageing:
        buckets = counts.setdefault((each.currency, each.result), {})
        buckets[each.bucket] = buckets.get(each.bucket, 0) + each.count
    for (currency, result), buckets in counts.items():
        table.add_row(currency, result, *(f"{buckets[name]:,}" if name in buckets else "-" for name in BUCKETS))
    return table


def breaks_table(breaks: Sequence[BreakRow], now: datetime) -> Table:
    """The breaks themselves, the oldest first. What a bank's customer wrote is shown as it is, and moves no cursor."""
    table = Table(title="Breaks, the oldest first", title_justify="left")
    for name in ("subject", "result", "days"):
        table.add_column(name)
    table.add_column("amount", justify="right")
    for name in ("direction", "account", "says", "why"):
        table.add_column(name)
    for each in breaks:
        what = each.what
        table.add_row(
            what.subject,
            what.result,
            str(age_days(each, now)),
            f"{format_amount(what.amount_minor, what.currency)} {what.currency}",
            each.direction or "-",
            each.bank_account or each.account or "-",
            _plain(each.says or each.reference or each.file),
            _plain(what.detail),
        )
    return table


def document(report: Report, imported: Imported | None) -> dict[str, Any]:
    """The report for a program. Amounts are decimal strings."""
    return {
        "file": None if imported is None else {"id": imported.file.id, "again": imported.again},
        "totals": [
            {"bank_account": each.bank_account, "currency": each.currency, "result": each.result}
            | figure(each.count, each.amount_minor, each.currency)
            for each in report.totals
        ],
        "ageing": [
            {"bank_account": each.bank_account, "currency": each.currency, "result": each.result, "days": each.bucket}
            | figure(each.count, each.amount_minor, each.currency)
            for each in report.ageing
        ],
        "break_count": report.break_count,
        "breaks": [row_of(each, report.made_at) for each in report.breaks],
    }


def _plain(text: str | None) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text or "-")
    return escape(shown if len(shown) <= _WIDEST_DETAIL else f"{shown[: _WIDEST_DETAIL - 1]}…")
