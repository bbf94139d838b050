"""What a person reads of reconciliation: results with counts and sums, how old the breaks are, and each of them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import Connection

from processor.domain.matching import Result
from processor.money import format_amount
from processor.store import statements as store
from processor.store.statements import BreakRow, BreakTotal, FileRow

BUCKETS: Final = ("0-1", "2-7", "8-30", ">30")
"""Ages of breaks, in days."""

COLUMNS: Final = (
    *("subject", "result", "since", "age_days", "currency", "amount", "direction", "bank_account", "account"),
    *("booked_on", "says", "reference", "file", "detail"),
)

_RESULTS: Final = (*(each.value for each in Result), "balance")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Total:
    """Lines, transfers or files of a result. A transfer that is missing is of no bank account."""

    bank_account: str | None
    currency: str
    result: str
    count: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything at one instant. ``breaks`` are the oldest; ``break_count`` is how many there are."""

    files: Sequence[FileRow]
    totals: Sequence[Total]
    ageing: Sequence[BreakTotal]
    breaks: Sequence[BreakRow]
    break_count: int
    made_at: datetime


def report(
    conn: Connection, *, now: datetime, currency: str | None = None, files: int = 20, breaks: int | None = 100
) -> Report:
    """What is to be said, of one currency or all."""
    ageing = store.break_totals(conn, now=now, currency=currency)
    return Report(
        store.newest_files(conn, files),
        _totals(conn, ageing, currency),
        ageing,
        store.open_breaks(conn, currency=currency, limit=breaks),
        sum(each.count for each in ageing),
        now,
    )


def age_days(broken: BreakRow, now: datetime) -> int:
    """Whole days since the money moved."""
    return max((now - broken.what.since).days, 0)


def row_of(broken: BreakRow, now: datetime) -> dict[str, str | int | None]:
    """The break as a row of a report, by its columns."""
    what = broken.what
    return {
        "subject": what.subject,
        "result": what.result,
        "since": what.since.isoformat(),
        "age_days": age_days(broken, now),
        "currency": what.currency,
        "amount": format_amount(what.amount_minor, what.currency),
        "direction": broken.direction,
        "bank_account": broken.bank_account,
        "account": broken.account,
        "booked_on": broken.booked_on.isoformat() if broken.booked_on else None,
        "says": broken.says,
        "reference": broken.reference,
        "file": broken.file,
        "detail": what.detail,
    }


def to_csv(breaks: Sequence[BreakRow], now: datetime) -> str:
    """The breaks as CSV. Strangers wrote some of it: what a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for each in breaks:
        writer.writerow({name: _harmless(value) for name, value in row_of(each, now).items()})
    return out.getvalue()


def _totals(conn: Connection, ageing: Sequence[BreakTotal], currency: str | None) -> list[Total]:
    """Every line is matched or a break, so those that are matched need not be counted."""
    broken: dict[tuple[str | None, str, str], tuple[int, int]] = {}
    for each in ageing:
        key = (each.bank_account, each.currency, each.result)
        count, minor = broken.get(key, (0, 0))
        broken[key] = (count + each.count, minor + each.amount_minor)
    totals = []
    for of in store.line_totals(conn, currency=currency):
        count, minor = of.count, of.amount_minor
        for (bank_account, its_currency, result), (broken_count, broken_minor) in broken.items():
            if (bank_account, its_currency) == (of.bank_account, of.currency) and result != "balance":
                count, minor = count - broken_count, minor - broken_minor
        totals.append(Total(of.bank_account, of.currency, Result.MATCHED.value, count, minor))
    totals += [Total(*key, *value) for key, value in broken.items()]
    return sorted(totals, key=lambda each: (each.currency, each.bank_account or "~", _RESULTS.index(each.result)))


def _harmless(value: str | int | None) -> str | int | None:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
