"""No debit leaves an account below its overdraft limit; only the fee for it may."""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import accounts
from processor.store.proving.accounts import TooLow


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Look at the balance after every transfer, not only at today's."""
    yield from _examine(conn, walking.suspected_accounts(conn, scope))
    if scope.is_full:
        yield from _examine(conn, walking.all_accounts(conn, scope))
        return
    for positions in walking.outcomes(conn, scope):
        ids = accounts.find_new_too_low(conn, positions)
        yield from _examine(conn, walking.these_accounts(conn, scope, ids))


def _examine(conn: Connection[Any], pages: Iterator[walking.Accounts]) -> Iterator[Break]:
    for page in pages:
        yield from map(_broken, accounts.find_too_low(conn, page.ids, page.low, page.high))


def _broken(found: TooLow) -> Break:
    floor_minor = -found.overdraft_limit_minor
    if found.kind == "overdraft_fee":
        floor_minor -= found.overdraft_fee_minor
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"at least {amount(floor_minor, found.currency)} after a transfer of the kind {found.kind}",
        found=f"{amount(found.balance_minor, found.currency)} after command {found.position}",
        advice="More was taken than was there: see who decided it, and whether the account's overdraft was changed.",
        account=found.name,
        position=found.position,
        since=found.decided_at,
    )


PROOF: Final = Proof(
    "balance_floors", "No transfer leaves an account below its overdraft limit, except for the fee.", True, check
)
