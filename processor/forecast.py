"""What will be collected, and what will probably be missed: the rules, run ahead of the days on today's balances."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final
from uuid import UUID

from psycopg import Connection

from processor.domain.advances import WEEK, Advance
from processor.domain.books import Books
from processor.domain.commands import Collect
from processor.domain.decide import decide
from processor.domain.outcomes import Reason
from processor.domain.rules import Rules
from processor.money import exponent
from processor.store import forecasting

_NOON: Final = time(12)
_NO_POSITION: Final = 0
"""Of collects that nobody sends."""


@dataclass(frozen=True, slots=True)
class Expected:
    """
    An instalment on the day of its tick, at the balance that its account has by then.

    ``week`` counts from 0, the seven days that begin today. What is not collected is missed, for ``reason``.
    """

    advance: int
    number: int
    account: str
    currency: str
    due_on: date
    week: int
    amount_minor: int
    available_minor: int
    collected_minor: int
    reason: Reason | None

    @property
    def missed_minor(self) -> int:
        """What is not collected of it."""
        return self.amount_minor - self.collected_minor

    @property
    def short_by_minor(self) -> int:
        """How much more the account needs by then for the instalment to be paid."""
        return max(0, self.amount_minor - max(0, self.available_minor))


@dataclass(slots=True)
class WeekTotal:
    """What is expected of one week in one currency."""

    week: int
    currency: str
    due: int = 0
    due_minor: int = 0
    collected: int = 0
    collected_minor: int = 0
    missed: int = 0
    missed_minor: int = 0

    def add(self, expected: Expected) -> None:
        """One instalment more. Of one that is paid in part, each part is counted where it belongs."""
        self.due += 1
        self.due_minor += expected.amount_minor
        self.collected += expected.collected_minor > 0
        self.collected_minor += expected.collected_minor
        self.missed += expected.missed_minor > 0
        self.missed_minor += expected.missed_minor


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    The weeks in order, and for each currency in which anything comes to be due within them.

    ``misses`` are the largest first misses of an advance, the largest first: whoever is spoken to before that day need
    not miss the next ones either. ``missing_advances`` counts all advances that will miss. ``advance_ids`` are how
    clients name those that are named.
    """

    weeks: Sequence[WeekTotal]
    misses: Sequence[Expected]
    missing_advances: int
    advance_ids: Mapping[int, UUID] = field(default_factory=dict)


def foresee(books: Books, *, now: datetime, weeks: int, rules: Rules) -> Iterator[Expected]:
    """
    Every instalment that comes to be due within so many ``weeks`` from today on, account by account, in its order.

    ``books`` hold accounts with all of their live advances. What is overdue is collected today. A missed instalment
    is added to the next one, as it will be: so the amounts of different weeks have parts in common.
    """
    lent: dict[str, list[Advance]] = {}
    for advance in books.advances.values():
        if advance.state.is_live:
            lent.setdefault(advance.account, []).append(advance)
    for name, advances in sorted(lent.items()):
        yield from _foresee_account(Books.of([books.accounts[name]], advances), now, weeks, rules)


def forecast(
    conn: Connection, *, now: datetime, weeks: int, rules: Rules, currency: str | None = None, limit: int = 20
) -> Forecast:
    """
    What is to be expected of all that is lent, or of what is lent in one currency, at the balances of now.

    Reads a page of accounts at a time. Of the advances that will miss, the ``limit`` largest are named.
    """
    pages = forecasting.read_pages(conn, currency=currency)
    foretold = summarise(
        (expected for books in pages for expected in foresee(books, now=now, weeks=weeks, rules=rules)),
        weeks=weeks,
        limit=limit,
    )
    return replace(foretold, advance_ids=forecasting.read_ids(conn, [miss.advance for miss in foretold.misses]))


def summarise(all_expected: Iterable[Expected], *, weeks: int, limit: int) -> Forecast:
    """Add up what is expected, which may be more than fits in memory."""
    totals: dict[tuple[int, str], WeekTotal] = {}
    missing: set[int] = set()
    largest: list[tuple[Decimal, int, Expected]] = []
    for expected in all_expected:
        for week in range(weeks):
            totals.setdefault((week, expected.currency), WeekTotal(week, expected.currency))
        totals[expected.week, expected.currency].add(expected)
        if expected.missed_minor and expected.advance not in missing:
            missing.add(expected.advance)
            size = Decimal(expected.missed_minor).scaleb(-exponent(expected.currency))
            heapq.heappush(largest, (size, -expected.advance, expected))
            if len(largest) > limit:
                heapq.heappop(largest)
    return Forecast(
        weeks=[total for _, total in sorted(totals.items())],
        misses=[expected for _, _, expected in sorted(largest, reverse=True)],
        missing_advances=len(missing),
    )


def _foresee_account(books: Books, now: datetime, weeks: int, rules: Rules) -> Iterator[Expected]:
    today = rules.business_date(now)
    end = today + weeks * WEEK
    day: date | None = today
    while day is not None and day < end:
        at = now if day == today else datetime.combine(day, _NOON, tzinfo=rules.zone)
        # As the collector does: a tick takes what was due when it began.
        while due := _due(books, day):
            for collect in due:
                expected, books = _foresee_collect(books, collect, at, (day - today).days // 7, rules)
                yield expected
        day = _next_day(books.advances.values())


def _foresee_collect(books: Books, collect: Collect, at: datetime, week: int, rules: Rules) -> tuple[Expected, Books]:
    advance = books.advances[collect.advance or 0]
    due = advance.find(collect.instalment)
    if due is None:
        raise ValueError(f"advance {advance.id} has no instalment {collect.instalment}")
    decided = decide(books, [collect], now=at, rules=rules)
    outcome = decided.outcomes[0]
    collected_minor = sum(transfer.amount_minor for transfer in outcome.transfers)
    expected = Expected(
        advance=advance.id,
        number=due.number,
        account=advance.account,
        currency=advance.currency,
        due_on=due.due_on,
        week=week,
        amount_minor=due.left_minor,
        available_minor=books.accounts[advance.account].available_minor,
        collected_minor=collected_minor,
        reason=None if collected_minor == due.left_minor else outcome.reason or Reason.INSUFFICIENT_FUNDS,
    )
    return expected, decided.applied_to(books)


def _due(books: Books, day: date) -> list[Collect]:
    """A tick's collects, oldest day first."""
    due = sorted(
        (each.due_on, advance.id, each.number)
        for advance in books.advances.values()
        for each in advance.instalments
        if each.is_scheduled and each.due_on <= day
    )
    return [
        Collect(_NO_POSITION, books.advances[id_].account, id_, number, books.advances[id_].currency)
        for _, id_, number in due
    ]


def _next_day(advances: Iterable[Advance]) -> date | None:
    return min((each.due_on for advance in advances for each in advance.instalments if each.is_scheduled), default=None)
