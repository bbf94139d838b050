"""Routes for accounts: what is on them now, what was on one then, and which there are."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from psycopg import AsyncConnection
from pydantic import BaseModel, Field

from api_min import cursors, documents, instants, problem
from api_min.auth import Reader
from api_min.problem import ProblemError
from api_min.services import Provided, Services
from processor import clock, money
from processor.keys import ADMIN, Client
from processor.store import reading, reading_accounts, reading_log, reading_statements, system_accounts
from processor.store.reading import AccountRow
from processor.store.reading_statements import StatementAccount

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

AccountName = Annotated[
    str, Path(pattern="^@?[A-Za-z0-9._:-]{1,64}$", description="An account's name", examples=["1001"])
]

_LOOK_AHEAD: Final = 10_000
"""Accounts that one page looks through at most."""

_REACH: Final = 500_000
"""Outcomes between an instant and the checkpoint of a system account, at most: a second or two."""

_TRANSACTION: Final = timedelta(seconds=12)
"""The longest time from a decision to the end of its transaction (see processor/pools.py)."""


class BalanceDocument(BaseModel):
    """What was on an account at an instant."""

    account: str
    currency: str
    at: datetime = Field(description="What was decided at this instant is counted; of a day, its last microsecond")
    balance: str = Field(description="Posted: what was on hold then is part of it", examples=["20.00"])
    version: int | None = Field(description="How many transfers it is made of; null for the bank's own")
    final: bool = Field(description="False if a decision of that instant might still be on its way")


class AccountList(BaseModel):
    """A page. It may be empty and still have a ``next``."""

    accounts: list[documents.AccountDocument]
    next: str | None = Field(description="Give it as `cursor` for the next page; null at the end")


@router.get(
    "/{account}",
    response_model=documents.AccountDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
)
async def show(account: AccountName, client: Reader, services: Provided) -> Response:
    """An account as it is committed now. The bank's own, such as @settlement:USD, are for admins."""
    _see(account, client)
    async with services.pool.connection() as conn:
        row = await reading.find_account(conn, account)
        if row is None:
            raise ProblemError("not_found", "There is no such account.")
        row = await _with_totals(conn, row)
    return _json(documents.account_document(row, today=_today(services)))


@router.get(
    "",
    response_model=AccountList,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
)
async def find(
    *,
    request: Request,
    client: Reader,
    services: Provided,
    prefix: Annotated[
        str, Query(pattern="^@?[A-Za-z0-9._:-]{0,64}$", description="Accounts whose names begin with it")
    ] = "",
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="Accounts in this currency")] = None,
    status: Annotated[Literal["open", "frozen", "closed"] | None, Query()] = None,
    kind: Annotated[
        Literal["customer", "settlement", "fee_income", "advances_receivable", "suspense", "credit_loss"] | None,
        Query(description="Customers' accounts, or a kind of the bank's own (admin)"),
    ] = None,
    cursor: Annotated[str | None, Query(description="The `next` of the page before", max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """
    A page of accounts as they are now, in the order of their names. The bank's own are for admins.

    Whoever follows `next` from the beginning meets every account that was there before, once.
    """
    asked = cursors.list_of(request)
    async with services.pool.connection() as conn:
        rows, next_ = await reading_accounts.list_accounts(
            conn,
            prefix=prefix,
            currency=currency,
            status=status,
            kind=kind,
            with_system=client.may(ADMIN),
            after="" if cursor is None else cursors.read_name(cursor, asked),
            limit=limit,
            look_ahead=_LOOK_AHEAD,
        )
        rows = [await _with_totals(conn, row) for row in rows]
    today = _today(services)
    return _json(
        {
            "accounts": [documents.account_document(row, today=today) for row in rows],
            "next": next_ and cursors.write_name(asked, next_),
        }
    )


@router.get(
    "/{account}/balance",
    response_model=BalanceDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found", "invalid"),
)
async def balance(account: AccountName, client: Reader, services: Provided, at: instants.At) -> Response:
    """What was on an account when all was counted that was decided up to an instant, or to the end of a day."""
    now = clock.now()
    before = instants.read("at", at, services.rules.zone, is_end=True)
    if not instants.is_day(at):
        before += timedelta(microseconds=1)
    if before > now:
        raise _bad_instant("has not passed yet: give an earlier one, or ask for the account as it is now")
    async with services.pool.connection() as conn:
        found = await statement_account(conn, account, client)
        if found.opened_at >= before:
            raise _bad_instant(f"is before the account was opened: give {found.opened_at.isoformat()} or later")
        is_settled = now - before > tolerance(services)
        if found.is_system:
            below = await reading_log.ceiling(conn)
            version, is_final = None, is_settled
            balance_minor = await system_balance(conn, services, found, below, before, field="at")
        else:
            late = tolerance(services)
            first = await reading_statements.first_since(conn, found.id, before, last=found.version, tolerance=late)
            version, is_final = first - 1, is_settled or first <= found.version
            balance_minor = await reading_statements.balance_after(conn, found.id, first - 1)
    return _json(
        {
            "account": found.name,
            "currency": found.currency,
            "at": before - timedelta(microseconds=1),
            "balance": money.format_amount(balance_minor, found.currency),
            "version": version,
            "final": is_final,
        }
    )


async def statement_account(conn: AsyncConnection[Any], name: str, client: Client) -> StatementAccount:
    """The account whose history is asked for. Raises a problem if there is none that the client may see."""
    _see(name, client)
    found = await reading_statements.find_account(conn, name)
    if found is None:
        raise ProblemError("not_found", "There is no such account.")
    return found


async def system_balance(
    conn: AsyncConnection[Any],
    services: Services,
    account: StatementAccount,
    below: int,
    before: datetime | None,
    *,
    field: str,
) -> int:
    """
    What was on a system account, counting what is dated before the instant and is in the log below ``below``.

    Raises a problem that names the field if too much has happened since.
    """
    around = await reading_log.window(conn, below, before, before, tolerance=tolerance(services))
    if before is None:
        around = reading_log.Window(below, below)
    found = await reading_log.system_balance(conn, account.id, around, below, before, look_ahead=_REACH)
    if found is None:
        message = (
            f"is too far back for an account of the bank's own: more than {_REACH} commands were settled since. "
            "Give a later instant, or read its statement from its beginning (order=asc without `from`)"
        )
        raise ProblemError("invalid", "That balance is not known.", [(field, message)])
    return found


def tolerance(services: Services) -> timedelta:
    """By how much the dates of decisions may differ from their order: clocks differ, and transactions take time."""
    return timedelta(seconds=services.settings.clock_tolerance_s) + _TRANSACTION


def _see(account: str, client: Client) -> None:
    """To whoever is no admin, the bank's own accounts do not exist."""
    if account.startswith("@") and not client.may(ADMIN):
        raise ProblemError("not_found", "There is no such account.")


async def _with_totals(conn: AsyncConnection[Any], row: AccountRow) -> AccountRow:
    if not row.name.startswith("@"):
        return row
    credits_minor, debits_minor = await system_accounts.totals(conn, row.name) or (0, 0)
    return row.with_totals(credits_minor, debits_minor)


def _bad_instant(message: str) -> ProblemError:
    return ProblemError("invalid", "There is no balance of that instant.", [("at", message)])


def _today(services: Services) -> date:
    return services.rules.business_date(clock.now())


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
