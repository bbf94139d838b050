"""What a command would come to if it were its turn now. Nothing is written, and nobody waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from processor.domain.books import Account, Books
from processor.domain.decide import Decided, decide
from processor.domain.outcomes import Outcome
from processor.domain.rules import Rules
from processor.store import books as books_store
from processor.store import life
from processor.store.books import PendingRow
from processor.store.life import InQuarantine
from processor.submissions import CommandBody

_COUNTED: Final = 1_000
"""Commands before this one in a line: more are not counted."""


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's balance now, and after the command; ``None`` while there is no such account, or it is the bank's."""

    account: str
    currency: str
    before_minor: int | None
    after_minor: int | None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """
    What the books of one instant answer. ``ahead`` counts, up to a thousand, who waits there and was not considered.

    Without an ``outcome`` the rules break on the command, and ``breaks_with`` says how. While an account is among
    ``quarantines``, the command would be held.
    """

    outcome: Outcome | None
    breaks_with: str | None
    balances: Sequence[Balance]
    ahead: Mapping[str, int]
    quarantines: Sequence[InQuarantine]


def dry_run(conn: Connection[Any], body: CommandBody, *, now: datetime, rules: Rules) -> Foreseen:
    """What the command would come to now. In a transaction of its own, which only reads and takes no lock."""
    with conn.transaction():
        one_snapshot(conn)
        return foresee(conn, life.as_if_in_line(conn, body, now=now), now=now, rules=rules)


def one_snapshot(conn: Connection[Any]) -> None:
    """Let the transaction that just began see accounts, holds and advances that fit each other, and write nothing."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def foresee(conn: Connection[Any], row: PendingRow, *, now: datetime, rules: Rules) -> Foreseen:
    """The same in the caller's transaction, for a command as a worker would find it."""
    books = books_store.read_books(conn, row)
    names = sorted(row.accounts())
    decided, error = _try(books, row, now, rules)
    return Foreseen(
        outcome=decided.outcomes[0] if decided else None,
        breaks_with=error,
        balances=_balances(books, decided, names, row.currency),
        ahead={name: life.waiting(conn, name, limit=_COUNTED) for name in names},
        quarantines=life.quarantines(conn, names),
    )


def _try(books: Books, row: PendingRow, now: datetime, rules: Rules) -> tuple[Decided | None, str | None]:
    try:
        return decide(books, [row.command()], now=now, rules=rules), None
    except Exception as error:  # Whatever made it a dead letter may still be there.
        return None, repr(error)


def _balances(books: Books, decided: Decided | None, names: Sequence[str], currency: str) -> list[Balance]:
    after = decided.applied_to(books) if decided else books
    return [_balance(name, books.accounts.get(name), after.accounts.get(name), currency) for name in names]


def _balance(name: str, was: Account | None, will: Account | None, currency: str) -> Balance:
    known = will or was
    return Balance(
        name,
        known.currency if known else currency,
        was.balance_minor if was else None,
        will.balance_minor if will else None,
    )
