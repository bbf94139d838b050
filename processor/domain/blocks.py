"""Blocks: each seals the leaves that follow the block before it, and names that one by its hash."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from processor.domain.merkle import canonical

VERSION: Final = 1
"""Of the format of leaves and headers. What is hashed in another way gets another number."""

_HEADER: Final = b"\x02"
_GENESIS: Final = b"\x03"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Header:
    """
    All that is hashed of a block. ``history`` names the database, whatever it is called and wherever it is restored.

    Leaves are counted through all blocks, from 0: block after block, ``first_leaf`` leaves no room for a gap.
    """

    history: str
    number: int
    first_leaf: int
    leaves: int
    root: bytes
    previous: bytes
    sealed_at: datetime
    version: int = VERSION

    def fields(self) -> dict[str, Any]:
        """The header as it is hashed and published."""
        return {
            "history": self.history,
            "number": self.number,
            "first_leaf": self.first_leaf,
            "leaves": self.leaves,
            "root": self.root.hex(),
            "previous": self.previous.hex(),
            "sealed_at_us": microseconds(self.sealed_at),
            "version": self.version,
        }

    def hash(self) -> bytes:
        """What the next block names, and what is published."""
        return sha256(_HEADER + canonical(self.fields())).digest()


def genesis(history: str) -> bytes:
    """What the first block names in place of a block before it."""
    return sha256(_GENESIS + history.encode()).digest()


def microseconds(instant: datetime) -> int:
    """Since 1970, in UTC: exact, and spelt in one way."""
    return (instant - _EPOCH) // _MICROSECOND
