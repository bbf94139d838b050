"""``python -m migrations``: bring the schema forward, then let the application's role log in."""

import os
import sys

import psycopg

from migrations import MigrationError, allow_login, migrate


def main() -> int:
    """Exit code 0 when the schema is current; else 1 with the reason on standard error."""
    owner_url = os.environ.get("DATABASE_OWNER_URL")
    if not owner_url:
        print("DATABASE_OWNER_URL is not set: give the database's address with its owner's login", file=sys.stderr)
        return 1
    try:
        applied = migrate(owner_url)
        if app_url := os.environ.get("DATABASE_URL"):
            allow_login(owner_url, app_url)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            # The client library could not read the address; its text would show the password in it.
            print("an address is not postgresql://user:password@host:port/database", file=sys.stderr)
            return 1
        print(f"migration failed: {error}", file=sys.stderr)
        return 1
    except (MigrationError, psycopg.Error) as error:
        print(f"migration failed: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"applied {name}" for name in applied) or "the schema is current", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
