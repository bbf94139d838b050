"""
What a client may ask. A command is immutable, and its position is its place in line for ever.

``advance`` is an advance's id, ``hold`` a hold's; ``None`` if the command named none that exists.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

MAX_AMOUNT_MINOR: Final = 2**53 - 1
"""The largest amount of one command, in minor units: what every JSON reader keeps exactly."""

MAX_INSTALMENTS: Final = 104
"""The weeks over which an advance may be repaid."""

UNLIMITED_COUNT: Final = 2**31 - 1
UNLIMITED_MINOR: Final = MAX_AMOUNT_MINOR
"""Daily limits that bound nothing."""


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Open ``account`` in ``currency``, overdrawn down to ``-overdraft_limit_minor``; ``None`` is the usual."""

    position: int
    account: str
    currency: str
    overdraft_limit_minor: int | None = None
    overdraft_fee_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money comes in from outside: settlement -> ``account``."""

    position: int
    account: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Money goes out: ``account`` -> settlement, and a fee if the account ends overdrawn."""

    position: int
    account: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class MakeTransfer:
    """Money moves between two customer accounts of one currency: both sides or nothing."""

    position: int
    from_account: str
    to_account: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class MakeAdvance:
    """The bank lends: advances receivable -> ``account``. First due in a week, unless ``first_due_on`` says when."""

    position: int
    account: str
    amount_minor: int
    currency: str
    instalments: int
    first_due_on: date | None = None


@dataclass(frozen=True, slots=True)
class Repay:
    """Part of ``advance``, or all of it, is paid early: ``account`` -> advances receivable."""

    position: int
    account: str
    advance: int | None
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class WriteOff:
    """What is owed of ``advance`` is given up: credit loss -> advances receivable."""

    position: int
    account: str
    advance: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class Collect:
    """An instalment's day has come: ``account`` -> advances receivable. Sent by the scheduler only."""

    position: int
    account: str
    advance: int | None
    instalment: int
    currency: str


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Reserve part of what is available on ``account``, until it is captured, released, or ``expires_at``."""

    position: int
    account: str
    amount_minor: int
    currency: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CaptureHold:
    """
    Take what was reserved, or ``amount_minor`` of it, and give back the rest.

    ``account`` -> settlement, or ``to_account``.
    """

    position: int
    account: str
    hold: int | None
    currency: str
    amount_minor: int | None = None
    to_account: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """Give back what was reserved."""

    position: int
    account: str
    hold: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class ExpireHold:
    """A hold's time is over. Sent by the scheduler only."""

    position: int
    account: str
    hold: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """Let nothing leave ``account``; what comes in is taken."""

    position: int
    account: str
    currency: str


@dataclass(frozen=True, slots=True)
class Unfreeze:
    """Let money leave ``account`` again."""

    position: int
    account: str
    currency: str


@dataclass(frozen=True, slots=True)
class Close:
    """End ``account``, which is empty, for ever."""

    position: int
    account: str
    currency: str


@dataclass(frozen=True, slots=True)
class SetLimits:
    """
    Change what ``account`` may do; what is ``None`` stays as it is.

    ``daily_count`` and ``daily_amount_minor`` bound the debits of one business day.
    """

    position: int
    account: str
    currency: str
    overdraft_limit_minor: int | None = None
    overdraft_fee_minor: int | None = None
    daily_count: int | None = None
    daily_amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Reverse:
    """
    Mirror every transfer of the command at position ``reverses``.

    With ``force``, though an account has not enough, or is frozen.
    """

    position: int
    reverses: int
    currency: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Adjust:
    """Correct the books: money moves between any two accounts of one currency, the bank's own included."""

    position: int
    from_account: str
    to_account: str
    amount_minor: int
    currency: str
    force: bool = False


Command = (
    OpenAccount
    | Deposit
    | Withdraw
    | MakeTransfer
    | MakeAdvance
    | Repay
    | WriteOff
    | Collect
    | PlaceHold
    | CaptureHold
    | ReleaseHold
    | ExpireHold
    | Freeze
    | Unfreeze
    | Close
    | SetLimits
    | Reverse
    | Adjust
)


@dataclass(frozen=True, slots=True)
class Linked:
    """Commands that are applied in order, and all of them or none."""

    commands: tuple[Command, ...]
