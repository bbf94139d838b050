"""The intake as a job uses it: the very same as the API's, and its messages are sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from processor import accepting as intake
from processor.accepting import Submit
from processor.emitting import PAGE
from processor.settings import Settings
from workers.messenger import Messenger
from workers.queue import CommandQueue

_SEND_REST_S: Final = 5.0


@contextmanager
def accepting(settings: Settings, queue: CommandQueue, *, now: Callable[[], datetime]) -> Iterator[Submit]:
    """
    A function that makes submissions durable and has their messages sent.

    At the end, what waits to be told to the queue is sent.
    """
    messenger = Messenger(queue)
    messenger.start()
    try:
        with intake.accepting(
            settings.database_url.get_secret_value(),
            application_name="florin scheduler intake",
            announce=messenger.announce,
            now=now,
            group_size=settings.group_size,
            max_waiting=max(settings.max_waiting, PAGE),
            max_backlog=settings.max_backlog,
        ) as submit:
            yield submit
    finally:
        messenger.close(timeout_s=_SEND_REST_S)
