"""Credits and debits on an account's row are the sums of its transfers."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import accounts
from processor.store.proving.accounts import Totals


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Compare each account's totals with the sums of all its transfers.

    Where only what is new is looked at, an account that was touched is summed up only if its row is not as its last
    transfer left it: its sums would cost as much as its history is long.
    """
    yield from _examine(conn, walking.suspected_accounts(conn, scope))
    if scope.is_full:
        yield from _examine(conn, walking.all_accounts(conn, scope))
        return
    for positions in walking.outcomes(conn, scope):
        ids = accounts.find_unlike_last(conn, positions)
        yield from _examine(conn, walking.these_accounts(conn, scope, ids))


def _examine(conn: Connection[Any], pages: Iterator[walking.Accounts]) -> Iterator[Break]:
    for ids, parts in groupby(pages, key=lambda page: page.ids):
        first, *more = (
            accounts.sum_transfers(conn, ids, part.low, part.high, unequal=part == walking.Accounts(ids))
            for part in parts
        )
        found = [_added(each) for each in zip(first, *more, strict=True)]
        yield from (_broken(each) for each in found if _is_wrong(each))


def _added(parts: tuple[Totals, ...]) -> Totals:
    first = parts[0]
    return Totals(
        first.id,
        first.name,
        first.currency,
        first.credits_minor,
        first.debits_minor,
        sum(each.summed_credits_minor for each in parts),
        sum(each.summed_debits_minor for each in parts),
    )


def _is_wrong(found: Totals) -> bool:
    return (found.credits_minor, found.debits_minor) != (found.summed_credits_minor, found.summed_debits_minor)


def _broken(found: Totals) -> Break:
    def both(credits_minor: int, debits_minor: int) -> str:
        return f"credits {amount(credits_minor, found.currency)}, debits {amount(debits_minor, found.currency)}"

    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"{both(found.summed_credits_minor, found.summed_debits_minor)}: the sums of its transfers",
        found=f"{both(found.credits_minor, found.debits_minor)} on its row",
        advice="Somebody wrote in account or transfer, or a transfer is missing: find out which before mending either.",
        account=found.name,
    )


PROOF: Final = Proof(
    "account_totals", "Credits and debits of every account are the sums of its transfers.", True, check
)
