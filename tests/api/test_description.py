"""The OpenAPI description: valid, true, and attacked with what it allows and with what it does not."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.api.conftest import Api
from tests.stack import Stack

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    missing_required_header,
    unsupported_method,
]

OPERATIONS = [
    "POST /v1/commands",
    "GET /v1/commands",
    "GET /v1/commands/{command_id}",
    "POST /v1/commands/batch",
    "GET /v1/accounts/{account}",
    "GET /v1/accounts",
    "GET /v1/accounts/{account}/transactions",
    "GET /v1/accounts/{account}/balance",
    "GET /v1/transactions",
    "GET /v1/accounts/{account}/statement",
    "GET /v1/advances",
    "GET /v1/advances/{advance_id}",
    "GET /v1/holds",
    "GET /v1/holds/{hold_id}",
    "GET /v1/reconciliation/lines",
    "POST /v1/reconciliation/lines/{line_id}/match",
    "GET /v1/alerts",
    "POST /v1/alerts/{alert_id}/acknowledge",
    "POST /v1/alerts/{alert_id}/resolve",
    "POST /v1/quarantine/{account}/release",
]


@pytest.fixture
def described(admin: Api) -> schemathesis.BaseSchema:
    """The description as the running API gives it. Made anew for each test: it learns from the answers that it sees."""
    return schemathesis.openapi.from_dict(admin.http.get("/openapi.json").json())


def test_the_description_is_valid_openapi(stranger: Api) -> None:
    """Generators of clients stop at the first mistake in it."""
    document = stranger.http.get("/openapi.json").json()
    schemathesis.openapi.from_dict(document).validate()
    references = set(_references(document))

    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/commands",
        "/v1/commands/{command_id}",
        "/v1/commands/batch",
        "/v1/accounts/{account}",
        "/v1/accounts",
        "/v1/accounts/{account}/transactions",
        "/v1/accounts/{account}/balance",
        "/v1/transactions",
        "/v1/accounts/{account}/statement",
        "/v1/advances",
        "/v1/advances/{advance_id}",
        "/v1/holds",
        "/v1/holds/{hold_id}",
        "/v1/reconciliation",
        "/v1/reconciliation/lines",
        "/v1/reconciliation/breaks.csv",
        "/v1/reconciliation/page",
        "/v1/reconciliation/lines/{line_id}/match",
        "/v1/reconciliation/lines/{line_id}/unmatch",
        "/v1/alerts",
        "/v1/alerts/{alert_id}",
        "/v1/alerts/{alert_id}/acknowledge",
        "/v1/alerts/{alert_id}/resolve",
        "/v1/quarantine",
        "/v1/quarantine/{account}/release",
        "/v1/ops/overview",
        "/healthz",
        "/readyz",
    }
    assert references
    for reference in references:
        _, _, name = reference.rpartition("#/components/schemas/")
        assert name in document["components"]["schemas"], reference


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("POST /v1/commands", {200, 202, 400, 401, 403, 413, 422, 429, 500, 503}),
        ("POST /v1/commands/batch", {200, 400, 401, 403, 413, 415, 422, 429, 500, 503}),
        ("GET /v1/commands", {200, 401, 403, 404, 422, 500, 503}),
        ("GET /v1/commands/{command_id}", {200, 401, 403, 404, 500, 503}),
        ("GET /v1/accounts/{account}", {200, 401, 403, 404, 500, 503}),
        ("GET /v1/accounts", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/accounts/{account}/transactions", {200, 401, 403, 404, 422, 500, 503}),
        ("GET /v1/accounts/{account}/balance", {200, 401, 403, 404, 422, 500, 503}),
        ("GET /v1/transactions", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/advances", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/advances/{advance_id}", {200, 401, 403, 404, 500, 503}),
        ("GET /v1/holds", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/holds/{hold_id}", {200, 401, 403, 404, 500, 503}),
        ("GET /v1/reconciliation", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/reconciliation/page", {200, 401, 403, 422, 500, 503}),
        ("POST /v1/reconciliation/lines/{line_id}/match", {200, 400, 401, 403, 404, 413, 422, 500, 503}),
        ("GET /v1/alerts", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/alerts/{alert_id}", {200, 401, 403, 404, 500, 503}),
        ("POST /v1/alerts/{alert_id}/acknowledge", {200, 400, 401, 403, 404, 413, 422, 500, 503}),
        ("POST /v1/alerts/{alert_id}/resolve", {200, 400, 401, 403, 404, 413, 422, 500, 503}),
        ("GET /v1/quarantine", {200, 401, 403, 422, 500, 503}),
        ("GET /v1/ops/overview", {200, 401, 403, 422, 500, 503}),
        ("POST /v1/quarantine/{account}/release", {200, 202, 400, 401, 403, 404, 413, 422, 500, 503}),
    ],
)
def test_the_description_says_what_may_go_wrong(stranger: Api, operation: str, statuses: set[int]) -> None:
    """Just the answers that there are, and every error among them is a problem."""
    method, path = operation.split()
    answers = stranger.http.get("/openapi.json").json()["paths"][path][method.lower()]["responses"]
    media_types = {tuple(answer["content"]) for status, answer in answers.items() if status >= "400"}

    assert {int(status) for status in answers} == statuses
    assert media_types == {("application/problem+json",)}


@pytest.mark.parametrize(
    ("operation", "mode"),
    [(operation, mode) for mode in GenerationMode for operation in OPERATIONS]
    + [(f"GET {path}", GenerationMode.POSITIVE) for path in ("/healthz", "/readyz")],
)
def test_no_request_breaks_the_api(
    described: schemathesis.BaseSchema, stack: Stack, admin: Api, operation: str, mode: GenerationMode
) -> None:
    """Whatever the description allows, and whatever it forbids: no 5xx, and an answer of a documented form."""
    # Elsewhere what is forbidden may be harmless: a parameter that nobody knows, a bad line among good ones.
    checks = [*CHECKS, negative_data_rejection] if operation == "POST /v1/commands" else CHECKS
    authorization = {"Authorization": admin.http.headers["authorization"]}
    method, path = operation.split()

    cases: list[schemathesis.Case[Any]] = []

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def make(case: "schemathesis.Case[Any]") -> None:
        cases.append(case)

    make()  # All of them before the first is sent, so that they are the same in every run.
    for case in cases:
        response = case.call(base_url=stack.url, headers=authorization)
        case.validate_response(response, checks=checks)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
