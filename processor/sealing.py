"""Seals the log: block after block of settled commands, behind those who work, and where all can see it."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from psycopg import Connection, errors
from psycopg_pool import ConnectionPool

from processor import alerts, publishing, telemetry, verifying
from processor.breaks import Break
from processor.domain import merkle
from processor.domain.blocks import Header, genesis
from processor.errors import BooksError
from processor.logs import in_short
from processor.store import seals
from processor.store.seals import Leaves, Reached, Stored

log = structlog.get_logger()

PROOF: Final = "seals"

_FILE: Final = "seal_file"
_BLOCK: Final = "block:"
_COMMAND: Final = "command:"

_ENOUGH_SUSPECTS: Final = 100
"""Blocks and commands in doubt above which no more are sampled: each is looked at again by every run."""

_WINDOW: Final = 50_000
"""Outcomes among which a run looks for such as no block has."""

_MOST_FOUND: Final = 10
"""Such outcomes of which a run tells: where a block is gone there are thousands."""

_ADVICE: Final = "Run `florin verify --against` with the file that others keep, and keep a copy of the database first."

Pool = ConnectionPool[Connection[Any]]


class Sealer:
    """
    One in the leading scheduler; two of them do no harm. It remembers only what it told the webhook.

    ``choose`` gives a random number below its argument: what old part of the log is looked at again should not be
    foreseen.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        now: Callable[[], datetime],
        choose: Callable[[int], int],
        block_size: int,
        file: Path | None = None,
        webhook: str | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pool = pool
        self._now = now
        self._choose = choose
        self._block_size = block_size
        self._file = file
        self._webhook = webhook
        self._is_over = is_over
        self._told: bytes | None = None

    def seal(self) -> int:
        """
        Seal what can be sealed, make it known, and look at some old blocks again. Returns the number of new blocks.

        What is found wrong becomes an alert. Raises ``BooksError`` if the log comes from another cluster.
        """
        with self._pool.connection() as conn:
            made = 0
            while not self._is_over():
                block = seal_next(conn, now=self._now(), limit=self._block_size)
                made += block is not None
                if block is None or block.header.leaves < self._block_size:
                    break
            newest = seals.newest(conn)
            breaks = [*self._publish(conn, newest), *self._look_again(conn, newest)]
            alerts.report(conn, PROOF, breaks, now=self._now())
        return made

    def _publish(self, conn: Connection[Any], newest: Stored | None) -> Iterator[Break]:
        """What goes wrong here is told, and tried again by the next run: it never keeps anybody from sealing."""
        if self._file is not None:
            yield from self._write(conn, self._file)
        if self._webhook is not None and newest is not None and newest.hash != self._told:
            try:
                publishing.post(self._webhook, newest)
                self._told = newest.hash
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                telemetry.seal_exports_failed.labels("webhook").inc()
                # Not its text: that may show the address, and what is secret in it.
                status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
                log.warning("seal.webhook_failed", error=type(error).__name__, status=status)

    def _write(self, conn: Connection[Any], file: Path) -> Iterator[Break]:
        try:
            publishing.append(file, seals.history(conn), partial(seals.headers, conn))
        except OSError as error:
            telemetry.seal_exports_failed.labels("file").inc()
            log.warning("seal.file_failed", error=in_short(error))
        except BooksError as error:
            telemetry.seal_exports_failed.labels("file").inc()
            yield Break(PROOF, _FILE, "the last block in the file is a block of the database", str(error), _ADVICE)

    def _look_again(self, conn: Connection[Any], newest: Stored | None) -> Iterator[Break]:
        """
        The newest block, one of the others, some outcomes for one that is in no block, and whatever has an alert.

        The alert ends when that is mended.
        """
        subjects = [suspect.subject for suspect in alerts.open_subjects(conn, PROOF)]
        numbers = {int(each.removeprefix(_BLOCK)) for each in subjects if each.startswith(_BLOCK)}
        positions = {int(each.removeprefix(_COMMAND)) for each in subjects if each.startswith(_COMMAND)}
        if newest is not None and len(numbers) + len(positions) < _ENOUGH_SUSPECTS:
            last = newest.header.number
            numbers |= {last, 1 + self._choose(last - 1)} if last > 1 else {last}
            beside = seals.uncovered_from(
                conn, self._somewhere(conn, last), newest=last, window=_WINDOW, limit=_MOST_FOUND
            )
            positions |= {position for position, _ in beside}
        for number in sorted(numbers):
            if broken := _look_at(conn, number):
                yield broken
        for position in sorted(positions):
            if newest is not None and (broken := _look_beside(conn, position, newest)):
                yield broken

    def _somewhere(self, conn: Connection[Any], last: int) -> int:
        """A position in any block, each as likely as another; or before all of them, where the first one begins."""
        number = 1 + self._choose(last)
        block = next(seals.headers(conn, number, last), None)
        if number == 1 or block is None:
            return seals.FIRST_POSITION
        return block.lowest_position + self._choose(block.highest_position - block.lowest_position + 1)


