"""Money that the bank lends, over HTTP: granted, repaid, missed, given up; and who may ask for what."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from processor.account_keys import account_key
from processor.domain.advances import AdvanceState
from processor.store.reading_advances import list_advances
from tests.api.conftest import (
    Api,
    a_deposit,
    a_repayment,
    a_transfer,
    a_withdrawal,
    a_write_off,
    an_advance,
    assert_problem,
)
from tests.api.test_batches import a_line, answers, send
from tests.api.test_reading import NOBODYS
from tests.stack import Stack

WEEK = timedelta(days=7)

STATES = ("open", "in_arrears", "repaid", "written_off")


def in_days(days: int) -> str:
    """A day as the API takes it, counted from today."""
    return str(datetime.now(UTC).date() + timedelta(days=days))


def collect(stack: Stack, api: Api, advance: Mapping[str, Any], number: int) -> str:
    """
    Let the day of an instalment have come, and the scheduler have sent its collect. Return the id of that command.

    The next command of its account takes it along: nobody has to wait for the sweeper.
    """
    command_id = str(uuid4())
    with stack.owner() as conn, conn.transaction():
        row = conn.execute("SELECT position FROM command WHERE id = %s", [advance["id"]]).fetchone()
        assert row is not None
        conn.execute(
            "UPDATE instalment SET due_on = current_date - 1 WHERE advance_id = %s AND number = %s", [row[0], number]
        )
        conn.execute(
            """
            WITH collect AS (
                INSERT INTO command (
                    id, client_id, idempotency_key, type, currency, account, advance_id, instalment, accepted_at
                ) VALUES (%s, 0, %s, 'collect', %s, %s, %s, %s, now()) RETURNING position
            )
            INSERT INTO pending (position, account_key) SELECT position, %s FROM collect
            """,
            [
                command_id,
                f"instalment:{row[0]}-{number}:1",
                advance["currency"],
                advance["account"],
                advance["id"],
                number,
                account_key(advance["account"]),
            ],
        )
    again = api.settle({"type": "open_account", "account": advance["account"], "currency": advance["currency"]})
    assert again["reason"] == "account_already_exists"
    return command_id


def assert_adds_up(advance: Mapping[str, Any]) -> None:
    """What an advance says of itself is what its instalments say."""
    instalments = advance["instalments"]
    accounted = [each["paid"] if each["state"] == "missed" else each["amount"] for each in instalments]
    assert sum(map(Decimal, accounted)) == Decimal(advance["amount"])
    assert sum(Decimal(each["paid"]) for each in instalments) == Decimal(advance["paid"])
    assert Decimal(advance["amount"]) == sum(Decimal(advance[name]) for name in ("paid", "remaining", "written_off"))
    assert [each["number"] for each in instalments] == list(range(1, len(instalments) + 1))


def lines(api: Api, **parameters: Any) -> list[dict[str, Any]]:
    """Every line of a list, page by page."""
    return [line for page in pages(api, **parameters) for line in page["advances"]]


def pages(api: Api, *, after: int = 0, **parameters: object) -> Iterator[dict[str, Any]]:
    """Follow ``next`` to the end."""
    next_: int | None = after
    while next_ is not None:
        answer = api.http.get("/v1/advances", params={"after": next_, **{k: str(v) for k, v in parameters.items()}})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page
        assert page["next"] is None or page["next"] > next_
        next_ = page["next"]


def test_an_advance_is_paid_out_and_scheduled(api: Api) -> None:
    """12 weekly instalments unless asked otherwise, the first in a week; and they add up to the last cent."""
    name = api.opened()
    document = api.settle(an_advance(name, "100.00"))
    advance = api.advance(document["id"])
    granted_on = datetime.fromisoformat(document["decided_at"]).date()
    first, *others = advance["instalments"]

    assert document["command"] == {
        "type": "advance",
        "account": name,
        "amount": "100.00",
        "currency": "USD",
        "instalments": 12,
    }
    assert document["transfers"] == [
        {
            "kind": "advance",
            "debit_account": "@advances_receivable:USD",
            "credit_account": name,
            "amount": "100.00",
            "currency": "USD",
        }
    ]
    assert document["balances"] == {name: "100.00"}
    assert document["advance_url"] == f"/v1/advances/{document['id']}"
    assert {field: value for field, value in advance.items() if field != "instalments"} == {
        "id": document["id"],
        "account": name,
        "currency": "USD",
        "amount": "100.00",
        "state": "open",
        "granted_at": document["decided_at"],
        "first_due_on": str(granted_on + WEEK),
        "paid": "0.00",
        "remaining": "100.00",
        "written_off": "0.00",
        "arrears": "0.00",
        "missed": 0,
        "next_due_on": str(granted_on + WEEK),
        "next_amount": "8.34",
    }
    assert first == {
        "number": 1,
        "due_on": str(granted_on + WEEK),
        "amount": "8.34",
        "rolled": "0.00",
        "paid": "0.00",
        "state": "scheduled",
        "settled_by": None,
        "settled_at": None,
    }
    assert [each["amount"] for each in others] == ["8.34"] * 3 + ["8.33"] * 8
    assert [each["due_on"] for each in others] == [str(granted_on + WEEK * n) for n in range(2, 13)]
    assert_adds_up(advance)


def test_the_terms_that_are_asked_for_are_kept(api: Api) -> None:
    """A day and a number of weeks, shown in the command as they were asked."""
    name, first_due_on = api.opened("JPY"), in_days(30)
    document = api.settle(an_advance(name, "1000", "JPY", instalments=3, first_due_on=first_due_on))
    advance = api.advance(document["id"])

    assert document["command"] == {
        "type": "advance",
        "account": name,
        "amount": "1000",
        "currency": "JPY",
        "instalments": 3,
        "first_due_on": first_due_on,
    }
    assert advance["first_due_on"] == first_due_on
    assert [(each["due_on"], each["amount"]) for each in advance["instalments"]] == [
        (str(date.fromisoformat(first_due_on) + WEEK * n), amount) for n, amount in enumerate(("334", "333", "333"))
    ]


def test_what_is_repaid_early_pays_the_oldest_instalments(api: Api) -> None:
    """One in full, the next in part; and the rest is due when it was."""
    name = api.opened()
    advance_id = api.granted(name, "30.00", instalments=3)
    document = api.settle(a_repayment(name, advance_id.upper(), "15.00"))
    advance = api.advance(advance_id)

    assert document["command"] == {
        "type": "repay",
        "account": name,
        "advance_id": advance_id,
        "amount": "15.00",
        "currency": "USD",
    }
    assert document["transfers"] == [
        {
            "kind": "repayment",
            "debit_account": name,
            "credit_account": "@advances_receivable:USD",
            "amount": "15.00",
            "currency": "USD",
        }
    ]
    assert "advance_url" not in document
    assert [(each["paid"], each["state"], each["settled_at"]) for each in advance["instalments"]] == [
        ("10.00", "paid", document["decided_at"]),
        ("5.00", "scheduled", None),
        ("0.00", "scheduled", None),
    ]
    assert (advance["state"], advance["paid"], advance["remaining"]) == ("open", "15.00", "15.00")
    assert (advance["next_due_on"], advance["next_amount"]) == (advance["instalments"][1]["due_on"], "5.00")
    assert_adds_up(advance)


def test_an_advance_that_is_repaid_is_over(api: Api) -> None:
    """Nothing is due any more, and the account may have another."""
    name = api.opened()
    advance_id = api.granted(name, "30.00", instalments=3)
    for amount in ("15.00", "15.00"):
        api.settle(a_repayment(name, advance_id, amount))
    advance = api.advance(advance_id)

    assert (advance["state"], advance["paid"], advance["remaining"]) == ("repaid", "30.00", "0.00")
    assert (advance["next_due_on"], advance["next_amount"]) == (None, None)
    assert {each["state"] for each in advance["instalments"]} == {"paid"}
    assert_adds_up(advance)
    assert api.settle(an_advance(name))["status"] == "applied"


def test_a_collected_instalment_is_paid(api: Api, admin: Api, stack: Stack) -> None:
    """The collect is the scheduler's command: only an admin sees it, with the instalment that it named."""
    name = api.opened()
    advance_id = api.granted(name, "30.00", instalments=3)
    collect_id = collect(stack, api, api.advance(advance_id), 1)
    advance = api.advance(advance_id)
    document = admin.http.get(f"/v1/commands/{collect_id}").json()

    assert document["command"] == {
        "type": "collect",
        "account": name,
        "advance_id": advance_id,
        "instalment": 1,
        "currency": "USD",
    }
    assert [(each["kind"], each["amount"]) for each in document["transfers"]] == [("collection", "10.00")]
    assert_problem(api.http.get(f"/v1/commands/{collect_id}"), 404, "not_found")
    assert (advance["instalments"][0]["state"], advance["instalments"][0]["settled_at"]) == (
        "paid",
        document["decided_at"],
    )
    assert (advance["state"], advance["paid"], advance["missed"]) == ("open", "10.00", 0)
    assert advance["next_due_on"] == advance["instalments"][1]["due_on"]
    assert_adds_up(advance)


