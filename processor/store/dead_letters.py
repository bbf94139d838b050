"""Dead letters, and what people did about them: rows are added, and none is changed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection

from processor.account_keys import account_key
from processor.store.arrays import bigints
from processor.submissions import CommandBody

# Dealt with is one that was discarded, or retried by a command that is pending, applied or a dead letter itself. If the
# retry was refused, nothing was moved: whoever asked for the money still waits for it. Few rows: a look at all of them
# costs next to nothing.
DEAD_LETTERS_OPEN: Final[LiteralString] = """
    SELECT count(*), min(failed_at) FROM dead_letter
    WHERE NOT EXISTS (
        SELECT FROM dead_letter_action LEFT JOIN outcome ON outcome.position = retry_position
        WHERE dead_letter_action.position = dead_letter.position AND outcome.status IS DISTINCT FROM 'refused'
    )
"""

# The same ones, the oldest first: they have waited longest.
SELECT_POSITIONS: Final[LiteralString] = """
    SELECT position FROM dead_letter
    WHERE %(all)b OR NOT EXISTS (
        SELECT FROM dead_letter_action LEFT JOIN outcome ON outcome.position = retry_position
        WHERE dead_letter_action.position = dead_letter.position AND outcome.status IS DISTINCT FROM 'refused'
    )
    ORDER BY failed_at, position LIMIT %(limit)b
"""

SELECT_ERRORS: Final[LiteralString] = """
    SELECT position, error, failed_at FROM dead_letter WHERE position = ANY(%b::bigint[])
"""

# What was done about these, and what became of each retry so far.
SELECT_ACTIONS: Final[LiteralString] = """
    SELECT
        dead_letter_action.position, number, action, acted_by, acted_at, dead_letter_action.reason,
        retry_position, command.id,
        CASE WHEN retry_position IS NOT NULL THEN coalesce(outcome.status, 'pending') END, outcome.reason
    FROM dead_letter_action
    LEFT JOIN command ON command.position = retry_position
    LEFT JOIN outcome ON outcome.position = retry_position
    WHERE dead_letter_action.position = ANY(%b::bigint[])
    ORDER BY dead_letter_action.position, number
"""

# Of which dead letter these commands are retries.
SELECT_PARENTS: Final[LiteralString] = """
    SELECT retry_position, dead_letter_action.position, command.id, number, acted_by, acted_at,
        dead_letter_action.reason
    FROM dead_letter_action JOIN command ON command.position = dead_letter_action.position
    WHERE retry_position = ANY(%b::bigint[])
"""

INSERT_ACTION: Final[LiteralString] = """
    INSERT INTO dead_letter_action (position, number, action, acted_by, acted_at, reason, retry_position)
    VALUES (%b, %b, %b, %b, %b, %b, %b)
"""

# Who holds a key of the client, if anybody does.
SELECT_KEY: Final[LiteralString] = "SELECT id FROM command WHERE client_id = %b AND idempotency_key = %b"

# A person may be slow, and no client must wait for that: whoever does nothing with the locks in hand loses them soon.
SET_BRIEF: Final[LiteralString] = "SET LOCAL idle_in_transaction_session_timeout = '2s'"
SET_IMPATIENT: Final[LiteralString] = "SET LOCAL lock_timeout = '3s'"

# Other commands of the same client that ask for the same and moved money, or may yet: later ones, and those of the time
# just before, since a dead letter may be itself what was sent again. Nobody looks for them among all commands: the last
# transfers of one of the accounts name those that were applied, and its lines those that wait.
SELECT_ALIKE: Final[LiteralString] = """
    WITH debits AS (
        SELECT position, debit_version AS version FROM transfer
        WHERE debit_account_id = (SELECT id FROM account WHERE name = %(account)b) AND debit_version IS NOT NULL
        ORDER BY debit_version DESC LIMIT %(look_back)b
    ), credits AS (
        SELECT position, credit_version AS version FROM transfer
        WHERE credit_account_id = (SELECT id FROM account WHERE name = %(account)b) AND credit_version IS NOT NULL
        ORDER BY credit_version DESC LIMIT %(look_back)b
    ), waiting AS (
        SELECT position FROM pending WHERE account_key = %(key)b ORDER BY position DESC LIMIT %(look_back)b
    ), detained AS (
        SELECT position FROM held WHERE account_key = %(key)b ORDER BY position DESC LIMIT %(look_back)b
    ), candidate AS (
        SELECT position FROM debits UNION SELECT position FROM credits
        UNION SELECT position FROM waiting UNION SELECT position FROM detained
    )
    SELECT
        command.position, command.id, command.idempotency_key, command.accepted_at,
        CASE
            WHEN outcome.position IS NOT NULL THEN outcome.status
            WHEN EXISTS (SELECT FROM held WHERE held.position = command.position) THEN 'held'
            ELSE 'pending'
        END
    FROM candidate JOIN command USING (position) LEFT JOIN outcome USING (position)
    WHERE command.client_id = %(client_id)b AND command.type = %(type)b AND command.currency = %(currency)b
        AND (command.account, command.from_account, command.to_account, command.amount_minor)
            IS NOT DISTINCT FROM (%(of)b::text, %(from)b::text, %(to)b::text, %(amount_minor)b::bigint)
        AND command.position <> %(position)b
        AND (command.position > %(position)b OR command.accepted_at >= %(since)b OR outcome.position IS NULL)
        AND NOT EXISTS (
            SELECT FROM dead_letter_action
            WHERE dead_letter_action.position = %(position)b AND retry_position = command.position
        )
    ORDER BY command.position DESC LIMIT %(limit)b
