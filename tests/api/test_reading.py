"""What became of a command, and what is on an account: who may ask, and what pages hold."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Api, a_deposit, a_withdrawal, assert_problem
from tests.stack import Stack

NOBODYS = "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"
"""An id that no command has. The same each time: tests run in several processes, and are known by their parameters."""


def test_a_command_is_found_by_its_key(api: Api) -> None:
    """A client that lost the receipt has the key still."""
    key = f"payroll {uuid4()}"
    document = api.settle(a_deposit(api.opened()), key=key)
    found = [api.http.get("/v1/commands", params={"idempotency_key": written}) for written in (key, f'"{key}"')]

    assert [answer.status_code for answer in found] == [200, 200]
    assert [answer.json() for answer in found] == [document, document]


def test_a_key_that_names_nothing_is_not_found(api: Api) -> None:
    """So it is safe to send."""
    assert_problem(api.http.get("/v1/commands", params={"idempotency_key": str(uuid4())}), 404, "not_found")


@pytest.mark.parametrize("key", ["", "x" * 256, "straße", "nul\0"])
def test_a_malformed_key_is_told_from_an_unknown_one(api: Api, key: str) -> None:
    """No command can have it."""
    problem = assert_problem(api.http.get("/v1/commands", params={"idempotency_key": key}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == ["idempotency_key"]


def test_another_clients_command_does_not_exist(api: Api, other: Api, admin: Api) -> None:
    """Neither by its id, nor by its key, nor in a list; an admin sees it by its id."""
    key = str(uuid4())
    document = api.settle(a_deposit(api.opened()), key=key)

    assert_problem(other.http.get(document["status_url"]), 404, "not_found")
    assert_problem(other.http.get("/v1/commands", params={"idempotency_key": key}), 404, "not_found")
    page = other.http.get("/v1/commands", params={"after": document["position"] - 1}).json()
    assert document["id"] not in [each["id"] for each in page["commands"]]
    assert admin.http.get(document["status_url"]).json() == document


def test_a_key_lookup_is_the_clients_own_even_for_an_admin(api: Api, admin: Api) -> None:
    """Two clients may use the same key: by key, everybody finds only what is his."""
    key = str(uuid4())
    api.settle(a_deposit(api.opened()), key=key)

    assert_problem(admin.http.get("/v1/commands", params={"idempotency_key": key}), 404, "not_found")


@pytest.mark.parametrize("command_id", [NOBODYS, "1", "not-an-id", "%00", "a" * 3_000])
def test_an_unknown_command_is_not_found(api: Api, command_id: str) -> None:
    """Whether or not it could be the id of one."""
    assert_problem(api.http.get(f"/v1/commands/{command_id}"), 404, "not_found")


def test_pages_hold_every_command_once_in_order(api: Api, other: Api) -> None:
    """Whatever other clients do in between."""
    name = api.opened()
    mine = []
    for n in range(7):
        mine.append(api.settle(a_deposit(name, f"{n + 1}.00"))["position"])
        if n % 2:
            other.settle(a_deposit(name, "0.01"))
    pages = list(_pages(api, after=mine[0] - 1, limit=3))
    lines = [line for page in pages for line in page["commands"]]

    assert [line["position"] for line in lines] == mine
    assert all(len(page["commands"]) <= 3 for page in pages)
    assert pages[0]["next"] == mine[2]


def test_a_line_of_a_list_says_what_became_of_the_command(api: Api) -> None:
    """Enough to find those that need a look."""
    name = api.opened()
    applied, refused = api.settle(a_deposit(name, "1.00")), api.settle(a_withdrawal(name, "2.00"))
    page = api.http.get("/v1/commands", params={"after": applied["position"] - 1}).json()
    wanted = ("id", "position", "idempotency_key", "type", "status", "accepted_at", "decided_at", "reason")

    assert page["commands"] == [
        {field: document[field] for field in wanted if field in document} for document in (applied, refused)
    ]


def test_a_page_may_be_empty_and_have_a_next(api: Api, stack: Stack) -> None:
    """One page looks through a bounded number of positions, whoever's they are. The gap here is as from 25,000."""
    name = api.opened()
    before = api.settle(a_deposit(name))["position"]
    with stack.owner() as conn:
        conn.execute("SELECT setval(pg_get_serial_sequence('command', 'position'), %s)", [before + 25_000])
    after = api.settle(a_deposit(name))["position"]
    pages = list(_pages(api, after=before, limit=100))

    assert after > before + 25_000
    assert [[line["position"] for line in page["commands"]] for page in pages] == [[], [], [after]]