def test_a_missed_instalment_is_rolled_on_to_the_next(api: Api, stack: Stack) -> None:
    """It stays missed for ever; the arrears are over when they are paid."""
    name = api.opened()
    advance_id = api.granted(name, "30.00", instalments=3)
    api.settle(a_repayment(name, advance_id, "4.00"))
    api.settle(a_withdrawal(name, "26.00"))
    collect(stack, api, api.advance(advance_id), 1)
    missed = api.advance(advance_id)
    api.settle(a_deposit(name, "6.00"))
    api.settle(a_repayment(name, advance_id, "5.99"))
    nearly = api.advance(advance_id)
    api.settle(a_repayment(name, advance_id, "0.01"))
    paid = api.advance(advance_id)

    assert [(each["amount"], each["rolled"], each["paid"], each["state"]) for each in missed["instalments"]] == [
        ("10.00", "0.00", "4.00", "missed"),
        ("16.00", "6.00", "0.00", "scheduled"),
        ("10.00", "0.00", "0.00", "scheduled"),
    ]
    assert missed["instalments"][0]["settled_at"] is not None
    assert (missed["state"], missed["missed"], missed["arrears"]) == ("in_arrears", 1, "6.00")
    assert (missed["next_due_on"], missed["next_amount"]) == (missed["instalments"][1]["due_on"], "16.00")
    assert (nearly["state"], nearly["missed"], nearly["arrears"]) == ("in_arrears", 1, "0.01")
    assert (paid["state"], paid["missed"], paid["arrears"], paid["next_amount"]) == ("open", 1, "0.00", "10.00")
    for advance in (missed, nearly, paid):
        assert_adds_up(advance)


