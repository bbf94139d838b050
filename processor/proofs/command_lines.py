"""A command is answered, in line or held: exactly one of these, in line for all of its accounts, and not for long."""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from processor.account_keys import account_key
from processor.breaks import Break, Severity
from processor.proofs.proof import Proof, Scope
from processor.store.proving import commands, log
from processor.store.proving.commands import Lost, Waiting


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Look where each command is.

    Where only what is new is looked at, those that waited when the proof last ran, those accepted since, and those that
    wait now. What was answered then has its outcome for good, as far as a look at old rows does not say otherwise.
    """
    waiting: list[int] = []
    stale: list[Waiting] = []
    for each in commands.waiting(conn, scope.page):
        scope.count(1)
        waiting.append(each.position)
        if wrong := _misplaced(each):
            yield wrong
        if not each.is_held and each.accepted_at and each.accepted_at < scope.now - scope.limits.pending:
            stale.append(each)
    if stale:
        yield _stale(stale, scope)
    seen = 0 if scope.is_full else int(scope.memory.get("seen", 0))
    known = sorted({*scope.memory.get("waiting", ()), *scope.suspected_ids("command"), *waiting})
    for start in range(0, len(known), scope.page):
        yield from map(_lost, commands.find_lost(conn, known[start : start + scope.page]))
    for positions in log.command_pages(conn, scope.page, after=seen):
        scope.count(len(positions))
        yield from map(_lost, commands.find_lost(conn, positions))
        seen = positions[-1]
    scope.memory = {"seen": seen, "waiting": waiting}


def _misplaced(found: Waiting) -> Break | None:
    names = sorted(found.accounts)
    keys = sorted(map(account_key, names))
    if sorted(found.account_keys) == keys:
        return None
    place = "held" if found.is_held else "pending"
    return Break(
        proof=PROOF.name,
        subject=f"command:{found.position}",
        expected=f"the places {keys} of {', '.join(names)} in {place}" if names else "a command, or no place",
        found=f"the places {sorted(found.account_keys)}",
        advice="Rows of pending or held were changed: put right what is missing, and take away what is too much.",
        position=found.position,
        since=found.accepted_at,
    )


def _lost(found: Lost) -> Break:
    places = [
        name
        for name, is_there in (("answered", found.answered), ("in line", found.waits), ("held", found.is_held))
        if is_there
    ]
    advice = "Take its rows out of pending and held: it has its answer."
    if not found.answered:
        advice = "Nobody will ever decide it: put its rows back into pending, one for each of its accounts."
    return Break(
        proof=PROOF.name,
        subject=f"command:{found.position}",
        expected="answered, in line or held: exactly one of these",
        found=" and ".join(places) or "none of these",
        advice=advice,
        account=found.account if found.answered else None,
        position=found.position,
        since=found.accepted_at,
    )


def _stale(stale: list[Waiting], scope: Scope) -> Break:
    oldest = stale[0]
    return Break(
        proof=PROOF.name,
        subject="pending:oldest",
        expected=f"every command decided within {scope.limits.pending.total_seconds():.0f} s of its receipt",
        found=f"{len(stale)} in line for longer, the first of them command {oldest.position}",
        advice="See 'Is money stuck?' in docs/operations.md.",
        severity=Severity.PAGE,
        position=oldest.position,
        since=oldest.accepted_at,
    )


PROOF: Final = Proof(
    "command_lines",
    "Every command has its outcome, or waits in line or held for all of its accounts; none waits for too long.",
    True,
    check,
)
