"""What is on hold on an account's row is what its holds say, and each hold was placed and ended by its command."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import accounts, holds
from processor.store.proving.holds import Unfounded, WrongHeld

_PATIENCE: Final = timedelta(days=1)
"""After an expiry that failed, the next one is sent a day later."""

_ENOUGH: Final = 100_000


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Add up the open holds of the accounts, hold each hold to its commands, and look for one that nobody gave back.

    Where only what is new is looked at: the accounts that were touched, and the holds that were placed or ended.
    """
    yield from _examine(conn, walking.suspected_accounts(conn, scope))
    if scope.is_full:
        yield from _examine(conn, walking.all_accounts(conn, scope))
    else:
        for positions in walking.outcomes(conn, scope):
            yield from map(_wrong_held, holds.find_wrong_held(conn, accounts.touched(conn, positions)))
            yield from map(_unfounded, holds.find_new_unfounded(conn, positions))
    before = scope.now - scope.limits.pending
    count, oldest, hold_id = holds.find_overdue(conn, before=before, failed_before=before - _PATIENCE, limit=_ENOUGH)
    if count:
        many = f"{count} or more" if count == _ENOUGH else str(count)
        yield Break(
            proof=PROOF.name,
            subject="job:expire_holds",
            expected="every hold given back when its time is over",
            found=f"{many} still on hold, the oldest since {oldest}, hold {hold_id}",
            advice="See `florin jobs list`: expire_holds is late or fails. What is over is given back when it runs.",
            position=hold_id,
            since=oldest,
        )


def _examine(conn: Connection[Any], pages: Iterator[walking.Accounts]) -> Iterator[Break]:
    # The parts of one account with very many transfers are one account here.
    for ids, _ in groupby(pages, key=lambda page: page.ids):
        yield from map(_wrong_held, holds.find_wrong_held(conn, ids))
        yield from map(_unfounded, holds.find_unfounded(conn, ids))


def _wrong_held(found: WrongHeld) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"{amount(found.reserved_minor, found.currency)} on hold, as its holds add up",
        found=f"{amount(found.held_minor, found.currency)} on the account's row",
        advice="The row or a hold was changed: compare them with the account's commands, and put right what is wrong.",
        account=found.name,
    )


def _unfounded(found: Unfounded) -> Break:
    by = "" if found.settled_by is None else f", ended by command {found.settled_by} ({found.type}, {found.status})"
    return Break(
        proof=PROOF.name,
        subject=f"account:{found.account}",
        expected=f"hold {found.id} as the commands about it left it",
        found=f"{found.state}{by}, {found.attempts} expiries that came to nothing",
        advice="A hold was changed: compare it with the outcomes of the commands that name it.",
        account=found.account,
        position=found.id,
        since=found.decided_at,
    )


PROOF: Final = Proof(
    "holds",
    "What is on hold on an account is the sum of its open holds; each was placed and ended by its command, in time.",
    True,
    check,
)