def test_a_last_instalment_that_is_missed_gets_another_week(api: Api, stack: Stack) -> None:
    """The schedule grows: what is owed is always due on some day."""
    name = api.opened()
    advance_id = api.granted(name, "30.00", instalments=1, first_due_on=in_days(7))
    api.settle(a_withdrawal(name, "30.00"))
    collect(stack, api, api.advance(advance_id), 1)
    advance = api.advance(advance_id)

    assert [(each["amount"], each["rolled"], each["state"]) for each in advance["instalments"]] == [
        ("30.00", "0.00", "missed"),
        ("30.00", "30.00", "scheduled"),
    ]
    assert advance["next_due_on"] == str(date.fromisoformat(advance["first_due_on"]) + WEEK)
    assert_adds_up(advance)


def test_only_an_admin_writes_off(api: Api) -> None:
    """A client cannot forgive its own debts. The key is not used up."""
    name, key = api.opened(), str(uuid4())
    body = a_write_off(name, api.granted(name))
    problem = assert_problem(api.post(body, key=key), 403, "forbidden")
    written_off, deposited = answers(send(api, [a_line(body, key), a_line(a_deposit(name, "1.00"))]))

    assert "admin" in problem["detail"]
    assert (written_off["result"], written_off["idempotency_key"]) == ("error", key)
    # The trace is the answer's, and a line is no answer of its own.
    assert written_off["error"] == {name: value for name, value in problem.items() if name != "trace_id"}
    assert deposited["result"] == "accepted"
    assert api.settle(a_deposit(name, "2.00"), key=key)["balances"] == {name: "103.00"}
    assert api.advance(str(body["advance_id"]))["state"] == "open"


