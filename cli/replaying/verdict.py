"""Do the books say what the file says? Each transaction applied once or refused, and each balance their plain sum."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from cli.client import Account
from cli.replaying.sending import Replayed
from cli.replaying.transactions import Transaction
from processor.money import exponent, format_amount

_DIFFERENCES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """
    What the file's applied transactions make of an account, and what the account says.

    ``version`` counts the transfers that touched the account, and each applied deposit or withdrawal is one of them
    where there is no overdraft fee. ``None`` stands for an account that is not there, or not in the file's currency.
    """

    name: str
    applied: int
    expected_minor: int
    version: int | None
    balance_minor: int | None

    @property
    def balances(self) -> bool:
        """Whether the balance is the plain sum of what was applied."""
        return self.balance_minor == self.expected_minor

    @property
    def surplus(self) -> int:
        """Transfers beyond those of the file."""
        return max(0, (self.version or 0) - self.applied)

    @property
    def adds_up(self) -> bool:
        """Whether every applied transaction moved money once, and nothing else did."""
        return self.balances and self.version == self.applied


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a replay. ``accepted`` and ``replayed`` are the receipts that were new and those that were not."""

    currency: str
    sent: int
    commands: int
    accepted: int
    replayed: int
    applied: int
    refused: Mapping[str, int]
    failed: int
    accounts: Sequence[AccountCheck]
    seconds: float

    @property
    def settled(self) -> int:
        """Transactions that have their outcome."""
        return self.applied + sum(self.refused.values()) + self.failed

    @property
    def surplus(self) -> int:
        """Transfers that no transaction of the file accounts for."""
        return sum(account.surplus for account in self.accounts)

    @property
    def expected_minor(self) -> int:
        """What the balances must add up to."""
        return sum(account.expected_minor for account in self.accounts)

    @property
    def actual_minor(self) -> int:
        """What they do add up to."""
        return sum(account.balance_minor or 0 for account in self.accounts)

    @property
    def settled_per_second(self) -> int | None:
        """From the first request to the last outcome; ``None`` if there was nothing new to settle."""
        return round(self.accepted / self.seconds) if self.accepted else None

    @property
    def adds_up(self) -> bool:
        """Whether the books say exactly what the file says."""
        counts = {self.sent, self.commands, self.accepted + self.replayed, self.settled}
        return len(counts) == 1 and self.failed == 0 and all(account.adds_up for account in self.accounts)


def judge(transactions: Sequence[Transaction], replayed: Replayed, currency: str) -> Verdict:
    """Compare what the API says now with what the file asks for."""
    receipts = [replayed.receipts[each.id] for each in transactions]
    outcomes = [replayed.outcomes[receipt.position] for receipt in receipts]
    applied: Counter[str] = Counter()
    expected_minor: Counter[str] = Counter()
    for transaction, outcome in zip(transactions, outcomes, strict=True):
        if outcome.status == "applied":
            applied[transaction.account] += 1
            expected_minor[transaction.account] += transaction.effect_minor
    again = sum(receipt.replayed for receipt in receipts)
    return Verdict(
        currency=currency,
        sent=len(transactions),
        commands=len({receipt.position for receipt in receipts}),
        accepted=len(receipts) - again,
        replayed=again,
        applied=applied.total(),
        refused=Counter(each.reason or "no reason" for each in outcomes if each.status == "refused"),
        failed=sum(outcome.status == "failed" for outcome in outcomes),
        accounts=[
            AccountCheck(name, applied[name], expected_minor[name], *_state(account, currency))
            for name, account in replayed.accounts.items()
        ],
        seconds=replayed.seconds,
    )


