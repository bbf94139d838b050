"""How the rules say yes and no."""

from processor.domain.commands import Command
from processor.domain.outcomes import Outcome, Reason, Status, Transfer


def apply(command: Command, *transfers: Transfer) -> Outcome:
    """The answer that the command was done, with what it moved."""
    return Outcome(command.position, Status.APPLIED, transfers=transfers)


def refuse(command: Command, reason: Reason) -> Outcome:
    """The answer that the command was not done, and why."""
    return Outcome(command.position, Status.REFUSED, reason)
