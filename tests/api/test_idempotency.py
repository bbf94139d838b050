"""A client's key names one command for ever: the first answer again, or a clear no."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from psycopg import sql

from tests.api.conftest import Api, a_deposit, a_transfer, a_withdrawal, assert_problem
from tests.stack import Stack, held


def test_a_repeated_request_gets_its_first_receipt_again(api: Api, stack: Stack) -> None:
    """Byte for byte, so that a client may compare; and marked, so that it need not."""
    name, key = api.opened(), str(uuid4())
    with held(stack, name):
        first = api.post(a_deposit(name), key=key)
        second = api.post(a_deposit(name), key=key)

    assert (first.status_code, second.status_code) == (202, 202)
    assert second.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]


def test_the_receipt_stays_the_same_after_the_outcome(api: Api) -> None:
    """Frozen: what the first answer was does not depend on when it is asked for again."""
    name, key = api.opened(), str(uuid4())
    first = api.post(a_deposit(name), key=key)
    waited = api.post(a_deposit(name), key=key, wait=30)
    second = api.post(a_deposit(name), key=key)

    assert (waited.status_code, waited.headers["idempotent-replayed"]) == (200, "true")
    assert waited.json()["status"] == "applied"
    assert (second.status_code, second.content) == (202, first.content)
    assert api.account(name)["version"] == 1


def test_the_receipt_does_not_depend_on_the_servers_time_zone(api: Api, stack: Stack) -> None:
    """A replay is read from Postgres, which may be set to any zone. The first receipt was written in UTC."""
    name, key = api.opened(), str(uuid4())
    first = api.post(a_deposit(name), key=key)
    with _time_zone(stack, "Asia/Kolkata"):
        again = api.post(a_deposit(name), key=key)

    assert again.content == first.content


def test_a_refusal_is_frozen_too(api: Api) -> None:
    """What was refused once is not tried again under the same key, even if it would succeed by now."""
    name, key = api.opened(), str(uuid4())
    refused = api.settle(a_withdrawal(name, "1.00"), key=key)
    api.settle(a_deposit(name, "5.00"))
    again = api.settle(a_withdrawal(name, "1.00"), key=key)

    assert (refused["status"], refused["reason"]) == ("refused", "insufficient_funds")
    assert again == refused
    assert api.account(name)["balance"] == "5.00"


def test_ten_requests_at_once_are_one_command(api: Api, stack: Stack) -> None:
    """The race that a nervous client makes, over several connections and two API processes."""
    name, key = api.opened(), str(uuid4())

    async def at_once() -> list[httpx.Response]:
        headers = dict(api.http.headers) | {"Idempotency-Key": key}
        async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30, trust_env=False) as client:
            return await asyncio.gather(*(client.post("/v1/commands", json=a_deposit(name)) for _ in range(10)))

    answers = asyncio.run(at_once())
    api.settle(a_deposit(name, "1.00"))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert api.account(name)["version"] == 2


def test_another_request_under_the_same_key_is_told_what_differs(api: Api) -> None:
    """Whoever mixes up his keys learns where, and nothing happens."""
    name, other, key = api.opened(), api.opened(), str(uuid4())
    api.settle(a_deposit(name, "10.50", reference="a"), key=key)
    problem = assert_problem(
        api.post(a_deposit(other, "10.51", reference="a", metadata={"a": "b"}), key=key), 422, "key_conflict"
    )
    kind = assert_problem(api.post(a_transfer(name, other, "10.50"), key=key), 422, "key_conflict")

    assert [each["field"] for each in problem["errors"]] == ["account", "amount", "metadata"]
    assert all(field in problem["detail"] for field in ("account", "amount", "metadata"))
    assert {"type", "account", "from_account", "to_account", "reference"} == {each["field"] for each in kind["errors"]}
    assert (api.account(name)["balance"], api.account(other)["balance"]) == ("10.50", "0.00")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"amount": "10.5"}, {"amount": "10.50"}),
        ({"metadata": {"a": "1", "b": "2"}}, {"metadata": {"b": "2", "a": "1"}}),
        ({"reference": None}, {}),
        ({"metadata": None}, {}),
    ],
)
def test_the_same_request_may_be_written_in_two_ways(
    api: Api, first: dict[str, object], second: dict[str, object]
) -> None:
    """What is compared is what was meant, not the bytes: another library may format the retry."""
    name, key = api.opened(), str(uuid4())
    receipts = [api.post(a_deposit(name) | body, key=key) for body in (first, second)]

    assert [receipt.status_code for receipt in receipts] == [202, 202]
    assert receipts[0].content == receipts[1].content


def test_overdraft_terms_that_are_left_out_are_the_bank_s(api: Api) -> None:
    """Who asks for none later asks for something else: the bank may have given one."""
    key, body = str(uuid4()), {"type": "open_account", "account": f"acc-{uuid4().hex}", "currency": "USD"}
    first = api.post(body, key=key)
    again = api.post(body | {"overdraft_limit": None}, key=key)
    zero = assert_problem(api.post(body | {"overdraft_limit": "0"}, key=key), 422, "key_conflict")

    assert again.content == first.content
    assert [each["field"] for each in zero["errors"]] == ["overdraft_limit"]


def test_an_opening_from_before_the_bank_had_defaults_is_a_replay_still(api: Api) -> None:
    """What was left out was stored as none then, and the key is for ever."""
    key, body = str(uuid4()), {"type": "open_account", "account": f"acc-{uuid4().hex}", "currency": "USD"}
    none = {"overdraft_limit": "0", "overdraft_fee": "0.00"}
    first = api.post(body | none, key=key)

    assert [api.post(sent, key=key).content for sent in (body, body | none)] == [first.content] * 2


def test_two_clients_may_use_the_same_key(api: Api, other: Api) -> None:
    """Keys are the client's own."""
    name, key = api.opened(), str(uuid4())
    ids = {client.settle(a_deposit(name), key=key)["id"] for client in (api, other)}

    assert len(ids) == 2
    assert api.account(name)["balance"] == "21.00"


