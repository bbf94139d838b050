"""Which requests are the same one sent again, and in which lines a command waits."""

from dataclasses import replace
from typing import Any

import pytest

from processor.account_keys import account_key
from processor.submissions import CommandBody
from tests.builders import deposit, opening, transfer

BODY = CommandBody(
    type="transfer",
    currency="USD",
    account="alice",
    from_account="bob",
    to_account="carol",
    amount_minor=1,
    overdraft_limit_minor=2,
    overdraft_fee_minor=3,
    reference="invoice 1",
    metadata={"a": "b"},
)


def test_a_request_differs_in_nothing_from_itself() -> None:
    """Also when its metadata came in another order, which JSON says is no order at all."""
    body = replace(BODY, metadata={"a": "1", "b": "2"})

    assert body.differing_fields(replace(body, metadata={"b": "2", "a": "1"})) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "deposit"}, "type"),
        ({"currency": "JPY"}, "currency"),
        ({"account": None}, "account"),
        ({"from_account": "dave"}, "from_account"),
        ({"to_account": "dave"}, "to_account"),
        ({"amount_minor": 2}, "amount"),
        ({"overdraft_limit_minor": 0}, "overdraft_limit"),
        ({"overdraft_fee_minor": None}, "overdraft_fee"),
        ({"reference": "invoice 2"}, "reference"),
        ({"reference": "Invoice 1"}, "reference"),
        ({"metadata": {"a": "c"}}, "metadata"),
        ({"metadata": {}}, "metadata"),
        ({"metadata": None}, "metadata"),
    ],
)
def test_a_field_that_differs_is_named_as_the_api_names_it(change: dict[str, Any], named: str) -> None:
    """The client reads the names and finds its bug. A field that was forgotten here would pay another amount."""
    other = replace(BODY, **change)

    assert BODY.differing_fields(other) == [named]
    assert other.differing_fields(BODY) == [named]


def test_every_field_that_differs_is_named() -> None:
    """In the order of the body, so that the same conflict reads the same each time."""
    assert transfer("alice", "bob", 1).differing_fields(deposit("carol", 2)) == [
        "type",
        "account",
        "from_account",
        "to_account",
        "amount",
    ]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (opening("alice"), {"alice"}),
        (deposit("alice", 1), {"alice"}),
        (transfer("alice", "bob", 1), {"alice", "bob"}),
    ],
)
def test_a_command_waits_in_the_line_of_each_of_its_accounts(body: CommandBody, names: set[str]) -> None:
    """A line that was forgotten would let a later command of that account go first."""
    assert set(body.accounts()) == names
    assert body.account_keys() == {account_key(name) for name in names}
