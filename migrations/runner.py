"""Applies the numbered SQL files in order, each once, whoever else starts at the same moment."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from psycopg import Connection, errors, sql
from psycopg.conninfo import conninfo_to_dict

FOLDER: Final = Path(__file__).parent
APPLICATION_ROLE: Final = "florin_app"
LOCK: Final = (0x464C4F52, 1)
"""The two-integer space of advisory locks: account locks use the single-integer one, so the two never meet."""

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK_TIMEOUT_RETRIES: Final = 10


class MigrationError(Exception):
    """The schema cannot be brought forward as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. ``sha256`` is of its text: an applied file is never edited."""

    version: int
    name: str
    text: str
    sha256: str


def migrate(owner_url: str, folder: Path = FOLDER, *, wait_seconds: float = 60) -> list[str]:
    """
    Bring the schema forward, and return the names of the migrations that this call applied.

    Each migration is one transaction. Raises ``MigrationError`` if an applied file was edited, one is missing from
    ``folder``, a new one is numbered below the schema, or another runner holds the lock for ``wait_seconds``.
    """
    files = read_migrations(folder)
    with (
        psycopg.connect(owner_url, autocommit=True, application_name="florin migrations") as conn,
        _only_runner(conn, wait_seconds),
    ):
        conn.execute(_CREATE_HISTORY)
        done: dict[int, str] = dict(conn.execute(_SELECT_HISTORY).fetchall())
        _check_history(files, done)
        return [_apply(conn, migration) for migration in files if migration.version not in done]


def latest_version(folder: Path = FOLDER) -> int:
    """The version that this code expects of the schema."""
    return read_migrations(folder)[-1].version


def allow_login(owner_url: str, app_url: str) -> None:
    """Let the application's role log in with the password that ``app_url`` has. Its rights stay as migrated."""
    wanted = conninfo_to_dict(app_url)
    if wanted.get("user") != APPLICATION_ROLE or not wanted.get("password"):
        raise MigrationError(f"DATABASE_URL must name the user {APPLICATION_ROLE} and its password")
    with psycopg.connect(owner_url, autocommit=True, application_name="florin migrations") as conn:
        # The server gets the SCRAM verifier, so that no log of statements ever shows the password.
        verifier = conn.pgconn.encrypt_password(
            str(wanted["password"]).encode(), APPLICATION_ROLE.encode(), b"scram-sha-256"
        )
        for attempt in range(_LOCK_TIMEOUT_RETRIES):
            try:
                conn.execute(
                    sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(APPLICATION_ROLE), sql.Literal(verifier.decode())
                    )
                )
                return
            except errors.InternalError_:
                # 'tuple concurrently updated': another database of the cluster does the same.
                if attempt == _LOCK_TIMEOUT_RETRIES - 1:
                    raise
                time.sleep(0.05 * 2**attempt)


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations of ``folder`` in order. Raises ``MigrationError`` for a bad name or a number given twice."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is named NNNN_what_it_does.sql")
        text = path.read_text()
        migrations.append(Migration(int(match[1]), match[2], text, hashlib.sha256(text.encode()).hexdigest()))
    numbers = [migration.version for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise MigrationError(f"migrations are numbered from 0001 without a gap or a double, not {numbers}")
    return migrations


@contextmanager
def _only_runner(conn: Connection, wait_seconds: float) -> Iterator[None]:
    """Hold the runners' lock. Polled: a session blocked in the server holds a snapshot that CONCURRENTLY waits for."""
    end = time.monotonic() + wait_seconds
    while not _value(conn, "SELECT pg_try_advisory_lock(%s, %s)", LOCK):
        if time.monotonic() > end:
            raise MigrationError("another migration is running on this database; wait for it, then start again")
        time.sleep(0.05)
    try:
        yield
    finally:
        if not conn.broken:
            conn.execute("SELECT pg_advisory_unlock(%s, %s)", LOCK)


def _check_history(files: list[Migration], done: dict[int, str]) -> None:
    known = {migration.version: migration for migration in files}
    for version, sha256 in done.items():
        if version not in known:
            raise MigrationError(f"the schema has migration {version:04}, unknown to this code: deploy newer code")
        if known[version].sha256 != sha256:
            raise MigrationError(f"migration {version:04} was edited after it was applied: undo that, add a new one")


def _apply(conn: Connection, migration: Migration) -> str:
    for attempt in range(_LOCK_TIMEOUT_RETRIES):
        try:
            with conn.transaction():
                # As bytes: several statements at once, and no placeholder in them.
                conn.execute(migration.text.encode())
                conn.execute(_INSERT_HISTORY, (migration.version, migration.name, migration.sha256))
            break
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            # Somebody reads or writes the table: give way, then ask again, rather than queue and block all others.
            if attempt == _LOCK_TIMEOUT_RETRIES - 1:
                raise
            time.sleep(min(5.0, 0.2 * 2**attempt))
    return f"{migration.version:04}_{migration.name}"


def _value(conn: Connection, query: LiteralString, params: tuple[int, int]) -> object:
    row = conn.execute(query, params).fetchone()
    return row and row[0]


_CREATE_HISTORY: Final[LiteralString] = """
    CREATE TABLE IF NOT EXISTS schema_migration (
        version int PRIMARY KEY,
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_SELECT_HISTORY: Final[LiteralString] = "SELECT version, sha256 FROM schema_migration ORDER BY version"
_INSERT_HISTORY: Final[LiteralString] = "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)"
