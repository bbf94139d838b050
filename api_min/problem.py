"""Errors as HTTP answers: one table, RFC 9457 problem+json. Bad input is never a 500."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from processor import tracing
from processor.errors import Overloaded, Unavailable

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

_BASE: Final = "urn:florin:problem:"

TITLES: Final = {
    "malformed": (400, "The request cannot be read"),
    "unauthenticated": (401, "No valid API key was given"),
    "forbidden": (403, "The API key does not have the scope"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "This address does not take that method"),
    "too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "This media type is not taken here"),
    "invalid": (422, "The request does not make sense"),
    "key_conflict": (422, "The idempotency key names another request"),
    "backlog": (429, "Too many commands are waiting"),
    "internal": (500, "Something went wrong on our side"),
    "unavailable": (503, "The database is away"),
    "no_figures": (503, "The figures cannot be read"),
}
"""Every kind of problem: its HTTP status and its title. The kind is the end of the problem's ``type``."""


class FieldError(BaseModel):
    """What is wrong with one field, by its name in the request."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457: why a request was not done, and what to do. ``trace_id`` finds what the bank's log has of it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    trace_id: str | None = None


@dataclass
class ProblemError(Exception):
    """A request that ends here. ``kind`` is one of ``TITLES``; ``errors`` are pairs of field and message."""

    kind: str
    detail: str
    errors: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The problem as it stands in the answer, or in a line of a batch's."""
        status, title = TITLES[self.kind]
        document = {"type": _BASE + self.kind, "title": title, "status": status, "detail": self.detail}
        if self.errors:
            document["errors"] = [{"field": name, "message": message} for name, message in self.errors]
        return document

    def response(self) -> Response:
        """The problem as an answer of its own."""
        document = self.document()
        if trace_id := tracing.trace_id():
            document["trace_id"] = trace_id
        return Response(
            orjson.dumps(document), status_code=document["status"], media_type=MEDIA_TYPE, headers=dict(self.headers)
        )


def of(error: Exception) -> ProblemError:
    """The one table: what each error means to a client."""
    match error:
        case ProblemError():
            return error
        case Overloaded():
            return ProblemError("backlog", str(error), headers={"Retry-After": str(error.retry_after_s)})
        case Unavailable():
            return ProblemError("unavailable", str(error), headers={"Retry-After": "1"})
        case psycopg.OperationalError() | psycopg.InterfaceError() | PoolTimeout():
            return ProblemError("unavailable", "The database is away. Try again soon.", headers={"Retry-After": "1"})
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http(error)
    log.error("request.broken", exc_info=error)
    return ProblemError("internal", "Nothing that you sent caused this. Send again, with the same key.")


def install(app: FastAPI) -> None:
    """Let every error that a route raises be answered by the table."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = of(error)
        if problem.kind == "method_not_allowed":
            problem.headers = {"Allow": ", ".join(sorted(_allowed(request)))}
        return problem.response()

    for kind in (
        ProblemError,
        Overloaded,
        Unavailable,
        psycopg.OperationalError,
        psycopg.InterfaceError,
        PoolTimeout,
        RequestValidationError,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, answer)


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its OpenAPI description."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, "internal", "unavailable"):
        status, title = TITLES[kind]
        seen = answers.setdefault(status, {"description": title, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}})
        if seen["description"] != title:
            seen["description"] += f"; or: {title}"
    return answers


_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}


def _of_validation(error: RequestValidationError) -> ProblemError:
    """Parameters only, not bodies. A bad header is malformed, a bad path is nothing's address."""
    places = {str(each["loc"][0]) for each in error.errors()}
    errors = [(str(each["loc"][-1]), each["msg"]) for each in error.errors()]
    if "path" in places:
        return ProblemError("not_found", "Nothing can have this address.", errors)
    if "header" in places:
        return ProblemError("malformed", "A header is missing or malformed.", errors)
    return ProblemError("invalid", "A parameter is wrong.", errors)


def _allowed(request: Request) -> set[str]:
    """The methods of every route at this address. The framework names those of the first one only."""
    return {
        method
        for route in request.app.state.api_routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods
    }


def _of_http(error: HTTPException) -> ProblemError:
    """What the framework itself refuses."""
    kinds = {status: kind for kind, (status, _) in reversed(TITLES.items())}
    kind = kinds.get(error.status_code, "malformed")
    detail = "There is nothing at this address." if kind == "not_found" else HTTPStatus(error.status_code).description
    return ProblemError(kind, detail or error.detail, headers=error.headers or {})
