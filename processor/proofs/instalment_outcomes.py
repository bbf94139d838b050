"""What the instalments say happened to them is what the collects, repayments and write-offs say that they did."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import advances, log
from processor.store.proving.advances import Settlement, Unpaid

_PAGE: Final = 2_000
"""Advances of which all transfers are read at once."""


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Hold instalments and commands to each other.

    In full, and while there is a doubt, also what was paid on each advance to the transfers.
    """
    if suspects := scope.suspected_ids("advance"):
        yield from _examine(conn, suspects)
        named = [each.position for each in scope.suspects if each.position is not None]
        yield from _contradictions(conn, [*named, *advances.collects_of(conn, suspects)])
    if scope.is_full:
        for ids in log.advance_pages(conn, _PAGE):
            scope.count(len(ids))
            yield from _examine(conn, ids)
    for positions in walking.outcomes(conn, scope):
        if ids := advances.touched(conn, positions):
            yield from _contradictions(conn, positions)
            if not scope.is_full:
                yield from map(_wrongly_settled, advances.find_wrong_settled(conn, ids))


def _examine(conn: Connection[Any], ids: Sequence[int]) -> Iterator[Break]:
    yield from map(_wrongly_settled, advances.find_wrong_settled(conn, ids))
    yield from map(_unpaid, advances.find_unpaid(conn, ids))


def _contradictions(conn: Connection[Any], positions: Sequence[int]) -> Iterator[Break]:
    yield from map(_contradicting, advances.find_without_effect(conn, positions))


def _wrongly_settled(found: Settlement) -> Break:
    return _broken(
        found,
        f"instalment {found.number}, {found.state}, settled by a command of its advance that had this effect",
        f"command {found.position}: {_answer(found)}",
    )


def _contradicting(found: Settlement) -> Break:
    what = "the advance" if found.number is None else f"instalment {found.number}"
    state = found.state or "not in such a state"
    return _broken(found, f"{what} as command {found.position} left it: {_answer(found)}", f"{what} is {state}")


def _answer(found: Settlement) -> str:
    return ", ".join(filter(None, (found.type, found.status, found.reason))) or "none"


def _broken(found: Settlement, expected: str, is_found: str) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"advance:{found.advance}",
        expected=expected,
        found=is_found,
        advice="An instalment was changed, or an outcome is not the one that was decided: compare the two.",
        account=found.account,
        position=found.position,
        since=found.decided_at,
    )


def _unpaid(found: Unpaid) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"advance:{found.advance}",
        expected=f"{amount(found.transferred_minor, found.currency)} paid, as transferred;"
        f" {found.attempts_made} collects that came to nothing",
        found=f"{amount(found.paid_minor, found.currency)} paid; {found.attempts} that came to nothing",
        advice="The advance's row or instalments were changed, or a transfer is missing: compare them.",
        account=found.account,
        position=found.advance,
    )


PROOF: Final = Proof(
    "instalment_outcomes",
    "Every instalment is as the outcomes of its collects and of the repayments and write-offs of its advance left it.",
    True,
    check,
)
