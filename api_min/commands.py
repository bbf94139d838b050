"""Routes for one command: send it, and ask what became of it."""

import asyncio
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Query, Request, Response

from api_min import bodies, documents, examples, problem
from api_min.auth import Reader, Writer, require
from api_min.headers import KeyUnlessDryRun, WaitSeconds, read_key
from api_min.problem import ProblemError
from api_min.reading_body import read_all
from api_min.resolving import named, resolved
from api_min.services import Provided, Services
from processor import clock, tracing
from processor.dry_run import Foreseen, dry_run
from processor.keys import ADMIN, READ, Client
from processor.store import reading
from processor.submissions import Answer, CommandBody, KeyConflict, Receipt, Submission, Unstorable

router = APIRouter(prefix="/v1/commands", tags=["commands"])

_LOOK_AHEAD: Final = 10_000
"""Positions that one page looks through at most, whoever's commands they are."""

_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Command"},
                "examples": examples.COMMANDS,
            }
        },
    }
}


@router.post(
    "",
    status_code=202,
    response_model=documents.ReceiptDocument,
    openapi_extra=_BODY,
    responses={
        200: {
            "model": documents.CommandDocument | documents.DryRunDocument,
            "description": "With Prefer: wait, once there is an outcome; or what would happen, of a dry run",
        },
        **problem.documented("malformed", "unauthenticated", "forbidden", "too_large", "invalid", "backlog"),
        422: {
            "description": f"{problem.TITLES['invalid'][1]}; or: {problem.TITLES['key_conflict'][1]}",
            "content": {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
)
async def submit(
    request: Request, key: KeyUnlessDryRun, wait_s: WaitSeconds, client: Writer, services: Provided
) -> Response:
    """
    Accept a command. 202 says *durable and queued*, not *applied*: ``status_url`` has the answer.

    With ``dry_run=true``, 200 says what would happen now, and nothing is accepted.
    """
    value = bodies.read_json(await read_all(request, max_bytes=bodies.MAX_COMMAND_BYTES))
    body = bodies.read_command(value, client)
    body = resolved(body, await named(services, [body]), client)
    if key is None:
        # It tells balances, which a key that only writes does not see.
        require(client, READ)
        foreseen = await asyncio.to_thread(_dry_run, services, body)
        return _json(documents.dry_run_document(body, foreseen))
    (answer,) = await services.intake.accept([Submission(services.new_id(), client.id, key, body)])
    receipt = accepted(answer)
    structlog.contextvars.bind_contextvars(command_id=str(receipt.id), position=receipt.position)
    tracing.annotate(florin__command_id=str(receipt.id), florin__position=receipt.position)
    headers = {"Location": documents.status_url(receipt.id)}
    if receipt.replayed:
        headers["Idempotent-Replayed"] = "true"
    wait_s = min(wait_s, services.settings.max_wait_s)
    if wait_s and (settled := await _outcome(services, receipt, wait_s)):
        return _json(documents.command_document(settled), headers={**headers, "Preference-Applied": f"wait={wait_s}"})
    return _json(documents.receipt_document(receipt), status_code=202, headers=headers)


@router.get(
    "/{command_id}",
    response_model=documents.CommandDocument,
    response_model_exclude_none=True,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
)
async def show(command_id: UUID, client: Reader, services: Provided) -> Response:
    """A command of yours, and its outcome once it has one."""
    structlog.contextvars.bind_contextvars(command_id=str(command_id))
    async with services.pool.connection() as conn:
        return _one(await reading.find_command(conn, command_id), client)


@router.get(
    "",
    response_model=documents.CommandDocument | documents.CommandList,
    responses=problem.documented("unauthenticated", "forbidden", "not_found", "invalid"),
)
async def find(
    client: Reader,
    services: Provided,
    idempotency_key: Annotated[str | None, Query(description="The one command that this key of yours names")] = None,
    after: Annotated[int, Query(ge=0, le=reading.MAX_POSITION, description="Commands above this position")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The command that an idempotency key names; or, without one, a page of your commands in order of position."""
    async with services.pool.connection() as conn:
        if idempotency_key is None:
            rows, next_ = await reading.list_commands(conn, client.id, after=after, limit=limit, look_ahead=_LOOK_AHEAD)
            return _json({"commands": [documents.command_line(row) for row in rows], "next": next_})
        try:
            key = read_key(idempotency_key)
        except ValueError as error:
            raise ProblemError("invalid", f"{error}.", [("idempotency_key", str(error))]) from None
        return _one(await reading.find_command_by_key(conn, client.id, key), client)


def accepted(answer: Answer) -> Receipt:
    """The receipt, or the problem that there is none."""
    match answer:
        case Receipt():
            return answer
        case KeyConflict(differing_fields):
            raise ProblemError(
                "key_conflict",
                f"This key was first used with another {', '.join(differing_fields)}. Use a new key for a new command.",
                [(name, "differs from the first request under this key") for name in differing_fields],
            )
        case Unstorable(message):
            raise ProblemError("invalid", f"The command cannot be stored: {message}.")
        case _:
            raise TypeError("linked commands are answered together")


def _dry_run(services: Services, body: CommandBody) -> Foreseen:
    """On a connection for that, in a thread: what workers read is read as they read it."""
    with services.dry_runs.connection() as conn:
        return dry_run(conn, body, now=clock.now(), rules=services.rules)


async def _outcome(services: Services, receipt: Receipt, wait_s: int) -> reading.CommandRow | None:
    """The settled command, or ``None`` if it is pending still when the client will not wait any longer."""
    if not receipt.replayed or (row := await _settled(services, receipt.position)) is None:
        await services.listener.wait(receipt.position, seconds=wait_s)
        row = await _settled(services, receipt.position)
    return row


async def _settled(services: Services, position: int) -> reading.CommandRow | None:
    async with services.pool.connection() as conn:
        (row,) = await reading.find_commands(conn, [position])
    return None if row.decided_at is None else row


def _one(row: reading.CommandRow | None, client: Client) -> Response:
    """Another client's command is nothing that exists, except to an admin."""
    if row is None or (row.client_id != client.id and not client.may(ADMIN)):
        raise ProblemError("not_found", "You have no such command.")
    return _json(documents.command_document(row))


def _json(document: dict[str, Any], *, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status_code=status_code, media_type="application/json", headers=headers)
