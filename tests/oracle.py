"""The money rules once more, in plain dictionaries and without a thought for speed: what the engine is measured by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, Final

from processor.domain.advances import Advance
from processor.domain.books import Account, Done
from processor.domain.commands import Command
from processor.domain.holds import Hold
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
    "PlaceHold": "place_hold",
    "CaptureHold": "capture_hold",
    "ReleaseHold": "release_hold",
    "ExpireHold": "expire_hold",
    "Freeze": "freeze",
    "Unfreeze": "unfreeze",
    "Close": "close",
    "SetLimits": "set_limits",
    "Reverse": "reverse",
    "Adjust": "adjust",
}
NO_COUNT: Final = 2147483647
NO_AMOUNT: Final = 9007199254740991
"""What somebody says who wants no limit of a day."""

REVERSIBLE: Final = {"deposit", "withdrawal", "overdraft_fee", "transfer", "capture", "adjustment"}
PRECEDENCE: Final = ["account_not_open", "insufficient_funds", "balance_limit_exceeded"]


class Bank:
    """Takes one command after the other and remembers who has what, who owes what, and what moved for which command."""

    def __init__(
        self,
        *,
        partial_collection: bool = False,
        max_live_advances: int = 1,
        bounds: Mapping[tuple[str, str], tuple[int, int]] | None = None,
        overdrafts: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.partial_collection = partial_collection
        self.max_live_advances = max_live_advances
        self.bounds = bounds or {}
        self.overdrafts = overdrafts or {}
        self.accounts: dict[str, dict[str, Any]] = {}
        self.advances: dict[int, dict[str, Any]] = {}
        """By the position of the command: account, currency, what was lent, and every week."""
        self.holds: dict[int, dict[str, Any]] = {}
        """By the position of the command: account, currency, amount, when it expires, and how it stands."""
        self.said: dict[int, str] = {}
        """What was answered, by position."""
        self.moved: dict[int, list[tuple[str, str, str, int]]] = {}
        """What for, from where, to where and how much, by position."""
        self.reversed: set[int] = set()
        self.own = Counter[str]()
        """What the bank's own accounts have, by name: below zero for what the outside world owes."""
        self._position = 0

    def knows(self, account: Account) -> None:
        """Begin with an account as it is."""
        self.accounts[account.name] = {
            "currency": account.currency,
            "status": account.status.value,
            "in": account.credits_minor,
            "out": account.debits_minor,
            "limit": account.overdraft_limit_minor,
            "fee": account.overdraft_fee_minor,
            "daily_count": account.daily.count,
            "daily_amount": account.daily.amount_minor,
            # How many and how much, by day.
            "days": {account.daily.on: [account.daily.used, account.daily.used_minor]},
        }

    def holds_for(self, hold: Hold) -> None:
        """Begin with a hold as it is."""
        self.holds[hold.id] = {
            "account": hold.account,
            "currency": hold.currency,
            "amount": hold.amount_minor,
            "until": hold.expires_at,
            "state": hold.state.value,
        }

    def remembers(self, done: Done) -> None:
        """Begin with an earlier command and what became of it."""
        self.said[done.position] = done.status.value
        self.moved[done.position] = [
            (each.kind.value, each.debit.account, each.credit.account, each.amount_minor) for each in done.transfers
        ]
        if done.reversed_by is not None:
            self.reversed.add(done.position)

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
        self,
        command: Command | CommandBody,
        *,
        today: date = date.min,
        now: datetime | None = None,
        position: int = 0,
        advance: int | None = None,
        hold: int | None = None,
        reverses: int | None = None,
    ) -> Answer:
        """
        Do what is asked, or say why not.

        A body does not say its own position, nor those of what it names: they are given beside it.
        """
        beside = {"advance": advance, "hold": hold, "reverses": reverses}
        asked: dict[str, Any] = {
            "position": position,
            "today": today,
            "now": now,
            "type": TYPES.get(type(command).__name__),
            **asdict(command),
        }
        asked.update({name: value for name, value in beside.items() if value is not None or name not in asked})
        self._position = asked["position"]
        self.moved[self._position] = []
        reason = getattr(self, f"_{asked['type']}")(asked)
        self.said[self._position] = "refused" if reason else "applied"
        return ("refused", reason) if reason else ("applied", None)

    def take_linked(self, asked: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Do all that is asked, each with what is beside it; or nothing, and say which one was in the way."""
        before = deepcopy(self.__dict__)
        answers: list[Answer] = []
        for each in asked:
            answers.append(self.take(**each))
            if answers[-1][0] == "refused":
                culprit = len(answers) - 1
                self.__dict__.update(before)
                answers = [("refused", "linked_command_refused")] * culprit + [answers[-1]]
                answers += [("refused", "linked_command_refused")] * (len(asked) - len(answers))
                for other in asked:
                    position: int = other.get("position") or other["command"].position
                    self.said[position], self.moved[position] = "refused", []
                break
        return answers

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

    def held(self, name: str) -> int:
        """What is promised to somebody."""
        return sum(hold["amount"] for hold in self.holds.values() if hold["account"] == name and self._is_held(hold))

    def _open_account(self, asked: Mapping[str, Any]) -> str | None:
        if asked["account"] in self.accounts:
            return "account_already_exists"
        limit, fee = self.overdrafts.get(asked["currency"], (0, 0))
        self.accounts[asked["account"]] = {
            "currency": asked["currency"],
            "status": "open",
            "in": 0,
            "out": 0,
            "limit": limit if asked["overdraft_limit_minor"] is None else asked["overdraft_limit_minor"],
            "fee": fee if asked["overdraft_fee_minor"] is None else asked["overdraft_fee_minor"],
            "daily_count": NO_COUNT,
            "daily_amount": NO_AMOUNT,
            "days": {},
        }
        return None

    def _deposit(self, asked: Mapping[str, Any]) -> str | None:
        target, amount = asked["account"], asked["amount_minor"]
        return (
            self._wrong(asked, target)
            or self._closed(target, credit=True)
            or self._unusual(asked)
            or self._full(target, "in", amount)
            or self._move("deposit", f"@settlement:{asked['currency']}", target, amount)
        )

    def _withdraw(self, asked: Mapping[str, Any]) -> str | None:
        source, amount, currency = asked["account"], asked["amount_minor"], asked["currency"]
        if reason := self._wrong(asked, source) or self._closed(source) or self._unusual(asked):
            return reason
        if reason := self._too_much_today(source, asked):
            return reason
        fee = self.accounts[source]["fee"] if self.balance(source) - amount < 0 else 0
        # A fee may take the account below its limit, but it may not take what is promised to somebody.
        if reason := self._poor(source, amount + fee if self.held(source) else amount):
            return reason
        if self._full(source, "out", amount + fee):
            return "balance_limit_exceeded"
        self._use_day(source, asked)
        self._move("withdrawal", source, f"@settlement:{currency}", amount)
        if fee:
            self._move("overdraft_fee", source, f"@fee_income:{currency}", fee)
        return None

    def _transfer(self, asked: Mapping[str, Any]) -> str | None:
        source, target, amount = asked["from_account"], asked["to_account"], asked["amount_minor"]
        reason = (
            self._wrong(asked, source, target)
            or self._closed(source)
            or self._closed(target, credit=True)
            or self._unusual(asked)
            or self._too_much_today(source, asked)
            or self._poor(source, amount)
            or self._full(source, "out", amount)
            or self._full(target, "in", amount)
        )
        if not reason:
            self._use_day(source, asked)
            self._move("transfer", source, target, amount)
        return reason

    def _place_hold(self, asked: Mapping[str, Any]) -> str | None:
        source, amount, until, now = asked["account"], asked["amount_minor"], asked["expires_at"], asked["now"]
        if reason := self._wrong(asked, source) or self._closed(source) or self._unusual(asked):
            return reason
        if until is not None and (until <= now or until > now + timedelta(days=366)):
            return "expiry_out_of_bounds"
        reason = self._too_much_today(source, asked) or self._poor(source, amount) or self._full(source, "out", amount)
        if not reason:
            self._use_day(source, asked)
            self.holds[asked["position"]] = {
                "account": source,
                "currency": asked["currency"],
                "amount": amount,
                "until": until,
                "state": "held",
            }
        return reason

    def _capture_hold(self, asked: Mapping[str, Any]) -> str | None:
        source, target = asked["account"], asked["to_account"]
        if target is not None and target not in self.accounts:
            return "account_not_found"
        if reason := self._no_hold(asked):
            return reason
        hold = self.holds[asked["hold"]]
        if target is not None and self.accounts[target]["currency"] != asked["currency"]:
            return "currency_mismatch"
        if not self._is_held(hold):
            return "hold_not_open"
        if hold["until"] is not None and hold["until"] <= asked["now"]:
            return "hold_expired"
        if self._closed(source) or (target is not None and self._closed(target, credit=True)):
            return "account_not_open"
        amount = hold["amount"] if asked["amount_minor"] is None else asked["amount_minor"]
        if amount > hold["amount"]:
            return "capture_above_held"
        if target is not None and self._full(target, "in", amount):
            return "balance_limit_exceeded"
        hold["state"] = "captured"
        return self._move("capture", source, target or f"@settlement:{asked['currency']}", amount)

    def _release_hold(self, asked: Mapping[str, Any]) -> str | None:
        if reason := self._no_hold(asked):
            return reason
        hold = self.holds[asked["hold"]]
        if not self._is_held(hold):
            return "hold_not_open"
        hold["state"] = "released"
        return None

    def _expire_hold(self, asked: Mapping[str, Any]) -> str | None:
        if reason := self._no_hold(asked):
            return reason
        hold = self.holds[asked["hold"]]
        if not self._is_held(hold):
            return "hold_not_open"
        if hold["until"] is None or hold["until"] > asked["now"]:
            return "hold_not_expired"
        hold["state"] = "expired"
        return None

    def _freeze(self, asked: Mapping[str, Any]) -> str | None:
        reason = self._wrong(asked, asked["account"]) or self._closed(asked["account"])
        if not reason:
            self.accounts[asked["account"]]["status"] = "frozen"
        return reason

    def _unfreeze(self, asked: Mapping[str, Any]) -> str | None:
        if reason := self._wrong(asked, asked["account"]):
            return reason
        account = self.accounts[asked["account"]]
        if account["status"] != "frozen":
            return "account_not_frozen"
        account["status"] = "open"
        return None

    def _close(self, asked: Mapping[str, Any]) -> str | None:
        name = asked["account"]
        if reason := self._wrong(asked, name) or self._closed(name, credit=True):
            return reason
        if self.balance(name):
            return "account_not_empty"
        if self.held(name):
            return "account_has_holds"
        if any(each["account"] == name and self.owed(position) for position, each in self.advances.items()):
            return "account_has_advances"
        self.accounts[name]["status"] = "closed"
        return None

    def _set_limits(self, asked: Mapping[str, Any]) -> str | None:
        name = asked["account"]
        if reason := self._wrong(asked, name) or self._closed(name, credit=True):
            return reason
        wanted = {
            "limit": asked["overdraft_limit_minor"],
            "fee": asked["overdraft_fee_minor"],
            "daily_count": asked["daily_count"],
            "daily_amount": asked["daily_amount_minor"],
        }
        account = self.accounts[name]
        new = {**account, **{key: value for key, value in wanted.items() if value is not None}}
        # Nobody is put below his own floor.
        is_less = new["limit"] < account["limit"] or new["fee"] < account["fee"]
        if is_less and self.balance(name) - self.held(name) + new["limit"] < 0:
            return "overdraft_below_balance"
        self.accounts[name] = new
        if not self._counts(name):
            new["days"] = {}
        return None

    def _reverse(self, asked: Mapping[str, Any]) -> str | None:
        position = asked["reverses"]
        if self.said.get(position) != "applied":
            return "command_not_applied"
        moves = self.moved[position]
        if not moves or {kind for kind, *_ in moves} - REVERSIBLE:
            return "command_not_reversible"
        if position in self.reversed:
            return "command_already_reversed"
        leaves, comes = Counter[str](), Counter[str]()
        for _, source, target, amount in moves:
            leaves[target] += amount
            comes[source] += amount
        if reason := self._cannot(leaves, comes, asked["force"]):
            return reason
        self.reversed.add(position)
        for _, source, target, amount in reversed(moves):
            self._move("reversal", target, source, amount)
        return None

    def _adjust(self, asked: Mapping[str, Any]) -> str | None:
        source, target, amount = asked["from_account"], asked["to_account"], asked["amount_minor"]
        names = [name for name in (source, target) if not name.startswith("@")]
        own = [name for name in (source, target) if name.startswith("@")]
        if any(name not in self.accounts for name in names):
            return "account_not_found"
        if any(not name.endswith(":" + asked["currency"]) for name in own) or self._wrong(asked, *names):
            return "currency_mismatch"
        return self._cannot({source: amount}, {target: amount}, asked["force"]) or self._move(
            "adjustment", source, target, amount
        )

    def _cannot(self, leaves: Mapping[str, int], comes: Mapping[str, int], force: bool) -> str | None:
        """The first of the reasons why money cannot leave some accounts and come to others."""
        reasons: set[str | None] = set()
        for name, amount in leaves.items():
            if name in self.accounts:
                reasons.add(self._closed(name, credit=force))
                reasons.add(None if force else self._poor(name, amount))
                reasons.add(self._full(name, "out", amount))
        for name, amount in comes.items():
            if name in self.accounts:
                reasons.add(self._closed(name, credit=True))
                reasons.add(self._full(name, "in", amount))
        return next((reason for reason in PRECEDENCE if reason in reasons), None)

    def _no_hold(self, asked: Mapping[str, Any]) -> str | None:
        if asked["account"] not in self.accounts:
            return "account_not_found"
        hold = self.holds.get(asked["hold"])
        if hold is None or hold["account"] != asked["account"]:
            return "hold_not_found"
        return None if hold["currency"] == asked["currency"] else "currency_mismatch"

    def _is_held(self, hold: Mapping[str, Any]) -> bool:
        return bool(hold["state"] == "held")

    def _unusual(self, asked: Mapping[str, Any]) -> str | None:
        smallest, largest = self.bounds.get((asked["type"], asked["currency"]), (1, LARGEST))
        return None if smallest <= asked["amount_minor"] <= largest else "amount_out_of_bounds"

    def _counts(self, name: str) -> bool:
        account = self.accounts[name]
        return bool(account["daily_count"] != NO_COUNT or account["daily_amount"] != NO_AMOUNT)

    def _too_much_today(self, name: str, asked: Mapping[str, Any]) -> str | None:
        account = self.accounts[name]
        count, amount = account["days"].get(asked["today"], (0, 0))
        if account["daily_count"] != NO_COUNT and count + 1 > account["daily_count"]:
            return "limit_exceeded"
        if account["daily_amount"] != NO_AMOUNT and amount + asked["amount_minor"] > account["daily_amount"]:
            return "limit_exceeded"
        return None

    def _use_day(self, name: str, asked: Mapping[str, Any]) -> None:
        if self._counts(name):
            count, amount = self.accounts[name]["days"].get(asked["today"], (0, 0))
            self.accounts[name]["days"] = {asked["today"]: [count + 1, amount + asked["amount_minor"]]}

    def _advance(self, asked: Mapping[str, Any]) -> str | None:
        target, amount, count, today = asked["account"], asked["amount_minor"], asked["instalments"], asked["today"]
        first = asked["first_due_on"] or today + timedelta(days=7)
        if reason := self._wrong(asked, target) or self._closed(target):
            return reason
        if amount < count or self._unusual(asked):
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
        return self._move("advance", f"@advances_receivable:{asked['currency']}", target, amount)

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
        self._move("repayment", source, f"@advances_receivable:{asked['currency']}", left)
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
        currency = asked["currency"]
        return self._move("write_off", f"@credit_loss:{currency}", f"@advances_receivable:{currency}", owed)

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
            has = self.balance(source) - self.held(source) + self.accounts[source]["limit"]
            takes_part = self.partial_collection and reason == "insufficient_funds" and has > 0
            taken = has if takes_part and not self._full(source, "out", has) else 0
        if taken:
            self._move("collection", source, f"@advances_receivable:{asked['currency']}", taken)
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
        has = self.balance(name) - self.held(name)
        return "insufficient_funds" if has - amount < -self.accounts[name]["limit"] else None

    def _full(self, name: str, total: str, amount: int) -> str | None:
        # What is on hold may be debited any day: the room for it is taken.
        reserved = self.held(name) if total == "out" else 0
        return "balance_limit_exceeded" if self.accounts[name][total] + reserved + amount > LARGEST else None

    def _move(self, kind: str, source: str, target: str, amount: int) -> str | None:
        self.moved[self._position].append((kind, source, target, amount))
        for name, total, sign in ((source, "out", -1), (target, "in", 1)):
            if name in self.accounts:
                self.accounts[name][total] += amount
            else:
                self.own[name] += sign * amount
        return None
