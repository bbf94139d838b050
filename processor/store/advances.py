"""Advances and their instalments, read under the account's lock and written with the outcomes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, Cursor

from processor.domain.advances import Advance, AdvanceState, Instalment
from processor.domain.books import Account, Books
from processor.domain.decide import Decided
from processor.errors import BooksError
from processor.store.arrays import bigints

# Of locked accounts only: what is read of any other might be changed a moment later. Joined to nothing, so that there
# is one way to do it, also while Postgres knows nothing of the tables yet.
GATHER_ADVANCES: Final[LiteralString] = """
    SELECT
        id, account_id, currency, amount_minor, first_due_on, instalments,
        paid_minor, written_off_minor, state, version
    FROM advance
    WHERE account_id = ANY(%b::bigint[]) AND (state IN ('open', 'in_arrears') OR id = ANY(%b::bigint[]))
    ORDER BY id
"""

# What is settled stays as it is: only the scheduled ones can matter to any decision.
GATHER_INSTALMENTS: Final[LiteralString] = """
    SELECT
        advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, attempts, failed_at
    FROM instalment WHERE advance_id = ANY(%b::bigint[]) AND state = 'scheduled'
    ORDER BY advance_id, number
"""

INSERT_ADVANCES: Final[LiteralString] = """
    INSERT INTO advance (
        id, account_id, currency, amount_minor, first_due_on, granted_at,
        version, instalments, paid_minor, written_off_minor, state
    )
    SELECT id, account_id, currency, amount_minor, first_due_on, %b,
        version, instalments, paid_minor, written_off_minor, state
    FROM unnest(
        %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::date[],
        %b::bigint[], %b::smallint[], %b::bigint[], %b::bigint[], %b::text[]
    ) AS granted (
        id, account_id, currency, amount_minor, first_due_on, version, instalments, paid_minor, written_off_minor, state
    )
"""

# The old version is named as well, as with accounts: what was decided on other rows than these is not written.
UPDATE_ADVANCES: Final[LiteralString] = """
    UPDATE advance
    SET version = altered.version, instalments = altered.instalments, paid_minor = altered.paid_minor,
        written_off_minor = altered.written_off_minor, state = altered.state
    FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[], %b::bigint[], %b::bigint[], %b::text[])
        AS altered (id, version_before, version, instalments, paid_minor, written_off_minor, state)
    WHERE advance.id = altered.id AND advance.version = altered.version_before
    RETURNING advance.id
