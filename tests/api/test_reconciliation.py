"""Reconciliation over HTTP: what admins see of it, what they decide, and that nobody else does."""

import csv
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from processor import pools
from processor.domain.matching import Limits
from processor.reconciliation.reconciling import reconcile
from processor.reconciliation.statements import Entry, Statement
from tests.api.conftest import Api, assert_problem
from tests.stack import Stack

ROUTES: Final = (
    ("GET", "/v1/reconciliation"),
    ("GET", "/v1/reconciliation/lines?result=matched"),
    ("GET", "/v1/reconciliation/breaks.csv"),
    ("GET", "/v1/reconciliation/page"),
    ("POST", "/v1/reconciliation/lines/1/match"),
    ("POST", "/v1/reconciliation/lines/1/unmatch"),
)

CURRENCY: Final = "CHF"
"""No other test of the stack deposits in it."""


@pytest.fixture(scope="module")
def imported(stack: Stack, api: Api) -> Mapping[str, Any]:
    """A statement with a line for a deposit, and one for nothing; another deposit is not on it."""
    account = api.opened(CURRENCY)
    reference = f"pay-{uuid4().hex[:8]}-17"
    deposit = {"type": "deposit", "account": account, "currency": CURRENCY}
    position = api.settle(deposit | {"amount": "10.50", "reference": reference})["position"]
    missing = api.settle(deposit | {"amount": "2.00"})["position"]
    now = datetime.now(UTC)
    entries = [
        Entry("line 2", now.date(), True, 1_050, end_to_end_id=reference),
        Entry("line 3", now.date(), True, 300, text="<script>alert(1)</script>"),
    ]
    statement = Statement("csv", CURRENCY, now.date() - timedelta(days=1), now.date(), entries)
    with pools.connect(stack.app_url, "florin test") as conn:
        reconcile(
            *(conn, statement, uuid4().bytes),
            name="<b>.csv",
            bank_account="zurich",
            limits=Limits(),
            zone=UTC,
            by="test",
            now=now,
        )
        rows: dict[int, int] = dict(conn.execute("SELECT amount_minor, id FROM statement_line").fetchall())
    return {"position": position, "missing": missing, "matched": rows[1_050], "unknown": rows[300], "says": reference}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_reconciliation_is_for_admins(stranger: Api, api: Api, method: str, path: str) -> None:
    """Statements show who paid whom."""
    assert_problem(stranger.http.request(method, path), 401, "unauthenticated")
    assert_problem(api.http.request(method, path), 403, "forbidden")


def test_the_report_has_files_results_and_ages(admin: Api, imported: Mapping[str, Any]) -> None:
    """The same figures as `florin reconcile` prints."""
    answer = admin.http.get("/v1/reconciliation", params={"currency": CURRENCY})
    report = answer.json()

    assert answer.headers["cache-control"] == "no-store"
    assert report["files"][0] | {"id": 0, "imported_at": ""} == {
        "id": 0,
        "name": "<b>.csv",
        "format": "csv",
        "bank_account": "zurich",
        "currency": CURRENCY,
        "from_on": report["files"][0]["from_on"],
        "to_on": report["files"][0]["to_on"],
        "opening": None,
        "closing": None,
        "total": "13.50",
        "lines": 2,
        "new_lines": 2,
        "skipped": 0,
        "imported_by": "test",
        "imported_at": "",
    }
    assert [(each["result"], each["count"], each["amount"]) for each in report["totals"]] == [
        ("matched", 1, "10.50"),
        ("missing_in_books", 1, "3.00"),
        ("missing_in_statement", 1, "2.00"),
    ]
    assert {each["days"] for each in report["ageing"]} == {"0-1"}
    assert report["break_count"] == 2
    assert {each["subject"] for each in report["breaks"]} == {
        f"statement_line:{imported['unknown']}",
        f"transfer:{imported['missing']}.1",
    }


def test_lines_are_listed_by_their_result(admin: Api, imported: Mapping[str, Any]) -> None:
    """Matched ones with the transfer, the rule and who said so; the others with what is wrong."""

    def listed(**params: object) -> dict[str, Any]:
        answer = admin.http.get("/v1/reconciliation/lines", params={k: str(v) for k, v in params.items()})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    page = listed(result="matched", limit=1)
    (matched,) = page["matched"]

    assert (matched["line"], matched["transfer"]) == (imported["matched"], f"{imported['position']}.1")
    assert (matched["rule"], matched["made_by"], matched["says"]) == ("reference", "test", imported["says"])
    assert listed(result="matched", after=matched["line"]) == {"matched": [], "breaks": [], "next": None}
    assert [each["amount"] for each in listed(result="missing_in_books")["breaks"]] == ["3.00"]
    assert_problem(admin.http.get("/v1/reconciliation/lines"), 422, "invalid")
    assert_problem(admin.http.get("/v1/reconciliation/lines?result=lost"), 422, "invalid")


