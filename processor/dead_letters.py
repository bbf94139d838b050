"""Dead letters by hand: what a retry would do, retry as a command of its own, or discard; each with who and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from processor.domain.rules import Rules
from processor.dry_run import Foreseen, foresee, one_snapshot
from processor.store import commands, life, locks
from processor.store import dead_letters as store
from processor.store.books import InLine
from processor.store.dead_letters import Action, Alike, DeadLetter, Parent
from processor.store.life import Asked
from processor.submissions import Submission

_SCHEDULERS: Final = {
    "collect": ("a collect", "the instalment is scheduled"),
    "expire_hold": ("an expire_hold", "the money is on hold"),
}
"""What the scheduler sends again by itself, and until when."""


class CannotError(Exception):
    """What was asked for is not to be done, and nothing was. The text says why, and what to do instead."""


class AlikeError(CannotError):
    """The client may have what the dead letter asked for already, by another command: a retry would do it twice."""


@dataclass(frozen=True, slots=True)
class Case:
    """A dead letter, what was asked, and what people did about it. ``parent`` if it is a retry of another itself."""

    asked: Asked
    letter: DeadLetter
    actions: Sequence[Action]
    parent: Parent | None

    @property
    def is_open(self) -> bool:
        """Whether it waits for somebody: nobody did anything, or the retry was refused, so that nothing was moved."""
        return not self.actions or self.actions[-1].retry_status == "refused"

    @property
    def state(self) -> str:
        """``open`` until somebody does something; then what it was, and of a retry what became of it."""
        if not self.actions:
            return "open"
        last = self.actions[-1]
        return "discarded" if last.action == "discard" else f"retried: {last.retry_status}"

    @property
    def next_number(self) -> int:
        """The number that the next action has."""
        return len(self.actions) + 1

    @property
    def next_key(self) -> str:
        """The idempotency key that the next retry has: the same whoever asks for it, and however often."""
        return f"retry:{self.asked.id}:{self.next_number}"


@dataclass(frozen=True, slots=True)
class Preview:
    """
    What a retry would come to if it were decided now: as ``foreseen``, whose rules may break on it as before.

    ``alike`` are other commands of the same client that ask for the same; unless ``looked_at_all``, there may be more.
    """

    key: str
    foreseen: Foreseen
    alike: Sequence[Alike]
    looked_at_all: bool


@dataclass(frozen=True, slots=True)
class Retried:
    """The command that was accepted in the dead letter's stead. It is pending."""

    id: UUID
    position: int
    idempotency_key: str
    in_line: InLine


def cases(conn: Connection[Any], positions: Sequence[int]) -> list[Case]:
    """Those of the commands that are dead letters, in the order in which they were named."""
    letters, actions = store.find(conn, positions), store.actions(conn, positions)
    parents = store.parents(conn, positions)
    asked = {each.position: each for each in life.find_at(conn, list(letters))}
    return [
        Case(asked[position], letters[position], actions[position], parents.get(position))
        for position in positions
        if position in letters
    ]


def check_retry(case: Case) -> None:
    """Raise ``CannotError`` unless the dead letter may be retried."""
    if what := _SCHEDULERS.get(case.asked.body.type):
        raise CannotError(
            f"{what[0]} is not retried by hand: the scheduler tries again by itself a day after it failed, as long as "
            f"{what[1]}. When that is settled, discard this one."
        )
    if case.asked.link is not None:
        raise CannotError(
            f"it was linked with {(case.asked.link_size or 1) - 1} others, all of which failed with it, and alone it "
            "would be another request: let the client send all of them again, linked, under new keys; and discard these"
        )
    if not case.actions:
        return
    last = case.actions[-1]
    if last.action == "discard":
        raise CannotError(f"it was discarded by {last.acted_by} at {last.acted_at:%Y-%m-%d %H:%M:%S} UTC")
    if last.retry_status == "failed":
        raise CannotError(f"its retry {last.retry_id} is a dead letter itself: look at that one")
    if last.retry_status != "refused":
        raise CannotError(f"it was retried already, by {last.acted_by}: command {last.retry_id} is {last.retry_status}")


