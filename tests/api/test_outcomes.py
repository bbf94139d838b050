"""From a command to its outcome, over HTTP: what clients build upon."""

from datetime import datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from uuid_utils.compat import uuid7

from processor import clock, dead_letters, pools
from tests.api.conftest import Api, a_deposit, a_transfer, a_withdrawal
from tests.stack import Stack, held


def test_an_opened_account_is_empty(api: Api) -> None:
    """The document is the account's own: its currency and its overdraft are those that were asked for."""
    name = f"acc-{uuid4().hex[:12]}"
    document = api.settle(
        {"type": "open_account", "account": name, "currency": "KWD", "overdraft_limit": "1.050", "overdraft_fee": "0.5"}
    )

    assert (document["status"], document["transfers"], document["balances"]) == ("applied", [], {name: "0.000"})
    assert document["command"] == {
        "type": "open_account",
        "account": name,
        "currency": "KWD",
        "overdraft_limit": "1.050",
        "overdraft_fee": "0.500",
    }
    account = api.account(name)
    opened_at = datetime.fromisoformat(account.pop("opened_at"))
    assert opened_at == datetime.fromisoformat(document["decided_at"])
    assert account == {
        "account": name,
        "currency": "KWD",
        "status": "open",
        "balance": "0.000",
        "available": "1.050",
        "held": "0.000",
        "overdraft_limit": "1.050",
        "overdraft_fee": "0.500",
        "forced": "0.000",
        "daily_count": "unlimited",
        "daily_amount": "unlimited",
        "daily_used": None,
        "daily_used_amount": None,
        "version": 0,
    }


def test_a_deposit_comes_from_settlement(api: Api) -> None:
    """Money has two ends, also when it comes from outside."""
    name = api.opened()
    document = api.settle(a_deposit(name, "10.50", reference="invoice 17", metadata={"shop": "Ährenstraße 😀"}))

    assert document["status"] == "applied"
    assert document["transfers"] == [
        {
            "kind": "deposit",
            "debit_account": "@settlement:USD",
            "credit_account": name,
            "amount": "10.50",
            "currency": "USD",
        }
    ]
    assert document["balances"] == {name: "10.50"}
    assert document["command"]["reference"] == "invoice 17"
    assert document["command"]["metadata"] == {"shop": "Ährenstraße 😀"}
    assert "reason" not in document
    assert api.account(name)["balance"] == "10.50"


def test_a_withdrawal_goes_to_settlement(api: Api) -> None:
    """To the last unit: the balance may be zero."""
    name = api.opened(deposit="10.50")
    document = api.settle(a_withdrawal(name, "10.50"))

    assert document["transfers"] == [
        {
            "kind": "withdrawal",
            "debit_account": name,
            "credit_account": "@settlement:USD",
            "amount": "10.50",
            "currency": "USD",
        }
    ]
    assert document["balances"] == {name: "0.00"}
    assert (api.account(name)["balance"], api.account(name)["version"]) == ("0.00", 2)


def test_a_withdrawal_below_zero_is_charged_the_fee(api: Api) -> None:
    """The mission's own example: a limit of 100.00 and a fee of 15.00, as a transfer of the same command."""
    name = api.opened(deposit="10.00", overdraft_limit="100.00", overdraft_fee="15.00")
    document = api.settle(a_withdrawal(name, "110.00"))

    assert [(each["kind"], each["credit_account"], each["amount"]) for each in document["transfers"]] == [
        ("withdrawal", "@settlement:USD", "110.00"),
        ("overdraft_fee", "@fee_income:USD", "15.00"),
    ]
    assert document["balances"] == {name: "-115.00"}
    assert (api.account(name)["balance"], api.account(name)["available"]) == ("-115.00", "-15.00")


