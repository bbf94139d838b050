"""HTTP itself: addresses, methods, sizes, media types, and who is asking."""

from uuid import uuid4

import pytest

from cli.servers.process import wait_until
from processor import keys, pools
from tests.api.conftest import Api, a_deposit, assert_problem
from tests.stack import Stack

COMMANDS = "/v1/commands"

NOBODYS = "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"
"""An id that no command has. The same each time: tests run in several processes, and are known by their parameters."""


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/commands", "/v1/commands/batch/x", "/v1/nothing", "/%00", "/../etc"])
def test_an_unknown_address_is_a_problem_too(api: Api, path: str) -> None:
    """Every error has the one form, also those that the framework raises."""
    assert_problem(api.http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", COMMANDS, {"GET", "POST"}),
        ("PUT", COMMANDS, {"GET", "POST"}),
        ("DELETE", f"{COMMANDS}/{NOBODYS}", {"GET"}),
        ("PATCH", "/v1/accounts/1001", {"GET"}),
        ("POST", "/healthz", {"GET"}),
    ],
)
def test_another_method_is_refused(api: Api, method: str, path: str, allowed: set[str]) -> None:
    """History has no DELETE. RFC 9110 wants the methods that there are."""
    answer = api.http.request(method, path)

    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == allowed


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_command_that_is_too_large_is_refused(api: Api, size: int, chunked: bool) -> None:
    """Whether or not the client says beforehand how much is to come."""
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    body = b'{"type": "deposit", "reference": "'.ljust(size, b"x")
    pieces = (body[at : at + 16_384] for at in range(0, size, 16_384))
    answer = api.http.post(COMMANDS, content=pieces if chunked else body, headers=headers)

    assert_problem(answer, 413, "too_large")


def test_a_command_may_have_64_kib(api: Api) -> None:
    """The bound itself is allowed."""
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    body = b'{"type":"deposit","account":"1001","amount":"1.00","currency":"USD"}'
    answer = api.http.post(COMMANDS, content=body.ljust(64 * 1024), headers=headers)

    assert answer.status_code == 202


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/xml", "application/jsonl", "text/csv", "x"])
def test_a_batch_is_ndjson_or_json(api: Api, media_type: str | None) -> None:
    """The two are told apart by what the client says, not by a guess."""
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = api.http.post(f"{COMMANDS}/batch", content=b"[]", headers=headers)

    assert "application/x-ndjson" in assert_problem(answer, 415, "unsupported_media_type")["detail"]


AUTHORIZATIONS = {
    "none": None,
    "empty": "",
    "only the word": "Bearer",
    "basic": "Basic dXNlcjpwYXNzd29yZA==",
    "a made-up key": "Bearer florin_abcdefghijkl_" + "A" * 43,
    "no key": "Bearer hello",
    "a long key": "Bearer florin_abcdefghijkl_" + "A" * 4_000,
    "SQL": "Bearer ' OR 1=1 --",
}


@pytest.mark.parametrize("authorization", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", COMMANDS),
        ("POST", f"{COMMANDS}/batch"),
        ("GET", COMMANDS),
        ("GET", f"{COMMANDS}/{NOBODYS}"),
        ("GET", "/v1/accounts/1001"),
    ],
    ids=["submit", "batch", "list", "show", "account"],
)
def test_nobody_gets_in_without_a_key(stranger: Api, method: str, path: str, authorization: str | None) -> None:
    """And nobody learns why his key is none."""
    headers = {"Idempotency-Key": "x", "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    answer = stranger.http.request(method, path, headers=headers, content=b"[]" if method == "POST" else None)

    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("change", ["secret", "prefix", "none"])
def test_the_whole_key_counts(api: Api, stranger: Api, change: str) -> None:
    """A known prefix with another secret is no key, nor is a known secret under another prefix."""
    _, prefix, secret = api.http.headers["authorization"].removeprefix("Bearer ").split("_", 2)
    last = "A" if secret[-1] != "A" else "B"
    key = {
        "secret": f"florin_{prefix}_{secret[:-1]}{last}",
        "prefix": f"florin_{prefix[::-1]}x_{secret}",
        "none": f"florin_{prefix}_{secret}",
    }[change]
    answer = stranger.http.get(COMMANDS, headers={"Authorization": f"bearer {key}"})

    assert answer.status_code == (200 if change == "none" else 401)


def test_a_revoked_key_is_refused_within_seconds(stack: Stack) -> None:
    """In every API process: each remembers a key for FLORIN_KEY_CACHE_S, here one second."""
    key = stack.key("leaver", "read")
    client = Api(stack, key)
    assert client.http.get(COMMANDS).status_code == 200
    with pools.connect(stack.app_url, "florin test keys") as conn:
        assert keys.revoke(conn, keys.prefix_of(key) or "")

    def is_refused() -> bool:
        # Each request on a connection of its own, so at any process.
        new = [client.http.get(COMMANDS, headers={"Connection": "close"}).status_code for _ in range(20)]
        return {*new, client.http.get(COMMANDS).status_code} == {401}

    assert wait_until(is_refused, timeout_s=20)
    assert_problem(client.http.get(COMMANDS), 401, "unauthenticated")
    client.http.close()


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [(["read"], {"read"}), (["commands:write"], {"write"}), (["admin"], {"read", "write"})],
    ids=["read", "write", "admin"],
)
def test_a_key_does_what_its_scopes_say(api: Api, stack: Stack, scopes: list[str], allowed: set[str]) -> None:
    """A statement printer cannot pay, a till cannot read, and who may do everything may do both."""
    name = api.opened()
    client = Api(stack, stack.key("shop", *scopes))
    line = a_deposit(name, "2.00") | {"idempotency_key": str(uuid4())}
    answers = {
        "write": [client.post(a_deposit(name, "1.00")), client.http.post(f"{COMMANDS}/batch", json=[line])],
        "read": [
            client.http.get(path) for path in (COMMANDS, f"/v1/accounts/{name}", f"{COMMANDS}/{_any_command(api)}")
        ],
    }
    client.http.close()

    for scope, given in answers.items():
        for answer in given:
            if scope in allowed:
                assert answer.status_code < 300, answer.text
            else:
                assert_problem(answer, 403, "forbidden")
    api.settle(a_deposit(name, "4.00"))
    assert api.account(name)["balance"] == ("7.00" if "write" in allowed else "4.00")


def _any_command(api: Api) -> str:
    command_id: str = api.post(a_deposit("nobody")).json()["id"]
    return command_id
