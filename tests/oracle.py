"""The money rules once more, in plain dictionaries and without a thought for speed: what the engine is measured by."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any, Final

from processor.domain.advances import Advance
from processor.domain.books import Account
from processor.domain.commands import Command
from processor.submissions import CommandBody

Answer = tuple[str, str | None]
"""``applied`` and no reason, or ``refused`` and the reason."""

LARGEST: Final = 9223372036854775807
TYPES: Final = {
    "OpenAccount": "open_account",
    "Deposit": "deposit",
    "Withdraw": "withdraw",
    "MakeTransfer": "transfer",
    "MakeAdvance": "advance",
    "Repay": "repay",
    "WriteOff": "write_off",
    "Collect": "collect",
}


class Bank:
    """Takes one command after the other and remembers who has what, and who owes what."""

    def __init__(self, *, partial_collection: bool = False, max_live_advances: int = 1) -> None:
        self.partial_collection = partial_collection
        self.max_live_advances = max_live_advances
        self.accounts: dict[str, dict[str, Any]] = {}
        self.advances: dict[int, dict[str, Any]] = {}
        """By the position of the command: account, currency, what was lent, and every week."""
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

    def owes(self, advance: Advance) -> None:
        """Begin with an advance as it is, whole."""
        self.advances[advance.id] = {
            "account": advance.account,
            "currency": advance.currency,
            "amount": advance.amount_minor,
            "weeks": [
                {
                    "due": each.due_on,
                    "amount": each.amount_minor,
                    "rolled": each.rolled_minor,
                    "paid": each.paid_minor,
                    "state": each.state.value,
                }
                for each in advance.instalments
            ],
        }

    def take(
        self, command: Command | CommandBody, *, today: date = date.min, position: int = 0, advance: int | None = None
    ) -> Answer:
        """
        Do what is asked, or say why not.

        A body does not say its own position, nor that of the advance that it names: they are given beside it.
        """
        asked: Mapping[str, Any] = {
            "position": position,
            "advance": advance,
            "today": today,
            "type": TYPES.get(type(command).__name__),
            **asdict(command),
        }
        reason = getattr(self, f"_{asked['type']}")(asked)
        return ("refused", reason) if reason else ("applied", None)

    def schedules(self) -> dict[int, list[tuple[Any, ...]]]:
        """Every week of every advance: due, amount, what of it was rolled on to it, paid, and how it stands."""
        return {
            position: [(w["due"], w["amount"], w["rolled"], w["paid"], w["state"]) for w in advance["weeks"]]
            for position, advance in self.advances.items()
        }

    def owed(self, position: int) -> int:
        """What is still to be paid on an advance."""
        weeks = self.advances[position]["weeks"]
        return sum(week["amount"] - week["paid"] for week in weeks if week["state"] == "scheduled")

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

    def _advance(self, asked: Mapping[str, Any]) -> str | None:
        target, amount, count, today = asked["account"], asked["amount_minor"], asked["instalments"], asked["today"]
        first = asked["first_due_on"] or today + timedelta(days=7)
        if reason := self._wrong(asked, target) or self._closed(target):
            return reason
        if amount < count:
            return "amount_out_of_bounds"
        if first < today or first > today + timedelta(days=366):
            return "due_date_out_of_bounds"
        live = [
            position for position, each in self.advances.items() if each["account"] == target and self.owed(position)
        ]
        if len(live) >= self.max_live_advances:
            return "advance_limit_reached"
        if self._full(target, "in", amount):
            return "balance_limit_exceeded"
        weeks = [
            {
                "due": first + timedelta(days=7 * n),
                # A unit more for the first ones, as many as do not come out even.
                "amount": amount // count + (1 if n < amount % count else 0),
                "rolled": 0,
                "paid": 0,
                "state": "scheduled",
            }
            for n in range(count)
        ]
        self.advances[asked["position"]] = {
            "account": target,
            "currency": asked["currency"],
            "amount": amount,
            "weeks": weeks,
        }
        return self._move(f"@advances_receivable:{asked['currency']}", target, amount)

    def _repay(self, asked: Mapping[str, Any]) -> str | None:
        source, left = asked["account"], asked["amount_minor"]
        if reason := self._not_owed(asked):
            return reason
        if self._closed(source):
            return "account_not_open"
        if left > self.owed(asked["advance"]):
            return "repayment_above_remaining"
        if reason := self._poor(source, left) or self._full(source, "out", left):
            return reason
        self._move(source, f"@advances_receivable:{asked['currency']}", left)
        for week in self.advances[asked["advance"]]["weeks"]:
            while week["state"] == "scheduled" and left:
                part = min(left, week["amount"] - week["paid"])
                week["paid"] += part
                left -= part
                if week["paid"] == week["amount"]:
                    week["state"] = "paid"
        return None

    def _write_off(self, asked: Mapping[str, Any]) -> str | None:
        if reason := self._not_owed(asked):
            return reason
        owed = self.owed(asked["advance"])
        for week in self.advances[asked["advance"]]["weeks"]:
            if week["state"] == "scheduled":
                week["state"] = "written_off"
        return self._move(f"@credit_loss:{asked['currency']}", f"@advances_receivable:{asked['currency']}", owed)

    def _collect(self, asked: Mapping[str, Any]) -> str | None:
        source, number = asked["account"], asked["instalment"]
        if (reason := self._not_owed(asked)) and reason != "advance_not_open":
            return reason
        weeks = self.advances[asked["advance"]]["weeks"]
        if number > len(weeks) or weeks[number - 1]["state"] != "scheduled":
            return "instalment_not_scheduled"
        week = weeks[number - 1]
        if week["due"] > asked["today"]:
            return "instalment_not_due"
        wanted = taken = week["amount"] - week["paid"]
        reason = self._closed(source) or self._poor(source, wanted) or self._full(source, "out", wanted)
        if reason:
            account = self.accounts[source]
            has = self.balance(source) - account["held"] + account["limit"]
            taken = has if self.partial_collection and reason == "insufficient_funds" and has > 0 else 0
        if taken:
            self._move(source, f"@advances_receivable:{asked['currency']}", taken)
        week["paid"] += taken
        week["state"] = "paid" if taken == wanted else "missed"
        if taken < wanted:
            later = next((each for each in weeks[number:] if each["state"] == "scheduled"), None)
            if later is None:
                later = {
                    "due": weeks[-1]["due"] + timedelta(days=7),
                    "amount": 0,
                    "rolled": 0,
                    "paid": 0,
                    "state": "scheduled",
                }
                weeks.append(later)
            later["amount"] += wanted - taken
            later["rolled"] += wanted - taken
        return None if taken else reason

    def _not_owed(self, asked: Mapping[str, Any]) -> str | None:
        if asked["account"] not in self.accounts:
            return "account_not_found"
        advance = self.advances.get(asked["advance"])
        if advance is None or advance["account"] != asked["account"]:
            return "advance_not_found"
        if advance["currency"] != asked["currency"]:
            return "currency_mismatch"
        return None if self.owed(asked["advance"]) else "advance_not_open"

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
