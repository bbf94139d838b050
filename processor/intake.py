"""Accepts commands: all that arrive while a transaction is under way share the next one."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from processor import telemetry, tracing
from processor.errors import Overloaded, Unavailable
from processor.logs import in_short
from processor.store import commands, locks
from processor.store.commands import First
from processor.submissions import (
    LINKED,
    Answer,
    KeyConflict,
    LinkConflict,
    Linked,
    LinkedReceipts,
    Receipt,
    Submission,
    Unstorable,
)

log = structlog.get_logger()

_PATIENCE_S: Final = 15
"""How long a group waits for a Postgres that keeps its connection and says nothing."""

Pool = AsyncConnectionPool[AsyncConnection[Any]]
FirstRequests = dict[tuple[int, str], First]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command that was just accepted, or the first of linked ones for all, with what a message needs to name it."""

    position: int
    account_keys: frozenset[int]
    trace: str = ""
    """The traceparent of the request that sent it."""
    commands: int = 1


Announce = Callable[[Sequence[Accepted]], None]


class Intake:
    """
    One per API process. ``accept`` may be called by many requests at once.

    ``announce`` is called after each commit with what was accepted. It must not block, and may fail or lose what it is
    given: the sweeper finds it again.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        announce: Announce,
        now: Callable[[], datetime],
        group_size: int = 1_000,
        max_waiting: int = 50_000,
        max_backlog: int = 500_000,
    ) -> None:
        self._pool = pool
        self._announce = announce
        self._now = now
        self._group_size = group_size
        self._max_waiting = max_waiting
        self._max_backlog = max_backlog
        self._backlog = 0
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def accept(self, elements: Sequence[Submission | Linked]) -> list[Answer]:
        """
        Make the submissions durable: ``answers[i]`` is for ``elements[i]``.

        Returns after the commit. Raises ``Overloaded`` before anything was accepted, and ``Unavailable`` when Postgres
        is away or its answer to COMMIT was lost: then the same keys, sent again, tell what became of them.
        """
        loop = asyncio.get_running_loop()
        call = _Call(tracing.current())
        waiting = [_Waiting(each, loop.create_future(), call) for each in elements]
        arriving = sum(len(each.submissions) for each in waiting)
        telemetry.received.inc(arriving)
        self._check_backlog(arriving)
        self._waiting.extend(waiting)
        self._arrived.set()
        with tracing.span("intake.wait", florin__commands=arriving):
            answers = await asyncio.gather(*(each.answer for each in waiting), return_exceptions=True)
            for group in call.groups:
                tracing.past("intake.commit", group.began_ns, group.ended_ns, links=[group.trace])
        if call.failure is not None:
            raise call.failure
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def run(self) -> None:
        """Accept groups until cancelled. A lone submission waits for nobody."""
        try:
            while True:
                await self._arrived.wait()
                group = self._next_group()
                if not self._waiting:
                    self._arrived.clear()
                await self._accept_group(group)
        finally:
            self._fail(list(self._waiting), Unavailable("This process ends. Send again, with the same key."))

    async def watch_backlog(self, every_s: float) -> None:
        """Keep the count of pending commands that ``accept`` checks, until cancelled."""
        while True:
            with suppress(psycopg.Error, PoolTimeout):
                async with self._pool.connection() as conn:
                    self._backlog = await commands.count_backlog(conn, 2 * self._max_backlog)
            # Who was turned away comes back soon: look more often while that is so.
            await asyncio.sleep(every_s / 10 if self._backlog >= self._max_backlog else every_s)

    def _next_group(self) -> "list[_Waiting]":
        """As many as one transaction takes. A key of linked commands is in it once: else they might be cut in two."""
        group: list[_Waiting] = []
        commands = 0
        keys: set[tuple[int, str]] | None = None
        while self._waiting:
            each = self._waiting[0]
            if group and commands + len(each.submissions) > self._group_size:
                break
            if keys is None and isinstance(each.element, Linked):
                keys = {key for earlier in group for key in earlier.idempotency_keys()}
            if keys is not None:
                if not keys.isdisjoint(each.idempotency_keys()):
                    break
                keys |= each.idempotency_keys()
            commands += len(each.submissions)
            group.append(self._waiting.popleft())
        return group

    def _check_backlog(self, arriving: int) -> None:
        if len(self._waiting) + arriving > self._max_waiting or self._backlog >= self._max_backlog:
            telemetry.overloaded.inc(arriving)
            raise Overloaded(
                "More commands are waiting than the intake takes on. Nothing was accepted: send again later.",
                retry_after_s=2,
            )

    async def _accept_group(self, group: "list[_Waiting]") -> None:
        # What is behind a failure in the same call fails with it: accepted, it would overtake what is sent again.
        for each in group:
            if each.call.failure is not None and not each.answer.done():
                each.answer.set_exception(each.call.failure)
        group = [each for each in group if each.call.failure is None]
        if not group:
            return
        traces = tracing.few(each.call.trace for each in group)
        with tracing.begin("intake.accept", traces=traces, florin__commands=len(group)) as begun:
            began_ns = time.time_ns()
            await self._answer_group(group)
        if len(traces) > 1 and tracing.is_on():
            shared = _Group(begun.traceparent, began_ns, time.time_ns())
            for call in {id(each.call): each.call for each in group}.values():
                call.groups.append(shared)

    async def _answer_group(self, group: "list[_Waiting]") -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answers = await self._answer(group)
        except asyncio.CancelledError:
            self._fail(group, Unavailable("This process ends. Send again, with the same key."))
            raise
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            log.warning("intake.unavailable", error=in_short(error), commands=len(group))
            tracing.failed(type(error).__name__)
            self._fail(group, Unavailable("The database is away. Send again, with the same key."))
        except Exception as error:
            log.exception("intake.broken", commands=len(group))
            tracing.failed(type(error).__name__)
            self._fail(group, error)
        else:
            for each, answer in zip(group, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)

    def _fail(self, group: "list[_Waiting]", error: Exception) -> None:
        for each in group:
            each.call.failure = error
            if not each.answer.done():
                each.answer.set_exception(error)

    async def _answer(self, group: "list[_Waiting]") -> list[Answer]:
        try:
            async with self._pool.connection() as conn:
                return await self._accept_all(conn, group)
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeError) as error:
            # Validation let a row through that the schema does not. It must not cost its neighbours their receipts.
            if len(group) == 1:
                words = error.diag.message_primary if isinstance(error, psycopg.Error) else "a text is no Unicode"
                log.error("intake.unstorable", error=words)
                return [Unstorable(words or "the command cannot be stored")]
            half = len(group) // 2
            return await self._answer(group[:half]) + await self._answer(group[half:])

    async def _accept_all(self, conn: AsyncConnection, group: "list[_Waiting]") -> list[Answer]:
        submissions = [submission for each in group for submission in each.submissions]
        now = self._now()
        with telemetry.accept_seconds.time():
            try:
                # One round trip carries the whole transaction, so that the lock is held while Postgres works only.
                async with conn.pipeline():
                    await conn.execute("BEGIN")
                    await locks.lock_intake(conn)
                    cursor = await commands.accept(conn, [each.element for each in group], now=now)
                    await conn.execute("COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    await conn.rollback()
                raise
            positions = dict(await cursor.fetchall())
        telemetry.accepted.inc(len(positions))
        telemetry.group_size.observe(len(submissions))
        self._tell(
            [
                Accepted(
                    positions[waiting.submissions[0].id],
                    waiting.account_keys(),
                    waiting.call.trace,
                    len(waiting.submissions),
                )
                for waiting in group
                if waiting.submissions[0].id in positions
            ]
        )
        first = await self._first_requests(conn, [each for each in submissions if each.id not in positions])
        return [self._answer_one(each.element, positions, first, now) for each in group]

    def _answer_one(
        self, element: Submission | Linked, positions: Mapping[UUID, int], first: FirstRequests, now: datetime
    ) -> Answer:
        if isinstance(element, Submission):
            if element.id in positions:
                return Receipt(element.id, positions[element.id], now)
            return self._replay(element, first[element.client_id, element.idempotency_key])
        if element.link in positions:
            return LinkedReceipts(tuple(Receipt(each.id, positions[each.id], now) for each in element.submissions))
        return self._replay_linked(element, first)

    def _tell(self, accepted: Sequence[Accepted]) -> None:
        try:
            self._announce(accepted)
        except Exception:
            # They are durable, and the sweeper finds them: an error would tell their clients the opposite.
            log.exception("intake.unannounced", commands=len(accepted))

    async def _first_requests(self, conn: AsyncConnection, repeated: list[Submission]) -> FirstRequests:
        if not repeated:
            return {}
        return await commands.find_by_keys(conn, [(each.client_id, each.idempotency_key) for each in repeated])

    def _replay(self, submission: Submission, first: First) -> Answer:
        differing = first.body.differing_fields(submission.body)
        if first.link is not None:
            differing.append(LINKED)
        if differing:
            telemetry.conflicting.inc()
            return KeyConflict(differing)
        telemetry.replayed.inc()
        return first.receipt

    def _replay_linked(self, linked: Linked, first: FirstRequests) -> Answer:
        """The receipts again, if the very same commands were linked in this order; else what their keys name."""
        wanted = linked.submissions
        found = [first.get((each.client_id, each.idempotency_key)) for each in wanted]
        known = [each for each in found if each is not None]
        begins, positions = known[0].receipt, [each.receipt.position for each in known]
        is_same_link = (
            len(known) == len(wanted)
            and all(each.link == begins.id and each.link_size == len(wanted) for each in known)
            and positions == list(range(begins.position, begins.position + len(wanted)))
        )
        differing = {
            each.idempotency_key: [
                *before.body.differing_fields(each.body),
                *(() if is_same_link else (LINKED,)),
            ]
            for each, before in zip(wanted, found, strict=True)
            if before is not None
        }
        if any(differing.values()):
            telemetry.conflicting.inc(len(wanted))
            return LinkConflict({key: fields for key, fields in differing.items() if fields})
        telemetry.replayed.inc(len(wanted))
        return LinkedReceipts(tuple(each.receipt for each in known))


@dataclass(slots=True)
class _Call:
    """One call of ``accept``, whose submissions may be spread over several groups."""

    trace: str = ""
    failure: Exception | None = None
    groups: "list[_Group]" = field(default_factory=list)
    """The transactions that its submissions were in, if spans are recorded."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A transaction that several calls shared, for the trace of each. It has one of its own then."""

    trace: str
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    element: Submission | Linked
    answer: "asyncio.Future[Answer]"
    call: _Call

    @property
    def submissions(self) -> tuple[Submission, ...]:
        return self.element.submissions if isinstance(self.element, Linked) else (self.element,)

    def idempotency_keys(self) -> set[tuple[int, str]]:
        return {(each.client_id, each.idempotency_key) for each in self.submissions}

    def account_keys(self) -> frozenset[int]:
        return self.element.account_keys() if isinstance(self.element, Linked) else self.element.body.account_keys()
