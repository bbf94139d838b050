"""Three ways to settle the same commands, each as seconds from the first command to the last outcome."""

import json
import multiprocessing
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import httpx

from benchmarks import naive
from benchmarks.stage import Stage, accept, await_settled
from benchmarks.workload import Workload
from processor import keys, money
from processor.submissions import CommandBody
from workers.broker import make_broker
from workers.queue import CommandQueue

WORKERS: Final = 2
BATCH: Final = 5_000
NAIVE_CONNECTIONS: Final = 8


def bulk(stage: Stage, workload: Workload) -> float:
    """Florin end to end: batches over HTTP, Redis, two worker processes, to the last outcome."""
    with stage.database(workload) as database, closing(socket.create_server(("127.0.0.1", 0))) as free:
        key, port = keys.generate(), free.getsockname()[1]
        free.close()
        keys.ensure_development_key(database.app_url, key)
        bodies = _batches(workload)
        modules = [["api_min", "--port", str(port)], ["scheduler"], *([["workers"]] * WORKERS)]
        with stage.processes(database, modules), _client(port, key) as client:
            start = time.perf_counter()
            for body in bodies:
                client.post("/v1/commands/batch", content=body).raise_for_status()
            await_settled(database, workload.commands)
            return time.perf_counter() - start


def engine(stage: Stage, workload: Workload) -> float:
    """Apply alone: the commands are accepted, two worker processes wait, and the queue is filled at once."""
    with stage.database(workload) as database:
        accepted = accept(database, list(workload.timed()))
        queue = CommandQueue(make_broker(stage.servers.redis_url))
        with stage.processes(database, [["workers"]] * WORKERS):
            start = time.perf_counter()
            queue.send(accepted)
            await_settled(database, workload.commands)
            return time.perf_counter() - start


def one_by_one(stage: Stage, workload: Workload) -> float:
    """The naive way: one transaction per command, receipt and outcome together, 8 connections in 2 processes."""
    with stage.database(workload) as database:
        commands = list(workload.timed())
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(WORKERS + 1)
        per_process = NAIVE_CONNECTIONS // WORKERS
        processes = [
            context.Process(
                target=naive.settle,
                args=(database.app_url, database.client_id, commands[number::WORKERS], per_process, barrier),
            )
            for number in range(WORKERS)
        ]
        for process in processes:
            process.start()
        barrier.wait()
        start = time.perf_counter()
        for process in processes:
            process.join()
        seconds = time.perf_counter() - start
        await_settled(database, workload.commands)
        return seconds


WAYS: Final[dict[str, Callable[[Stage, Workload], float]]] = {"bulk": bulk, "engine": engine, "naive": one_by_one}


def _batches(workload: Workload) -> list[bytes]:
    """NDJSON bodies, made before the clock starts."""
    lines = [json.dumps({"idempotency_key": key, **_fields(body)}) for key, body in workload.timed()]
    return ["\n".join(lines[start : start + BATCH]).encode() for start in range(0, len(lines), BATCH)]


def _fields(body: CommandBody) -> dict[str, Any]:
    assert body.amount_minor is not None
    names = {"account": body.account, "from_account": body.from_account, "to_account": body.to_account}
    return {
        "type": body.type,
        "currency": body.currency,
        "amount": money.format_amount(body.amount_minor, body.currency),
        **{field: name for field, name in names.items() if name is not None},
    }


def _client(port: int, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120)