@pytest.mark.parametrize("batch", [False, True])
def test_an_admin_writes_off_what_is_owed(api: Api, admin: Api, batch: bool) -> None:
    """The bank bears the loss, not the account; of its own accounts, one owes less and the other has lost."""
    currency = "NOK" if batch else "NZD"
    name = api.opened(currency)
    advance_id = api.granted(name, "30.00", currency, instalments=3)
    api.settle(a_repayment(name, advance_id, "15.00", currency))
    receivable = admin.account(f"@advances_receivable:{currency}")["balance"]
    key, body = str(uuid4()), a_write_off(name, advance_id, currency, reason="emigrated", reference="file 17")
    if batch:
        assert [each["result"] for each in answers(send(admin, [a_line(body, key)]))] == ["accepted"]
    document = admin.settle(body, key=key)
    advance = api.advance(advance_id)

    assert document["command"] == {
        "type": "write_off",
        "account": name,
        "advance_id": advance_id,
        "currency": currency,
        "reason": "emigrated",
        "reference": "file 17",
    }
    assert document["transfers"] == [
        {
            "kind": "write_off",
            "debit_account": f"@credit_loss:{currency}",
            "credit_account": f"@advances_receivable:{currency}",
            "amount": "15.00",
            "currency": currency,
        }
    ]
    assert (document["status"], document["balances"]) == ("applied", {})
    assert (advance["state"], advance["paid"], advance["remaining"], advance["written_off"]) == (
        "written_off",
        "15.00",
        "0.00",
        "15.00",
    )
    assert [each["state"] for each in advance["instalments"]] == ["paid", "written_off", "written_off"]
    assert {(each["settled_by"], each["settled_at"]) for each in advance["instalments"][1:]} == {
        (document["id"], document["decided_at"])
    }
    assert (advance["next_due_on"], advance["next_amount"]) == (None, None)
    assert_adds_up(advance)
    assert (receivable, admin.account(f"@advances_receivable:{currency}")["balance"]) == ("-15.00", "0.00")
    assert admin.account(f"@credit_loss:{currency}")["balance"] == "-15.00"
    assert api.account(name)["balance"] == "15.00"


def test_an_advance_that_breaks_a_rule_is_refused(api: Api, stack: Stack) -> None:
    """With the first reason in the documented order; nothing is paid out, and no schedule is made."""
    name, euros, closed, full = api.opened(), api.opened("EUR"), api.opened(), api.opened()
    close = {"type": "close", "account": closed, "currency": "USD", "reason": "over"}
    assert api.settle(close)["status"] == "applied"
    with stack.owner() as conn:
        almost = 2**63 - 1_000
        conn.execute("UPDATE account SET credits_minor = %s, debits_minor = %s WHERE name = %s", [almost, almost, full])
    expected = {
        "account_not_found": [an_advance(f"acc-{uuid4().hex}")],
        "currency_mismatch": [an_advance(name, "100.00", "EUR"), an_advance(closed, "100", "JPY")],
        "account_not_open": [an_advance(closed, first_due_on=in_days(-2))],
        "amount_out_of_bounds": [
            an_advance(euros, "9.99", "EUR"),
            an_advance(euros, "500.01", "EUR", first_due_on=in_days(-2)),
        ],
        "due_date_out_of_bounds": [
            an_advance(name, first_due_on=in_days(-2)),
            an_advance(name, first_due_on=in_days(368)),
            an_advance(name, first_due_on="9999-12-31"),
            an_advance(name, first_due_on="0001-01-01"),
        ],
        "balance_limit_exceeded": [an_advance(full)],
    }
    documents = {reason: [api.settle(body) for body in bodies] for reason, bodies in expected.items()}

    assert {reason: {each.get("reason") for each in found} for reason, found in documents.items()} == {
        reason: {reason} for reason in expected
    }
    assert not any("advance_url" in each for found in documents.values() for each in found)
    for found in documents.values():
        for each in found:
            assert_problem(api.http.get(f"/v1/advances/{each['id']}"), 404, "not_found")
    for account in (name, euros, closed, full):
        assert lines(api, account=account) == []
    assert api.settle(an_advance(euros, "500.00", "EUR"))["status"] == "applied"


