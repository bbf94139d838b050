"""Ctrl-C and SIGTERM as flags: one means stop, another one later means now.
Whoever waits looks at them, so that a stop never falls between starting a process and remembering it."""

import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import Final

_ONE_REQUEST_S: Final = 0.5
"""Programs such as timeout(1) signal a process and its group: two signals that are one request."""


class StoppedError(Exception):
    """The user wants to stop while something is still being started."""


@dataclass
class Interruption:
    """What the user has asked for so far."""

    stop: bool = False
    now: bool = False
    _stopped_at: float = 0.0

    def listen(self) -> None:
        """Note the signals that ask a program to end. One that our caller told us to ignore stays ignored."""
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stop:
            self.stop, self._stopped_at = True, time.monotonic()
        elif time.monotonic() - self._stopped_at > _ONE_REQUEST_S:
            self.now = True


interruption = Interruption()
"""There is one, because signals go to the whole process."""
