"""A lender that is too simple to be wrong: the money rules in plain dictionaries, to measure the books by."""

from datetime import date, timedelta
from typing import Any, Final

from processor.domain.commands import (
    Collect,
    Command,
    Deposit,
    MakeAdvance,
    MakeTransfer,
    OpenAccount,
    Repay,
    Withdraw,
    WriteOff,
)

A_WEEK: Final = timedelta(days=7)


class Lender:
    """
    Takes one command after the other, and knows just what a simulation asks for: one currency, accounts that are open
    and without overdraft, one advance at a time that was granted before, collected in full or not at all.
    """

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.weeks: dict[int, list[dict[str, Any]]] = {}
        """Every week of every advance, by its id."""
        self._borrowers: dict[int, str] = {}

    def take(self, command: Command, today: date) -> str | None:
        """Do what is asked, or say why not."""
        match command:
            case OpenAccount(account=account):
                self.balances[account] = 0
                return None
            case Deposit():
                return self._move(None, command.account, command.amount_minor)
            case Withdraw():
                return self._move(command.account, None, command.amount_minor)
            case MakeTransfer():
                return self._move(command.from_account, command.to_account, command.amount_minor)
            case MakeAdvance():
                return self._lend(command, today)
            case Collect():
                return self._collect(command, today)
            case Repay():
                return self._repay(command)
            case WriteOff():
                return self._write_off(command)
            case _:
                raise ValueError(f"a simulation sends no {type(command).__name__}")

    def schedules(self) -> dict[int, list[tuple[Any, ...]]]:
        """When each instalment is due, its amount, what of it was rolled on to it, what is paid, and how it stands."""
        return {
            advance: [(each["due"], each["amount"], each["rolled"], each["paid"], each["state"]) for each in weeks]
            for advance, weeks in self.weeks.items()
        }

    def _lend(self, command: MakeAdvance, today: date) -> str | None:
        if command.amount_minor < command.instalments:
            return "amount_out_of_bounds"
        if any(_owed(self.weeks[id_]) for id_, name in self._borrowers.items() if name == command.account):
            return "advance_limit_reached"
        self.weeks[command.position] = weeks = []
        self._borrowers[command.position] = command.account
        left = command.amount_minor
        for number in range(command.instalments):
            # A fair share of what is left, rounded up: so the larger ones come first.
            share = -(-left // (command.instalments - number))
            left -= share
            weeks.append(_week((command.first_due_on or today + A_WEEK) + number * A_WEEK, share))
        return self._move(None, command.account, command.amount_minor)

    def _repay(self, command: Repay) -> str | None:
        weeks = self.weeks.get(command.advance or 0, [])
        if not _owed(weeks):
            return "advance_not_open"
        if command.amount_minor > _owed(weeks):
            return "repayment_above_remaining"
        if reason := self._move(command.account, None, command.amount_minor):
            return reason
        left = command.amount_minor
        for week in weeks:
            if week["state"] == "scheduled" and left:
                part = min(left, week["amount"] - week["paid"])
                left -= part
                week["paid"] += part
                if week["paid"] == week["amount"]:
                    week["state"] = "paid"
        return None

    def _write_off(self, command: WriteOff) -> str | None:
        weeks = self.weeks.get(command.advance or 0, [])
        if not _owed(weeks):
            return "advance_not_open"
        for each in weeks:
            if each["state"] == "scheduled":
                each["state"] = "written_off"
        return None

    def _collect(self, command: Collect, today: date) -> str | None:
        weeks = self.weeks.get(command.advance or 0, [])
        if command.instalment > len(weeks) or weeks[command.instalment - 1]["state"] != "scheduled":
            return "instalment_not_scheduled"
        week, later = weeks[command.instalment - 1], weeks[command.instalment :]
        if week["due"] > today:
            return "instalment_not_due"
        wanted = week["amount"] - week["paid"]
        reason = self._move(command.account, None, wanted)
        if reason is None:
            week["paid"], week["state"] = week["amount"], "paid"
            return None
        week["state"] = "missed"
        if not any(each["state"] == "scheduled" for each in later):
            weeks.append(_week(weeks[-1]["due"] + A_WEEK, 0))
            later = weeks[-1:]
        heir = next(each for each in later if each["state"] == "scheduled")
        heir["amount"] += wanted
        heir["rolled"] += wanted
        return reason

    def _move(self, source: str | None, target: str | None, amount: int) -> str | None:
        if source is not None:
            if self.balances[source] < amount:
                return "insufficient_funds"
            self.balances[source] -= amount
        if target is not None:
            self.balances[target] += amount
        return None


def _week(due: date, amount: int) -> dict[str, Any]:
    return {"due": due, "amount": amount, "rolled": 0, "paid": 0, "state": "scheduled"}


def _owed(weeks: list[dict[str, Any]]) -> int:
    return sum(each["amount"] - each["paid"] for each in weeks if each["state"] == "scheduled")
