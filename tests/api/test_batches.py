"""Many commands in one request: each line has an answer of its own, in the order of the lines."""

import json
import socket
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli.servers.process import wait_until
from tests.api.conftest import Api, a_deposit, a_withdrawal, assert_problem
from tests.stack import Stack

NDJSON = "application/x-ndjson"
JSON = "application/json"

Line = dict[str, Any]


def a_line(body: Line, key: str | None = None) -> Line:
    """The command with a key beside it."""
    return {"idempotency_key": key or str(uuid4()), **body}


def send(api: Api, content: bytes | Sequence[Line], media_type: str = NDJSON) -> httpx.Response:
    """Send the lines, or whatever bytes."""
    if not isinstance(content, bytes):
        content = (
            json.dumps(content).encode()
            if media_type == JSON
            else b"".join(json.dumps(e).encode() + b"\n" for e in content)
        )
    return api.http.post("/v1/commands/batch", content=content, headers={"Content-Type": media_type})


def answers(answer: httpx.Response) -> list[Line]:
    """The answers, one for each line."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"].startswith(NDJSON):
        return [json.loads(line) for line in answer.content.splitlines()]
    lines: list[Line] = answer.json()
    return lines


@pytest.mark.parametrize("media_type", [NDJSON, JSON, "application/json; charset=utf-8", "Application/X-NDJSON"])
def test_every_line_has_its_receipt_in_order(api: Api, media_type: str) -> None:
    """Positions follow the lines, so that a withdrawal may count on the deposit above it."""
    name = f"acc-{uuid4().hex[:12]}"
    lines = [
        a_line({"type": "open_account", "account": name, "currency": "USD"}),
        a_line(a_deposit(name, "5.00")),
        a_line(a_withdrawal(name, "5.00")),
        a_line(a_withdrawal(name, "0.01")),
    ]
    response = send(api, lines, JSON if "json;" in media_type else media_type)
    given = answers(response)
    last = api.settle(a_deposit(name, "1.00"))
    documents = [api.http.get(each["status_url"]).json() for each in given]

    assert response.headers["content-type"].split(";")[0] == (NDJSON if "NDJSON" in media_type.upper() else JSON)
    assert [each["idempotency_key"] for each in given] == [each["idempotency_key"] for each in lines]
    assert {each["result"] for each in given} == {"accepted"}
    positions = [each["position"] for each in given]
    assert positions == sorted(set(positions))
    assert set(given[0]) == {"idempotency_key", "result", "id", "position", "status", "status_url", "accepted_at"}
    assert [document.get("reason", document["status"]) for document in documents] == [
        "applied",
        "applied",
        "applied",
        "insufficient_funds",
    ]
    assert last["balances"] == {name: "1.00"}


def test_the_receipt_in_a_batch_is_the_one_that_a_single_request_gets(api: Api) -> None:
    """A client may send again whichever way it likes."""
    name, key = api.opened(), str(uuid4())
    (line,) = answers(send(api, [a_line(a_deposit(name), key)]))
    single = api.post(a_deposit(name), key=key)

    assert single.headers["idempotent-replayed"] == "true"
    assert single.json() == {field: line[field] for field in single.json()}


BAD_LINES: dict[str, tuple[object, str, str | None]] = {
    "no JSON": (b'{"type": ', "malformed", None),
    "a number": (b"17", "invalid", None),
    "an array": (b"[]", "invalid", None),
    "null": (b"null", "invalid", None),
    "no key": (a_deposit("1001"), "malformed", "idempotency_key"),
    "a key that is no text": (a_deposit("1001") | {"idempotency_key": 17}, "malformed", "idempotency_key"),
    "an empty key": (a_deposit("1001") | {"idempotency_key": ""}, "malformed", "idempotency_key"),
    "a key with an umlaut": (a_deposit("1001") | {"idempotency_key": "ä"}, "malformed", "idempotency_key"),
    "a key that is too long": (a_deposit("1001") | {"idempotency_key": "x" * 256}, "malformed", "idempotency_key"),
    "a number as amount": (a_line(a_deposit("1001", 10.5)), "invalid", "amount"),
    "an unknown field": (a_line(a_deposit("1001", fee="1")), "invalid", "fee"),
    "NUL": (a_line(a_deposit("1001", reference="\0")), "invalid", "reference"),
    "a lone surrogate": (b'{"idempotency_key": "x", "reference": "\\ud800"}', "malformed", None),
    "no UTF-8": (b'{"idempotency_key": "\xff"}', "malformed", None),
}


@pytest.mark.parametrize(("bad", "kind", "field"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_does_not_spoil_the_others(api: Api, bad: object, kind: str, field: str | None) -> None:
    """It has its problem, in its place, and its neighbours have their receipts."""
    name = api.opened()
    good = [json.dumps(a_line(a_deposit(name, f"{n}.00"))).encode() for n in (1, 2)]
    line = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    given = answers(send(api, b"\n".join([good[0], line, good[1]])))

    assert [each["result"] for each in given] == ["accepted", "error", "accepted"]
    error = given[1]["error"]
    assert error["type"] == f"urn:florin:problem:{kind}"
    assert [each["field"] for each in error.get("errors", [])] == ([field] if field else [])
    api.settle(a_deposit(name, "4.00"))
    assert api.account(name)["balance"] == "7.00"


def test_bad_elements_of_an_array_are_answered_in_place(api: Api) -> None:
    """As in the other format, as long as the whole is JSON."""
    content = [a_line(a_deposit("1001")), 17, a_deposit("1001"), a_line(a_deposit("1001", "0"))]
    given = answers(send(api, json.dumps(content).encode(), JSON))

    assert [each["result"] for each in given] == ["accepted", "error", "error", "error"]
    assert given[3]["idempotency_key"] == content[3]["idempotency_key"]  # type: ignore[index]


def test_blank_lines_and_line_ends_do_not_matter(api: Api) -> None:
    """CRLF, blanks and a last line without an end: what editors and other systems make of a file."""
    name = api.opened()
    lines = [json.dumps(a_line(a_deposit(name, f"{n}.00"))).encode() for n in (1, 2, 4)]
    given = answers(send(api, b"\r\n\r\n  \n" + b"\r\n".join(lines[:2]) + b"\r\n\n\t\n" + lines[2]))

    assert [each["result"] for each in given] == ["accepted"] * 3
    api.settle(a_deposit(name, "8.00"))
    assert api.account(name)["balance"] == "15.00"


@pytest.mark.parametrize(("content", "media_type"), [(b"", NDJSON), (b"\n \n", NDJSON), (b"[]", JSON)])
def test_a_batch_of_nothing_is_answered_with_nothing(api: Api, content: bytes, media_type: str) -> None:
    """It is no error to have nothing to do."""
    assert answers(send(api, content, media_type)) == []


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "malformed"),
        (b"[{]", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b'{"idempotency_key": "x"}', 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"[" * 100_000, 400, "malformed"),
    ],
)
def test_an_array_that_cannot_be_read_is_refused_whole(api: Api, content: bytes, status: int, kind: str) -> None:
    """There are no lines to answer."""
    assert_problem(send(api, content, JSON), status, kind)


def test_the_same_key_twice_in_one_batch_is_one_command(api: Api) -> None:
    """The second gets the first one's receipt; another body is told so."""
    name, key = api.opened(), str(uuid4())
    lines = [
        a_line(a_deposit(name, "1.00"), key),
        a_line(a_deposit(name, "1"), key),
        a_line(a_deposit(name, "2.00"), key),
    ]
    given = answers(send(api, lines))
    api.settle(a_deposit(name, "4.00"))

    assert [each["result"] for each in given] == ["accepted", "replayed", "error"]
    assert {field: given[1][field] for field in ("id", "position", "accepted_at")} == {
        field: given[0][field] for field in ("id", "position", "accepted_at")
    }
    assert given[2]["error"]["type"] == "urn:florin:problem:key_conflict"
    assert [each["field"] for each in given[2]["error"]["errors"]] == ["amount"]
    assert api.account(name)["balance"] == "5.00"


