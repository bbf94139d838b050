"""The clock of a simulation: it stands still until it is turned."""

from datetime import datetime, timedelta


class Clock:
    """Tells the time to whoever is given ``now``."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The simulated instant."""
        return self._now

    def turn(self, to: datetime) -> None:
        """Let it be that instant. Time does not go back."""
        if to < self._now:
            raise ValueError(f"it is {self._now} already: {to} is over")
        self._now = to

    def wait(self, duration: timedelta) -> None:
        """Let so much time go by."""
        self.turn(self._now + duration)