def test_a_transfer_moves_between_two_accounts(api: Api) -> None:
    """One command, one row, both balances."""
    source, target = api.opened(deposit="10.00"), api.opened()
    document = api.settle(a_transfer(source, target, "4.25"))

    assert document["transfers"] == [
        {"kind": "transfer", "debit_account": source, "credit_account": target, "amount": "4.25", "currency": "USD"}
    ]
    assert document["balances"] == {source: "5.75", target: "4.25"}
    assert (api.account(source)["balance"], api.account(target)["balance"]) == ("5.75", "4.25")


def test_the_receipt_says_where_the_outcome_will_be(api: Api, stack: Stack) -> None:
    """202 promises that the command is durable, and no more."""
    name = api.opened()
    with held(stack, name):
        answer = api.post(a_deposit(name))
        receipt = answer.json()

        assert answer.status_code == 202
        assert set(receipt) == {"id", "position", "status", "status_url", "accepted_at"}
        assert receipt["status"] == "pending"
        assert receipt["status_url"] == answer.headers["location"] == f"/v1/commands/{UUID(receipt['id'])}"
        assert datetime.fromisoformat(receipt["accepted_at"]).tzinfo is not None
        assert "idempotent-replayed" not in answer.headers

        pending = api.http.get(receipt["status_url"])
        assert pending.status_code == 200
        document = pending.json()
        assert {name: document[name] for name in receipt} == receipt
        assert document["command"] == {"type": "deposit", "account": name, "amount": "10.50", "currency": "USD"}
        assert not {"decided_at", "reason", "text", "transfers", "balances"} & set(document)


def test_the_status_document_is_the_one_that_a_waiting_client_gets(api: Api) -> None:
    """Whoever asks later sees what the one who waited was told."""
    waited = api.settle(a_deposit(api.opened()))

    assert api.http.get(waited["status_url"]).json() == waited


def test_positions_follow_the_order_of_receipts(api: Api) -> None:
    """The position is the place in line."""
    name = api.opened()
    positions = [api.post(a_deposit(name)).json()["position"] for _ in range(5)]

    assert positions == sorted(set(positions))


@pytest.mark.parametrize("kind", ["deposit", "withdraw"])
def test_a_command_to_an_unknown_account_is_refused(api: Api, kind: str) -> None:
    """Accepted, since only the books know; refused, since they do not know it."""
    document = api.settle({"type": kind, "account": "nobody", "amount": "1.00", "currency": "USD"})

    assert (document["status"], document["reason"]) == ("refused", "account_not_found")
    assert document["text"].endswith(".")
    assert "decided_at" in document
    assert not {"transfers", "balances"} & set(document)


def test_an_account_is_opened_once(api: Api) -> None:
    """The second opening is refused even if it asks for the same."""
    name = api.opened(deposit="3.00")
    document = api.settle({"type": "open_account", "account": name, "currency": "USD"})

    assert (document["status"], document["reason"]) == ("refused", "account_already_exists")
    assert api.account(name)["balance"] == "3.00"


def test_a_transfer_needs_both_accounts(api: Api) -> None:
    """Neither side is moved when the other is not there."""
    name = api.opened(deposit="5.00")
    reasons = [api.settle(a_transfer(*pair, "1.00")).get("reason") for pair in ((name, "nobody"), ("nobody", name))]

    assert reasons == ["account_not_found"] * 2
    assert api.account(name)["version"] == 1


def test_a_command_in_another_currency_is_refused(api: Api) -> None:
    """No rate is made up."""
    dollars, yen = api.opened(deposit="5.00"), api.opened("JPY")
    bodies = [a_deposit(dollars, "100", "JPY"), a_withdrawal(dollars, "100", "JPY"), a_transfer(dollars, yen, "1.00")]

    assert [api.settle(body).get("reason") for body in bodies] == ["currency_mismatch"] * 3
    assert api.account(dollars)["balance"] == "5.00"


