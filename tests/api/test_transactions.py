"""What happened on accounts and on all of them: statements that never shift, reports, balances of the past, lists."""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import pytest
from hypothesis import assume, given, settings
from hypothesis.strategies import integers, sampled_from, tuples

from tests.api.conftest import Api, a_deposit, a_transfer, a_withdrawal, an_advance, assert_problem
from tests.api.test_reading import NOBODYS
from tests.eventually import eventually
from tests.load import Load
from tests.stack import Stack

ORDERS: Final = ("asc", "desc")


def get(api: Api, path: str, /, **parameters: object) -> dict[str, Any]:
    """The answer to a question that makes sense."""
    given = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    answer = api.http.get(f"/v1/{path}", params=given)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def pages(api: Api, path: str, /, **parameters: object) -> Iterator[dict[str, Any]]:
    """Follow ``next`` to the end."""
    page = get(api, path, **parameters)
    yield page
    while page["next"] is not None:
        page = get(api, path, cursor=page["next"], **parameters)
        yield page


def statement(client: Api, account: str, **parameters: object) -> list[dict[str, Any]]:
    """The pages of an account's statement."""
    return list(pages(client, f"accounts/{quote(account)}/transactions", **parameters))


def lines(read: list[dict[str, Any]], what: str = "transactions") -> list[dict[str, Any]]:
    """What is on all the pages."""
    return [line for page in read for line in page[what]]


def assert_chained(read: list[dict[str, Any]], order: str) -> None:
    """Each page begins with the balance at which the one before it ended, and its lines are the difference."""
    oldest_first = read if order == "asc" else read[::-1]
    balance = Decimal(oldest_first[0]["opening_balance"])
    for page in oldest_first:
        assert Decimal(page["opening_balance"]) == balance
        for line in page["transactions"] if order == "asc" else page["transactions"][::-1]:
            balance += Decimal(line["amount"])
            assert Decimal(line["balance_after"]) == balance
        assert Decimal(page["closing_balance"]) == balance


@pytest.fixture(scope="module")
def busy(api: Api) -> str:
    """An account with seven transfers of several kinds, the fifth of which a fee."""
    name = api.opened(overdraft_limit="100.00", overdraft_fee="15.00")
    friend = api.opened(deposit="50.00")
    api.settle(a_deposit(name, "20.00", reference="salary"))
    api.settle(a_transfer(friend, name, "5.00"))
    api.settle(a_transfer(name, friend, "5.00"))
    assert api.settle(a_withdrawal(name, "100.00"))["status"] == "applied"
    api.settle(an_advance(name, "200.00"))
    api.settle(a_withdrawal(name, "500.00"))
    api.settle(a_deposit(name, "1.00"))
    return name


# The statement of an account.


