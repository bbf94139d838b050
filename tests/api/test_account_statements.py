"""A customer's statement over HTTP: in which form, for whom, and what is said to a question that cannot be answered."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from pypdf import PdfReader

from api_min.account_statements import _prefers_pdf
from tests.api.conftest import Api, a_deposit, a_withdrawal, assert_problem


def month() -> str:
    """The present one, in the stack's zone."""
    return f"{datetime.now(UTC):%Y-%m}"


@pytest.fixture(scope="module")
def account(api: Api) -> str:
    """One with two transfers, which were made in this month unless it has just begun."""
    name = api.opened(deposit="10.50")
    assert api.settle(a_withdrawal(name, "0.40"))["status"] == "applied"
    return name


def test_a_statement_is_csv_or_a_document(api: Api, account: str) -> None:
    """The same figures in both, under a name to be kept by."""
    address, now = f"/v1/accounts/{account}/statement", datetime.now(UTC).date()
    days = {"from": str(now - timedelta(days=1)), "to": str(now)}
    table = api.http.get(address, params=days)
    document = api.http.get(address, params={**days, "format": "pdf"})
    asked = api.http.get(address, params=days, headers={"Accept": "application/pdf, */*;q=0.1"})

    assert (table.status_code, table.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert table.headers["content-disposition"] == (
        f'attachment; filename="statement-{account}-{days["from"]}-{days["to"]}.csv"'
    )
    assert [(row["row"], row["amount"], row["balance"]) for row in csv.DictReader(io.StringIO(table.text))] == [
        ("opening", "", "0.00"),
        ("transfer", "10.50", "10.50"),
        ("transfer", "-0.40", "10.10"),
        ("total_in", "10.50", ""),
        ("total_out", "-0.40", ""),
        ("closing", "", "10.10"),
        ("held", "0.00", ""),
        ("available", "10.10", ""),
    ]
    assert [each.headers["content-type"] for each in (document, asked)] == ["application/pdf"] * 2
    assert "This period is not over" in PdfReader(io.BytesIO(document.content)).pages[0].extract_text()
    assert {each.headers["cache-control"] for each in (table, document, asked)} == {"no-store"}


def test_a_large_account_is_streamed_page_by_page(api: Api) -> None:
    """More transfers than are read at once: none is missing, and none is there twice."""
    name = api.opened()
    lines = [{**a_deposit(name, "0.01"), "idempotency_key": f"{name}-{number}"} for number in range(1_200)]
    answer = api.http.post("/v1/commands/batch", json=lines)
    assert answer.status_code == 200
    api.settle(a_deposit(name, "1.00"))
    text = api.http.get(f"/v1/accounts/{name}/statement", params={"month": month()}).text
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["row"] == "transfer"]

    assert len(rows) == 1_201
    assert rows[-1]["balance"] == "13.00"
    assert len({row["command_id"] for row in rows}) == 1_201


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "month"),
        ({"month": "2026-11", "from": "2026-11-01"}, "month"),
        ({"from": "2026-11-01"}, "month"),
        ({"month": "2026-13"}, "month"),
        ({"month": "november"}, "month"),
        ({"from": "2026-02-30", "to": "2026-03-01"}, "from"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ({"month": "2026-01", "format": "xls"}, "format"),
    ],
)
def test_a_period_that_cannot_be_is_invalid(api: Api, account: str, params: dict[str, str], field: str) -> None:
    """The answer names the parameter to mend."""
    problem = assert_problem(api.http.get(f"/v1/accounts/{account}/statement", params=params), 422, "invalid")

    assert [each["field"] for each in problem["errors"]] == [field]


def test_the_future_has_no_statement(api: Api, account: str) -> None:
    """An empty one would say that nothing is going to happen."""
    answer = api.http.get(f"/v1/accounts/{account}/statement", params={"month": "9000-01"})

    assert "future" in assert_problem(answer, 422, "invalid")["detail"]


def test_only_customers_accounts_have_one_and_only_readers_get_it(api: Api, admin: Api, stranger: Api) -> None:
    """The bank's own are in the journal."""
    params = {"month": month()}

    assert_problem(admin.http.get("/v1/accounts/@settlement:USD/statement", params=params), 404, "not_found")
    assert_problem(api.http.get("/v1/accounts/nobody/statement", params=params), 404, "not_found")
    assert_problem(stranger.http.get("/v1/accounts/nobody/statement", params=params), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("accept", "is_pdf"),
    [
        ("", False),
        ("*/*", False),
        ("application/pdf", True),
        ("text/csv, application/pdf", False),
        ("text/csv;q=0.5, application/pdf", True),
        ("text/*;q=0.5, application/*", True),
        ("application/pdf;q=0.3, */*;q=0.4", False),
        ("application/pdf;q=banana", False),
    ],
)
def test_the_header_decides_if_nothing_else_does(accept: str, is_pdf: bool) -> None:
    """What cannot be read asks for nothing."""
    assert _prefers_pdf(accept) is is_pdf
