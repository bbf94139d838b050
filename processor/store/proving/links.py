"""Linked commands against their outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store.arrays import bigints

# Of each link that one of these commands belongs to: its commands, by the positions that follow the first one's, and
# what became of them. In one transaction they were all applied, or all refused of which one said why, or all failed.
FIND_BROKEN: Final[LiteralString] = """
    SELECT first.position, first.link_size, first.account, commands, statuses, transactions, culprits
    FROM (
        SELECT DISTINCT coalesce(waiting.id, command.id) AS id
        FROM command LEFT JOIN command AS waiting ON waiting.id = command.link
        WHERE command.position = ANY(%b::bigint[]) AND command.link IS NOT NULL
    ) AS wanted
    JOIN command AS first ON first.id = wanted.id
    CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE linked.link = first.id AND linked.link_size = first.link_size
                AND linked.client_id = first.client_id) AS commands,
            array_agg(coalesce(outcome.status, 'pending') ORDER BY linked.position) AS statuses,
            count(DISTINCT outcome.xid) AS transactions,
            count(*) FILTER (WHERE outcome.reason <> 'linked_command_refused') AS culprits
        FROM command AS linked LEFT JOIN outcome ON outcome.position = linked.position
        WHERE linked.position >= first.position AND linked.position < first.position + first.link_size
    ) AS became
    WHERE first.link IS DISTINCT FROM first.id
        OR commands <> first.link_size OR cardinality(statuses) <> first.link_size
        OR statuses <> array_fill(statuses[1], ARRAY[cardinality(statuses)])
        OR (statuses[1] <> 'pending' AND transactions <> 1)
        OR (statuses[1] = 'refused' AND culprits <> 1)
    ORDER BY first.position
"""


@dataclass(frozen=True, slots=True)
class Broken:
    """Linked commands that were not applied all or none. ``position`` and ``account`` are those of the first."""

    position: int
    size: int | None
    account: str | None
    commands: int
    statuses: Sequence[str]
    transactions: int
    culprits: int


def find_broken(conn: Connection[Any], positions: Sequence[int]) -> list[Broken]:
    """What these commands are linked to, as far as not all of it came to the same at once."""
    return [Broken(*row) for row in conn.execute(FIND_BROKEN, [bigints(positions)])]
