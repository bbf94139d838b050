"""Intake, applier and collector of one database in this process; in place of Redis stands a list of messages."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Self

from uuid_utils.compat import uuid7

from processor import pools
from processor.accepting import Submit, accepting
from processor.apply import Applied, Applier, Pool
from processor.collect import Collector
from processor.domain.rules import Rules
from processor.emitting import Emitter
from processor.expire import Expirer
from processor.intake import Accepted
from processor.submissions import Answer, CommandBody, Linked, Receipt, Submission
from workers.messages import Batch, batches


class Engine:
    """
    Accepts, collects and applies, each when it is told to. Nothing happens by itself.

    ``queue`` holds the messages that nobody has handled yet: they may be lost, repeated and taken in any order.
    """

    def __init__(self, pool: Pool, *, now: Callable[[], datetime], rules: Rules, client_id: int = 1) -> None:
        self.pool = pool
        self.now = now
        self.rules = rules
        self.queue: list[Batch] = []
        self.applier = self.another_applier()
        self._client_id = client_id
        self._submit: Submit | None = None

    @classmethod
    @contextmanager
    def running(
        cls, database_url: str, *, now: Callable[[], datetime], rules: Rules, threads: int = 4, client_id: int = 1
    ) -> Iterator[Self]:
        """An engine on a migrated database, with connections for so many ``threads``."""
        with pools.sync_pool(database_url, application_name="florin engine", size=threads) as pool:
            engine = cls(pool, now=now, rules=rules, client_id=client_id)
            with accepting(
                database_url, application_name="florin engine intake", announce=engine._announce, now=now
            ) as engine._submit:
                yield engine

    def another_applier(self) -> Applier:
        """What another worker process has: it remembers nothing."""
        return Applier(self.pool, now=self.now, rules=self.rules)

    def another_collector(self) -> Collector:
        """What another scheduler has."""
        return Collector(self._emitter(), now=self.now, new_id=uuid7, rules=self.rules)

    def expire_holds(self) -> int:
        """The scheduler's tick: holds whose time is over become commands."""
        return Expirer(self._emitter(), now=self.now, new_id=uuid7).expire()

    def _emitter(self) -> Emitter:
        return Emitter(self.pool, self.answers, is_full=lambda _: False, pause=lambda _: False)

    def accept(self, *bodies: CommandBody) -> list[int]:
        """Make the commands durable, queue their messages, and return their positions."""
        answers = self.answers([self.submission(body) for body in bodies])
        positions = [answer.position for answer in answers if isinstance(answer, Receipt)]
        if len(positions) < len(bodies):
            raise ValueError(f"not accepted: {answers}")
        return positions

    def submission(self, body: CommandBody) -> Submission:
        """The body under an idempotency key that nobody else has."""
        id_ = uuid7()
        return Submission(id_, self._client_id, str(id_), body)

    def answers(self, submissions: Sequence[Submission | Linked]) -> list[Answer]:
        """What the intake says to each."""
        if self._submit is None:
            raise RuntimeError("the engine does not run")
        return self._submit(submissions)

    def collect(self) -> int:
        """The scheduler's tick: what is due becomes commands."""
        return self.another_collector().collect()

    def handle(self, batch: Batch, applier: Applier | None = None) -> Applied:
        """What the actor does with a message."""
        applied = (applier or self.applier).apply(batch.positions, batch.account_keys)
        self.queue += batches(applied.left)
        return applied

    def drain(self, *, workers: int = 1, order: Random | None = None) -> list[Applied]:
        """Handle messages until there are none, by several threads and in another order if one is given."""
        handled: list[Applied] = []
        with ThreadPoolExecutor(workers) as threads:
            while self.queue:
                messages, self.queue = self.queue, []
                if order:
                    order.shuffle(messages)
                handled += threads.map(self.handle, messages)
        return handled

    def settle(self, *bodies: CommandBody) -> list[int]:
        """Accept the commands and apply them."""
        positions = self.accept(*bodies)
        self.drain()
        return positions

    def _announce(self, accepted: Sequence[Accepted]) -> None:
        self.queue += batches(accepted)
