"""One whole stack for all tests of the API, and a client that speaks to it as a client of the bank would."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from cli.servers import LocalServers
from tests.conftest import TEMPLATE
from tests.folders import throwaway_folder
from tests.stack import Stack, new_database

SETTINGS = {
    "FLORIN_KEY_CACHE_S": "1",
    "FLORIN_CHECK_ADVANCES_EVERY_S": "1",
    "FLORIN_EXPORTER_EVERY_S": "1",
    "FLORIN_ADVANCE_BOUNDS": '{"EUR": ["10.00", "500.00"]}',
    "FLORIN_AMOUNT_BOUNDS": '{"deposit": {"CHF": ["1.00", "5000.00"]}, "place_hold": {"CHF": ["5.00", "50.00"]}}',
    "FLORIN_OVERDRAFT_DEFAULTS": '{"CHF": ["100.00", "15.00"]}',
    "FLORIN_EXPIRE_HOLDS_EVERY_S": "1",
}


class Api:
    """A client of the API with a key of its own."""

    def __init__(self, stack: Stack, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=stack.url, headers=headers, timeout=30, trust_env=False)

    def post(self, body: object, *, key: str | None = None, wait: int | None = None) -> httpx.Response:
        """Send a command under a key that is new unless given."""
        headers = {"Idempotency-Key": key or str(uuid4())}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        return self.http.post("/v1/commands", json=body, headers=headers)

    def settle(self, body: Mapping[str, object], *, key: str | None = None) -> dict[str, Any]:
        """Send a command, and return its document once it has an outcome."""
        answer = self.post(body, key=key, wait=30)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def opened(self, currency: str = "USD", *, deposit: str | None = None, **more: str) -> str:
        """A new account, with a first deposit if one is given."""
        name = f"acc-{uuid4().hex[:12]}"
        opening = {"type": "open_account", "account": name, "currency": currency, **more}
        assert self.settle(opening)["status"] == "applied"
        if deposit is not None:
            assert self.settle(a_deposit(name, deposit, currency))["status"] == "applied"
        return name

    def account(self, name: str) -> dict[str, Any]:
        """The account as it is now."""
        answer = self.http.get(f"/v1/accounts/{quote(name)}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def granted(self, account: str, amount: str = "100.00", currency: str = "USD", **more: object) -> str:
        """The id of a new advance to the account."""
        document = self.settle(an_advance(account, amount, currency, **more))
        assert document["status"] == "applied", document
        return str(document["id"])

    def advance(self, advance_id: str) -> dict[str, Any]:
        """The advance as it is now."""
        answer = self.http.get(f"/v1/advances/{advance_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def a_deposit(account: str, amount: object = "10.50", currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of a deposit."""
    return {"type": "deposit", "account": account, "amount": amount, "currency": currency, **more}


def a_withdrawal(account: str, amount: object = "10.50", currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of a withdrawal."""
    return {"type": "withdraw", "account": account, "amount": amount, "currency": currency, **more}


def a_transfer(source: str, target: str, amount: object = "10.50", currency: str = "USD") -> dict[str, object]:
    """The body of a transfer."""
    return {"type": "transfer", "from_account": source, "to_account": target, "amount": amount, "currency": currency}


def an_advance(account: str, amount: object = "100.00", currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of an advance."""
    return {"type": "advance", "account": account, "amount": amount, "currency": currency, **more}


def a_repayment(
    account: str, advance_id: object, amount: object = "10.50", currency: str = "USD", **more: object
) -> dict[str, object]:
    """The body of an early repayment."""
    of = {"account": account, "advance_id": advance_id}
    return {"type": "repay", **of, "amount": amount, "currency": currency, **more}


def a_write_off(account: str, advance_id: object, currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of a write-off."""
    of = {"account": account, "advance_id": advance_id}
    return {"type": "write_off", **of, "currency": currency, "reason": "bankrupt", **more}


def a_hold(account: str, amount: object = "10.50", currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of a hold."""
    return {"type": "place_hold", "account": account, "amount": amount, "currency": currency, **more}


def a_reversal(command_id: object, **more: object) -> dict[str, object]:
    """The body of a reversal."""
    return {"type": "reverse", "command": command_id, "reason": "a mistake", **more}


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The answer is a problem of this kind, as RFC 9457 wants it; return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:florin:problem:{kind}")
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.fixture(scope="package")
def stack(servers: LocalServers, _application_password: str) -> Iterator[Stack]:
    """Two API processes, two workers, a scheduler, an exporter. Their queue is no other test's, and ends with them."""
    with (
        throwaway_folder() as folder,
        LocalServers(folder, postgres=False) as queue,
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        Stack(owner_url, app_url, queue.redis_url, folder, api=2, exporters=1, settings=SETTINGS) as stack,
    ):
        yield stack


@pytest.fixture(scope="package")
def api(stack: Stack) -> Iterator[Api]:
    """A client with a key for everything but administration."""
    client = Api(stack, stack.key("shop", "commands:write", "read"))
    yield client
    client.http.close()


@pytest.fixture(scope="package")
def other(stack: Stack) -> Iterator[Api]:
    """Another client, who may do as much."""
    client = Api(stack, stack.key("rival", "commands:write", "read"))
    yield client
    client.http.close()


@pytest.fixture(scope="package")
def admin(stack: Stack) -> Iterator[Api]:
    """Somebody who runs the bank."""
    client = Api(stack, stack.key("operator", "admin"))
    yield client
    client.http.close()


@pytest.fixture(scope="package")
def stranger(stack: Stack) -> Iterator[Api]:
    """Somebody without a key."""
    client = Api(stack, None)
    yield client
    client.http.close()
