"""Routes for reconciliation: what bank and books disagree on, as JSON, CSV and a page; and what a person decides."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from jinja2 import DictLoader, Environment
from psycopg import Connection
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api_min import bodies, problem
from api_min.auth import scoped
from api_min.problem import ProblemError
from api_min.reading_body import read_all
from api_min.services import Provided, Services
from processor import clock, pools
from processor.domain.matching import Result
from processor.keys import ADMIN, Client
from processor.money import format_amount
from processor.reconciliation import by_hand, reporting
from processor.store import statements as store
from processor.store.reading import MAX_POSITION

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

Admin = Annotated[Client, Depends(scoped(ADMIN))]

router = APIRouter(prefix="/v1/reconciliation", tags=["reconciliation"], dependencies=[Depends(scoped(ADMIN))])

_MAX_BODY: Final = 16_384
_MOST_ROWS: Final = 100_000

LineId = Annotated[int, Path(ge=1, le=MAX_POSITION, description="The line's id: what follows statement_line:")]
Currency = Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="Of one currency only")]


class FileDocument(BaseModel):
    """A statement that was imported. ``new_lines`` are those that no file had before."""

    id: int
    name: str
    format: Literal["csv", "camt053", "mt940"]
    bank_account: str
    currency: str
    from_on: date
    to_on: date
    opening: str | None
    closing: str | None
    total: str = Field(description="Credits less debits of its lines")
    lines: int
    new_lines: int
    skipped: int = Field(description="Entries that are not booked, or move nothing")
    imported_by: str
    imported_at: datetime


class TotalDocument(BaseModel):
    """Lines, transfers or files of one result. A transfer that is missing is of no bank account."""

    bank_account: str | None
    currency: str
    result: str
    count: int
    amount: str


class AgeDocument(TotalDocument):
    """Of them, those that have been breaks for so many days."""

    days: Literal["0-1", "2-7", "8-30", ">30"]


class BreakDocument(BaseModel):
    """Something that is not as it should be."""

    subject: str = Field(examples=["statement_line:17", "transfer:4711.1", "statement_file:3"])
    result: str
    since: datetime
    age_days: int
    currency: str
    amount: str
    direction: str | None
    bank_account: str | None
    account: str | None
    booked_on: date | None
    says: str | None
    reference: str | None
    file: str | None
    detail: str


class ReportDocument(BaseModel):
    """Bank and books side by side, now."""

    files: list[FileDocument] = Field(description="Those that were imported last")
    totals: list[TotalDocument]
    ageing: list[AgeDocument]
    break_count: int
    breaks: list[BreakDocument] = Field(description="The oldest")


class MatchedDocument(BaseModel):
    """A line, and one of the transfers that it is matched with."""

    line: int
    bank_account: str
    currency: str
    booked_on: date
    direction: str
    amount: str
    says: str | None
    transfer: str = Field(examples=["4711.1"])
    matched: str = Field(description="What of both is matched")
    rule: str
    made_by: str
    reason: str | None
    made_at: datetime


class LinesDocument(BaseModel):
    """A page of matched lines, or the open breaks of a result."""

    matched: list[MatchedDocument]
    breaks: list[BreakDocument]
    next: int | None = Field(description="Give it as ``after`` for the next page of matched lines; null at the end")


class DecisionDocument(BaseModel):
    """What a person decided."""

    line: int
    matched: bool
    pairs: int = Field(description="Pairs of a line and a transfer that were put together or taken apart")


class _Reason(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    reason: Annotated[str, Field(min_length=1, max_length=255, description="Why, for those who look at it later")]


class UnmatchBody(_Reason):
    """Why the line and its transfers are not the same money."""


class MatchBody(_Reason):
    """The transfer that the line is for, and why."""

    transfer: Annotated[
        str,
        Field(pattern=r"^[1-9][0-9]{0,17}(\.[1-9][0-9]{0,3})?$", description="Position and leg", examples=["4711.1"]),
    ]


def _taking(body: type[BaseModel]) -> dict[str, Any]:
    """How the description shows a body that the route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body.model_json_schema()}}}}


_PROBLEMS: Final = problem.documented("unauthenticated", "forbidden", "invalid")
_DECISION_PROBLEMS: Final = problem.documented(
    "malformed", "unauthenticated", "forbidden", "not_found", "too_large", "invalid"
)


@router.get("", response_model=ReportDocument, responses=_PROBLEMS)
async def show(services: Provided, currency: Currency = None) -> Response:
    """What is matched, what is not, and since when: counts and sums by result, and the hundred oldest breaks."""
    report = await _in_thread(services, lambda conn: reporting.report(conn, now=clock.now(), currency=currency))
    document = {
        "files": [_file(each) for each in report.files],
        "totals": [_total(each) for each in report.totals],
        "ageing": [_total(each) | {"days": each.bucket} for each in report.ageing],
        "break_count": report.break_count,
        "breaks": [reporting.row_of(each, report.made_at) for each in report.breaks],
    }
    return _json(document)