def test_two_keys_of_a_client_share_its_idempotency_keys(api: Api, stack: Stack) -> None:
    """A key that is rotated between two tries must not pay twice."""
    name, key = api.opened(), str(uuid4())
    rotated = Api(stack, stack.key("shop", "commands:write"))
    first, second = api.post(a_deposit(name), key=key), rotated.post(a_deposit(name), key=key)
    rotated.http.close()

    assert second.content == first.content


def test_a_request_without_a_key_is_not_read(api: Api) -> None:
    """Without a name, a retry would be another payment."""
    problem = assert_problem(api.http.post("/v1/commands", json=a_deposit(api.opened())), 400, "malformed")

    assert [each["field"] for each in problem["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    "key",
    [b"", b'""', b"x" * 256, "straße".encode(), "straße".encode("latin-1"), b"tab\there", b'"' + b"x" * 256 + b'"'],
    ids=["empty", "empty in quotes", "too long", "UTF-8", "Latin-1", "tab", "too long in quotes"],
)
def test_a_malformed_key_is_refused(api: Api, key: bytes) -> None:
    """1 to 255 printable ASCII characters: what every log and every database can hold."""
    answer = api.http.post("/v1/commands", json=a_deposit("nobody"), headers=[(b"Idempotency-Key", key)])

    assert "Idempotency-Key" in assert_problem(answer, 400, "malformed")["detail"]


@pytest.mark.parametrize("key", ["x", "a key with blanks", "x" * 240, r"back\slash", 'quo"te', "!~*'();,/?:@&=+$#%"])
def test_a_key_may_have_any_printable_character(api: Api, key: str) -> None:
    """And names the same command bare or as a structured-field string."""
    name = api.opened()
    unique = f"{key}{uuid4().hex[:12]}"
    quoted = '"' + unique.replace("\\", "\\\\").replace('"', '\\"') + '"'
    bare, in_quotes = api.post(a_deposit(name), key=unique), api.post(a_deposit(name), key=quoted)

    assert bare.status_code == 202
    assert in_quotes.content == bare.content
    assert api.http.get(bare.json()["status_url"]).json()["idempotency_key"] == unique


@contextmanager
def _time_zone(stack: Stack, zone: str) -> Iterator[None]:
    """Let the database have a time zone. Sessions keep the one they began with, so those of the API are ended."""
    database = sql.Identifier(urlsplit(stack.owner_url).path.removeprefix("/"))
    end_sessions = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'florin api'
    """
    with stack.owner() as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} SET TimeZone TO {}").format(database, sql.Literal(zone)))
        conn.execute(end_sessions)
        try:
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} RESET TimeZone").format(database))
            conn.execute(end_sessions)
