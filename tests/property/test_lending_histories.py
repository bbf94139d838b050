"""Advances through weeks of everything that may happen to them, by the rules alone: what holds at every step."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from processor.domain.advances import WEEK, Advance, AdvanceState, accounted_minor, arrears_minor
from processor.domain.books import Books
from processor.domain.commands import Collect, Command, Deposit, MakeAdvance, Repay, Withdraw, WriteOff
from processor.domain.decide import decide
from processor.domain.outcomes import Outcome, TransferKind
from processor.domain.rules import Rules
from tests.builders import TODAY, an_account, books_of

ENOUGH_MINOR: Final = 10**9
DAYS: Final = 70

Event = tuple[int, type, int]
"""On which day, what kind of command, and of how much."""

EVENTS: Final = st.lists(
    st.tuples(
        st.integers(0, DAYS - 1),
        st.sampled_from((Deposit, Deposit, Deposit, Withdraw, Repay, Repay)),
        st.sampled_from((1, 49, 50, 100, 350, 1_000)),
    ),
    max_size=24,
)
WRITE_OFFS: Final = st.lists(st.tuples(st.integers(0, 2 * DAYS), st.just(WriteOff), st.just(1)), max_size=1)
OUTAGES: Final = st.lists(
    st.builds(lambda begin, length: range(begin, begin + length), st.integers(0, DAYS), st.integers(1, 28)), max_size=2
)
REPEATED: Final = st.sets(st.integers(0, DAYS - 1), max_size=10)

Loan = tuple[int, int, Rules]
"""What is lent, in how many instalments it is repaid, and by which rules."""

LOANS: Final = st.tuples(st.integers(8, 2_000), st.integers(1, 8), st.builds(Rules, partial_collection=st.booleans()))


class Bank:
    """One customer with one advance, and the rules: they decide every command, on the books as they are."""

    def __init__(self, loan: Loan) -> None:
        amount_minor, instalments, rules = loan
        self.rules = rules
        self.day = 0
        self.position = 100
        self.books: Books = books_of(an_account())
        self.outcomes: list[Outcome] = []
        self.settled: set[int] = set()
        """The instalments whose day is over."""
        self.ask(MakeAdvance(self.position, "alice", amount_minor, "USD", instalments))

    @property
    def advance(self) -> Advance:
        """The advance as it is now. Its books were never written and read again, so it has all of its instalments."""
        return self.books.advances[100]

    @property
    def now(self) -> datetime:
        """Noon of the day."""
        return datetime.combine(TODAY, time(12), tzinfo=UTC) + timedelta(days=self.day)

    def next(self) -> int:
        """The position of another command."""
        self.position += 1
        return self.position

    def ask(self, command: Command) -> None:
        """Decide it; what must hold at every step is looked at after each."""
        decided = decide(self.books, [command], now=self.now, rules=self.rules)
        self.books = decided.applied_to(self.books)
        self.outcomes += decided.outcomes
        the_advance_adds_up(self.advance)

    def tick(self) -> int:
        """Collect what is due, the oldest day first, and return how many instalments that was."""
        due = [
            each.number
            for each in self.advance.instalments
            if each.is_scheduled and each.due_on <= self.rules.business_date(self.now)
        ]
        for number in due:
            assert number not in self.settled
            self.ask(Collect(self.next(), "alice", self.advance.id, number, "USD"))
            self.settled.add(number)
        return len(due)

    def live(self, events: Sequence[Event]) -> None:
        """Let the day's commands be decided."""
        for day, kind, amount_minor in events:
            if day != self.day:
                continue
            if kind is Repay:
                self.ask(Repay(self.next(), "alice", self.advance.id, amount_minor, "USD"))
            elif kind is WriteOff:
                self.ask(WriteOff(self.next(), "alice", self.advance.id, "USD"))
            else:
                self.ask(kind(self.next(), "alice", amount_minor, "USD"))

    def catch_up(self) -> None:
        """Tick until nothing is due: what was missed in a tick may have come to be due within it, after an outage."""
        while self.tick():
            pass


