"""An advance is what was asked for, and its instalments add up to it, one a week without a gap."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.domain.advances import due_on
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.proofs.words import amount
from processor.store.proving import advances, log
from processor.store.proving.advances import Reckoned


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Reckon every advance, or those that something new has to do with."""
    if suspects := scope.suspected_ids("advance"):
        yield from _examine(conn, suspects)
    if scope.is_full:
        for ids in log.advance_pages(conn, scope.page):
            scope.count(len(ids))
            yield from _examine(conn, ids)
        return
    for positions in walking.outcomes(conn, scope):
        if ids := advances.touched(conn, positions):
            yield from _examine(conn, ids)


def _examine(conn: Connection[Any], ids: Sequence[int]) -> Iterator[Break]:
    for each in advances.reckon(conn, ids):
        if wrong := _wrong(each):
            yield _broken(each, *wrong)


def _wrong(found: Reckoned) -> tuple[str, str] | None:
    """What is expected and what was found, of the first thing that is wrong."""

    def money(amount_minor: int | None) -> str:
        return amount(amount_minor or 0, found.currency)

    asked = money(found.asked_minor)
    if not found.is_as_asked:
        return "account, amount and first day of the command that asked for it", "others on its row"
    if found.count != found.instalments or found.last != found.instalments:
        return f"instalments 1 to {found.instalments}", f"{found.count}, the last of them number {found.last}"
    if found.first_astray is not None:
        day = due_on(found.first_due_on, found.first_astray)
        return f"instalment {found.first_astray} due on {day}, a week after the one before", "another day"
    if found.first_unequal is not None:
        return (
            f"equal shares of {asked}, and what was rolled on",
            f"another share at instalment {found.first_unequal}",
        )
    if found.accounted_minor != found.asked_minor or found.rolled_minor != found.missed_minor:
        accounted, rolled, missed = map(money, (found.accounted_minor, found.rolled_minor, found.missed_minor))
        return (
            f"{asked} paid, scheduled or written off, and all that was missed rolled on",
            f"{accounted}; {missed} missed and {rolled} rolled on",
        )
    if not found.figures_agree:
        paid, written_off = money(found.instalments_paid_minor), money(found.instalments_written_off_minor)
        return (
            f"{paid} paid and {written_off} written off, as on its instalments",
            f"{money(found.paid_minor)} and {money(found.written_off_minor)} on its row",
        )
    if found.state != found.instalments_state:
        return f"the state {found.instalments_state}, as its instalments are", f"{found.state} on its row"
    return None


def _broken(found: Reckoned, expected: str, is_found: str) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"advance:{found.id}",
        expected=expected,
        found=is_found,
        advice="Somebody wrote in advance or instalment, or there is a bug: compare them with the advance's commands.",
        account=found.account,
        position=found.id,
        since=found.granted_at,
    )


PROOF: Final = Proof(
    "advance_schedules",
    "The instalments of every advance are weekly, without a gap, and add up to it; its own figures are theirs.",
    True,
    check,
)
