"""A statement: one account, one period, its balance before and after, and every transfer between."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from psycopg import Connection

from processor.errors import BooksError, ProcessorError
from processor.periods import Period
from processor.store import account_statements as store
from processor.store.account_statements import Line

SETTLING: Final = timedelta(minutes=2)
"""
How long after its end a period is taken to be over: longer than a transaction takes and two machines' clocks differ.
"""


PAGE: Final = 1_000
"""Transfers that are read at a time, so that the largest account needs no memory."""

Read = Callable[[int, int, int], Sequence[Line]]


class UnknownAccountError(ProcessorError):
    """No customer has such an account."""


class NotBegunError(ProcessorError):
    """The period lies in the future."""


@dataclass(frozen=True, slots=True)
class Statement:
    """
    What stands above and below the transfers.

    ``made_at`` is when it was asked for, and ``None`` if that makes no difference: the period was over, so whoever asks
    gets the same for ever. ``held_minor`` and ``available_minor`` are of that instant, and so are only there with it.
    """

    account: store.Account
    from_on: date
    to_on: date
    period: Period
    zone_name: str
    made_at: datetime | None
    after: int
    up_to: int
    opening_minor: int
    closing_minor: int
    held_minor: int | None
    available_minor: int | None

    @property
    def count(self) -> int:
        """How many transfers there are."""
        return self.up_to - self.after

    def date_of(self, instant: datetime) -> date:
        """The day of a transfer, in the bank's zone."""
        return instant.astimezone(self.period.zone).date()


def make(conn: Connection[Any], name: str, period: Period, *, zone_name: str, now: datetime) -> Statement:
    """
    Everything but the transfers, as of ``now``.

    Raises ``UnknownAccountError`` and ``NotBegunError``.
    """
    if period.from_on is None or period.to_on is None:
        raise ValueError("a statement is about a period with a first and a last day")
    account = store.find_account(conn, name)
    if account is None:
        raise UnknownAccountError(f"no customer has an account {name!r}")
    if now < period.starts_at:
        raise NotBegunError(f"the period begins on {period.from_on}: that is in the future")
    # What was decided in its last moments may be committed a little later, by another machine's clock.
    is_over = now - SETTLING >= period.ends_at
    after, up_to = (
        store.version_before(conn, account, instant, tolerance=SETTLING)
        for instant in (period.starts_at, period.ends_at)
    )
    return Statement(
        account=account,
        from_on=period.from_on,
        to_on=period.to_on,
        period=period,
        zone_name=zone_name,
        made_at=None if is_over else now,
        after=after,
        up_to=up_to,
        opening_minor=store.balance_after(conn, account, after),
        closing_minor=store.balance_after(conn, account, up_to),
        held_minor=None if is_over else account.held_minor,
        available_minor=None if is_over else account.balance_minor - account.held_minor + account.overdraft_limit_minor,
    )


def pages(statement: Statement, read: Read) -> Iterator[Sequence[Line]]:
    """
    The transfers, in order, some hundred at a time.

    ``read`` is given an account's id and the versions to read: above the first, up to the second. Raises ``BooksError``
    where a balance is not the one before it and the amount.
    """
    account = statement.account
    version, balance_minor = statement.after, statement.opening_minor
    while version < statement.up_to:
        up_to = min(version + PAGE, statement.up_to)
        page = read(account.id, version, up_to)
        for line in page:
            version, balance_minor = version + 1, balance_minor + line.amount_minor
            if (line.version, line.balance_minor) != (version, balance_minor):
                raise BooksError(f"version {version} of {account.name} does not follow the one before it")
        if version != up_to:
            raise BooksError(f"version {version + 1} of {account.name} is missing")
        yield page


def reader(conn: Connection[Any]) -> Read:
    """Reads through one connection."""
    return lambda account_id, after, up_to: store.page(conn, account_id, after=after, up_to=up_to)
