"""Alerts, their history, and the outbox of those who are to be told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, Connection

from processor.breaks import Break

# In one order, so that two who lock several do not wait for each other.
LOCK_LIVE: Final[LiteralString] = """
    SELECT id, subject, severity FROM alert WHERE proof = %b AND state <> 'resolved' ORDER BY id FOR UPDATE
"""

SELECT_SUBJECTS: Final[LiteralString] = """
    SELECT subject, account, position FROM alert WHERE proof = %b AND state <> 'resolved' ORDER BY id
"""

# Whether the subject was in trouble before is read from what is there already, so before the new rows are.
INSERT_ALERTS: Final[LiteralString] = """
    INSERT INTO alert (
        proof, subject, account, position, severity, expected, found, since, advice, first_seen_at, last_seen_at
    )
    SELECT %(proof)b, subject, account, position, severity, expected, found, since, advice, %(now)b, %(now)b
    FROM unnest(
        %(subjects)b::text[], %(accounts)b::text[], %(positions)b::bigint[], %(severities)b::text[],
        %(expected)b::text[], %(found)b::text[], %(since)b::timestamptz[], %(advice)b::text[]
    ) AS broken (subject, account, position, severity, expected, found, since, advice)
    RETURNING id, subject, EXISTS (
        SELECT FROM alert AS earlier WHERE earlier.proof = alert.proof AND earlier.subject = alert.subject
    )
"""

UPDATE_SEEN: Final[LiteralString] = """
    UPDATE alert
    SET last_seen_at = %(now)b, seen = seen + 1, severity = broken.severity, expected = broken.expected,
        found = broken.found, since = broken.since, advice = broken.advice
    FROM unnest(
        %(ids)b::bigint[], %(severities)b::text[], %(expected)b::text[], %(found)b::text[],
        %(since)b::timestamptz[], %(advice)b::text[]
    ) AS broken (id, severity, expected, found, since, advice)
    WHERE alert.id = broken.id
"""

RESOLVE_BY_ITSELF: Final[LiteralString] = """
    UPDATE alert SET state = 'resolved', resolved_at = %b WHERE id = ANY(%b::bigint[])
"""

INSERT_CHANGES: Final[LiteralString] = """
    INSERT INTO alert_change (id, alert_id, kind, changed_at, changed_by, reason)
    SELECT id, alert_id, kind, %(now)b, %(by)b, %(reason)b
    FROM unnest(%(ids)b::uuid[], %(alert_ids)b::bigint[], %(kinds)b::text[]) AS changed (id, alert_id, kind)
"""

INSERT_NOTICES: Final[LiteralString] = """
    INSERT INTO alert_notice (change_id, due_at) SELECT id, %b FROM unnest(%b::uuid[]) AS changed (id)
"""


_SELECT: Final[LiteralString] = """
    SELECT
        id, proof, subject, account, position, severity, state, expected, found, since, advice, first_seen_at,
        last_seen_at, seen, acknowledged_at, acknowledged_by, acknowledge_reason, resolved_at, resolved_by,
        resolve_reason
    FROM alert
"""
SELECT_PAGE: Final[LiteralString] = (
    _SELECT
    + """
    WHERE id > %(after)s
        AND (%(state)s::text IS NULL OR state = %(state)s) AND (%(severity)s::text IS NULL OR severity = %(severity)s)
        AND (%(proof)s::text IS NULL OR proof = %(proof)s) AND (%(account)s::text IS NULL OR account = %(account)s)
    ORDER BY id LIMIT %(limit)s
    """
)
SELECT_ONE: Final[LiteralString] = _SELECT + "WHERE id = %s"

# The reports of its proof wait meanwhile, so that nobody acknowledges what is being resolved.
LOCK_ONE: Final[LiteralString] = _SELECT + "WHERE id = %s FOR UPDATE"

SELECT_HISTORY: Final[LiteralString] = """
    SELECT alert_change.id, kind, changed_at, changed_by, reason,
        CASE
            WHEN alert_notice.state = 'delivered' AND alert_notice.delivered_to = '{}' THEN 'nobody'
            ELSE alert_notice.state
        END
    FROM alert_change LEFT JOIN alert_notice ON alert_notice.change_id = alert_change.id
    WHERE alert_id = %s ORDER BY changed_at, alert_change.id
"""

ACKNOWLEDGE: Final[LiteralString] = """
    UPDATE alert
    SET state = 'acknowledged', acknowledged_at = %(now)s, acknowledged_by = %(by)s, acknowledge_reason = %(reason)s
    WHERE id = %(id)s
"""

RESOLVE: Final[LiteralString] = """
    UPDATE alert SET state = 'resolved', resolved_at = %(now)s, resolved_by = %(by)s, resolve_reason = %(reason)s
    WHERE id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert with the facts of its break as they were last seen."""

    id: int
    proof: str
    subject: str
    account: str | None
    position: int | None
    severity: str
    state: str
    expected: str
    found: str
    since: datetime | None
    advice: str
    first_seen_at: datetime
    last_seen_at: datetime
    seen: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledge_reason: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolve_reason: str | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A line of an alert's history; ``notice`` is what became of telling somebody, if anybody is told."""

    id: UUID
    kind: str
    changed_at: datetime
    changed_by: str | None
    reason: str | None
    notice: str | None


