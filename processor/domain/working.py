"""The books in the hands of the rules: what was read, and what has been written so far."""

from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime

from processor.domain.advances import Advance
from processor.domain.books import MAX_TOTAL_MINOR, Account, AccountChange, AccountStatus, Books, Daily, Done
from processor.domain.commands import OpenAccount
from processor.domain.holds import Hold
from processor.domain.outcomes import Outcome, Side
from processor.domain.rules import Rules


class Working:
    """The books while one call of ``decide`` writes in them, at the instant ``now``."""

    def __init__(self, books: Books, now: datetime, rules: Rules) -> None:
        self.now = now
        self.rules = rules
        self.today = rules.business_date(now)
        self._read = books.accounts
        self._accounts: dict[str, WorkingAccount] = {}
        self._opened: set[str] = set()
        self._read_advances = books.advances
        self._advances = dict(books.advances)
        self._read_holds = books.holds
        self._holds = dict(books.holds)
        self._done = dict(books.done)
        self._reversed: dict[int, int] = {}
        self.changes: list[AccountChange] = []
        """What accounts were allowed or forbidden, in order of position."""
        self._mark: _Mark | None = None

    def mark(self) -> None:
        """Remember how everything is, until ``keep`` or ``go_back``."""
        self._mark = _Mark(
            set(self._opened),
            dict(self._advances),
            dict(self._holds),
            dict(self._done),
            dict(self._reversed),
            list(self.changes),
        )

    def keep(self) -> None:
        """Let everything that was written since the mark stand."""
        self._mark = None

    def go_back(self) -> None:
        """Let everything be as it was at the mark."""
        mark, self._mark = self._mark, None
        if mark is None:
            raise ValueError("there is no mark to go back to")
        self._accounts |= mark.accounts
        for name in self._opened - mark.opened:
            del self._accounts[name]
        self._opened, self._advances, self._holds = mark.opened, mark.advances, mark.holds
        self._done, self._reversed, self.changes = mark.done, mark.reversed, mark.changes

    def find(self, name: str) -> "WorkingAccount | None":
        """The account as it is by now."""
        account = self._accounts.get(name)
        if account is None and (read := self._read.get(name)) is not None:
            account = self._accounts[name] = WorkingAccount(read)
        if self._mark is not None and account is not None and name not in self._mark.accounts:
            # Whoever changes an account has found it first.
            self._mark.accounts[name] = copy(account)
        return account

    def open(self, command: OpenAccount, *, overdraft_limit_minor: int, overdraft_fee_minor: int) -> None:
        """Add the account that the command asks for."""
        opened = Account(
            name=command.account,
            id=command.position,
            currency=command.currency,
            overdraft_limit_minor=overdraft_limit_minor,
            overdraft_fee_minor=overdraft_fee_minor,
        )
        self._accounts[command.account] = WorkingAccount(opened)
        self._opened.add(command.account)

    def note_change(self, position: int, name: str) -> None:
        """Remember what the account may do from this command on."""
        self.changes.append(AccountChange(position, self._accounts[name].closing()))

    def find_advance(self, advance_id: int | None, account: str) -> Advance | None:
        """The advance, if it is the account's. Another account is not locked: what was read of its own may be old."""
        advance = None if advance_id is None else self._advances.get(advance_id)
        return advance if advance is not None and advance.account == account else None

    def live_advances(self, account: str) -> int:
        """How many advances of the account are not paid back."""
        return sum(advance.account == account and advance.state.is_live for advance in self._advances.values())

    def write(self, advance: Advance) -> None:
        """Keep the advance as it is now."""
        self._advances[advance.id] = advance

    def find_hold(self, hold_id: int | None, account: str) -> Hold | None:
        """The hold, if it is the account's."""
        hold = None if hold_id is None else self._holds.get(hold_id)
        return hold if hold is not None and hold.account == account else None

    def write_hold(self, hold: Hold) -> None:
        """Keep the hold as it is now."""
        self._holds[hold.id] = hold

    def find_done(self, position: int) -> Done | None:
        """What became of an earlier command."""
        return self._done.get(position)

    def note(self, outcome: Outcome) -> None:
        """Remember what became of a command: a later one of the same batch asks for its reversal."""
        self._done[outcome.position] = Done(outcome.position, outcome.status, tuple(outcome.transfers))

    def mark_reversed(self, done: Done, *, by: int) -> None:
        """Let nobody reverse it again."""
        self._done[done.position] = replace(done, reversed_by=by)
        self._reversed[by] = done.position

    def opened(self) -> list[Account]:
        """The accounts that are new, in order of name."""
        return [self._accounts[name].closing() for name in sorted(self._opened)]

    def changed(self) -> list[Account]:
        """In order of name, so that two batches never update rows in opposite orders."""
        return [
            account.closing()
            for name, account in sorted(self._accounts.items())
            if name not in self._opened and account.revision != self._read[name].revision
        ]

    def granted(self) -> list[Advance]:
        """The advances that are new."""
        return [advance for id_, advance in sorted(self._advances.items()) if id_ not in self._read_advances]

    def altered(self) -> list[Advance]:
        """Those that were read and are otherwise now."""
        return [
            advance
            for id_, advance in sorted(self._advances.items())
            if id_ in self._read_advances and advance.version != self._read_advances[id_].version
        ]

    def holds(self) -> list[Hold]:
        """The holds that are new or otherwise than they were read."""
        return [hold for id_, hold in sorted(self._holds.items()) if hold is not self._read_holds.get(id_)]

    def reversals(self) -> dict[int, int]:
        """The positions of the commands that were reversed, by those of their reversals."""
        return self._reversed


