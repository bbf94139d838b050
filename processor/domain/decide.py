"""The rules: given the books and the commands, what is the answer to each, and what do the books say after it?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from processor.domain import holding, lending, life, linking, payments, reversing
from processor.domain.advances import Advance
from processor.domain.books import Account, AccountChange, Books
from processor.domain.commands import (
    Adjust,
    CaptureHold,
    Close,
    Collect,
    Command,
    Deposit,
    ExpireHold,
    Freeze,
    Linked,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    PlaceHold,
    ReleaseHold,
    Repay,
    Reverse,
    SetLimits,
    Unfreeze,
    Withdraw,
    WriteOff,
)
from processor.domain.holds import Hold
from processor.domain.outcomes import Outcome
from processor.domain.rules import Rules
from processor.domain.working import Working


@dataclass(frozen=True, slots=True)
class Decided:
    """
    ``outcomes[i]`` is for the i-th command, of those that are linked each by itself.

    ``opened`` and ``changed`` are the accounts, ``granted`` and ``altered`` the advances, as they are at the end;
    ``holds`` those that are new or changed. ``reversals`` has what was reversed, by position of the reversal,
    and ``changes`` what accounts may do from which command on.
    """

    outcomes: Sequence[Outcome]
    opened: Sequence[Account]
    changed: Sequence[Account]
    granted: Sequence[Advance] = ()
    altered: Sequence[Advance] = ()
    holds: Sequence[Hold] = ()
    reversals: Mapping[int, int] = field(default_factory=dict)
    changes: Sequence[AccountChange] = ()

    def applied_to(self, books: Books) -> Books:
        """``books``, which were decided on, as they are afterwards. What may be reversed is not among it."""
        accounts = {account.name: account for account in (*self.opened, *self.changed)}
        advances = {advance.id: advance for advance in (*self.granted, *self.altered)}
        holds = {hold.id: hold for hold in self.holds}
        return Books.of(
            (dict(books.accounts) | accounts).values(),
            (dict(books.advances) | advances).values(),
            (dict(books.holds) | holds).values(),
        )


def decide(books: Books, commands: Iterable[Command | Linked], *, now: datetime, rules: Rules) -> Decided:
    """
    Answer each command in turn; a refusal is an answer too.

    ``books`` holds every customer account that the commands name, as locked, and what ``Books`` says of the rest. The
    answers are the same however the commands are split into batches. ``now`` is the instant of the decision.
    """
    working = Working(books, now, rules)
    commands = list(commands)
    to_be_reversed = {each.reverses for command in commands for each in _each(command) if isinstance(each, Reverse)}
    outcomes: list[Outcome] = []

    def answer(command: Command) -> Outcome:
        outcome = _decide_one(working, command)
        if outcome.position in to_be_reversed:
            working.note(outcome)
        return outcome

    for command in commands:
        if isinstance(command, Linked):
            outcomes += linking.decide_linked(working, command, answer)
        else:
            outcomes.append(answer(command))
    return Decided(
        outcomes,
        working.opened(),
        working.changed(),
        working.granted(),
        working.altered(),
        working.holds(),
        working.reversals(),
        working.changes,
    )


def _each(command: Command | Linked) -> tuple[Command, ...]:
    return command.commands if isinstance(command, Linked) else (command,)


def _decide_one(working: Working, command: Command) -> Outcome:  # noqa: PLR0911, PLR0912
    """One arm for each command, the frequent ones first."""
    match command:
        case Deposit():
            return payments.decide_deposit(working, command)
        case Withdraw():
            return payments.decide_withdraw(working, command)
        case MakeTransfer():
            return payments.decide_transfer(working, command)
        case OpenAccount():
            return life.decide_open_account(working, command)
        case PlaceHold():
            return holding.decide_place_hold(working, command)
        case CaptureHold():
            return holding.decide_capture_hold(working, command)
        case ReleaseHold():
            return holding.decide_release_hold(working, command)
        case ExpireHold():
            return holding.decide_expire_hold(working, command)
        case Collect():
            return lending.decide_collect(working, command)
        case MakeAdvance():
            return lending.decide_advance(working, command)
        case Repay():
            return lending.decide_repay(working, command)
        case WriteOff():
            return lending.decide_write_off(working, command)
        case Freeze():
            return life.decide_freeze(working, command)
        case Unfreeze():
            return life.decide_unfreeze(working, command)
        case Close():
            return life.decide_close(working, command)
        case SetLimits():
            return life.decide_set_limits(working, command)
        case Reverse():
            return reversing.decide_reverse(working, command)
        case Adjust():
            return payments.decide_adjust(working, command)
