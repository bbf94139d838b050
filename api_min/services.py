"""What the routes use, made once per process and found on the app."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import redis.asyncio
from fastapi import Depends, Request
from psycopg import Connection
from psycopg_pool import ConnectionPool

from api_min.waiting import SettledListener
from processor.domain.rules import Rules
from processor.intake import Intake, Pool
from processor.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The edges of this process: database, queue, ids."""

    settings: Settings
    rules: Rules
    pool: Pool
    intake: Intake
    listener: SettledListener
    redis: "redis.asyncio.Redis"
    new_id: Callable[[], UUID]
    dry_runs: ConnectionPool[Connection[Any]]


def _of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Provided = Annotated[Services, Depends(_of)]
