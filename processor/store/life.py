"""One command's life as rows tell it: what was asked, how it was delivered, and all that it led to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection

from processor.account_keys import account_key
from processor.store.arrays import bigints
from processor.store.books import PendingRow
from processor.submissions import FIELDS, CommandBody

MAX_POSITION: Final = 2**63 - 1

_SELECT: Final[LiteralString] = """
    SELECT
        command.position, command.id, command.client_id, client.name, command.idempotency_key, command.accepted_at,
        coalesce(outcome.status, 'pending'), outcome.reason, outcome.decided_at,
        -- Of linked commands, it is the first that waits.
        (
            SELECT min(held_at) FROM held
            WHERE outcome.position IS NULL AND held.position = CASE WHEN command.link IS NULL THEN command.position
                ELSE (SELECT waiting.position FROM command AS waiting WHERE waiting.id = command.link) END
        ),
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id),
        (SELECT reserving.position FROM command AS reserving WHERE reserving.id = command.hold_id),
        (SELECT earlier.position FROM command AS earlier WHERE earlier.id = command.reverses),
        command.link, command.link_size,
        (SELECT waiting.position FROM command AS waiting WHERE waiting.id = command.link),
        command.type, command.currency, command.account, command.from_account, command.to_account,
        command.amount_minor, command.overdraft_limit_minor, command.overdraft_fee_minor, command.instalments,
        command.first_due_on, command.advance_id, command.instalment, command.hold_id, command.expires_at,
        command.reverses, command.force, command.daily_count, command.daily_amount_minor, command.reason,
        command.reference, command.metadata
    FROM command JOIN client ON client.id = command.client_id LEFT JOIN outcome USING (position)
"""
SELECT_BY_POSITION: Final[LiteralString] = (
    _SELECT + "WHERE command.position = ANY(%b::bigint[]) ORDER BY command.position"
)

# Keys are looked for client by client, since they belong to their clients: there is an index for it, and few clients.
SELECT_POSITIONS: Final[LiteralString] = """
    SELECT position FROM command WHERE id = %(id)b::uuid
    UNION
    SELECT position FROM command WHERE position = %(position)b::bigint
    UNION
    SELECT command.position FROM client
    JOIN command ON command.client_id = client.id AND command.idempotency_key = %(key)b::text
    WHERE %(client)b::text IS NULL OR client.name = %(client)b::text
    ORDER BY position LIMIT 20
"""

# What a command names, by position: the advance, the hold, the command to be reversed.
SELECT_NAMED: Final[LiteralString] = """
    SELECT
        (SELECT position FROM command WHERE id = %b::uuid),
        (SELECT position FROM command WHERE id = %b::uuid),
        (SELECT position FROM command WHERE id = %b::uuid)
"""

# Positions are given in the order of receipt.
SELECT_OLDEST: Final[LiteralString] = """
    SELECT least((SELECT min(position) FROM pending), (SELECT min(position) FROM held))
"""

SELECT_CLIENT: Final[LiteralString] = "SELECT EXISTS (SELECT FROM client WHERE name = %b)"

# Ids of transactions begin anew in a restored cluster: the instant tells the right one.
SELECT_BATCH: Final[LiteralString] = """
    SELECT worker, message_id, sent_by, sent_at, taken_at, attempt, lock_wait_us, commands
    FROM outcome JOIN apply_batch USING (xid, decided_at) WHERE outcome.position = %b
"""

SELECT_TRANSFERS: Final[LiteralString] = """
    SELECT
        transfer.leg, transfer.kind, debit.name, credit.name, transfer.amount_minor, transfer.currency,
        transfer.debit_balance_minor, transfer.credit_balance_minor
    FROM transfer
    JOIN account AS debit ON debit.id = transfer.debit_account_id
    JOIN account AS credit ON credit.id = transfer.credit_account_id
    WHERE transfer.position = %b ORDER BY transfer.leg
