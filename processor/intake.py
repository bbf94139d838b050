"""Accepts commands: all that arrive while a transaction is under way share the next one."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from processor import telemetry, tracing
from processor.errors import Overloaded, Unavailable
from processor.logs import in_short
from processor.store import commands, locks
from processor.submissions import Answer, CommandBody, KeyConflict, Receipt, Submission, Unstorable

log = structlog.get_logger()

_PATIENCE_S: Final = 15
"""How long a group waits for a Postgres that keeps its connection and says nothing."""

Pool = AsyncConnectionPool[AsyncConnection[Any]]
FirstRequests = dict[tuple[int, str], tuple[Receipt, CommandBody]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command that was just accepted, with what a message needs to name it."""

    position: int
    account_keys: frozenset[int]
    trace: str = ""
    """The traceparent of the request that sent it."""


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

    async def accept(self, submissions: Sequence[Submission]) -> list[Answer]:
        """
        Make the submissions durable: ``answers[i]`` is for ``submissions[i]``.

        Returns after the commit. Raises ``Overloaded`` before anything was accepted, and ``Unavailable`` when Postgres
        is away or its answer to COMMIT was lost: then the same keys, sent again, tell what became of them.
        """
        telemetry.received.inc(len(submissions))
        self._check_backlog(len(submissions))
        loop = asyncio.get_running_loop()
        call = _Call(tracing.current())
        waiting = [_Waiting(submission, loop.create_future(), call) for submission in submissions]
        self._waiting.extend(waiting)
        self._arrived.set()
        with tracing.span("intake.wait", florin__commands=len(submissions)):
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
                group = [self._waiting.popleft() for _ in range(min(self._group_size, len(self._waiting)))]
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
        submissions = [each.submission for each in group]
        now = self._now()
        with telemetry.accept_seconds.time():
            try:
                # One round trip carries the whole transaction, so that the lock is held while Postgres works only.
                async with conn.pipeline():
                    await conn.execute("BEGIN")
                    await locks.lock_intake(conn)
                    cursor = await commands.accept(conn, submissions, now=now)
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
                Accepted(positions[each.id], each.body.account_keys(), waiting.call.trace)
                for waiting, each in zip(group, submissions, strict=True)
                if each.id in positions
            ]
        )
        first = await self._first_requests(conn, [each for each in submissions if each.id not in positions])
        return [
            Receipt(each.id, positions[each.id], now)
            if each.id in positions
            else self._replay(each, *first[each.client_id, each.idempotency_key])
            for each in submissions
        ]

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

    def _replay(self, submission: Submission, receipt: Receipt, body: CommandBody) -> Answer:
        if differing := body.differing_fields(submission.body):
            telemetry.conflicting.inc()
            return KeyConflict(differing)
        telemetry.replayed.inc()
        return receipt


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
    submission: Submission
    answer: "asyncio.Future[Answer]"
    call: _Call
