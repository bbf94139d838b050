"""What a client gets to read: receipts, commands with outcomes, accounts, advances, holds. Amounts are strings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from processor import money
from processor.domain.advances import AdvanceState, InstalmentState
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.domain.holds import HoldState
from processor.domain.outcomes import Reason, Status, TransferKind
from processor.dry_run import Foreseen
from processor.store.reading import AccountRow, CommandRow
from processor.store.reading_advances import AdvanceRow, InstalmentRow
from processor.store.reading_holds import HoldRow
from processor.submissions import CommandBody, Receipt

StatusName = Literal["pending", "applied", "refused", "failed"]


class ReceiptDocument(BaseModel):
    """The durable acceptance of a command. A replay is given the very same: ``status`` is as it was at that moment."""

    id: UUID
    position: int = Field(description="Place in line: commands of one account are decided in this order")
    status: Literal["pending"]
    status_url: str = Field(examples=["/v1/commands/0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"])
    accepted_at: datetime


class TransferDocument(BaseModel):
    """One movement of money. An account that begins with @ is the bank's own."""

    kind: TransferKind
    debit_account: str
    credit_account: str
    amount: str = Field(examples=["10.50"])
    currency: str


class CommandDocument(BaseModel):
    """A command and, once it has one, its outcome."""

    id: UUID
    position: int
    idempotency_key: str
    type: str
    status: StatusName
    status_url: str
    accepted_at: datetime
    command: dict[str, Any] = Field(description="What was asked, with every amount in full")
    held: bool | None = Field(None, description="True while a pending command waits for an account's release")
    decided_at: datetime | None = None
    reason: str | None = Field(None, description="Why it was refused or failed", examples=["insufficient_funds"])
    text: str | None = Field(None, description="The reason as a sentence")
    link: UUID | None = Field(None, description="Of linked commands: the id of the first, the same for all of them")
    retried_as: UUID | None = Field(None, description="Of a failed command: the one that the bank made in its stead")
    discarded: bool | None = Field(None, description="True if the bank says that a failed command is done with")
    transfers: list[TransferDocument] | None = Field(None, description="Of an applied command")
    balances: dict[str, str] | None = Field(None, description="Of each customer account after an applied command")
    advance_url: str | None = Field(
        None,
        description="Of an applied advance: its schedule, and what is owed",
        examples=["/v1/advances/0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"],
    )
    hold_url: str | None = Field(
        None,
        description="Of an applied place_hold: what became of it",
        examples=["/v1/holds/0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"],
    )
    reverses: UUID | None = Field(None, description="Of an applied reversal: the command that it has reversed")
    reversed_by: UUID | None = Field(None, description="Of a reversed command: the reversal")


class DryRunDocument(BaseModel):
    """What a command would come to if it were decided now. Nothing was recorded, and nothing is promised."""

    dry_run: Literal[True]
    status: Literal["applied", "refused", "failed"]
    command: dict[str, Any] = Field(description="What was asked, with every amount in full")
    reason: str | None = Field(None, description="Why it would be refused", examples=["insufficient_funds"])
    text: str | None = Field(None, description="The reason as a sentence")
    transfers: list[TransferDocument] | None = Field(None, description="What would be moved")
    balances: dict[str, str] = Field(description="Of each customer account afterwards, as far as it exists then")
    waiting: dict[str, int] = Field(
        description="Commands that wait for each account now, and were not considered; 1000 stands for more"
    )
    held: bool | None = Field(None, description="True if it would wait, since an account is in quarantine")


class CommandLine(BaseModel):
    """A command in a list."""

    id: UUID
    position: int
    idempotency_key: str
    type: str
    status: StatusName
    accepted_at: datetime
    decided_at: datetime | None = None
    reason: str | None = None


class CommandList(BaseModel):
    """A page. It may be empty and still have a ``next``."""

    commands: list[CommandLine]
    next: int | None = Field(description="Give it as ``after`` for the next page; null at the end")


