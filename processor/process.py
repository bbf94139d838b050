"""What every process of Florin does when it starts."""

import os
import time

import psycopg
import structlog
from prometheus_client import start_http_server

from processor import pools
from processor.errors import SchemaBehind
from processor.logs import in_short
from processor.store import schema
from processor.version import VERSION

log = structlog.get_logger()


def announce_ready(fd: int | None) -> None:
    """Tell whoever started this process, through the pipe that it left open, that work is being done now."""
    log.info("process.ready", version=VERSION, pid=os.getpid())
    if fd is not None:
        os.write(fd, b"1")
        os.close(fd)


def serve_metrics(port: int | None) -> None:
    """Serve this process's figures to Prometheus on every interface, if a port is given."""
    if port is not None:
        start_http_server(port)


def wait_for_postgres(database_url: str, *, wanted_version: int, seconds: float = 30) -> None:
    """
    Return once Postgres answers, is migrated, and is what the promises need.

    Raises ``psycopg.Error`` or ``SchemaBehind`` after ``seconds``, and ``SettingsError`` at once.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            with pools.connect(database_url, "florin start") as conn:
                schema.check(conn, wanted_version=wanted_version)
            return
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable, SchemaBehind) as error:
            if time.monotonic() > end:
                raise
            log.warning("postgres.awaited", error=in_short(error))
            time.sleep(0.2)
