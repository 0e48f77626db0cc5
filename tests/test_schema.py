"""The OpenAPI document is valid, complete, and true where that can be checked."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from accounts.idempotency import IdempotentPosts
from products.api.originals import OriginalProductViewSet
from webhooks.api.originals import OriginalWebhookViewSet

PROBLEM = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        document: dict[str, Any] = SchemaGenerator().get_schema(public=True)
    return document


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    ]


def test_it_is_built_without_a_warning_and_valid(schema: dict[str, Any]) -> None:
    assert dict(GENERATOR_STATS._warn_cache) == dict(GENERATOR_STATS._error_cache) == {}
    validate_schema(schema)


def test_it_names_every_documented_address(schema: dict[str, Any]) -> None:
    assert {
        "/api/v1/products/",
        "/api/v1/products/{sku}/",
        "/api/v1/products/{sku}/history/",
        "/api/v1/products/export.csv",
        "/api/v1/products/export.xlsx",
        "/api/v1/imports/",
        "/api/v1/imports/{import_id}/",
        "/api/v1/imports/{import_id}/cancel/",
        "/api/v1/imports/{import_id}/rejects/",
        "/api/v1/imports/{import_id}/rejects.csv",
        "/api/v1/changes/",
        "/api/v1/webhooks/event-types/",
        "/products/csv",
        "/products/all",
        "/products/new",
        "/products/id/{sku}",
    } <= set(schema["paths"])


def test_every_operation_says_what_it_does_and_how_it_fails(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        assert operation.get("summary"), name
        assert operation.get("description"), name
        assert all(answer["description"] for answer in operation["responses"].values()), name
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"400", "401", "403"} <= set(errors), name
        for status, answer in errors.items():
            assert answer["content"] == {"application/problem+json": {"schema": PROBLEM}}, (name, status)


def test_every_answer_and_body_has_a_type(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        answers = [answer for status, answer in operation["responses"].items() if status not in ("204", "304")]
        for holder in bodies + answers:
            assert holder["content"], name
            for media in holder["content"].values():
                assert media["schema"], name


def test_every_operation_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(schema)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["/api/v1/imports/", "/products/csv"])
def test_a_file_may_be_sent_as_a_form_or_as_it_is(schema: dict[str, Any], path: str) -> None:
    operation = schema["paths"][path]["post"]
    content = operation["requestBody"]["content"]

    assert content["text/csv"]["schema"] == {"type": "string", "format": "binary", "minLength": 1}
    assert content["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"
    assert "202" in operation["responses"]


@pytest.mark.django_db
def test_anybody_may_read_it() -> None:
    answer = Client().get("/api/v1/schema/", headers={"accept": "application/json"})

    assert answer.status_code == 200
    assert answer.json()["openapi"] == "3.1.1"


def test_nothing_in_it_is_told_to_those_who_change_the_code(schema: dict[str, Any]) -> None:
    """An operation without a description had the docstring of its view, or of a base of that."""
    text = json.dumps(schema)

    for view in (IdempotentPosts, OriginalProductViewSet, OriginalWebhookViewSet):
        assert json.dumps(inspect.getdoc(view)).strip('"') not in text
    assert not re.search(r"\b(products|webhooks|accounts|common)\.[a-z_]+\.[A-Z]", text)


def test_what_may_be_one_of_some_words_has_a_name_of_ours(schema: dict[str, Any]) -> None:
    names = {name for name, component in schema["components"]["schemas"].items() if "enum" in component}

    assert {"ImportState", "ImportMode", "ProductStatus"} <= names
    assert [name for name in names if name.endswith("Enum")] == []


def test_every_parameter_and_field_is_described(schema: dict[str, Any]) -> None:
    silent = [
        f"{name} ?{parameter['name']}"
        for name, operation in operations(schema)
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    silent += [
        f"{name}.{field}"
        for name, component in schema["components"]["schemas"].items()
        for field, told in component.get("properties", {}).items()
        if not told.get("description")
    ]
    assert silent == []


def test_it_speaks_openapi_3_1_alone_and_null_is_a_value_where_it_can_be(schema: dict[str, Any]) -> None:
    page = schema["components"]["schemas"]["PaginatedShownProductList"]
    change = schema["components"]["schemas"]["FieldChangeDocument"]

    assert "nullable" not in str(schema), "that is a word of OpenAPI 3.0, which 3.1 takes for nothing"
    assert Draft202012Validator(page).is_valid({"next": None, "previous": None, "results": []})
    assert not Draft202012Validator(page).is_valid({"results": []})
    assert Draft202012Validator(change).is_valid({"old": None, "new": {"colour": "red"}, "field": "attributes"})


def test_a_body_has_its_defaults_in_words_which_no_generated_client_sends(schema: dict[str, Any]) -> None:
    bodies = [
        media["schema"]
        for _, operation in operations(schema)
        for media in operation.get("requestBody", {}).get("content", {}).values()
    ]
    bodies += [component for name, component in schema["components"]["schemas"].items() if name.endswith("Request")]
    fields = [field for body in bodies for field in body.get("properties", {}).values()]

    assert any("`upsert` if not given" in field.get("description", "") for field in fields)
    assert not [field for field in fields if "default" in field]
