"""API keys: ``florin_<prefix>_<secret>``. The secret has 256 random bits and is stored as its SHA-256 only."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import Connection

from processor import pools
from processor.store import keys as key_store

WRITE: Final = "commands:write"
READ: Final = "read"
OPS: Final = "ops"
ADMIN: Final = "admin"
SCOPES: Final = (WRITE, READ, OPS, ADMIN)

_ALPHABET: Final = string.ascii_letters + string.digits
_FORM: Final = re.compile(r"florin_([A-Za-z0-9]{8,32})_([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: an upstream system, and what its key lets it do. ``admin`` includes every other scope."""

    id: int
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has the scope."""
        return scope in self.scopes or ADMIN in self.scopes


def generate() -> str:
    """A new key. It exists nowhere but in the returned string."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return f"florin_{prefix}_{secrets.token_urlsafe(32)}"


def create(conn: Connection, client: str, scopes: Collection[str], *, key: str | None = None) -> str:
    """
    Give ``client``, which is made if it is new, another key, and return it.

    Raises ``ValueError`` for an unknown scope or a bad client name.
    """
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"scopes are any of {', '.join(SCOPES)}, not {', '.join(sorted(scopes)) or 'none'}")
    if re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", client, re.ASCII) is None:
        raise ValueError("a client's name has 1 to 64 of A-Z a-z 0-9 . _ : -")
    key = key or generate()
    prefix, digest = _parts(key)
    key_store.insert_key(conn, client, prefix, digest, sorted(set(scopes)))
    return key


def revoke(conn: Connection, prefix: str) -> bool:
    """End the key with this prefix; every process refuses it within seconds. ``False`` if there is no such live key."""
    return key_store.revoke_key(conn, prefix)


def listed(conn: Connection) -> Sequence[key_store.KeyRow]:
    """Every key by client, without its secret."""
    return key_store.list_keys(conn)


def prefix_of(key: str) -> str | None:
    """The public part of a well-formed key; ``None`` for anything else."""
    match = _FORM.fullmatch(key)
    return match[1] if match else None


def matches(key: str, digest: bytes) -> bool:
    """Whether the key is the one whose hash is stored. Takes the same time wherever they differ."""
    return hmac.compare_digest(hashlib.sha256(key.encode()).digest(), digest)


def ensure_development_key(
    database_url: str, wanted: str, *, client: str = "dev", scopes: Collection[str] = SCOPES
) -> None:
    """Make ``wanted`` a valid key, of the client ``dev`` with every scope unless told otherwise, if it is not one."""
    prefix, _ = _parts(wanted)
    with pools.connect(database_url, "florin keys") as conn:
        if all(row.prefix != prefix for row in listed(conn)):
            create(conn, client, scopes, key=wanted)


def _parts(key: str) -> tuple[str, bytes]:
    prefix = prefix_of(key)
    if prefix is None:
        raise ValueError("not an API key: its form is florin_<prefix>_<secret>")
    return prefix, hashlib.sha256(key.encode()).digest()
