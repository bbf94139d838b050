"""Do the books of a simulation hold what they promise? A sentence for each promise, and what speaks against it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from cli.simulating.ledger import Entry, Ledger
from cli.simulating.life import CURRENCY
from cli.simulating.model import Lender
from processor.domain.advances import InstalmentState, accounted_minor
from processor.domain.books import SystemKind, system_account
from processor.domain.commands import Collect, Repay, WriteOff
from processor.domain.outcomes import TransferKind
from processor.money import format_amount


@dataclass(frozen=True, slots=True)
class Check:
    """``sentence`` says what holds, unless there is something ``wrong``."""

    sentence: str
    wrong: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.wrong


def judge(ledger: Ledger, *, last_tick_on: date) -> list[Check]:
    """Every promise about advances, each of which a fault or a wrong rule would break."""
    owed_minor = sum(advance.remaining_minor for advance in ledger.advances.values())
    return [
        Check(
            f"{len(ledger.entries):,} commands have one outcome each, and none failed.",
            list(_without_outcome(ledger)),
        ),
        Check(
            f"{len(ledger.advances):,} advances add up: what is paid, scheduled and written off is what was lent.",
            list(_incomplete(ledger)),
        ),
        Check(
            f"{sum(len(each.instalments) for each in ledger.advances.values()):,} instalments were each settled by one "
            "command at most, and stand as its outcome says.",
            [*_settled_otherwise(ledger), *_collected_twice(ledger), *_paid_otherwise(ledger)],
        ),
        Check(
            f"Nothing that was due is forgotten: the last tick was on {last_tick_on}.",
            list(_forgotten(ledger, last_tick_on)),
        ),
        Check(
            f"The bank's receivable is what is owed: {format_amount(owed_minor, CURRENCY)} {CURRENCY}.",
            list(_receivable_otherwise(ledger, owed_minor)),
        ),
        Check("All accounts together come to zero.", list(_off_balance(ledger))),
        Check(
            "A naive lender who takes the same commands in order comes to the same answers, balances and schedules.",
            list(_otherwise_than_naive(ledger)),
        ),
    ]


def _without_outcome(ledger: Ledger) -> Iterator[str]:
    for position, entry in ledger.entries.items():
        if entry.status not in ("applied", "refused"):
            yield f"command {position} is {entry.status or 'pending'}"


def _incomplete(ledger: Ledger) -> Iterator[str]:
    for advance in ledger.advances.values():
        sums = Counter[InstalmentState]()
        for each in advance.instalments:
            sums[each.state] += each.left_minor
        if (
            accounted_minor(advance.instalments) != advance.amount_minor
            or sum(each.paid_minor for each in advance.instalments) != advance.paid_minor
            or sums[InstalmentState.WRITTEN_OFF] != advance.written_off_minor
            or sums[InstalmentState.SCHEDULED] != advance.remaining_minor
            or [each.number for each in advance.instalments] != list(range(1, advance.count + 1))
        ):
            yield f"advance {advance.id} of {advance.amount_minor} has other instalments: {advance.instalments}"


def _settled_otherwise(ledger: Ledger) -> Iterator[str]:
    for advance in ledger.advances.values():
        for each in advance.instalments:
            by = None if each.settled_by is None else ledger.entries.get(each.settled_by)
            if not _fits(each.state, each.number, advance.id, by):
                yield f"instalment {advance.id}-{each.number} is {each.state.value} by {by}"


def _fits(state: InstalmentState, number: int, advance: int, by: Entry | None) -> bool:
    """Whether a command with this outcome leaves an instalment in this state."""
    if by is None or not isinstance(by.command, (Collect, Repay, WriteOff)) or by.command.advance != advance:
        return state is InstalmentState.SCHEDULED and by is None
    if isinstance(by.command, Collect) and by.command.instalment != number:
        return False
    match by.command, by.status:
        case ((Collect() | Repay()), "applied"):
            return state is InstalmentState.PAID
        case Collect(), "refused":
            return state is InstalmentState.MISSED
        case WriteOff(), "applied":
            return state is InstalmentState.WRITTEN_OFF
    return False


def _collected_twice(ledger: Ledger) -> Iterator[str]:
    """Whoever ticks and however often: another collect is sent only after one that came to nothing."""
    sent, settling = defaultdict(list), defaultdict(list)
    for position, entry in ledger.entries.items():
        if isinstance(entry.command, Collect):
            instalment = (entry.command.advance, entry.command.instalment)
            sent[instalment].append(position)
            # It came to something if money was taken, or if it was refused for want of it.
            if entry.status == "applied" or entry.reason == "insufficient_funds":
                settling[instalment].append(position)
    for (advance_id, number), positions in sent.items():
        advance = ledger.advances.get(advance_id or 0)
        found = advance.find(number) if advance else None
        settled = settling[advance_id, number]
        if found is None or len(positions) > found.attempts + 1 or settled not in ([], [found.settled_by]):
            yield f"instalment {advance_id}-{number} was collected by {positions}: {found}"


def _paid_otherwise(ledger: Ledger) -> Iterator[str]:
    """What was moved for an advance is what was paid on it."""
    paid = Counter[int | None]()
    for move in ledger.moves:
        if move.kind in (TransferKind.COLLECTION.value, TransferKind.REPAYMENT.value):
            command = ledger.entries[move.position].command
            paid[command.advance if isinstance(command, (Collect, Repay)) else None] += move.amount_minor
    for advance in ledger.advances.values():
        if paid.pop(advance.id, 0) != advance.paid_minor:
            yield f"other transfers were made for advance {advance.id} than its {advance.paid_minor} paid"
    if paid:
        yield f"transfers for advances that are not there: {dict(paid)}"


def _forgotten(ledger: Ledger, last_tick_on: date) -> Iterator[str]:
    for advance in ledger.advances.values():
        for each in advance.instalments:
            if each.is_scheduled and each.due_on <= last_tick_on:
                yield f"instalment {advance.id}-{each.number} was due on {each.due_on}"


def _receivable_otherwise(ledger: Ledger, owed_minor: int) -> Iterator[str]:
    receivable_minor = ledger.own_balances.get(system_account(SystemKind.ADVANCES_RECEIVABLE, CURRENCY), 0)
    if receivable_minor != -owed_minor:
        yield f"the receivable is {-receivable_minor}, and {owed_minor} is owed"


def _off_balance(ledger: Ledger) -> Iterator[str]:
    total = sum(ledger.balances.values()) + sum(ledger.own_balances.values())
    if total:
        yield f"they come to {total}"
    summed = Counter[str]()
    for move in ledger.moves:
        summed[move.debit] -= move.amount_minor
        summed[move.credit] += move.amount_minor
    for name, balance in (dict(ledger.balances) | dict(ledger.own_balances)).items():
        if summed[name] != balance:
            yield f"{name} has {balance}, and its transfers come to {summed[name]}"


def _otherwise_than_naive(ledger: Ledger) -> Iterator[str]:
    lender = Lender()
    for position, entry in ledger.entries.items():
        reason = lender.take(entry.command, entry.decided_on or date.max)
        if reason != entry.reason:
            yield f"command {position} was answered {entry.reason or 'applied'}, and should be {reason or 'applied'}"
    for name, balance in ledger.balances.items():
        if lender.balances.get(name) != balance:
            yield f"{name} has {balance}, and should have {lender.balances.get(name)}"
    expected = lender.schedules()
    for id_ in sorted({*expected, *ledger.advances}):
        advance = ledger.advances.get(id_)
        schedule = advance and [
            (each.due_on, each.amount_minor, each.rolled_minor, each.paid_minor, each.state.value)
            for each in advance.instalments
        ]
        if schedule != expected.get(id_):
            yield f"advance {id_} has {schedule}, and should have {expected.get(id_)}"
