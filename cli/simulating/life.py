"""What customers and the bank's people ask for on a simulated day, drawn from a seed; and when nobody ticks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import UUID

from processor.submissions import CommandBody

CURRENCY: Final = "USD"
SMALLEST_PAY_MINOR: Final = 20_000
LARGEST_PAY_MINOR: Final = 90_000
LONGEST_SHORTAGE_WEEKS: Final = 4


@dataclass(frozen=True, slots=True)
class Habits:
    """
    How likely it is that something happens, on one day and for one account.

    ``loses_pay`` is for paydays, one a week: from that day on there is no pay for up to four weeks. The others are for
    every day, and those about advances for the accounts that have one, but ``applies``: for those that have none.
    """

    loses_pay: float = 0.06
    spends: float = 0.25
    sends: float = 0.04
    applies: float = 0.2
    repays_part: float = 0.012
    repays_all: float = 0.004
    written_off: float = 0.001


PUNCTUAL: Final = Habits(loses_pay=0, spends=0, sends=0, applies=1, repays_part=0, repays_all=0, written_off=0)
"""Nobody is ever short, and nobody pays before the day."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A live advance, as its customer knows it."""

    advance_id: UUID
    remaining_minor: int


@dataclass(slots=True)
class _Customer:
    name: str
    pay_minor: int
    payday: int
    pay_returns: int = 0
    """The day from which on there is pay again."""


class Life:
    """
    The customers and what becomes of them.

    What is asked for depends on the seed and on what each account owes, and on nothing else: the same life is lived
    with faults and without.
    """

    def __init__(self, random: Random, *, accounts: int, instalments: int, habits: Habits) -> None:
        self._random = random
        self._instalments = instalments
        self._habits = habits
        self._customers = [
            _Customer(
                name=f"customer.{number:05}",
                pay_minor=random.randint(SMALLEST_PAY_MINOR, LARGEST_PAY_MINOR),
                payday=random.randrange(7),
            )
            for number in range(1, accounts + 1)
        ]
        self.shortages = 0
        """Paydays on which no pay came."""

    def openings(self) -> list[CommandBody]:
        """Every customer opens an account."""
        return [
            CommandBody(
                type="open_account",
                account=each.name,
                currency=CURRENCY,
                overdraft_limit_minor=0,
                overdraft_fee_minor=0,
            )
            for each in self._customers
        ]

    def pay(self, day: int) -> list[CommandBody]:
        """The deposits of those whose payday it is, and who have work."""
        paid = []
        for each in self._customers:
            if day % 7 != each.payday:
                continue
            weeks = self._random.randint(1, LONGEST_SHORTAGE_WEEKS)
            if self._happens(self._habits.loses_pay) and day >= each.pay_returns:
                each.pay_returns = day + 7 * weeks
            if day < each.pay_returns:
                self.shortages += 1
            else:
                paid.append(_about("deposit", each, each.pay_minor))
        return paid

    def wishes(self, owed: Mapping[str, Owed]) -> list[CommandBody]:
        """What else is asked for on a day on which the accounts owe so much."""
        return [body for each in self._customers for body in self._wishes_of(each, owed.get(each.name))]

    def _wishes_of(self, customer: _Customer, owed: Owed | None) -> Iterator[CommandBody]:
        pay_minor = customer.pay_minor
        if self._happens(self._habits.spends):
            yield _about("withdraw", customer, self._random.randint(pay_minor // 5, pay_minor))
        if self._happens(self._habits.sends):
            yield from self._transfer(customer, self._random.randint(1, pay_minor // 4))
        if owed is None:
            if self._happens(self._habits.applies):
                amount_minor = self._random.randint(pay_minor // 2, 3 * pay_minor)
                yield _about("advance", customer, amount_minor, instalments=self._instalments)
            return
        if self._happens(self._habits.repays_part):
            part_minor = self._random.randint(1, owed.remaining_minor)
            yield _about("repay", customer, part_minor, advance_id=owed.advance_id)
        if self._happens(self._habits.repays_all):
            yield _about("repay", customer, owed.remaining_minor, advance_id=owed.advance_id)
        if self._happens(self._habits.written_off):
            yield CommandBody(
                type="write_off",
                account=customer.name,
                currency=CURRENCY,
                advance_id=owed.advance_id,
                reason="moved away",
            )

    def _transfer(self, customer: _Customer, amount_minor: int) -> Iterator[CommandBody]:
        target = self._random.choice(self._customers)
        if target is not customer:
            yield CommandBody(
                type="transfer",
                from_account=customer.name,
                to_account=target.name,
                amount_minor=amount_minor,
                currency=CURRENCY,
            )

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance


def plan_outages(random: Random, days: int) -> Sequence[range]:
    """The days on which the scheduler does not tick, one to four weeks in a row; it is back for the last week."""
    outages = []
    begin = random.randint(7, max(7, days // 3))
    while (most := min(28, days - 7 - begin)) >= 7:
        outage = range(begin, begin + min(most, 7 * random.randint(1, 4)))
        outages.append(outage)
        begin = outage.stop + random.randint(35, 70)
    return outages


def _about(
    kind: str, customer: _Customer, amount_minor: int, *, instalments: int | None = None, advance_id: UUID | None = None
) -> CommandBody:
    return CommandBody(
        type=kind,
        account=customer.name,
        amount_minor=amount_minor,
        currency=CURRENCY,
        instalments=instalments,
        advance_id=advance_id,
    )