@pytest.mark.parametrize(
    ("overdraft", "amount"), [({}, "10.01"), ({"overdraft_limit": "100.00", "overdraft_fee": "15.00"}, "110.01")]
)
def test_a_debit_above_what_is_available_is_refused(api: Api, overdraft: dict[str, str], amount: str) -> None:
    """By one unit, without a fee, and nothing is moved."""
    name, target = api.opened(deposit="10.00", **overdraft), api.opened()
    documents = [api.settle(a_withdrawal(name, amount)), api.settle(a_transfer(name, target, amount))]

    assert [document["reason"] for document in documents] == ["insufficient_funds"] * 2
    assert (api.account(name)["balance"], api.account(name)["version"]) == ("10.00", 1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("frozen", "deposit", "applied"),
        ("frozen", "withdraw", "account_not_open"),
        ("frozen", "from", "account_not_open"),
        ("frozen", "to", "applied"),
        ("closed", "deposit", "account_not_open"),
        ("closed", "withdraw", "account_not_open"),
        ("closed", "from", "account_not_open"),
        ("closed", "to", "account_not_open"),
    ],
)
def test_a_frozen_account_takes_no_debits_and_a_closed_one_takes_nothing(
    api: Api, admin: Api, status: str, body: str, expected: str
) -> None:
    """Whoever pays it, and whoever it would pay."""
    name, open_one = api.opened(deposit="10.00" if status == "frozen" else None), api.opened(deposit="10.00")
    ending = {"type": "freeze" if status == "frozen" else "close", "account": name, "currency": "USD", "reason": "over"}
    assert admin.settle(ending)["status"] == "applied"
    bodies = {
        "deposit": a_deposit(name, "1.00"),
        "withdraw": a_withdrawal(name, "1.00"),
        "from": a_transfer(name, open_one, "1.00"),
        "to": a_transfer(open_one, name, "1.00"),
    }
    document = api.settle(bodies[body])

    assert document.get("reason", document["status"]) == expected
    assert api.account(name)["status"] == status


def test_what_the_rules_could_not_foresee_fails_alone(api: Api, stack: Stack) -> None:
    """A dead letter has a document too, tells the client nothing of our insides, and blocks nobody behind it."""
    name = api.opened()
    with stack.owner() as conn:
        conn.execute(
            """
            CREATE FUNCTION break_down() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'unforeseen' USING ERRCODE = 'numeric_value_out_of_range'; END $$;
            CREATE TRIGGER unforeseen BEFORE INSERT ON transfer FOR EACH ROW
            WHEN (NEW.amount_minor = 666666666666) EXECUTE FUNCTION break_down()
            """
        )
    try:
        with held(stack, name):
            bodies = [a_deposit(name, "1.00"), a_deposit(name, "6666666666.66"), a_deposit(name, "2.00")]
            urls = [api.post(body).json()["status_url"] for body in bodies]
        after = api.settle(a_deposit(name, "4.00"))
    finally:
        with stack.owner() as conn:
            conn.execute("DROP TRIGGER unforeseen ON transfer; DROP FUNCTION break_down")
    documents = [api.http.get(url).json() for url in urls]

    assert [document["status"] for document in documents] == ["applied", "failed", "applied"]
    assert documents[1]["reason"] == "internal_error"
    assert not {"transfers", "balances"} & set(documents[1])
    assert "unforeseen" not in str(documents[1])
    assert after["balances"] == {name: "7.00"}
    assert api.account(name)["balance"] == "7.00"


def test_amounts_have_the_decimals_of_their_currency(api: Api) -> None:
    """Yen have none, dinars have three; zeros that are missing are filled in."""
    yen, dinars = api.opened("JPY"), api.opened("KWD")
    documents = [api.settle(a_deposit(yen, "1050", "JPY")), api.settle(a_deposit(dinars, "1.05", "KWD"))]

    assert [document["transfers"][0]["amount"] for document in documents] == ["1050", "1.050"]
    assert (api.account(yen)["balance"], api.account(dinars)["balance"]) == ("1050", "1.050")


def test_a_client_that_will_not_wait_any_longer_gets_its_receipt(api: Api, stack: Stack) -> None:
    """It asks for a second, nothing is decided, and what it gets is what it would have had at once."""
    name = api.opened()
    with held(stack, name):
        answer = api.post(a_deposit(name), wait=1)

        assert answer.status_code == 202
        assert answer.json()["status"] == "pending"
        assert answer.headers["location"] == answer.json()["status_url"]