"""

# How long a line is before the command is counted up to a limit: a longer one is as good as that.
SELECT_LINES: Final[LiteralString] = """
    SELECT line.account_key, ahead.count, head.position, head.id
    FROM pending AS line
    CROSS JOIN LATERAL (
        SELECT count(*) FROM (
            SELECT FROM pending
            WHERE pending.account_key = line.account_key AND position < line.position ORDER BY position LIMIT %(limit)b
        ) AS before
    ) AS ahead
    CROSS JOIN LATERAL (
        SELECT command.position, command.id FROM command
        WHERE position = (SELECT min(position) FROM pending WHERE pending.account_key = line.account_key)
    ) AS head
    WHERE line.position = %(position)b
"""

COUNT_WAITING: Final[LiteralString] = """
    SELECT count(*) FROM (SELECT FROM pending WHERE account_key = %b LIMIT %b) AS waiting
"""

SELECT_QUARANTINES: Final[LiteralString] = """
    SELECT id, account, alert_id, began_at FROM quarantine
    WHERE account = ANY(%b::text[]) AND released_at IS NULL ORDER BY began_at, id
"""

# Those that the command made, or settled, or tried to. Of a repayment's next instalment only the rest is left in its
# row: who paid which part of it is not written there.
SELECT_INSTALMENTS: Final[LiteralString] = """
    SELECT number, due_on, amount_minor, rolled_minor, paid_minor, state, settled_by = %(position)b
    FROM instalment
    WHERE advance_id = %(advance)b
        AND (advance_id = %(position)b OR settled_by = %(position)b OR number = %(number)b::smallint)
    ORDER BY number LIMIT 200
"""

SELECT_ADVANCE: Final[LiteralString] = """
    SELECT command.id, advance.amount_minor, advance.paid_minor, advance.written_off_minor, advance.state
    FROM advance JOIN command ON command.position = advance.id WHERE advance.id = %b
"""

# Those that name the command, and the latest that name its accounts and were not over when it came, with what became of
# telling somebody.
SELECT_ALERTS: Final[LiteralString] = """
    SELECT
        alert.id, proof, subject, severity, state, first_seen_at, resolved_at,
        alert.position IS NOT DISTINCT FROM %(position)b,
        (
            SELECT string_agg(said.state || ' ' || said.count, ', ' ORDER BY said.state) FROM (
                SELECT
                    CASE WHEN told.state = 'delivered' AND told.delivered_to = '{}' THEN 'nobody' ELSE told.state END,
                    count(*)
                FROM alert_change JOIN alert_notice AS told ON told.change_id = alert_change.id
                WHERE alert_change.alert_id = alert.id GROUP BY 1
            ) AS said (state, count)
        )
    FROM alert
    WHERE alert.position = %(position)b OR alert.id IN (
        SELECT about.id FROM unnest(%(accounts)b::text[]) AS wanted (name)
        CROSS JOIN LATERAL (
            SELECT id FROM alert
            WHERE alert.account = wanted.name
                AND coalesce(resolved_at, 'infinity') >= (SELECT accepted_at FROM command WHERE position = %(position)b)
            ORDER BY id DESC LIMIT 5
        ) AS about
    )
    ORDER BY alert.id DESC LIMIT 20
"""

SELECT_MATCHES: Final[LiteralString] = """
    SELECT
        matched.id, matched.leg, matched.amount_minor, matched.rule, matched.made_by, matched.made_at,
        statement_line.id, statement_line.bank_account, statement_line.booked_on, statement_file.name
    FROM statement_match AS matched
    JOIN statement_line ON statement_line.id = matched.line_id
    JOIN statement_file ON statement_file.id = statement_line.file_id
    WHERE matched.position = %b AND matched.undoes IS NULL
        AND NOT EXISTS (SELECT FROM statement_match AS undoing WHERE undoing.undoes = matched.id)
    ORDER BY matched.id LIMIT 20