class AccountDocument(BaseModel):
    """An account as it is now."""

    account: str
    currency: str
    status: Literal["open", "frozen", "closed"]
    balance: str = Field(description="Posted: credits less debits. What is on hold is part of it", examples=["20.00"])
    available: str = Field(description="Balance less what is held, plus the overdraft limit")
    held: str = Field(description="On hold: promised to somebody, and not paid yet")
    overdraft_limit: str
    overdraft_fee: str
    forced: str = Field(
        description="By how much a forced command has it below its limit and one fee; goes as it recovers"
    )
    daily_count: int | Literal["unlimited"] = Field(description="Debits of one business day: the limit")
    daily_amount: str = Field(description="How much these may be together: the limit", examples=["500.00", "unlimited"])
    daily_used: int | None = Field(description="Debits of today; null where nothing is limited, and so not counted")
    daily_used_amount: str | None = Field(description="How much these are together")
    version: int = Field(description="How many transfers have touched the account")
    opened_at: datetime


class AdvanceLine(BaseModel):
    """An advance in a list, as it is now."""

    id: UUID = Field(description="Of the command that granted it")
    account: str
    currency: str
    amount: str = Field(description="What was lent", examples=["100.00"])
    state: AdvanceState
    granted_at: datetime
    first_due_on: date
    paid: str = Field(description="On all of its instalments, collected or early")
    remaining: str = Field(description="What is owed: the amount less what was paid or written off")
    written_off: str
    arrears: str = Field(description="What was missed and has not been paid since")
    missed: int = Field(description="How many instalments were missed, whatever was paid since")
    next_due_on: date | None = Field(description="Of the oldest scheduled instalment; null when nothing is owed")
    next_amount: str | None = Field(description="What is left of that instalment; null when nothing is owed")


class InstalmentDocument(BaseModel):
    """One weekly repayment. A missed one keeps what was paid on it; the rest is in the next one's ``rolled``."""

    number: int
    due_on: date
    amount: str = Field(description="Its share of the advance, and what missed ones left to it", examples=["8.34"])
    rolled: str = Field(description="The part of the amount that missed ones left to it")
    paid: str
    state: InstalmentState
    settled_by: UUID | None = Field(description="The command that settled it: a collection, repayment or write-off")
    settled_at: datetime | None = Field(description="When it was paid, missed or written off")


class AdvanceDocument(AdvanceLine):
    """An advance and its whole schedule, as they are now."""

    instalments: list[InstalmentDocument]


class AdvanceList(BaseModel):
    """A page. It may be empty and still have a ``next``."""

    advances: list[AdvanceLine]
    next: int | None = Field(description="Give it as ``after`` for the next page; null at the end")


class HoldDocument(BaseModel):
    """Money on hold, as it is now."""

    id: UUID = Field(description="Of the command that placed it")
    account: str
    currency: str
    amount: str = Field(description="What was reserved", examples=["10.50"])
    state: HoldState
    captured: str = Field(description="What was taken of it; the rest was given back")
    placed_at: datetime
    expires_at: datetime | None = Field(description="When it is released by itself; null if never")
    settled_by: UUID | None = Field(description="The command that ended it")
    settled_at: datetime | None


class HoldList(BaseModel):
    """A page. It may be empty and still have a ``next``."""

    holds: list[HoldDocument]
    next: int | None = Field(description="Give it as ``after`` for the next page; null at the end")


def status_url(command_id: UUID) -> str:
    """Where the command can be asked for."""
    return f"/v1/commands/{command_id}"


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """As ``ReceiptDocument``."""
    return {
        "id": receipt.id,
        "position": receipt.position,
        "status": "pending",
        "status_url": status_url(receipt.id),
        "accepted_at": receipt.accepted_at,
    }


