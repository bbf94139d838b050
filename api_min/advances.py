"""Routes for advances: what was lent, what is owed, and when it is due."""

from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Response

from api_min import bodies, documents, problem
from api_min.auth import scoped
from api_min.problem import ProblemError
from api_min.services import Provided
from processor.domain.advances import AdvanceState
from processor.keys import READ
from processor.store import reading_advances
from processor.store.reading import MAX_POSITION

router = APIRouter(prefix="/v1/advances", tags=["advances"], dependencies=[Depends(scoped(READ))])

_LOOK_AHEAD: Final = 10_000
"""Advances that one page looks through at most for those in the wanted state."""


@router.get(
    "/{advance_id}",
    response_model=documents.AdvanceDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
)
async def show(advance_id: UUID, services: Provided) -> Response:
    """An advance with its schedule, as it is committed now. Its id is that of the command that granted it."""
    async with services.pool.connection() as conn:
        found = await reading_advances.find_advance(conn, advance_id)
    if found is None:
        raise ProblemError("not_found", "There is no such advance.")
    return _json(documents.advance_document(*found))


@router.get(
    "",
    response_model=documents.AdvanceList,
    responses=problem.documented("unauthenticated", "forbidden", "invalid"),
)
async def find(
    services: Provided,
    account: Annotated[
        str | None, Query(pattern=bodies.ACCOUNT_PATTERN, description="Advances to this account only")
    ] = None,
    state: Annotated[AdvanceState | None, Query(description="Advances that are in this state now")] = None,
    after: Annotated[int, Query(ge=0, le=MAX_POSITION, description="Advances granted by commands above it")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """
    A page of advances, without their schedules, in order of the commands that granted them.

    Whoever follows `next` from the beginning meets every advance that was granted before, once. One that is granted
    meanwhile may get a place on a page that was read already, since commands of different accounts are not decided in
    order: begin anew to see it. Those of one account are granted in order, and a list of them never misses one.
    """
    async with services.pool.connection() as conn:
        rows, next_ = await reading_advances.list_advances(
            conn, account=account, state=state, after=after, limit=limit, look_ahead=_LOOK_AHEAD
        )
    return _json({"advances": [documents.advance_line(row) for row in rows], "next": next_})


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
