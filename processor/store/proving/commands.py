"""Commands against their outcomes, their transfers, their places in line and the clock."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, LiteralString

from psycopg import Connection

from processor.store.arrays import bigints

KNOWN_TYPES: Final = (
    *("open_account", "deposit", "withdraw", "transfer"),
    *("advance", "repay", "collect", "write_off"),
    *("place_hold", "capture_hold", "release_hold", "expire_hold"),
    *("freeze", "unfreeze", "close", "set_limits", "reverse", "adjust"),
)
"""Those of which it is said below what they should have led to."""

# What each command should have led to, in the same words as what it led to: a leg is its number, kind, accounts and
# amount. A write-off gives up what the advance says, a collect takes what there was, a capture what the hold says. The
# fee is owed by a withdrawal that ended below zero, as it was for the account then. A reversal is the mirror of
# what it reverses, from the last leg to the first. What a command of an unknown type does is not known, so not wrong.
FIND_WRONG_EFFECTS: Final[LiteralString] = """
    SELECT
        position, outcomes, status, decided_at, type, coalesce(account, from_account), found, expected, has_row
    FROM (
        SELECT asked.*,
            CASE
                WHEN status IS DISTINCT FROM 'applied' OR type IN (
                    'open_account', 'place_hold', 'release_hold', 'expire_hold',
                    'freeze', 'unfreeze', 'close', 'set_limits'
                ) THEN '{}'
                WHEN type = 'deposit' THEN ARRAY[format('1 deposit %%s>%%s %%s', settlement, account, amount_minor)]
                WHEN type = 'withdraw' THEN
                    ARRAY[format('1 withdrawal %%s>%%s %%s', account, settlement, amount_minor)]
                    || CASE WHEN overdrawn AND fee_minor > 0 THEN
                        ARRAY[format('2 overdraft_fee %%s>%%s %%s', account, fee_income, fee_minor)]
                    END
                WHEN type = 'transfer' THEN
                    ARRAY[format('1 transfer %%s>%%s %%s', from_account, to_account, amount_minor)]
                WHEN type = 'advance' THEN ARRAY[format('1 advance %%s>%%s %%s', receivable, account, amount_minor)]
                WHEN type = 'repay' THEN ARRAY[format('1 repayment %%s>%%s %%s', account, receivable, amount_minor)]
                WHEN type = 'collect' THEN ARRAY[format('1 collection %%s>%%s %%s', account, receivable, moved_minor)]
                WHEN type = 'write_off' THEN ARRAY[format('1 write_off %%s>%%s %%s', loss, receivable, (
                    SELECT written_off_minor FROM advance JOIN command AS granting ON granting.position = advance.id
                    WHERE granting.id = asked.advance_id
                ))]
                WHEN type = 'capture_hold' THEN ARRAY[
                    format('1 capture %%s>%%s %%s', account, coalesce(to_account, settlement), (
                        SELECT captured_minor FROM hold WHERE hold.settled_by = asked.position
                    ))
                ]
                WHEN type = 'adjust' THEN
                    ARRAY[format('1 adjustment %%s>%%s %%s', from_account, to_account, amount_minor)]
                WHEN type = 'reverse' THEN coalesce((
                    SELECT array_agg(
                        format(
                            '%%s reversal %%s>%%s %%s', row_number, mirrored.credit, mirrored.debit,
                            mirrored.amount_minor
                        ) ORDER BY row_number
                    )
                    FROM (
                        SELECT row_number() OVER (ORDER BY leg DESC), debit.name AS debit, credit.name AS credit,
                            transfer.amount_minor
                        FROM reversal
                        JOIN transfer ON transfer.position = reversal.reverses
                        LEFT JOIN account AS debit ON debit.id = debit_account_id
                        LEFT JOIN account AS credit ON credit.id = credit_account_id
                        WHERE reversal.position = asked.position
                    ) AS mirrored
                ), '{}')
                WHEN type <> ALL(%(known)b::text[]) THEN found
                ELSE ARRAY['what a command of this type does']
            END AS expected,
            CASE
                WHEN reverses_any AND (type, status) IS DISTINCT FROM ('reverse', 'applied') THEN false
                WHEN status = 'applied' AND type = 'open_account' THEN
                    (SELECT name FROM account AS opened WHERE opened.id = asked.position) IS NOT DISTINCT FROM account
                    AND (changes OR num_nulls(overdraft_limit_minor, overdraft_fee_minor) = 0)
                WHEN status = 'applied' AND type = 'advance' THEN
                    EXISTS (SELECT FROM advance WHERE id = asked.position)
                WHEN status = 'applied' AND type = 'place_hold' THEN EXISTS (
                    SELECT FROM hold JOIN account AS holder ON holder.id = hold.account_id
                    WHERE hold.id = asked.position AND holder.name = asked.account
                        AND hold.amount_minor = asked.amount_minor AND hold.currency = asked.currency
                        AND hold.expires_at IS NOT DISTINCT FROM asked.expires_at
                )
                WHEN status = 'applied' AND type IN ('capture_hold', 'release_hold', 'expire_hold') THEN EXISTS (
                    SELECT FROM hold JOIN command AS reserving ON reserving.position = hold.id
                    WHERE hold.settled_by = asked.position AND reserving.id = asked.hold_id
                        AND reserving.account = asked.account
                        AND hold.state = CASE asked.type
                            WHEN 'capture_hold' THEN 'captured' WHEN 'release_hold' THEN 'released' ELSE 'expired'
                        END
                        AND (
                            asked.type <> 'capture_hold'
                            OR hold.captured_minor = coalesce(asked.amount_minor, hold.amount_minor)
                        )
                )
                WHEN status = 'applied' AND type IN ('freeze', 'unfreeze', 'close', 'set_limits') THEN changes
                WHEN status = 'applied' AND type = 'reverse' THEN EXISTS (
                    SELECT FROM reversal JOIN command AS earlier ON earlier.position = reversal.reverses
                    WHERE reversal.position = asked.position AND earlier.id = asked.reverses
                        AND earlier.type <> 'reverse'
                )
                ELSE
                    (status IS NOT DISTINCT FROM 'failed')
                    = EXISTS (SELECT FROM dead_letter WHERE dead_letter.position = asked.position)
            END AS has_row
        FROM (
            SELECT
                wanted.position, answer.outcomes, answer.status, answer.decided_at,
                type, account, from_account, to_account, amount_minor, currency, advance_id, hold_id, expires_at,
                reverses, command.overdraft_limit_minor, command.overdraft_fee_minor,
                '@settlement:' || currency AS settlement, '@fee_income:' || currency AS fee_income,
                '@advances_receivable:' || currency AS receivable, '@credit_loss:' || currency AS loss,
                coalesce(legs.found, '{}') AS found, legs.moved_minor, legs.overdrawn, legs.fee_minor,
                EXISTS (SELECT FROM reversal WHERE reversal.position = wanted.position) AS reverses_any,
                EXISTS (
                    SELECT FROM account_change JOIN account AS holder ON holder.id = account_change.account_id
                    WHERE account_change.position = wanted.position AND holder.name = command.account
                ) AS changes
            FROM (SELECT DISTINCT unnest(%(positions)b::bigint[]) AS position) AS wanted
            LEFT JOIN command ON command.position = wanted.position
            CROSS JOIN LATERAL (
                SELECT count(*) AS outcomes, min(status) AS status, min(decided_at) AS decided_at
                FROM outcome WHERE outcome.position = wanted.position
            ) AS answer
            CROSS JOIN LATERAL (
                SELECT
                    array_agg(
                        format(
                            '%%s %%s %%s>%%s %%s', leg, transfer.kind, debit.name, credit.name, transfer.amount_minor
                        ) ORDER BY leg
                    ) AS found,
                    min(transfer.amount_minor) AS moved_minor,
                    bool_or(transfer.kind = 'withdrawal' AND debit_balance_minor < 0) AS overdrawn,
                    min((
                        SELECT coalesce(
                            (
                                SELECT account_change.overdraft_fee_minor FROM account_change
                                WHERE account_change.account_id = debit.id
                                    AND account_change.version < transfer.debit_version
                                ORDER BY version DESC, account_change.position DESC LIMIT 1
                            ),
                            (SELECT overdraft_fee_minor FROM command AS opening WHERE opening.position = debit.id)
                        )
                    )) FILTER (WHERE transfer.kind = 'withdrawal' AND debit_balance_minor < 0) AS fee_minor
                FROM transfer
                LEFT JOIN account AS debit ON debit.id = debit_account_id
                LEFT JOIN account AS credit ON credit.id = credit_account_id
                WHERE transfer.position = wanted.position
            ) AS legs
        ) AS asked
    ) AS answered
    WHERE outcomes > 1 OR (outcomes = 0 AND found <> '{}') OR (outcomes > 0 AND type IS NULL)
        OR found <> expected OR (outcomes > 0 AND NOT has_row)
    ORDER BY position
