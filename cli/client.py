"""Florin's HTTP API as the command line uses it: what may be sent again is, with the same keys, for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import orjson

from processor.keys import prefix_of

T = TypeVar("T")
Command = Mapping[str, Any]

PAGE: Final = 1_000
"""Commands that one look at the list returns at most: the largest page that the API gives."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_TIMEOUT: Final = httpx.Timeout(30, connect=5)
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}


class ClientError(Exception):
    """The API does not do what was asked. The text says why, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The API's word that it has the command; ``replayed`` if it had it before."""

    position: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """A command that the API will never take as it is."""

    idempotency_key: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command came to: ``applied``, or ``refused`` or ``failed`` with a reason."""

    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """The outcomes of the settled commands above a position, and where to read on; ``None`` at the end."""

    outcomes: Mapping[int, Outcome]
    has_pending: bool
    following: int | None


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the API shows it. ``version`` is the number of transfers that have touched it."""

    currency: str
    balance: str
    version: int


class Client:
    """
    One client's view of the API at ``url``, to be used as a context.

    A request that was not answered, or with 429 or 5xx, is sent again until ``patience_s`` is over: the idempotency
    keys make that safe. Every method raises ``ClientError``.
    """

    def __init__(self, url: str, key: str, *, patience_s: float) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ClientError(f"{url!r} is no address of an API: give one such as http://127.0.0.1:8000 in FLORIN_API")
        if prefix_of(key) is None:
            raise ClientError(
                "the API key is not one: its form is florin_<prefix>_<secret>; `florin keys create` makes one"
            )
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT,
            # A proxy that is set up for the outside world cannot reach this machine's own loopback.
            trust_env=address.hostname not in _LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(self, commands: Sequence[Command]) -> list[Receipt | Rejection]:
        """Send the commands, and those that were put off again: ``answers[i]`` is for ``commands[i]``."""
        answers: dict[str, Receipt | Rejection] = {}

        async def send_unanswered() -> None:
            unanswered = [command for command in commands if command["idempotency_key"] not in answers]
            answers.update(await self._submit_once(unanswered))
            if put_off := len(commands) - len(answers):
                raise _PutOff(f"it put off {put_off:,} of {len(commands):,} commands")

        await self._patiently(send_unanswered)
        return [answers[command["idempotency_key"]] for command in commands]

    async def outcomes_after(self, position: int) -> Page:
        """One page of the client's own commands, in order of position."""
        path = f"/v1/commands?after={position}&limit={PAGE}"
        page = await self._patiently(lambda: self._get(path))
        commands = page["commands"]
        settled = [command for command in commands if command["status"] != "pending"]
        outcomes = {each["position"]: Outcome(each["status"], each.get("reason")) for each in settled}
        return Page(outcomes, len(settled) < len(commands), page["next"])

    async def account(self, name: str) -> Account | None:
        """The account, if there is one."""
        try:
            found = await self._patiently(lambda: self._get(f"/v1/accounts/{quote(name, safe='')}"))
        except _NotFound:
            return None
        return Account(found["currency"], found["balance"], found["version"])

    async def _submit_once(self, commands: Sequence[Command]) -> dict[str, Receipt | Rejection]:
        """The answers that are final. A line that asks for patience has none."""
        body = b"\n".join(orjson.dumps(command) for command in commands)
        response = await self._ask("POST", "/v1/commands/batch", body)
        lines = [self._read(line) for line in response.content.splitlines()]
        if [line.get("idempotency_key") for line in lines] != [command["idempotency_key"] for command in commands]:
            raise _PutOff("its answer broke off")
        answers: dict[str, Receipt | Rejection] = {}
        for line in lines:
            key = line["idempotency_key"]
            if line["result"] != "error":
                answers[key] = Receipt(line["position"], line["result"] == "replayed")
            elif not _may_be_sent_again(line["error"]["status"]):
                answers[key] = Rejection(key, _words(line["error"]))
        return answers

    async def _get(self, path: str) -> Any:
        return self._read((await self._ask("GET", path)).content)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/x-ndjson"}
        try:
            response = await self._http.request(method, self.url + path, content=body, headers=headers)
        except httpx.TransportError as error:
            raise _PutOff(f"it cannot be reached ({str(error) or type(error).__name__})") from error
        if response.status_code == 200:
            return response
        words = self._problem(response)
        if _may_be_sent_again(response.status_code):
            raise _PutOff(words, _seconds(response.headers.get("Retry-After", "")))
        if response.status_code == 404:
            raise _NotFound(words)
        raise ClientError(words)

    def _problem(self, response: httpx.Response) -> str:
        try:
            words = _words(orjson.loads(response.content))
        except (orjson.JSONDecodeError, LookupError, TypeError):
            words = response.reason_phrase
        return f"{self.url} answered {response.status_code}: {words}"

    def _read(self, content: bytes) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise ClientError(f"what answers at {self.url} is not Florin's API") from None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        patience_ends: float | None = None
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except _PutOff as trouble:
                now, wait_s = time.monotonic(), max(pause_s, trouble.retry_after_s)
                patience_ends = patience_ends or now + self._patience_s
                if now + wait_s > patience_ends:
                    raise ClientError(
                        f"the API at {self.url} did not do it within {self._patience_s:g} s: {trouble}"
                    ) from trouble
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class _PutOff(Exception):  # noqa: N818 - not an error yet
    """Not done, or nobody knows: to be asked again, after ``retry_after_s`` at the earliest."""

    def __init__(self, message: str, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class _NotFound(ClientError):  # noqa: N818
    """There is no such thing."""


def _may_be_sent_again(status: int) -> bool:
    return status == 429 or status >= 500


def _words(problem: Mapping[str, Any]) -> str:
    fields = "; ".join(f"{error['field']}: {error['message']}" for error in problem.get("errors") or ())
    return f"{problem['detail']} ({fields})" if fields else str(problem["detail"])


def _seconds(retry_after: str) -> float:
    """The header may hold a date instead, which Florin never sends."""
    return float(retry_after) if retry_after.isdecimal() else 0
