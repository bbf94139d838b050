"""Routes for one command: send it, and ask what became of it."""

from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Query, Request, Response

from api_min import bodies, documents, problem
from api_min.auth import Reader, Writer
from api_min.headers import IdempotencyKey, WaitSeconds, read_key
from api_min.problem import ProblemError
from api_min.reading_body import read_all
from api_min.services import Provided, Services
from processor import tracing
from processor.keys import ADMIN, Client
from processor.store import reading
from processor.submissions import Answer, KeyConflict, Receipt, Submission, Unstorable

router = APIRouter(prefix="/v1/commands", tags=["commands"])

_LOOK_AHEAD: Final = 10_000
"""Positions that one page looks through at most, whoever's commands they are."""

_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Command"},
                "examples": {
                    "open_account": {
                        "value": {
                            "type": "open_account",
                            "account": "1001",
                            "currency": "USD",
                            "overdraft_limit": "100.00",
                        }
                    },
                    "deposit": {"value": {"type": "deposit", "account": "1001", "amount": "10.50", "currency": "USD"}},
                    "withdraw": {"value": {"type": "withdraw", "account": "1001", "amount": "4.00", "currency": "USD"}},
                    "transfer": {
                        "value": {
                            "type": "transfer",
                            "from_account": "1001",
                            "to_account": "1002",
                            "amount": "1.25",
                            "currency": "USD",
                            "reference": "lunch",
                        }
                    },
                    "advance": {
                        "value": {
                            "type": "advance",
                            "account": "1001",
                            "amount": "100.00",
                            "currency": "USD",
                            "instalments": 12,
                            "first_due_on": "2026-11-27",
                        }
                    },
                    "repay": {
                        "value": {
                            "type": "repay",
                            "account": "1001",
                            "advance_id": "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f",
                            "amount": "25.00",
                            "currency": "USD",
                        }
                    },
                    "write_off": {
                        "summary": "for admins",
                        "value": {
                            "type": "write_off",
                            "account": "1001",
                            "advance_id": "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f",
                            "currency": "USD",
                            "reason": "the owner is bankrupt",
                        },
                    },
                },
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
        200: {"model": documents.CommandDocument, "description": "With Prefer: wait, once there is an outcome"},
        **problem.documented("malformed", "unauthenticated", "forbidden", "too_large", "invalid", "backlog"),
        422: {
            "description": f"{problem.TITLES['invalid'][1]}; or: {problem.TITLES['key_conflict'][1]}",
            "content": {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
)
async def submit(
    request: Request, key: IdempotencyKey, wait_s: WaitSeconds, client: Writer, services: Provided
) -> Response:
    """Accept a command. 202 says *durable and queued*, not *applied*: ``status_url`` has the answer."""
    value = bodies.read_json(await read_all(request, max_bytes=bodies.MAX_COMMAND_BYTES))
    body = bodies.read_command(value, client)
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
