"""The whole engine against a naive bank: whatever clients send and whatever becomes of the messages."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from uuid import uuid4

import pytest

from processor import clock
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.store import locks
from processor.store.books import InLine
from processor.submissions import CommandBody, KeyConflict, Receipt, Submission
from processor.sweep import Sweeper
from tests.builders import (
    adjust,
    advance,
    capture_hold,
    close,
    deposit,
    freeze,
    opening,
    place_hold,
    release_hold,
    repay,
    reverse,
    set_limits,
    submit,
    transfer,
    unfreeze,
    withdraw,
    write_off,
)
from tests.conftest import Database
from tests.engine import Engine, counted, running_engine
from workers.messages import Batch, batches

STEPS = 300
WORKERS = 3


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """A bank on its first day."""
    with running_engine(database, threads=WORKERS) as engine:
        yield engine


class RandomWalk:
    """Clients that repeat and contradict themselves, a queue that loses, repeats and reorders: drawn from a seed."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.random = Random(seed)
        self.engine = engine
        self.names = [f"customer.{number}" for number in range(self.random.randint(3, 9))]
        self.sent: list[tuple[Submission, Receipt]] = []
        self.collects = 0
        self.expiries = 0

    def run(self) -> None:
        """Some hundred steps, and then everything that is still to be done."""
        with ThreadPoolExecutor(WORKERS) as self.threads:
            steps: list[Callable[[], None]] = [
                *[self.ask] * 5,
                *[self.deliver] * 5,
                *[self.repeat, self.contradict, self.deliver_twice, self.deliver_a_mixture, self.lose, self.tick],
            ]
            for step in range(STEPS):
                self.random.choice(steps)()
                if step % 10 == 0:
                    self.notice()
        self.engine.drain(workers=WORKERS, order=self.random)
        assert self.sweep() == len(self.engine.pending())
        self.engine.drain(workers=WORKERS)

    def any_body(self) -> CommandBody:
        """Mostly sensible: of customers that exist or will, in a currency that is mostly theirs."""
        one, other = self.random.sample([*self.names, "nobody"], 2)
        currency = self.random.choice(("USD",) * 9 + ("JPY",))
        amount_minor = self.random.choice((1, 50, 500, 1_000, 2_000, 10_000))
        overdraft = self.random.choice(((0, 0), (10_000, 1_500), (1_000, 0)))
        kinds: list[Callable[[], CommandBody]] = [
            lambda: opening(one, currency, overdraft_limit_minor=overdraft[0], overdraft_fee_minor=overdraft[1]),
            *[lambda: deposit(one, amount_minor, currency)] * 2,
            *[lambda: withdraw(one, amount_minor, currency)] * 3,
            *[lambda: transfer(one, other, amount_minor, currency)] * 3,
            lambda: self.any_advance(one, currency),
            lambda: self.any_repayment(amount_minor),
            *[lambda: place_hold(one, amount_minor, currency, expires_at=self.any_expiry())] * 2,
            *[lambda: self.any_end_of_a_hold(one, amount_minor)] * 2,
            lambda: self.any_reversal(currency),
            lambda: self.any_adjustment(one, other, amount_minor, currency),
            lambda: self.any_change(one, currency),
        ]
        return self.random.choice(kinds)()

    def any_expiry(self) -> datetime | None:
        """Never, soon, later, or when the command is decided too late."""
        seconds = self.random.choice((None, None, 0.3, 1, 3_600, 0))
        return None if seconds is None else clock.now() + timedelta(seconds=seconds)

    def any_end_of_a_hold(self, other: str, amount_minor: int) -> CommandBody:
        """Of a hold that somebody asked for, by him or by another; whole, in part, for less or more than is there."""
        asked = [submission for submission, _ in self.sent if submission.body.type == "place_hold"]
        if not asked:
            return release_hold("nobody", uuid4())
        one = self.random.choice(asked)
        account = self.random.choice((*[one.body.account or ""] * 9, other))
        if self.random.random() < 0.3:
            return release_hold(account, one.id, one.body.currency)
        part, to_account = self.random.choice((None, amount_minor)), self.random.choice((None, other))
        target = None if to_account == account else to_account
        return capture_hold(account, one.id, part, one.body.currency, to_account=target)

    def any_reversal(self, currency: str) -> CommandBody:
        """Of whatever somebody asked for: undecided, reversed already, a reversal itself; now and then by force."""
        if not self.sent:
            return reverse(uuid4(), deposit("nobody", 1, currency))
        one, _ = self.random.choice(self.sent)
        return reverse(one.id, one.body, force=self.random.random() < 0.3)

    def any_adjustment(self, one: str, other: str, amount_minor: int, currency: str) -> CommandBody:
        """Between customers, and to or from the bank."""
        own = f"@suspense:{currency}"
        source, target = self.random.choice(((one, other), (one, own), (own, one)))
        return adjust(source, target, amount_minor, currency, force=self.random.random() < 0.3)

    def any_change(self, one: str, currency: str) -> CommandBody:
        """What an account may do; it is seldom closed, and more often let go than frozen."""
        kinds: list[Callable[[], CommandBody]] = [
            lambda: freeze(one, currency),
            *[lambda: unfreeze(one, currency)] * 3,
            lambda: close(one, currency),
            lambda: set_limits(one, currency, daily_count=self.random.choice((2, 5, UNLIMITED_COUNT))),
            lambda: set_limits(one, currency, daily_amount_minor=self.random.choice((1_500, UNLIMITED_MINOR))),
            *[
                lambda: set_limits(
                    one,
                    currency,
                    overdraft_limit_minor=self.random.choice((0, 1_000, 10_000)),
                    overdraft_fee_minor=self.random.choice((None, 0, 1_500)),
                )
            ]
            * 2,
        ]
        return self.random.choice(kinds)()

    def any_advance(self, account: str, currency: str) -> CommandBody:
        """Due at once, tomorrow, or in weeks that are long over: then it is refused."""
        first_due_on = clock.now().date() + timedelta(days=self.random.choice((0, 0, 0, 1, -1)))
        instalments = self.random.choice((1, 2, 12))
        return advance(
            account, self.random.choice((1, 120, 1_001)), currency, instalments=instalments, first_due_on=first_due_on
        )

    def any_repayment(self, amount_minor: int) -> CommandBody:
        """Of an advance that somebody asked for, by him or by somebody else; or the bank gives it up."""
        asked = [submission for submission, _ in self.sent if submission.body.type == "advance"]
        if not asked:
            return repay("nobody", uuid4(), amount_minor)
        one, other = self.random.choice(asked), self.random.choice((*asked, None))
        account = (other or one).body.account or ""
        if self.random.random() < 0.2:
            return write_off(account, one.id, one.body.currency)
        return repay(account, one.id, amount_minor, one.body.currency)

    def tick(self) -> None:
        """Two schedulers, each of which believes that it leads, say that it is time."""
        collectors = [self.engine.another_collector() for _ in range(2)]
        self.collects += sum(self.threads.map(lambda each: each.collect(), collectors))
        self.expiries += sum(self.threads.map(lambda _: self.engine.expire_holds(), range(2)))

    def ask(self) -> None:
        """One request, or several in one."""
        sent = [submit(self.any_body()) for _ in range(self.random.choice((1, 1, 2, 12)))]
        for submission, answer in zip(sent, self.engine.answers(sent), strict=True):
            assert isinstance(answer, Receipt)
            assert not answer.replayed
            self.sent.append((submission, answer))

    def repeat(self) -> None:
        """The same request under the same key: the same receipt, and no second command."""
        if self.sent:
            submission, receipt = self.random.choice(self.sent)
            again = submit(submission.body, key=submission.idempotency_key)

            assert self.engine.answers([again, again]) == [replace(receipt, replayed=True)] * 2

    def contradict(self) -> None:
        """Another request under a used key: turned away, whatever became of the first."""
        if self.sent:
            submission, _ = self.random.choice(self.sent)
            other = self.any_body()
            (answer,) = self.engine.answers([submit(other, key=submission.idempotency_key)])

            assert isinstance(answer, Receipt) is (other == submission.body)
            assert isinstance(answer, KeyConflict) is (other != submission.body)

    def deliver(self) -> None:
        """Some messages at once, in any order."""
        self.random.shuffle(self.engine.queue)
        some, self.engine.queue = self.engine.queue[:WORKERS], self.engine.queue[WORKERS:]
        list(self.threads.map(self.engine.handle, some))

    def deliver_twice(self) -> None:
        """Two workers get the same message in the same moment, and a third keeps it for later."""
        if self.engine.queue:
            message = self.random.choice(self.engine.queue)
            list(self.threads.map(self.engine.handle, [message] * 2))

    def deliver_a_mixture(self) -> None:
        """A message that names commands of several others, old and new ones, and not all of their accounts."""
        if self.sent:
            some = self.random.sample(self.sent, min(len(self.sent), 8))
            keys = {key for submission, _ in some for key in submission.body.account_keys()}
            kept = self.random.sample(sorted(keys), self.random.randint(1, min(len(keys), locks.MAX_KEYS)))
            self.engine.handle(Batch([receipt.position for _, receipt in some], kept))

    def lose(self) -> None:
        """Redis forgets a message."""
        if self.engine.queue:
            self.engine.queue.pop(self.random.randrange(len(self.engine.queue)))

    def sweep(self) -> int:
        """The sweeper of a minute later."""
        return Sweeper(
            self.engine.pool,
            self,
            now=lambda: clock.now() + timedelta(minutes=1),
            stranded_after=timedelta(seconds=3),
        ).sweep()

    def is_empty(self) -> bool:
        """The queue, as the sweeper sees it."""
        return not self.engine.queue

    def send(self, waiting: Sequence[InLine]) -> None:
        """The same."""
        self.engine.queue += batches(waiting)

    def notice(self) -> None:
        """What must hold at every instant, whatever is still to be done."""
        assert not self.engine.rows("""
            SELECT name FROM account
            WHERE credits_minor - debits_minor - held_minor
                < -(overdraft_limit_minor + overdraft_fee_minor + forced_minor)
        """)
        assert not self.engine.rows("""
            SELECT name FROM account WHERE held_minor <> (
                SELECT coalesce(sum(amount_minor), 0) FROM hold WHERE account_id = account.id AND state = 'held'
            )
        """)
        assert not self.engine.rows("""
            SELECT position FROM command LEFT JOIN outcome USING (position)
            WHERE (outcome.position IS NULL) <> (position IN (SELECT position FROM pending))
        """)


@pytest.fixture(params=["bounds of a bank", "bounds of a village"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and transactions as large as they are, or so small that every batch is divided, widened and sent on."""
    if request.param == "bounds of a village":
        for module in ("processor.apply", "processor.lines", "workers.messages"):
            monkeypatch.setattr(f"{module}.MAX_COMMANDS", 5)
        for module in ("processor.store.locks", "workers.messages"):
            monkeypatch.setattr(f"{module}.MAX_KEYS", 6)


@pytest.mark.parametrize("seed", range(3))
def test_the_books_are_those_of_a_naive_bank_that_took_one_receipt_after_the_other(
    engine: Engine, bounds: None, seed: int
) -> None:
    """The promises together: nothing accepted is lost, nothing is done twice, and every account is served in order."""
    walk = RandomWalk(engine, seed)
    walk.run()

    assert len(walk.sent) > 80
    assert walk.collects > 0
    assert len(engine.outcomes()) == len(walk.sent) + walk.collects + walk.expiries
    assert set(counted(engine.outcomes())) == {"applied", "refused"}
    engine.assert_as_one_by_one()
    assert engine.breaks() == []
