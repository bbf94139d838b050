"""The errors that Florin raises on purpose. An error's class says who acts on it."""

from collections.abc import Sequence


class ProcessorError(Exception):
    """Base of every error raised on purpose. A refusal is not one: it is an outcome."""


class TransientError(ProcessorError):
    """The same command may succeed later: the worker retries it."""


class BooksError(ProcessorError):
    """
    The books contradict themselves: nothing is recorded, and a person is called.

    ``positions`` are the commands that could not be recorded, as far as they are known.
    """

    positions: Sequence[int] = ()


class Unavailable(TransientError):  # noqa: N818 - the condition, not the error, is what the caller meets
    """What Florin needs is away. Nothing was accepted, or it is unknown: the client sends again with the same key."""


class Overloaded(TransientError):  # noqa: N818
    """The backlog is above its limit. Nothing was accepted; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SettingsError(ProcessorError):
    """The process cannot start as it is set up; the message says which setting and what it should be."""
