"""The application: routes by subject, errors from one table, and the resources that live as long as it does."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import redis.asyncio
import structlog
import uuid_utils.compat
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api_min import (
    account_statements,
    accounts,
    advances,
    alerts,
    batch,
    bodies,
    commands,
    documents,
    health,
    holds,
    linking,
    problem,
    reconciliation,
    transactions,
)
from api_min.auth import KeyRing
from api_min.measured import Measured
from api_min.ops import overview, page
from api_min.services import Services
from api_min.waiting import SettledListener
from processor import clock, pools
from processor.intake import Intake
from processor.settings import Settings
from workers.broker import make_broker
from workers.messenger import Messenger
from workers.queue import CommandQueue

log = structlog.get_logger()

_WATCH_BACKLOG_EVERY_S: Final = 1.0
_SEND_REST_S: Final = 5.0


def create_app(settings: Settings, *, new_id: Callable[[], UUID] = uuid_utils.compat.uuid7) -> FastAPI:
    """The ASGI application. It opens its connections when it starts, and needs none to be made."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _services(settings, new_id) as services, overview.overviews(settings) as app.state.overviews:
            app.state.services = services
            app.state.key_ring = KeyRing(services.pool, seconds=settings.key_cache_s)
            yield

    app = FastAPI(
        title="Florin",
        description="An exactly-once payments processor: send a command under a key of yours, ask for its outcome.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
    )
    # batch before commands: its path would be taken for a command's id.
    routers = (
        *(batch.router, commands.router, accounts.router, advances.router, holds.router, alerts.router),
        *(health.router, reconciliation.router, overview.router, page.router, transactions.router),
        account_statements.router,
    )
    for router in routers:
        app.include_router(router)
    app.state.api_routes = [route for router in routers for route in router.routes]
    problem.install(app)
    app.add_middleware(Measured)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _services(settings: Settings, new_id: Callable[[], UUID]) -> AsyncIterator[Services]:
    database_url, redis_url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    messenger = Messenger(CommandQueue(make_broker(redis_url)))
    messenger.start()
    async with (
        pools.async_pool(database_url, application_name="florin api", size=settings.api_connections) as pool,
        # The intake shares its connections with nobody: questions must not keep receipts waiting.
        pools.async_pool(database_url, application_name="florin intake", size=2) as intake_pool,
        redis.asyncio.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=2) as pings,
    ):
        # Opened and closed in a thread: neither waits for Postgres on the event loop.
        dry_runs = pools.sync_pool(database_url, application_name="florin dry-run", size=1)
        await asyncio.to_thread(dry_runs.open)
        intake = Intake(
            intake_pool,
            announce=messenger.announce,
            now=clock.now,
            group_size=settings.group_size,
            max_waiting=settings.max_waiting,
            max_backlog=settings.max_backlog,
        )
        listener = SettledListener(redis_url, pool)
        tasks = [
            _essential(asyncio.create_task(each))
            for each in (intake.run(), intake.watch_backlog(_WATCH_BACKLOG_EVERY_S), listener.listen(), listener.look())
        ]
        try:
            yield Services(settings, settings.rules(), pool, intake, listener, pings, new_id, dry_runs)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(dry_runs.close)
            await asyncio.to_thread(messenger.close, timeout_s=_SEND_REST_S)


def _essential(task: "asyncio.Task[None]") -> "asyncio.Task[None]":
    """Let the process end, to be started anew, if the task does: requests would wait for it for ever."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            log.critical("api.task_ended", exc_info=task.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    task.add_done_callback(ended)
    return task


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, and the schemas of the bodies that the routes read by themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        command = bodies.ADAPTER.json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"]["schemas"]
        schemas |= command.pop("$defs") | {"Command": command}
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        schemas["BatchCommand"] = {
            "type": "object",
            "description": "A command with its idempotency_key beside its other fields",
            "required": ["idempotency_key", "type", "currency"],
            "properties": {"idempotency_key": key, "type": {"type": "string"}, "currency": {"type": "string"}},
        }
        schemas["LinkedCommands"] = {
            "type": "object",
            "description": "Commands that are accepted all or none, and applied all or none",
            "required": ["linked"],
            "additionalProperties": False,
            "properties": {
                "linked": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/BatchCommand"},
                    "minItems": linking.MIN_LINKED,
                    "maxItems": linking.MAX_LINKED,
                }
            },
        }
        schemas["BatchLine"] = {
            "type": "object",
            "description": "A receipt, or an error: a problem of its own. Of linked commands, those of each in linked",
            "required": ["result"],
            "properties": {
                "idempotency_key": {"type": ["string", "null"]},
                "result": {"enum": ["accepted", "replayed", "error"]},
                "linked": {"type": "array", "items": {"$ref": "#/components/schemas/BatchLine"}},
                "error": {"$ref": "#/components/schemas/Problem"},
                **TypeAdapter(documents.ReceiptDocument).json_schema()["properties"],
            },
        }
        problem_schema = problem.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem_schema.pop("$defs") | {"Problem": problem_schema}
        _drop_framework_errors(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _drop_framework_errors(schema: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI documents for every parameter: here it is a problem, named where it can happen."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
