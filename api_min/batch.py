"""Route for many commands at once: each line, of one command or of linked ones, is accepted or refused on its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response

from api_min import bodies, documents, problem
from api_min.auth import Writer
from api_min.commands import accepted
from api_min.headers import check_key
from api_min.linking import bodies_of, is_linked, linked_answer, linked_error, read_linked, resolve_linked, size_of
from api_min.problem import ProblemError
from api_min.reading_body import read_all, read_lines
from api_min.resolving import named, resolved
from api_min.services import Provided, Services
from processor.errors import Overloaded, Unavailable
from processor.keys import Client
from processor.store.reading import CommandRow
from processor.submissions import LINKED, Answer, CommandBody, Linked, Submission

router = APIRouter(prefix="/v1/commands", tags=["commands"])

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"

Line = Submission | Linked | dict[str, Any]
"""What is submitted in a line, or the answer to it already."""

_CHUNK: Final = 1_000
"""Lines that are handed to the intake together: other requests get their turn in between."""

_EXAMPLE: Final = {
    "idempotency_key": "payroll-2026-11-1001",
    "type": "deposit",
    "account": "1001",
    "amount": "10.50",
    "currency": "USD",
}


@router.post(
    "/batch",
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {
                        "type": "array",
                        "items": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/BatchCommand"},
                                {"$ref": "#/components/schemas/LinkedCommands"},
                            ]
                        },
                        "maxItems": 10_000,
                    },
                    "example": [_EXAMPLE],
                },
                NDJSON: {"schema": {"type": "string"}, "example": orjson.dumps(_EXAMPLE).decode()},
            },
        }
    },
    responses={
        200: {
            "description": "One line per command, in order: accepted, replayed, or its error",
            "content": {
                JSON: {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/BatchLine"}}},
                NDJSON: {"schema": {"type": "string"}},
            },
        },
        **problem.documented(
            "malformed", "unauthenticated", "forbidden", "too_large", "unsupported_media_type", "invalid", "backlog"
        ),
    },
)
async def submit_batch(request: Request, client: Writer, services: Provided) -> Response:
    """
    Accept up to 10,000 commands, each with its own ``idempotency_key``: NDJSON, or a JSON array.

    A line may be ``{"linked": [...]}`` with 2 to 100 commands, each with its own key: they are accepted all or none,
    and applied all or none. A bad line does not spoil the others. When the connection ends in between, send the same
    batch again: what was accepted is answered as replayed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (NDJSON, JSON):
        raise ProblemError("unsupported_media_type", f"Send {NDJSON}, one command a line, or a JSON array as {JSON}.")
    max_bytes, limit = services.settings.max_body_bytes, services.settings.max_batch_commands
    batch = _Batch(client, services)
    if media_type == NDJSON:
        await _take_lines(batch, read_lines(request, max_bytes=max_bytes), limit)
    else:
        await _take_array(batch, await read_all(request, max_bytes=max_bytes), limit)
    return _response(batch.answers(), media_type)


async def _take_lines(batch: "_Batch", lines: AsyncIterator[bytes], limit: int) -> None:
    """Accept lines while later ones still arrive. Those beyond the limit are told so together, unread."""
    chunk: list[object] = []
    count = 0
    async for line in lines:
        if count > limit:
            count += 1
            continue
        value = _value(line)
        count += size_of(value)
        if count > limit:
            continue
        chunk.append(value)
        if len(chunk) == _CHUNK:
            await batch.accept(chunk)
            chunk = []
    await batch.accept(chunk)
    if count > limit:
        detail = f"A batch may have {limit} commands: send the {count - limit} behind them in the next."
        batch.refuse(ProblemError("too_large", detail))


async def _take_array(batch: "_Batch", body: bytes, limit: int) -> None:
    values = bodies.read_json(body)
    if not isinstance(values, list):
        raise ProblemError("invalid", "Send a JSON array of commands.")
    if (count := sum(map(size_of, values))) > limit:
        raise ProblemError("too_large", f"A batch may have {limit} commands, and this one has {count}.")
    for start in range(0, len(values), _CHUNK):
        await batch.accept(values[start : start + _CHUNK])


