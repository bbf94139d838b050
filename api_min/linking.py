"""Linked commands in a batch: one element, whose commands are accepted and applied all or none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from api_min import bodies, documents
from api_min.headers import check_key
from api_min.problem import ProblemError
from api_min.resolving import resolved
from processor.keys import Client
from processor.store.reading import CommandRow
from processor.submissions import (
    LINKED,
    Answer,
    CommandBody,
    LinkConflict,
    Linked,
    LinkedReceipts,
    Submission,
    Unstorable,
)

MIN_LINKED: Final = 2
MAX_LINKED: Final = 100


def is_linked(value: object) -> bool:
    """Whether the element is of several commands."""
    return isinstance(value, dict) and LINKED in value


def size_of(value: object) -> int:
    """How many commands the element is."""
    commands = value.get(LINKED) if isinstance(value, dict) else None
    return max(1, len(commands)) if isinstance(commands, list) else 1


def read_linked(value: Mapping[str, object], client: Client, new_id: Callable[[], UUID]) -> Linked:
    """The commands in the element. Raises a problem that names each wrong field if one of them is none."""
    commands = value[LINKED]
    if len(value) > 1:
        others = ", ".join(sorted(name for name in value if name != LINKED))
        raise ProblemError("invalid", f"Beside linked, an element has no fields: {others}.")
    if not isinstance(commands, list) or not MIN_LINKED <= len(commands) <= MAX_LINKED:
        said = f"give {MIN_LINKED} to {MAX_LINKED} commands"
        raise ProblemError("invalid", f"Linked are {MIN_LINKED} to {MAX_LINKED} commands.", [(LINKED, said)])
    submissions: list[Submission] = []
    wrong: list[tuple[str, str]] = []
    for number, command in enumerate(commands):
        try:
            submissions.append(_read(command, client, new_id))
        except ProblemError as error:
            if error.kind == "forbidden":
                raise
            wrong += [(_place(number, name), said) for name, said in error.errors or [("", error.detail)]]
    if wrong:
        raise ProblemError("invalid", "A linked command is wrong, so none is accepted.", wrong)
    keys = [each.idempotency_key for each in submissions]
    if repeated := [number for number, key in enumerate(keys) if key in keys[:number]]:
        raise ProblemError(
            "invalid",
            "Each of the linked commands needs a key of its own.",
            [(_place(number, "idempotency_key"), "is the key of an earlier one") for number in repeated],
        )
    return Linked(tuple(submissions))


def bodies_of(linked: Linked) -> list[CommandBody]:
    """What is asked."""
    return [each.body for each in linked.submissions]


def resolve_linked(linked: Linked, found: Mapping[UUID, CommandRow], client: Client) -> Linked:
    """With all that is stored of what the commands name. Raises an ``invalid`` problem as ``resolved`` does."""
    submissions = []
    for number, each in enumerate(linked.submissions):
        try:
            submissions.append(replace(each, body=resolved(each.body, found, client)))
        except ProblemError as error:
            wrong = [(_place(number, name), said) for name, said in error.errors]
            raise ProblemError(error.kind, error.detail, wrong) from None
    return Linked(tuple(submissions))


def linked_answer(linked: Linked, answer: Answer) -> dict[str, Any]:
    """The line that answers the element. Raises the problem that there are no receipts."""
    match answer:
        case LinkedReceipts(receipts):
            result = "replayed" if receipts[0].replayed else "accepted"
            return {
                "result": result,
                LINKED: [
                    {"idempotency_key": each.idempotency_key, "result": result, **documents.receipt_document(receipt)}
                    for each, receipt in zip(linked.submissions, receipts, strict=True)
                ],
            }
        case LinkConflict(differing):
            raise ProblemError(
                "key_conflict",
                "Of these keys, some were first used for another request, so none of the commands is accepted.",
                [
                    (_place(number, "idempotency_key"), _said(differing[each.idempotency_key]))
                    for number, each in enumerate(linked.submissions)
                    if each.idempotency_key in differing
                ],
            )
        case Unstorable(message):
            raise ProblemError("invalid", f"The commands cannot be stored: {message}.")
        case _:
            raise TypeError("linked commands are answered together")


def linked_error(value: object, error: ProblemError) -> dict[str, Any]:
    """The line that says why none of the commands is accepted."""
    commands = value.get(LINKED) if isinstance(value, dict) else None
    given = [each.get("idempotency_key") if isinstance(each, dict) else None for each in _list(commands)[:MAX_LINKED]]
    return {
        "result": "error",
        LINKED: [{"idempotency_key": key if isinstance(key, str) else None, "result": "error"} for key in given],
        "error": error.document(),
    }


def _read(command: object, client: Client, new_id: Callable[[], UUID]) -> Submission:
    if not isinstance(command, dict):
        raise ProblemError("invalid", "A command is a JSON object.", [("", "give an object")])
    key = command.get("idempotency_key")
    try:
        key = check_key(key if isinstance(key, str) else "")
    except ValueError as error:
        raise ProblemError("invalid", f"{error}.", [("idempotency_key", str(error))]) from None
    fields = {name: each for name, each in command.items() if name != "idempotency_key"}
    return Submission(new_id(), client.id, key, bodies.read_command(fields, client))


def _place(number: int, name: str) -> str:
    """``linked.2.amount``: counted from zero, as JSON does."""
    return f"{LINKED}.{number}.{name}".rstrip(".")


def _said(differing: Sequence[str]) -> str:
    fields = [name for name in differing if name != LINKED]
    told = [f"was first used with another {', '.join(fields)}"] if fields else []
    if LINKED in differing:
        told.append("was first used for a command alone, or linked with others or in another order")
    return "; ".join(told)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
