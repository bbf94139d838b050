"""A client under load: many connections, and each command again under its key until it has a receipt."""

import asyncio
import json
import random
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

Command = tuple[str, dict[str, Any]]
"""An idempotency key and a body. A value of the body may be the id ``Of`` an earlier command."""

_RETRY_AFTER_S: Final = 0.05
_PATIENCE_S: Final = 120.0
_PASSING: Final = (429, 500, 502, 503)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the API promised for a key."""

    id: str
    position: int


@dataclass(frozen=True, slots=True)
class Of:
    """The id of the command under a key, whatever it will be."""

    key: str


class Load:
    """
    Sends commands from a thread of its own while the ``with`` block lasts; the block ends when each has its receipt.

    Whatever breaks a request, it is sent again with the same key: ``troubles`` counts what that was. An answer that
    no retry can change fails the test.
    """

    def __init__(
        self, port: int, api_key: str, commands: Sequence[Command], *, connections: int = 16, per_request: int = 10
    ) -> None:
        self.receipts: dict[str, Receipt] = {}
        self.troubles: Counter[str] = Counter()
        self._port = port
        self._api_key = api_key
        self._waiting = deque(commands)
        self._total = len(commands)
        self._connections = connections
        self._per_request = per_request
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._waiting.clear()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def wait_for(self, receipts: int) -> None:
        """Return once so many commands have their receipt, of all that there are to send."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or len(self.receipts) >= receipts, _PATIENCE_S)
        assert self._error is None, self._error
        assert len(self.receipts) >= receipts, f"{len(self.receipts)} receipts of {self._total}; {self.troubles}"

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to send, or something went wrong."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:
            self._error = error
        with self._changed:
            self._changed.notify_all()

    async def _send_all(self) -> None:
        async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
            for _ in range(min(self._connections, self._total)):
                group.create_task(self._send_on_a_connection())

    async def _send_on_a_connection(self) -> None:
        connection = _Connection(self._port)
        while self._waiting:
            commands = self._next()
            if not commands:
                await asyncio.sleep(_RETRY_AFTER_S)
            while commands:
                try:
                    status, body = await connection.exchange(self._request(commands))
                except (OSError, EOFError, asyncio.LimitOverrunError) as error:
                    connection.close()
                    trouble = type(error).__name__
                else:
                    trouble = str(status) if status in _PASSING else ""
                    if not trouble:
                        commands, trouble = self._answered(commands, status, body)
                if trouble:
                    self.troubles[trouble] += 1
                    await asyncio.sleep(_RETRY_AFTER_S)
        connection.close()

    def _next(self) -> list[Command]:
        """The next ones that name nothing without a receipt; those that do wait behind all others."""
        commands: list[Command] = []
        for _ in range(min(self._per_request, len(self._waiting))):
            key, body = self._waiting.popleft()
            named = [value.key for value in body.values() if isinstance(value, Of)]
            if all(name in self.receipts for name in named):
                ids = {name: self.receipts[v.key].id for name, v in body.items() if isinstance(v, Of)}
                commands.append((key, body | ids))
            else:
                self._waiting.append((key, body))
        return commands

    def _request(self, commands: list[Command]) -> bytes:
        if self._per_request == 1:
            ((key, body),) = commands
            content, path, more = json.dumps(body).encode(), "", f"Idempotency-Key: {key}\r\n"
        else:
            content = json.dumps([{"idempotency_key": key, **body} for key, body in commands]).encode()
            path, more = "/batch", ""
        head = (
            f"POST /v1/commands{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._api_key}\r\n"
            f"Content-Type: application/json\r\n{more}Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def _answered(self, commands: list[Command], status: int, body: bytes) -> tuple[list[Command], str]:
        """Keep the receipts, and return what is to be sent again and why."""
        answers = json.loads(body)
        if self._per_request == 1:
            assert status == 202, body
            answers = [answers]
        else:
            assert status == 200, body
        again, trouble = [], ""
        with self._changed:
            for (key, command), answer in zip(commands, answers, strict=True):
                if "error" in answer:
                    assert answer["error"]["status"] in _PASSING, answer
                    trouble = str(answer["error"]["status"])
                    again.append((key, command))
                    continue
                receipt = Receipt(answer["id"], answer["position"])
                assert self.receipts.setdefault(key, receipt) == receipt, f"{key} was given two receipts"
            self._changed.notify_all()
        return again, trouble


class _Connection:
    """HTTP/1.1 with keep-alive, as little of it as is needed: a full client would cost more than the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length: ")
        body = await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def openings(names: Sequence[str], *, overdraft: str = "0") -> list[Command]:
    """Commands that open these accounts in USD."""
    return [
        (f"open {name}", {"type": "open_account", "account": name, "currency": "USD", "overdraft_limit": overdraft})
        for name in names
    ]


def payments(accounts: Sequence[str], count: int, *, seed: int, prefix: str = "pay") -> list[Command]:
    """
    Deposits, withdrawals, transfers, holds and what becomes of them, corrections; the same for the same seed.

    The first account is in a tenth of them: every real bank has such a customer. Many are refused for want of funds.
    """
    rng = random.Random(seed)
    commands: list[Command] = []
    for n in range(count):
        one, two = rng.sample(accounts, 2)
        if rng.random() < 0.1:
            one, two = (accounts[0], two) if two != accounts[0] else (one, accounts[0])
        kind = rng.choice(_KINDS)
        # Long enough ago to be decided mostly, and to have its receipt.
        earlier = commands[-rng.randint(150, 400)] if n >= 400 else None
        body = _about_earlier(kind, earlier, rng) or _payment(kind, one, two, rng)
        commands.append((f"{prefix}-{seed}-{n}", body | {"reference": f"{prefix} {n}"}))
    return commands


_KINDS: Final = (
    *("deposit", "withdraw", "transfer", "transfer") * 4,
    *("place_hold", "place_hold", "end_of_hold", "end_of_hold", "end_of_hold", "reverse", "adjust", "life"),
)


def _payment(kind: str, one: str, two: str, rng: random.Random) -> dict[str, Any]:
    money = {"amount": f"{rng.randint(1, 30)}.{rng.randint(0, 99):02}", "currency": "USD"}
    if kind in ("deposit", "withdraw", "place_hold"):
        return {"type": kind, "account": one, **money}
    if kind == "adjust":
        two = rng.choice((two, "@suspense:USD"))
        force = rng.random() < 0.2
        return {"type": kind, "from_account": one, "to_account": two, "force": force, "reason": "found it", **money}
    if kind == "life":
        return rng.choice(
            (
                {"type": "freeze", "account": one, "currency": "USD", "reason": "lost card"},
                *({"type": "unfreeze", "account": one, "currency": "USD", "reason": "found it"},) * 2,
                {"type": "close", "account": one, "currency": "USD", "reason": "moved away"},
                *(
                    {"type": "set_limits", "account": one, "currency": "USD", "reason": "asked for it", **limits}
                    for limits in ({"daily_count": 9}, {"daily_amount": "99.00"}, {"overdraft_limit": "60.00"})
                ),
            )
        )
    return {"type": "transfer", "from_account": one, "to_account": two, **money}


def _about_earlier(kind: str, earlier: Command | None, rng: random.Random) -> dict[str, Any] | None:
    """What ends a hold or reverses a payment, if the earlier command is one; an account that froze is let go."""
    if earlier is None:
        return None
    key, body = earlier
    of_its_account = {"account": body.get("account"), "currency": "USD"}
    if body["type"] == "freeze":
        return {"type": "unfreeze", "reason": "found it", **of_its_account}
    if body["type"] == "place_hold" and kind in ("end_of_hold", "place_hold", "transfer"):
        if rng.random() < 0.3:
            return {"type": "release_hold", "hold_id": Of(key), **of_its_account}
        part = {"amount": "1.00"} if rng.random() < 0.5 else {}
        return {"type": "capture_hold", "hold_id": Of(key), **part, **of_its_account}
    if kind == "reverse":
        return {"type": "reverse", "command": Of(key), "force": rng.random() < 0.3, "reason": "by mistake"}
    return None
