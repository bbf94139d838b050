"""``python -m exporter``: the figures of one host, on an address or on a listening socket that its parent opened."""

import argparse
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from exporter.app import Exporter, create_app
from exporter.merging import Folder
from exporter.postgres import PostgresState
from exporter.probe import ApiState
from exporter.redis import RedisState
from exporter.state import State, Watched
from processor import logs, vitals
from processor.errors import SettingsError
from processor.process import announce_ready
from processor.settings import Settings, settings

_SHUTDOWN_S = 5


class Server(uvicorn.Server):
    """uvicorn, which says when it listens, and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, ready_fd: int | None) -> None:
        super().__init__(config)
        self._ready_fd = ready_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            announce_ready(self._ready_fd)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Requests under way are answered; uvicorn itself would raise the signal again, and die of it."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.handle_exit)
        yield


def main() -> int:
    """Serve until SIGTERM or SIGINT. Neither Postgres nor Redis need answer, now or later."""
    arguments = _arguments()
    try:
        wanted = settings()
        logs.set_up(wanted.log_level, "exporter", log_format=wanted.log_format)
        state = _state(wanted)
        listening = (
            socket.create_server((arguments.host, arguments.port))
            if arguments.fd is None
            else socket.socket(fileno=arguments.fd)
        )
    except (SettingsError, OSError) as error:
        print(f"the exporter cannot start: {error}", file=sys.stderr)
        return 1
    exporter = Exporter(state, Folder(wanted.metrics_dir) if wanted.metrics_dir else None)
    with vitals.watching("exporter"), state.watching(), exporter.sampling():
        Server(_config(create_app(exporter, wanted.exporter_hosts)), wanted.ready_fd).run(sockets=[listening])
    return 0


def _state(wanted: Settings) -> State:
    every_s = wanted.exporter_every_s
    postgres = PostgresState(wanted.database_url.get_secret_value(), rules=wanted.rules())
    api = ApiState(wanted.probe_url.get_secret_value()) if wanted.probe_url else None
    return State(
        postgres=Watched("postgres", postgres, every_s=every_s),
        redis=Watched("redis", RedisState(wanted.redis_url.get_secret_value()), every_s=every_s),
        api=Watched("api", api, every_s=every_s) if api else None,
    )


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m exporter", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9109)
    parser.add_argument("--fd", type=int, help="a listening socket to use instead of an address")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
