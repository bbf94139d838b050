"""What the database is: its version, and what this login may do to it."""

from typing import Final, LiteralString

from psycopg import AsyncConnection, Connection

from processor.errors import SettingsError

SELECT_RIGHTS: Final[LiteralString] = """
    SELECT name FROM unnest(ARRAY['command', 'outcome', 'transfer']) AS name
    WHERE has_table_privilege(name, 'UPDATE')
        OR has_table_privilege(name, 'DELETE')
        OR has_table_privilege(name, 'TRUNCATE')
"""

SELECT_VERSION: Final[LiteralString] = "SELECT max(version) FROM schema_migration"


def check_role(conn: Connection) -> None:
    """Refuse to work with rights to change history. Raises ``SettingsError``, which says what to do."""
    if tables := [name for (name,) in conn.execute(SELECT_RIGHTS)]:
        raise SettingsError(f"DATABASE_URL may change {', '.join(tables)}: give the login of the role florin_app")


async def schema_version(conn: AsyncConnection) -> int:
    """The newest migration that the database has."""
    cursor = await conn.execute(SELECT_VERSION)
    row = await cursor.fetchone()
    return int(row[0]) if row and row[0] else 0