@router.get("/lines", response_model=LinesDocument, responses=_PROBLEMS)
async def lines(
    services: Provided,
    result: Annotated[Result, Query(description="Lines, or transfers, of this result")],
    after: Annotated[int, Query(ge=0, le=MAX_POSITION, description="Matched lines with an id above it")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Lines with the transfers that they are matched with, page by page; or the open breaks of a result."""
    if result is not Result.MATCHED:
        breaks = await _in_thread(services, lambda conn: store.open_breaks(conn, result=result.value, limit=limit))
        rows = [reporting.row_of(each, clock.now()) for each in breaks]
        return _json({"matched": [], "breaks": rows, "next": None})
    # One line more than is shown says whether there is more.
    found = await _in_thread(services, lambda conn: store.matched_lines(conn, after=after, limit=limit + 1))
    ids = sorted({each.line_id for each in found})
    next_ = ids[limit - 1] if len(ids) > limit else None
    page = [each for each in found if next_ is None or each.line_id <= next_]
    return _json({"matched": [_matched(each) for each in page], "breaks": [], "next": next_})


@router.get(
    "/breaks.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **_PROBLEMS},
)
async def download(services: Provided, currency: Currency = None) -> Response:
    """Every open break as CSV, the oldest first: 100,000 at most."""
    breaks = await _in_thread(services, lambda conn: store.open_breaks(conn, currency=currency, limit=_MOST_ROWS))
    headers = {"Content-Disposition": 'attachment; filename="reconciliation.csv"', **_PRIVATE}
    return Response(reporting.to_csv(breaks, clock.now()), media_type="text/csv", headers=headers)


@router.get(
    "/page",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **_PROBLEMS},
)
async def page(services: Provided, currency: Currency = None) -> Response:
    """The same report for a person: one page that needs nothing from elsewhere."""
    report = await _in_thread(services, lambda conn: reporting.report(conn, now=clock.now(), currency=currency))
    html = _PAGE.render(
        report=report,
        rows=[reporting.row_of(each, report.made_at) for each in report.breaks],
        buckets=reporting.BUCKETS,
        amount=format_amount,
        style=_STYLE,
    )
    return Response(
        html, media_type="text/html; charset=utf-8", headers=_PRIVATE | {"Content-Security-Policy": _POLICY}
    )


@router.post(
    "/lines/{line_id}/match",
    response_model=DecisionDocument,
    responses=_DECISION_PROBLEMS,
    openapi_extra=_taking(MatchBody),
)
async def match(line_id: LineId, request: Request, services: Provided, client: Admin) -> Response:
    """Decide that a line is for a transfer, whatever their amounts and days. Both are breaks no more."""
    body = await _body(request, _MATCH)
    transfer = by_hand.read_transfer(body.transfer)

    def decide(conn: Connection) -> None:
        by_hand.match_by_hand(conn, line_id, transfer, reason=body.reason, by=f"api:{client.name}", now=clock.now())

    await _decided(services, decide)
    return _json({"line": line_id, "matched": True, "pairs": 1})


@router.post(
    "/lines/{line_id}/unmatch",
    response_model=DecisionDocument,
    responses=_DECISION_PROBLEMS,
    openapi_extra=_taking(UnmatchBody),
)
async def unmatch(line_id: LineId, request: Request, services: Provided, client: Admin) -> Response:
    """Take a line's match back, with all that was matched in one with it. No rule puts the same together again."""
    body = await _body(request, _UNMATCH)
    zone = services.settings.rules().zone

    def decide(conn: Connection) -> int:
        return by_hand.unmatch(conn, line_id, zone=zone, reason=body.reason, by=f"api:{client.name}", now=clock.now())

    return _json({"line": line_id, "matched": False, "pairs": await _decided(services, decide)})


_MATCH: Final = TypeAdapter(MatchBody)
_UNMATCH: Final = TypeAdapter(UnmatchBody)

_PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


async def _in_thread(services: Services, work: Callable[[Connection], T]) -> T:
    """Work on a connection of its own: what an admin asks now and then must not keep payments waiting."""

    def run() -> T:
        with pools.connect(services.settings.database_url.get_secret_value(), "florin api reconciliation") as conn:
            return work(conn)

    return await asyncio.to_thread(run)


async def _decided(services: Services, decide: Callable[[Connection], T]) -> T:
    try:
        return await _in_thread(services, decide)
    except by_hand.UnknownError as error:
        raise ProblemError("not_found", f"{error}.") from None
    except by_hand.CannotError as error:
        raise ProblemError("invalid", f"{error}.") from None


async def _body(request: Request, adapter: TypeAdapter[B]) -> B:
    value = bodies.read_json(await read_all(request, max_bytes=_MAX_BODY))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        errors = [(".".join(map(str, each["loc"])), str(each["msg"])) for each in error.errors(include_url=False)]
        raise ProblemError("invalid", "A field is missing or wrong.", errors) from None


def _file(file: store.FileRow) -> dict[str, Any]:
    currency = file.currency
    return {
        "id": file.id,
        "name": file.name,
        "format": file.format,
        "bank_account": file.bank_account,
        "currency": currency,
        "from_on": file.from_on,
        "to_on": file.to_on,
        "opening": None if file.opening_minor is None else format_amount(file.opening_minor, currency),
        "closing": None if file.closing_minor is None else format_amount(file.closing_minor, currency),
        "total": format_amount(file.total_minor, currency),
        "lines": file.lines,
        "new_lines": file.new_lines,
        "skipped": file.skipped,
        "imported_by": file.imported_by,
        "imported_at": file.imported_at,
    }


def _total(total: reporting.Total | store.BreakTotal) -> dict[str, Any]:
    return {
        "bank_account": total.bank_account,
        "currency": total.currency,
        "result": total.result,
        "count": total.count,
        "amount": format_amount(total.amount_minor, total.currency),
    }


def _matched(row: store.MatchRow) -> dict[str, Any]:
    return {
        "line": row.line_id,
        "bank_account": row.bank_account,
        "currency": row.currency,
        "booked_on": row.booked_on,
        "direction": row.direction,
        "amount": format_amount(row.line_amount_minor, row.currency),
        "says": row.says,
        "transfer": f"{row.position}.{row.leg}",
        "matched": format_amount(row.amount_minor, row.currency),
        "rule": row.rule,
        "made_by": row.made_by,
        "reason": row.reason,
        "made_at": row.made_at,
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers=_PRIVATE)


_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 0 0 2rem; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { background: #f5f5f5; } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
"""

# Nothing is loaded, run or framed; of styles, just the one above.
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Florin: reconciliation</title>
<style>{{ style|safe }}</style></head>
<body>
<h1>Reconciliation</h1>
<p>{{ report.made_at.strftime("%Y-%m-%d %H:%M:%S") }} UTC. {% if report.break_count -%}
{{ "{:,}".format(report.break_count) }} differences.{% else %}No differences.{% endif %}</p>
<table><caption>Statements and books</caption>
<thead><tr><th>bank account<th>currency<th>result<th>count<th>amount</tr></thead><tbody>
{% for each in report.totals %}<tr><td>{{ each.bank_account or "-" }}<td>{{ each.currency }}<td>{{ each.result }}
<td class="n">{{ "{:,}".format(each.count) }}<td class="n">{{ amount(each.amount_minor, each.currency) }}</tr>
{% endfor %}</tbody></table>
<table><caption>Breaks by age in days</caption>
<thead><tr><th>bank account<th>currency<th>result<th>days<th>count<th>amount</tr></thead><tbody>
{% for each in report.ageing %}<tr><td>{{ each.bank_account or "-" }}<td>{{ each.currency }}<td>{{ each.result }}
<td>{{ each.bucket }}<td class="n">{{ "{:,}".format(each.count) }}
<td class="n">{{ amount(each.amount_minor, each.currency) }}</tr>
{% endfor %}</tbody></table>
<table><caption>Breaks, the oldest first</caption>
<thead><tr><th>subject<th>result<th>days<th>amount<th>direction<th>account<th>says<th>why</tr></thead><tbody>
{% for row in rows %}<tr><td>{{ row.subject }}<td>{{ row.result }}<td class="n">{{ row.age_days }}
<td class="n">{{ row.amount }} {{ row.currency }}<td>{{ row.direction or "-" }}
<td>{{ row.bank_account or row.account or "-" }}<td>{{ row.says or row.reference or row.file or "-" }}
<td>{{ row.detail }}</tr>
{% endfor %}</tbody></table>
<table><caption>Statements that were imported last</caption>
<thead><tr><th>file<th>bank account<th>days<th>lines<th>opening<th>closing<th>imported</tr></thead><tbody>
{% for each in report.files %}<tr><td>{{ each.name }}<td>{{ each.bank_account }}
<td>{{ each.from_on }} to {{ each.to_on }}<td class="n">{{ "{:,}".format(each.lines) }}
<td class="n">{{ "-" if each.opening_minor is none else amount(each.opening_minor, each.currency) }}
<td class="n">{{ "-" if each.closing_minor is none else amount(each.closing_minor, each.currency) }}
<td>{{ each.imported_at.strftime("%Y-%m-%d %H:%M") }} by {{ each.imported_by }}</tr>
{% endfor %}</tbody></table>
</body></html>
"""

_PAGE: Final = Environment(autoescape=True, loader=DictLoader({"page": _TEMPLATE})).get_template("page")