def test_an_account_has_one_advance_at_a_time(api: Api) -> None:
    """By default; and the second is judged when its turn comes."""
    name = api.opened()
    api.granted(name)
    second = api.settle(an_advance(name))

    assert (second["status"], second["reason"]) == ("refused", "advance_limit_reached")
    assert (api.account(name)["balance"], len(lines(api, account=name))) == ("100.00", 1)


def test_a_repayment_that_breaks_a_rule_is_refused(api: Api, admin: Api) -> None:
    """Nothing is moved, and the schedule stays as it is."""
    name, other_name, frozen, repaid = (api.opened() for _ in range(4))
    ids = {account: api.granted(account) for account in (name, other_name, frozen, repaid)}
    api.settle(a_repayment(repaid, ids[repaid], "100.00"))
    deposit_id = api.settle(a_deposit(name, "10.00"))["id"]
    api.settle(a_withdrawal(name, "60.00"))
    for account in (frozen, repaid):
        freeze = {"type": "freeze", "account": account, "currency": "USD", "reason": "a lost card"}
        assert admin.settle(freeze)["status"] == "applied"
    before = api.advance(ids[name])
    expected = {
        "account_not_found": [a_repayment(f"acc-{uuid4().hex}", ids[name])],
        "advance_not_found": [
            a_repayment(name, advance_id, "1.00", "EUR") for advance_id in (NOBODYS, ids[other_name], deposit_id)
        ],
        "currency_mismatch": [
            a_repayment(name, ids[name], "1.00", "EUR"),
            a_repayment(repaid, ids[repaid], "1", "JPY"),
        ],
        "advance_not_open": [a_repayment(repaid, ids[repaid], "0.01")],
        "account_not_open": [a_repayment(frozen, ids[frozen], "100.01")],
        "repayment_above_remaining": [a_repayment(name, ids[name], "100.01")],
        "insufficient_funds": [a_repayment(name, ids[name], "50.01")],
    }
    reasons = {reason: {api.settle(body).get("reason") for body in bodies} for reason, bodies in expected.items()}

    assert reasons == {reason: {reason} for reason in expected}
    assert api.advance(ids[name]) == before
    assert api.account(name)["balance"] == "50.00"


def test_a_write_off_that_breaks_a_rule_is_refused(api: Api, admin: Api) -> None:
    """A frozen account is no obstacle: what it owes may have to be given up."""
    name, other_name = api.opened(), api.opened()
    advance_id, others_id = api.granted(name), api.granted(other_name)
    freeze = {"type": "freeze", "account": name, "currency": "USD", "reason": "the owner is gone"}
    assert admin.settle(freeze)["status"] == "applied"
    bodies = [
        a_write_off(f"acc-{uuid4().hex}", advance_id),
        a_write_off(name, others_id),
        a_write_off(name, NOBODYS),
        a_write_off(name, advance_id, "EUR"),
        a_write_off(name, advance_id),
        a_write_off(name, advance_id),
    ]
    documents = [admin.settle(body) for body in bodies]

    assert [document.get("reason", document["status"]) for document in documents] == [
        "account_not_found",
        "advance_not_found",
        "advance_not_found",
        "currency_mismatch",
        "applied",
        "advance_not_open",
    ]


@pytest.mark.parametrize("advance_id", [NOBODYS, "1", "not-an-id", "%00", "a" * 3_000])
def test_an_unknown_advance_is_not_found(api: Api, advance_id: str) -> None:
    """Whether or not it could be the id of one."""
    assert_problem(api.http.get(f"/v1/advances/{advance_id}"), 404, "not_found")


def test_a_command_that_is_no_advance_is_not_found_among_them(api: Api) -> None:
    """Its id is a command's; and a transfer grants nothing."""
    source, target = api.opened(deposit="10.00"), api.opened()
    document = api.settle(a_transfer(source, target, "1.00"))

    assert_problem(api.http.get(f"/v1/advances/{document['id']}"), 404, "not_found")


