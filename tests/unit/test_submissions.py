"""Which requests are the same one sent again, and in which lines a command waits."""

from dataclasses import replace
from typing import Any
from uuid import UUID

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


def test_a_reversal_differs_in_what_it_says_itself() -> None:
    """Accounts and currency are those of the command that it names: no client can mend a field that it did not send."""
    one = CommandBody(type="reverse", currency="USD", account="alice", reverses=UUID(int=1), force=False, reason="x")
    other = replace(one, currency="EUR", account=None, from_account="bob", to_account="carol", reverses=UUID(int=2))

    assert one.differing_fields(one) == []
    assert one.differing_fields(other) == ["command"]
    assert one.differing_fields(replace(one, force=True, reason="y")) == ["force", "reason"]
    assert deposit("alice", 1).differing_fields(one) == ["type", "amount", "command", "force", "reason"]


def test_an_opening_that_left_out_its_overdraft_is_the_same_before_and_after_defaults() -> None:
    """Before the bank had defaults, none was stored as zero: a retry of such a command is a replay for ever."""
    left_out = CommandBody(type="open_account", currency="USD", account="alice")
    stored = replace(left_out, overdraft_limit_minor=0, overdraft_fee_minor=0)

    assert stored.differing_fields(left_out) == []
    assert left_out.differing_fields(stored) == ["overdraft_limit", "overdraft_fee"]
    assert replace(stored, overdraft_limit_minor=1).differing_fields(left_out) == ["overdraft_limit"]


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
