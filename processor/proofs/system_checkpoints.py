"""The bank's own balances are read from checkpoints: each is what the transfers below it add up to."""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import own_accounts
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import system
from processor.store.proving.system import Checkpoint, Stretch

Proven = dict[str, list[int] | None]
"""By an account's id, up to where its checkpoint was proven, and its totals there; ``None`` if it was wrong."""


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Hold each checkpoint to the one that was last proven and the transfers between the two.

    In full, to all transfers from the first one on; and one that was wrong then, until it is right. So there is no need
    to know who is suspected. One that is wrong is not remembered.
    """
    proven: Proven = {} if scope.is_full else dict(scope.memory)
    checkpoints = system.checkpoints(conn)
    starts = {each.id: _start(each, scope, proven) for each in checkpoints}
    moved = own_accounts.sums(
        conn, scope, {each.id: Stretch(starts[each.id][0], each.up_to_xid) for each in checkpoints}
    )
    for each in checkpoints:
        _, credits_minor, debits_minor = starts[each.id]
        credits_minor += moved[each.id][0]
        debits_minor += moved[each.id][1]
        if (credits_minor, debits_minor) == (each.credits_minor, each.debits_minor):
            proven[str(each.id)] = [each.up_to_xid, credits_minor, debits_minor]
        else:
            proven.setdefault(str(each.id), None)
            yield _broken(each, credits_minor, debits_minor)
    scope.memory = dict(proven)


def _start(found: Checkpoint, scope: Scope, proven: Proven) -> tuple[int, int, int]:
    """From where on it is added up, and what it is there."""
    # An account that the last run did not see was made after it, and so were all of its transfers.
    known = proven.get(str(found.id), [scope.since_xid, 0, 0])
    if scope.is_full or known is None or known[0] > found.up_to_xid:
        return 0, 0, 0
    xid, credits_minor, debits_minor = known
    return xid, credits_minor, debits_minor


def _broken(found: Checkpoint, credits_minor: int, debits_minor: int) -> Break:
    def both(credits_minor: int, debits_minor: int) -> str:
        return f"credits {amount(credits_minor, found.currency)}, debits {amount(debits_minor, found.currency)}"

    return Break(
        proof=PROOF.name,
        subject=f"account:{found.name}",
        expected=f"{both(credits_minor, debits_minor)}: the sums of its transfers below transaction {found.up_to_xid}",
        found=f"{both(found.credits_minor, found.debits_minor)} in its checkpoint",
        advice="If its transfers are right, delete its row in system_checkpoint: it is made again from the log.",
    )


PROOF: Final = Proof(
    "system_checkpoints",
    "The checkpoint of each of the bank's own accounts is the sum of the transfers below it.",
    True,
    check,
)
