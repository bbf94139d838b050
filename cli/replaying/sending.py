"""Opens the accounts, sends the transactions in the order of the file, and waits until each has its outcome."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.client import Account, Client, ClientError, Outcome, Receipt, Rejection
from cli.replaying.transactions import Transaction
from processor.money import format_amount

CHUNK: Final = 5_000
"""Commands of one request."""

LANES: Final = 2
"""Requests in flight. An account's commands keep to one lane, and a lane sends on when its last request is answered."""

_LOOK_EVERY_S: Final = 0.2
_ACCOUNTS_AT_ONCE: Final = 8
_REJECTIONS_SHOWN: Final = 3

Tell = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the API answered: the receipt of each transaction by its id, outcomes by position, accounts by name."""

    receipts: Mapping[str, Receipt]
    outcomes: Mapping[int, Outcome]
    accounts: Mapping[str, Account | None]
    seconds: float


async def replay(
    client: Client,
    transactions: Sequence[Transaction],
    *,
    currency: str,
    overdraft_limit_minor: int,
    patience_s: float,
    tell: Tell,
) -> Replayed:
    """
    Send everything, wait until it is settled, and read the accounts.

    ``tell`` hears how many commands there are, how many have a receipt and how many an outcome. Raises ``ClientError``
    if the API rejects a command, is away for longer than ``patience_s``, or settles nothing for that long.
    """
    names = list(dict.fromkeys(each.account for each in transactions))
    lane_of = {name: number % LANES for number, name in enumerate(names)}
    lanes: list[list[_Line]] = [[] for _ in range(LANES)]
    for name in names:
        lanes[lane_of[name]].append(_opening(name, currency, overdraft_limit_minor))
    for transaction in transactions:
        lanes[lane_of[transaction.account]].append(_line(transaction, currency))

    progress = _Progress(len(names) + len(transactions), patience_s, tell)
    started = time.monotonic()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch(client, progress))
            for lane in lanes:
                tasks.create_task(_send(client, lane, progress))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    seconds = progress.news_at - started
    receipts = {each.id: progress.receipts[_key(each)] for each in transactions}
    return Replayed(receipts, progress.outcomes, await _accounts(client, names), seconds)


@dataclass(frozen=True, slots=True)
class _Line:
    """A command to send, and how a person finds it."""

    command: Mapping[str, Any]
    words: str


def _opening(account: str, currency: str, overdraft_limit_minor: int) -> _Line:
    command = {
        "idempotency_key": f"replay:open:{account}",
        "type": "open_account",
        "account": account,
        "currency": currency,
        "overdraft_limit": format_amount(overdraft_limit_minor, currency),
        "overdraft_fee": "0",
    }
    return _Line(command, f"the opening of account {account}")


def _line(transaction: Transaction, currency: str) -> _Line:
    command = {
        "idempotency_key": _key(transaction),
        "type": transaction.type,
        "account": transaction.account,
        "amount": format_amount(transaction.amount_minor, currency),
        "currency": currency,
        "reference": transaction.reference,
    }
    return _Line(command, f"line {transaction.line}, id {transaction.id}")


def _key(transaction: Transaction) -> str:
    return f"replay:{transaction.id}"


class _Progress:
    """What is known so far of ``expected`` commands, and since when nothing new has come."""

    def __init__(self, expected: int, patience_s: float, tell: Tell) -> None:
        self.receipts: dict[str, Receipt] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.news_at = time.monotonic()
        self._expected = expected
        self._patience_s = patience_s
        self._tell = tell

    def note_receipts(self, receipts: Mapping[str, Receipt]) -> None:
        self.receipts.update(receipts)
        self._note_news()

    def note_outcomes(self, outcomes: Mapping[int, Outcome]) -> None:
        before = len(self.outcomes)
        self.outcomes.update(outcomes)
        if len(self.outcomes) > before:
            self._note_news()

    def unsettled(self) -> set[int]:
        """The positions of the commands that have a receipt and, as far as we know, no outcome."""
        return {receipt.position for receipt in self.receipts.values()} - self.outcomes.keys()

    def is_complete(self) -> bool:
        return len(self.receipts) == self._expected and not self.unsettled()

    def check_patience(self) -> None:
        unsettled = len(self.unsettled())
        if unsettled and time.monotonic() - self.news_at > self._patience_s:
            raise ClientError(
                f"{unsettled:,} commands are accepted, but none has settled for {self._patience_s:g} s: see that the "
                "workers run. Nothing is lost: run the same command again, and it continues"
            )

    def _note_news(self) -> None:
        self.news_at = time.monotonic()
        self._tell(self._expected, len(self.receipts), len(self.receipts) - len(self.unsettled()))


async def _send(client: Client, lane: Sequence[_Line], progress: _Progress) -> None:
    for start in range(0, len(lane), CHUNK):
        chunk = lane[start : start + CHUNK]
        answers = await client.submit([line.command for line in chunk])
        rejected = [
            f"{line.words}: {answer.message}"
            for line, answer in zip(chunk, answers, strict=True)
            if isinstance(answer, Rejection)
        ]
        if rejected:
            raise ClientError(_summary(rejected))
        progress.note_receipts(
            {
                line.command["idempotency_key"]: answer
                for line, answer in zip(chunk, answers, strict=True)
                if isinstance(answer, Receipt)
            }
        )


def _summary(rejected: Sequence[str]) -> str:
    shown = "\n".join(rejected[:_REJECTIONS_SHOWN])
    more = f"\nand {len(rejected) - _REJECTIONS_SHOWN:,} more" if len(rejected) > _REJECTIONS_SHOWN else ""
    return (
        f"the API rejected {len(rejected):,} commands, so no more were sent:\n{shown}{more}\n"
        "Run it with the file and the options of the first time, or against a new data directory"
    )


async def _watch(client: Client, progress: _Progress) -> None:
    """Look at the list of commands, now and then, until everything is settled."""
    while not progress.is_complete():
        progress.check_patience()
        await asyncio.sleep(_LOOK_EVERY_S)
        await _look(client, progress)


async def _look(client: Client, progress: _Progress) -> None:
    """Read the pages that hold something unsettled, up to the first on which nothing is settled yet."""
    unsettled = deque(sorted(progress.unsettled()))
    while unsettled:
        page = await client.outcomes_after(unsettled[0] - 1)
        progress.note_outcomes(page.outcomes)
        if page.following is None or (page.has_pending and not page.outcomes):
            return
        while unsettled and unsettled[0] <= page.following:
            unsettled.popleft()


async def _accounts(client: Client, names: Sequence[str]) -> dict[str, Account | None]:
    turn = asyncio.Semaphore(_ACCOUNTS_AT_ONCE)

    async def read(name: str) -> Account | None:
        async with turn:
            return await client.account(name)

    return dict(zip(names, await asyncio.gather(*(read(name) for name in names)), strict=True))
