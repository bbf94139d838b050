"""Commands that only the clock sends: what is due is read in pages and handed to the same intake as all others."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from psycopg import Connection
from psycopg_pool import ConnectionPool

from processor.errors import BooksError
from processor.submissions import Answer, Receipt, Submission

PAGE: Final = 5_000
"""Commands that are handed to the intake at once."""

_LOOK_AGAIN_S: Final = 0.5

Pool = ConnectionPool[Connection[Any]]


class Keyed(Protocol):
    """Something due; whoever makes a command of it, its ``key`` makes it the same command."""

    @property
    def key(self) -> str: ...


Due = TypeVar("Due", bound=Keyed)


class Emitter:
    """
    It remembers nothing, and two of them do no harm.

    ``submit`` is the intake. While ``is_full`` says so, nothing more is sent: clients have a right to the rest of the
    backlog. ``pause`` waits so many seconds, and returns ``True`` if there is no more time.
    """

    def __init__(
        self,
        pool: Pool,
        submit: Callable[[Sequence[Submission]], Sequence[Answer]],
        *,
        is_full: Callable[[Connection[Any]], bool],
        pause: Callable[[float], bool],
    ) -> None:
        self._pool = pool
        self._submit = submit
        self._is_full = is_full
        self._pause = pause

    def emit(
        self,
        find: Callable[[Connection[Any], Due | None, int], list[Due]],
        submission: Callable[[Due], Submission],
    ) -> int:
        """
        Make a command of everything that is due, and return how many are new.

        ``find`` reads a page behind the last one. Raises what ``Intake.accept`` raises, and ``BooksError`` when the
        intake does not take a command; what was not sent is found again by the next call.
        """
        emitted = 0
        wrong: list[str] = []
        last: Due | None = None
        while page := self._next(find, last):
            answers = self._submit([submission(due) for due in page])
            emitted += sum(isinstance(answer, Receipt) and not answer.replayed for answer in answers)
            wrong += [due.key for due, answer in zip(page, answers, strict=True) if not isinstance(answer, Receipt)]
            last = page[-1]
        if wrong:
            raise BooksError(f"the intake does not take {len(wrong)} commands, such as {', '.join(wrong[:10])}")
        return emitted

    def _next(self, find: Callable[[Connection[Any], Due | None, int], list[Due]], last: Due | None) -> list[Due]:
        with self._pool.connection() as conn:
            while self._is_full(conn):
                if self._pause(_LOOK_AGAIN_S):
                    return []
            if self._pause(0):
                return []
            return find(conn, last, PAGE)
