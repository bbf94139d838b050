"""Route for accounts: what is on it now."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Response

from api_min import documents, problem
from api_min.auth import Reader
from api_min.problem import ProblemError
from api_min.services import Provided
from processor.keys import ADMIN
from processor.store import reading, system_accounts

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

AccountName = Annotated[
    str, Path(pattern="^@?[A-Za-z0-9._:-]{1,64}$", description="An account's name", examples=["1001"])
]


@router.get(
    "/{account}",
    response_model=documents.AccountDocument,
    responses=problem.documented("unauthenticated", "forbidden", "not_found"),
)
async def show(account: AccountName, client: Reader, services: Provided) -> Response:
    """An account as it is committed now. The bank's own, such as @settlement:USD, are for admins."""
    is_system = account.startswith("@")
    if is_system and not client.may(ADMIN):
        raise ProblemError("not_found", "There is no such account.")
    async with services.pool.connection() as conn:
        row = await reading.find_account(conn, account)
        if row is None:
            raise ProblemError("not_found", "There is no such account.")
        if is_system:
            credits_minor, debits_minor = await system_accounts.totals(conn, account) or (0, 0)
            row = row.with_totals(credits_minor, debits_minor)
    return Response(orjson.dumps(documents.account_document(row)), media_type="application/json")