"""

# One statement for those that are new and those that were read: a settled one is never changed again.
PUT_INSTALMENTS: Final[LiteralString] = """
    INSERT INTO instalment (
        advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state, settled_by, attempts, failed_at
    )
    SELECT * FROM unnest(
        %b::bigint[], %b::smallint[], %b::date[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[],
        %b::smallint[], %b::timestamptz[]
    )
    ON CONFLICT (advance_id, number) DO UPDATE
    SET amount_minor = excluded.amount_minor, rolled_minor = excluded.rolled_minor, paid_minor = excluded.paid_minor,
        state = excluded.state, settled_by = excluded.settled_by,
        attempts = excluded.attempts, failed_at = excluded.failed_at
    WHERE instalment.state = 'scheduled'
    RETURNING advance_id, number
"""

# Of a collect that failed: nobody decided anything, and a person is told. Another attempt is made a day later.
COUNT_ATTEMPT: Final[LiteralString] = """
    UPDATE instalment SET attempts = instalment.attempts + 1, failed_at = %(now)b
    FROM command JOIN command AS granting ON granting.id = command.advance_id
    WHERE command.position = %(position)b AND command.type = 'collect'
        AND instalment.advance_id = granting.position AND instalment.number = command.instalment
        AND instalment.state = 'scheduled'
"""


def gather(conn: Connection, accounts: Collection[Account], named: Collection[int]) -> list[Advance]:
    """The live advances of these accounts, which are locked, and of their others those that are ``named``."""
    names = {account.id: account.name for account in accounts}
    rows = conn.execute(GATHER_ADVANCES, [bigints(names), bigints(named)]).fetchall()
    if not rows:
        return []
    scheduled: dict[int, list[Instalment]] = {}
    for advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, attempts, failed_at in conn.execute(
        GATHER_INSTALMENTS, [bigints(row[0] for row in rows)]
    ):
        scheduled.setdefault(advance_id, []).append(
            Instalment(
                number,
                due_on,
                amount_minor,
                rolled_minor,
                paid_minor,
                attempts=attempts,
                failed_at=failed_at,
            )
        )
    return [
        read_advance((id_, names[account_id], *rest), tuple(scheduled.get(id_, ()))) for id_, account_id, *rest in rows
    ]


def read_advance(row: Sequence[Any], instalments: tuple[Instalment, ...]) -> Advance:
    """An advance of its columns in the order of ``GATHER_ADVANCES``, with the account's name for its id."""
    id_, account, currency, amount_minor, first_due_on, count, paid_minor, written_off_minor, state, version = row
    return Advance(
        id=id_,
        account=account,
        currency=currency,
        amount_minor=amount_minor,
        first_due_on=first_due_on,
        count=count,
        paid_minor=paid_minor,
        written_off_minor=written_off_minor,
        state=AdvanceState(state),
        version=version,
        instalments=instalments,
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What was sent to Postgres, and its answers: to be compared once the pipeline has ended."""

    advances: Sequence[Advance]
    instalments: Sequence[tuple[int, Instalment]]
    updated: Cursor[Any]
    put: Cursor[Any]

    def check(self) -> None:
        """Raise ``BooksError`` if a row was not as it was read."""
        kept = {advance_id for (advance_id,) in self.updated}
        if others := [advance.id for advance in self.advances if advance.id not in kept]:
            raise BooksError(f"advances not as they were read under their account's lock: {others}")
        done = set(self.put.fetchall())
        if settled := [(id_, each.number) for id_, each in self.instalments if (id_, each.number) not in done]:
            raise BooksError(f"instalments that were settled meanwhile, by advance and number: {settled}")


def record(
    conn: Connection, books: Books, decided: Decided, account_ids: Mapping[str, int], *, now: datetime
) -> Written | None:
    """Write the advances that are new or otherwise than they were read. Called in a pipeline: nothing is awaited."""
    if not decided.granted and not decided.altered:
        return None
    _insert(conn, decided.granted, account_ids, now)
    updated = _update(conn, books, decided.altered)
    instalments = list(_changed(books, decided))
    return Written(decided.altered, instalments, updated, _put(conn, instalments))


def count_attempt(conn: Connection, position: int, *, now: datetime) -> None:
    """If the command at ``position`` is a collect, let its instalment have another attempt."""
    conn.execute(COUNT_ATTEMPT, {"position": position, "now": now})


def _changed(books: Books, decided: Decided) -> Iterator[tuple[int, Instalment]]:
    """The instalments that are new or otherwise than they were read, with their advance's id."""
    for advance in (*decided.granted, *decided.altered):
        read = books.advances.get(advance.id)
        before = set(read.instalments) if read else set()
        yield from ((advance.id, each) for each in advance.instalments if each not in before)


def _insert(conn: Connection, granted: Sequence[Advance], account_ids: Mapping[str, int], now: datetime) -> None:
    conn.execute(
        INSERT_ADVANCES,
        [
            now,
            bigints(advance.id for advance in granted),
            bigints(account_ids[advance.account] for advance in granted),
            [advance.currency for advance in granted],
            bigints(advance.amount_minor for advance in granted),
            [advance.first_due_on for advance in granted],
            bigints(advance.version for advance in granted),
            [advance.count for advance in granted],
            bigints(advance.paid_minor for advance in granted),
            bigints(advance.written_off_minor for advance in granted),
            [advance.state.value for advance in granted],
        ],
    )


def _update(conn: Connection, books: Books, altered: Sequence[Advance]) -> Cursor[Any]:
    return conn.execute(
        UPDATE_ADVANCES,
        [
            bigints(advance.id for advance in altered),
            bigints(books.advances[advance.id].version for advance in altered),
            bigints(advance.version for advance in altered),
            [advance.count for advance in altered],
            bigints(advance.paid_minor for advance in altered),
            bigints(advance.written_off_minor for advance in altered),
            [advance.state.value for advance in altered],
        ],
    )


def _put(conn: Connection, instalments: Sequence[tuple[int, Instalment]]) -> Cursor[Any]:
    rows = [each for _, each in instalments]
    return conn.execute(
        PUT_INSTALMENTS,
        [
            bigints(advance_id for advance_id, _ in instalments),
            [each.number for each in rows],
            [each.due_on for each in rows],
            bigints(each.amount_minor for each in rows),
            bigints(each.rolled_minor for each in rows),
            bigints(each.paid_minor for each in rows),
            [each.state.value for each in rows],
            bigints(each.settled_by for each in rows),
            [each.attempts for each in rows],
            [each.failed_at for each in rows],
        ],
    )