def lived(
    loan: Loan,
    events: Sequence[Event],
    *,
    outages: Sequence[range] = (),
    repeated: Collection[int] = (),
) -> Bank:
    """A bank after so many days, with a tick at the end of each, none on the days of outages, or two."""
    bank = Bank(loan)
    for bank.day in range(DAYS):
        bank.live(events)
        if not any(bank.day in outage for outage in outages):
            bank.catch_up()
            if bank.day in repeated:
                bank.tick()
            nothing_is_due(bank)
    bank.day = DAYS
    bank.catch_up()
    return bank


def nothing_is_due(bank: Bank) -> None:
    """Whatever its day was, it is paid, missed or written off."""
    today = bank.rules.business_date(bank.now)
    assert not [each for each in bank.advance.instalments if each.is_scheduled and each.due_on <= today]


def the_advance_adds_up(advance: Advance) -> None:
    """The invariants of one advance, whatever was done to it."""
    instalments = advance.instalments
    assert accounted_minor(instalments) == advance.amount_minor
    assert sum(each.paid_minor for each in instalments) == advance.paid_minor <= advance.amount_minor
    assert sum(each.left_minor for each in instalments if each.is_scheduled) == advance.remaining_minor
    assert [each.number for each in instalments] == list(range(1, advance.count + 1))
    assert [each.due_on for each in instalments] == [advance.first_due_on + n * WEEK for n in range(advance.count)]
    assert all(0 <= each.rolled_minor <= each.amount_minor for each in instalments)
    assert all(0 <= each.paid_minor <= each.amount_minor for each in instalments)
    assert advance.state.is_live == bool(advance.remaining_minor)
    assert (advance.state is AdvanceState.IN_ARREARS) == bool(arrears_minor(instalments))


@given(LOANS, EVENTS, WRITE_OFFS, OUTAGES)
@settings(max_examples=500)
def test_an_advance_adds_up_at_every_step_of_any_history(
    loan: Loan,
    events: list[Event],
    write_offs: list[Event],
    outages: list[range],
) -> None:
    """Shortages, outages, early repayments, write-offs: no cent is asked for twice, and none is forgotten."""
    bank = lived(loan, [*events, *write_offs], outages=outages)

    nothing_is_due(bank)
    taken_minor = sum(
        transfer.amount_minor
        for outcome in bank.outcomes
        for transfer in outcome.transfers
        if transfer.kind in (TransferKind.COLLECTION, TransferKind.REPAYMENT)
    )
    assert taken_minor == bank.advance.paid_minor


@given(LOANS, EVENTS, OUTAGES, REPEATED)
@settings(max_examples=300)
def test_ticks_that_are_late_or_repeated_end_with_the_same_books(
    loan: Loan, events: list[Event], outages: list[range], repeated: set[int]
) -> None:
    """While no money moves, it does not matter when the scheduler comes, nor how often: each week has its own turn."""
    quiet = [event for event in events if not any(event[0] in range(each.start, each.stop + 1) for each in outages)]
    timely = lived(loan, quiet)
    late = lived(loan, quiet, outages=outages, repeated=repeated)

    assert late.books == timely.books


@given(LOANS, EVENTS, OUTAGES)
@settings(max_examples=300)
def test_with_enough_money_and_weeks_every_advance_is_repaid(
    loan: Loan, events: list[Event], outages: list[range]
) -> None:
    """Whatever was missed before, the arrears end: what rolls on is asked for again, until it is paid."""
    bank = lived(loan, events, outages=outages)
    bank.ask(Deposit(bank.next(), "alice", ENOUGH_MINOR, "USD"))
    for _ in range(loan[1] + 1):
        bank.day += 7
        bank.catch_up()

    assert bank.advance.state is AdvanceState.REPAID
    assert bank.advance.paid_minor == bank.advance.amount_minor
