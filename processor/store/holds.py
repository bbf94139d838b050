"""Money on hold, read under its account's lock and written with the outcomes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, Cursor

from processor.domain.books import Account, Books
from processor.domain.decide import Decided
from processor.domain.holds import Hold, HoldState
from processor.errors import BooksError
from processor.store.arrays import bigints

# Of locked accounts only: what is read of any other might be changed a moment later.
GATHER_HOLDS: Final[LiteralString] = """
    SELECT id, account_id, currency, amount_minor, expires_at, state, captured_minor, settled_by, attempts
    FROM hold WHERE id = ANY(%b::bigint[]) AND account_id = ANY(%b::bigint[]) ORDER BY id
"""

INSERT_HOLDS: Final[LiteralString] = """
    INSERT INTO hold (id, account_id, currency, amount_minor, expires_at, state, captured_minor, settled_by, attempts)
    SELECT * FROM unnest(
        %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::timestamptz[], %b::text[], %b::bigint[], %b::bigint[],
        %b::bigint[]
    )
"""

# A hold ends once: one that is not held any more is not as it was read.
UPDATE_HOLDS: Final[LiteralString] = """
    UPDATE hold
    SET state = ended.state, captured_minor = ended.captured_minor, settled_by = ended.settled_by,
        attempts = ended.attempts
    FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[])
        AS ended (id, state, captured_minor, settled_by, attempts)
    WHERE hold.id = ended.id AND hold.state = 'held'
    RETURNING hold.id
"""

# Of an expiry that failed: nobody decided anything, and a person is told. Another attempt is made a day later.
COUNT_ATTEMPT: Final[LiteralString] = """
    UPDATE hold SET attempts = hold.attempts + 1, failed_at = %(now)b
    FROM command JOIN command AS reserving ON reserving.id = command.hold_id
    WHERE command.position = %(position)b AND command.type = 'expire_hold'
        AND hold.id = reserving.position AND hold.state = 'held'
"""


def gather(conn: Connection, accounts: Collection[Account], named: Collection[int]) -> list[Hold]:
    """Those of the ``named`` holds that are on these accounts, which are locked."""
    if not named:
        return []
    names = {account.id: account.name for account in accounts}
    return [
        Hold(id_, names[account_id], currency, amount_minor, expires_at, HoldState(state), *rest)
        for id_, account_id, currency, amount_minor, expires_at, state, *rest in conn.execute(
            GATHER_HOLDS, [bigints(named), bigints(names)]
        )
    ]


def record(conn: Connection, books: Books, decided: Decided, account_ids: Mapping[str, int]) -> "Cursor[Any] | None":
    """Write the holds that are new or have ended. Called in a pipeline: ``check`` the cursor once that has ended."""
    new = [hold for hold in decided.holds if hold.id not in books.holds]
    if new:
        conn.execute(
            INSERT_HOLDS,
            [
                bigints(hold.id for hold in new),
                bigints(account_ids[hold.account] for hold in new),
                [hold.currency for hold in new],
                bigints(hold.amount_minor for hold in new),
                [hold.expires_at for hold in new],
                [hold.state.value for hold in new],
                bigints(hold.captured_minor for hold in new),
                bigints(hold.settled_by for hold in new),
                bigints(hold.attempts for hold in new),
            ],
        )
    ended = _ended(books, decided)
    if not ended:
        return None
    return conn.execute(
        UPDATE_HOLDS,
        [
            bigints(hold.id for hold in ended),
            [hold.state.value for hold in ended],
            bigints(hold.captured_minor for hold in ended),
            bigints(hold.settled_by for hold in ended),
            bigints(hold.attempts for hold in ended),
        ],
    )


def count_attempt(conn: Connection, position: int, *, now: datetime) -> None:
    """If the command at ``position`` is an expiry, let its hold have another attempt."""
    conn.execute(COUNT_ATTEMPT, {"position": position, "now": now})


def check(books: Books, decided: Decided, updated: "Cursor[Any] | None") -> None:
    """Raise ``BooksError`` if a hold was not as it was read."""
    kept = set() if updated is None else {hold_id for (hold_id,) in updated}
    if others := [hold.id for hold in _ended(books, decided) if hold.id not in kept]:
        raise BooksError(f"holds not as they were read under their account's lock: {others}")


def _ended(books: Books, decided: Decided) -> Sequence[Hold]:
    return [hold for hold in decided.holds if hold.id in books.holds]
