"""Money on hold: reserved on an account until it is captured, released, or its time is over."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum


class HoldState(Enum):
    """All but ``held`` are for ever."""

    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Hold:
    """
    ``amount_minor`` of ``account`` is reserved. Its id is the position of the command that placed it.

    ``captured_minor`` was taken of it when it ended, by the command at position ``settled_by``. ``attempts`` counts the
    commands that were to give it back because its time was over, and came to nothing.
    """

    id: int
    account: str
    currency: str
    amount_minor: int
    expires_at: datetime | None = None
    state: HoldState = HoldState.HELD
    captured_minor: int = 0
    settled_by: int | None = None
    attempts: int = 0

    @property
    def is_open(self) -> bool:
        """Whether money is still reserved."""
        return self.state is HoldState.HELD

    def is_over(self, now: datetime) -> bool:
        """Whether its time has come, if it has one."""
        return self.expires_at is not None and self.expires_at <= now

    def capture(self, amount_minor: int, *, by: int) -> "Hold":
        """The hold when so much of it was taken, and the rest given back."""
        return replace(self, state=HoldState.CAPTURED, captured_minor=amount_minor, settled_by=by)

    def attempt(self) -> "Hold":
        """The hold after somebody came to give it back too early."""
        return replace(self, attempts=self.attempts + 1)

    def give_back(self, state: HoldState, *, by: int) -> "Hold":
        """The hold when nothing of it was taken."""
        return replace(self, state=state, settled_by=by)
