"""Real Postgres and Redis servers on this machine, as child processes that never outlive their parent."""

from cli.servers.errors import ServersError
from cli.servers.local import LocalServers

__all__ = ["LocalServers", "ServersError"]
