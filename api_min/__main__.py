"""``python -m api_min``: one API process, on an address or on a listening socket that its parent opened."""

import argparse
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import psycopg
import uvicorn
from fastapi import FastAPI

from api_min.app import create_app
from migrations import latest_version
from processor import logs, tracing, vitals
from processor.errors import SchemaBehind, SettingsError
from processor.process import announce_ready, wait_for_postgres
from processor.settings import settings

_SHUTDOWN_S = 15


class Server(uvicorn.Server):
    """uvicorn, which says when it listens, and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready_fd: int | None) -> None:
        super().__init__(config)
        self._app = app
        self._ready_fd = ready_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            announce_ready(self._ready_fd)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Who waits for an outcome gets a receipt now, rather than a broken connection when time is up."""
        if services := getattr(self._app.state, "services", None):
            services.listener.release()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Requests under way are answered; uvicorn itself would raise the signal again, and die of it."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.handle_exit)
        yield


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments()
    try:
        wanted = settings()
        logs.set_up(wanted.log_level, "api", log_format=wanted.log_format)
        wait_for_postgres(wanted.database_url.get_secret_value(), wanted_version=latest_version())
        listening = (
            socket.create_server((arguments.host, arguments.port), backlog=2048)
            if arguments.fd is None
            else socket.socket(fileno=arguments.fd)
        )
    except (SettingsError, SchemaBehind, psycopg.Error, OSError) as error:
        print(f"the API cannot start: {error}", file=sys.stderr)
        return 1
    app = create_app(wanted)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    with vitals.watching("api"), tracing.recording("api", on=wanted.tracing):
        Server(config, app, wanted.ready_fd).run(sockets=[listening])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api_min", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="a listening socket to use instead of an address")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
