"""Commands as accepted, and the lines in which they wait."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor, Connection

from processor.store.arrays import bigints
from processor.submissions import FIELDS, CommandBody, Linked, Receipt, Submission

_COLUMNS: Final[LiteralString] = """
    id, client_id, idempotency_key, type, currency, account, from_account, to_account,
    amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
    hold_id, expires_at, reverses, force, daily_count, daily_amount_minor, reason, reference"""
_ARRAYS: Final[LiteralString] = """
    %b::uuid[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
    %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[], %b::date[], %b::uuid[], %b::smallint[],
    %b::uuid[], %b::timestamptz[], %b::uuid[], %b::boolean[], %b::bigint[], %b::bigint[],
    %b::text[], %b::text[], %b::text[]"""

# One statement accepts the group: rows of commands that are new, and their places in line. A key that exists is left
# alone, whoever wrote it. ORDER BY before the identity is drawn: positions follow the order of arrival.
ACCEPT: Final[LiteralString] = """
    WITH incoming AS (
        SELECT * FROM unnest({_ARRAYS}) WITH ORDINALITY AS incoming ({_COLUMNS}, metadata, arrival)
    ), accepted AS (
        INSERT INTO command ({_COLUMNS}, metadata, accepted_at)
        SELECT {_COLUMNS}, metadata::jsonb, %b
        FROM incoming ORDER BY arrival
        ON CONFLICT (client_id, idempotency_key) DO NOTHING
        RETURNING position, id
    ), lined_up AS (
        INSERT INTO pending (position, account_key)
        SELECT accepted.position, line.account_key
        FROM accepted JOIN unnest(%b::uuid[], %b::bigint[]) AS line (id, account_key) USING (id)
    )
    SELECT id, position FROM accepted
""".replace("{_ARRAYS}", _ARRAYS).replace("{_COLUMNS}", _COLUMNS)

# The same for groups with linked commands among them: of those that are linked, all keys have to be new. The intake's
# lock was taken in a statement before, so that every key that was accepted is seen; and no key of theirs is in the
# group twice. Only the first of them stands in line, for all.
ACCEPT_LINKED: Final[LiteralString] = """
    WITH incoming AS (
        SELECT * FROM unnest({_ARRAYS}, %b::uuid[], %b::smallint[])
            WITH ORDINALITY AS incoming ({_COLUMNS}, metadata, link, link_size, arrival)
    ), taken AS (
        SELECT incoming.link FROM incoming JOIN command USING (client_id, idempotency_key)
        WHERE incoming.link IS NOT NULL
    ), accepted AS (
        INSERT INTO command ({_COLUMNS}, metadata, accepted_at, link, link_size)
        SELECT {_COLUMNS}, metadata::jsonb, %b, link, link_size
        FROM incoming
        WHERE link IS NULL OR link NOT IN (SELECT taken.link FROM taken)
        ORDER BY arrival
        ON CONFLICT (client_id, idempotency_key) DO NOTHING
        RETURNING position, id
    ), lined_up AS (
        INSERT INTO pending (position, account_key, link_size)
        SELECT accepted.position, line.account_key, line.link_size
        FROM accepted
        JOIN unnest(%b::uuid[], %b::bigint[], %b::smallint[]) AS line (id, account_key, link_size) USING (id)
    )
    SELECT id, position FROM accepted
""".replace("{_ARRAYS}", _ARRAYS).replace("{_COLUMNS}", _COLUMNS)

# What the keys of the group named before: the first request under each, and its receipt.
SELECT_BY_KEYS: Final[LiteralString] = """
    SELECT
        client_id, idempotency_key, id, position, accepted_at, link, link_size,
        type, currency, account, from_account, to_account,
        amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
        hold_id, expires_at, reverses, force, daily_count, daily_amount_minor, reason, reference, metadata
    FROM command JOIN unnest(%b::bigint[], %b::text[]) AS wanted (client_id, idempotency_key)
    USING (client_id, idempotency_key)
"""

# An estimate that costs no more than the limit: nobody needs to know how far above it the backlog is.
COUNT_BACKLOG: Final[LiteralString] = "SELECT count(*) FROM (SELECT FROM pending LIMIT %s) AS backlog"


@dataclass(frozen=True, slots=True)
class First:
    """What a key named first: the receipt, the request, and what it was linked with."""

    receipt: Receipt
    body: CommandBody
    link: UUID | None
    link_size: int | None


async def accept(
    conn: AsyncConnection, elements: Sequence[Submission | Linked], *, now: datetime
) -> AsyncCursor[tuple[Any, ...]]:
    """
    Write the commands whose keys are new, and line each up for its accounts; of those that are linked all or none.

    The cursor gives (id, position) of those accepted; it is read after the pipeline that this call belongs to.
    """
    submissions = [each for each in elements if isinstance(each, Submission)]
    if len(submissions) == len(elements):
        return await conn.execute(ACCEPT, [*_fields(submissions), *_lines(submissions, now)])
    return await conn.execute(ACCEPT_LINKED, _rows_linked(elements, now))


def accept_one(conn: Connection, submission: Submission, *, now: datetime) -> int | None:
    """
    The same for a single command in the caller's transaction, under the intake's lock.

    Returns its position, or ``None`` if the key is taken: then nothing was written.
    """
    row = conn.execute(ACCEPT, [*_fields([submission]), *_lines([submission], now)]).fetchone()
    return int(row[1]) if row else None


def _rows_linked(elements: Sequence[Submission | Linked], now: datetime) -> list[Any]:
    submissions: list[Submission] = []
    links: list[tuple[UUID | None, int | None]] = []
    lines: list[tuple[UUID, int, int | None]] = []
    for each in elements:
        if isinstance(each, Submission):
            submissions.append(each)
            links.append((None, None))
            lines += [(each.id, key, None) for key in each.body.account_keys()]
        else:
            size = len(each.submissions)
            submissions += each.submissions
            links += [(each.link, size)] * size
            # One of the places says how many commands it is for.
            lines += [(each.link, key, None if i else size) for i, key in enumerate(sorted(each.account_keys()))]
    return [
        *_fields(submissions),
        [link for link, _ in links],
        [size for _, size in links],
        now,
        [id_ for id_, _, _ in lines],
        bigints(key for _, key, _ in lines),
        [size for _, _, size in lines],
    ]


def _lines(submissions: Sequence[Submission], now: datetime) -> list[Any]:
    lines = [(each.id, key) for each in submissions for key in each.body.account_keys()]
    return [now, [id_ for id_, _ in lines], bigints(key for _, key in lines)]


def _fields(submissions: Sequence[Submission]) -> list[Any]:
    return [
        [each.id for each in submissions],
        bigints(each.client_id for each in submissions),
        [each.idempotency_key for each in submissions],
        [each.body.type for each in submissions],
        [each.body.currency for each in submissions],
        [each.body.account for each in submissions],
        [each.body.from_account for each in submissions],
        [each.body.to_account for each in submissions],
        bigints(each.body.amount_minor for each in submissions),
        bigints(each.body.overdraft_limit_minor for each in submissions),
        bigints(each.body.overdraft_fee_minor for each in submissions),
        _sparse(each.body.instalments for each in submissions),
        _sparse(each.body.first_due_on for each in submissions),
        _sparse(each.body.advance_id for each in submissions),
        _sparse(each.body.instalment for each in submissions),
        _sparse(each.body.hold_id for each in submissions),
        _sparse(each.body.expires_at for each in submissions),
        _sparse(each.body.reverses for each in submissions),
        _sparse(each.body.force for each in submissions),
        _sparse_bigints(each.body.daily_count for each in submissions),
        _sparse_bigints(each.body.daily_amount_minor for each in submissions),
        _sparse(each.body.reason for each in submissions),
        _sparse(each.body.reference for each in submissions),
        _sparse(None if each.body.metadata is None else json.dumps(dict(each.body.metadata)) for each in submissions),
    ]


def _sparse_bigints(values: Iterable[int | None]) -> list[Any]:
    return bigints(_sparse(values))


def _sparse(values: Iterable[Any]) -> list[Any]:
    """A column that most groups leave empty: ``unnest`` fills what a shorter list lacks with NULLs."""
    listed = list(values)
    return listed if any(value is not None for value in listed) else []


async def find_by_keys(conn: AsyncConnection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], First]:
    """What each (client, idempotency key) named first."""
    cursor = await conn.execute(SELECT_BY_KEYS, [[client_id for client_id, _ in keys], [key for _, key in keys]])
    return {
        (client_id, key): First(
            Receipt(id_, position, accepted_at, replayed=True),
            CommandBody(type=type_, currency=currency, **dict(zip(FIELDS[2:], rest, strict=True))),
            link,
            link_size,
        )
        async for client_id, key, id_, position, accepted_at, link, link_size, type_, currency, *rest in cursor
    }


def backlog_reaches(conn: Connection, limit: int) -> bool:
    """Whether so many places in line are taken."""
    row = conn.execute(COUNT_BACKLOG, [limit]).fetchone()
    return row is not None and int(row[0]) >= limit


async def count_backlog(conn: AsyncConnection, limit: int) -> int:
    """How many places in line are taken, counted up to ``limit``."""
    cursor = await conn.execute(COUNT_BACKLOG, [limit])
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