"""

SELECT_MISSING: Final[LiteralString] = """
    SELECT leg, since FROM reconciliation_break WHERE position = %b AND closed_at IS NULL ORDER BY leg
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A command as it was accepted, and how it stands. What it names (an advance, a hold, a command) is by position.

    ``link`` is the id of the first of linked commands, and ``link_size`` how many they are.
    """

    position: int
    id: UUID
    client_id: int
    client: str
    idempotency_key: str
    accepted_at: datetime
    status: str
    reason: str | None
    decided_at: datetime | None
    held_at: datetime | None
    advance: int | None
    hold: int | None
    reverses: int | None
    link: UUID | None
    link_size: int | None
    link_position: int | None
    body: CommandBody

    @property
    def place(self) -> int:
        """The position at which it stands in line: of linked commands, that of the first."""
        return self.position if self.link_position is None else self.link_position

    def as_pending(self) -> PendingRow:
        """As a worker would find it in line, by itself."""
        return _in_line(self.body, self.position, self.accepted_at, (self.advance, self.hold, self.reverses))


@dataclass(frozen=True, slots=True)
class BatchRow:
    """The transaction that settled a command, and the message that led to it as far as it is known."""

    worker: str | None
    message_id: str | None
    sent_by: str | None
    sent_at: datetime | None
    taken_at: datetime | None
    attempt: int | None
    lock_wait_us: int
    commands: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer with the balances after it (``None`` for an account of the bank's own)."""

    leg: int
    kind: str
    debit_account: str
    credit_account: str
    amount_minor: int
    currency: str
    debit_balance_minor: int | None
    credit_balance_minor: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line in which a command waits: how many are before it, and who is at its head."""

    account_key: int
    ahead: int
    head: int
    head_id: UUID


@dataclass(frozen=True, slots=True)
class InQuarantine:
    """An account whose commands are held."""

    id: int
    account: str
    alert_id: int
    began_at: datetime


@dataclass(frozen=True, slots=True)
class Touched:
    """An instalment that a command made, settled or was about, as it is now."""

    number: int
    due_on: date
    amount_minor: int
    rolled_minor: int
    paid_minor: int
    state: str
    settled_here: bool | None


@dataclass(frozen=True, slots=True)
class Lent:
    """The advance that a command is about, as it is now."""

    id: UUID
    amount_minor: int
    paid_minor: int
    written_off_minor: int
    state: str


@dataclass(frozen=True, slots=True)
class AlertLine:
    """An alert that names the command, or an account of it; ``notices`` says what became of telling somebody."""

    id: int
    proof: str
    subject: str
    severity: str
    state: str
    first_seen_at: datetime
    resolved_at: datetime | None
    names_command: bool
    notices: str | None


@dataclass(frozen=True, slots=True)
class Match:
    """A line of a bank's statement that is the same money as a transfer of the command."""

    id: int
    leg: int
    amount_minor: int
    rule: str
    made_by: str
    made_at: datetime
    line_id: int
    bank_account: str
    booked_on: date
    file: str


def find_named(conn: Connection[Any], word: str, client: str | None) -> list[Asked]:
    """
    The commands that the word may mean: by id, by position, and by the key of any client.

    With a ``client``, only the one that its key names.
    """
    number = int(word) if client is None and word.isascii() and word.isdecimal() and len(word) < 20 else None
    wanted = {
        "id": _uuid(word) if client is None else None,
        "position": number if number is not None and number <= MAX_POSITION else None,
        "key": word,
        "client": client,
    }
    return find_at(conn, [position for (position,) in conn.execute(SELECT_POSITIONS, wanted)])


def find_at(conn: Connection[Any], positions: Collection[int]) -> list[Asked]:
    """The commands at these positions, in their order."""
    return [_asked(*row) for row in conn.execute(SELECT_BY_POSITION, [bigints(positions)])]


def find_oldest(conn: Connection[Any]) -> Asked | None:
    """The command that waits longest, in line or held; nothing if none does."""
    row = conn.execute(SELECT_OLDEST).fetchone()
    found = find_at(conn, [row[0]]) if row and row[0] is not None else []
    return found[0] if found else None


def client_exists(conn: Connection[Any], name: str) -> bool:
    """Whether there is a client of this name."""
    row = conn.execute(SELECT_CLIENT, [name]).fetchone()
    return bool(row and row[0])


