"""Routes for what happened: the statement of one account, and a report over all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from psycopg import AsyncConnection
from pydantic import BaseModel, Field

from api_min import bodies, cursors, instants, problem
from api_min.accounts import AccountName, statement_account, system_balance, tolerance
from api_min.auth import Reader
from api_min.problem import ProblemError
from api_min.services import Provided, Services
from processor import clock, money
from processor.domain.outcomes import TransferKind
from processor.keys import ADMIN
from processor.store import reading_log, reading_statements
from processor.store.reading_log import Place, Reported, Wanted, Window
from processor.store.reading_statements import Line, StatementAccount

router = APIRouter(prefix="/v1", tags=["transactions"])

PENALTY: Final = "penalty"
"""What the overdraft fee is called in a statement."""

_LOOK_AHEAD: Final = 10_000
"""Versions of an account, or outcomes of the log, that one page looks through at most."""

_COUNTED: Final = 100_000
"""Outcomes that a count looks through at most."""

_SPAN: Final = timedelta(days=5)
"""What a report covers unless it is told where to begin."""

_TYPES: Final = (*bodies.TYPES, "collect", "expire_hold")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = 2**63 - 1

StatementKind = StrEnum(  # type: ignore[misc]  # Its members are those of another enumeration.
    "StatementKind",
    {kind.name: PENALTY if kind is TransferKind.OVERDRAFT_FEE else kind.value for kind in TransferKind},
)

Order = Annotated[Literal["desc", "asc"], Query(description="Newest first, or oldest first")]
Cursor = Annotated[str | None, Query(description="The `next` of the page before", max_length=500)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class StatementLine(BaseModel):
    """A transfer as one account sees it."""

    version: int | None = Field(description="The number of this transfer on its account; null for the bank's own")
    kind: StatementKind
    counter_account: str = Field(description="Where the money came from or went to")
    amount: str = Field(description="Above zero if the account was credited", examples=["-10.50"])
    balance_after: str
    command_id: UUID
    reference: str | None
    reason: str | None = Field(description="Why, in the words of whoever sent the command")
    decided_at: datetime


class StatementDocument(BaseModel):
    """
    A page of an account's statement: a run of its transfers without a gap, in which the pages before and after join.

    Filtered by kind, the run has transfers as well that are not listed.
    """

    account: str
    currency: str
    order: Literal["desc", "asc"]
    opening_balance: str = Field(description="Posted balance before the oldest transfer of the run, in either order")
    closing_balance: str = Field(description="Posted balance after the newest one")
    first_version: int | None = Field(description="Of the run; null if it is empty, and for the bank's own")
    last_version: int | None
    transactions: list[StatementLine]
    next: str | None = Field(description="Give it as `cursor` for the next page; null at the end")


class ReportLine(BaseModel):
    """A settled command."""

    id: UUID
    position: int
    client: str
    idempotency_key: str
    type: str
    status: Literal["applied", "refused", "failed"]
    reason: str | None = Field(None, description="Why it was refused or failed")
    text: str | None = Field(None, description="That reason as a sentence")
    account: str | None = None
    from_account: str | None = None
    to_account: str | None = None
    amount: str | None = None
    currency: str
    reference: str | None = None
    command_reason: str | None = Field(None, description="Why, in the words of whoever sent the command")
    accepted_at: datetime
    decided_at: datetime


class Total(BaseModel):
    """How many there are on all pages together."""

    count: int
    exact: bool = Field(description="False if there may be more: a count looks through a bounded part of history")


class ReportDocument(BaseModel):
    """A page. It may be empty and still have a ``next``."""

    since: datetime = Field(alias="from")
    to: datetime | None = Field(description="What was decided before it; null if the first page's instant is the end")
    order: Literal["desc", "asc"]
    total: Total | None = Field(None, description="With `count=true`")
    transactions: list[ReportLine]
    next: str | None = Field(description="Give it as `cursor` for the next page; null at the end")


@router.get(
    "/accounts/{account}/transactions",
    response_model=StatementDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found", "invalid"),
)
async def statement(
    *,
    request: Request,
    account: AccountName,
    client: Reader,
    services: Provided,
    since: instants.From = None,
    to: instants.To = None,
    kind: Annotated[StatementKind | None, Query(description="Transfers of this kind only")] = None,
    command_id: Annotated[UUID | None, Query(description="Transfers of this command only")] = None,
    order: Order = "desc",
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """
    What moved an account, with the balance after each transfer.

    The first page fixes the end: transfers that arrive while you read on change no page. Begin anew to see them.
    """
    asked = cursors.list_of(request)
    begin, end = instants.between(since, to, services.rules.zone)
    wanted = kind and (TransferKind.OVERDRAFT_FEE.value if kind == PENALTY else kind.value)
    async with services.pool.connection() as conn:
        found = await statement_account(conn, account, client)
        read = _system_statement if found.is_system else _customer_statement
        document = await read(
            conn,
            services,
            found,
            begin,
            end,
            command_id=command_id,
            kind=wanted,
            newest_first=order == "desc",
            asked=asked,
            cursor=cursor,
            limit=limit,
        )
    return _json({"account": found.name, "currency": found.currency, "order": order, **document})


@router.get(
    "/transactions",
    response_model=ReportDocument,
    response_model_exclude_none=True,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
)
async def report(
    *,
    request: Request,
    client: Reader,
    services: Provided,
    since: instants.From = None,
    to: instants.To = None,
    status: Annotated[Literal["applied", "refused", "failed"] | None, Query()] = None,
    type_: Annotated[str | None, Query(alias="type", description="Commands of this type", examples=["deposit"])] = None,
    account: Annotated[
        str | None,
        Query(pattern="^@?[A-Za-z0-9._:-]{1,64}$", description="Commands that name this account"),
    ] = None,
    of_client: Annotated[
        str | None,
        Query(alias="client", pattern="^@?[A-Za-z0-9._:-]{1,64}$", description="Commands of this client (admin)"),
    ] = None,
    count: Annotated[bool, Query(description="Say how many there are on all pages")] = False,
    order: Order = "desc",
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """
    Settled commands in the order in which they were recorded: those of the last five days, unless told otherwise.

    A client sees its own, an admin everybody's. The first page fixes what there is: what is recorded later is on no
    page, whatever its date, and nothing moves. Begin anew to see it.
    """
    asked = f"{client.name} {cursors.list_of(request)}"
    if type_ is not None and type_ not in _TYPES:
        raise ProblemError(
            "invalid", "There is no such type of command.", [("type", f"give one of {', '.join(_TYPES)}")]
        )
    if not client.may(ADMIN):
        if of_client not in (None, client.name):
            raise ProblemError("forbidden", "Only an admin may see other clients' commands: leave `client` out.")
        of_client = client.name
    begin, end = instants.between(since, to, services.rules.zone)
    wanted = Wanted(status, type_, account, of_client)
    async with services.pool.connection() as conn:
        if cursor is not None:
            low, high, since_us, until_us, xid, position = cursors.read(cursor, asked, 6)
            with cursors.trusted():
                window, place = Window(low, high, _instant(since_us), _instant(until_us)), Place(xid, position)
        else:
            begin, place = begin or (end or clock.now()) - _SPAN, None
            below = await reading_log.watermark(conn)
            window = await reading_log.window(conn, below, begin, end, tolerance=tolerance(services))
        total = await reading_log.count(conn, window, wanted, look_ahead=_COUNTED) if count else None
        rows, next_ = await reading_log.report(
            conn, window, wanted, after=place, newest_first=order == "desc", limit=limit, look_ahead=_LOOK_AHEAD
        )
    document: dict[str, Any] = {"from": window.since, "to": window.until, "order": order}
    if total is not None:
        document["total"] = {"count": total[0], "exact": total[1]}
    document["transactions"] = [_report_line(row) for row in rows]
    document["next"] = next_ and cursors.write(asked, *_numbers(window), next_.xid, next_.position)
    return _json(document)


async def _customer_statement(
    conn: AsyncConnection[Any],
    services: Services,
    account: StatementAccount,
    begin: datetime | None,
    end: datetime | None,
    *,
    command_id: UUID | None,
    kind: str | None,
    newest_first: bool,
    asked: str,
    cursor: str | None,
    limit: int,
) -> dict[str, Any]:
    """By version: a page is a range of them, and the cursor the range that is left."""
    if cursor is not None:
        first, last = cursors.read(cursor, asked, 2)
    else:
        first, last = 1, account.version
        if begin is not None:
            first = await _first_since(conn, services, account, begin)
        if end is not None:
            last = await _first_since(conn, services, account, end) - 1
        if command_id is not None:
            of_command = await reading_statements.versions_of(conn, account.id, command_id) or (first, first - 1)
            first, last = max(first, of_command[0]), min(last, of_command[1])
        last = max(last, first - 1)
    run = await reading_statements.page(
        conn, account.id, first, last, newest_first=newest_first, kind=kind, limit=limit, look_ahead=_LOOK_AHEAD
    )
    left = (first, run.first - 1) if newest_first else (run.last + 1, last)
    is_empty = run.last < run.first
    return _statement_page(account, run.opening_minor, run.closing_minor, run.lines) | {
        "first_version": None if is_empty else run.first,
        "last_version": None if is_empty else run.last,
        "next": cursors.write(asked, *left) if left[0] <= left[1] else None,
    }


async def _system_statement(
    conn: AsyncConnection[Any],
    services: Services,
    account: StatementAccount,
    begin: datetime | None,
    end: datetime | None,
    *,
    command_id: UUID | None,
    kind: str | None,
    newest_first: bool,
    asked: str,
    cursor: str | None,
    limit: int,
) -> dict[str, Any]:
    """Along the log: the cursor has the window, the place in it and the balance there."""
    if command_id is not None:
        message = "is for customers' accounts: ask for the command itself, /v1/commands/{id}"
        raise ProblemError("invalid", "This statement cannot be filtered so.", [("command_id", message)])
    if cursor is not None:
        low, high, since, until, xid, position, leg, balance_minor = cursors.read(cursor, asked, 8)
        with cursors.trusted():
            window, after = Window(low, high, _instant(since), _instant(until)), Place(xid, position, leg)
    else:
        below, after = await reading_log.watermark(conn), None
        window = await reading_log.window(conn, below, begin, end, tolerance=tolerance(services))
        balance_minor = 0
        if newest_first or begin is not None:
            balance_minor = await system_balance(
                conn, services, account, below, end if newest_first else begin, field="to" if newest_first else "from"
            )
    run = await reading_log.system_page(
        conn,
        account.id,
        window,
        balance_minor,
        after=after,
        newest_first=newest_first,
        kind=kind,
        limit=limit,
        look_ahead=_LOOK_AHEAD,
    )
    next_ = None
    if run.next is not None:
        balance_minor = run.opening_minor if newest_first else run.closing_minor
        place = (run.next.xid, run.next.position, run.next.leg)
        next_ = cursors.write(asked, *_numbers(window), *place, balance_minor)
    page = _statement_page(account, run.opening_minor, run.closing_minor, run.lines)
    return page | {"first_version": None, "last_version": None, "next": next_}


async def _first_since(
    conn: AsyncConnection[Any], services: Services, account: StatementAccount, instant: datetime
) -> int:
    return await reading_statements.first_since(
        conn, account.id, instant, last=account.version, tolerance=tolerance(services)
    )


def _statement_page(
    account: StatementAccount, opening_minor: int, closing_minor: int, lines: Sequence[Line]
) -> dict[str, Any]:
    def amount(minor: int) -> str:
        return money.format_amount(minor, account.currency)

    return {
        "opening_balance": amount(opening_minor),
        "closing_balance": amount(closing_minor),
        "transactions": [
            {
                "version": line.version,
                "kind": PENALTY if line.kind == TransferKind.OVERDRAFT_FEE.value else line.kind,
                "counter_account": line.counter_account,
                "amount": amount(line.amount_minor),
                "balance_after": amount(line.balance_minor),
                "command_id": line.command_id,
                "reference": line.reference,
                "reason": line.reason,
                "decided_at": line.decided_at,
            }
            for line in lines
        ],
    }


def _report_line(row: Reported) -> dict[str, Any]:
    """As ``ReportLine``; what does not apply is left out."""
    line = {
        "id": row.id,
        "position": row.place.position,
        "client": row.client,
        "idempotency_key": row.idempotency_key,
        "type": row.type,
        "status": row.status.value,
        "reason": row.refusal and row.refusal.value,
        "text": row.refusal and row.refusal.text,
        "account": row.account,
        "from_account": row.from_account,
        "to_account": row.to_account,
        "amount": None if row.amount_minor is None else money.format_amount(row.amount_minor, row.currency),
        "currency": row.currency,
        "reference": row.reference,
        "command_reason": row.reason,
        "accepted_at": row.accepted_at,
        "decided_at": row.decided_at,
    }
    return {name: value for name, value in line.items() if value is not None}


def _numbers(window: Window) -> tuple[int, int, int, int]:
    return window.low, window.high, _micros(window.since), _micros(window.until)


def _micros(instant: datetime | None) -> int:
    return _NEVER if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)


def _instant(micros: int) -> datetime | None:
    return None if micros == _NEVER else _EPOCH + timedelta(microseconds=micros)


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