def test_every_reader_sees_advances_and_nobody_else(api: Api, other: Api, stranger: Api, stack: Stack) -> None:
    """As with accounts: whoever may read may read all, whichever client asked for it."""
    advance_id = api.granted(api.opened())
    writer = Api(stack, stack.key("writer", "commands:write"))

    assert other.advance(advance_id) == api.advance(advance_id)
    for path in ("/v1/advances", f"/v1/advances/{advance_id}"):
        assert_problem(writer.http.get(path), 403, "forbidden")
        assert_problem(stranger.http.get(path), 401, "unauthenticated")
    writer.http.close()


def test_a_repeated_advance_is_paid_out_once(api: Api) -> None:
    """The first receipt again, marked, also when what is the default is said."""
    name, key = api.opened(), str(uuid4())
    first = api.post(an_advance(name), key=key)
    again = [
        api.post(body, key=key) for body in (an_advance(name), an_advance(name, instalments=12, first_due_on=None))
    ]
    document = api.settle(an_advance(name), key=key)

    assert [each.content for each in again] == [first.content] * 2
    assert [each.headers["idempotent-replayed"] for each in again] == ["true"] * 2
    assert document["balances"] == {name: "100.00"}
    assert api.settle(a_deposit(name, "1.00"))["balances"] == {name: "101.00"}


def test_another_request_under_the_same_key_is_told_what_differs(api: Api, admin: Api) -> None:
    """The fields of these commands too, by their names in the request."""
    name = api.opened()
    advance_id, key, repay_key, write_off_key = api.granted(name), str(uuid4()), str(uuid4()), str(uuid4())
    day = in_days(20)
    api.post(an_advance(name, instalments=4), key=key)
    api.post(a_repayment(name, advance_id), key=repay_key)
    admin.post(a_write_off(name, NOBODYS), key=write_off_key)
    conflicts = [
        api.post(an_advance(name, "99.00", instalments=5, first_due_on=day), key=key),
        api.post(a_repayment(name, NOBODYS), key=repay_key),
        admin.post(a_write_off(name, NOBODYS, reason="emigrated"), key=write_off_key),
        api.post(a_deposit(name, "100.00"), key=key),
    ]
    fields = [[each["field"] for each in assert_problem(answer, 422, "key_conflict")["errors"]] for answer in conflicts]

    assert fields == [["amount", "instalments", "first_due_on"], ["advance_id"], ["reason"], ["type", "instalments"]]


@pytest.fixture(scope="module")
def one_of_each(api: Api, admin: Api, stack: Stack) -> dict[str, dict[str, Any]]:
    """An advance in each state, three of them to one account: by state, the oldest of the three first."""
    name = api.opened("SGD", deposit="0.10")
    ids = {}
    for state in ("repaid", "written_off", "in_arrears"):
        advance_id = ids[state] = api.granted(name, "30.00", "SGD", instalments=2)
        api.settle(a_repayment(name, advance_id, "30.00" if state == "repaid" else "16.00", "SGD"))
        if state == "in_arrears":
            api.settle(a_withdrawal(name, api.account(name)["available"], "SGD"))
            collect(stack, api, api.advance(advance_id), 2)
            api.settle(a_deposit(name, "1.00", "SGD"))
            api.settle(a_repayment(name, advance_id, "1.00", "SGD"))
        if state == "written_off":
            admin.settle(a_write_off(name, advance_id, "SGD"))
    beginner = api.opened("SGD")
    ids["open"] = api.granted(beginner, "10.40", "SGD", instalments=104)
    api.settle(a_repayment(beginner, ids["open"], "0.15", "SGD"))
    return {state: api.advance(ids[state]) for state in STATES}


def test_a_line_is_the_advance_without_its_schedule(api: Api, one_of_each: Mapping[str, dict[str, Any]]) -> None:
    """What Postgres reckons for a list is what is reckoned from the instalments of one."""
    for state, advance in one_of_each.items():
        assert advance["state"] == state
        assert_adds_up(advance)
        (line,) = [each for each in lines(api, account=advance["account"]) if each["id"] == advance["id"]]
        assert line == {field: value for field, value in advance.items() if field != "instalments"}


