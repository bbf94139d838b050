"""A reversal names a command only: its accounts, in whose lines it waits, and its currency are that command's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from api_min.auth import require
from api_min.problem import ProblemError
from api_min.services import Services
from processor.keys import ADMIN, Client
from processor.store import reading
from processor.store.reading import CommandRow
from processor.submissions import CommandBody


async def named(services: Services, bodies: Sequence[CommandBody]) -> Mapping[UUID, CommandRow]:
    """The commands that these bodies name to be reversed. What was accepted never changes, so it may be read now."""
    wanted = [body.reverses for body in bodies if body.reverses is not None]
    if not wanted:
        return {}
    async with services.pool.connection() as conn:
        return {row.id: row for row in await reading.find_by_ids(conn, wanted)}


def resolved(body: CommandBody, found: Mapping[UUID, CommandRow], client: Client) -> CommandBody:
    """The body with all that is stored. Raises an ``invalid`` problem if it names no command of the client's."""
    if body.reverses is None:
        return body
    row = found.get(body.reverses)
    if row is None or (row.client_id != client.id and not client.may(ADMIN)):
        raise ProblemError("invalid", "There is no such command to reverse.", [("command", "you have no such command")])
    earlier = row.body
    if earlier.type == "adjust":
        # What takes an admin to do takes one to undo.
        require(client, ADMIN)
    return replace(
        body,
        currency=earlier.currency,
        account=earlier.account,
        from_account=earlier.from_account,
        to_account=earlier.to_account,
    )
