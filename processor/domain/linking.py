"""The rule of linked commands: all of them are applied, or none is."""

from collections.abc import Callable, Sequence

from processor.domain.answering import refuse
from processor.domain.commands import Command, Linked
from processor.domain.outcomes import Outcome, Reason, Status
from processor.domain.working import Working


def decide_linked(working: Working, linked: Linked, answer: Callable[[Command], Outcome]) -> Sequence[Outcome]:
    """
    Answer each in turn; what one does, the later ones find done.

    The first that is refused says why. Then none of the others was done either, and each of them says just that: what
    the later ones would have come to without it is nothing that anybody asked for.
    """
    working.mark()
    outcomes = []
    for command in linked.commands:
        outcome = answer(command)
        if outcome.status is not Status.APPLIED:
            working.go_back()
            return [
                outcome if each is command else refuse(each, Reason.LINKED_COMMAND_REFUSED) for each in linked.commands
            ]
        outcomes.append(outcome)
    working.keep()
    return outcomes
