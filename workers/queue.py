"""The queue as producers see it: send messages, and ask whether any wait."""

from collections.abc import Sequence

from dramatiq.brokers.redis import RedisBroker

from workers.messages import COMMANDS, Sender, Waiting, batches, message


class CommandQueue:
    """Sends commands in batches. Every method raises what Redis raises when it is away."""

    def __init__(self, broker: RedisBroker, *, sent_by: Sender = "intake") -> None:
        self._broker = broker
        self._sent_by = sent_by

    def sending_as(self, sender: Sender) -> "CommandQueue":
        """The same queue, whose messages say that they are from ``sender``."""
        return CommandQueue(self._broker, sent_by=sender)

    def send(self, waiting: Sequence[Waiting]) -> None:
        """One message for each 200 commands, in order."""
        for batch in batches(waiting):
            self._broker.enqueue(message(batch, sent_by=self._sent_by))

    def is_empty(self) -> bool:
        """Whether no message waits; those that workers have in hand do not count."""
        # Dramatiq's own count includes messages in hand, and those that a dead worker had: it may never be zero again.
        return bool(self._broker.client.llen(f"{self._broker.namespace}:{COMMANDS}") == 0)
