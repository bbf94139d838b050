"""What a command led to is what it asked: its one outcome, its transfers, its account or advance, and nothing else."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break, Severity
from processor.proofs import walking
from processor.proofs.proof import Proof, Scope
from processor.store.proving import commands
from processor.store.proving.commands import WrongEffect

_CHANGE: Final = "the change of its account"
_ENDED: Final = "the hold that it ended, as it asked"
_ROWS: Final = {
    "open_account": "the account that it opened",
    "advance": "the advance that it made",
    "place_hold": "the hold that it placed, as it asked",
    **dict.fromkeys(("capture_hold", "release_hold", "expire_hold"), _ENDED),
    **dict.fromkeys(("freeze", "unfreeze", "close", "set_limits"), _CHANGE),
    "reverse": "the reversal of the command that it names",
}
"""What an applied command leads to beside its transfers."""


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """
    Hold every outcome to its command; in full, look also for transfers that are no answer to anything.

    Types that are unknown here are told once each, and again in every run until a scheduler leads that knows them.
    """
    unknown = set(scope.suspected("command_type")).difference(commands.KNOWN_TYPES)
    for positions in walking.outcomes(conn, scope):
        yield from _examine(conn, positions)
        unknown.update(commands.find_unknown_types(conn, positions))
    yield from map(_unknown, sorted(unknown))
    after: int | None = 0 if scope.is_full else None
    while after is not None:
        scope.count(0)
        orphans, after = commands.find_orphans(conn, after=after, limit=scope.page)
        yield from _examine(conn, orphans)


def _examine(conn: Connection[Any], positions: Sequence[int]) -> Iterator[Break]:
    if positions:
        yield from map(_broken, commands.find_wrong_effects(conn, positions))


def _broken(found: WrongEffect) -> Break:
    expected, is_found = _words(found)
    return Break(
        proof=PROOF.name,
        subject=f"command:{found.position}",
        expected=expected,
        found=is_found,
        advice="Workers write outcome, transfers and rows in one transaction: somebody wrote in the tables. See who.",
        account=found.account,
        position=found.position,
        since=found.decided_at,
    )


def _unknown(type_: str) -> Break:
    return Break(
        proof=PROOF.name,
        subject=f"command_type:{type_}",
        expected=f"commands of the types {', '.join(commands.KNOWN_TYPES)}",
        found=f"commands of the type {type_}, of which this scheduler can prove nothing",
        advice="This scheduler is older than the workers: replace it by one of their release, then prove in full.",
        severity=Severity.TICKET,
    )


def _words(found: WrongEffect) -> tuple[str, str]:
    """What is expected, and what was found instead."""
    if found.outcomes > 1:
        return "one outcome", f"{found.outcomes} outcomes"
    if found.outcomes == 0:
        return "no transfers: it has no outcome", _legs(found.found)
    if found.type is None:
        return "a command to this outcome", "none"
    answer = f"{found.type}, {found.status}"
    if found.found != found.expected:
        return f"{_legs(found.expected)} ({answer})", _legs(found.found)
    if found.status == "applied":
        row = _ROWS.get(found.type)
        # Of another kind, an applied command has no row but perhaps one that it should not have.
        return (f"{row} ({answer})", "none") if row else (f"no dead letter and no reversal ({answer})", "one of them")
    if found.status == "failed":
        return f"a dead letter that says why ({answer})", "none"
    return f"no dead letter and no reversal ({answer})", "one of them"


def _legs(legs: Sequence[str]) -> str:
    return f"transfers in minor units: {'; '.join(legs)}" if legs else "no transfers"


PROOF: Final = Proof(
    "command_effects",
    "Every command has at most one outcome; an applied one has its transfers, others none; no transfer is without one.",
    True,
    check,
)
