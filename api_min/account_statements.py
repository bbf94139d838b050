"""Route for a customer's statement of a period, as CSV or as a PDF that could be sent."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from psycopg import Connection

from api_min import problem
from api_min.accounts import AccountName
from api_min.auth import Reader
from api_min.problem import ProblemError
from api_min.services import Provided, Services
from processor import clock, pools
from processor.account_statements.statement import NotBegunError, Statement, UnknownAccountError, make, pages, reader
from processor.account_statements.to_csv import to_csv
from processor.account_statements.to_pdf import TooLongError, to_pdf
from processor.periods import Period
from processor.store import account_statements as store
from processor.store.account_statements import Line

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

_CSV: Final = "text/csv"
_PDF: Final = "application/pdf"
_PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_RANGE: Final = re.compile(r"\s*([\w.+*-]+/[\w.+*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.ASCII)

_ONE_AT_A_TIME: Final = asyncio.Semaphore(1)
"""Drawing takes the processor for up to some seconds, which payments need."""

Day = Annotated[str | None, Query(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", examples=["2026-11-20"])]


@router.get(
    "/{account}/statement",
    response_class=Response,
    responses={
        200: {"content": {_CSV: {"schema": {"type": "string"}}, _PDF: {"schema": {"type": "string"}}}},
        **problem.documented("unauthenticated", "forbidden", "not_found", "invalid"),
    },
)
async def statement(
    *,
    account: AccountName,
    client: Reader,  # noqa: ARG001
    services: Provided,
    month: Annotated[str | None, Query(pattern="^[0-9]{4}-[0-9]{2}$", examples=["2026-11"])] = None,
    from_on: Annotated[Day, Query(alias="from", description="The first day, instead of a month")] = None,
    to_on: Annotated[Day, Query(alias="to", description="The last day, which is included")] = None,
    format_: Annotated[
        Literal["csv", "pdf"] | None, Query(alias="format", description="Else what the header Accept prefers, or CSV")
    ] = None,
    accept: Annotated[str, Header(description="text/csv or application/pdf")] = "",
) -> Response:
    """A customer's account in a period: what was there before, every transfer, what was left."""
    period = _period(month, from_on, to_on, services)
    is_pdf = format_ == "pdf" if format_ else _prefers_pdf(accept)
    try:
        made = await asyncio.to_thread(_make, services, account, period)
        headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{_file_name(made)}.{_ending(is_pdf)}"'}
        if not is_pdf:
            return StreamingResponse(to_csv(made, _pages(services, made)), media_type=_CSV, headers=headers)
        async with _ONE_AT_A_TIME:
            document = await asyncio.to_thread(_draw, services, made)
    except UnknownAccountError:
        raise ProblemError("not_found", "There is no such account.") from None
    except (NotBegunError, TooLongError) as error:
        words = str(error)
        raise ProblemError("invalid", f"{words[0].upper()}{words[1:]}.") from None
    return Response(document, media_type=_PDF, headers=headers)


def _period(month: str | None, from_on: str | None, to_on: str | None, services: Services) -> Period:
    zone = services.settings.rules().zone
    if (month is None) != (from_on is not None and to_on is not None) or (month and (from_on or to_on)):
        raise ProblemError("invalid", "Give month, or from and to.", [("month", "give this, or from and to")])
    try:
        if month is not None:
            return Period.of_month(month, zone)
        return Period(_day("from", from_on), _day("to", to_on), zone)
    except ValueError as error:
        raise ProblemError("invalid", "There is no such period.", [("month" if month else "to", str(error))]) from None


def _day(name: str, text: str | None) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        raise ProblemError("invalid", "There is no such day.", [(name, f"no day: {text}")]) from None


def _make(services: Services, account: str, period: Period) -> Statement:
    # A connection of its own, as an admin's questions have: statements must not keep other questions waiting.
    with _connection(services) as conn:
        return make(conn, account, period, zone_name=services.settings.business_zone, now=clock.now())


def _draw(services: Services, made: Statement) -> bytes:
    with _connection(services) as conn:
        return to_pdf(made, pages(made, reader(conn)), bank=services.settings.bank_name)


def _pages(services: Services, made: Statement) -> Iterator[Sequence[Line]]:
    """Each through a connection that is given back at once: whoever reads slowly keeps none."""

    def read(account_id: int, after: int, up_to: int) -> Sequence[Line]:
        with _connection(services) as conn:
            return store.page(conn, account_id, after=after, up_to=up_to)

    return pages(made, read)


def _connection(services: Services) -> Connection:
    return pools.connect(services.settings.database_url.get_secret_value(), "florin api statement")


def _prefers_pdf(accept: str) -> bool:
    """Whether the header Accept (RFC 9110) rates PDF above CSV."""
    rated = {}
    for each in accept.lower().split(","):
        if match := _RANGE.fullmatch(each):
            rated[match[1]] = float(match[2] or 1)
    pdf, csv = (
        next((rated[each] for each in (exact, f"{exact.partition('/')[0]}/*", "*/*") if each in rated), 0.0)
        for exact in (_PDF, _CSV)
    )
    return pdf > csv


def _file_name(made: Statement) -> str:
    """Without the colon, which some systems do not take."""
    return f"statement-{made.account.name.replace(':', '_')}-{made.from_on}-{made.to_on}"


def _ending(is_pdf: bool) -> str:
    return "pdf" if is_pdf else "csv"
