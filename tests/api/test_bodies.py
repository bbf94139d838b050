"""What cannot be a command is refused by name, with words that help, and never with a 5xx."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Api, a_deposit, a_repayment, a_transfer, a_write_off, an_advance, assert_problem

OPENING = {"type": "open_account", "account": "1001", "currency": "USD"}
DEPOSIT = a_deposit("1001")
TRANSFER = a_transfer("1001", "1002")
ADVANCE = an_advance("1001")
REPAYMENT = a_repayment("1001", "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f")
WRITE_OFF = a_write_off("1001", "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f")
BODIES: list[dict[str, Any]] = [OPENING, DEPOSIT, TRANSFER, ADVANCE, REPAYMENT, WRITE_OFF]


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The body as if the client had forgotten a field."""
    return {field: value for field, value in body.items() if field != name}


AMOUNTS = {
    "a number": 10.5,
    "a whole number": 10,
    "a huge number": 10**30,
    "null": None,
    "a boolean": True,
    "a list": ["10.50"],
    "an object": {"value": "10.50"},
    "empty": "",
    "zero": "0",
    "zero with decimals": "0.00",
    "negative": "-10.50",
    "a plus": "+10.50",
    "too many decimals": "10.505",
    "many zeros behind": "10.500",
    "no digit before the point": ".50",
    "no digit after the point": "10.",
    "a leading zero": "010.50",
    "an exponent": "1e3",
    "a comma": "10,50",
    "thousands": "1,000.00",
    "an underscore": "1_000",
    "a blank": " 10.50",
    "a line break": "10.50\n",
    "words": "ten",
    "not a number": "NaN",
    "infinity": "Infinity",
    "hexadecimal": "0x10",
    "other digits": "\u0967\u0966.\u096b\u0966",
    "wide digits": "\uff11\uff10.\uff15\uff10",
    "NUL": "10.50\0",
    "above the largest": "90071992547409.92",
    "20 digits": "9" * 20,
    "60,000 digits": "9" * 60_000,
}


