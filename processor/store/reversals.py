"""What is to be reversed, as it was decided, and which command was reversed by which."""

from collections.abc import Collection, Mapping
from typing import Final, LiteralString

from psycopg import Connection

from processor.domain.books import Done
from processor.domain.outcomes import Side, Status, Transfer, TransferKind
from processor.store.arrays import bigints

# Read under the locks of all its accounts: nobody else reverses it meanwhile. What was decided never changes.
GATHER_DONE: Final[LiteralString] = """
    SELECT outcome.position, outcome.status, reversal.position
    FROM outcome LEFT JOIN reversal ON reversal.reverses = outcome.position
    WHERE outcome.position = ANY(%b::bigint[])
"""

GATHER_LEGS: Final[LiteralString] = """
    SELECT
        transfer.position, transfer.kind, debit.name, debit_version, debit_balance_minor,
        credit.name, credit_version, credit_balance_minor, amount_minor, transfer.currency
    FROM transfer
    JOIN account AS debit ON debit.id = debit_account_id
    JOIN account AS credit ON credit.id = credit_account_id
    WHERE transfer.position = ANY(%b::bigint[])
    ORDER BY transfer.position, transfer.leg
"""

INSERT_REVERSALS: Final[LiteralString] = """
    INSERT INTO reversal (position, reverses) SELECT * FROM unnest(%b::bigint[], %b::bigint[])
"""


def gather(conn: Connection, positions: Collection[int]) -> list[Done]:
    """What became of the commands at these positions, as far as they are decided."""
    if not positions:
        return []
    wanted = bigints(positions)
    legs: dict[int, list[Transfer]] = {}
    rows = conn.execute(GATHER_DONE, [wanted]).fetchall()
    for position, kind, debit, debit_version, debit_minor, credit, credit_version, credit_minor, *rest in conn.execute(
        GATHER_LEGS, [wanted]
    ):
        legs.setdefault(position, []).append(
            Transfer(
                TransferKind(kind),
                Side(debit, debit_version, debit_minor),
                Side(credit, credit_version, credit_minor),
                *rest,
            )
        )
    return [
        Done(position, Status(status), tuple(legs.get(position, ())), reversed_by)
        for position, status, reversed_by in rows
    ]


def record(conn: Connection, reversals: Mapping[int, int]) -> None:
    """Note what was reversed, by the position of the reversal. Called in a pipeline."""
    if reversals:
        conn.execute(INSERT_REVERSALS, [bigints(reversals), bigints(reversals.values())])
