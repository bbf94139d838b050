"""What every process of Florin does when it starts."""

import os
import time

import psycopg
import structlog
from prometheus_client import start_http_server

from processor import pools
from processor.store import schema

log = structlog.get_logger()


def announce_ready(fd: int | None) -> None:
    """Tell whoever started this process, through the pipe that it left open, that work is being done now."""
    if fd is not None:
        os.write(fd, b"1")
        os.close(fd)


def serve_metrics(port: int | None) -> None:
    """Serve this process's figures to Prometheus on every interface, if a port is given."""
    if port is not None:
        start_http_server(port)


def wait_for_postgres(database_url: str, *, seconds: float = 30) -> None:
    """
    Return once Postgres answers and the role is the right one.

    Raises ``psycopg.OperationalError`` after ``seconds``, and ``SettingsError`` for a login that could change history.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            with pools.connect(database_url, "florin start") as conn:
                schema.check_role(conn)
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > end:
                raise
            log.warning("postgres.awaited", error=str(error).splitlines()[0])
            time.sleep(0.2)
