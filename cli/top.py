"""`florin top`: how the stack is doing, live in a terminal."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from cli.addresses import DataDir
from cli.failing import fail
from cli.instance import DEFAULT_DATA_DIR, NoStackError, find
from cli.watching.frame import frame
from cli.watching.source import AwayError, Places, Seen, Watch, read
from processor import clock

_FIRST_WITHIN_S: Final = 2.0
_END: Final = (b"q", b"Q", b"\x03", b"\x04", b"")
"""Keys that end it; nothing at all is a terminal that was closed."""


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.5, max=60, help="Seconds between two frames.")] = 1.0,
    exporter: Annotated[
        str | None, typer.Option(help="Where the exporter is.", show_default="that of the stack")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Show live how the stack is doing: is money stuck, how fast is it, and what is left over. q or Ctrl-C ends it.

    With --once, exits with 1 if there are no figures.
    """
    console = Console(highlight=False, emoji=False)
    try:
        places = _places(exporter, data_dir)
        if once:
            console.print(frame(Seen(read(places)), width=console.width, now=clock.now().timestamp()))
            return
    except AwayError as error:
        fail(str(error))
    if not (console.is_terminal and sys.stdin.isatty()):
        fail("this needs a terminal: --once prints one frame", exit_code=2)

    def now_at() -> Places:
        # A stack that was started again may have other ports.
        return _places(exporter, data_dir)

    with Watch(now_at, every_s) as watch:
        watch.await_first(_FIRST_WITHIN_S)
        _show(console, watch, every_s)


def _show(console: Console, watch: Watch, every_s: float) -> None:
    def drawn() -> object:
        return frame(watch.seen(), width=console.width, now=clock.now().timestamp())

    try:
        with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(drawn(), refresh=True)  # type: ignore[arg-type]
                if _ended(keyboard, every_s):
                    return
    except KeyboardInterrupt:
        return


@contextmanager
def _keys() -> Iterator[int]:
    """The keyboard, key by key and unseen; as it was afterwards, whatever happens."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _ended(keyboard: int, timeout_s: float) -> bool:
    """Wait for the next frame, and say whether somebody asked for the end meanwhile."""
    until = time.monotonic() + timeout_s
    while (left_s := until - time.monotonic()) > 0:
        ready, _, _ = select.select([keyboard], [], [], left_s)
        if ready and os.read(keyboard, 1) in _END:
            return True
    return False


def _places(exporter: str | None, data_dir: Path | None) -> Places:
    named = exporter or (os.environ.get("FLORIN_EXPORTER_URL") if data_dir is None else None)
    if named:
        return Places(named, os.environ.get("FLORIN_PROMETHEUS_URL"))
    try:
        stack = find(data_dir or DEFAULT_DATA_DIR)
    except (NoStackError, OSError) as error:
        raise AwayError(str(error)) from None
    if stack.exporter is None:
        raise AwayError("the stack has no exporter that is known here: set FLORIN_EXPORTER_URL")
    return Places(stack.exporter, stack.prometheus)