@dataclass(frozen=True, slots=True)
class Live:
    """An alert that is not resolved."""

    id: int
    subject: str
    severity: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A new alert; ``again`` if there was one of its subject before."""

    id: int
    subject: str
    again: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Something that became of an alert."""

    id: UUID
    alert_id: int
    kind: str


def lock_live(conn: Connection, proof: str) -> list[Live]:
    """The proof's alerts that are not resolved, which nobody else changes until the transaction ends."""
    return [Live(*row) for row in conn.execute(LOCK_LIVE, [proof])]


def subjects(conn: Connection, proof: str) -> list[tuple[str, str | None, int | None]]:
    """Subject, account and position of the proof's alerts that are not resolved."""
    return [(subject, account, position) for subject, account, position in conn.execute(SELECT_SUBJECTS, [proof])]


def open_alerts(conn: Connection, proof: str, breaks: Sequence[Break], *, now: datetime) -> list[Opened]:
    """One alert for each break."""
    rows = conn.execute(
        INSERT_ALERTS,
        {
            "proof": proof,
            "now": now,
            "subjects": [each.subject for each in breaks],
            "accounts": [each.account for each in breaks],
            "positions": [each.position for each in breaks],
            **_facts(breaks),
        },
    )
    return [Opened(*row) for row in rows]


def see_again(conn: Connection, seen: Sequence[tuple[int, Break]], *, now: datetime) -> None:
    """The breaks last: each alert, by its id, has the facts of now."""
    breaks = [each for _, each in seen]
    conn.execute(UPDATE_SEEN, {"now": now, "ids": [id_ for id_, _ in seen], **_facts(breaks)})


def resolve_by_itself(conn: Connection, ids: Collection[int], *, now: datetime) -> None:
    """What they were about is in order again."""
    conn.execute(RESOLVE_BY_ITSELF, [now, list(ids)])


def note_changes(conn: Connection, changes: Sequence[Change], *, now: datetime) -> None:
    """Write what happened by itself into the history, and into the outbox."""
    conn.execute(INSERT_CHANGES, _of_changes(changes, now, None, None))
    conn.execute(INSERT_NOTICES, [now, [each.id for each in changes]])


async def page(
    conn: AsyncConnection[Any],
    *,
    state: str | None,
    severity: str | None,
    proof: str | None,
    account: str | None,
    after: int,
    limit: int,
) -> list[AlertRow]:
    """The next ``limit`` alerts above the id ``after``, of those that are wanted."""
    wanted = {"state": state, "severity": severity, "proof": proof, "account": account, "after": after, "limit": limit}
    return [AlertRow(*row) async for row in await conn.execute(SELECT_PAGE, wanted)]


async def find(conn: AsyncConnection[Any], alert_id: int) -> AlertRow | None:
    """The alert of this id."""
    row = await (await conn.execute(SELECT_ONE, [alert_id])).fetchone()
    return AlertRow(*row) if row else None


async def lock(conn: AsyncConnection[Any], alert_id: int) -> AlertRow | None:
    """The alert of this id, which nobody else changes until the transaction ends."""
    row = await (await conn.execute(LOCK_ONE, [alert_id])).fetchone()
    return AlertRow(*row) if row else None


async def history(conn: AsyncConnection[Any], alert_id: int) -> list[ChangeRow]:
    """What became of the alert, from its opening on."""
    return [ChangeRow(*row) async for row in await conn.execute(SELECT_HISTORY, [alert_id])]


async def acknowledge(
    conn: AsyncConnection[Any], change: Change, *, by: str, reason: str | None, now: datetime
) -> None:
    """Somebody looks after it. Nobody is told: whoever wants to know asks."""
    await conn.execute(ACKNOWLEDGE, {"now": now, "by": by, "reason": reason, "id": change.alert_id})
    await conn.execute(INSERT_CHANGES, _of_changes([change], now, by, reason))


async def resolve(conn: AsyncConnection[Any], change: Change, *, by: str, reason: str, now: datetime) -> None:
    """Somebody says that it is done with."""
    await conn.execute(RESOLVE, {"now": now, "by": by, "reason": reason, "id": change.alert_id})
    await conn.execute(INSERT_CHANGES, _of_changes([change], now, by, reason))
    await conn.execute(INSERT_NOTICES, [now, [change.id]])


def _of_changes(changes: Sequence[Change], now: datetime, by: str | None, reason: str | None) -> dict[str, Any]:
    return {
        "now": now,
        "by": by,
        "reason": reason,
        "ids": [each.id for each in changes],
        "alert_ids": [each.alert_id for each in changes],
        "kinds": [each.kind for each in changes],
    }


def _facts(breaks: Sequence[Break]) -> dict[str, Any]:
    return {
        "severities": [each.severity.value for each in breaks],
        "expected": [each.expected for each in breaks],
        "found": [each.found for each in breaks],
        "since": [each.since for each in breaks],
        "advice": [each.advice for each in breaks],
    }
