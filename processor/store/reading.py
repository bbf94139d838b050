"""Answers to 'what became of it?': commands with their outcomes and transfers, and accounts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from processor.domain.outcomes import Reason, Status
from processor.submissions import FIELDS, CommandBody

MAX_POSITION: Final = 2**63 - 1

_SELECT: Final[LiteralString] = """
    SELECT
        command.id, command.position, command.client_id, command.idempotency_key, command.accepted_at,
        outcome.status, outcome.reason, outcome.decided_at,
        -- Of linked commands, it is the first that waits.
        outcome.position IS NULL AND EXISTS (
            SELECT FROM held WHERE held.position = CASE WHEN command.link IS NULL THEN command.position ELSE (
                SELECT waiting.position FROM command AS waiting WHERE waiting.id = command.link
            ) END
        ),
        -- Looked for only where it can be: most commands do not fail.
        CASE WHEN outcome.status = 'failed' THEN (
            SELECT retry.id FROM dead_letter_action JOIN command AS retry ON retry.position = retry_position
            WHERE dead_letter_action.position = command.position ORDER BY number DESC LIMIT 1
        ) END,
        outcome.status = 'failed' AND EXISTS (
            SELECT FROM dead_letter_action
            WHERE dead_letter_action.position = command.position AND action = 'discard'
        ),
        CASE WHEN outcome.status = 'applied' THEN (
            SELECT mirroring.id FROM reversal JOIN command AS mirroring ON mirroring.position = reversal.position
            WHERE reversal.reverses = command.position
        ) END,
        command.link,
        command.type, command.currency, command.account, command.from_account, command.to_account,
        command.amount_minor, command.overdraft_limit_minor, command.overdraft_fee_minor, command.instalments,
        command.first_due_on, command.advance_id, command.instalment, command.hold_id, command.expires_at,
        command.reverses, command.force, command.daily_count, command.daily_amount_minor, command.reason,
        command.reference, command.metadata
    FROM command LEFT JOIN outcome USING (position)
"""
SELECT_BY_ID: Final[LiteralString] = _SELECT + "WHERE command.id = ANY(%s)"
SELECT_BY_KEY: Final[LiteralString] = _SELECT + "WHERE command.client_id = %s AND command.idempotency_key = %s"
SELECT_BY_POSITION: Final[LiteralString] = _SELECT + "WHERE command.position = ANY(%s)"

# Positions become visible in their order, so that a page never misses a command. How many other clients' commands lie
# between is bounded: a page costs the same whoever else is busy.
SELECT_PAGE: Final[LiteralString] = (
    _SELECT
    + """
    WHERE command.position > %(after)s AND command.position <= %(up_to)s
        AND command.client_id = %(client_id)s
    ORDER BY command.position LIMIT %(limit)s
    """
)
SELECT_LAST_POSITION: Final[LiteralString] = "SELECT max(position) FROM command"

SELECT_TRANSFERS: Final[LiteralString] = """
    SELECT
        transfer.position, transfer.leg, transfer.kind, debit.name, credit.name, transfer.amount_minor,
        transfer.currency, transfer.debit_balance_minor, transfer.credit_balance_minor
    FROM transfer
    JOIN account AS debit ON debit.id = transfer.debit_account_id
    JOIN account AS credit ON credit.id = transfer.credit_account_id
    WHERE transfer.position = ANY(%s)
    ORDER BY transfer.position, transfer.leg
"""

SELECT_SETTLED: Final[LiteralString] = "SELECT position FROM outcome WHERE position = ANY(%s)"

SELECT_ACCOUNTS: Final[LiteralString] = """
    SELECT
        name, kind, currency, status, version, credits_minor, debits_minor, held_minor,
        overdraft_limit_minor, overdraft_fee_minor, opened_at, forced_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
    FROM account