def sentences(verdict: Verdict) -> Iterator[str]:
    """The verdict for a person."""
    yield (
        f"{verdict.sent:,} sent = {verdict.accepted:,} accepted + {verdict.replayed:,} replayed"
        f" = {verdict.settled:,} settled ({_outcomes(verdict)})"
    )
    if verdict.commands != verdict.sent:
        yield f"but these are {verdict.commands:,} commands only: some transactions share a receipt"
    if verdict.surplus:
        yield f"{verdict.surplus:,} transfers on the accounts are more than this file's"
    else:
        yield "0 twice: the version of an account counts its transfers, and no account has more than the file gave it"
    expected, actual = (_amount(minor, verdict) for minor in (verdict.expected_minor, verdict.actual_minor))
    yield f"expected total of all balances {expected}, actual total {actual}"
    balanced = sum(account.balances for account in verdict.accounts)
    yield f"{balanced:,} of {len(verdict.accounts):,} accounts hold the plain sum of their applied transactions"
    if verdict.settled_per_second is None:
        yield "every transaction was a replay: nothing was changed"
    else:
        rate, seconds = verdict.settled_per_second, verdict.seconds
        yield f"{rate:,} settled per second, {seconds:.1f} s from the first request to the last outcome"
    yield from _differences(verdict)
    yield "Everything adds up." if verdict.adds_up else "It does not add up."


def document(verdict: Verdict) -> dict[str, Any]:
    """The verdict for a program. Amounts are decimal strings."""
    return {
        "adds_up": verdict.adds_up,
        "currency": verdict.currency,
        "sent": verdict.sent,
        "commands": verdict.commands,
        "accepted": verdict.accepted,
        "replayed": verdict.replayed,
        "settled": verdict.settled,
        "applied": verdict.applied,
        "refused": dict(verdict.refused),
        "failed": verdict.failed,
        # With a surplus nobody can tell from here: the transfers may be another command's.
        "twice": None if verdict.surplus else 0,
        "surplus_transfers": verdict.surplus,
        "expected_total": format_amount(verdict.expected_minor, verdict.currency),
        "actual_total": format_amount(verdict.actual_minor, verdict.currency),
        "accounts": len(verdict.accounts),
        "accounts_balanced": sum(account.balances for account in verdict.accounts),
        "differences": {account.name: _difference(account, verdict) for account in _wrong(verdict)},
        "seconds": round(verdict.seconds, 3),
        "settled_per_second": verdict.settled_per_second,
    }


def _state(account: Account | None, currency: str) -> tuple[int | None, int | None]:
    if account is None or account.currency != currency:
        return None, None
    return account.version, int(Decimal(account.balance).scaleb(exponent(currency)))


def _outcomes(verdict: Verdict) -> str:
    refused = "".join(f", {count:,} refused for {reason}" for reason, count in sorted(verdict.refused.items()))
    failed = f", {verdict.failed:,} failed" if verdict.failed else ""
    return f"{verdict.applied:,} applied{refused or ', 0 refused'}{failed}"


def _differences(verdict: Verdict) -> Iterator[str]:
    wrong = _wrong(verdict)
    for account in wrong[:_DIFFERENCES_SHOWN]:
        yield f"account {account.name}: {_difference(account, verdict)}"
    if len(wrong) > _DIFFERENCES_SHOWN:
        yield f"and {len(wrong) - _DIFFERENCES_SHOWN:,} more accounts"
    if verdict.surplus:
        yield (
            "Either other commands than those of this file use these accounts, or a transaction was applied twice. "
            "A replay on a new data directory tells which."
        )


def _wrong(verdict: Verdict) -> list[AccountCheck]:
    return [account for account in verdict.accounts if not account.adds_up]


def _difference(account: AccountCheck, verdict: Verdict) -> str:
    if account.version is None or account.balance_minor is None:
        return f"there is no such account in {verdict.currency}"
    balance, expected = (_amount(minor, verdict) for minor in (account.balance_minor, account.expected_minor))
    return (
        f"{account.version:,} transfers for {account.applied:,} applied transactions, "
        f"balance {balance} where their sum is {expected}"
    )


def _amount(amount_minor: int, verdict: Verdict) -> str:
    return f"{format_amount(amount_minor, verdict.currency)} {verdict.currency}"