def test_a_client_that_waits_gets_the_outcome(api: Api) -> None:
    """One request is enough for a payment, and says that the wish was granted."""
    answer = api.post(a_deposit(api.opened()), wait=30)

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["location"] == answer.json()["status_url"]
    assert answer.json()["status"] == "applied"


@pytest.mark.parametrize("prefer", ["respond-async", "wait=soon", "wait=-1", "wait=0", "wait=1234567", "", "wait"])
def test_a_wish_that_cannot_be_read_is_no_wish(api: Api, stack: Stack, prefer: str) -> None:
    """RFC 7240: preferences that are not understood are ignored. The account is held: a wait would have no end."""
    name = api.opened()
    with held(stack, name):
        headers = {"Idempotency-Key": str(uuid4()), "Prefer": prefer}
        answer = api.http.post("/v1/commands", json=a_deposit(name), headers=headers, timeout=5)

        assert answer.status_code == 202


@pytest.mark.parametrize("prefer", ['wait="20"', "respond-async, wait=20", "WAIT = 20", "wait=20; foo=bar"])
def test_a_wish_may_be_written_in_other_ways(api: Api, prefer: str) -> None:
    """Whatever RFC 7240 allows."""
    headers = {"Idempotency-Key": str(uuid4()), "Prefer": prefer}
    answer = api.http.post("/v1/commands", json=a_deposit(api.opened()), headers=headers)

    assert answer.status_code == 200


def test_a_failed_command_leads_to_the_one_made_in_its_stead(api: Api, stack: Stack) -> None:
    """Its client must not send the same again itself: it is told which command to ask for instead."""
    name = api.opened()
    failed_id, position = failed(stack, api.settle(a_deposit(name, "10.50"))["id"])
    before = api.http.get(f"/v1/commands/{failed_id}").json()
    with pools.connect(stack.app_url, "test of retries") as conn:
        retried = dead_letters.retry(
            conn, position, by="ann", reason="repaired", now=clock.now(), new_id=uuid7, although_alike=True
        )
    after = api.http.get(f"/v1/commands/{failed_id}").json()

    assert (before["status"], before["reason"]) == ("failed", "internal_error")
    assert not {"retried_as", "discarded"} & before.keys()
    assert after == before | {"retried_as": str(retried.id)}
    assert "retried_as" not in api.http.get(f"/v1/commands/{retried.id}").json()


def test_a_failed_command_says_when_the_bank_is_done_with_it(api: Api, stack: Stack) -> None:
    """Nothing more will come of it: who still wants it sends another one."""
    failed_id, position = failed(stack, api.settle(a_deposit(api.opened(), "10.50"))["id"])
    with pools.connect(stack.app_url, "test of discards") as conn:
        dead_letters.discard(conn, position, by="ann", reason="paid in cash", now=clock.now())
    document = api.http.get(f"/v1/commands/{failed_id}").json()

    assert document["discarded"] is True
    assert "retried_as" not in document


def failed(stack: Stack, like: str) -> tuple[str, int]:
    """A dead letter that asked for the same as another command of the client: its id and position."""
    with psycopg.connect(stack.owner_url, autocommit=True) as conn, conn.transaction():
        row = conn.execute(
            """
            INSERT INTO command (id, client_id, idempotency_key, type, account, amount_minor, currency, accepted_at)
            SELECT gen_random_uuid(), client_id, gen_random_uuid()::text, type, account, amount_minor, currency, now()
            FROM command WHERE id = %s RETURNING id::text, position
            """,
            [like],
        ).fetchone()
        assert row is not None
        conn.execute(
            "INSERT INTO outcome (position, status, reason, decided_at) VALUES (%s, 'failed', 'internal_error', now())",
            [row[1]],
        )
        conn.execute("INSERT INTO dead_letter (position, error, failed_at) VALUES (%s, 'sick', now())", [row[1]])
    return row[0], row[1]
