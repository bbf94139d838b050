"""Says in the log, and in a trace, which message is in hand and what it was sent for."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

import structlog
from dramatiq.middleware import Middleware

from processor import tracing
from processor.errors import TransientError
from processor.logs import in_short

log = structlog.get_logger()

_MAX_LENGTH: Final = 64

_in_hand: ContextVar[tracing.Begun | None] = ContextVar("florin_message", default=None)


class Traced(Middleware):
    """
    The first in the list: it is told of a message before all others, and of its end after them.

    What a message says of itself may be forged. It is read for words only, and whatever makes no sense is passed over.
    """

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        _end(None)
        options = message.options if isinstance(message.options, Mapping) else {}
        message_id = str(message.message_id)[:_MAX_LENGTH]
        structlog.contextvars.bind_contextvars(message_id=message_id)
        sent_by = options.get("sent_by")
        begun = tracing.begin(
            f"process {message.queue_name}",
            "consumer",
            traces=tracing.read_all(options.get("trace")),
            as_child=sent_by != "worker",
            messaging__system="dramatiq",
            messaging__destination__name=message.queue_name,
            messaging__operation__type="process",
            messaging__message__id=message_id,
            messaging__batch__message_count=_size(message.kwargs),
            florin__sent_by=sent_by if isinstance(sent_by, str) and len(sent_by) <= _MAX_LENGTH else "unknown",
            florin__attempt=_attempt(options),
        )
        begun.__enter__()
        _in_hand.set(begun)

    def after_process_message(
        self,
        broker: Any,  # noqa: ARG002
        message: Any,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            _tell(message, exception)
        _end(exception)

    def after_skip_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        _end(None)


def _tell(message: Any, error: BaseException) -> None:
    """In place of what Dramatiq would log: it makes no difference between what passes and what does not."""
    # The retries have counted this one already.
    attempt = max(1, _attempt(message.options) - 1)
    about = {"queue": message.queue_name, "attempt": attempt, "gives_up": bool(message.failed)}
    if isinstance(error, TransientError):
        log.warning("message.postponed", error=in_short(error), **about)
    else:
        log.error("message.failed", exc_info=error, **about)


def _end(error: BaseException | None) -> None:
    begun = _in_hand.get()
    if begun is not None:
        _in_hand.set(None)
        begun.__exit__(type(error) if error else None, error, None)
    structlog.contextvars.clear_contextvars()


def _size(kwargs: Any) -> int:
    positions = kwargs.get("positions") if isinstance(kwargs, Mapping) else None
    return len(positions) if isinstance(positions, list) else 1


def _attempt(options: Any) -> int:
    retries = options.get("retries", 0) if isinstance(options, Mapping) else 0
    return retries + 1 if type(retries) is int else 1
