"""Clients and their API keys, as hashes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from psycopg import AsyncConnection, Connection

# A client is made by its first key. DO UPDATE is not allowed to the application, so the name is looked up afterwards.
INSERT_CLIENT: Final[LiteralString] = "INSERT INTO client (name) VALUES (%s) ON CONFLICT (name) DO NOTHING"

INSERT_KEY: Final[LiteralString] = """
    INSERT INTO api_key (prefix, client_id, secret_sha256, scopes)
    SELECT %s, id, %s, %s FROM client WHERE name = %s
"""

REVOKE_KEY: Final[LiteralString] = "UPDATE api_key SET revoked_at = now() WHERE prefix = %s AND revoked_at IS NULL"

LIST_KEYS: Final[LiteralString] = """
    SELECT client.name, api_key.prefix, api_key.scopes, api_key.created_at, api_key.revoked_at
    FROM api_key JOIN client ON client.id = api_key.client_id
    ORDER BY client.name, api_key.created_at, api_key.prefix
"""

FIND_KEY: Final[LiteralString] = """
    SELECT client.id, client.name, api_key.secret_sha256, api_key.scopes
    FROM api_key JOIN client ON client.id = api_key.client_id
    WHERE api_key.prefix = %s AND api_key.revoked_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as an operator sees it."""

    client: str
    prefix: str
    scopes: Sequence[str]
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A live key as the API checks it."""

    client_id: int
    client: str
    secret_sha256: bytes
    scopes: Sequence[str]


def insert_key(conn: Connection, client: str, prefix: str, secret_sha256: bytes, scopes: Sequence[str]) -> None:
    """Add a key, and its client if that is new."""
    with conn.transaction():
        conn.execute(INSERT_CLIENT, [client])
        conn.execute(INSERT_KEY, [prefix, secret_sha256, list(scopes), client])


def revoke_key(conn: Connection, prefix: str) -> bool:
    """Whether there was such a live key."""
    return conn.execute(REVOKE_KEY, [prefix]).rowcount == 1


def list_keys(conn: Connection) -> list[KeyRow]:
    """Every key, by client and age."""
    return [KeyRow(*row) for row in conn.execute(LIST_KEYS)]


async def find_key(conn: AsyncConnection, prefix: str) -> FoundKey | None:
    """The live key with this prefix."""
    cursor = await conn.execute(FIND_KEY, [prefix])
    row = await cursor.fetchone()
    return FoundKey(*row) if row else None