@pytest.mark.parametrize("amount", AMOUNTS.values(), ids=AMOUNTS)
@pytest.mark.parametrize("body", [DEPOSIT, TRANSFER, ADVANCE, REPAYMENT], ids=lambda body: body["type"])
def test_what_is_no_amount_is_refused(api: Api, body: dict[str, Any], amount: object) -> None:
    """Money is never guessed at: no float, no rounding, no zero."""
    problem = assert_problem(api.post(body | {"amount": amount}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["amount"]
    assert len(problem["errors"][0]["message"]) > 10


def test_a_json_number_is_told_to_be_a_string(api: Api) -> None:
    """The commonest mistake gets the plainest answer."""
    problem = assert_problem(api.post(DEPOSIT | {"amount": 10.5}), 422, "invalid")

    assert "strings" in problem["errors"][0]["message"]
    assert "10.50" in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("currency", "amount"),
    [("JPY", "10.5"), ("JPY", "10.0"), ("KWD", "1.0505"), ("USD", "1.005"), ("CLF", "1.00005"), ("BHD", "0.0001")],
)
def test_decimals_beyond_those_of_the_currency_are_refused(api: Api, currency: str, amount: str) -> None:
    """Also when they are zeros: who writes them means another currency."""
    problem = assert_problem(api.post(DEPOSIT | {"amount": amount, "currency": currency}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["amount"]
    assert f"{currency} has " in problem["errors"][0]["message"]


@pytest.mark.parametrize("currency", ["JPY", "KWD"])
@pytest.mark.parametrize("amount", ["1050", "1"])
def test_decimals_may_be_left_out(api: Api, currency: str, amount: str) -> None:
    """Whole units of any currency."""
    assert api.post(DEPOSIT | {"amount": amount, "currency": currency}).status_code == 202


CURRENCIES: dict[str, object] = {
    "unknown": "ABC",
    "lower case": "usd",
    "a symbol": "$",
    "empty": "",
    "no exponent": "XAU",
    "a number": 840,
    "null": None,
    "a list": ["USD"],
    "a line break": "USD\n",
    "NUL": "US\0",
    "Greek": "ΥΣΔ",
}


@pytest.mark.parametrize("currency", CURRENCIES.values(), ids=CURRENCIES)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["type"])
def test_what_is_no_currency_is_refused(api: Api, body: dict[str, Any], currency: object) -> None:
    """Before anything that depends on it."""
    problem = assert_problem(api.post(body | {"currency": currency}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["currency"]


NAMES: dict[str, object] = {
    "empty": "",
    "a blank": "10 01",
    "too long": "x" * 65,
    "a system account": "@settlement:USD",
    "a line break": "1001\n",
    "NUL": "1001\0",
    "an umlaut": "konto-ä",
    "other digits": "१००१",
    "a slash": "a/b",
    "a number": 1001,
    "null": None,
    "a list": ["1001"],
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (OPENING, "account"),
        (DEPOSIT, "account"),
        (TRANSFER, "from_account"),
        (TRANSFER, "to_account"),
        (ADVANCE, "account"),
        (REPAYMENT, "account"),
        (WRITE_OFF, "account"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_what_is_no_account_is_refused(api: Api, body: dict[str, Any], field: str, name: object) -> None:
    """The bank's own accounts among it: no client may name them."""
    problem = assert_problem(api.post(body | {field: name}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize("name", ["0", "a.b_c:d-e", "x" * 64, "UPPER", "-", "..", "__proto__"])
def test_an_account_may_have_any_such_name(api: Api, name: str) -> None:
    """The documented characters, up to the documented length."""
    assert api.post(DEPOSIT | {"account": name}).status_code == 202


@pytest.mark.parametrize(
    ("body", "name"),
    [(body, name) for body in BODIES for name in body],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_a_field_that_is_missing_is_named(api: Api, body: dict[str, Any], name: str) -> None:
    """Each by its own name."""
    problem = assert_problem(api.post(without(body, name)), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [name]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (DEPOSIT, "amount_minor"),
        (DEPOSIT, "to_account"),
        (DEPOSIT, "idempotency_key"),
        (DEPOSIT, "Amount"),
        (OPENING, "amount"),
        (TRANSFER, "account"),
        (TRANSFER, "überweisung"),
        (TRANSFER, "a\0b"),
        (ADVANCE, "advance_id"),
        (ADVANCE, "instalment"),
        (REPAYMENT, "instalments"),
        (REPAYMENT, "reason"),
        (WRITE_OFF, "amount"),
    ],
)
def test_a_field_that_is_not_known_is_refused(api: Api, body: dict[str, Any], name: str) -> None:
    """It may have been meant for something that would then not happen."""
    problem = assert_problem(api.post(body | {name: "1"}), 422, "invalid")

    assert [(each["field"], each["message"]) for each in problem["errors"]] == [(name, "there is no such field")]


@pytest.mark.parametrize(
    "kind", [*("loan", "", "Deposit", None, 1, ["deposit"], {"deposit": 1}, "deposit\0"), *("collect", "expire_hold")]
)
def test_a_type_that_is_not_known_is_refused(api: Api, admin: Api, kind: object) -> None:
    """With those that are. What only the scheduler sends does not exist for clients, nor for admins."""
    for client in (api, admin):
        (error,) = assert_problem(client.post(DEPOSIT | {"type": kind}), 422, "invalid")["errors"]
        known = [
            *("open_account", "deposit", "withdraw", "transfer", "advance", "repay", "write_off", "place_hold"),
            *("capture_hold", "release_hold", "freeze", "unfreeze", "close", "set_limits", "reverse", "adjust"),
        ]

        assert (error["field"], error["message"]) == ("type", f"give one of {', '.join(known)}")


DAYS: dict[str, object] = {
    "a number": 20261127,
    "a fraction": 1.5,
    "a boolean": True,
    "a list": ["2026-11-27"],
    "empty": "",
    "without hyphens": "20261127",
    "a week": "2026-W48-5",
    "an instant": "2026-11-27T00:00:00Z",
    "another order": "27-11-2026",
    "slashes": "2026/11/27",
    "one digit": "2026-1-7",
    "a line break": "2026-11-27\n",
    "a blank": " 2026-11-27",
    "other digits": "\u0968\u0966\u0968\u096c-11-27",
    "words": "tomorrow",
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_what_is_no_day_is_refused(api: Api, day: object) -> None:
    """A day is never guessed at: who writes numbers may mean seconds."""
    problem = assert_problem(api.post(ADVANCE | {"first_due_on": day}), 422, "invalid")
    (error,) = problem["errors"]

    assert (error["field"], error["message"]) == ("first_due_on", 'not a day: give a string such as "2026-11-27"')


@pytest.mark.parametrize("day", ["0000-01-01", "2026-13-01", "2026-02-29", "2026-11-00"])
def test_a_day_that_the_calendar_does_not_have_is_refused(api: Api, day: str) -> None:
    """No neighbour is taken for it."""
    (error,) = assert_problem(api.post(ADVANCE | {"first_due_on": day}), 422, "invalid")["errors"]

    assert (error["field"], error["message"]) == ("first_due_on", f"the calendar has no day {day}")


@pytest.mark.parametrize("instalments", [0, -1, 105, 2**31, 2**64, 10**30, 12.0, 1.5, True, "12", None, [12], {}])
def test_what_is_no_number_of_instalments_is_refused(api: Api, instalments: object) -> None:
    """A week at least, and two years at most."""
    problem = assert_problem(api.post(ADVANCE | {"instalments": instalments}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["instalments"]


@pytest.mark.parametrize(
    ("amount", "currency", "more", "smallest"),
    [
        ("0.11", "USD", {}, "12 instalments: give 0.12 USD"),
        ("11", "JPY", {}, "12 instalments: give 12 JPY"),
        ("0.103", "KWD", {"instalments": 104}, "104 instalments: give 0.104 KWD"),
    ],
)
def test_each_instalment_needs_a_minor_unit(
    api: Api, amount: str, currency: str, more: dict[str, int], smallest: str
) -> None:
    """Less cannot be divided, and the answer says what can."""
    problem = assert_problem(api.post(an_advance("1001", amount, currency, **more)), 422, "invalid")
    (error,) = problem["errors"]

    assert error["field"] == "amount"
    assert smallest in error["message"]
    enough = smallest.split()[-2]
    assert api.post(an_advance("1001", enough, currency, **more)).status_code == 202


IDS: dict[str, object] = {
    "a number": 17,
    "null": None,
    "a boolean": True,
    "a list": ["0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"],
    "empty": "",
    "a position": "17",
    "without hyphens": "0199a0b27d5e7c3a9f113a1f0c2d4e5f",
    "in braces": "{0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f}",
    "a URN": "urn:uuid:0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f",
    "a line break": "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f\n",
    "no hexadecimal digit": "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5g",
    "wide digits": "\uff10199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f",
    "its address": "/v1/advances/0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f",
}


@pytest.mark.parametrize("advance_id", IDS.values(), ids=IDS)
@pytest.mark.parametrize("body", [REPAYMENT, WRITE_OFF], ids=lambda body: body["type"])
def test_what_is_no_id_is_refused(api: Api, body: dict[str, Any], advance_id: object) -> None:
    """And the answer says which id is meant."""
    problem = assert_problem(api.post(body | {"advance_id": advance_id}), 422, "invalid")
    (error,) = problem["errors"]

    assert error["field"] == "advance_id"
    assert 'give the "id" of the receipt' in error["message"]


@pytest.mark.parametrize("reason", ["", "x" * 256, "a\0b", 17, None, ["bankrupt"]], ids=str)
def test_a_write_off_says_why(api: Api, reason: object) -> None:
    """Those who read the books later will ask."""
    problem = assert_problem(api.post(WRITE_OFF | {"reason": reason}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["reason"]


def test_a_transfer_to_itself_is_refused(api: Api) -> None:
    """It is a mistake, not a movement."""
    problem = assert_problem(api.post(a_transfer("1001", "1001")), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["to_account"]
    assert "two accounts" in problem["errors"][0]["message"]


@pytest.mark.parametrize("field", ["overdraft_limit", "overdraft_fee"])
@pytest.mark.parametrize("amount", ["-1.00", "1.005", 5, "x", "90071992547409.92"])
def test_overdraft_terms_are_amounts_too(api: Api, field: str, amount: object) -> None:
    """Zero is allowed, and nothing else that is no amount."""
    problem = assert_problem(api.post(OPENING | {field: amount}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"reference": "x" * 256}, "reference"),
        ({"reference": "a\0b"}, "reference"),
        ({"reference": 17}, "reference"),
        ({"reference": ["invoice"]}, "reference"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(21)}}, "metadata"),
        ({"metadata": {"colour": 3}}, "metadata.colour"),
        ({"metadata": {"colour": None}}, "metadata.colour"),
        ({"metadata": {"colour": {"deep": "x"}}}, "metadata.colour"),
        ({"metadata": {"colour": "x" * 501}}, "metadata.colour"),
        ({"metadata": {"colour": "a\0b"}}, "metadata.colour"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_client_keeps_with_a_command_has_its_bounds(api: Api, more: dict[str, Any], field: str) -> None:
    """The longest, the strangest and the wrong: what Postgres could not store is refused before."""
    problem = assert_problem(api.post(DEPOSIT | more), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize("name", ["", "x" * 41, "a\0b"], ids=["empty", "too long", "NUL"])
def test_a_name_in_the_metadata_has_its_bounds(api: Api, name: str) -> None:
    """The names are stored as well."""
    (error,) = assert_problem(api.post(DEPOSIT | {"metadata": {name: "x"}}), 422, "invalid")["errors"]

    assert error["field"].startswith(f"metadata.{name}")


def test_what_is_at_its_bounds_is_accepted_and_kept(api: Api) -> None:
    """Characters are counted, not bytes, and come back as they were."""
    metadata = {"ключ-" + "k" * 30 + str(n): "😀" * 500 for n in range(5)} | {"'; DROP TABLE command; --": "\\u0000"}
    reference = "é" * 254 + "\x7f"
    document = api.settle(a_deposit(api.opened(), "90071992547409.91", reference=reference, metadata=metadata))

    assert document["status"] == "applied"
    assert (document["command"]["reference"], document["command"]["metadata"]) == (reference, metadata)


def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    """A client mends its request in one go."""
    problem = assert_problem(
        api.post({"type": "transfer", "to_account": "a b", "amount": "1.005", "currency": "USD", "fee": "1"}),
        422,
        "invalid",
    )

    assert {each["field"] for each in problem["errors"]} == {"from_account", "to_account", "amount", "fee"}


NOT_JSON = {
    "empty": b"",
    "blank": b"  \n ",
    "cut off": json.dumps(DEPOSIT).encode()[:-1],
    "two values": json.dumps(DEPOSIT).encode() * 2,
    "single quotes": b"{'type': 'deposit'}",
    "a comment": b'{"type": "deposit" /* money */}',
    "a trailing comma": b'{"type": "deposit",}',
    "NaN": b'{"type": "deposit", "amount": NaN}',
    "no UTF-8": b'{"type": "\xff\xfe"}',
    "UTF-16": json.dumps(DEPOSIT).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(DEPOSIT).encode(),
    "a lone surrogate": b'{"type": "deposit", "reference": "\\ud800"}',
    "half a pair": b'{"type": "deposit", "reference": "\\udc00\\ud800"}',
    "a raw line break": b'{"type": "deposit", "reference": "a\nb"}',
    "a raw NUL": b'{"type": "deposit", "reference": "a\0b"}',
    "a form": b"type=deposit&amount=10.50",
    "XML": b"<deposit/>",
    "only brackets": b"[" * 60_000,
    "only braces": b'{"a":' * 10_000,
    "deep": b"[" * 30_000 + b"]" * 30_000,
    "a number beyond all bounds": b'{"type": "deposit", "amount": 1e400}',
    "a number of 4,000 digits": b'{"type": "deposit", "amount": %b}' % (b"9" * 4_000),
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_malformed(api: Api, content: bytes) -> None:
    """And the answer says where it breaks off."""
    problem = assert_problem(_send(api, content), 400, "malformed")

    assert "JSON" in problem["detail"]


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"deposit"', b"true", b"[{}]"])
def test_what_is_no_object_is_no_command(api: Api, content: bytes) -> None:
    """An array belongs to the batch."""
    assert_problem(_send(api, content), 422, "invalid")


@pytest.mark.parametrize("depth", [10, 500, 1_000])
def test_deep_nesting_is_refused_by_name(api: Api, depth: int) -> None:
    """It is JSON, and no amount."""
    content = b'{"type":"deposit","account":"1","currency":"USD","amount":%b1%b}' % (b"[" * depth, b"]" * depth)
    problem = assert_problem(_send(api, content), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["amount"]


@pytest.mark.parametrize("number", [b"9" * 300, b"-" + b"9" * 300, b"1e300", b"0." + b"3" * 4_000, b"-0"])
def test_no_number_is_an_amount(api: Api, number: bytes) -> None:
    """Whatever a JSON reader makes of it."""
    content = b'{"type":"deposit","account":"1","currency":"USD","amount":%b}' % number
    problem = assert_problem(_send(api, content), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["amount"]


def test_a_refused_body_does_not_use_up_its_key(api: Api) -> None:
    """Nothing was accepted: the client mends its request and sends it under the same key."""
    key, name = str(uuid4()), api.opened()
    assert_problem(api.post(a_deposit(name, 10.5), key=key), 422, "invalid")

    assert api.settle(a_deposit(name, "10.50"), key=key)["status"] == "applied"


def _send(api: Api, content: bytes) -> httpx.Response:
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    return api.http.post("/v1/commands", content=content, headers=headers)
