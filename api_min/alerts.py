"""Routes for admins: what is wrong and who looks after it, and which accounts wait for their release."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from api_min import bodies, problem
from api_min.auth import scoped
from api_min.problem import ProblemError
from api_min.reading_body import read_all
from api_min.services import Provided
from processor import alerts as alerting
from processor import clock, keys, quarantine
from processor.keys import Client
from processor.quarantine import Answer
from processor.store import alerts as alert_store
from processor.store import quarantine as quarantine_store
from processor.store.alerts import AlertRow, ChangeRow
from processor.store.quarantine import QuarantineRow
from processor.store.reading import MAX_POSITION

router = APIRouter(tags=["alerts"])

Admin = Annotated[Client, Depends(scoped(keys.ADMIN))]

State = Literal["open", "acknowledged", "resolved"]
SeverityName = Literal["page", "ticket"]
AlertId = Annotated[int, Path(ge=1, le=MAX_POSITION)]
After = Annotated[int, Query(ge=0, le=MAX_POSITION, description="Those with a larger id")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Account = Annotated[str | None, Query(pattern=bodies.ACCOUNT_PATTERN, description="Those that name this account")]

_MAX_BODY_BYTES: Final = 16 * 1024

B = TypeVar("B", bound=BaseModel)


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("say why, in words")
    if "\x00" in text:
        raise ValueError("the character U+0000 cannot be stored")
    return text


Reason = Annotated[
    str,
    AfterValidator(_says_something),
    Field(min_length=1, max_length=500, description="For those who read it later", examples=["restored from backup"]),
]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AcknowledgeBody(_Body):
    """May be left out."""

    reason: Reason | None = None


class ResolveBody(_Body):
    """Why it is done with."""

    reason: Reason


class ReleaseBody(_Body):
    """May be left out, unless an alert of the account is open."""

    reason: Reason | None = None
    force: bool = Field(False, description="Release although an alert is open; needs a reason")


class AlertDocument(BaseModel):
    """Something that a proof found wrong, with the facts as they were last seen."""

    id: int
    proof: str = Field(examples=["balance_chain"])
    subject: str = Field(description="What is wrong; with the proof, the alert's identity", examples=["account:1001"])
    severity: SeverityName
    state: State
    account: str | None = Field(description="Whose own books are in doubt")
    position: int | None = Field(description="Of the command that it is about")
    expected: str
    found: str
    since: datetime | None = Field(description="Since when it is wrong, as far as the books tell")
    advice: str
    runbook_url: str
    first_seen_at: datetime
    last_seen_at: datetime
    seen: int = Field(description="How many runs of the proof found it")
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledge_reason: str | None
    resolved_at: datetime | None
    resolved_by: str | None = Field(description="Null if the proof passed again by itself")
    resolve_reason: str | None


class ChangeDocument(BaseModel):
    """What became of an alert."""

    id: UUID = Field(description="The webhook-id of the notification")
    kind: Literal["opened", "reopened", "raised", "acknowledged", "resolved"]
    changed_at: datetime
    changed_by: str | None = Field(description="Null if it happened by itself")
    reason: str | None
    notice: Literal["waiting", "delivered", "undelivered", "nobody"] | None = Field(
        description="What became of telling people; null if nobody is to be told"
    )


class AlertWithHistory(AlertDocument):
    """An alert and everything that became of it, the oldest first."""

    history: list[ChangeDocument]


class AlertList(BaseModel):
    """A page."""

    alerts: list[AlertDocument]
    next: int | None = Field(description="Give it as ``after`` for the next page; null at the end")


class QuarantineDocument(BaseModel):
    """An account whose commands are held, or were."""

    id: int
    account: str
    state: Literal["held", "asked", "released"] = Field(description="asked: another admin has to confirm the release")
    alert_id: int
    began_at: datetime
    asked_at: datetime | None
    asked_by: str | None = Field(description="The first admin, where a release needs two")
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None
    held_commands: int = Field(description="Commands that are held for this account now")
    oldest_held_at: datetime | None


class QuarantineList(BaseModel):
    """A page."""

    quarantines: list[QuarantineDocument]
    next: int | None = Field(description="Give it as ``after`` for the next page; null at the end")


def _takes(body: type[BaseModel], *, required: bool) -> dict[str, Any]:
    """The description of a body that the route reads by itself."""
    schema = body.model_json_schema()
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


@router.get(
    "/v1/alerts",
    response_model=AlertList,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
    dependencies=[Depends(scoped(keys.ADMIN))],
)
async def find(
    *,
    services: Provided,
    account: Account = None,
    proof: Annotated[str | None, Query(pattern="^[^\\x00]{1,64}$", description="Those of this proof")] = None,
    severity: SeverityName | None = None,
    state: State | None = None,
    after: After = 0,
    limit: Limit = 100,
) -> Response:
    """A page of alerts, the oldest first, resolved ones included unless `state` says otherwise."""
    async with services.pool.connection() as conn:
        rows = await alert_store.page(
            conn, state=state, severity=severity, proof=proof, account=account, after=after, limit=limit + 1
        )
    page = rows[:limit]
    url = services.settings.runbook_url
    return _json({"alerts": [_alert(row, url) for row in page], "next": page[-1].id if len(rows) > limit else None})


@router.get(
    "/v1/alerts/{alert_id}",
    response_model=AlertWithHistory,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
    dependencies=[Depends(scoped(keys.ADMIN))],
)
async def show(alert_id: AlertId, services: Provided) -> Response:
    """An alert and its history."""
    async with services.pool.connection() as conn:
        row = await alert_store.find(conn, alert_id)
        history = await alert_store.history(conn, alert_id)
    if row is None:
        raise ProblemError("not_found", "There is no such alert.")
    document = _alert(row, services.settings.runbook_url)
    return _json(document | {"history": [_change(each) for each in history]})


@router.post(
    "/v1/alerts/{alert_id}/acknowledge",
    response_model=AlertDocument,
    responses=problem.documented("malformed", "unauthenticated", "forbidden", "not_found", "too_large", "invalid"),
    openapi_extra=_takes(AcknowledgeBody, required=False),
)
async def acknowledge(alert_id: AlertId, request: Request, admin: Admin, services: Provided) -> Response:
    """Say that you look after it. The first word stands: whoever says so again is shown who did before."""
    body = await _read(request, AcknowledgeBody)
    async with services.pool.connection() as conn:
        row = await alerting.acknowledge(
            conn, alert_id, by=admin.name, reason=body.reason, now=clock.now(), new_id=services.new_id
        )
    if row is None:
        raise ProblemError("not_found", "There is no such alert.")
    return _json(_alert(row, services.settings.runbook_url))


@router.post(
    "/v1/alerts/{alert_id}/resolve",
    response_model=AlertDocument,
    responses=problem.documented("malformed", "unauthenticated", "forbidden", "not_found", "too_large", "invalid"),
    openapi_extra=_takes(ResolveBody, required=True),
)
async def resolve(alert_id: AlertId, request: Request, admin: Admin, services: Provided) -> Response:
    """Say that it is done with, and why. If the proof finds it again, it opens another alert."""
    body = await _read(request, ResolveBody)
    async with services.pool.connection() as conn:
        row = await alerting.resolve(
            conn, alert_id, by=admin.name, reason=body.reason, now=clock.now(), new_id=services.new_id
        )
    if row is None:
        raise ProblemError("not_found", "There is no such alert.")
    return _json(_alert(row, services.settings.runbook_url))


@router.get(
    "/v1/quarantine",
    response_model=QuarantineList,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
    dependencies=[Depends(scoped(keys.ADMIN))],
)
async def find_quarantined(
    services: Provided,
    account: Account = None,
    released: Annotated[bool, Query(description="Those that are over as well")] = False,
    after: After = 0,
    limit: Limit = 100,
) -> Response:
    """A page of accounts whose commands are held, in the order in which they were quarantined."""
    async with services.pool.connection() as conn:
        rows = await quarantine_store.page(conn, account=account, released=released, after=after, limit=limit + 1)
    page = rows[:limit]
    return _json(
        {"quarantines": [_quarantine(row) for row in page], "next": page[-1].id if len(rows) > limit else None}
    )


@router.post(
    "/v1/quarantine/{account}/release",
    response_model=QuarantineDocument,
    responses={
        202: {"model": QuarantineDocument, "description": "Asked for: another admin has to confirm it"},
        **problem.documented("malformed", "unauthenticated", "forbidden", "not_found", "too_large", "invalid"),
    },
    openapi_extra=_takes(ReleaseBody, required=False),
)
async def release(
    account: Annotated[str, Path(pattern=bodies.ACCOUNT_PATTERN)], request: Request, admin: Admin, services: Provided
) -> Response:
    """Let the account go on. What was held for it is decided in order of position, within seconds."""
    body = await _read(request, ReleaseBody)
    if body.force and body.reason is None:
        raise ProblemError("invalid", "To force a release, say why.", [("reason", "give a reason")])
    async with services.pool.connection() as conn:
        released = await quarantine.release(
            conn,
            account,
            by=admin.name,
            now=clock.now(),
            reason=body.reason,
            force=body.force,
            needs_two=services.settings.release_needs_two,
        )
    if released.quarantine is None:
        raise ProblemError("not_found", "This account is not in quarantine, and never was.")
    if released.answer is Answer.ALERT_OPEN:
        alerts = ", ".join(map(str, released.alerts))
        raise ProblemError(
            "invalid",
            f"What was found is still open (alerts {alerts}): resolve it, or release with force and a reason.",
            [("force", "is needed while an alert of the account is open")],
        )
    return _json(_quarantine(released.quarantine), status_code=202 if released.answer is Answer.ASKED else 200)


async def _read(request: Request, body: type[B]) -> B:
    """The body of the request; none is the same as an empty object."""
    data = await read_all(request, max_bytes=_MAX_BODY_BYTES)
    try:
        return body.model_validate(bodies.read_json(data) if data else {})
    except ValidationError as error:
        errors = [
            (".".join(map(str, each["loc"])), str(each["msg"]).removeprefix("Value error, ")) for each in error.errors()
        ]
        raise ProblemError("invalid", "A field of the body is missing or wrong.", errors) from None


def _alert(row: AlertRow, runbook_url: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "proof": row.proof,
        "subject": row.subject,
        "severity": row.severity,
        "state": row.state,
        "account": row.account,
        "position": row.position,
        "expected": row.expected,
        "found": row.found,
        "since": row.since,
        "advice": row.advice,
        "runbook_url": alerting.runbook(row.proof, runbook_url),
        "first_seen_at": row.first_seen_at,
        "last_seen_at": row.last_seen_at,
        "seen": row.seen,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by,
        "acknowledge_reason": row.acknowledge_reason,
        "resolved_at": row.resolved_at,
        "resolved_by": row.resolved_by,
        "resolve_reason": row.resolve_reason,
    }


def _change(row: ChangeRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "changed_at": row.changed_at,
        "changed_by": row.changed_by,
        "reason": row.reason,
        "notice": row.notice,
    }


def _quarantine(row: QuarantineRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "account": row.account,
        "state": "released" if row.released_at else "asked" if row.asked_at else "held",
        "alert_id": row.alert_id,
        "began_at": row.began_at,
        "asked_at": row.asked_at,
        "asked_by": row.asked_by,
        "released_at": row.released_at,
        "released_by": row.released_by,
        "release_reason": row.release_reason,
        "held_commands": row.commands,
        "oldest_held_at": row.oldest_held_at,
    }


def _json(document: dict[str, Any], *, status_code: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status_code, media_type="application/json")
