"""What the tests are built of: accounts, commands and books in a line each, and strategies that make many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from uuid_utils.compat import uuid7

from processor.domain.advances import WEEK, Advance, grant
from processor.domain.books import UNLIMITED, Account, AccountStatus, Books, Daily, Done
from processor.domain.commands import (
    UNLIMITED_COUNT,
    UNLIMITED_MINOR,
    Adjust,
    CaptureHold,
    Close,
    Collect,
    Command,
    Deposit,
    ExpireHold,
    Freeze,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    PlaceHold,
    ReleaseHold,
    Repay,
    Reverse,
    SetLimits,
    Unfreeze,
    Withdraw,
    WriteOff,
)
from processor.domain.decide import Decided, decide
from processor.domain.holds import Hold, HoldState
from processor.domain.outcomes import Outcome, Reason, Side, Status, Transfer, TransferKind
from processor.domain.rules import LATEST_EXPIRY, Rules
from processor.store.books import PendingRow
from processor.submissions import CommandBody, Submission

NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The instant at which the tests decide."""

TODAY: Final = NOON.date()

RULES: Final = Rules()
"""The bank's settings as they are unless somebody sets them."""

LARGEST: Final = 2**63 - 1

NAMES: Final = ("alice", "bob", "carol", "dave")


# The domain.


def an_account(
    name: str = "alice",
    *,
    available_minor: int = 0,
    currency: str = "USD",
    status: AccountStatus = AccountStatus.OPEN,
    held_minor: int = 0,
    overdraft_limit_minor: int = 0,
    overdraft_fee_minor: int = 0,
    daily: Daily = UNLIMITED,
) -> Account:
    """An account on which just ``available_minor`` may be debited now."""
    balance_minor = available_minor + held_minor - overdraft_limit_minor
    return Account(
        name=name,
        id=NAMES.index(name) + 1 if name in NAMES else 99,
        currency=currency,
        status=status,
        version=7,
        credits_minor=max(balance_minor, 0) + 1_000,
        debits_minor=max(-balance_minor, 0) + 1_000,
        held_minor=held_minor,
        overdraft_limit_minor=overdraft_limit_minor,
        overdraft_fee_minor=overdraft_fee_minor,
        daily=daily,
    )


def books_of(
    *accounts: Account, advances: Sequence[Advance] = (), holds: Sequence[Hold] = (), done: Sequence[Done] = ()
) -> Books:
    """The books that hold just these."""
    return Books.of(accounts, advances, holds, done)


def a_deposit(account: str = "alice", amount_minor: int = 100, currency: str = "USD", *, position: int = 1) -> Deposit:
    """Money for the account."""
    return Deposit(position, account, amount_minor, currency)


def a_withdrawal(
    account: str = "alice", amount_minor: int = 100, currency: str = "USD", *, position: int = 1
) -> Withdraw:
    """Money out of the account."""
    return Withdraw(position, account, amount_minor, currency)


def a_transfer(
    source: str = "alice", target: str = "bob", amount_minor: int = 100, currency: str = "USD", *, position: int = 1
) -> MakeTransfer:
    """Money from one account to the other."""
    return MakeTransfer(position, source, target, amount_minor, currency)


def an_opening(
    account: str = "alice",
    currency: str = "USD",
    *,
    overdraft_limit_minor: int | None = 0,
    overdraft_fee_minor: int | None = 0,
    position: int = 1,
) -> OpenAccount:
    """An account to be opened."""
    return OpenAccount(position, account, currency, overdraft_limit_minor, overdraft_fee_minor)


def an_advance(
    account: str = "alice",
    amount_minor: int = 1_200,
    currency: str = "USD",
    *,
    instalments: int = 12,
    first_due_on: date | None = None,
    position: int = 1,
) -> MakeAdvance:
    """Money lent to the account."""
    return MakeAdvance(position, account, amount_minor, currency, instalments, first_due_on)


def a_repayment(
    advance: int | None, amount_minor: int = 100, *, account: str = "alice", currency: str = "USD", position: int = 2
) -> Repay:
    """Money for an advance, before its day."""
    return Repay(position, account, advance, amount_minor, currency)


