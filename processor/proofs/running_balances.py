"""An account's transfers are a chain: versions without a gap, and each balance is the one before it and the amount."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import accounts
from processor.store.proving.accounts import ChainBreak, LooseEnd


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Follow the chain of each account; of what is new, each transfer is held to the one before it."""
    yield from _examine(conn, walking.suspected_accounts(conn, scope))
    if scope.is_full:
        yield from _examine(conn, walking.all_accounts(conn, scope))
        return
    for positions in walking.outcomes(conn, scope):
        ids = accounts.find_unchained(conn, positions)
        yield from _examine(conn, walking.these_accounts(conn, scope, ids))


def _examine(conn: Connection[Any], pages: Iterator[walking.Accounts]) -> Iterator[Break]:
    for ids, parts in groupby(pages, key=lambda page: page.ids):
        after = (0, 0)
        for part in parts:
            yield from map(_broken, accounts.find_chain_breaks(conn, ids, part.low, part.high, after=after))
            if part != walking.Accounts(ids):
                after = accounts.last_side(conn, ids[0], part.low, part.high) or after
        yield from map(_loose, accounts.find_loose_ends(conn, ids))


def _broken(found: ChainBreak) -> Break:
    def link(version: int, balance_minor: int) -> str:
        return f"version {version} with balance {amount(balance_minor, found.currency)}"

    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"{link(found.expected_version, found.expected_balance_minor)}, from the transfer before it",
        found=f"{link(found.version, found.balance_minor)}, at command {found.position}",
        advice="A transfer is missing, doubled or changed: compare the account's transfers with their commands.",
        account=found.name,
        position=found.position,
        since=found.decided_at,
    )


def _loose(found: LooseEnd) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"version {found.last_version}, as its last transfer has it",
        found=f"version {found.version} on its row",
        advice="A transfer is missing or the row was changed: compare the account's transfers with their commands.",
        account=found.name,
    )


PROOF: Final = Proof(
    "running_balances",
    "The versions and balances of every account follow from one transfer to the next, up to the account's own version.",
    True,
    check,
)
