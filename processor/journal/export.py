"""The journal, piece by piece: currencies, accounts, what they had before, transfers, what they have at the end."""

import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, assert_never

from psycopg import Connection

from processor.account_statements.words import KINDS
from processor.journal.beancount import Beancount
from processor.journal.hledger import Hledger
from processor.journal.naming import OPENING, journal_name
from processor.periods import Period
from processor.store import journal as store
from processor.store.journal import Entry, JournalAccount

Format = Literal["beancount", "hledger"]

_CLOCKS: Final = timedelta(hours=1)
"""How much earlier than its account was opened a transfer may seem to be: machines' clocks differ by less."""

_DAY: Final = timedelta(days=1)


def export(
    conn: Connection[Any], format_: Format, period: Period, *, now: datetime, tell: Callable[[int], None] | None = None
) -> Iterator[bytes]:
    """
    The journal of the period, some kilobytes at a time, all of it of one snapshot.

    ``tell`` is told, now and then, how many transfers there were so far.
    """
    with store.snapshot(conn):
        parts: list[str] = []
        for count, part in enumerate(_parts(conn, _writer(format_), period, now=now)):
            parts.append(part)
            if len(parts) == _TOGETHER:
                yield "".join(parts).encode()
                parts = []
                if tell:
                    tell(count)
        yield "".join(parts).encode()


_TOGETHER: Final = 1_000


def _writer(format_: Format) -> Beancount | Hledger:
    match format_:
        case "beancount":
            return Beancount()
        case "hledger":
            return Hledger()
    assert_never(format_)


def _parts(conn: Connection[Any], write: Beancount | Hledger, period: Period, *, now: datetime) -> Iterator[str]:
    def on(instant: datetime) -> date:
        return instant.astimezone(period.zone).date()

    def accounts() -> Iterator[JournalAccount]:
        # Without a beginning, nobody asks what was there before it, and the books need not add it up.
        starts_at = period.starts_at if period.from_on else period.ends_at
        for each in store.accounts(conn, starts_at=starts_at, ends_at=period.ends_at):
            if each.opened_at - _CLOCKS < period.ends_at:
                yield each

    currencies = store.currencies(conn)
    first = min((on(opened_at - _CLOCKS) for _, opened_at in currencies), default=on(now))
    yield write.head("Journal" + _words(period))
    for currency, _ in currencies:
        yield write.commodity(currency, first)
    if period.from_on and currencies:
        yield write.open(OPENING, [currency for currency, _ in currencies], min(first, period.from_on))
    for each in accounts():
        yield write.open(_name(each), [each.currency], on(each.opened_at - _CLOCKS))
        if period.from_on and each.opening_minor:
            yield _opening(write, each, period.from_on)
    last = max(min(period.to_on or date.max, on(now)), period.from_on or date.min)
    count = 0
    for entry in store.entries(conn, starts_at=period.starts_at, ends_at=period.ends_at):
        day = on(entry.decided_at)
        last = max(last, day)
        count += 1
        yield _transaction(write, entry, day)
    yield f"\n{write.comment} Balances as the bank's own books have them, after {count:,} transfers.\n"
    for each in accounts():
        yield write.closing(_name(each), -each.closing_minor, each.currency, last=last, following=last + _DAY)
    if period.from_on:
        # What all accounts had together is nothing.
        for currency, _ in currencies:
            yield write.closing(OPENING, 0, currency, last=last, following=last + _DAY)


def _opening(write: Beancount | Hledger, account: JournalAccount, on: date) -> str:
    minor, currency = -account.opening_minor, account.currency
    postings = [(_name(account), minor, currency), (OPENING, -minor, currency)]
    return write.transaction(on, "opening balance", None, [], postings)


def _transaction(write: Beancount | Hledger, entry: Entry, on: date) -> str:
    facts = [("command", str(entry.command_id)), ("position", str(entry.position)), ("leg", str(entry.leg))]
    if entry.reason:
        facts.append(("reason", _one_line(entry.reason)))
    debit, credit = (_named(name, entry.currency) for name in (entry.debit_account, entry.credit_account))
    postings = [(debit, entry.amount_minor, entry.currency), (credit, -entry.amount_minor, entry.currency)]
    about = _one_line(entry.reference) if entry.reference else None
    return write.transaction(on, KINDS[entry.kind], about, facts, postings)


def _name(account: JournalAccount) -> str:
    return journal_name(account.kind, account.currency, account.name)


def _named(name: str, currency: str) -> str:
    """A system account's name says its kind: ``@settlement:USD``."""
    kind = name[1:].partition(":")[0] if name.startswith("@") else "customer"
    return journal_name(kind, currency, name)


def _one_line(text: str) -> str:
    """What somebody wrote, on one line and without characters that control something."""
    shown = "".join(" " if unicodedata.category(each) in _CONTROLS else each for each in text)
    return " ".join(shown.split())


_CONTROLS: Final = ("Cc", "Cf", "Zl", "Zp")


def _words(period: Period) -> str:
    if not period.from_on and not period.to_on:
        return ""
    return f" from {period.from_on or 'the beginning'} to {period.to_on or 'now'}"
