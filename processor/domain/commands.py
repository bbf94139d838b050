"""What a client may ask. A command is immutable, and its position is its place in line for ever."""

from dataclasses import dataclass
from typing import Final

MAX_AMOUNT_MINOR: Final = 2**53 - 1
"""The largest amount of one command, in minor units: what every JSON reader keeps exactly."""


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


Command = OpenAccount | Deposit | Withdraw | MakeTransfer
