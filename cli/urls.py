"""URLs of databases and queues: with the application's login, without passwords for people, and do they answer?"""

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.servers.errors import ServersError

APPLICATION_ROLE: Final = "florin_app"
HIDDEN: Final = "***"


def as_application(owner_url: str, password: str) -> str:
    """Return the same database's address, with the login of the application's role."""
    if not owner_url.startswith(("postgresql://", "postgres://")):
        return make_conninfo(owner_url, user=APPLICATION_ROLE, password=password)
    address = urlsplit(owner_url)
    host = address.netloc.rpartition("@")[2]
    others = [(name, value) for name, value in parse_qsl(address.query) if name not in ("user", "password")]
    return address._replace(
        netloc=f"{APPLICATION_ROLE}:{quote(password, safe='')}@{host}", query=urlencode(others)
    ).geturl()


def without_password(address: str) -> str:
    """Return the address as a screen may show it."""
    if "://" not in address:
        return make_conninfo(address, password=HIDDEN) if conninfo_to_dict(address).get("password") else address
    parts = urlsplit(address)
    others = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    netloc = parts.netloc
    if parts.password:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:{HIDDEN}@{host}"
    return parts._replace(netloc=netloc, query=urlencode(others)).geturl()


def require_postgres(name: str, address: str) -> None:
    """Raise an error that says why the database does not answer. ``name`` is the variable that has its URL."""
    try:
        password = conninfo_to_dict(address).get("password")
    except psycopg.ProgrammingError:
        raise ServersError(
            f"{name} is not an address of Postgres: postgresql://user:password@host:port/database"
        ) from None
    try:
        psycopg.connect(address, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        raise ServersError(f"{name} cannot be used: {_concealed(str(error), password)}") from None


def require_redis(name: str, address: str) -> None:
    """Raise an error that says why the queue does not answer."""
    import redis  # noqa: PLC0415  # It takes 0.1 s, which a stack with a queue of its own need not wait.

    try:
        with redis.Redis.from_url(address, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except ValueError:
        raise ServersError(f"{name} is not an address of Redis: redis://:password@host:port/0") from None
    except redis.RedisError as error:
        raise ServersError(f"{name} cannot be used: {_concealed(str(error), urlsplit(address).password)}") from None


def _concealed(text: str, password: object) -> str:
    return text.strip().replace(str(password), HIDDEN) if password else text.strip()
