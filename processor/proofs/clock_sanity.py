"""Receipts and decisions are dated in the order in which they came, and none in the future."""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break, Severity
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.store.proving import commands
from processor.store.proving.commands import WrongClock


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Compare the instants of each command with the present, with each other and with its neighbour's."""
    for positions in walking.outcomes(conn, scope):
        found = commands.find_wrong_clocks(
            conn, positions, latest=scope.now + scope.limits.clock, tolerance=scope.limits.clock
        )
        yield from (_broken(each, scope) for each in found)


def _broken(found: WrongClock, scope: Scope) -> Break:
    latest, tolerance = scope.now + scope.limits.clock, scope.limits.clock
    decided_at = found.decided_at
    if found.accepted_at > latest or (decided_at is not None and decided_at > latest):
        expected, is_found = f"nothing later than {latest}", f"accepted {found.accepted_at}, decided {decided_at}"
    elif decided_at is not None and decided_at < found.accepted_at - tolerance:
        expected, is_found = f"decided after its receipt at {found.accepted_at}", f"decided {decided_at}"
    else:
        expected = f"accepted after the command before it, at {found.before_accepted_at}"
        is_found = f"accepted {found.accepted_at}"
    return Break(
        proof=PROOF.name,
        subject=f"command:{found.position}",
        expected=expected,
        found=is_found,
        advice="A machine's clock was wrong, or a row was changed: set the clock, then resolve this by hand.",
        severity=Severity.TICKET,
        position=found.position,
        since=found.accepted_at,
    )


PROOF: Final = Proof(
    "clock_sanity",
    "No receipt or decision is dated in the future, before what came before it, or a decision before its receipt.",
    True,
    check,
)