def test_a_batch_that_is_sent_again_is_replayed(api: Api) -> None:
    """Line by line, with the first receipts; what is new in it is accepted."""
    name = api.opened()
    lines = [a_line(a_deposit(name, "1.00")) for _ in range(3)]
    first = answers(send(api, lines))
    second = answers(send(api, [*lines, a_line(a_deposit(name, "2.00"))], JSON))
    api.settle(a_deposit(name, "4.00"))

    assert [each["result"] for each in second] == ["replayed"] * 3 + ["accepted"]
    assert [each | {"result": "accepted"} for each in second[:3]] == first
    assert api.account(name)["balance"] == "9.00"


def test_a_batch_takes_ten_thousand_commands_and_not_one_more(api: Api, stack: Stack) -> None:
    """In lines, those beyond are told to come in the next batch; an array is refused whole. Each is applied once."""
    name = api.opened("JPY")
    lines = [a_line(a_deposit(name, "1", "JPY")) for _ in range(10_001)]
    problem = assert_problem(send(api, lines, JSON), 413, "too_large")
    given = answers(send(api, lines))
    last = api.settle(a_deposit(name, "1", "JPY"))

    assert "10000" in problem["detail"]
    assert [each["result"] for each in given] == ["accepted"] * 10_000 + ["error"]
    assert given[-1]["error"]["type"] == "urn:florin:problem:too_large"
    positions = [each["position"] for each in given[:-1]]
    assert positions == sorted(set(positions))
    assert last["balances"] == {name: "10001"}