def seal_next(conn: Connection[Any], *, now: datetime, limit: int) -> Stored | None:
    """
    Seal the next ``limit`` outcomes of the log at most; ``None`` if there are none, or somebody else is at it.

    Raises ``BooksError``, and seals nothing, if the log comes from another cluster or an outcome has no command.
    """
    try:
        with conn.transaction():
            if not seals.try_seal(conn):
                return None
            before = seals.newest(conn)
            positions, reached = seals.find_next(conn, before.reached if before else Reached(), limit=limit)
            if not positions:
                return None
            block, leaves = _block(conn, before, positions, reached, now)
            seals.insert(conn, block, leaves)
    except errors.UniqueViolation:
        # Somebody else made it, under a lock of his own: what is sealed is sealed.
        return None
    log.info("seal.sealed", number=block.header.number, leaves=block.header.leaves, hash=block.hash.hex())
    return block


def _block(
    conn: Connection[Any], before: Stored | None, positions: list[int], reached: Reached, now: datetime
) -> tuple[Stored, Leaves]:
    records = seals.records(conn, positions)
    if lost := [position for position in positions if position not in records]:
        raise BooksError(f"outcomes without their commands: {', '.join(map(str, lost[:10]))}")
    hashes = [merkle.leaf_hash(merkle.canonical(records[position])) for position in positions]
    history = seals.history(conn)
    header = Header(
        history=history,
        number=before.header.number + 1 if before else 1,
        first_leaf=before.header.first_leaf + before.header.leaves if before else 0,
        leaves=len(positions),
        root=merkle.root(hashes),
        previous=before.hash if before else genesis(history),
        sealed_at=now,
    )
    return Stored(header, header.hash(), min(positions), max(positions), reached), Leaves(positions, hashes)


def _look_beside(conn: Connection[Any], position: int, newest: Stored) -> Break | None:
    blocks = seals.uncovered_at(conn, position, newest=newest.header.number)
    if blocks is None:
        return None
    return Break(
        PROOF,
        f"{_COMMAND}{position}",
        expected="each outcome up to where the newest block ends is in one block",
        found=f"it is in the blocks {', '.join(map(str, blocks))}"
        if blocks
        else "it was put into the log where it is sealed: no block has it",
        advice=_ADVICE,
        position=position,
    )


def _look_at(conn: Connection[Any], number: int) -> Break | None:
    subject = f"{_BLOCK}{number}"
    block = next(seals.headers(conn, number, number), None)
    if block is None:
        return Break(PROOF, subject, f"block {number} is in the chain", "it is gone", _ADVICE)
    found = [
        *verifying.check_chain(conn, seals.history(conn), [block], expected=number),
        *verifying.check_leaves(conn, [block]),
    ]
    if not found:
        return None
    first = found[0]
    where = f"position {first.position}: " if first.position is not None else ""
    more = f" ({len(found)} differences in all)" if len(found) > 1 else ""
    return Break(
        PROOF,
        subject,
        expected=f"{block.header.leaves} settled commands as they were sealed",
        found=f"{where}{first.what}{more}",
        advice=_ADVICE,
        position=next((each.position for each in found if each.position is not None), None),
    )