def batch_of(conn: Connection[Any], position: int) -> BatchRow | None:
    """How the settled command came to its worker, as long as that is remembered."""
    row = conn.execute(SELECT_BATCH, [position]).fetchone()
    return BatchRow(*row) if row else None


def transfers(conn: Connection[Any], position: int) -> Sequence[Moved]:
    """What the command moved."""
    return [Moved(*row) for row in conn.execute(SELECT_TRANSFERS, [position])]


def lines(conn: Connection[Any], position: int, names: Collection[str], *, limit: int) -> dict[str, Line]:
    """Where the command stands, by the names of its accounts. Counted up to a limit."""
    by_key = {row[0]: Line(*row) for row in conn.execute(SELECT_LINES, {"position": position, "limit": limit})}
    return {name: by_key[account_key(name)] for name in names if account_key(name) in by_key}


def waiting(conn: Connection[Any], name: str, *, limit: int) -> int:
    """How many commands wait in the account's line, counted up to a limit."""
    row = conn.execute(COUNT_WAITING, [account_key(name), limit]).fetchone()
    return int(row[0]) if row else 0


def quarantines(conn: Connection[Any], names: Collection[str]) -> Sequence[InQuarantine]:
    """Those of the accounts that are in quarantine."""
    return [InQuarantine(*row) for row in conn.execute(SELECT_QUARANTINES, [list(names)])]


def instalments(conn: Connection[Any], position: int, advance: int, number: int | None) -> Sequence[Touched]:
    """The instalments of the advance that the command made, settled or was about."""
    wanted = {"position": position, "advance": advance, "number": number}
    return [Touched(*row) for row in conn.execute(SELECT_INSTALMENTS, wanted)]


def advance(conn: Connection[Any], position: int) -> Lent | None:
    """The advance that was granted at this position."""
    row = conn.execute(SELECT_ADVANCE, [position]).fetchone()
    return Lent(*row) if row else None


def alerts(conn: Connection[Any], position: int, names: Collection[str]) -> Sequence[AlertLine]:
    """The alerts that name the command, and the last ones that name its accounts and were not over before it."""
    return [AlertLine(*row) for row in conn.execute(SELECT_ALERTS, {"position": position, "accounts": list(names)})]


def matches(conn: Connection[Any], position: int) -> Sequence[Match]:
    """The statement lines that its transfers are matched with."""
    return [Match(*row) for row in conn.execute(SELECT_MATCHES, [position])]


def missing_in_statement(conn: Connection[Any], position: int) -> Sequence[tuple[int, datetime]]:
    """Its transfers that no statement has although it should, with since when."""
    return [(leg, since) for leg, since in conn.execute(SELECT_MISSING, [position])]


def as_if_in_line(conn: Connection[Any], body: CommandBody, *, now: datetime) -> PendingRow:
    """As a worker would find the command if it had been accepted ``now``."""
    named = conn.execute(SELECT_NAMED, [body.advance_id, body.hold_id, body.reverses]).fetchone()
    return _in_line(body, MAX_POSITION, now, named or (None, None, None))


def _in_line(
    body: CommandBody, position: int, accepted_at: datetime, named: tuple[int | None, int | None, int | None]
) -> PendingRow:
    lent, hold, reverses = named
    return PendingRow(
        position,
        body.type,
        body.account,
        body.from_account,
        body.to_account,
        body.amount_minor,
        body.currency,
        body.overdraft_limit_minor,
        body.overdraft_fee_minor,
        accepted_at,
        body.instalments,
        body.first_due_on,
        lent,
        body.instalment,
        hold,
        body.expires_at,
        reverses,
        body.force,
        body.daily_count,
        body.daily_amount_minor,
    )


def _asked(*row: Any) -> Asked:
    facts, fields = list(row[: -len(FIELDS)]), row[-len(FIELDS) :]
    facts.append(CommandBody(**dict(zip(FIELDS, fields, strict=True))))
    return Asked(*facts)


def _uuid(word: str) -> UUID | None:
    try:
        return UUID(word)
    except ValueError:
        return None