def test_a_batch_that_is_too_large_in_bytes_is_refused(api: Api) -> None:
    """By its length, or as soon as it has grown too long. Here one line alone is."""
    too_long = b"[" + b" " * (16 * 1024 * 1024) + b"]"

    for media_type in (NDJSON, JSON):
        assert_problem(send(api, too_long, media_type), 413, "too_large")


def test_lines_beyond_the_limit_cost_nothing(api: Api) -> None:
    """The 16 MiB of a body hold eight million lines of '1': an answer to each would take minutes and gigabytes."""
    answer = send(api, b"1\n" * 100_000)

    assert len(answer.content) < 5_000_000


def test_totals_beyond_bigint_are_refused_and_the_banks_own_are_shown(api: Api, admin: Api) -> None:
    """1,024 of the largest deposits fill an account. The bank's side of two such accounts is larger still."""
    names = [api.opened("SEK"), api.opened("SEK")]
    for name in names:
        lines = [a_line(a_deposit(name, "90071992547409.91", "SEK")) for _ in range(1_025)]
        given = answers(send(api, lines))
        last = api.http.get(given[-1]["status_url"])
        assert last.status_code == 200
        refused = api.settle(a_deposit(name, "90071992547409.91", "SEK"))
        assert (refused["status"], refused["reason"]) == ("refused", "balance_limit_exceeded")
        assert api.http.get(given[-1]["status_url"]).json().get("reason") == "balance_limit_exceeded"
        assert api.account(name)["balance"] == "92233720368547747.84"

    assert admin.account("@settlement:SEK")["balance"] == "-184467440737095495.68"


def test_a_client_that_leaves_in_the_middle_may_send_again(api: Api, stack: Stack) -> None:
    """What had arrived was accepted, or not: the same batch again tells, and every command happens once."""
    name = api.opened()
    lines = [a_line(a_deposit(name, "1.00")) for _ in range(2_500)]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = (
        f"POST /v1/commands/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NDJSON}\r\n"
        f"Authorization: {api.http.headers['authorization']}\r\nContent-Length: {len(content)}\r\n\r\n"
    )

    def accepted() -> int:
        row = conn.execute("SELECT count(*) FROM command WHERE account = %s AND type = 'deposit'", [name]).fetchone()
        return row[0] if row else 0

    with stack.owner() as conn:
        with socket.create_connection(("127.0.0.1", stack.port)) as connection:
            connection.sendall(head.encode() + content[: len(content) * 4 // 5])
            assert wait_until(lambda: accepted() > 0, timeout_s=20)  # The first lines, while others still arrive.
        before = accepted()
    given = answers(send(api, content))
    last = api.settle(a_deposit(name, "1.00"))

    assert {each["result"] for each in given} == {"accepted", "replayed"}
    assert [each["result"] for each in given].count("replayed") >= before
    assert last["balances"] == {name: "2501.00"}
