"""Compares what is sealed with the rows as they are now: every leaf, every root, and the chain of the blocks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from psycopg import Connection

from processor.domain import merkle
from processor.domain.blocks import genesis
from processor.publishing import Published
from processor.store import seals
from processor.store.seals import Stored

_PAGE: Final = 10_000
"""Leaves that are read at once, unless one block has more."""

_NAMED: Final = 10
"""Leaves of one block that are named one by one."""

_LISTED: Final = 100
"""Differences that a report lists; those after them are counted."""

_COUNTED: Final = 1_000_000
"""Outcomes that are counted of those that are not sealed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it was sealed: in which block and, as far as it can be told, which command."""

    what: str
    block: int | None = None
    position: int | None = None
    command_id: str | None = None


@dataclass(slots=True)
class Report:
    """What a verification went through, and what it found. Of the ``count`` differences, the first ones are listed."""

    history: str
    first: int
    newest: Stored | None
    blocks: int = 0
    leaves: int = 0
    published: int = 0
    unsealed: int = 0
    count: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def more_unsealed(self) -> bool:
        """Whether counting ended before the outcomes did."""
        return self.unsealed >= _COUNTED

    def add(self, differences: Iterable[Difference]) -> None:
        """Take these in."""
        for each in differences:
            self.count += 1
            if len(self.differences) < _LISTED:
                self.differences.append(each)


def verify(
    conn: Connection[Any],
    *,
    first: int = 1,
    published: Iterable[Published] = (),
    tell: Callable[[int], None] = lambda _: None,
) -> Report:
    """
    Recompute the blocks from ``first`` on, and compare all with what was ``published``.

    Memory is that of a page, however long the history is; ``tell`` is given the number of leaves so far. Blocks that
    are made meanwhile are left out. Raises ``BooksError`` if the history has lost its name.
    """
    newest = seals.newest(conn)
    report = Report(seals.history(conn), first, newest)
    report.add(_against(conn, report, published))
    if newest is None:
        report.unsealed = seals.count_unsealed(conn, seals.Reached(), limit=_COUNTED)
        return report
    expected = first
    for page in _pages(seals.headers(conn, first, newest.header.number)):
        report.add(check_chain(conn, report.history, page, expected=expected))
        report.add(check_leaves(conn, page))
        expected = page[-1].header.number + 1
        report.blocks += len(page)
        report.leaves += sum(each.header.leaves for each in page)
        tell(report.leaves)
    report.add(_uncovered(conn, newest.header.number, first))
    report.unsealed = seals.count_unsealed(conn, newest.reached, limit=_COUNTED)
    return report


def check_chain(
    conn: Connection[Any], history: str, blocks: Sequence[Stored], *, expected: int
) -> Iterator[Difference]:
    """
    Whether each of these blocks is what its hash says, and follows the block before it.

    Their numbers have no hole, and should begin with ``expected``.
    """
    first = blocks[0].header
    before = next(seals.headers(conn, first.number - 1, first.number - 1), None)
    # The block before the first one that was asked for must be there as well.
    if gone := max(first.number - expected, int(before is None and first.number > 1)):
        yield Difference("it is gone" + (f", with {gone - 1} more before it" if gone > 1 else ""), first.number - 1)
    end, previous = first.first_leaf, first.previous
    if before is not None:
        end, previous = before.header.first_leaf + before.header.leaves, before.hash
    elif first.number == 1:
        end, previous = 0, genesis(history)
    for block in blocks:
        header = block.header
        if header.previous != previous:
            yield Difference("it does not name the block before it", header.number)
        if header.first_leaf != end:
            yield Difference(f"it begins with leaf {header.first_leaf}, and {end} comes next", header.number)
        if header.hash() != block.hash:
            yield Difference("its header is not as it was sealed", header.number)
        end, previous = header.first_leaf + header.leaves, block.hash


def check_leaves(conn: Connection[Any], blocks: Sequence[Stored]) -> Iterator[Difference]:
    """Whether the commands that these blocks seal, and all that they led to, are as they were."""
    listed = seals.leaves(conn, blocks[0].header.number, blocks[-1].header.number)
    found = seals.records(conn, [position for each in listed.values() for position in each.positions])
    for block in blocks:
        header, number = block.header, block.header.number
        leaves = listed[number]
        if not header.leaves == len(leaves.positions) == len(leaves.hashes) or None in leaves.positions:
            yield Difference("its list of leaves is damaged", number)
            continue
        if merkle.root(leaves.hashes) != header.root:
            yield Difference("the hashes of its leaves do not make its root: somebody changed both", number)
        if (min(leaves.positions), max(leaves.positions)) != (block.lowest_position, block.highest_position):
            yield Difference("it is listed under other positions than those of its leaves", number)
        changed = _changed(number, leaves, found)
        yield from islice(changed, _NAMED)
        if more := sum(1 for _ in changed):
            yield Difference(f"{more} more of its commands are not as they were sealed", number)


def _changed(number: int, leaves: seals.Leaves, found: dict[int, dict[str, Any]]) -> Iterator[Difference]:
    for position, sealed in zip(leaves.positions, leaves.hashes, strict=True):
        record = found.get(position)
        if record is None:
            yield Difference("the command or its outcome is gone", number, position)
        elif merkle.leaf_hash(merkle.canonical(record)) != sealed:
            what = "the command, its outcome or its transfers are not as they were sealed"
            yield Difference(what, number, position, record["command"]["id"])


def _pages(blocks: Iterable[Stored]) -> Iterator[list[Stored]]:
    """The blocks in slices of about as many leaves, each without a hole, so that a range of numbers names it."""
    page: list[Stored] = []
    leaves = 0
    for block in blocks:
        if page and (leaves + block.header.leaves > _PAGE or block.header.number != page[-1].header.number + 1):
            yield page
            page, leaves = [], 0
        page.append(block)
        leaves += block.header.leaves
    if page:
        yield page


def _uncovered(conn: Connection[Any], newest: int, first: int) -> Iterator[Difference]:
    """The log without gap or overlap: nothing was put between what is sealed, and nothing is sealed twice."""
    begin = next(seals.headers(conn, first, newest), None) if first > 1 else None
    for position, blocks in seals.uncovered(
        conn, newest=newest, first_position=begin.lowest_position if begin else -(2**63)
    ):
        if blocks:
            yield Difference(f"it is in more than one block: {', '.join(map(str, blocks))}", blocks[0], position)
        else:
            yield Difference("it was put into the log where it is sealed: no block has it", None, position)


def _against(conn: Connection[Any], report: Report, published: Iterable[Published]) -> Iterator[Difference]:
    """Whether the blocks are those of which others keep the hashes: who can rewrite every row cannot rewrite these."""
    lines = iter(published)
    while page := list(islice(lines, 1_000)):
        hashes = seals.hashes(conn, [each.number for each in page])
        for each in page:
            report.published += 1
            if each.history != report.history:
                yield Difference(f"line {each.line} was published of another history, {each.history}", each.number)
            elif each.number not in hashes:
                yield Difference(f"published as {each.hash.hex()}, and there is no such block any more", each.number)
            elif hashes[each.number] != each.hash:
                what = f"published as {each.hash.hex()}, and it is {hashes[each.number].hex()} now"
                yield Difference(what, each.number)
