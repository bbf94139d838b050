"""What a proof is, and what one run of it is given."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from processor.alerts import Suspect
from processor.breaks import Break
from processor.domain.rules import Rules
from processor.errors import ProcessorError


class Interrupted(ProcessorError):  # noqa: N818 - the condition, not the error, is what the caller meets
    """There is no more time: the run is given up, and the next one begins where this one did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What is allowed before it is wrong.

    ``periods`` are those of the scheduler's jobs by name, each the longest time without a success.
    """

    rules: Rules
    pending: timedelta = timedelta(minutes=15)
    clock: timedelta = timedelta(seconds=60)
    periods: Mapping[str, timedelta] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """
    What a run looks at: what is new and every suspect again, or everything; all in the snapshot of one transaction.

    New are the outcomes of transactions from ``since_xid`` on and below ``below_xid``: below it, no transaction can add
    a row any more. With ``is_full``, ``since_xid`` is 0 and a proof looks at old rows as well. ``ran_at`` is when the
    proof last ran, if ever. A proof counts in ``checked`` what it looked at; what it puts into ``memory`` is what its
    next run finds there.
    """

    is_full: bool
    since_xid: int
    below_xid: int
    suspects: Sequence[Suspect]
    now: datetime
    ran_at: datetime | None
    limits: Limits
    memory: dict[str, Any]
    stopped: Callable[[], bool] = lambda: False
    page: int = 20_000
    checked: int = 0

    def count(self, looked_at: int) -> None:
        """Add to ``checked``. Raises ``Interrupted`` when there is no more time."""
        self.checked += looked_at
        if self.stopped():
            raise Interrupted("there was no more time")

    def suspected(self, kind: str) -> list[str]:
        """The suspects of this kind, as their subjects name them: of ``account:alice``, the ``alice``."""
        prefix = f"{kind}:"
        return [each.subject.removeprefix(prefix) for each in self.suspects if each.subject.startswith(prefix)]

    def suspected_ids(self, kind: str) -> list[int]:
        """The suspects of a kind whose names are numbers."""
        return [int(name) for name in self.suspected(kind) if name.isdecimal()]


@dataclass(frozen=True, slots=True)
class Proof:
    """
    A check over the books.

    ``check`` gives every break that it finds within the scope, in any number and lazily: who runs it decides how many
    are kept. It writes nothing. With ``is_incremental``, a run costs what is new; without, the proof is about something
    that stays small, and every run looks at all of it.
    """

    name: str
    proves: str
    is_incremental: bool
    check: Callable[[Connection[Any], Scope], Iterable[Break]]