"""
SELECT_ACCOUNT: Final[LiteralString] = SELECT_ACCOUNTS + "WHERE name = %s"


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer with the names of its accounts, and the balances after it (``None`` for a system account)."""

    position: int
    leg: int
    kind: str
    debit_account: str
    credit_account: str
    amount_minor: int
    currency: str
    debit_balance_minor: int | None
    credit_balance_minor: int | None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command and, unless it is pending, its outcome."""

    id: UUID
    position: int
    client_id: int
    idempotency_key: str
    accepted_at: datetime
    status: Status
    reason: Reason | None
    decided_at: datetime | None
    held: bool
    retried_as: UUID | None
    discarded: bool
    reversed_by: UUID | None
    link: UUID | None
    body: CommandBody
    transfers: Sequence[TransferRow]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as it is committed now."""

    name: str
    kind: str
    currency: str
    status: str
    version: int
    credits_minor: int
    debits_minor: int
    held_minor: int
    overdraft_limit_minor: int
    overdraft_fee_minor: int
    opened_at: datetime
    forced_minor: int = 0
    daily_count: int | None = None
    daily_amount_minor: int | None = None
    daily_on: date | None = None
    daily_used: int | None = None
    daily_used_minor: int | None = None

    @property
    def balance_minor(self) -> int:
        """Credits less debits."""
        return self.credits_minor - self.debits_minor

    @property
    def available_minor(self) -> int:
        """What may be debited now."""
        return self.balance_minor - self.held_minor + self.overdraft_limit_minor

    def with_totals(self, credits_minor: int, debits_minor: int) -> "AccountRow":
        """The account with totals that were not on its row: a system account's."""
        return replace(self, credits_minor=credits_minor, debits_minor=debits_minor)


async def find_command(conn: AsyncConnection, command_id: UUID) -> CommandRow | None:
    """The command of this id, whoever sent it."""
    return next(iter(await _commands(conn, SELECT_BY_ID, [[command_id]])), None)


async def find_by_ids(conn: AsyncConnection, ids: Sequence[UUID]) -> list[CommandRow]:
    """The commands of these ids, whoever sent them, in no order."""
    return await _commands(conn, SELECT_BY_ID, [list(ids)])


async def find_command_by_key(conn: AsyncConnection, client_id: int, idempotency_key: str) -> CommandRow | None:
    """The command that the client's key names."""
    return next(iter(await _commands(conn, SELECT_BY_KEY, [client_id, idempotency_key])), None)


async def find_commands(conn: AsyncConnection, positions: Sequence[int]) -> list[CommandRow]:
    """The commands at these positions, in no order."""
    return await _commands(conn, SELECT_BY_POSITION, [list(positions)])


async def list_commands(
    conn: AsyncConnection, client_id: int, *, after: int, limit: int, look_ahead: int
) -> tuple[list[CommandRow], int | None]:
    """The client's next ``limit`` commands above ``after``, without transfers; and where the next page begins."""
    cursor = await conn.execute(SELECT_LAST_POSITION)
    row = await cursor.fetchone()
    last = (row and row[0]) or 0
    up_to = min(after + look_ahead, MAX_POSITION)
    cursor = await conn.execute(SELECT_PAGE, {"after": after, "up_to": up_to, "client_id": client_id, "limit": limit})
    page = [_command(row, []) async for row in cursor]
    reached = page[-1].position if len(page) == limit else up_to
    return page, reached if reached < last else None


async def find_settled(conn: AsyncConnection, positions: Sequence[int]) -> list[int]:
    """Those of the positions that have an outcome."""
    cursor = await conn.execute(SELECT_SETTLED, [list(positions)])
    return [position async for (position,) in cursor]


async def find_account(conn: AsyncConnection, name: str) -> AccountRow | None:
    """The account of this name."""
    cursor = await conn.execute(SELECT_ACCOUNT, [name])
    row = await cursor.fetchone()
    return AccountRow(*row) if row else None


async def _commands(conn: AsyncConnection, query: LiteralString, params: list[Any]) -> list[CommandRow]:
    rows = await (await conn.execute(query, params)).fetchall()
    applied = [row[1] for row in rows if row[5] == Status.APPLIED.value]
    transfers: dict[int, list[TransferRow]] = {}
    if applied:
        async for row in await conn.execute(SELECT_TRANSFERS, [applied]):
            transfers.setdefault(row[0], []).append(TransferRow(*row))
    return [_command(row, transfers.get(row[1], [])) for row in rows]


def _command(row: tuple[Any, ...], transfers: list[TransferRow]) -> CommandRow:
    id_, position, client_id, idempotency_key, accepted_at, *stands = row[:13]
    status, reason, decided_at, held, retried_as, discarded, reversed_by, link = stands
    return CommandRow(
        id=id_,
        position=position,
        client_id=client_id,
        idempotency_key=idempotency_key,
        accepted_at=accepted_at,
        status=Status(status or Status.PENDING.value),
        reason=Reason(reason) if reason else None,
        decided_at=decided_at,
        held=held,
        retried_as=retried_as,
        discarded=bool(discarded),
        reversed_by=reversed_by,
        link=link,
        body=CommandBody(**dict(zip(FIELDS, row[13:], strict=True))),
        transfers=transfers,
    )
