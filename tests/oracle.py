"""The money rules once more, in plain dictionaries and without a thought for speed: what the engine is measured by."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from processor.domain.books import Account
from processor.domain.commands import Command
from processor.submissions import CommandBody

Answer = tuple[str, str | None]
"""``applied`` and no reason, or ``refused`` and the reason."""

LARGEST: Final = 9223372036854775807
TYPES: Final = {"OpenAccount": "open_account", "Deposit": "deposit", "Withdraw": "withdraw", "MakeTransfer": "transfer"}


class Bank:
    """Takes one command after the other and remembers who has what."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.own = Counter[str]()
        """What the bank's own accounts have, by name: below zero for what the outside world owes."""

    def knows(self, account: Account) -> None:
        """Begin with an account as it is."""
        self.accounts[account.name] = {
            "currency": account.currency,
            "status": account.status.value,
            "in": account.credits_minor,
            "out": account.debits_minor,
            "held": account.held_minor,
            "limit": account.overdraft_limit_minor,
            "fee": account.overdraft_fee_minor,
        }

    def take(self, command: Command | CommandBody) -> Answer:
        """Do what is asked, or say why not."""
        asked: Mapping[str, Any] = {"type": TYPES.get(type(command).__name__), **asdict(command)}
        reason = getattr(self, f"_{asked['type']}")(asked)
        return ("refused", reason) if reason else ("applied", None)

    def balance(self, name: str) -> int:
        """What came in less what went out."""
        account = self.accounts[name]
        return int(account["in"] - account["out"])

    def _open_account(self, asked: Mapping[str, Any]) -> str | None:
        if asked["account"] in self.accounts:
            return "account_already_exists"
        self.accounts[asked["account"]] = {
            "currency": asked["currency"],
            "status": "open",
            "in": 0,
            "out": 0,
            "held": 0,
            "limit": asked["overdraft_limit_minor"],
            "fee": asked["overdraft_fee_minor"],
        }
        return None

    def _deposit(self, asked: Mapping[str, Any]) -> str | None:
        target, amount = asked["account"], asked["amount_minor"]
        return (
            self._wrong(asked, target)
            or self._closed(target, credit=True)
            or self._full(target, "in", amount)
            or self._move(f"@settlement:{asked['currency']}", target, amount)
        )

    def _withdraw(self, asked: Mapping[str, Any]) -> str | None:
        source, amount, currency = asked["account"], asked["amount_minor"], asked["currency"]
        reason = self._wrong(asked, source) or self._closed(source) or self._poor(source, amount)
        reason = reason or self._full(source, "out", amount + self.accounts[source]["fee"])
        if reason:
            return reason
        self._move(source, f"@settlement:{currency}", amount)
        if self.balance(source) < 0:
            self._move(source, f"@fee_income:{currency}", self.accounts[source]["fee"])
        return None

    def _transfer(self, asked: Mapping[str, Any]) -> str | None:
        source, target, amount = asked["from_account"], asked["to_account"], asked["amount_minor"]
        return (
            self._wrong(asked, source, target)
            or self._closed(source)
            or self._closed(target, credit=True)
            or self._poor(source, amount)
            or self._full(source, "out", amount)
            or self._full(target, "in", amount)
            or self._move(source, target, amount)
        )

    def _wrong(self, asked: Mapping[str, Any], *names: str) -> str | None:
        if any(name not in self.accounts for name in names):
            return "account_not_found"
        if any(self.accounts[name]["currency"] != asked["currency"] for name in names):
            return "currency_mismatch"
        return None

    def _closed(self, name: str, *, credit: bool = False) -> str | None:
        allowed = {"open", "frozen"} if credit else {"open"}
        return None if self.accounts[name]["status"] in allowed else "account_not_open"

    def _poor(self, name: str, amount: int) -> str | None:
        account = self.accounts[name]
        return "insufficient_funds" if self.balance(name) - account["held"] - amount < -account["limit"] else None

    def _full(self, name: str, total: str, amount: int) -> str | None:
        return "balance_limit_exceeded" if self.accounts[name][total] + amount > LARGEST else None

    def _move(self, source: str, target: str, amount: int) -> str | None:
        for name, total, sign in ((source, "out", -1), (target, "in", 1)):
            if name in self.accounts:
                self.accounts[name][total] += amount
            else:
                self.own[name] += sign * amount
        return None
