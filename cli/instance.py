"""How the other commands find the stack that `florin up` runs."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cli.servers.data_dir import write_private

DEFAULT_DATA_DIR: Final = Path(__file__).resolve().parents[1] / ".florin"


class NoStackError(Exception):
    """There is nothing to talk to. The text says how to start it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Where a running stack is. What is not known of a stack that somebody else runs is None."""

    api: str
    api_key: str
    database_url: str | None = None
    owner_url: str | None = None
    redis_url: str | None = None
    metrics: str | None = None
    pid: int | None = None
    exporter: str | None = None
    prometheus: str | None = None
    alertmanager: str | None = None
    ops_key: str | None = None


def find(data_dir: Path = DEFAULT_DATA_DIR) -> Stack:
    """
    Return the stack that FLORIN_API and FLORIN_API_KEY name if both are set, else the one that runs in ``data_dir``.

    Raises ``NoStackError``.
    """
    api, api_key = os.environ.get("FLORIN_API"), os.environ.get("FLORIN_API_KEY")
    if api and api_key:
        return Stack(api, api_key)
    if api or api_key:
        raise NoStackError("one of FLORIN_API and FLORIN_API_KEY is set; set both, or neither to use a local stack")
    try:
        stack = Stack(**json.loads(_note(data_dir).read_text()))
    except FileNotFoundError:
        stack = None
    if stack is None or not _runs(stack.pid):
        raise NoStackError(f"no stack is running for {data_dir}; start one with ./florin up")
    return stack


def publish(data_dir: Path, stack: Stack) -> None:
    """Let ``find`` find it."""
    write_private(_note(data_dir), to_json(stack))


def withdraw(data_dir: Path) -> None:
    """It stops: nobody should find it any more."""
    _note(data_dir).unlink(missing_ok=True)


def to_json(stack: Stack) -> str:
    """One line, passwords included."""
    return json.dumps(asdict(stack))


def _note(data_dir: Path) -> Path:
    return data_dir / "stack.json"


def _runs(pid: int | None) -> bool:
    """Whether the supervisor that wrote the note is alive: one that was killed could not remove it."""
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