def test_a_statement_says_all_of_each_transfer(api: Api, busy: str) -> None:
    """What a customer is shown: what it was, with whom, how much, and the balance after it. The fee is a penalty."""
    (page,) = statement(api, busy, order="asc")
    seen = [(line["version"], line["kind"], line["amount"], line["balance_after"]) for line in page["transactions"]]
    first, fee = page["transactions"][0], page["transactions"][4]
    command = get(api, f"commands/{fee['command_id']}")

    assert seen == [
        (1, "deposit", "20.00", "20.00"),
        (2, "transfer", "5.00", "25.00"),
        (3, "transfer", "-5.00", "20.00"),
        (4, "withdrawal", "-100.00", "-80.00"),
        (5, "penalty", "-15.00", "-95.00"),
        (6, "advance", "200.00", "105.00"),
        (7, "deposit", "1.00", "106.00"),
    ]
    assert (first["reference"], first["reason"], first["counter_account"]) == ("salary", None, "@settlement:USD")
    assert (fee["counter_account"], fee["decided_at"]) == ("@fee_income:USD", command["decided_at"])
    assert {name: page[name] for name in page if name != "transactions"} == {
        "account": busy,
        "currency": "USD",
        "order": "asc",
        "opening_balance": "0.00",
        "closing_balance": "106.00",
        "first_version": 1,
        "last_version": 7,
        "next": None,
    }


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
def test_pages_of_any_size_are_the_same_list(api: Api, busy: str, order: str, limit: int) -> None:
    """A program that reads small pages and one that reads large ones tell the customer the same."""
    (whole,) = statement(api, busy, order=order)
    read = statement(api, busy, order=order, limit=limit)

    assert lines(read) == whole["transactions"]
    assert [len(page["transactions"]) for page in read[:-1]] == [limit] * (len(read) - 1)
    assert_chained(read, order)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    order=sampled_from(ORDERS),
    limit=integers(1, 9),
    kind=sampled_from([None, "deposit", "withdrawal", "penalty", "reversal"]),
    window=tuples(integers(0, 7), integers(0, 7)).map(sorted),
)
def test_however_a_statement_is_asked_for_its_pages_are_the_lines_that_were_wanted(
    api: Api, busy: str, *, order: str, limit: int, kind: str | None, window: list[int]
) -> None:
    """Page size, order, time and kind together: as if picked from the whole, and each page joins the next."""
    (whole,) = statement(api, busy, order=order)
    instants = sorted({line["decided_at"] for line in whole["transactions"]})
    since, to = (instants[n] if n < len(instants) else None for n in window)
    filters = {"from_": since, "to": to, "kind": kind}
    assume(since is None or since != to)
    read = statement(api, busy, order=order, limit=limit, **{name: each for name, each in filters.items() if each})

    assert lines(read) == [
        line
        for line in whole["transactions"]
        if (since is None or line["decided_at"] >= since)
        and (to is None or line["decided_at"] < to)
        and kind in (None, line["kind"])
    ]
    oldest_first = read if order == "asc" else read[::-1]
    assert all(before["closing_balance"] == after["opening_balance"] for before, after in pairwise(oldest_first))
    if kind is None:
        assert_chained(read, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_a_kind_join_though_they_leave_out(api: Api, busy: str, order: str, limit: int) -> None:
    """The balances are those of the whole run, so that they can be compared with any other statement."""
    read = statement(api, busy, order=order, kind="deposit", limit=limit)
    oldest_first = read if order == "asc" else read[::-1]
    runs = [(page["first_version"], page["last_version"]) for page in oldest_first]
    balances = [(page["opening_balance"], page["closing_balance"]) for page in oldest_first]

    assert sorted(line["version"] for line in lines(read)) == [1, 7]
    assert (balances[0][0], balances[-1][1]) == ("0.00", "106.00")
    assert all(before[1] == after[0] for before, after in pairwise(balances))
    assert all(before[1] + 1 == after[0] for before, after in pairwise(runs))


def test_a_statement_of_a_command_has_all_of_its_transfers(api: Api, busy: str) -> None:
    """The withdrawal and its fee; with the balance before both and after both."""
    (whole,) = statement(api, busy, order="asc")
    command_id = whole["transactions"][3]["command_id"]
    (page,) = statement(api, busy, order="asc", command_id=command_id)
    (penalties,) = statement(api, busy, kind="penalty")
    (nothing,) = statement(api, busy, command_id=NOBODYS)

    assert page["transactions"] == whole["transactions"][3:5]
    assert (page["opening_balance"], page["closing_balance"]) == ("20.00", "-95.00")
    assert penalties["transactions"] == whole["transactions"][4:5]
    assert (nothing["transactions"], nothing["first_version"], nothing["next"]) == ([], None, None)


def test_windows_of_time_join_without_a_gap_or_a_double(api: Api, busy: str) -> None:
    """Whoever adds up months gets the year: each transfer is in one window, whatever its microsecond."""
    (whole,) = statement(api, busy, order="asc")
    instants = [line["decided_at"] for line in whole["transactions"]]
    cuts = [instants[0], instants[2], instants[3], instants[6]]
    windows = [
        *statement(api, busy, order="asc", to=cuts[0]),
        *(page for since, to in pairwise(cuts) for page in statement(api, busy, order="asc", from_=since, to=to)),
        *statement(api, busy, order="asc", from_=cuts[-1]),
    ]

    assert [[line["version"] for line in page["transactions"]] for page in windows] == [[], [1, 2], [3], [4, 5, 6], [7]]
    assert_chained(windows, "asc")


def test_a_day_is_the_banks(api: Api, busy: str) -> None:
    """From its beginning to its end, both days included."""
    (whole,) = statement(api, busy)
    days = [datetime.fromisoformat(line["decided_at"]).date() for line in whole["transactions"]]
    (same,) = statement(api, busy, from_=days[-1], to=days[0])
    (before,) = statement(api, busy, to=days[-1] - timedelta(days=1))
    (later,) = statement(api, busy, from_=days[0] + timedelta(days=1))

    assert same["transactions"] == whole["transactions"]
    assert (before["transactions"], before["opening_balance"], before["closing_balance"]) == ([], "0.00", "0.00")
    assert (later["transactions"], later["opening_balance"], later["closing_balance"]) == ([], "106.00", "106.00")


def test_an_account_without_transfers_has_an_empty_statement(api: Api) -> None:
    """It is there, and there is nothing on it."""
    (page,) = statement(api, api.opened("JPY"))

    assert (page["transactions"], page["opening_balance"], page["closing_balance"]) == ([], "0", "0")


def test_a_statement_never_shifts_under_load(api: Api, stack: Stack, admin: Api) -> None:
    """
    Read while transfers arrive, in both orders: each transfer once, each balance the one before it and the amount.

    The bank's own account the same, although nobody numbers its transfers.
    """
    names = [api.opened(overdraft_limit="1000.00", deposit="1.00") for _ in range(3)]
    begin = datetime.now(UTC).isoformat()
    key = stack.key("loader", "commands:write", "read")
    read: list[tuple[str, list[dict[str, Any]]]] = []
    commands = [(f"{names[0]} {n}", _busy_payment(names, n)) for n in range(900)]
    with Load(stack.port, key, commands, connections=4) as load:
        while not load.is_over or len(read) < 6:
            for order in ORDERS:
                read.append((order, statement(api, names[0], order=order, limit=30)))
                read.append((order, statement(admin, "@settlement:USD", order=order, limit=50, from_=begin)))
    versions = [
        [line["version"] for line in lines(each)][:: 1 if order == "asc" else -1]
        for order, each in read
        if each[0]["account"] == names[0]
    ]

    for order, each in read:
        assert_chained(each, order)
    for seen in versions:
        assert seen == list(range(1, len(seen) + 1))
    assert [len(seen) for seen in versions] == sorted(len(seen) for seen in versions)
    assert len(versions[-1]) > len(versions[0])


def _busy_payment(names: list[str], n: int) -> dict[str, object]:
    """Something for the first account, by turns: in, out, to another one."""
    match n % 3:
        case 0:
            return a_deposit(names[0], f"{n + 1}.00")
        case 1:
            return a_withdrawal(names[0], "1.50")
        case _:
            return a_transfer(names[0], names[1 + n % 2], "2.25")


# The bank's own accounts.


@pytest.mark.parametrize(("order", "currency"), [("asc", "NOK"), ("desc", "RON")])
def test_the_banks_own_statement_pages_as_well(api: Api, admin: Api, order: str, currency: str) -> None:
    """In the order in which it was recorded; its balance is that of the account."""
    name = api.opened(currency, overdraft_limit="9.00", overdraft_fee="1.00")
    for n in range(5):
        api.settle(a_deposit(name, f"{n + 1}.00", currency))
    api.settle(a_withdrawal(name, "20.00", currency))
    own = f"@settlement:{currency}"
    (whole,) = eventually(lambda: [each for each in [statement(admin, own, order=order)] if len(lines(each)) == 6])[0]
    by_two = statement(admin, own, order=order, limit=2)
    deposits = statement(admin, own, order=order, limit=2, kind="deposit")
    amounts = ["-1.00", "-2.00", "-3.00", "-4.00", "-5.00", "20.00"]

    assert [line["amount"] for line in whole["transactions"]] == (amounts if order == "asc" else amounts[::-1])
    assert whole["closing_balance"] == admin.account(own)["balance"] == "5.00"
    assert lines(by_two) == whole["transactions"]
    assert_chained(by_two, order)
    assert lines(deposits) == [line for line in whole["transactions"] if line["kind"] == "deposit"]
    oldest, newest = (deposits[0], deposits[-1]) if order == "asc" else (deposits[-1], deposits[0])
    assert (oldest["opening_balance"], newest["closing_balance"]) == ("0.00", "5.00")


def test_windows_of_the_banks_own_statement_join(api: Api, admin: Api) -> None:
    """Before a window and in it, all is counted once, whether or not a checkpoint has passed it."""
    name = api.opened("SEK")
    instants = [api.settle(a_deposit(name, "1.00", "SEK"))["decided_at"] for _ in range(4)]
    own = "@settlement:SEK"
    eventually(lambda: len(lines(statement(admin, own))) == 4)
    for order in ORDERS:
        windows = [
            *statement(admin, own, order=order, to=instants[1]),
            *statement(admin, own, order=order, from_=instants[1], to=instants[3]),
            *statement(admin, own, order=order, from_=instants[3]),
        ]

        assert [len(page["transactions"]) for page in windows] == [1, 2, 1]
        assert [page["opening_balance"] for page in windows] == ["0.00", "-1.00", "-3.00"]
        assert [page["closing_balance"] for page in windows] == ["-1.00", "-3.00", "-4.00"]


def test_the_banks_own_history_is_for_admins(api: Api, admin: Api) -> None:
    """To everybody else these accounts do not exist."""
    api.opened(deposit="1.00")
    for what in ("transactions", "balance?at=2026-01-01"):
        assert_problem(api.http.get(f"/v1/accounts/@settlement:USD/{what}"), 404, "not_found")

    page = get(api, "accounts", prefix="@")
    assert (page["accounts"], page["next"]) == ([], None)
    assert "@settlement:USD" in [each["account"] for each in get(admin, "accounts", prefix="@")["accounts"]]


# A balance of the past.


def test_a_balance_is_asked_for_at_any_instant(api: Api, busy: str) -> None:
    """What was decided at the instant is counted; a microsecond before, it is not."""
    (whole,) = statement(api, busy, order="asc")
    by_command = {line["command_id"]: line for line in whole["transactions"]}  # The last line of each.
    for line in by_command.values():
        at = datetime.fromisoformat(line["decided_at"])
        found = get(api, f"accounts/{busy}/balance", at=line["decided_at"])

        assert (found["balance"], found["version"]) == (line["balance_after"], line["version"])
        assert datetime.fromisoformat(found["at"]) == at
        if line["version"] > 1:
            before = get(api, f"accounts/{busy}/balance", at=(at - timedelta(microseconds=1)).isoformat())
            assert before["version"] < line["version"]
            assert before["final"]


def test_a_balance_that_cannot_be_known_is_not_guessed(api: Api, busy: str) -> None:
    """Neither of the future, nor of a day that is not over, nor of a time before the account."""
    now = datetime.now(UTC)
    for at, hint in (
        ((now + timedelta(hours=1)).isoformat(), "not passed yet"),
        (now.date(), "not passed yet"),
        ("1999-12-31", "before the account was opened"),
        ("2026-11-27T12:00:00", "with its offset"),
        ("yesterday", "with its offset"),
        ("0001-01-01", "with its offset"),
    ):
        problem = assert_problem(api.http.get(f"/v1/accounts/{busy}/balance", params={"at": str(at)}), 422, "invalid")
        assert [each["field"] for each in problem["errors"]] == ["at"]
        assert hint in problem["errors"][0]["message"]


def test_the_banks_own_balance_of_the_past(api: Api, admin: Api) -> None:
    """Whether the instant lies before the checkpoint or behind it."""
    name = api.opened("DKK")
    instants = [api.settle(a_deposit(name, "1.00", "DKK"))["decided_at"] for _ in range(3)]

    def past() -> list[str]:
        return [get(admin, "accounts/@settlement:DKK/balance", at=at)["balance"] for at in instants]

    assert past() == ["-1.00", "-2.00", "-3.00"]


# The report.


def report(api: Api, /, **parameters: object) -> list[dict[str, Any]]:
    """The pages of a report."""
    return list(pages(api, "transactions", **parameters))


def test_a_report_has_what_was_applied_and_what_was_refused(api: Api, admin: Api, other: Api) -> None:
    """With the reason and its text; the client's own, unless an admin asks."""
    name = api.opened(deposit="5.00")
    refused = api.settle(a_withdrawal(name, "6.00", reference="rent"))
    foreign = other.settle(a_deposit(name, "1.00"))
    (line,) = eventually(lambda: lines(report(api, account=name, status="refused")))

    assert line == {
        "id": refused["id"],
        "position": refused["position"],
        "client": "shop",
        "idempotency_key": refused["idempotency_key"],
        "type": "withdraw",
        "status": "refused",
        "reason": "insufficient_funds",
        "text": refused["text"],
        "account": name,
        "amount": "6.00",
        "currency": "USD",
        "reference": "rent",
        "accepted_at": refused["accepted_at"],
        "decided_at": refused["decided_at"],
    }
    seen = eventually(lambda: [each for each in [lines(report(admin, account=name))] if len(each) == 4])[0]
    assert seen[0]["id"] == foreign["id"]
    assert [each["type"] for each in lines(report(api, account=name))] == ["withdraw", "deposit", "open_account"]
    assert [each["id"] for each in lines(report(admin, account=name, client="rival"))] == [foreign["id"]]
    assert [each["id"] for each in lines(report(api, account=name, type="withdraw"))] == [refused["id"]]
    assert_problem(api.http.get("/v1/transactions", params={"client": "rival"}), 403, "forbidden")


@pytest.mark.parametrize("order", ORDERS)
def test_pages_of_a_report_are_the_same_list(api: Api, order: str) -> None:
    """And the count is how many they have together."""
    name = api.opened()
    for n in range(6):
        api.settle(a_deposit(name, f"{n + 1}.00"))
    (whole,) = eventually(lambda: [each for each in [report(api, account=name, order=order)] if len(lines(each)) == 7])[
        0
    ]
    by_two = report(api, account=name, order=order, limit=2, count="true")
    positions = [line["position"] for line in whole["transactions"]]

    assert positions == sorted(positions, reverse=order == "desc")
    assert lines(by_two) == whole["transactions"]
    assert [page["total"] for page in by_two] == [{"count": 7, "exact": True}] * len(by_two)
    assert "total" not in whole


def test_a_report_is_of_the_last_five_days(api: Api, stack: Stack) -> None:
    """Unless it is told where to begin; and its end is no part of it."""
    name = api.opened()
    document = api.settle(a_deposit(name))
    eventually(lambda: len(lines(report(api, account=name))) == 2)
    (page,) = report(api, account=name)
    since = datetime.fromisoformat(page["from"])
    decided_at = datetime.fromisoformat(document["decided_at"])

    assert timedelta(0) <= datetime.now(UTC) - timedelta(days=5) - since < timedelta(minutes=5)
    assert len(lines(report(api, account=name, from_=decided_at.date() - timedelta(days=9)))) == 2
    assert [line["id"] for line in lines(report(api, account=name, from_=decided_at.isoformat()))] == [document["id"]]
    assert document["id"] not in [line["id"] for line in lines(report(api, account=name, to=decided_at.isoformat()))]
    assert lines(report(api, account=name, to=decided_at.date() - timedelta(days=1))) == []


def test_a_report_is_fixed_at_its_first_page(api: Api, admin: Api, stack: Stack) -> None:
    """
    What commits late is on no page, and hides nothing: neither what was there before, nor what comes after. The
    statements of the bank's own accounts end there as well.

    A worker wrote its outcome with a low number, and has not committed when the first page is read.
    """
    names = [api.opened(deposit="10.00") for _ in range(3)]
    command = api.settle(a_deposit(names[0], "1.00"))
    eventually(lambda: command["id"] in [line["id"] for line in lines(report(api, account=names[0]))])
    with stack.owner() as slow:
        with slow.transaction():
            ((late,),) = slow.execute(
                """
                WITH late AS (
                    INSERT INTO command (
                        id, client_id, idempotency_key, type, account, amount_minor, currency, accepted_at
                    )
                    SELECT %(id)s::uuid, client_id, %(id)s::text, type, account, amount_minor, currency, accepted_at
                    FROM command WHERE position = %(position)s RETURNING position
                )
                SELECT position FROM late
                """,
                {"id": str(uuid4()), "position": command["position"]},
            ).fetchall()
            slow.execute(
                "INSERT INTO outcome (position, status, reason, decided_at) VALUES (%s, 'refused', %s, now())",
                [late, "account_not_open"],
            )
            after = [api.settle(a_deposit(name, "2.00"))["id"] for name in names]
            first = get(api, "transactions", limit=2)
            oldest = get(api, "transactions", order="asc", limit=2)
            banks = get(admin, "accounts/@settlement:USD/transactions", limit=5)
        rest = [line for page in _follow(api, first, limit=2) for line in page["transactions"]]
        whole = first["transactions"] + rest
        upwards = oldest["transactions"] + [
            line for page in _follow(api, oldest, order="asc", limit=2) for line in page["transactions"]
        ]

    assert first["transactions"][0]["id"] == command["id"]
    assert [line["id"] for line in whole] == [line["id"] for line in upwards][::-1]
    assert len({line["id"] for line in whole}) == len(whole)
    assert late not in [line["position"] for line in whole]
    assert not set(after) & {line["id"] for line in whole}
    assert banks["transactions"][0]["command_id"] == command["id"]
    anew = eventually(lambda: [each for each in [lines(report(api))] if {*after} <= {line["id"] for line in each}])[0]
    assert late in [line["position"] for line in anew]
    assert [line for line in anew if line["position"] != late and line["id"] not in after] == whole


def _follow(client: Api, page: Mapping[str, Any], **parameters: object) -> Iterator[dict[str, Any]]:
    """The pages behind this one."""
    while page["next"] is not None:
        page = get(client, "transactions", cursor=page["next"], **parameters)
        yield dict(page)


# The list of accounts.


def test_accounts_are_listed_by_name(api: Api, admin: Api) -> None:
    """Each as it would be shown alone, by prefix, currency and status."""
    mark = f"list{uuid4().hex[:8]}"
    names = sorted(f"{mark}-{letter}" for letter in "aZ9._:-")
    for n, name in enumerate(names):
        api.settle({"type": "open_account", "account": name, "currency": "USD" if n % 2 else "EUR"})
    api.settle(a_deposit(names[1], "5.00"))
    (whole,) = pages(api, "accounts", prefix=mark)
    by_two = list(pages(api, "accounts", prefix=mark, limit=2))
    euros = lines(list(pages(api, "accounts", prefix=mark, currency="EUR", limit=1)), "accounts")

    assert whole["accounts"] == [api.account(name) for name in names]
    assert lines(by_two, "accounts") == whole["accounts"]
    assert [each["account"] for each in euros] == names[::2]
    assert get(api, "accounts", prefix=mark, status="closed")["accounts"] == []
    assert get(api, "accounts", prefix=mark, kind="settlement")["accounts"] == []
    assert get(api, "accounts", prefix="zzzz")["accounts"] == []


def test_the_banks_own_accounts_are_listed_with_their_balances(api: Api, admin: Api) -> None:
    """Which are on no row of theirs."""
    api.opened("PLN", deposit="7.00")
    (page,) = pages(admin, "accounts", kind="settlement", currency="PLN")

    assert page["accounts"] == [admin.account("@settlement:PLN")]
    assert page["accounts"][0]["balance"] == "-7.00"


# Bad questions.


@pytest.mark.parametrize(
    ("path", "parameters", "field", "hint"),
    [
        ("accounts/{}/transactions", {"limit": "0"}, "limit", "greater than or equal to 1"),
        ("accounts/{}/transactions", {"kind": "overdraft_fee"}, "kind", "penalty"),
        ("accounts/{}/transactions", {"order": "up"}, "order", "desc"),
        ("accounts/{}/transactions", {"command_id": "1"}, "command_id", "UUID"),
        ("accounts/{}/transactions", {"from": "2026-02-30"}, "from", "such as 2026-11-27"),
        ("accounts/{}/transactions", {"from": "2026-11-02", "to": "2026-11-01"}, "from", "swap"),
        ("accounts/{}/transactions", {"cursor": "AAAA"}, "cursor", "begin anew"),
        ("transactions", {"from": "2026-11-01T12:00:00 01:00"}, "from", "%2B"),
        ("transactions", {"type": "theft"}, "type", "give one of open_account"),
        ("transactions", {"status": "pending"}, "status", "refused"),
        ("transactions", {"limit": "1001"}, "limit", "1000"),
        ("transactions", {"cursor": "ä"}, "cursor", "begin anew"),
        ("transactions", {"cursor": ""}, "cursor", "begin anew"),
        ("accounts", {"status": "lost"}, "status", "frozen"),
        ("accounts", {"prefix": "a b"}, "prefix", "pattern"),
        ("accounts", {"cursor": "x"}, "cursor", "begin anew"),
        ("accounts/{}/balance", {}, "at", "required"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_why(
    api: Api, busy: str, *, path: str, parameters: dict[str, str], field: str, hint: str
) -> None:
    """The parameter is named, and what to give instead."""
    problem = assert_problem(api.http.get(f"/v1/{path.format(busy)}", params=parameters), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [field]
    assert hint.lower() in problem["errors"][0]["message"].lower()


def test_a_cursor_is_of_one_list_only(api: Api, other: Api, busy: str) -> None:
    """Filters that change in the middle would give a list that never was. A forged one is no better."""
    page = get(api, f"accounts/{busy}/transactions", limit=2)
    cursor = page["next"]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    forged = base64.urlsafe_b64encode(raw[:8] + b"1 999").rstrip(b"=").decode()
    friend = api.opened()

    for path, parameters in (
        (f"accounts/{busy}/transactions", {"cursor": cursor, "order": "asc"}),
        (f"accounts/{busy}/transactions", {"cursor": cursor, "kind": "deposit"}),
        (f"accounts/{friend}/transactions", {"cursor": cursor}),
        (f"accounts/{busy}/transactions", {"cursor": forged}),
        ("transactions", {"cursor": cursor}),
    ):
        problem = assert_problem(api.http.get(f"/v1/{path}", params=parameters), 422, "invalid")
        assert [each["field"] for each in problem["errors"]] == ["cursor"]
    assert get(api, f"accounts/{busy}/transactions", cursor=cursor, limit=3)["last_version"] == 5
    theirs = get(api, "transactions", limit=1)["next"]
    assert_problem(other.http.get("/v1/transactions", params={"cursor": theirs}), 422, "invalid")


def test_the_history_of_an_unknown_account_is_not_found(api: Api) -> None:
    """Whether or not the rest of the question makes sense."""
    for what in ("transactions", "balance?at=2026-01-01"):
        assert_problem(api.http.get(f"/v1/accounts/nobody-{uuid4()}/{what}"), 404, "not_found")