"""

# A newer release than this one decides commands that this one has never heard of.
SELECT_UNKNOWN_TYPES: Final[LiteralString] = """
    SELECT DISTINCT type FROM command WHERE position = ANY(%b::bigint[]) AND type <> ALL(%b::text[]) ORDER BY type
"""

# A page of transfers, and those of them that are no answer to anything.
SELECT_ORPHANS: Final[LiteralString] = """
    SELECT
        array_agg(DISTINCT page.position) FILTER (
            WHERE NOT EXISTS (SELECT FROM outcome WHERE outcome.position = page.position)
        ),
        max(page.position)
    FROM (SELECT position FROM transfer WHERE position > %b ORDER BY position, leg LIMIT %b) AS page
"""

# Those of these commands that have no outcome and wait nowhere, and those that wait although they have one.
FIND_LOST: Final[LiteralString] = """
    SELECT position, accepted_at, coalesce(command.account, from_account), answered, waits, is_held
    FROM (
        SELECT command.*,
            EXISTS (SELECT FROM outcome WHERE outcome.position = command.position) AS answered,
            EXISTS (SELECT FROM pending WHERE pending.position = place.position) AS waits,
            EXISTS (SELECT FROM held WHERE held.position = place.position) AS is_held
        FROM command
        -- Of linked commands, the first waits for all.
        CROSS JOIN LATERAL (
            SELECT CASE WHEN link IS NULL THEN command.position
                ELSE (SELECT waiting.position FROM command AS waiting WHERE waiting.id = command.link) END AS position
        ) AS place
        WHERE command.position = ANY(%b::bigint[])
    ) AS command
    WHERE answered::int + waits::int + is_held::int <> 1
    ORDER BY position
