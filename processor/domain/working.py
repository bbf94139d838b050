"""The books in the hands of the rules: what was read, and what has been written so far."""

from processor.domain.advances import Advance
from processor.domain.books import MAX_TOTAL_MINOR, Account, Books
from processor.domain.commands import OpenAccount
from processor.domain.outcomes import Side


class Working:
    """The books while one call of ``decide`` writes in them."""

    def __init__(self, books: Books) -> None:
        self._read = books.accounts
        self._accounts: dict[str, WorkingAccount] = {}
        self._opened: set[str] = set()
        self._read_advances = books.advances
        self._advances = dict(books.advances)

    def find(self, name: str) -> "WorkingAccount | None":
        """The account as it is by now."""
        account = self._accounts.get(name)
        if account is None and (read := self._read.get(name)) is not None:
            account = self._accounts[name] = WorkingAccount(read)
        return account

    def open(self, command: OpenAccount) -> None:
        """Add the account that the command asks for."""
        opened = Account(
            name=command.account,
            id=command.position,
            currency=command.currency,
            overdraft_limit_minor=command.overdraft_limit_minor,
            overdraft_fee_minor=command.overdraft_fee_minor,
        )
        self._accounts[command.account] = WorkingAccount(opened)
        self._opened.add(command.account)

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

    def opened(self) -> list[Account]:
        """The accounts that are new, in order of name."""
        return [self._accounts[name].closing() for name in sorted(self._opened)]

    def changed(self) -> list[Account]:
        """In order of name, so that two batches never update rows in opposite orders."""
        return [
            account.closing()
            for name, account in sorted(self._accounts.items())
            if name not in self._opened and account.version != self._read[name].version
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


class WorkingAccount:
    """An account that takes debits and credits. The rules have been checked before either is called."""

    __slots__ = (
        "_read",
        "balance_minor",
        "credits_minor",
        "currency",
        "debits_minor",
        "overdraft_fee_minor",
        "status",
        "version",
    )

    def __init__(self, read: Account) -> None:
        self._read = read
        self.currency = read.currency
        self.status = read.status
        self.version = read.version
        self.credits_minor = read.credits_minor
        self.debits_minor = read.debits_minor
        self.balance_minor = read.balance_minor
        self.overdraft_fee_minor = read.overdraft_fee_minor

    @property
    def available_minor(self) -> int:
        """As of an ``Account``."""
        return self.balance_minor - self._read.held_minor + self._read.overdraft_limit_minor

    def can_take_credit(self, amount_minor: int) -> bool:
        """Whether its total of credits stays within bigint."""
        return self.credits_minor + amount_minor <= MAX_TOTAL_MINOR

    def can_take_debit(self, amount_minor: int) -> bool:
        """Whether its total of debits stays within bigint."""
        return self.debits_minor + amount_minor <= MAX_TOTAL_MINOR

    def credit(self, amount_minor: int) -> Side:
        """Add to it, and return its side of the transfer."""
        self.credits_minor += amount_minor
        return self._moved(amount_minor)

    def debit(self, amount_minor: int) -> Side:
        """Take from it, and return its side of the transfer."""
        self.debits_minor += amount_minor
        return self._moved(-amount_minor)

    def _moved(self, by_minor: int) -> Side:
        self.balance_minor += by_minor
        self.version += 1
        return Side(self._read.name, self.version, self.balance_minor)

    def closing(self) -> Account:
        """The account as it is to be recorded."""
        read = self._read
        return Account(
            name=read.name,
            id=read.id,
            currency=read.currency,
            status=self.status,
            version=self.version,
            credits_minor=self.credits_minor,
            debits_minor=self.debits_minor,
            held_minor=read.held_minor,
            overdraft_limit_minor=read.overdraft_limit_minor,
            overdraft_fee_minor=read.overdraft_fee_minor,
        )
