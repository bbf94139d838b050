"""Linked commands were answered in one transaction: all applied, all refused for the same one, or all failed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.store.proving import links
from processor.store.proving.links import Broken


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Look at what the new outcomes are linked with; in full, at all."""
    for positions in walking.outcomes(conn, scope):
        yield from map(_broken, links.find_broken(conn, positions))


def _broken(found: Broken) -> Break:
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(Counter(found.statuses).items()))
    return Break(
        proof=PROOF.name,
        subject=f"command:{found.position}",
        expected=f"{found.size} linked commands, applied or not in one transaction, one reason why not",
        found=f"{found.commands}: {statuses}; {found.transactions} transactions, {found.culprits} reasons of their own",
        advice="A worker commits the answers to linked commands at once: somebody wrote in the tables. See who.",
        account=found.account,
        position=found.position,
    )


PROOF: Final = Proof(
    "links",
    "Commands that are linked were all applied, or none was, in one transaction; if refused, one of them says why.",
    True,
    check,
)
