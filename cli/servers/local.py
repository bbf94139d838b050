"""Both servers of one data directory, as one context manager."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.servers.data_dir import DataDir
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey


class LocalServers:
    """
    Hold the data directory and run its servers while the ``with`` block lasts.

    A server that is not wanted, because one runs elsewhere, is not started. A directory that is held already stays so.
    """

    def __init__(self, data_dir: Path | DataDir, *, postgres: bool = True, redis: bool = True) -> None:
        self.data_dir = data_dir if isinstance(data_dir, DataDir) else DataDir(data_dir)
        self.postgres = Postgres(self.data_dir)
        self.redis = Valkey(self.data_dir)
        self.running: list[Postgres | Valkey] = [
            *([self.postgres] if postgres else []),
            *([self.redis] if redis else []),
        ]
        self._cleanup = ExitStack()

    @property
    def owner_url(self) -> str:
        """The superuser's login to the database ``florin``."""
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        """The address of the queue."""
        return self.redis.url

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            if not self.data_dir.is_held:
                self.data_dir.acquire()
                cleanup.callback(self.data_dir.release)
            for server in self.running:
                cleanup.callback(server.stop)
                server.start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()