def a_write_off(advance: int | None, *, account: str = "alice", currency: str = "USD", position: int = 2) -> WriteOff:
    """An advance that the bank gives up."""
    return WriteOff(position, account, advance, currency)


def a_collect(
    advance: int | None, instalment: int = 1, *, account: str = "alice", currency: str = "USD", position: int = 2
) -> Collect:
    """The day of an instalment."""
    return Collect(position, account, advance, instalment, currency)


def a_hold(
    account: str = "alice",
    amount_minor: int = 100,
    currency: str = "USD",
    *,
    expires_at: datetime | None = None,
    position: int = 1,
) -> PlaceHold:
    """Money to be reserved."""
    return PlaceHold(position, account, amount_minor, currency, expires_at)


def a_capture(
    hold: int | None,
    amount_minor: int | None = None,
    *,
    account: str = "alice",
    to_account: str | None = None,
    currency: str = "USD",
    position: int = 2,
) -> CaptureHold:
    """What was reserved is to be taken, all of it unless it is said how much."""
    return CaptureHold(position, account, hold, currency, amount_minor, to_account)


def a_release(hold: int | None, *, account: str = "alice", currency: str = "USD", position: int = 2) -> ReleaseHold:
    """What was reserved is to be given back."""
    return ReleaseHold(position, account, hold, currency)


def an_expiry(hold: int | None, *, account: str = "alice", currency: str = "USD", position: int = 2) -> ExpireHold:
    """The scheduler says that a hold's time is over."""
    return ExpireHold(position, account, hold, currency)


def a_freeze(account: str = "alice", currency: str = "USD", *, position: int = 1) -> Freeze:
    """Nothing is to leave the account."""
    return Freeze(position, account, currency)


def an_unfreeze(account: str = "alice", currency: str = "USD", *, position: int = 1) -> Unfreeze:
    """Money may leave the account again."""
    return Unfreeze(position, account, currency)


def a_closing(account: str = "alice", currency: str = "USD", *, position: int = 1) -> Close:
    """The account is to end."""
    return Close(position, account, currency)


def limits(
    account: str = "alice",
    currency: str = "USD",
    *,
    overdraft_limit_minor: int | None = None,
    overdraft_fee_minor: int | None = None,
    daily_count: int | None = None,
    daily_amount_minor: int | None = None,
    position: int = 1,
) -> SetLimits:
    """Another overdraft, or other limits of a day."""
    return SetLimits(
        position, account, currency, overdraft_limit_minor, overdraft_fee_minor, daily_count, daily_amount_minor
    )


def a_reversal(reverses: int, *, force: bool = False, currency: str = "USD", position: int = 9) -> Reverse:
    """What a command moved is to go back."""
    return Reverse(position, reverses, currency, force)


def an_adjustment(
    from_account: str = "alice",
    to_account: str = "@suspense:USD",
    amount_minor: int = 100,
    currency: str = "USD",
    *,
    force: bool = False,
    position: int = 1,
) -> Adjust:
    """A correction of the books."""
    return Adjust(position, from_account, to_account, amount_minor, currency, force)


def held(
    amount_minor: int = 100,
    *,
    account: str = "alice",
    currency: str = "USD",
    expires_at: datetime | None = None,
    hold_id: int = 5,
) -> Hold:
    """Money that is reserved. The account's ``held_minor`` is to be told as well."""
    return Hold(hold_id, account, currency, amount_minor, expires_at)


def lent(
    amount_minor: int = 1_200,
    *,
    account: str = "alice",
    instalments: int = 12,
    first_due_on: date = TODAY,
    currency: str = "USD",
    advance_id: int = 5,
) -> Advance:
    """An advance of which nothing is paid yet; its first instalment is due on the day on which the tests decide."""
    return grant(advance_id, account, currency, amount_minor, instalments=instalments, first_due_on=first_due_on)


def refused(command: Command, reason: Reason) -> Outcome:
    """The answer that the rules give when they say no: nothing is moved."""
    return Outcome(command.position, Status.REFUSED, reason)