"""

# Whether a look ended before it came to the time from which on the like is looked for. Versions are given as commands
# are decided, so whatever lies behind the last one was decided no later.
SELECT_CUT: Final[LiteralString] = """
    WITH debits AS (
        SELECT position, debit_version AS version FROM transfer
        WHERE debit_account_id = (SELECT id FROM account WHERE name = %(account)b) AND debit_version IS NOT NULL
        ORDER BY debit_version DESC LIMIT %(look_back)b
    ), credits AS (
        SELECT position, credit_version AS version FROM transfer
        WHERE credit_account_id = (SELECT id FROM account WHERE name = %(account)b) AND credit_version IS NOT NULL
        ORDER BY credit_version DESC LIMIT %(look_back)b
    ), waiting AS (
        SELECT position FROM pending WHERE account_key = %(key)b ORDER BY position DESC LIMIT %(look_back)b
    ), detained AS (
        SELECT position FROM held WHERE account_key = %(key)b ORDER BY position DESC LIMIT %(look_back)b
    )
    SELECT (SELECT count(*) FROM waiting) >= %(look_back)b OR (SELECT count(*) FROM detained) >= %(look_back)b
    UNION ALL
    SELECT count(*) >= %(look_back)b AND (
        SELECT decided_at >= %(since)b FROM outcome WHERE position = (array_agg(debits.position ORDER BY version))[1]
    )
    FROM debits
    UNION ALL
    SELECT count(*) >= %(look_back)b AND (
        SELECT decided_at >= %(since)b FROM outcome WHERE position = (array_agg(credits.position ORDER BY version))[1]
    )
    FROM credits
"""

LOOK_BACK: Final = 10_000
"""Transfers of an account among which the like of a dead letter is looked for."""

ALIKE_BEFORE: Final = timedelta(days=1)
"""How long before a dead letter its like is looked for as well."""

_ALIKE_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a command was given up, and when."""

    position: int
    error: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did about a dead letter; of a retry also which command it is and what became of it so far."""

    position: int
    number: int
    action: str
    acted_by: str
    acted_at: datetime
    reason: str
    retry_position: int | None
    retry_id: UUID | None
    retry_status: str | None
    retry_reason: str | None


@dataclass(frozen=True, slots=True)
class Parent:
    """The dead letter of which a command is a retry, and who asked for it."""

    position: int
    id: UUID
    number: int
    acted_by: str
    acted_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Alike:
    """Another command that asks for the same."""

    position: int
    id: UUID
    idempotency_key: str
    accepted_at: datetime
    status: str


def dead_letters_open(conn: Connection[Any]) -> tuple[int, datetime | None]:
    """How many dead letters nobody has dealt with, and since when the oldest of them waits."""
    row = conn.execute(DEAD_LETTERS_OPEN).fetchone()
    return (row[0], row[1]) if row else (0, None)


def list_positions(conn: Connection[Any], *, every: bool, limit: int) -> list[int]:
    """The positions of the open dead letters, or of every one."""
    return [position for (position,) in conn.execute(SELECT_POSITIONS, {"all": every, "limit": limit})]


def find(conn: Connection[Any], positions: Collection[int]) -> dict[int, DeadLetter]:
    """Those of the commands that are dead letters."""
    return {row[0]: DeadLetter(*row) for row in conn.execute(SELECT_ERRORS, [bigints(positions)])}


def actions(conn: Connection[Any], positions: Collection[int]) -> dict[int, list[Action]]:
    """What was done about each, in order; nothing of those about which nothing was."""
    found: dict[int, list[Action]] = {position: [] for position in positions}
    for row in conn.execute(SELECT_ACTIONS, [bigints(positions)]):
        found[row[0]].append(Action(*row))
    return found


def parents(conn: Connection[Any], positions: Collection[int]) -> dict[int, Parent]:
    """For those of the commands that are retries: of what."""
    return {row[0]: Parent(*row[1:]) for row in conn.execute(SELECT_PARENTS, [bigints(positions)])}


def add_action(
    conn: Connection[Any],
    position: int,
    number: int,
    action: str,
    *,
    by: str,
    reason: str,
    now: datetime,
    retry_position: int | None = None,
) -> None:
    """Write what somebody does. Raises ``psycopg.errors.UniqueViolation`` if the number was given before."""
    conn.execute(INSERT_ACTION, [position, number, action, by, now, reason, retry_position])


def holder_of(conn: Connection[Any], client_id: int, idempotency_key: str) -> UUID | None:
    """The command that the client's key names."""
    row = conn.execute(SELECT_KEY, [client_id, idempotency_key]).fetchone()
    return row[0] if row else None


def be_brief(conn: Connection[Any]) -> None:
    """For the rest of the transaction: wait for locks, and idle with them, for no more than seconds."""
    conn.execute(SET_BRIEF)
    conn.execute(SET_IMPATIENT)


def find_alike(
    conn: Connection[Any], position: int, accepted_at: datetime, client_id: int, body: CommandBody
) -> tuple[Sequence[Alike], bool]:
    """Commands of the client that ask for the same, the latest ones, and whether everything was looked at."""
    account = body.account or body.from_account or ""
    wanted = {
        "account": account,
        "key": account_key(account),
        "position": position,
        "since": accepted_at - ALIKE_BEFORE,
        "client_id": client_id,
        "type": body.type,
        "currency": body.currency,
        "of": body.account,
        "from": body.from_account,
        "to": body.to_account,
        "amount_minor": body.amount_minor,
        "look_back": LOOK_BACK,
        "limit": _ALIKE_SHOWN,
    }
    alike = [Alike(*row) for row in conn.execute(SELECT_ALIKE, wanted)]
    bounds = {name: wanted[name] for name in ("account", "key", "since", "look_back")}
    return alike[::-1], not any(cut for (cut,) in conn.execute(SELECT_CUT, bounds))
