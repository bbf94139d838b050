"""An advance and its weekly instalments: what is due when, what a missed one leads to, and what is still owed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final

WEEK: Final = timedelta(days=7)


class InstalmentState(Enum):
    """``missed`` is for good: what was not paid of it is the next one's. ``scheduled`` is all that may still change."""

    SCHEDULED = "scheduled"
    PAID = "paid"
    MISSED = "missed"
    WRITTEN_OFF = "written_off"


class AdvanceState(Enum):
    """``in_arrears`` while something that was missed is not paid. The last two are for ever."""

    OPEN = "open"
    IN_ARREARS = "in_arrears"
    REPAID = "repaid"
    WRITTEN_OFF = "written_off"

    @property
    def is_live(self) -> bool:
        """Whether something is owed."""
        return self in (AdvanceState.OPEN, AdvanceState.IN_ARREARS)


@dataclass(frozen=True, slots=True)
class Instalment:
    """
    One weekly repayment, in minor units of its advance's currency.

    ``amount_minor`` is its share of the advance and ``rolled_minor``, which missed ones left to it. ``settled_by`` is
    the position of the command that ended it. ``attempts`` counts the collects that came to nothing; one of them was
    given up at ``failed_at``.
    """

    number: int
    due_on: date
    amount_minor: int
    rolled_minor: int = 0
    paid_minor: int = 0
    state: InstalmentState = InstalmentState.SCHEDULED
    settled_by: int | None = None
    attempts: int = 0
    failed_at: datetime | None = None

    @property
    def left_minor(self) -> int:
        """What is not paid of it."""
        return self.amount_minor - self.paid_minor

    @property
    def is_scheduled(self) -> bool:
        """Whether it is still to be paid."""
        return self.state is InstalmentState.SCHEDULED

    def pay(self, amount_minor: int, *, by: int) -> "Instalment":
        """The instalment when so much more of it is paid by the command at position ``by``."""
        paid_minor = self.paid_minor + amount_minor
        if paid_minor < self.amount_minor:
            return replace(self, paid_minor=paid_minor)
        return replace(self, paid_minor=paid_minor, state=InstalmentState.PAID, settled_by=by)


@dataclass(frozen=True, slots=True)
class Advance:
    """
    Money lent to ``account``. Its id is the position of the command that granted it; ``version`` counts its changes.

    ``count`` is the number of its instalments so far. Of these, ``instalments`` has all that are scheduled, in order,
    and those that were settled since it was read.
    """

    id: int
    account: str
    currency: str
    amount_minor: int
    first_due_on: date
    count: int
    paid_minor: int
    written_off_minor: int
    state: AdvanceState
    version: int
    instalments: tuple[Instalment, ...]

    @property
    def remaining_minor(self) -> int:
        """What is owed."""
        return self.amount_minor - self.paid_minor - self.written_off_minor

    def find(self, number: int) -> Instalment | None:
        """The instalment of this number, unless it was settled before the advance was read, or never was."""
        return next((each for each in self.instalments if each.number == number), None)

    def collect(self, number: int, amount_minor: int, *, by: int) -> "Advance":
        """
        The advance after an instalment's day: paid, or missed if ``amount_minor`` is less than what is left of it.

        What is missed is added to the next scheduled instalment; behind the last one, a new one is made a week later.
        """
        due = self._scheduled(number).pay(amount_minor, by=by)
        changed = {number: due}
        count = self.count
        if due.is_scheduled:
            changed[number] = replace(due, state=InstalmentState.MISSED, settled_by=by)
            following = self._scheduled_after(number)
            if following is None:
                count += 1
                following = Instalment(count, due_on(self.first_due_on, count), 0)
            changed[following.number] = replace(
                following,
                amount_minor=following.amount_minor + due.left_minor,
                rolled_minor=following.rolled_minor + due.left_minor,
            )
        return self._with(changed, count=count, paid_minor=self.paid_minor + amount_minor)

    def repay(self, amount_minor: int, *, by: int) -> "Advance":
        """The advance after ``amount_minor``, not above what is owed, was paid early: oldest instalments first."""
        left_minor = amount_minor
        changed = {}
        for each in self.instalments:
            if each.is_scheduled and left_minor:
                part_minor = min(left_minor, each.left_minor)
                changed[each.number] = each.pay(part_minor, by=by)
                left_minor -= part_minor
        if left_minor:
            raise ValueError(f"advance {self.id}: {left_minor} more was repaid than is owed")
        return self._with(changed, paid_minor=self.paid_minor + amount_minor)

    def write_off(self, *, by: int) -> "Advance":
        """The advance when nothing of what is owed is expected any more."""
        changed = {
            each.number: replace(each, state=InstalmentState.WRITTEN_OFF, settled_by=by)
            for each in self.instalments
            if each.is_scheduled
        }
        return self._with(changed, written_off_minor=self.remaining_minor)

    def attempt(self, number: int) -> "Advance":
        """The advance after a collect of a scheduled instalment that came to nothing."""
        tried = self._scheduled(number)
        return self._with({number: replace(tried, attempts=tried.attempts + 1)})

    def _scheduled(self, number: int) -> Instalment:
        found = self.find(number)
        if found is None or not found.is_scheduled:
            raise ValueError(f"advance {self.id}: instalment {number} is not scheduled")
        return found

    def _scheduled_after(self, number: int) -> Instalment | None:
        return next((each for each in self.instalments if each.number > number and each.is_scheduled), None)

    def _with(
        self,
        changed: dict[int, Instalment],
        *,
        count: int | None = None,
        paid_minor: int | None = None,
        written_off_minor: int | None = None,
    ) -> "Advance":
        by_number = {each.number: each for each in self.instalments} | changed
        instalments = tuple(by_number[number] for number in sorted(by_number))
        after = replace(
            self,
            count=self.count if count is None else count,
            paid_minor=self.paid_minor if paid_minor is None else paid_minor,
            written_off_minor=self.written_off_minor if written_off_minor is None else written_off_minor,
            version=self.version + 1,
            instalments=instalments,
        )
        return replace(after, state=_state(after))


