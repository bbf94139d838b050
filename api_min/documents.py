"""What a client gets to read: receipts, commands with their outcomes, accounts. Amounts are decimal strings."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from processor import money
from processor.store.reading import AccountRow, CommandRow
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

    kind: Literal["deposit", "withdrawal", "transfer", "overdraft_fee"]
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
    decided_at: datetime | None = None
    reason: str | None = Field(None, description="Why it was refused or failed", examples=["insufficient_funds"])
    text: str | None = Field(None, description="The reason as a sentence")
    transfers: list[TransferDocument] | None = Field(None, description="Of an applied command")
    balances: dict[str, str] | None = Field(None, description="Of each customer account after an applied command")


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
    balance: str = Field(description="Credits less debits", examples=["20.00"])
    available: str = Field(description="Balance less what is held, plus the overdraft limit")
    held: str
    overdraft_limit: str
    overdraft_fee: str
    version: int = Field(description="How many transfers have touched the account")
    opened_at: datetime


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
    if row.decided_at is not None:
        document["decided_at"] = row.decided_at
    if row.reason is not None:
        document |= {"reason": row.reason.value, "text": row.reason.text}
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


def account_document(row: AccountRow) -> dict[str, Any]:
    """As ``AccountDocument``."""

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
        "version": row.version,
        "opened_at": row.opened_at,
    }


def _body(body: CommandBody) -> dict[str, Any]:
    fields = {
        "type": body.type,
        "account": body.account,
        "from_account": body.from_account,
        "to_account": body.to_account,
        "amount": body.amount_minor,
        "currency": body.currency,
        "overdraft_limit": body.overdraft_limit_minor,
        "overdraft_fee": body.overdraft_fee_minor,
        "reference": body.reference,
        "metadata": body.metadata,
    }
    return {
        name: money.format_amount(value, body.currency) if isinstance(value, int) else value
        for name, value in fields.items()
        if value is not None
    }


def _balances(row: CommandRow) -> dict[str, str]:
    """The last balance of each customer account; an account that was just opened has zero."""
    balances = {row.body.account: 0} if row.body.type == "open_account" and row.body.account else {}
    for transfer in row.transfers:
        if transfer.debit_balance_minor is not None:
            balances[transfer.debit_account] = transfer.debit_balance_minor
        if transfer.credit_balance_minor is not None:
            balances[transfer.credit_account] = transfer.credit_balance_minor
    return {name: money.format_amount(minor, row.body.currency) for name, minor in balances.items()}
