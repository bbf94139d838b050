"""How workers share the lines, without a database: a model around the real ``in_turn`` and ``widen``."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from processor.lines import in_turn, widen
from processor.store import locks
from processor.store.books import InLine, PendingRow, within
from workers.messages import Batch, batches

Ready = Callable[[], bool]
Steps = Generator[Ready, None, None]
Transaction = Generator[Ready, None, tuple[set[int], set[int]]]
"""Its result: what it decided, and what is to be sent on."""
SendOn = Callable[["Lines", set[int]], set[int]]


def named_and_heads(lines: "Lines", unsettled: set[int]) -> set[int]:
    """The rule: what the message named and is still in line, and whoever is first in one of its lines."""
    still = unsettled & lines.pending
    keys = {key for position in still for key in lines.keys_of(position)}
    return still | {min(lines.of(key)) for key in keys}


def nothing(lines: "Lines", unsettled: set[int]) -> set[int]:
    """What one would do who trusts that every command is decided by the message that names it."""
    return set()


class Lines:
    """The commands that wait, the locks on their accounts, and what was decided in which order."""

    def __init__(self, rows: Iterable[PendingRow]) -> None:
        self.rows = {row.position: row for row in rows}
        self.pending: set[int] = set()
        self.locks: dict[int, int] = {}
        self.decided: list[int] = []
        self.quarantined: set[int] = set()
        self.held: set[int] = set()
        self.ever_held: set[int] = set()

    def keys_of(self, position: int) -> frozenset[int]:
        """The accounts that the command touches."""
        return frozenset(self.rows[position].account_keys())

    def of(self, key: int) -> list[int]:
        """Who waits for the account, in order."""
        return sorted(position for position in self.pending if key in self.keys_of(position))

    def gather(self, keys: Iterable[int], up_to: int, limit: int) -> list[PendingRow]:
        """The oldest that wait for any of these accounts."""
        positions = {position for key in keys for position in self.of(key) if position <= up_to}
        oldest = [self.rows[position] for position in sorted(positions)[:limit]]
        return oldest[: within((len(row.rows()) for row in oldest), limit)]

    def named(self, position: int) -> InLine:
        """The command as a message names it."""
        return InLine(position, self.keys_of(position), len(self.rows[position].rows()))

    def out_of_order(self) -> list[int]:
        """Those that were decided after a later one of one of their accounts, and neither of them was ever held."""
        wrong, last = [], Counter[int]()
        for position in self.decided:
            if position in self.ever_held:
                continue
            if any(last[key] > position for key in self.keys_of(position)):
                wrong.append(position)
            last |= Counter(dict.fromkeys(self.keys_of(position), position))
        return wrong


@dataclass
class Worker:
    """One that has a message in hand, and how far it has come with it."""

    id: int
    message: Batch
    steps: Steps
    ready: Ready


@dataclass
class Bounds:
    """What a message and a transaction may hold, so small that a handful of commands reaches it."""

    commands: int = 3
    rounds: int = 2
    workers: int = 4


class Simulation:
    """
    One schedule: who moves next, which message is taken, what is repeated and who dies is drawn from ``random``.

    ``doubts`` says how many accounts are quarantined in the course of it; all of them are released again.
    ``named_only`` is another rule, known to be wrong: decide what the message names, whoever stands before it. So is
    ``careless``: release an account without waiting for whoever has its lock.
    """

    def __init__(
        self,
        random: Random,
        rows: Sequence[PendingRow],
        bounds: Bounds,
        *,
        send_on: SendOn = named_and_heads,
        named_only: bool = False,
        doubts: int = 0,
        careless: bool = False,
    ) -> None:
        self.lines = Lines(rows)
        self.handled = 0
        self._random = random
        self._bounds = bounds
        self._send_on = send_on
        self._named_only = named_only
        self._doubts = doubts
        self._careless = careless
        self._put_back = False
        self._arriving = [row.position for row in rows]
        self._queue: list[Batch] = []
        self._workers: list[Worker] = []
        self._moving: list[Worker] = []
        self._last_id = 0

    def run(self) -> "Simulation":
        """Until every message is consumed."""
        for _ in range(50_000):
            if not self._something_happens():
                return self
        raise AssertionError("messages are sent on for ever")

    def read_lines(self, keys: Iterable[int], up_to: int, limit: int) -> list[InLine]:
        """What ``widen`` reads without a lock: meanwhile anything may happen."""
        for _ in range(self._random.randint(0, 4)):
            self._something_happens()
        lines = self.lines
        heads = {position for key in keys for position in [p for p in lines.of(key) if p <= up_to][:limit]}
        return [lines.named(position) for position in heads]

    def _something_happens(self) -> bool:
        able = [worker for worker in self._workers if worker not in self._moving and worker.ready()]
        releasable = [key for key in sorted(self.lines.quarantined) if self._careless or key not in self.lines.locks]
        events: list[Callable[[], None]] = [
            *([self._quarantine] if self._doubts and self.lines.pending else []),
            *([lambda: self._release(self._random.choice(releasable))] if releasable else []),
            *([self._arrive] if self._arriving else []),
            *([self._take] if self._queue and len(self._workers) < self._bounds.workers else []),
            *([lambda: self._move(self._random.choice(able))] * 4 if able else []),
            *([lambda: self._die(self._random.choice(able))] if able and self._random.random() < 0.05 else []),
        ]
        if events:
            self._random.choice(events)()
        assert events or self._moving or not self._workers, "everybody waits for somebody: a deadlock"
        return bool(events)

    def _quarantine(self) -> None:
        """A proof doubts an account, whoever has its lock."""
        self._doubts -= 1
        self.lines.quarantined.add(
            self._random.choice([key for p in self.lines.pending for key in self.lines.keys_of(p)])
        )

    def _release(self, key: int) -> None:
        """An admin, who has the account's lock for that moment; and the sweeper, which finds what was put back."""
        lines = self.lines
        lines.quarantined.discard(key)
        put_back = {position for position in lines.held if key in lines.keys_of(position)}
        lines.held -= put_back
        lines.pending |= put_back
        self._put_back = self._put_back or bool(put_back)
        self._send(sorted(put_back))

    def _arrive(self) -> None:
        """An intake commits some commands, and their message is queued."""
        count = self._random.randint(1, 3)
        group, self._arriving = self._arriving[:count], self._arriving[count:]
        self.lines.pending |= set(group)
        self._send(group)

    def _take(self) -> None:
        """A worker takes any message: retries, prefetching and dead workers reorder a queue at will."""
        message = self._queue.pop(self._random.randrange(len(self._queue)))
        if self._random.random() < 0.1:
            self._queue.append(message)
        self._last_id += 1
        self.handled += 1
        self._workers.append(Worker(self._last_id, message, self._work(self._last_id, message), lambda: True))

    def _move(self, worker: Worker) -> None:
        self._moving.append(worker)
        try:
            worker.ready = next(worker.steps)
        except StopIteration:
            self._workers.remove(worker)
        self._moving.remove(worker)

    def _die(self, worker: Worker) -> None:
        """The connection is gone and its locks with it; the message was not acknowledged, so it comes again."""
        worker.steps.close()
        self._workers.remove(worker)
        self._unlock(worker.id)
        self._queue.append(worker.message)

    def _work(self, me: int, message: Batch) -> Steps:
        """What ``Applier.apply`` and the actor do, with a pause wherever another worker may come between."""
        named, lines = set(message.positions), self.lines
        yield lambda: True
        if not named & lines.pending:
            return
        settled, left = yield from self._transaction(me, named, message.account_keys, max(named), in_turn_only=True)
        for _ in range(self._bounds.rounds):
            yield lambda: True
            if not (named - settled) & lines.pending:
                return
            batch = widen(cast(Any, self), named - settled, message.account_keys)
            more, left = yield from self._transaction(me, named, batch.keys, batch.up_to)
            settled |= more
        yield lambda: True
        self._send(sorted(left))

    def _transaction(
        self, me: int, named: set[int], keys: Iterable[int], up_to: int, *, in_turn_only: bool = False
    ) -> Transaction:
        lines, held = self.lines, sorted(set(keys))
        assert len(held) <= locks.MAX_KEYS, "more locks than one transaction may hold"
        for key in held:
            yield lambda key=key: key not in lines.locks  # type: ignore[misc]
            lines.locks[key] = me
        yield lambda: True
        quarantined = set(lines.quarantined)
        yield lambda: True
        waiting = lines.gather(held, up_to, self._bounds.commands)
        if self._named_only:
            waiting = [row for row in waiting if row.position in named]
        turn = {row.position for row in in_turn(waiting, held)}
        if in_turn_only and len(turn) < len(waiting):
            self._unlock(me)
            return set(), set()
        # What is put back stands at the head of lines that were followed before: then the rest is sent on.
        closed = len(turn) == len(waiting)
        assert closed or self._named_only or self._put_back, "what was widened is not closed"
        hold = {position for position in turn if lines.keys_of(position) & quarantined}
        yield lambda: True
        before, lines.pending = lines.pending, lines.pending - turn
        left = self._send_on(lines, named - turn)
        lines.pending = before
        yield lambda: True
        lines.pending = lines.pending - turn
        lines.held |= hold
        lines.ever_held |= hold
        lines.decided += sorted(turn - hold)
        self._unlock(me)
        return turn, left

    def _unlock(self, me: int) -> None:
        self.lines.locks = {key: holder for key, holder in self.lines.locks.items() if holder != me}

    def _send(self, positions: Sequence[int]) -> None:
        self._queue += batches(map(self.lines.named, positions))
