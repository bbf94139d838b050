"""The commands that every way settles: the same ones in the same order."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from processor.submissions import CommandBody

CURRENCY: Final = "USD"
FUNDS_MINOR: Final = 1_000_000
"""What each account holds before the clock starts: enough that no command is refused."""


@dataclass(frozen=True, slots=True)
class Workload:
    """``commands`` on ``accounts`` accounts, evenly: half deposits, a quarter withdrawals, a quarter transfers."""

    accounts: int
    commands: int
    seed: int = 1

    def opening(self) -> Iterator[tuple[str, CommandBody]]:
        """Each account opened and funded, with idempotency keys."""
        for name in self._names():
            yield (
                f"open-{name}",
                CommandBody(
                    type="open_account", account=name, currency=CURRENCY, overdraft_limit_minor=0, overdraft_fee_minor=0
                ),
            )
        for name in self._names():
            yield (
                f"fund-{name}",
                CommandBody(type="deposit", account=name, currency=CURRENCY, amount_minor=FUNDS_MINOR),
            )

    def timed(self) -> Iterator[tuple[str, CommandBody]]:
        """The commands that count, with idempotency keys."""
        chance = random.Random(self.seed)
        names = self._names()
        for number in range(self.commands):
            first, second = chance.sample(names, 2)
            kind = chance.choices(("deposit", "withdraw", "transfer"), (2, 1, 1))[0]
            yield f"timed-{number}", self._command(kind, first, second, chance.randint(1, 100))

    def _names(self) -> list[str]:
        return [f"bench:{number}" for number in range(self.accounts)]

    def _command(self, kind: str, first: str, second: str, amount_minor: int) -> CommandBody:
        if kind == "transfer":
            return CommandBody(
                type=kind, from_account=first, to_account=second, currency=CURRENCY, amount_minor=amount_minor
            )
        return CommandBody(type=kind, account=first, currency=CURRENCY, amount_minor=amount_minor)
