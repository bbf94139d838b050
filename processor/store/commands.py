"""Commands as accepted, and the lines in which they wait."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, AsyncCursor, Connection

from processor.store.arrays import bigints
from processor.submissions import FIELDS, CommandBody, Receipt, Submission

# One statement accepts the group: rows of commands that are new, and their places in line. A key that exists is left
# alone, whoever wrote it. ORDER BY before the identity is drawn: positions follow the order of arrival.
ACCEPT: Final[LiteralString] = """
    WITH incoming AS (
        SELECT * FROM unnest(
            %b::uuid[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[], %b::date[], %b::uuid[], %b::smallint[],
            %b::text[], %b::text[], %b::text[]
        ) WITH ORDINALITY AS incoming (
            id, client_id, idempotency_key, type, currency, account, from_account, to_account,
            amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
            reason, reference, metadata, arrival
        )
    ), accepted AS (
        INSERT INTO command (
            id, client_id, idempotency_key, type, currency, account, from_account, to_account,
            amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
            reason, reference, metadata, accepted_at
        )
        SELECT
            id, client_id, idempotency_key, type, currency, account, from_account, to_account,
            amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
            reason, reference, metadata::jsonb, %b
        FROM incoming ORDER BY arrival
        ON CONFLICT (client_id, idempotency_key) DO NOTHING
        RETURNING position, id
    ), lined_up AS (
        INSERT INTO pending (position, account_key)
        SELECT accepted.position, line.account_key
        FROM accepted JOIN unnest(%b::uuid[], %b::bigint[]) AS line (id, account_key) USING (id)
    )
    SELECT id, position FROM accepted
"""

# What the keys of the group named before: the first request under each, and its receipt.
SELECT_BY_KEYS: Final[LiteralString] = """
    SELECT
        client_id, idempotency_key, id, position, accepted_at, type, currency, account, from_account, to_account,
        amount_minor, overdraft_limit_minor, overdraft_fee_minor, instalments, first_due_on, advance_id, instalment,
        reason, reference, metadata
    FROM command JOIN unnest(%b::bigint[], %b::text[]) AS wanted (client_id, idempotency_key)
    USING (client_id, idempotency_key)
"""

# An estimate that costs no more than the limit: nobody needs to know how far above it the backlog is.
COUNT_BACKLOG: Final[LiteralString] = "SELECT count(*) FROM (SELECT FROM pending LIMIT %s) AS backlog"


async def accept(
    conn: AsyncConnection, submissions: Sequence[Submission], *, now: datetime
) -> AsyncCursor[tuple[Any, ...]]:
    """
    Write the commands whose keys are new, and line each up for its accounts.

    The cursor gives (id, position) of those accepted; it is read after the pipeline that this call belongs to.
    """
    return await conn.execute(ACCEPT, _rows(submissions, now))


def accept_one(conn: Connection, submission: Submission, *, now: datetime) -> int | None:
    """
    The same for a single command in the caller's transaction, under the intake's lock.

    Returns its position, or ``None`` if the key is taken: then nothing was written.
    """
    row = conn.execute(ACCEPT, _rows([submission], now)).fetchone()
    return int(row[1]) if row else None


def _rows(submissions: Sequence[Submission], now: datetime) -> list[Any]:
    lines = [(each.id, key) for each in submissions for key in each.body.account_keys()]
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
        _sparse(each.body.reason for each in submissions),
        _sparse(each.body.reference for each in submissions),
        _sparse(None if each.body.metadata is None else json.dumps(dict(each.body.metadata)) for each in submissions),
        now,
        [id_ for id_, _ in lines],
        bigints(key for _, key in lines),
    ]


def _sparse(values: Iterable[Any]) -> list[Any]:
    """A column that most groups leave empty: ``unnest`` fills what a shorter list lacks with NULLs."""
    listed = list(values)
    return listed if any(value is not None for value in listed) else []


async def find_by_keys(
    conn: AsyncConnection, keys: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], tuple[Receipt, CommandBody]]:
    """The command that each (client, idempotency key) names, with its first receipt."""
    cursor = await conn.execute(SELECT_BY_KEYS, [[client_id for client_id, _ in keys], [key for _, key in keys]])
    return {
        (client_id, key): (
            Receipt(id_, position, accepted_at, replayed=True),
            CommandBody(type=type_, currency=currency, **dict(zip(FIELDS[2:], rest, strict=True))),
        )
        async for client_id, key, id_, position, accepted_at, type_, currency, *rest in cursor
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