def answer(books: Books, command: Command, *, rules: Rules = RULES) -> Outcome:
    """What becomes of one command."""
    (outcome,) = decide(books, [command], now=NOON, rules=rules).outcomes
    return outcome


def after(
    books: Books, commands: Sequence[Command], *, now: datetime = NOON, rules: Rules = RULES
) -> tuple[list[Outcome], Books]:
    """The answers, and the books as a next batch would find them."""
    decided = decide(books, commands, now=now, rules=rules)
    return list(decided.outcomes), decided.applied_to(books)


def as_read_next(books: Books, decided: Decided) -> Books:
    """The books as a store reads them for the next batch: with what became of every command so far."""
    done = dict(books.done)
    for outcome in decided.outcomes:
        done[outcome.position] = Done(outcome.position, outcome.status, tuple(outcome.transfers))
    for by, reversed_ in decided.reversals.items():
        done[reversed_] = replace(done[reversed_], reversed_by=by)
    closing = decided.applied_to(books)
    return Books.of(closing.accounts.values(), closing.advances.values(), closing.holds.values(), done.values())


# The intake.


def opening(
    account: str, currency: str = "USD", *, overdraft_limit_minor: int = 0, overdraft_fee_minor: int = 0
) -> CommandBody:
    """The body of an open_account command."""
    return CommandBody(
        type="open_account",
        account=account,
        currency=currency,
        overdraft_limit_minor=overdraft_limit_minor,
        overdraft_fee_minor=overdraft_fee_minor,
    )


def deposit(account: str, amount_minor: int, currency: str = "USD", *, reference: str | None = None) -> CommandBody:
    """The body of a deposit."""
    return CommandBody(
        type="deposit", account=account, amount_minor=amount_minor, currency=currency, reference=reference
    )


