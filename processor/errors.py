"""The errors that Florin raises on purpose. An error's class says who acts on it."""

from collections.abc import Collection


class ProcessorError(Exception):
    """Base of every error raised on purpose. A refusal is not one: it is an outcome."""


class TransientError(ProcessorError):
    """The same command may succeed later: the worker retries it."""


class PermanentError(ProcessorError):
    """The same command can never succeed: tried alone and more than once, it becomes a dead letter."""


class BooksError(ProcessorError):
    """
    The books contradict themselves, or the rules and the schema do: nothing is recorded, and a person is called.

    ``account_keys`` are those of the accounts whose commands, at these ``positions``, could not be recorded, as far as
    they are known. The text names no account: it is logged.
    """

    def __init__(self, message: str, *, account_keys: Collection[int] = (), positions: Collection[int] = ()) -> None:
        super().__init__(message)
        self.account_keys = account_keys
        self.positions = positions


class Unavailable(TransientError):  # noqa: N818 - the condition, not the error, is what the caller meets
    """What Florin needs is away. Nothing was accepted, or it is unknown: the client sends again with the same key."""


class Overloaded(TransientError):  # noqa: N818
    """The backlog is above its limit. Nothing was accepted; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SchemaBehind(TransientError):  # noqa: N818
    """The database lacks migrations that this code needs: they may be under way."""


class SettingsError(ProcessorError):
    """The process cannot start as it is set up; the message says which setting and what it should be."""