"""

# Whose place it is: of linked commands the first stands there for the accounts of all, and the others nowhere.
_ACCOUNTS: Final[LiteralString] = """
    CASE
        WHEN command.link IS NULL THEN ARRAY[command.account, command.from_account, command.to_account]
        WHEN command.link <> command.id THEN '{}'
        ELSE (
            SELECT array_agg(name)
            FROM command AS linked, unnest(ARRAY[linked.account, linked.from_account, linked.to_account]) AS name
            WHERE linked.position >= command.position AND linked.position < command.position + command.link_size
                AND linked.link = command.id
        )
    END
"""

# A page of places in line, and one of those that are held, each with its command if there is one.
SELECT_PENDING: Final[LiteralString] = """
    SELECT page.position, page.account_key, command.accepted_at, {_ACCOUNTS}
    FROM (
        SELECT position, account_key FROM pending WHERE (position, account_key) > (%b, %b)
        ORDER BY position, account_key LIMIT %b
    ) AS page LEFT JOIN command USING (position)
    ORDER BY page.position, page.account_key
""".replace("{_ACCOUNTS}", _ACCOUNTS)

SELECT_HELD: Final[LiteralString] = """
    SELECT page.position, page.account_key, command.accepted_at, {_ACCOUNTS}
    FROM (
        SELECT position, account_key FROM held WHERE (position, account_key) > (%b, %b)
        ORDER BY position, account_key LIMIT %b
    ) AS page LEFT JOIN command USING (position)
    ORDER BY page.position, page.account_key
