"""Routes for machines that watch: is the process alive, and can it work? Its figures are the exporter's to show."""

import asyncio
from typing import Any, Final

import orjson
import psycopg
from fastapi import APIRouter, Response
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from api_min.services import Provided, Services
from migrations import latest_version
from processor.store import schema

router = APIRouter(tags=["health"])

_WANTED_VERSION: Final = latest_version()
_PATIENCE_S: Final = 3


@router.get("/healthz", response_model=dict[str, str])
async def alive() -> Response:
    """The process answers. Says nothing of what it needs."""
    return _json({"status": "ok"}, 200)


@router.get(
    "/readyz", response_model=dict[str, str], responses={503: {"description": "Something is away; the body says what"}}
)
async def ready(services: Provided) -> Response:
    """
    Whether Postgres answers with the right schema, and Redis answers.

    With Redis away commands are still accepted, and applied once it is back.
    """
    checks = {"postgres": await _postgres(services), "redis": await _redis(services)}
    return _json(checks, 200 if set(checks.values()) == {"ok"} else 503)


async def _postgres(services: Services) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_S), services.pool.connection() as conn:
            version = await schema.schema_version(conn)
    except (psycopg.Error, PoolTimeout, TimeoutError):
        return "away"
    if version < _WANTED_VERSION:
        return f"schema version {version} is older than {_WANTED_VERSION}: run the migrations"
    return "ok"


async def _redis(services: Services) -> str:
    try:
        await services.redis.ping()
    except (RedisError, OSError):
        return "away"
    return "ok"


def _json(document: dict[str, Any], status_code: int) -> Response:
    return Response(orjson.dumps(document), status_code=status_code, media_type="application/json")
