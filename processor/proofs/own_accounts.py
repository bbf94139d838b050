"""What the bank's own accounts have: a checkpoint and the transfers after it, as everybody else reads them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import Connection

from processor.proofs.proof import Scope
from processor.store.proving import log, system
from processor.store.proving.system import Checkpoint, Stretch

END: Final = 2**63 - 1
"""A transaction's number that is above all."""


def balances(conn: Connection[Any], scope: Scope, own: Sequence[Checkpoint]) -> dict[int, int]:
    """Credits less debits of each of these accounts, as of the snapshot, by its id."""
    tails = sums(conn, scope, {each.id: Stretch(each.up_to_xid, END) for each in own})
    return {each.id: each.credits_minor + tails[each.id][0] - each.debits_minor - tails[each.id][1] for each in own}


def sums(conn: Connection[Any], scope: Scope, stretches: Mapping[int, Stretch]) -> dict[int, tuple[int, int]]:
    """Credits and debits of the accounts' transfers, each within its own stretch of the log."""
    added = dict.fromkeys(stretches, (0, 0))
    wanted = {id_: each for id_, each in stretches.items() if each.from_xid < each.to_xid}
    if not wanted:
        return added
    slices = log.slices(
        conn,
        since_xid=min(each.from_xid for each in wanted.values()),
        below_xid=max(each.to_xid for each in wanted.values()),
        limit=scope.page,
    )
    for positions in slices:
        scope.count(len(positions))
        for id_, (credits_minor, debits_minor) in system.sum_own(conn, positions, wanted).items():
            added[id_] = (added[id_][0] + credits_minor, added[id_][1] + debits_minor)
    return added


def by_currency(own: Iterable[Checkpoint], found: Mapping[int, int]) -> dict[str, int]:
    """The balances of several accounts, added up by currency."""
    added: dict[str, int] = {}
    for each in own:
        added[each.currency] = added.get(each.currency, 0) + found[each.id]
    return added
