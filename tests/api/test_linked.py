"""Linked commands through the API: one element of a batch, whose commands come to the same, all of them."""

from typing import Any
from uuid import uuid4

import pytest

from cli.servers.process import wait_until
from tests.api.conftest import Api, a_deposit, a_transfer, a_withdrawal
from tests.api.test_batches import JSON, NDJSON, a_line, answers, send

Line = dict[str, Any]


def linked(*bodies: Line) -> Line:
    """The commands as one element, each with a key."""
    return {"linked": [body if "idempotency_key" in body else a_line(body) for body in bodies]}


def settled(api: Api, receipts: list[Line]) -> list[Line]:
    """The documents of these commands, once they have their outcomes."""
    documents: list[Line] = []

    def all_are() -> bool:
        documents[:] = [api.http.get(each["status_url"]).json() for each in receipts]
        return all(each["status"] != "pending" for each in documents)

    assert wait_until(all_are, timeout_s=30)
    return documents


@pytest.mark.parametrize("media_type", [NDJSON, JSON])
def test_linked_commands_have_receipts_of_their_own_and_come_to_the_same(api: Api, media_type: str) -> None:
    """An exchange between two accounts and a fee: done, or not done and said why."""
    alice, bob = api.opened(deposit="10.00"), api.opened()
    good = linked(a_transfer(alice, bob, "6.00"), a_withdrawal(bob, "6.00"))
    bad = linked(a_deposit(alice, "1.00"), a_withdrawal(bob, "0.01"))
    done, single, undone = answers(send(api, [good, a_line(a_deposit(bob, "0.00")), bad], media_type))
    first, second = settled(api, done["linked"])
    refused = settled(api, undone["linked"])

    assert (done["result"], undone["result"], single["result"]) == ("accepted", "accepted", "error")
    assert [each["idempotency_key"] for each in done["linked"]] == [each["idempotency_key"] for each in good["linked"]]
    assert set(done["linked"][0]) == {
        *("idempotency_key", "result", "id", "position", "status", "status_url", "accepted_at")
    }
    assert first["link"] == second["link"] == first["id"]
    assert [each["status"] for each in (first, second)] == ["applied"] * 2
    assert [each["reason"] for each in refused] == ["linked_command_refused", "insufficient_funds"]
    assert api.account(alice)["balance"] == "4.00"
    assert api.account(bob)["balance"] == "0.00"


def test_the_same_element_is_answered_the_same_and_a_part_of_it_is_not_accepted(api: Api) -> None:
    """Whoever lost the answer sends it again; whoever mixes keys up is told which."""
    alice = api.opened()
    element = linked(a_deposit(alice, "1.00"), a_deposit(alice, "2.00"))
    one, other = element["linked"]
    (first,) = answers(send(api, [element]))
    again, alone, mixed, changed = answers(
        send(
            api,
            [
                element,
                one,
                linked(other, a_deposit(alice, "3.00")),
                linked(one, {**other, "amount": "9.00"}),
            ],
        )
    )

    assert again == {
        "result": "replayed",
        "linked": [{**each, "result": "replayed"} for each in first["linked"]],
    }
    assert (
        alone["error"]["type"]
        == mixed["error"]["type"]
        == changed["error"]["type"]
        == "urn:florin:problem:key_conflict"
    )
    assert [each["field"] for each in alone["error"]["errors"]] == ["linked"]
    assert [each["field"] for each in mixed["error"]["errors"]] == ["linked.0.idempotency_key"]
    assert [each["field"] for each in changed["error"]["errors"]] == ["linked.1.idempotency_key"]
    assert "amount" in changed["error"]["errors"][0]["message"]
    assert [each["result"] for each in mixed["linked"]] == ["error", "error"]
    assert settled(api, first["linked"])[1]["balances"] == {alice: "3.00"}
    assert api.account(alice)["balance"] == "3.00"


@pytest.mark.parametrize(
    ("element", "kind", "fields"),
    [
        ({"linked": []}, "invalid", ["linked"]),
        ({"linked": [a_line(a_deposit("1"))]}, "invalid", ["linked"]),
        ({"linked": [a_line(a_deposit("1"))] * 101}, "invalid", ["linked"]),
        ({"linked": "both"}, "invalid", ["linked"]),
        ({"linked": [1, a_line(a_deposit("1"))]}, "invalid", ["linked.0"]),
        ({"linked": [a_line(a_deposit("1")), a_deposit("1")]}, "invalid", ["linked.1.idempotency_key"]),
        (
            linked(a_line(a_deposit("1"), "same"), a_line(a_deposit("1"), "same")),
            "invalid",
            ["linked.1.idempotency_key"],
        ),
        (linked(a_deposit("1"), a_deposit("1", "0.001")), "invalid", ["linked.1.amount"]),
        (linked(a_deposit("1"), {"linked": []}), "invalid", ["linked.1.type"]),
        ({**linked(a_deposit("1"), a_deposit("1")), "idempotency_key": "k"}, "invalid", None),
        (
            linked(a_deposit("1"), {"type": "freeze", "account": "1", "currency": "USD", "reason": "x"}),
            "forbidden",
            None,
        ),
        (
            linked(a_deposit("1"), {"type": "reverse", "command": str(uuid4()), "reason": "x"}),
            "invalid",
            ["linked.1.command"],
        ),
    ],
)
def test_one_that_is_wrong_keeps_all_of_them_out(api: Api, element: Line, kind: str, fields: list[str] | None) -> None:
    """And is named, by its place; the next line is not concerned."""
    alice = api.opened()
    wrong, next_ = answers(send(api, [element, a_line(a_deposit(alice))]))

    assert wrong["result"] == "error"
    assert wrong["error"]["type"] == f"urn:florin:problem:{kind}", wrong
    assert [each["field"] for each in wrong["error"].get("errors", [])] == (fields or [])
    assert next_["result"] == "accepted"


def test_a_batch_counts_the_commands_in_its_links(api: Api) -> None:
    """Ten thousand are ten thousand, however they are put together."""
    element = {"linked": [a_line(a_deposit("nobody"))] * 100}
    response = send(api, [element] * 101, JSON)

    assert response.status_code == 413
