"""Ctrl-C and SIGTERM: asking once stops in good order, asking again is impatience."""

import signal
from collections.abc import Iterator

import pytest

from cli.servers import interruption
from cli.servers.interruption import Interruption


@pytest.fixture
def asked() -> Iterator[Interruption]:
    """What has been asked for, in place of what the signals of this process meant before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    noted = Interruption()
    noted.listen()
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_asks_to_stop(asked: Interruption, number: signal.Signals) -> None:
    """Ctrl-C, a process manager, and a terminal that is closed."""
    signal.raise_signal(number)

    assert (asked.stop, asked.now) == (True, False)


def test_two_signals_at_once_are_one_request(asked: Interruption) -> None:
    """timeout(1) signals its child and the group of its child; that is no reason to hurry."""
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)

    assert (asked.stop, asked.now) == (True, False)


def test_a_later_signal_asks_to_stop_now(asked: Interruption, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses Ctrl-C again does not want to wait."""
    signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(interruption, "_ONE_REQUEST_S", -1)
    signal.raise_signal(signal.SIGINT)

    assert asked.now


def test_a_signal_that_our_caller_ignores_stays_ignored() -> None:
    """Under nohup, the stack outlives the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    others = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    noted = Interruption()
    noted.listen()
    signal.raise_signal(signal.SIGHUP)
    for number, handler in {**others, signal.SIGHUP: before}.items():
        signal.signal(number, handler)

    assert not noted.stop
