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
]


@pytest.fixture(scope="package")
def described(stack: Stack, admin: Api) -> schemathesis.BaseSchema:
    """The description as the running API gives it."""
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
        "/healthz",
        "/readyz",
        "/metrics",
    }
    assert references
    for reference in references:
        _, _, name = reference.rpartition("#/components/schemas/")
        assert name in document["components"]["schemas"], reference


def test_the_description_says_what_may_go_wrong(stranger: Api) -> None:
    """Every error of an operation that needs a key is a problem, and these may always happen."""
    document = stranger.http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            if path.startswith("/v1/"):
                assert {"401", "403", "503"} <= errors.keys()
                for status, answer in errors.items():
                    assert list(answer["content"]) == ["application/problem+json"], f"{path} {status}"


@pytest.mark.parametrize(
    ("operation", "mode"),
    [(operation, mode) for mode in GenerationMode for operation in OPERATIONS]
    + [(f"GET {path}", GenerationMode.POSITIVE) for path in ("/healthz", "/readyz", "/metrics")],
)
def test_no_request_breaks_the_api(
    described: schemathesis.BaseSchema, stack: Stack, admin: Api, operation: str, mode: GenerationMode
) -> None:
    """Whatever the description allows, and whatever it forbids: no 5xx, and an answer of a documented form."""
    # Elsewhere what is forbidden may be harmless: a parameter that nobody knows, a bad line among good ones.
    checks = [*CHECKS, negative_data_rejection] if operation == "POST /v1/commands" else CHECKS
    authorization = {"Authorization": admin.http.headers["authorization"]}
    method, path = operation.split()

    @settings(max_examples=75, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def attack(case: "schemathesis.Case[Any]") -> None:
        response = case.call(base_url=stack.url, headers=authorization)
        case.validate_response(response, checks=checks)

    attack()


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
