"""The rules of reversal: what was moved goes back the way it came, once."""

from collections import Counter
from typing import Final

from processor.domain.answering import apply, refuse
from processor.domain.commands import Reverse
from processor.domain.moving import cannot_move, move
from processor.domain.outcomes import Outcome, Reason, Status, Transfer, TransferKind
from processor.domain.working import Working

REVERSIBLE: Final = frozenset(
    {
        TransferKind.DEPOSIT,
        TransferKind.WITHDRAWAL,
        TransferKind.OVERDRAFT_FEE,
        TransferKind.TRANSFER,
        TransferKind.CAPTURE,
        TransferKind.ADJUSTMENT,
    }
)
"""What a schedule of repayments hangs on has remedies of its own; and a reversal is for good."""


def decide_reverse(working: Working, command: Reverse) -> Outcome:
    """Mirror every transfer of the named command, the last one first; or say why not."""
    done = working.find_done(command.reverses)
    if done is None or done.status is not Status.APPLIED:
        return refuse(command, Reason.COMMAND_NOT_APPLIED)
    if not done.transfers or not all(each.kind in REVERSIBLE for each in done.transfers):
        return refuse(command, Reason.COMMAND_NOT_REVERSIBLE)
    if done.reversed_by is not None:
        return refuse(command, Reason.COMMAND_ALREADY_REVERSED)
    leaves: Counter[str] = Counter()
    comes: Counter[str] = Counter()
    for each in done.transfers:
        leaves[each.credit.account] += each.amount_minor
        comes[each.debit.account] += each.amount_minor
    if reason := cannot_move(working, leaves, comes, force=command.force):
        return refuse(command, reason)
    working.mark_reversed(done, by=command.position)
    return apply(command, *(_mirrored(working, each, force=command.force) for each in reversed(done.transfers)))


def _mirrored(working: Working, done: Transfer, *, force: bool) -> Transfer:
    source, target = done.credit.account, done.debit.account
    return move(working, TransferKind.REVERSAL, source, target, done.amount_minor, force=force)