def command_document(row: CommandRow) -> dict[str, Any]:
    """As ``CommandDocument``; what does not apply is left out."""
    document: dict[str, Any] = {
        "id": row.id,
        "position": row.position,
        "idempotency_key": row.idempotency_key,
        "type": row.body.type,
        "status": row.status.value,
        "status_url": status_url(row.id),
        "accepted_at": row.accepted_at,
        "command": _body(row.body),
    }
    if row.held:
        document["held"] = True
    if row.decided_at is not None:
        document["decided_at"] = row.decided_at
    if row.reason is not None:
        document |= {"reason": row.reason.value, "text": row.reason.text}
    if row.link is not None:
        document["link"] = row.link
    if row.retried_as is not None:
        document["retried_as"] = row.retried_as
    if row.discarded:
        document["discarded"] = True
    if row.status.value == "applied":
        document["transfers"] = [
            {
                "kind": transfer.kind,
                "debit_account": transfer.debit_account,
                "credit_account": transfer.credit_account,
                "amount": money.format_amount(transfer.amount_minor, transfer.currency),
                "currency": transfer.currency,
            }
            for transfer in row.transfers
        ]
        document["balances"] = _balances(row)
        if row.body.type == "advance":
            document["advance_url"] = f"/v1/advances/{row.id}"
        if row.body.type == "place_hold":
            document["hold_url"] = f"/v1/holds/{row.id}"
        if row.body.type == "reverse":
            document["reverses"] = row.body.reverses
    if row.reversed_by is not None:
        document["reversed_by"] = row.reversed_by
    return document


def dry_run_document(body: CommandBody, foreseen: Foreseen) -> dict[str, Any]:
    """As ``DryRunDocument``; what does not apply is left out."""
    outcome = foreseen.outcome
    reason = Reason.INTERNAL_ERROR if outcome is None else outcome.reason
    document: dict[str, Any] = {
        "dry_run": True,
        "status": Status.FAILED.value if outcome is None else outcome.status.value,
        "command": _body(body),
        "balances": {
            each.account: money.format_amount(each.after_minor, each.currency)
            for each in foreseen.balances
            if each.after_minor is not None
        },
        "waiting": dict(foreseen.ahead),
    }
    if reason is not None:
        document |= {"reason": reason.value, "text": reason.text}
    elif outcome is not None:
        document["transfers"] = [
            {
                "kind": each.kind.value,
                "debit_account": each.debit.account,
                "credit_account": each.credit.account,
                "amount": money.format_amount(each.amount_minor, each.currency),
                "currency": each.currency,
            }
            for each in outcome.transfers
        ]
    if foreseen.quarantines:
        document["held"] = True
    return document


def command_line(row: CommandRow) -> dict[str, Any]:
    """As ``CommandLine``."""
    line: dict[str, Any] = {
        "id": row.id,
        "position": row.position,
        "idempotency_key": row.idempotency_key,
        "type": row.body.type,
        "status": row.status.value,
        "accepted_at": row.accepted_at,
    }
    if row.decided_at is not None:
        line["decided_at"] = row.decided_at
    if row.reason is not None:
        line["reason"] = row.reason.value
    return line


def account_document(row: AccountRow, *, today: date) -> dict[str, Any]:
    """As ``AccountDocument``. ``today`` is the business date: what an earlier day has had is used no more."""
    used, used_minor = row.daily_used or 0, row.daily_used_minor or 0
    if row.daily_on is None or row.daily_on < today:
        used, used_minor = 0, 0
    is_limited = row.daily_count is not None

    def amount(minor: int) -> str:
        return money.format_amount(minor, row.currency)

    return {
        "account": row.name,
        "currency": row.currency,
        "status": row.status,
        "balance": amount(row.balance_minor),
        "available": amount(row.available_minor),
        "held": amount(row.held_minor),
        "overdraft_limit": amount(row.overdraft_limit_minor),
        "overdraft_fee": amount(row.overdraft_fee_minor),
        "forced": amount(row.forced_minor),
        "daily_count": _limit(row.daily_count) if is_limited else "unlimited",
        "daily_amount": _limit_minor(row.daily_amount_minor, row.currency) if is_limited else "unlimited",
        "daily_used": used if is_limited else None,
        "daily_used_amount": amount(used_minor) if is_limited else None,
        "version": row.version,
        "opened_at": row.opened_at,
    }


