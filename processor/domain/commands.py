"""
What a client may ask. A command is immutable, and its position is its place in line for ever.

``advance`` is an advance's id; ``None`` if the command named none that exists.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

MAX_AMOUNT_MINOR: Final = 2**53 - 1
"""The largest amount of one command, in minor units: what every JSON reader keeps exactly."""

MAX_INSTALMENTS: Final = 104
"""The weeks over which an advance may be repaid."""


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Open ``account`` in ``currency``, with an overdraft down to ``-overdraft_limit_minor``."""

    position: int
    account: str
    currency: str
    overdraft_limit_minor: int = 0
    overdraft_fee_minor: int = 0


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


Command = OpenAccount | Deposit | Withdraw | MakeTransfer | MakeAdvance | Repay | WriteOff | Collect
