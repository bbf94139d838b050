"""What the database is: its version, and what this login may do to it."""

from typing import Final, LiteralString

from psycopg import AsyncConnection, Connection

from processor.errors import SchemaBehind, SettingsError

# Of the login, not of the role that it takes on: that one could be put off again.
SELECT_RIGHTS: Final[LiteralString] = """
    SELECT name FROM unnest(ARRAY['command', 'outcome', 'transfer']) AS name
    WHERE has_any_column_privilege(session_user, name, 'UPDATE')
        OR has_table_privilege(session_user, name, 'DELETE')
        OR has_table_privilege(session_user, name, 'TRUNCATE')
"""

# What a receipt is worth depends on these.
SELECT_SETTINGS: Final[LiteralString] = """
    SELECT name, current_setting(name) FROM unnest(ARRAY['fsync', 'synchronous_commit', 'server_encoding']) AS name
"""

SELECT_VERSION: Final[LiteralString] = "SELECT max(version) FROM schema_migration"


def check(conn: Connection, *, wanted_version: int) -> None:
    """
    Refuse to work on a database that cannot keep the promises. Raises ``SettingsError``, which says what to do.

    ``SchemaBehind`` if migrations are missing.
    """
    row = conn.execute(SELECT_VERSION).fetchone()
    if row is None or (row[0] or 0) < wanted_version:
        raise SchemaBehind(f"the schema has version {row and row[0]}, and this code needs {wanted_version}: migrate")
    if tables := [name for (name,) in conn.execute(SELECT_RIGHTS)]:
        raise SettingsError(f"DATABASE_URL may change {', '.join(tables)}: give the login of the role florin_app")
    settings: dict[str, str] = dict(conn.execute(SELECT_SETTINGS).fetchall())
    if "off" in (settings["fsync"], settings["synchronous_commit"]) or settings["server_encoding"] != "UTF8":
        raise SettingsError(f"Postgres must have fsync and synchronous_commit on, and UTF8; it has {settings}")


async def schema_version(conn: AsyncConnection) -> int:
    """The newest migration that the database has."""
    cursor = await conn.execute(SELECT_VERSION)
    row = await cursor.fetchone()
    return int(row[0]) if row and row[0] else 0
