"""A dry run: what would happen now, and nothing happens."""

from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Api, a_deposit, a_transfer, a_withdrawal, an_advance, assert_problem


def dry(api: Api, body: object, key: str | None = None) -> httpx.Response:
    """Ask without a key, or with one that has no meaning."""
    headers = {"Idempotency-Key": key} if key else {}
    return api.http.post("/v1/commands", params={"dry_run": "true"}, json=body, headers=headers)


def test_it_says_what_the_command_then_does(api: Api) -> None:
    """Status, transfers and balances are those of the command that is sent next."""
    alice = api.opened(deposit="20.00", overdraft_limit="100.00", overdraft_fee="15.00")
    asked = a_withdrawal(alice, "100.00")
    foreseen = dry(api, asked).json()
    before = api.account(alice)["balance"]
    done = api.settle(asked)

    assert before == "20.00"
    assert foreseen["dry_run"] is True
    assert (foreseen["status"], foreseen["waiting"]) == ("applied", {alice: 0})
    for name in ("command", "transfers", "balances"):
        assert foreseen[name] == done[name]


def test_a_refusal_is_foreseen_with_its_reason(api: Api) -> None:
    """And with the balances as they stay."""
    alice, bob = api.opened(deposit="1.00"), api.opened()
    foreseen = dry(api, a_transfer(alice, bob, "1.01")).json()

    assert (foreseen["status"], foreseen["reason"]) == ("refused", "insufficient_funds")
    assert foreseen["text"]
    assert foreseen["balances"] == {alice: "1.00", bob: "0.00"}
    assert "transfers" not in foreseen


def test_nothing_is_recorded_and_its_key_stays_free(api: Api) -> None:
    """No command, no account, no advance; and who tries a key out can use it."""
    name, key = f"acc-{uuid4().hex[:12]}", str(uuid4())
    opening = {"type": "open_account", "account": name, "currency": "USD"}
    foreseen = [dry(api, opening, key).json() for _ in range(2)]
    found = api.http.get("/v1/commands", params={"idempotency_key": key})
    done = api.post(opening, key=key, wait=30).json()
    lent = dry(api, an_advance(name)).json()

    assert [each["status"] for each in foreseen] == ["applied"] * 2
    assert foreseen[0]["balances"] == {name: "0.00"}
    assert found.status_code == 404
    assert done["status"] == "applied"
    assert lent["balances"] == {name: "100.00"}
    assert api.account(name)["balance"] == "0.00"


def test_what_a_command_names_is_looked_up_like_the_real_one(api: Api) -> None:
    """A reversal's accounts are those of the command, and a repayment's advance is the account's."""
    alice = api.opened()
    paid = api.settle(a_deposit(alice, "5.00"))
    reversal = {"type": "reverse", "command": paid["id"], "reason": "wrong"}

    assert dry(api, reversal).json()["balances"] == {alice: "0.00"}
    assert_problem(dry(api, {**reversal, "command": str(uuid4())}), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"type": "deposit"}, 422, "invalid"),
        ({"type": "freeze", "account": "1", "currency": "USD", "reason": "x"}, 403, "forbidden"),
    ],
)
def test_it_is_checked_like_the_real_one(api: Api, body: object, status: int, kind: str) -> None:
    """A dry run that allows more than the real command would promise what is refused."""
    assert_problem(dry(api, body), status, kind)


def test_without_a_dry_run_the_key_is_required(api: Api) -> None:
    """Nobody sends a payment without a name by mistake."""
    for params in ({}, {"dry_run": "false"}):
        problem = assert_problem(api.http.post("/v1/commands", params=params, json=a_deposit("1")), 400, "malformed")

        assert problem["errors"][0]["field"] == "Idempotency-Key"