def grant(
    advance_id: int, account: str, currency: str, amount_minor: int, *, instalments: int, first_due_on: date
) -> Advance:
    """The advance as it begins: all of its weekly instalments scheduled. ``amount_minor`` is at least their number."""
    shares = split(amount_minor, instalments)
    return Advance(
        id=advance_id,
        account=account,
        currency=currency,
        amount_minor=amount_minor,
        first_due_on=first_due_on,
        count=instalments,
        paid_minor=0,
        written_off_minor=0,
        state=AdvanceState.OPEN,
        version=0,
        instalments=tuple(
            Instalment(number, due_on(first_due_on, number), share) for number, share in enumerate(shares, start=1)
        ),
    )


def split(advance_minor: int, instalments: int) -> list[int]:
    """
    Divide an advance into weekly instalments that add up to exactly the advance.

    ``advance_minor`` is in minor units of the account's currency. Shares differ by one minor unit at most, the larger
    ones first. Raises ``ValueError`` if there is not a minor unit for each.
    """
    if not 0 < instalments <= advance_minor:
        raise ValueError(f"{advance_minor} minor units cannot be divided into {instalments} instalments")
    share, larger = divmod(advance_minor, instalments)
    return [share + 1] * larger + [share] * (instalments - larger)


def due_on(first_due_on: date, number: int) -> date:
    """The business date of the instalment of this number: a week after the one before it, whatever happened to that."""
    return first_due_on + WEEK * (number - 1)


def accounted_minor(instalments: Iterable[Instalment]) -> int:
    """
    The completeness formula: with all of an advance's instalments, this is the advance, or there is an error.

    What was paid, by collection or early; what is scheduled, so not due yet or being collected; what was written off.
    What was missed is not counted, because it is counted where it was rolled on to.
    """
    return sum(each.paid_minor if each.state is InstalmentState.MISSED else each.amount_minor for each in instalments)


def arrears_minor(instalments: Iterable[Instalment]) -> int:
    """What was missed and has not been paid since. What is paid on an instalment is taken for this part first."""
    return sum(max(0, each.rolled_minor - each.paid_minor) for each in instalments if each.is_scheduled)


def _state(advance: Advance) -> AdvanceState:
    if advance.remaining_minor:
        return AdvanceState.IN_ARREARS if arrears_minor(advance.instalments) else AdvanceState.OPEN
    return AdvanceState.WRITTEN_OFF if advance.written_off_minor else AdvanceState.REPAID
