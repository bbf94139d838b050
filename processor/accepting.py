"""The intake for those who are no API: on an event loop in a thread of its own, and called like a function."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from anyio import CancelScope
from anyio.abc import TaskStatus
from anyio.from_thread import start_blocking_portal

from processor import pools
from processor.errors import Unavailable
from processor.intake import Announce, Intake
from processor.submissions import Answer, Linked, Submission

Submit = Callable[[Sequence[Submission | Linked]], list[Answer]]


@contextmanager
def accepting(
    database_url: str, *, application_name: str, announce: Announce, now: Callable[[], datetime], **limits: Any
) -> Iterator[Submit]:
    """
    A function that makes submissions durable: ``answers[i]`` is for ``submissions[i]``. Any thread may call it.

    It raises ``Unavailable`` and ``Overloaded`` as the intake does. ``limits`` are the intake's.
    """

    async def take(*, task_status: TaskStatus[tuple[Intake, CancelScope]]) -> None:
        async with pools.async_pool(database_url, application_name=application_name, size=2) as pool:
            intake = Intake(pool, announce=announce, now=now, **limits)
            # The pool outlives the cancellation: interrupted while it connects, it would leave sessions half open.
            with CancelScope() as running:
                task_status.started((intake, running))
                await intake.run()

    with start_blocking_portal(name=application_name) as portal:
        taking, (intake, running) = portal.start_task(take)

        def submit(submissions: Sequence[Submission | Linked]) -> list[Answer]:
            if taking.done():
                # Nobody would answer: the caller would wait for ever.
                raise Unavailable("The intake of this process has ended.")
            return portal.call(intake.accept, list(submissions))

        try:
            yield submit
        finally:
            portal.call(running.cancel)
            wait([taking])