class _Batch:
    """Hands lines to the intake a chunk at a time, and keeps the answers in the order of the lines."""

    def __init__(self, client: Client, services: Services) -> None:
        self._client = client
        self._services = services
        self._answers: list[dict[str, Any]] = []
        self._stopped: ProblemError | None = None

    def answers(self) -> list[dict[str, Any]]:
        """One for each line. Raises what stopped the intake, if nothing was accepted before."""
        if self._stopped and all(answer["result"] == "error" for answer in self._answers):
            raise self._stopped
        return self._answers

    def refuse(self, problem: ProblemError) -> None:
        """Answer for something that is no command."""
        self._answers.append(_error(None, problem))

    async def accept(self, chunk: Sequence[object]) -> None:
        """Hand the commands among these values to the intake. A value may be the problem that its line was no JSON."""
        lines = [_line(value, self._client, self._services) for value in chunk]
        asked = [body for line in lines for body in _bodies(line)]
        found = await named(self._services, asked)
        lines = [_resolved(line, found, self._client) for line in lines]
        submissions = [line for line in lines if isinstance(line, Submission | Linked)]
        # Once a chunk was turned away, so are the later ones: no command overtakes an earlier one of its account.
        if submissions and self._stopped is None:
            try:
                answers = iter(await self._services.intake.accept(submissions))
            except (Overloaded, Unavailable) as error:
                self._stopped = problem.of(error)
        for line in lines:
            if not isinstance(line, Submission | Linked):
                self._answers.append(line)
            elif self._stopped is not None:
                self._answers.append(_error_of(line, self._stopped))
            else:
                self._answers.append(_answer(line, next(answers)))


def _line(value: object, client: Client, services: Services) -> Line:
    """What is submitted in a line, or the answer that it is nothing."""
    if isinstance(value, dict) and is_linked(value):
        try:
            return read_linked(value, client, services.new_id)
        except ProblemError as error:
            return linked_error(value, error)
    key: str | None = None
    try:
        if isinstance(value, ProblemError):
            raise value
        if not isinstance(value, dict):
            raise ProblemError("invalid", "A command is a JSON object.")
        key, body = (
            _read_key(value.get("idempotency_key")),
            bodies.read_command({name: each for name, each in value.items() if name != "idempotency_key"}, client),
        )
    except ProblemError as error:
        given = value.get("idempotency_key") if isinstance(value, dict) else None
        return _error(key or (given if isinstance(given, str) else None), error)
    return Submission(services.new_id(), client.id, key, body)


def _bodies(line: Line) -> list[CommandBody]:
    match line:
        case Submission():
            return [line.body]
        case Linked():
            return bodies_of(line)
    return []


def _resolved(line: Line, found: Mapping[UUID, CommandRow], client: Client) -> Line:
    if not isinstance(line, Submission | Linked):
        return line
    try:
        if isinstance(line, Linked):
            return resolve_linked(line, found, client)
        return replace(line, body=resolved(line.body, found, client))
    except ProblemError as error:
        return _error_of(line, error)


def _read_key(value: object) -> str:
    try:
        return check_key(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ProblemError("malformed", f"idempotency_key: {error}.", [("idempotency_key", str(error))]) from None


def _answer(line: Submission | Linked, answer: Answer) -> dict[str, Any]:
    try:
        if isinstance(line, Linked):
            return linked_answer(line, answer)
        receipt = accepted(answer)
    except ProblemError as error:
        return _error_of(line, error)
    result = "replayed" if receipt.replayed else "accepted"
    return {"idempotency_key": line.idempotency_key, "result": result, **documents.receipt_document(receipt)}


def _error_of(line: Submission | Linked, error: ProblemError) -> dict[str, Any]:
    if isinstance(line, Linked):
        return linked_error({LINKED: [{"idempotency_key": each.idempotency_key} for each in line.submissions]}, error)
    return _error(line.idempotency_key, error)


def _error(key: str | None, error: ProblemError) -> dict[str, Any]:
    return {"idempotency_key": key, "result": "error", "error": error.document()}


def _value(line: bytes) -> object:
    if len(line) > bodies.MAX_COMMAND_BYTES:
        return ProblemError("too_large", f"A command may have {bodies.MAX_COMMAND_BYTES} bytes.")
    try:
        return bodies.read_json(line)
    except ProblemError as error:
        return error


def _response(answers: list[dict[str, Any]], media_type: str) -> Response:
    lines = [orjson.dumps(answer) for answer in answers]
    content = b"\n".join([*lines, b""]) if media_type == NDJSON else b"[\n" + b",\n".join(lines) + b"\n]\n"
    return Response(content, media_type=media_type)