@pytest.mark.parametrize("state", STATES)
def test_a_list_may_be_of_one_state(api: Api, one_of_each: Mapping[str, dict[str, Any]], state: str) -> None:
    """Of all accounts, or of one."""
    found = lines(api, state=state)
    account = one_of_each["in_arrears"]["account"]
    of_account = [one_of_each[state]["id"]] if state != "open" else []

    assert {line["state"] for line in found} == {state}
    assert one_of_each[state]["id"] in [line["id"] for line in found]
    assert [line["id"] for line in lines(api, state=state, account=account)] == of_account


def test_pages_hold_every_advance_once_oldest_first(api: Api, one_of_each: Mapping[str, dict[str, Any]]) -> None:
    """Whatever the size of the page; and the last one says that it is the last."""
    account = one_of_each["in_arrears"]["account"]
    wanted = [one_of_each[state]["id"] for state in ("repaid", "written_off", "in_arrears")]
    everything = lines(api, limit=1_000)

    for limit in (1, 2, 3, 4):
        found = list(pages(api, account=account, limit=limit))
        assert [line["id"] for page in found for line in page["advances"]] == wanted
        assert all(page["advances"] and len(page["advances"]) <= limit for page in found)
    for parameters in ({"limit": 3}, {"limit": 3, "state": "repaid"}):
        state = parameters.get("state")
        assert lines(api, **parameters) == [line for line in everything if state in (None, line["state"])]
    assert [line["granted_at"] for line in everything] == sorted(line["granted_at"] for line in everything)


def test_a_page_begins_after_a_position(api: Api, one_of_each: Mapping[str, dict[str, Any]]) -> None:
    """That of the command which granted it: the receipt has it, and so has ``next``."""
    advance = one_of_each["written_off"]
    position = api.http.get(f"/v1/commands/{advance['id']}").json()["position"]

    assert [line["id"] for line in lines(api, account=advance["account"], after=position)] == [
        one_of_each["in_arrears"]["id"]
    ]
    assert lines(api, account=advance["account"], after=position - 1)[0]["id"] == advance["id"]
    assert lines(api, after=2**63 - 1) == []


def test_one_page_looks_at_a_bounded_number_of_advances(api: Api, admin: Api, stack: Stack) -> None:
    """
    A state that few are in costs many short looks, not one at everything: pages may be empty before the end.

    What is owed is looked for among what is owed only: however many were repaid, the first page finds it.
    """
    name = api.opened()
    ids = []
    for how in (AdvanceState.REPAID, AdvanceState.REPAID, AdvanceState.WRITTEN_OFF, AdvanceState.OPEN):
        ids.append(api.granted(name))
        if how is AdvanceState.REPAID:
            api.settle(a_repayment(name, ids[-1], "100.00"))
        elif how is AdvanceState.WRITTEN_OFF:
            admin.settle(a_write_off(name, ids[-1]))

    async def walk(state: AdvanceState) -> list[list[str]]:
        found = []
        async with await psycopg.AsyncConnection.connect(stack.app_url, autocommit=True) as conn:
            after: int | None = 0
            while after is not None:
                rows, after = await list_advances(conn, account=name, state=state, after=after, limit=1, look_ahead=2)
                found.append([str(row.id) for row in rows])
        return found

    assert asyncio.run(walk(AdvanceState.WRITTEN_OFF)) == [[], [ids[2]], []]
    assert asyncio.run(walk(AdvanceState.OPEN)) == [[ids[3]]]


def test_a_list_of_an_account_that_is_not_there_is_empty(api: Api) -> None:
    """It has no advances; nor have the bank's own, which cannot be asked for."""
    assert lines(api, account="nobody") == []
    problem = assert_problem(api.http.get("/v1/advances", params={"account": "@settlement:USD"}), 422, "invalid")
    assert [each["field"] for each in problem["errors"]] == ["account"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("after", "-1"),
        ("after", str(2**63)),
        ("after", "x"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", ""),
        ("state", "late"),
        ("state", "OPEN"),
        ("state", ""),
        ("account", ""),
        ("account", "a b"),
        ("account", "x" * 65),
    ],
)
def test_a_list_that_cannot_be_is_refused(api: Api, parameter: str, value: str) -> None:
    """And the parameter is named."""
    problem = assert_problem(api.http.get("/v1/advances", params={parameter: value}), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [parameter]