def test_a_page_of_nothing_ends(api: Api, stack: Stack) -> None:
    """A new client has no commands, however many others have."""
    newcomer = Api(stack, stack.key("newcomer", "read"))
    pages = list(_pages(newcomer, after=0, limit=100))
    newcomer.http.close()

    assert [page["commands"] for page in pages] == [[]] * len(pages)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("after", -1), ("after", 2**63), ("after", "x"), ("limit", 0), ("limit", 1001), ("limit", "1e3"), ("limit", "")],
)
def test_a_page_that_cannot_be_is_refused(api: Api, parameter: str, value: object) -> None:
    """And the parameter is named."""
    problem = assert_problem(api.http.get("/v1/commands", params={parameter: str(value)}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [parameter]


@pytest.mark.parametrize("after", [0, 22_768, 2**15 - 1, 2**15, 2**31 - 1, 2**31, 2**53, 2**63 - 10_001, 2**63 - 1])
def test_a_page_may_begin_after_any_position(api: Api, after: int) -> None:
    """To the end of bigint, and at the ends of the smaller integers that a driver may take on the way."""
    answer = api.http.get("/v1/commands", params={"after": after})

    assert answer.status_code == 200
    assert all(line["position"] > after for line in answer.json()["commands"])


def test_an_unknown_account_is_not_found(api: Api) -> None:
    """Nor is one that cannot be."""
    for name in (f"acc-{uuid4()}", "x" * 65, "a b", "%00", "ä", "a%2Fb"):
        assert_problem(api.http.get(f"/v1/accounts/{name}"), 404, "not_found")


def test_the_banks_own_accounts_are_for_admins(api: Api, admin: Api) -> None:
    """To everybody else they do not exist. Their balance mirrors what customers have and owe."""
    name = api.opened("CHF", deposit="100.00", overdraft_fee="2.50", overdraft_limit="50.00")
    api.settle(a_withdrawal(name, "120.00", "CHF"))

    assert_problem(api.http.get("/v1/accounts/@settlement:CHF"), 404, "not_found")
    settlement, fees = admin.account("@settlement:CHF"), admin.account("@fee_income:CHF")
    assert (settlement["balance"], fees["balance"]) == ("20.00", "2.50")
    assert (settlement["currency"], settlement["status"]) == ("CHF", "open")
    balances = [account["balance"] for account in (settlement, fees, api.account(name))]
    assert sum(Decimal(balance) for balance in balances) == 0


@pytest.mark.parametrize("name", ["@settlement:CAD", "@nobody", "@", "@settlement", "@@settlement:USD"])
def test_a_system_account_that_is_not_there_is_not_found(admin: Api, name: str) -> None:
    """Those of a currency are made when they are first needed."""
    assert_problem(admin.http.get(f"/v1/accounts/{name}"), 404, "not_found")


def test_an_admin_sees_customer_accounts(api: Api, admin: Api) -> None:
    """Admin includes every other scope."""
    name = api.opened(deposit="1.00")

    assert admin.account(name) == api.account(name)


def _pages(client: Api, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
    """Follow ``next`` to the end."""
    next_: int | None = after
    while next_ is not None:
        answer = client.http.get("/v1/commands", params={"after": next_, "limit": limit})
        assert answer.status_code == 200
        page = answer.json()
        yield page
        assert page["next"] is None or page["next"] > next_
        next_ = page["next"]