""".replace("{_ACCOUNTS}", _ACCOUNTS)

# The neighbour is the command accepted just before. One that is itself dated wrongly accuses nobody.
FIND_WRONG_CLOCKS: Final[LiteralString] = """
    SELECT command.position, command.accepted_at, outcome.decided_at, earlier.accepted_at
    FROM command LEFT JOIN outcome USING (position)
    LEFT JOIN LATERAL (
        SELECT before.accepted_at, least(%(latest)b, answer.decided_at + %(tolerance)b) AS sane_until
        FROM (
            SELECT position, accepted_at FROM command AS before
            WHERE before.position < command.position ORDER BY before.position DESC LIMIT 1
        ) AS before LEFT JOIN outcome AS answer USING (position)
    ) AS earlier ON earlier.accepted_at <= earlier.sane_until
    WHERE command.position = ANY(%(positions)b::bigint[])
        AND (
            command.accepted_at > %(latest)b OR outcome.decided_at > %(latest)b
            OR outcome.decided_at < command.accepted_at - %(tolerance)b
            OR command.accepted_at < earlier.accepted_at - %(tolerance)b
        )
    ORDER BY command.position
"""


@dataclass(frozen=True, slots=True)
class WrongEffect:
    """A command whose outcome, transfers and rows do not belong together. A leg is in words."""

    position: int
    outcomes: int
    status: str | None
    decided_at: datetime | None
    type: str | None
    account: str | None
    found: Sequence[str]
    expected: Sequence[str]
    has_row: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A command that is not in exactly one of the three places: answered, in line, held."""

    position: int
    accepted_at: datetime
    account: str | None
    answered: bool
    waits: bool
    is_held: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command in line or held, with the lock keys under which it is. Without a receipt, it was never accepted."""

    position: int
    account_keys: Sequence[int]
    accepted_at: datetime | None
    accounts: Collection[str]
    is_held: bool


@dataclass(frozen=True, slots=True)
class WrongClock:
    """A command whose instants contradict the present, each other or those of the command accepted before it."""

    position: int
    accepted_at: datetime
    decided_at: datetime | None
    before_accepted_at: datetime | None


def find_wrong_effects(conn: Connection[Any], positions: Sequence[int]) -> list[WrongEffect]:
    """Those of the commands whose outcome, transfers and rows do not belong together."""
    found = conn.execute(FIND_WRONG_EFFECTS, {"positions": bigints(positions), "known": list(KNOWN_TYPES)})
    return [WrongEffect(*row) for row in found]


def find_unknown_types(conn: Connection[Any], positions: Sequence[int]) -> list[str]:
    """The types of these commands that are none of ``KNOWN_TYPES``."""
    return [type_ for (type_,) in conn.execute(SELECT_UNKNOWN_TYPES, [bigints(positions), list(KNOWN_TYPES)])]


def find_orphans(conn: Connection[Any], *, after: int, limit: int) -> tuple[list[int], int | None]:
    """The positions of a page of transfers that have no outcome; and the last one, ``None`` at the end."""
    row = conn.execute(SELECT_ORPHANS, [after, limit]).fetchone()
    return (row[0] or [], row[1]) if row else ([], None)


def find_lost(conn: Connection[Any], positions: Sequence[int]) -> list[Lost]:
    """Those of the commands that are answered and wait, or neither."""
    return [Lost(*row) for row in conn.execute(FIND_LOST, [bigints(positions)])]


def waiting(conn: Connection[Any], limit: int) -> Iterator[Waiting]:
    """The commands that are in line, and then those that are held, each in order of position."""
    for statement, is_held in ((SELECT_PENDING, False), (SELECT_HELD, True)):
        for position, places in groupby(_places(conn, statement, limit), key=lambda row: row[0]):
            rows = list(places)
            _, _, accepted_at, accounts = rows[0]
            names = {name for name in accounts or () if name is not None}
            yield Waiting(position, [key for _, key, *_ in rows], accepted_at, names, is_held)


def _places(conn: Connection[Any], statement: LiteralString, limit: int) -> Iterator[tuple[Any, ...]]:
    after = (0, -(2**63))
    while rows := conn.execute(statement, [*after, limit]).fetchall():
        yield from rows
        after = rows[-1][:2]


def find_wrong_clocks(
    conn: Connection[Any], positions: Sequence[int], *, latest: datetime, tolerance: Any
) -> list[WrongClock]:
    """Those of the commands that are dated after ``latest``, or too long before what came before them."""
    rows = conn.execute(FIND_WRONG_CLOCKS, {"positions": bigints(positions), "latest": latest, "tolerance": tolerance})
    return [WrongClock(*row) for row in rows]