def test_the_page_runs_nothing_and_is_kept_nowhere(admin: Api, imported: Mapping[str, Any]) -> None:
    """A payer's text is text, whatever he wrote; the policy allows one style and nothing else."""
    answer = admin.http.get("/v1/reconciliation/page")
    policy = answer.headers["content-security-policy"]

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; base-uri 'none'; form-action 'none'; "
        r"frame-ancestors 'none'",
        policy,
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "&lt;b&gt;.csv" in answer.text
    assert re.findall(r"<script|<link|<img|src=|href=", answer.text) == []


def test_the_download_is_csv(admin: Api, imported: Mapping[str, Any]) -> None:
    """A row for each break, for a spreadsheet."""
    answer = admin.http.get("/v1/reconciliation/breaks.csv", params={"currency": CURRENCY})
    rows = list(csv.DictReader(answer.text.splitlines()))

    assert answer.headers["content-disposition"] == 'attachment; filename="reconciliation.csv"'
    assert {row["amount"] for row in rows} == {"3.00", "2.00"}
    assert_problem(admin.http.get("/v1/reconciliation/breaks.csv?currency=chf"), 422, "invalid")


def test_an_admin_matches_and_unmatches_with_a_reason(admin: Api, stack: Stack, imported: Mapping[str, Any]) -> None:
    """The break is closed and opened again, and the record says who."""
    url = f"/v1/reconciliation/lines/{imported['unknown']}"

    def open_breaks() -> set[str]:
        report = admin.http.get("/v1/reconciliation", params={"currency": CURRENCY}).json()
        return {each["subject"] for each in report["breaks"]}

    before = open_breaks()
    body = {"transfer": f"{imported['missing']}.1", "reason": "they paid a unit too much"}
    assert admin.http.post(f"{url}/match", json=body).json() == {
        "line": imported["unknown"],
        "matched": True,
        "pairs": 1,
    }
    assert open_breaks() == set()

    answer = admin.http.post(f"{url}/unmatch", json={"reason": "no, they did not"})
    assert answer.json() == {"line": imported["unknown"], "matched": False, "pairs": 1}
    assert open_breaks() == before
    with stack.owner() as conn:
        assert conn.execute(
            "SELECT DISTINCT made_by FROM statement_match WHERE line_id = %s", [imported["unknown"]]
        ).fetchall() == [("api:operator",)]


def test_what_cannot_be_decided_is_a_problem(admin: Api, imported: Mapping[str, Any]) -> None:
    """Each with a sentence, and nothing is written."""
    line, unknown = imported["matched"], imported["unknown"]
    good = {"transfer": f"{imported['position']}.1", "reason": "x"}

    def post(path: str, **body: object) -> httpx.Response:
        return admin.http.post(f"/v1/reconciliation/lines/{path}", json=body)

    assert_problem(post(f"{line}/match", **good), 422, "invalid")
    assert_problem(post(f"{unknown}/match", **good), 422, "invalid")
    assert_problem(post("999999/match", **good), 404, "not_found")
    assert_problem(post(f"{unknown}/match", **good | {"transfer": "999999.1"}), 404, "not_found")
    assert_problem(post(f"{unknown}/match", **good | {"transfer": "x"}), 422, "invalid")
    assert_problem(post(f"{unknown}/match", transfer=good["transfer"]), 422, "invalid")
    assert_problem(post(f"{unknown}/match", **good, more=1), 422, "invalid")
    assert_problem(post(f"{unknown}/unmatch", reason="x"), 422, "invalid")
    assert_problem(post(f"{unknown}/unmatch", reason="a\0b"), 422, "invalid")
    assert_problem(post("0/unmatch", reason="x"), 404, "not_found")
    malformed = admin.http.post(f"/v1/reconciliation/lines/{line}/unmatch", content=b"{")
    assert_problem(malformed, 400, "malformed")
    large = admin.http.post(f"/v1/reconciliation/lines/{line}/unmatch", content=b" " * 20_000)
    assert_problem(large, 413, "too_large")
