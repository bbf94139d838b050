"""The money rules as a client of the bank meets them: overdraft, holds, limits, an account's life, reversals."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Api, a_deposit, a_hold, a_reversal, a_transfer, a_withdrawal, assert_problem
from tests.eventually import eventually


def a_change(type_: str, account: str, currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of what is done to an account, with why."""
    return {"type": type_, "account": account, "currency": currency, "reason": "the owner asked", **more}


def of_hold(type_: str, account: str, hold_id: object, currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of what is done to a hold."""
    return {"type": type_, "account": account, "hold_id": hold_id, "currency": currency, **more}


def an_adjustment(source: str, target: str, amount: str, currency: str = "USD", **more: object) -> dict[str, object]:
    """The body of a correction."""
    return a_transfer(source, target, amount, currency) | {"type": "adjust", "reason": "counted again", **more}


def stands(document: dict[str, Any]) -> tuple[str, str | None]:
    """Applied, or refused and why."""
    return document["status"], document.get("reason")


def legs(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Each transfer: its kind, from where, to where, how much."""
    return [
        (each["kind"], each["debit_account"], each["credit_account"], each["amount"]) for each in document["transfers"]
    ]


def in_seconds(seconds: float) -> str:
    """An instant, as the API takes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def some(document: dict[str, Any], *fields: str) -> list[Any]:
    """These fields of a document."""
    return [document[field] for field in fields]


def test_the_documented_overdraft(api: Api, admin: Api) -> None:
    """Limit 100.00, fee 15.00, on the account 20.00: the mission's own example, to the cent."""
    overdraft = {"overdraft_limit": "100.00", "overdraft_fee": "15.00"}
    name, edge = (api.opened(deposit="20.00", **overdraft) for _ in range(2))
    refused = api.settle(a_withdrawal(name, "120.01"))
    untouched = api.account(name)
    applied = api.settle(a_withdrawal(name, "100.00"))
    at_the_edge = api.settle(a_withdrawal(edge, "120.00"))

    assert stands(refused) == ("refused", "insufficient_funds")
    assert some(untouched, "balance", "version") == ["20.00", 1]
    assert legs(applied) == [
        ("withdrawal", name, "@settlement:USD", "100.00"),
        ("overdraft_fee", name, "@fee_income:USD", "15.00"),
    ]
    assert applied["balances"] == {name: "-95.00"}
    assert at_the_edge["balances"] == {edge: "-115.00"}
    assert admin.account("@fee_income:USD")["currency"] == "USD"


def test_a_new_account_has_the_bank_s_usual_overdraft_unless_it_asks_for_another(api: Api) -> None:
    """Set by currency; others have none. Zero is an answer, not a gap."""
    usual, none, dollars = api.opened("CHF"), api.opened("CHF", overdraft_limit="0"), api.opened()
    command = api.settle({"type": "open_account", "account": f"acc-{uuid4().hex[:12]}", "currency": "CHF"})

    assert some(api.account(usual), "overdraft_limit", "overdraft_fee") == ["100.00", "15.00"]
    assert some(api.account(none), "overdraft_limit", "overdraft_fee") == ["0.00", "15.00"]
    assert some(api.account(dollars), "overdraft_limit", "overdraft_fee") == ["0.00", "0.00"]
    assert "overdraft_limit" not in command["command"]


def test_amounts_have_the_bounds_of_their_command_and_currency(api: Api) -> None:
    """Both ends are allowed. What has none set has none."""
    name = api.opened("CHF", deposit="1000.00")
    amounts = ("0.99", "1.00", "5000.00", "5000.01")

    assert [stands(api.settle(a_deposit(name, amount, "CHF"))) for amount in amounts] == [
        ("refused", "amount_out_of_bounds"),
        ("applied", None),
        ("applied", None),
        ("refused", "amount_out_of_bounds"),
    ]
    assert stands(api.settle(a_hold(name, "4.99", "CHF"))) == ("refused", "amount_out_of_bounds")
    assert stands(api.settle(a_withdrawal(name, "5999.00", "CHF"))) == ("applied", None)


@pytest.mark.parametrize(
    ("currency", "fee", "taken", "left"), [("JPY", "15", "120", "-115"), ("KWD", "15.005", "20.001", "-15.006")]
)
def test_every_currency_has_its_own_decimals(api: Api, currency: str, fee: str, taken: str, left: str) -> None:
    """Of ISO 4217: none for yen, three for dinars; the rules are the same."""
    name = api.opened(currency, deposit="20", overdraft_limit="100", overdraft_fee=fee)
    document = api.settle(a_withdrawal(name, taken, currency))

    assert document["balances"] == {name: left}
    assert document["transfers"][1]["credit_account"] == f"@fee_income:{currency}"


def test_a_transfer_stays_within_one_currency(api: Api) -> None:
    """Nobody set a rate. The same for a capture to somebody, and for a correction."""
    dollars, yen = api.opened(deposit="20.00"), api.opened("JPY")
    hold = api.settle(a_hold(dollars))

    assert stands(api.settle(a_transfer(dollars, yen))) == ("refused", "currency_mismatch")
    captured = api.settle(of_hold("capture_hold", dollars, hold["id"], to_account=yen))
    assert stands(captured) == ("refused", "currency_mismatch")
    assert some(api.account(dollars), "balance", "held") == ["20.00", "10.50"]


def test_money_on_hold_is_there_and_not_available(api: Api) -> None:
    """Not to a withdrawal, a transfer, a second hold, nor to a fee."""
    name = api.opened(deposit="20.00", overdraft_limit="10.00", overdraft_fee="5.00")
    hold = api.settle(a_hold(name, "25.00"))
    too_much = [
        api.settle(body)
        for body in (a_withdrawal(name, "5.01"), a_transfer(name, api.opened(), "5.01"), a_hold(name, "5.01"))
    ]

    assert some(api.account(name), "balance", "held", "available") == ["20.00", "25.00", "5.00"]
    assert {stands(each) for each in too_much} == {("refused", "insufficient_funds")}
    assert hold["hold_url"] == f"/v1/holds/{hold['id']}"
    assert (hold["transfers"], hold["balances"]) == ([], {})
    assert stands(api.settle(a_withdrawal(name, "5.00"))) == ("applied", None)


def test_a_hold_is_captured_in_part_once_and_the_rest_comes_back(api: Api) -> None:
    """A shop that reserved 25.00 takes 20.00, and no more of it ever."""
    name, shop = api.opened(deposit="30.00"), api.opened()
    hold = api.settle(a_hold(name, "25.00"))
    before: dict[str, Any] = api.http.get(hold["hold_url"]).json()
    above = api.settle(of_hold("capture_hold", name, hold["id"], amount="25.01"))
    captured = api.settle(of_hold("capture_hold", name, hold["id"], amount="20.00", to_account=shop))
    again = [api.settle(of_hold(type_, name, hold["id"])) for type_ in ("capture_hold", "release_hold")]
    after = api.http.get(hold["hold_url"]).json()

    assert some(before, "state", "captured", "expires_at", "settled_by", "settled_at") == ["held", "0.00", *[None] * 3]
    assert stands(above) == ("refused", "capture_above_held")
    assert legs(captured) == [("capture", name, shop, "20.00")]
    assert {stands(each) for each in again} == {("refused", "hold_not_open")}
    settlement = {"settled_by": captured["id"], "settled_at": captured["decided_at"]}
    assert after == before | {"state": "captured", "captured": "20.00", **settlement}
    assert some(api.account(name), "balance", "held", "available") == ["10.00", "0.00", "10.00"]


def test_a_hold_expires_by_itself(api: Api, admin: Api) -> None:
    """Nobody has to remember it, and the money is back. What has ended says when and by whom."""
    name = api.opened(deposit="10.00")
    now = datetime.fromisoformat(api.settle(a_deposit(name, "1.00"))["decided_at"])
    past = api.settle(a_hold(name, "5.00", expires_at=now.isoformat()))
    far = api.settle(a_hold(name, "5.00", expires_at=(now + timedelta(days=367)).isoformat()))
    # Soon, but not before it is decided, however slow this machine is.
    hold = next(
        placed
        for seconds in (2, 5, 20)
        if stands(placed := api.settle(a_hold(name, "5.00", expires_at=in_seconds(seconds))))[0] == "applied"
    )
    eventually(lambda: api.http.get(hold["hold_url"]).json()["state"] == "expired")
    document = api.http.get(hold["hold_url"]).json()
    expiry = admin.http.get(f"/v1/commands/{document['settled_by']}").json()

    assert [stands(each)[1] for each in (past, far)] == ["expiry_out_of_bounds"] * 2
    assert (expiry["type"], expiry["command"]["hold_id"]) == ("expire_hold", hold["id"])
    assert api.account(name)["held"] == "0.00"
    assert stands(api.settle(of_hold("capture_hold", name, hold["id"]))) == ("refused", "hold_not_open")


def test_holds_are_listed_by_account_and_state(api: Api, stranger: Api) -> None:
    """In the order in which they were placed, a page at a time, and whoever has no key sees none."""
    name = api.opened(deposit="10.00")
    ids = [api.settle(a_hold(name, "1.00"))["id"] for _ in range(3)]
    api.settle(of_hold("release_hold", name, ids[1]))

    def listed(**wanted: str | int | None) -> tuple[list[str], int | None]:
        page = api.http.get("/v1/holds", params={"account": name, **wanted}).json()
        return [each["id"] for each in page["holds"]], page["next"]

    first, next_ = listed(limit=2)
    assert (first, listed(after=next_, limit=2)) == (ids[:2], (ids[2:], None))
    assert listed(state="held")[0] == [ids[0], ids[2]]
    assert listed(state="released")[0] == [ids[1]]
    assert listed(state="expired") == ([], None)
    everybodys = api.http.get("/v1/holds", params={"state": "held", "limit": 1000}).json()["holds"]
    assert {ids[0], ids[2]} <= {each["id"] for each in everybodys}
    assert_problem(api.http.get(f"/v1/holds/{uuid4()}"), 404, "not_found")
    assert_problem(api.http.get("/v1/holds", params={"state": "lost"}), 422, "invalid")
    assert_problem(stranger.http.get("/v1/holds"), 401, "unauthenticated")


def test_a_reversal_mirrors_everything_and_is_linked_both_ways(api: Api) -> None:
    """The fee as well: as if the withdrawal had never been, with four lines that say that it was."""
    name = api.opened(deposit="20.00", overdraft_limit="100.00", overdraft_fee="15.00")
    withdrawn = api.settle(a_withdrawal(name, "100.00"))
    reversal = api.settle(a_reversal(withdrawn["id"]))
    twice = api.settle(a_reversal(withdrawn["id"]))
    of_itself = api.settle(a_reversal(reversal["id"]))
    again = api.http.get(withdrawn["status_url"]).json()

    assert legs(reversal) == [
        ("reversal", "@fee_income:USD", name, "15.00"),
        ("reversal", "@settlement:USD", name, "100.00"),
    ]
    assert reversal["balances"] == {name: "20.00"}
    assert (reversal["reverses"], again["reversed_by"]) == (withdrawn["id"], reversal["id"])
    assert again == withdrawn | {"reversed_by": reversal["id"]}
    assert some(reversal["command"], "command", "account", "currency") == [withdrawn["id"], name, "USD"]
    assert stands(twice) == ("refused", "command_already_reversed")
    assert "reverses" not in twice
    assert stands(of_itself) == ("refused", "command_not_reversible")


def test_a_reversal_needs_the_money_unless_an_admin_forces_it(api: Api, admin: Api) -> None:
    """Whoever spent it owes it then, and the account says how far that was."""
    name, other = api.opened(deposit="50.00"), api.opened()
    paid = api.settle(a_transfer(name, other, "50.00"))
    api.settle(a_withdrawal(other, "30.00"))
    refused = api.settle(a_reversal(paid["id"]))
    assert_problem(api.post(a_reversal(paid["id"], force=True)), 403, "forbidden")
    forced = admin.settle(a_reversal(paid["id"], force=True))
    owing = api.account(other)
    api.settle(a_deposit(other, "30.00"))

    assert stands(refused) == ("refused", "insufficient_funds")
    assert stands(forced) == ("applied", None)
    assert some(owing, "balance", "forced") == ["-30.00", "30.00"]
    assert some(api.account(other), "balance", "forced") == ["0.00", "0.00"]
    assert api.account(name)["balance"] == "50.00"


def test_only_one_s_own_commands_are_reversed(api: Api, other: Api, admin: Api) -> None:
    """Another client's does not exist, as one that nobody sent; the bank may. Nothing uses up the key."""
    name = api.opened(deposit="10.00")
    paid = api.settle(a_deposit(name, "1.00"))
    key = str(uuid4())
    unknown = assert_problem(other.post(a_reversal(str(uuid4())), key=key), 422, "invalid")
    foreign = assert_problem(other.post(a_reversal(paid["id"]), key=key), 422, "invalid")
    lines = [
        a_reversal(paid["id"]) | {"idempotency_key": key},
        a_deposit(name, "2.00") | {"idempotency_key": str(uuid4())},
    ]
    batch = other.http.post("/v1/commands/batch", json=lines).json()

    assert unknown["errors"] == foreign["errors"] == [{"field": "command", "message": "you have no such command"}]
    assert [each["result"] for each in batch] == ["error", "accepted"]
    assert batch[0]["error"]["errors"] == foreign["errors"]
    assert stands(admin.settle(a_reversal(paid["id"]))) == ("applied", None)


def test_a_reversal_that_is_sent_again_is_a_replay(api: Api) -> None:
    """Though its body was filled in from another command: alone and in a batch, and another one is a conflict."""
    name = api.opened(deposit="10.00")
    one, two = (api.settle(a_deposit(name, "1.00"))["id"] for _ in range(2))
    key = str(uuid4())
    first = api.settle(a_reversal(one), key=key)
    again = api.post(a_reversal(one), key=key)
    batch = api.http.post("/v1/commands/batch", json=[a_reversal(one) | {"idempotency_key": key}]).json()
    conflict = assert_problem(api.post(a_reversal(two), key=key), 422, "key_conflict")

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["id"] == first["id"]
    assert [(each["result"], each["id"]) for each in batch] == [("replayed", first["id"])]
    assert [each["field"] for each in conflict["errors"]] == ["command"]


def test_a_hold_that_was_captured_is_given_back_by_a_reversal(api: Api) -> None:
    """To the account, not to the hold."""
    name, shop = api.opened(deposit="10.00"), api.opened()
    hold = api.settle(a_hold(name, "4.00"))
    not_yet = api.settle(a_reversal(hold["id"]))
    captured = api.settle(of_hold("capture_hold", name, hold["id"], to_account=shop))
    reversal = api.settle(a_reversal(captured["id"]))

    assert stands(not_yet) == ("refused", "command_not_reversible")
    assert legs(reversal) == [("reversal", shop, name, "4.00")]
    assert some(api.account(name), "balance", "held") == ["10.00", "0.00"]


def test_a_frozen_account_takes_what_comes_in_and_gives_nothing(api: Api, admin: Api) -> None:
    """By an admin's word only, who says why; and again by one it is free."""
    name, other = api.opened(deposit="10.00"), api.opened()
    hold = api.settle(a_hold(name, "1.00"))
    for type_ in ("freeze", "unfreeze"):
        assert_problem(api.post(a_change(type_, name)), 403, "forbidden")
    frozen = admin.settle(a_change("freeze", name))
    out = [
        api.settle(body)
        for body in (
            *(a_withdrawal(name, "1.00"), a_transfer(name, other, "1.00"), a_hold(name, "1.00")),
            *(of_hold("capture_hold", name, hold["id"]), a_change("freeze", name) | {"type": "close"}),
        )
    ]
    status = api.account(name)["status"]
    into = api.settle(a_deposit(name, "1.00"))
    released = api.settle(of_hold("release_hold", name, hold["id"]))
    free = admin.settle(a_change("unfreeze", name))

    assert frozen["command"]["reason"] == "the owner asked"
    assert [stands(each)[1] for each in out] == [*["account_not_open"] * 4, "account_not_empty"]
    assert status == "frozen"
    assert {stands(each) for each in (into, released, free)} == {("applied", None)}
    assert stands(admin.settle(a_change("unfreeze", name))) == ("refused", "account_not_frozen")
    assert stands(api.settle(a_withdrawal(name, "11.00"))) == ("applied", None)


def test_an_account_is_closed_when_nothing_is_on_it_and_stays_so(api: Api) -> None:
    """Not with money, a hold or a debt; and then for ever, its name included."""
    name, owing = api.opened(deposit="10.00", overdraft_limit="10.00"), api.opened()
    hold = api.settle(a_hold(name, "10.00"))
    with_money = api.settle(a_change("close", name))
    api.settle(a_withdrawal(name, "10.00"))
    with_a_hold = api.settle(a_change("close", name))
    api.settle(of_hold("release_hold", name, hold["id"]))
    api.granted(owing, "10.00")
    api.settle(a_withdrawal(owing, "10.00"))
    with_a_debt = api.settle(a_change("close", owing))
    closed = api.settle(a_change("close", name))
    later = [
        api.settle(body)
        for body in (
            a_deposit(name),
            a_change("close", name),
            {"type": "open_account", "account": name, "currency": "USD"},
        )
    ]

    assert [stands(each)[1] for each in (with_money, with_a_hold, with_a_debt)] == [
        *("account_not_empty", "account_has_holds", "account_has_advances"),
    ]
    assert stands(closed) == ("applied", None)
    assert [stands(each)[1] for each in later] == ["account_not_open", "account_not_open", "account_already_exists"]
    assert api.account(name)["status"] == "closed"


def test_the_limits_of_a_day_are_kept_and_shown(api: Api, admin: Api) -> None:
    """How many debits, and how much together; a hold is one, and unlimited takes the limits away again."""
    name, other = api.opened(deposit="100.00"), api.opened()
    free = api.account(name)
    assert_problem(api.post(a_change("set_limits", name, daily_count=3)), 403, "forbidden")
    admin.settle(a_change("set_limits", name, daily_count=3, daily_amount="50.00"))
    bodies = (
        *(a_withdrawal(name, "50.01"), a_withdrawal(name, "20.00"), a_hold(name, "20.00")),
        *(a_transfer(name, other, "10.01"), a_transfer(name, other, "5.00"), a_withdrawal(name, "1.00")),
    )
    answers = [stands(api.settle(body))[1] for body in bodies]
    limited = api.account(name)
    admin.settle(a_change("set_limits", name, daily_count="unlimited", daily_amount="unlimited"))
    daily = ("daily_count", "daily_amount", "daily_used", "daily_used_amount")

    assert answers == ["limit_exceeded", None, None, "limit_exceeded", None, "limit_exceeded"]
    assert some(limited, *daily) == [3, "50.00", 3, "45.00"]
    assert some(free, *daily) == ["unlimited", "unlimited", None, None] == some(api.account(name), *daily)
    assert stands(api.settle(a_withdrawal(name, "50.00"))) == ("applied", None)


def test_an_overdraft_may_be_changed_but_not_below_what_is_owed(api: Api, admin: Api) -> None:
    """What is left out stays as it is."""
    name = api.opened(deposit="10.00")
    admin.settle(a_change("set_limits", name, overdraft_limit="50.00", overdraft_fee="2.00"))
    api.settle(a_withdrawal(name, "30.00"))
    lower = admin.settle(a_change("set_limits", name, overdraft_limit="21.99"))
    less = admin.settle(a_change("set_limits", name, overdraft_limit="22.00"))

    assert stands(lower) == ("refused", "overdraft_below_balance")
    assert stands(less) == ("applied", None)
    assert less["command"] == a_change("set_limits", name, overdraft_limit="22.00")
    assert some(api.account(name), "balance", "overdraft_limit", "overdraft_fee", "available") == [
        *("-22.00", "22.00", "2.00", "0.00"),
    ]


def test_an_admin_corrects_the_books_between_any_two_accounts(api: Api, admin: Api) -> None:
    """The bank's own among them; the floor of a customer's holds, unless it is forced."""
    name = api.opened("GBP", deposit="5.00")
    assert_problem(api.post(an_adjustment("@suspense:GBP", name, "1.00", "GBP")), 403, "forbidden")
    into = admin.settle(an_adjustment("@suspense:GBP", name, "1.00", "GBP"))
    out = admin.settle(an_adjustment(name, "@credit_loss:GBP", "6.01", "GBP"))
    forced = admin.settle(an_adjustment(name, "@credit_loss:GBP", "6.01", "GBP", force=True))
    own = admin.settle(an_adjustment("@suspense:GBP", "@settlement:GBP", "1.00", "GBP"))
    nobody = admin.settle(an_adjustment("@suspense:GBP", f"acc-{uuid4().hex}", "1.00", "GBP"))

    assert legs(into) == [("adjustment", "@suspense:GBP", name, "1.00")]
    assert stands(out) == ("refused", "insufficient_funds")
    assert forced["balances"] == {name: "-0.01"}
    assert legs(own) == [("adjustment", "@suspense:GBP", "@settlement:GBP", "1.00")]
    assert stands(nobody) == ("refused", "account_not_found")
    assert stands(admin.settle(a_reversal(own["id"]))) == ("applied", None)
    assert admin.account("@suspense:GBP")["balance"] == "-1.00"


def test_a_bank_transaction_keeps_its_reason(api: Api) -> None:
    """Interest, cash and charges have no other customer on their other side: what they were for is with the command."""
    name = api.opened()
    interest = api.settle(a_deposit(name, "1.25", reason="interest for October"))
    charge = api.settle(a_withdrawal(name, "1.25", reason="account fee"))

    assert legs(interest) == [("deposit", "@settlement:USD", name, "1.25")]
    assert legs(charge) == [("withdrawal", name, "@settlement:USD", "1.25")]
    assert [each["command"]["reason"] for each in (interest, charge)] == ["interest for October", "account fee"]
