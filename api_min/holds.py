"""Routes for holds: what is reserved on accounts, and what became of it."""

from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Response

from api_min import bodies, documents, problem
from api_min.auth import scoped
from api_min.problem import ProblemError
from api_min.services import Provided
from processor.domain.holds import HoldState
from processor.keys import READ
from processor.store import reading_holds
from processor.store.reading import MAX_POSITION

router = APIRouter(prefix="/v1/holds", tags=["holds"], dependencies=[Depends(scoped(READ))])

_LOOK_AHEAD: Final = 10_000
"""Holds that one page looks through at most for those in the wanted state."""


@router.get(
    "/{hold_id}",
    response_model=documents.HoldDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
)
async def show(hold_id: UUID, services: Provided) -> Response:
    """A hold as it is committed now. Its id is that of the command that placed it."""
    async with services.pool.connection() as conn:
        found = await reading_holds.find_hold(conn, hold_id)
    if found is None:
        raise ProblemError("not_found", "There is no such hold.")
    return _json(documents.hold_document(found))


@router.get(
    "",
    response_model=documents.HoldList,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
)
async def find(
    services: Provided,
    account: Annotated[
        str | None, Query(pattern=bodies.ACCOUNT_PATTERN, description="Holds on this account only")
    ] = None,
    state: Annotated[HoldState | None, Query(description="Holds that are in this state now")] = None,
    after: Annotated[int, Query(ge=0, le=MAX_POSITION, description="Holds placed by commands above it")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """
    A page of holds, in order of the commands that placed them.

    Whoever follows `next` from the beginning meets every hold that was placed before, once. One that is placed
    meanwhile may be missed, unless the list is of one account: commands of different accounts are not decided in order.
    """
    async with services.pool.connection() as conn:
        rows, next_ = await reading_holds.list_holds(
            conn, account=account, state=state, after=after, limit=limit, look_ahead=_LOOK_AHEAD
        )
    return _json({"holds": [documents.hold_document(row) for row in rows], "next": next_})


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
