"""What an account was allowed, and from when on: written with the outcome that changed it, never changed."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

from psycopg import Connection

from processor.domain.books import AccountChange
from processor.store.arrays import bigints

INSERT_CHANGES: Final[LiteralString] = """
    INSERT INTO account_change (
        position, account_id, version, status, overdraft_limit_minor, overdraft_fee_minor,
        daily_count, daily_amount_minor
    )
    SELECT * FROM unnest(
        %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[]
    )
"""


def record(conn: Connection, changes: Sequence[AccountChange], account_ids: Mapping[str, int]) -> None:
    """Write what was changed. Called in a pipeline."""
    if not changes:
        return
    conn.execute(
        INSERT_CHANGES,
        [
            bigints(each.position for each in changes),
            bigints(account_ids[each.account.name] for each in changes),
            bigints(each.account.version for each in changes),
            [each.account.status.value for each in changes],
            bigints(each.account.overdraft_limit_minor for each in changes),
            bigints(each.account.overdraft_fee_minor for each in changes),
            bigints(each.account.daily.count if each.account.daily.is_limited else None for each in changes),
            bigints(each.account.daily.amount_minor if each.account.daily.is_limited else None for each in changes),
        ],
    )
