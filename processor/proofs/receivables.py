"""What customers owe on their advances is what the bank's books say that they owe."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import own_accounts
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import system


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Compare, in each currency, the receivable account with what is owed on all live advances."""
    owed: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        page, count, after = system.sum_owed(conn, after=after, limit=scope.page)
        scope.count(count)
        owed.update(page)
    receivable = [each for each in system.checkpoints(conn) if each.kind == "advances_receivable"]
    balances = own_accounts.by_currency(receivable, own_accounts.balances(conn, scope, receivable))
    for currency in sorted(set(owed) | set(balances)):
        if owed[currency] + balances.get(currency, 0):
            yield _broken(currency, owed[currency], -balances.get(currency, 0))


def _broken(currency: str, owed_minor: int, receivable_minor: int) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"currency:{currency}",
        expected=f"{amount(receivable_minor, currency)} owed: what @advances_receivable:{currency} is to be paid",
        found=f"{amount(owed_minor, currency)} owed on live advances",
        advice="See what advance_schedules and instalment_outcomes find; run both with --full if they find nothing.",
    )


PROOF: Final = Proof(
    "receivables",
    "In every currency, what is owed on live advances is the balance of the receivable account.",
    False,
    check,
)
