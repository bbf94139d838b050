"""Money is neither made nor lost: all balances of a currency, the bank's own included, add up to zero."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import own_accounts, walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import system


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Add up all accounts of each currency.

    Where only what is new is looked at, by how much the balances of the accounts that were touched went up; all
    accounts of a currency are added up if that is not zero, or was not before.
    """
    currencies = set(scope.suspected("currency"))
    if not scope.is_full:
        for positions in walking.outcomes(conn, scope):
            currencies.update(system.find_unbalanced(conn, positions))
    if scope.is_full or currencies:
        yield from _examine(conn, scope, None if scope.is_full else currencies)


def _examine(conn: Connection[Any], scope: Scope, currencies: Collection[str] | None) -> Iterator[Break]:
    customers: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        page, count, after = system.sum_customers(conn, after=after, limit=scope.page)
        scope.count(count)
        customers.update(page)
    checkpoints = system.checkpoints(conn)
    own = own_accounts.by_currency(checkpoints, own_accounts.balances(conn, scope, checkpoints))
    for currency in sorted(set(customers) | set(own)):
        total = customers[currency] + own.get(currency, 0)
        if total and (currencies is None or currency in currencies):
            yield _broken(currency, customers[currency], own.get(currency, 0))


def _broken(currency: str, customers_minor: int, own_minor: int) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"currency:{currency}",
        expected=f"customers' accounts have {amount(-own_minor, currency)}: what the bank's own are owed",
        found=f"they have {amount(customers_minor, currency)}, {amount(customers_minor + own_minor, currency)} more",
        advice="See what account_totals and system_checkpoints find: one side of it is written down wrongly.",
    )


PROOF: Final = Proof(
    "zero_sum", "In every currency, the balances of all accounts, the bank's own included, add up to zero.", True, check
)