def check_discard(case: Case) -> None:
    """Raise ``CannotError`` unless the dead letter may be discarded."""
    if not case.is_open:
        last = case.actions[-1]
        done = "discarded" if last.action == "discard" else f"retried as {last.retry_id}, which is {last.retry_status}"
        raise CannotError(f"it is not open any more: {last.acted_by} has dealt with it, it was {done}")


def preview(conn: Connection[Any], case: Case, *, now: datetime, rules: Rules) -> Preview:
    """
    What the books of now would answer. Nothing is written, and nobody waits: the answer may be another one later.

    Raises ``CannotError`` as ``retry`` would.
    """
    check_retry(case)
    asked = case.asked
    with conn.transaction():
        one_snapshot(conn)
        _check_key(conn, case)
        foreseen = foresee(conn, asked.as_pending(), now=now, rules=rules)
        alike, looked_at_all = _alike(conn, case)
    return Preview(case.next_key, foreseen, alike, looked_at_all)


def retry(
    conn: Connection[Any],
    position: int,
    *,
    by: str,
    reason: str,
    now: datetime,
    new_id: Callable[[], UUID],
    although_alike: bool = False,
) -> Retried:
    """
    Accept what the dead letter asked for once more, as a command of its own, in the name of the same client.

    The command and the record of who asked for it are written in one transaction: whatever is killed, there are both
    or neither. Two who ask at once come one after the other, and the second is told what the first did. Raises
    ``CannotError`` if it may not be retried, and ``AlikeError`` if somebody must first have made sure that the client
    does not have it already. The caller sends a message; if it cannot, the sweeper will.
    """
    with conn.transaction():
        store.be_brief(conn)
        locks.lock_one(conn, locks.DEAD_LETTERS)
        case = _case(conn, position)
        check_retry(case)
        _check_key(conn, case)
        if not although_alike:
            _check_alike(conn, case)
        submission = Submission(new_id(), case.asked.client_id, case.next_key, case.asked.body)
        # From here to the commit, no intake gives out a position: as if it were one itself.
        locks.lock_one(conn, locks.INTAKE)
        accepted = commands.accept_one(conn, submission, now=now)
        if accepted is None:
            _check_key(conn, case)
            raise CannotError(f"the key {case.next_key} is taken: try again")
        store.add_action(
            conn, position, case.next_number, "retry", by=by, reason=reason, now=now, retry_position=accepted
        )
    return Retried(
        submission.id, accepted, submission.idempotency_key, InLine(accepted, submission.body.account_keys())
    )


def discard(conn: Connection[Any], position: int, *, by: str, reason: str, now: datetime) -> None:
    """Record that nothing more is to be done about it. The books stay as they are. Raises ``CannotError``."""
    with conn.transaction():
        locks.lock_one(conn, locks.DEAD_LETTERS)
        case = _case(conn, position)
        check_discard(case)
        store.add_action(conn, position, case.next_number, "discard", by=by, reason=reason, now=now)


def _case(conn: Connection[Any], position: int) -> Case:
    found = cases(conn, [position])
    if not found:
        raise CannotError(f"command {position} is no dead letter")
    return found[0]


def _alike(conn: Connection[Any], case: Case) -> tuple[Sequence[Alike], bool]:
    asked = case.asked
    return store.find_alike(conn, asked.position, asked.accepted_at, asked.client_id, asked.body)


def _check_alike(conn: Connection[Any], case: Case) -> None:
    # Once more, whatever was seen before: the client may have sent it again since.
    alike, looked_at_all = _alike(conn, case)
    if alike:
        raise AlikeError(
            f"the client {case.asked.client} has asked for the same by command {alike[-1].id}, which is "
            f"{alike[-1].status}: if that is what it wanted, discard this one"
        )
    if not looked_at_all:
        raise AlikeError(f"whether the client {case.asked.client} has asked for the same since is not known")


def _check_key(conn: Connection[Any], case: Case) -> None:
    holder = store.holder_of(conn, case.asked.client_id, case.next_key)
    if holder is not None:
        raise CannotError(
            f"the client {case.asked.client} has used the key {case.next_key} itself, for command {holder}: no retry "
            "can have it. Look at that command; if it is what is wanted, discard this dead letter."
        )