def advance_line(row: AdvanceRow) -> dict[str, Any]:
    """As ``AdvanceLine``."""

    def amount(minor: int) -> str:
        return money.format_amount(minor, row.currency)

    return {
        "id": row.id,
        "account": row.account,
        "currency": row.currency,
        "amount": amount(row.amount_minor),
        "state": row.state.value,
        "granted_at": row.granted_at,
        "first_due_on": row.first_due_on,
        "paid": amount(row.paid_minor),
        "remaining": amount(row.remaining_minor),
        "written_off": amount(row.written_off_minor),
        "arrears": amount(row.arrears_minor),
        "missed": row.missed,
        "next_due_on": row.next_due_on,
        "next_amount": None if row.next_minor is None else amount(row.next_minor),
    }


def advance_document(row: AdvanceRow, instalments: Sequence[InstalmentRow]) -> dict[str, Any]:
    """As ``AdvanceDocument``."""
    return advance_line(row) | {"instalments": [_instalment(each, row.currency) for each in instalments]}


def hold_document(row: HoldRow) -> dict[str, Any]:
    """As ``HoldDocument``."""
    return {
        "id": row.id,
        "account": row.account,
        "currency": row.currency,
        "amount": money.format_amount(row.amount_minor, row.currency),
        "state": row.state.value,
        "captured": money.format_amount(row.captured_minor, row.currency),
        "placed_at": row.placed_at,
        "expires_at": row.expires_at,
        "settled_by": row.settling_id,
        "settled_at": row.settled_at,
    }


def _instalment(row: InstalmentRow, currency: str) -> dict[str, Any]:
    return {
        "number": row.number,
        "due_on": row.due_on,
        "amount": money.format_amount(row.amount_minor, currency),
        "rolled": money.format_amount(row.rolled_minor, currency),
        "paid": money.format_amount(row.paid_minor, currency),
        "state": row.state.value,
        "settled_by": row.settling_id,
        "settled_at": row.settled_at,
    }


def _body(body: CommandBody) -> dict[str, Any]:
    def amount(minor: int | None) -> str | None:
        return None if minor is None else money.format_amount(minor, body.currency)

    fields = {
        "type": body.type,
        "account": body.account,
        "from_account": body.from_account,
        "to_account": body.to_account,
        "advance_id": body.advance_id,
        "instalment": body.instalment,
        "hold_id": body.hold_id,
        "command": body.reverses,
        "force": body.force,
        "amount": amount(body.amount_minor),
        "currency": body.currency,
        "overdraft_limit": amount(body.overdraft_limit_minor),
        "overdraft_fee": amount(body.overdraft_fee_minor),
        "instalments": body.instalments,
        "first_due_on": body.first_due_on,
        "expires_at": body.expires_at,
        "daily_count": _limit(body.daily_count),
        "daily_amount": _limit_minor(body.daily_amount_minor, body.currency),
        "reason": body.reason,
        "reference": body.reference,
        "metadata": body.metadata,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _limit(count: int | None) -> int | str | None:
    return "unlimited" if count == UNLIMITED_COUNT else count


def _limit_minor(minor: int | None, currency: str) -> str | None:
    if minor is None:
        return None
    return "unlimited" if minor == UNLIMITED_MINOR else money.format_amount(minor, currency)


def _balances(row: CommandRow) -> dict[str, str]:
    """The last balance of each customer account; an account that was just opened has zero."""
    balances = {row.body.account: 0} if row.body.type == "open_account" and row.body.account else {}
    for transfer in row.transfers:
        if transfer.debit_balance_minor is not None:
            balances[transfer.debit_account] = transfer.debit_balance_minor
        if transfer.credit_balance_minor is not None:
            balances[transfer.credit_account] = transfer.credit_balance_minor
    return {name: money.format_amount(minor, row.body.currency) for name, minor in balances.items()}
