"""Blocks made known outside the database, in a file and by a webhook: its owner cannot change what others keep."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import httpx

from processor.domain.merkle import SIZE, canonical
from processor.errors import BooksError, ProcessorError
from processor.store.seals import Stored

_TAIL: Final = 4_096
"""Bytes from the end of the file in which its last line is looked for: a line has a tenth of them."""

_PATIENCE_S: Final = 5


class UnreadableError(ProcessorError):
    """A file of published blocks has a line that is none of ours. The message says which."""


@dataclass(frozen=True, slots=True)
class Published:
    """A block as it was made known, and on which line of the file."""

    history: str
    number: int
    hash: bytes
    line: int = 0


def announcement(block: Stored) -> bytes:
    """All that is hashed of the block, and its hash: one line of JSON, without its end."""
    return canonical({**block.header.fields(), "hash": block.hash.hex()})


def append(path: Path, history: str, blocks_after: Callable[[int], Iterable[Stored]]) -> int:
    """
    Add the blocks that the file lacks, and return how many that were; they are on disk then.

    Two may do it at once. ``blocks_after(n)`` gives the block ``n``, if there is one, and all after it. Raises
    ``BooksError`` if the file's last block is not a block of this history, as it is now; ``OSError`` if it cannot be
    written.
    """
    is_new = not path.exists()
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last, is_torn = _last(path, file)
        blocks = iter(blocks_after(last.number if last else 1))
        if last is not None:
            _check(path, last, history, next(blocks, None))
        written = 0
        for block in blocks:
            # What a crash left without its end stays, as its line: nothing is ever taken out of this file.
            file.write((b"\n" if is_torn else b"") + announcement(block) + b"\n")
            is_torn = False
            written += 1
        if written:
            file.flush()
            os.fsync(file.fileno())
    if is_new:
        _sync_folder(path.parent)
    return written


def post(url: str, block: Stored) -> None:
    """Tell a webhook of the block. Raises ``httpx.HTTPError``, whose text may show the address."""
    headers = {"Content-Type": "application/json"}
    httpx.post(url, content=announcement(block), headers=headers, timeout=_PATIENCE_S).raise_for_status()


def read(path: Path) -> Iterator[Published]:
    """The blocks in the file, line by line. Raises ``UnreadableError``, and ``OSError``."""
    torn: tuple[int, bytes] | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if torn is not None and not line.startswith(torn[1]):
                raise UnreadableError(f"{path} line {torn[0]}: not a block as `florin` publishes it")
            torn = None
            if published := _parse(line, number):
                yield published
            else:
                # A crash may cut a line short. Then the next one is the same, in full.
                torn = number, line.rstrip(b"\n")
    if torn is not None and line.endswith(b"\n"):
        raise UnreadableError(f"{path} line {torn[0]}: not a block as `florin` publishes it")


def _last(path: Path, file: IO[bytes]) -> tuple[Published | None, bool]:
    """The last whole line, and whether something without an end stands behind it."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _TAIL))
    *lines, torn = file.read().split(b"\n")
    for line in reversed(lines):
        if last := _parse(line, 0):
            return last, bool(torn)
    if lines or len(torn) >= _TAIL:
        raise BooksError(f"{path} does not end with a block: is it another file?")
    return None, bool(torn)


def _check(path: Path, last: Published, history: str, block: Stored | None) -> None:
    if last.history != history:
        raise BooksError(f"{path} has the blocks of another history, {last.history}: give each database its own file")
    if block is None or block.header.number != last.number:
        raise BooksError(f"{path} ends with block {last.number}, and there is no such block any more")
    if block.hash != last.hash:
        raise BooksError(f"{path} has block {last.number} as {last.hash.hex()}, and it is {block.hash.hex()} now")


def _parse(line: bytes, number: int) -> Published | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        published = Published(str(fields["history"]), int(fields["number"]), bytes.fromhex(fields["hash"]), number)
    except (ValueError, KeyError, TypeError):
        return None
    return published if len(published.hash) == SIZE else None


def _sync_folder(folder: Path) -> None:
    """So that a new file is found in its folder after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