def withdraw(account: str, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of a withdrawal."""
    return CommandBody(type="withdraw", account=account, amount_minor=amount_minor, currency=currency)


def transfer(source: str, target: str, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of a transfer."""
    return CommandBody(
        type="transfer", from_account=source, to_account=target, amount_minor=amount_minor, currency=currency
    )


def advance(
    account: str,
    amount_minor: int,
    currency: str = "USD",
    *,
    instalments: int = 12,
    first_due_on: date | None = None,
) -> CommandBody:
    """The body of an advance."""
    return CommandBody(
        type="advance",
        account=account,
        amount_minor=amount_minor,
        currency=currency,
        instalments=instalments,
        first_due_on=first_due_on,
    )


def repay(account: str, advance_id: UUID, amount_minor: int, currency: str = "USD") -> CommandBody:
    """The body of an early repayment."""
    return CommandBody(
        type="repay", account=account, advance_id=advance_id, amount_minor=amount_minor, currency=currency
    )


def write_off(account: str, advance_id: UUID, currency: str = "USD", *, reason: str = "moved away") -> CommandBody:
    """The body of a write-off."""
    return CommandBody(type="write_off", account=account, advance_id=advance_id, currency=currency, reason=reason)


def place_hold(
    account: str, amount_minor: int, currency: str = "USD", *, expires_at: datetime | None = None
) -> CommandBody:
    """The body of a command that reserves money."""
    return CommandBody(
        type="place_hold", account=account, amount_minor=amount_minor, currency=currency, expires_at=expires_at
    )


def capture_hold(
    account: str,
    hold_id: UUID,
    amount_minor: int | None = None,
    currency: str = "USD",
    *,
    to_account: str | None = None,
) -> CommandBody:
    """The body of a command that takes what was reserved, or part of it."""
    return CommandBody(
        type="capture_hold",
        account=account,
        hold_id=hold_id,
        amount_minor=amount_minor,
        currency=currency,
        to_account=to_account,
    )


def release_hold(account: str, hold_id: UUID, currency: str = "USD") -> CommandBody:
    """The body of a command that gives back what was reserved."""
    return CommandBody(type="release_hold", account=account, hold_id=hold_id, currency=currency)


def freeze(account: str, currency: str = "USD", *, reason: str = "lost card") -> CommandBody:
    """The body of a command after which nothing leaves the account."""
    return CommandBody(type="freeze", account=account, currency=currency, reason=reason)


def unfreeze(account: str, currency: str = "USD", *, reason: str = "found it") -> CommandBody:
    """The body of a command after which it may."""
    return CommandBody(type="unfreeze", account=account, currency=currency, reason=reason)


def close(account: str, currency: str = "USD", *, reason: str = "moved away") -> CommandBody:
    """The body of a command that ends the account."""
    return CommandBody(type="close", account=account, currency=currency, reason=reason)


def set_limits(
    account: str,
    currency: str = "USD",
    *,
    overdraft_limit_minor: int | None = None,
    overdraft_fee_minor: int | None = None,
    daily_count: int | None = None,
    daily_amount_minor: int | None = None,
) -> CommandBody:
    """The body of a command that changes what the account may do."""
    return CommandBody(
        type="set_limits",
        account=account,
        currency=currency,
        overdraft_limit_minor=overdraft_limit_minor,
        overdraft_fee_minor=overdraft_fee_minor,
        daily_count=daily_count,
        daily_amount_minor=daily_amount_minor,
        reason="asked for it",
    )


def reverse(command_id: UUID, of: CommandBody, *, force: bool = False) -> CommandBody:
    """The body of a reversal, as the API fills it from that of the command."""
    return CommandBody(
        type="reverse",
        reverses=command_id,
        account=of.account,
        from_account=of.from_account,
        to_account=of.to_account,
        currency=of.currency,
        force=force,
        reason="by mistake",
    )


def adjust(source: str, target: str, amount_minor: int, currency: str = "USD", *, force: bool = False) -> CommandBody:
    """The body of a correction between any two accounts."""
    return CommandBody(
        type="adjust",
        from_account=source,
        to_account=target,
        amount_minor=amount_minor,
        currency=currency,
        force=force,
        reason="found in the drawer",
    )


def submit(body: CommandBody, *, key: str | None = None, client_id: int = 1) -> Submission:
    """The body under an idempotency key, by default one that nobody else has."""
    new = uuid7()
    return Submission(id=new, client_id=client_id, idempotency_key=key or str(new), body=body)


def in_line(position: int, *accounts: str) -> PendingRow:
    """A pending command that touches one account (a deposit) or two (a transfer)."""
    one, source, target = (accounts[0], None, None) if len(accounts) == 1 else (None, *accounts)
    kind = "deposit" if one else "transfer"
    return PendingRow(position, kind, one, source, target, 1, "USD", None, None, NOON)


def linked_in_line(position: int, *touched: Sequence[str]) -> PendingRow:
    """The place of linked commands, each of which touches these accounts."""
    rows = tuple(in_line(position + number, *accounts) for number, accounts in enumerate(touched))
    return replace(rows[0], link=UUID(int=position), link_size=len(rows), linked=rows)


# Strategies. Round amounts meet each other: a balance is often taken to its last unit, or to its limit exactly.

_names: Final = st.sampled_from(("alice",) * 5 + NAMES)
_currencies: Final = st.sampled_from((*("USD",) * 9, "JPY"))
_amounts: Final = st.sampled_from((1, 50, 50, 100, 100, 150, 999, 1_000, 2**53 - 1))
_overdrafts: Final = st.sampled_from(((0, 0), (100, 50), (1_000, 150), (0, 50), (100, 0)))
_balances: Final = st.sampled_from((0, 0, 50, 100, 1_000, 1_000, -50, -100, None))
_turnovers: Final = st.sampled_from((0, 0, 1_000, LARGEST, LARGEST - 50, LARGEST - 150, LARGEST - 1_000))
_statuses: Final = st.sampled_from((*(AccountStatus.OPEN,) * 6, *AccountStatus))
_holds: Final = st.sampled_from(((), (), (50,), (100,), (50, 100)))
_are_there: Final = st.sampled_from((True,) * 7 + (False,))
_forced: Final = st.sampled_from((0, 0, 0, 0, 70))
_yesterday: Final = TODAY - timedelta(days=1)
_days: Final = st.sampled_from(
    (
        *(UNLIMITED,) * 4,
        Daily(2, UNLIMITED_MINOR),
        Daily(2, UNLIMITED_MINOR, TODAY, 1, 50),
        Daily(3, 150, TODAY, 1, 50),
        Daily(UNLIMITED_COUNT, 150, _yesterday, 3, 100),
    )
)
_expiries: Final = st.sampled_from(
    (
        None,
        None,
        None,
        NOON - timedelta(hours=1),
        NOON,
        NOON + timedelta(days=1),
        NOON + timedelta(days=1),
        NOON + LATEST_EXPIRY + timedelta(days=1),
    )
)
_limits: Final = st.sampled_from(
    (
        (None, None, None, None),
        (0, None, None, None),
        (1_000, 0, None, None),
        (100, 50, None, None),
        (None, None, 1, None),
        (None, None, 3, 150),
        (None, None, UNLIMITED_COUNT, UNLIMITED_MINOR),
    )
)
_kinds: Final = st.sampled_from(
    (
        *(OpenAccount, Deposit, Deposit, Withdraw, Withdraw, Withdraw, MakeTransfer, MakeTransfer),
        *(MakeAdvance, Repay, Collect, Collect, Collect, WriteOff),
        *(PlaceHold, PlaceHold, PlaceHold, CaptureHold, CaptureHold, CaptureHold, ReleaseHold, ExpireHold),
        *(Freeze, Unfreeze, Close, SetLimits, SetLimits, Reverse, Reverse, Reverse, Adjust, Adjust),
    )
)
_first_days: Final = st.sampled_from((None, *(TODAY + timedelta(days=days) for days in (-1, 0, 0, 1, 366, 367))))
_own_overdrafts: Final = st.sampled_from(((0, 0), (100, 50), (1_000, 150), (None, None), (100, None), (None, 50)))
ADVANCES: Final = (1001, 1002, 1003)
"""The ids of the advances that the books of the strategies begin with: one for each of the first three names."""

DONE: Final = (901, 902, 903, 904)
"""The positions of earlier commands that the books of the strategies know of."""


@dataclass(frozen=True)
class Asked:
    """What may be drawn about a command; each kind takes what it has use for."""

    kind: type
    name: str
    other: str
    currency: str
    amount_minor: int
    overdraft: tuple[int | None, int | None]
    count: int
    which: int
    first_due_on: date | None
    expires_at: datetime | None
    part_minor: int | None
    limits: tuple[int | None, int | None, int | None, int | None]
    force: bool


_asked: Final = st.builds(
    Asked,
    _kinds,
    _names,
    _names,
    _currencies,
    _amounts,
    _own_overdrafts,
    st.integers(1, 4),
    st.sampled_from((0, 0, 0, 1, 1, 2, 2, 3)),
    _first_days,
    _expiries,
    st.sampled_from((None, None, 1, 50, 50, 100, 101)),
    _limits,
    st.booleans(),
)


@st.composite
def any_books(draw: st.DrawFn) -> Books:
    """Up to three accounts in any state that the rules can lead to, near their floors and near the ends of bigint."""
    accounts: list[Account] = []
    holds: list[Hold] = []
    for number, name in enumerate(NAMES[:3], start=1):
        limit, fee = draw(_overdrafts)
        reserved = draw(_holds)
        forced = draw(_forced)
        floor = sum(reserved) - limit - fee - forced
        wanted = draw(_balances)
        balance = floor if forced or wanted is None else max(wanted, floor)
        turnover = min(draw(_turnovers), LARGEST - max(balance, 0), LARGEST - max(-balance, 0) - sum(reserved))
        account = Account(
            name=name,
            id=number,
            currency=draw(_currencies),
            status=draw(_statuses),
            version=number,
            revision=2 * number,
            credits_minor=turnover + max(balance, 0),
            debits_minor=turnover + max(-balance, 0),
            held_minor=sum(reserved),
            overdraft_limit_minor=limit,
            overdraft_fee_minor=fee,
            forced_minor=forced,
            daily=draw(_days),
        )
        if draw(_are_there):
            accounts.append(account)
            holds += [
                Hold(hold_id, name, account.currency, amount, draw(_expiries))
                for hold_id, amount in zip(_hold_ids(name), reserved, strict=False)
            ]
            state = draw(st.sampled_from((HoldState.RELEASED, HoldState.EXPIRED)))
            ended = Hold(_hold_ids(name)[2], name, account.currency, 50).give_back(state, by=2_000)
            holds.append(ended)
    advances = [draw(any_advance(account)) for account in accounts if draw(st.booleans())]
    done = [draw(any_done(position, accounts)) for position in DONE if accounts]
    return Books.of(accounts, advances, holds, done)


def _hold_ids(name: str) -> tuple[int, int, int]:
    """The ids of an account's holds with which the books may begin: two that may be open, and one that has ended."""
    first = 1100 + 10 * NAMES.index(name)
    return first, first + 1, first + 2


@st.composite
def any_done(draw: st.DrawFn, position: int, accounts: Sequence[Account]) -> Done:
    """An earlier command: of any kind, with both accounts on both sides, refused, failed or reversed before."""
    status = draw(st.sampled_from((*(Status.APPLIED,) * 6, Status.REFUSED, Status.FAILED)))
    if status is not Status.APPLIED:
        return Done(position, status)
    one = draw(st.sampled_from(accounts))
    others = [each.name for each in accounts if each.currency == one.currency and each is not one]
    other = draw(st.sampled_from(others)) if others else f"@settlement:{one.currency}"
    outside, fees = f"@settlement:{one.currency}", f"@fee_income:{one.currency}"
    legs = draw(
        st.sampled_from(
            (
                [(TransferKind.DEPOSIT, outside, one.name)],
                [(TransferKind.WITHDRAWAL, one.name, outside), (TransferKind.OVERDRAFT_FEE, one.name, fees)],
                [(TransferKind.TRANSFER, one.name, other)],
                [(TransferKind.TRANSFER, one.name, other), (TransferKind.TRANSFER, other, one.name)],
                [(TransferKind.TRANSFER, one.name, other)] * 2,
                [(TransferKind.CAPTURE, one.name, other)],
                [(TransferKind.ADJUSTMENT, other, one.name)],
                [(TransferKind.ADVANCE, f"@advances_receivable:{one.currency}", one.name)],
                [(TransferKind.DEPOSIT, outside, one.name), (TransferKind.COLLECTION, one.name, outside)],
                [(TransferKind.REVERSAL, outside, one.name)],
                [],
            )
        )
    )
    amounts = st.sampled_from((1, 50, 100))
    transfers = tuple(Transfer(kind, Side(a), Side(b), draw(amounts), one.currency) for kind, a, b in legs)
    return Done(position, status, transfers, draw(st.sampled_from((None, None, None, 950))))


@st.composite
def any_advance(draw: st.DrawFn, account: Account) -> Advance:
    """An advance of the account after some of its weeks: paid, missed, repaid in part or written off."""
    count = draw(st.integers(1, 3))
    weeks_ago = draw(st.integers(-1, 3))
    advance = grant(
        ADVANCES[NAMES.index(account.name)],
        account.name,
        account.currency,
        draw(st.sampled_from((count, 50 * count, 100 * count + 1, 299))),
        instalments=count,
        first_due_on=TODAY - weeks_ago * WEEK,
    )
    for step in range(draw(st.integers(0, 4))):
        due = next((each for each in advance.instalments if each.is_scheduled), None)
        if due is None:
            break
        what = draw(st.sampled_from(("pay", "miss", "miss", "part", "repay", "write off")))
        by = 2_000 + step
        if what == "repay":
            advance = advance.repay(draw(st.integers(1, advance.remaining_minor)), by=by)
        elif what == "write off":
            advance = advance.write_off(by=by)
        else:
            paid = {"pay": due.left_minor, "miss": 0, "part": due.left_minor // 2}[what]
            advance = advance.collect(due.number, paid, by=by)
    return advance


def command_lists(max_size: int = 12) -> SearchStrategy[list[Command]]:
    """Commands in order of position, with gaps between their positions, about accounts that exist or not."""
    few, many = st.lists(_asked, max_size=max_size), st.lists(_asked, min_size=max_size // 2, max_size=max_size)
    return (few | many).map(_commands)


def _commands(all_asked: Sequence[Asked]) -> list[Command]:
    commands: list[Command] = []
    for place, asked in enumerate(all_asked, start=1):
        commands.append(_command(7 * place, asked, commands))
    return commands


def _command(position: int, asked: Asked, earlier: Sequence[Command]) -> Command:
    name, other, currency, amount_minor = asked.name, asked.other, asked.currency, asked.amount_minor
    # The account's own advance, another's, one that an earlier command of the list may have granted, or none.
    own = ADVANCES[NAMES.index(name)] if name in NAMES[:3] else None
    advance = (own, own, position - 7, None)[asked.which]
    holder, hold = _some_hold(asked, earlier)
    to_account = other if asked.count > 2 and other != holder else None
    simple: dict[type, Command] = {
        OpenAccount: OpenAccount(position, name, currency, *asked.overdraft),
        Deposit: Deposit(position, name, amount_minor, currency),
        MakeAdvance: MakeAdvance(position, name, amount_minor, currency, asked.count, asked.first_due_on),
        Repay: Repay(position, name, advance, amount_minor, currency),
        WriteOff: WriteOff(position, name, advance, currency),
        Collect: Collect(position, name, advance, asked.count, currency),
        PlaceHold: PlaceHold(position, name, amount_minor, currency, asked.expires_at),
        CaptureHold: CaptureHold(position, holder, hold, currency, asked.part_minor, to_account),
        ReleaseHold: ReleaseHold(position, holder, hold, currency),
        ExpireHold: ExpireHold(position, holder, hold, currency),
        Freeze: Freeze(position, name, currency),
        Unfreeze: Unfreeze(position, name, currency),
        Close: Close(position, name, currency),
        SetLimits: SetLimits(position, name, currency, *asked.limits),
        Reverse: Reverse(position, _some_command(asked, earlier), currency, asked.force),
        Adjust: Adjust(position, *_some_two(asked), amount_minor, currency, asked.force),
    }
    if asked.kind is MakeTransfer and name != other:
        return MakeTransfer(position, name, other, amount_minor, currency)
    return simple.get(asked.kind, Withdraw(position, name, amount_minor, currency))


def _some_hold(asked: Asked, earlier: Sequence[Command]) -> tuple[str, int | None]:
    """One that an earlier command may have placed, one of the books, or one of somebody else's; and whose it is."""
    placed = [each for each in earlier if isinstance(each, PlaceHold)]
    if placed and asked.which < 2:
        chosen = placed[-asked.which]
        return chosen.account, chosen.position
    if asked.which == 3 and asked.count == 1:
        return asked.name, placed[-1].position if placed else None
    return asked.name, _hold_ids(asked.name)[asked.which % 3]


def _some_command(asked: Asked, earlier: Sequence[Command]) -> int:
    """The last one that may have moved money, any of the list, one of the books, or none that was ever decided."""
    moving = [each for each in earlier if isinstance(each, Deposit | Withdraw | MakeTransfer | CaptureHold | Adjust)]
    if moving and asked.which == 0:
        return moving[-1].position
    if earlier and asked.which == 1:
        return earlier[-asked.count % len(earlier)].position
    return DONE[asked.count - 1] if asked.which < 3 else 999


def _some_two(asked: Asked) -> tuple[str, str]:
    """Accounts of customers and of the bank."""
    outside, suspense = f"@settlement:{asked.currency}", f"@suspense:{asked.currency}"
    if asked.which == 3 and asked.name != asked.other:
        return asked.name, asked.other
    return ((asked.name, outside), (suspense, asked.name), (outside, suspense), (asked.name, suspense))[asked.which]