@dataclass(slots=True)
class _Mark:
    """Everything as it was; of the accounts, those that were looked at since."""

    opened: set[str]
    advances: dict[int, Advance]
    holds: dict[int, Hold]
    done: dict[int, Done]
    reversed: dict[int, int]
    changes: list[AccountChange]
    accounts: "dict[str, WorkingAccount]" = field(default_factory=dict)


class WorkingAccount:
    """An account that takes debits and credits. The rules have been checked before either is called."""

    __slots__ = (
        "_read",
        "balance_minor",
        "credits_minor",
        "currency",
        "daily",
        "debits_minor",
        "forced_minor",
        "held_minor",
        "overdraft_fee_minor",
        "overdraft_limit_minor",
        "revision",
        "status",
        "version",
    )

    def __init__(self, read: Account) -> None:
        self._read = read
        self.currency = read.currency
        self.status = read.status
        self.version = read.version
        self.revision = read.revision
        self.credits_minor = read.credits_minor
        self.debits_minor = read.debits_minor
        self.balance_minor = read.balance_minor
        self.held_minor = read.held_minor
        self.overdraft_limit_minor = read.overdraft_limit_minor
        self.overdraft_fee_minor = read.overdraft_fee_minor
        self.forced_minor = read.forced_minor
        self.daily = read.daily

    @property
    def available_minor(self) -> int:
        """As of an ``Account``."""
        return self.balance_minor - self.held_minor + self.overdraft_limit_minor

    def can_take_credit(self, amount_minor: int) -> bool:
        """Whether its total of credits stays within bigint."""
        return self.credits_minor + amount_minor <= MAX_TOTAL_MINOR

    def can_take_debit(self, amount_minor: int) -> bool:
        """Whether its total of debits stays within bigint, with those that its holds may become."""
        return self.debits_minor + self.held_minor + amount_minor <= MAX_TOTAL_MINOR

    def credit(self, amount_minor: int) -> Side:
        """Add to it, and return its side of the transfer."""
        self.credits_minor += amount_minor
        return self._moved(amount_minor)

    def debit(self, amount_minor: int) -> Side:
        """Take from it, and return its side of the transfer."""
        self.debits_minor += amount_minor
        return self._moved(-amount_minor)

    def force_debit(self, amount_minor: int) -> Side:
        """Take from it though it may not have so much: the floor gives way just as far as that needs."""
        side = self.debit(amount_minor)
        self.forced_minor = max(self.forced_minor, self._below_floor())
        return side

    def hold(self, by_minor: int) -> None:
        """Reserve more, or give back if ``by_minor`` is negative."""
        self.held_minor += by_minor
        self.revision += 1

    def set_status(self, status: AccountStatus) -> None:
        """Open, frozen or closed from now on."""
        self.status = status
        self.revision += 1

    def set_overdraft(self, limit_minor: int, fee_minor: int) -> None:
        """Another overdraft from now on."""
        self.overdraft_limit_minor = limit_minor
        self.overdraft_fee_minor = fee_minor
        self.revision += 1

    def set_daily(self, daily: Daily) -> None:
        """Other limits of a day, or more of them used; if nothing is counted, nothing changes."""
        if daily is not self.daily:
            self.daily = daily
            self.revision += 1

    def _moved(self, by_minor: int) -> Side:
        self.balance_minor += by_minor
        self.version += 1
        self.revision += 1
        return Side(self._read.name, self.version, self.balance_minor)

    def _below_floor(self) -> int:
        return max(0, -self.available_minor - self.overdraft_fee_minor)

    def closing(self) -> Account:
        """The account as it is to be recorded. What was forced is taken back as the balance recovers."""
        read = self._read
        return Account(
            name=read.name,
            id=read.id,
            currency=read.currency,
            status=self.status,
            version=self.version,
            credits_minor=self.credits_minor,
            debits_minor=self.debits_minor,
            held_minor=self.held_minor,
            overdraft_limit_minor=self.overdraft_limit_minor,
            overdraft_fee_minor=self.overdraft_fee_minor,
            revision=self.revision,
            forced_minor=min(self.forced_minor, self._below_floor()),
            daily=self.daily,
        )
