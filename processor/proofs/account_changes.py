"""What an account may do is what the commands about it said last: its status, its overdraft, its limits of a day."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.store.proving import account_changes, accounts
from processor.store.proving.account_changes import Forbidden, Unasked, Unlike


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Hold each account to its last change, each change to its command, and what moved to what was allowed by then.

    Where only what is new is looked at: the accounts that were touched, and the new changes and transfers.
    """
    yield from _examine(conn, walking.suspected_accounts(conn, scope))
    if scope.is_full:
        yield from _examine(conn, walking.all_accounts(conn, scope))
        return
    for positions in walking.outcomes(conn, scope):
        yield from map(_unlike, account_changes.find_unlike(conn, accounts.touched(conn, positions)))
        yield from map(_unasked, account_changes.find_new_unasked(conn, positions))
        yield from map(_forbidden, account_changes.find_new_forbidden(conn, positions))


def _examine(conn: Connection[Any], pages: Iterator[walking.Accounts]) -> Iterator[Break]:
    for ids, parts in groupby(pages, key=lambda page: page.ids):
        yield from map(_unlike, account_changes.find_unlike(conn, ids))
        yield from map(_unasked, account_changes.find_unasked(conn, ids))
        for part in parts:
            yield from map(_forbidden, account_changes.find_forbidden(conn, ids, part.low, part.high))


def _unlike(found: Unlike) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"status, overdraft and limits of a day as they were decided last: {found.decided}",
        found=found.found,
        advice="Somebody changed the account's row: put it back, or have it changed by a command that says why.",
        account=found.name,
    )


def _unasked(found: Unasked) -> Break:
    answer = ", ".join(filter(None, (found.type, found.status))) or "no command"
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.account}",
        expected=f"a change at position {found.position} as its command asked for it, and the rest as it was",
        found=f"another change ({answer})",
        advice="Rows of account_change are written by workers only: see who wrote in this one.",
        account=found.account,
        position=found.position,
    )


def _forbidden(found: Forbidden) -> Break:
    allowed = "no debit but by force" if found.status == "frozen" else "no transfer"
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"{allowed} while the account is {found.status}",
        found=f"a transfer of the kind {found.kind}, by command {found.position}",
        advice="Money moved that should have stayed: see who decided it, and whether the account's status was changed.",
        account=found.name,
        position=found.position,
        since=found.decided_at,
    )


PROOF: Final = Proof(
    "account_changes",
    "Every account may do what the last applied command about that said, and did nothing else.",
    True,
    check,
)
