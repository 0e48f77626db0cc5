"""Every address of the OpenAPI document, called wrongly in every way: one shape of error.

The addresses come out of the schema, so whatever joins it is held to the same.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from accounts.models import ApiToken, Scope, User

pytestmark = pytest.mark.django_db

METHODS = ("get", "post", "put", "patch", "delete")
ORIGINAL = {
    ("post", "/products/csv"),
    ("get", "/products/all"),
    ("post", "/products/new"),
    ("get", "/products/id/{sku}"),
    ("put", "/products/id/{sku}"),
    ("delete", "/products/id/{sku}"),
}
"""The addresses of the service that this one replaces."""


@dataclass(frozen=True)
class Operation:
    """One method of one address, as the schema has it."""

    method: str
    path: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    body_types: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def has_id(self) -> bool:
        return "{" in self.path

    @property
    def address(self) -> str:
        """The address of something that is not there."""
        ids = {
            parameter["name"]: str(uuid.UUID(int=7)) if parameter["schema"].get("format") == "uuid" else "no-such"
            for parameter in self.parameters
            if parameter["in"] == "path"
        }
        return re.sub(r"{(\w+)}", lambda match: ids.get(match[1], "7"), self.path)

    def takes(self, query: str) -> bool:
        return any(parameter["in"] == "query" and parameter["name"] == query for parameter in self.parameters)


def operations() -> list[Operation]:
    schema = SchemaGenerator().get_schema(public=True)
    return [
        Operation(
            method,
            path,
            item.get("parameters", []) + item[method].get("parameters", []),
            frozenset(item[method].get("requestBody", {}).get("content", {})),
        )
        for path, item in schema["paths"].items()
        for method in METHODS
        if method in item
    ]


OPERATIONS = operations()
WITH_BODY = [operation for operation in OPERATIONS if operation.body_types]
every = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
every_with_body = pytest.mark.parametrize("operation", WITH_BODY, ids=str)


def client_with(*scopes: str) -> Client:
    """A program of an administrator, with these scopes."""
    _, full = ApiToken.issue(User.objects.create_superuser("root"), name="test", scopes=list(scopes))
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {full}"})


@pytest.fixture
def program() -> Client:
    return client_with(*Scope.values)


def call(client: Client, operation: Operation, query: str = "", **how: Any) -> Any:
    how = {"data": b"", "content_type": "application/json"} | how if operation.method != "get" else how
    return client.generic(operation.method.upper(), operation.address + query, **how)


def problem(response: Any) -> dict[str, Any]:
    """The body of an answer, which must be a problem in every part (RFC 9457)."""
    assert response["Content-Type"] == "application/problem+json", response.content[:200]
    body: dict[str, Any] = json.loads(response.content)
    for name in ("type", "title", "code", "detail", "instance", "request_id"):
        assert isinstance(body[name], str), name
        assert body[name], name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"])
    assert body["type"] == f"urn:odata:problem:{body['code']}"
    assert body["status"] == response.status_code
    assert body["request_id"] == response["X-Request-ID"]
    for error in body.get("errors", ()):
        assert set(error) == {"pointer", "code", "message"}
        assert error["pointer"] == "" or error["pointer"].startswith("/")
    return body


def test_the_schema_has_the_addresses_that_were_promised() -> None:
    found = {(operation.method, operation.path) for operation in OPERATIONS}

    assert found >= ORIGINAL
    assert ("post", "/api/v1/imports/") in found
    assert ("get", "/api/v1/products/") in found


@every
def test_it_asks_strangers_who_they_are(operation: Operation) -> None:
    response = call(Client(), operation)

    assert problem(response)["code"] == "not_authenticated"
    assert (response.status_code, response["WWW-Authenticate"][:6]) == (401, "Bearer")


@every
def test_it_refuses_a_token_that_is_none(operation: Operation) -> None:
    response = call(Client(headers={"Authorization": "Bearer odata_nonsense"}), operation)

    assert problem(response)["code"] == "invalid_token"
    assert response.status_code == 401


@every
def test_it_names_the_scope_that_is_missing(operation: Operation) -> None:
    response = call(client_with(), operation)

    assert (response.status_code, problem(response)["code"]) == (403, "missing_scope")


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.has_id], ids=str)
def test_it_does_not_find_what_is_not_there(operation: Operation, program: Client) -> None:
    response = call(program, operation, data=b"{}")

    body = problem(response)
    if operation.body_types:
        assert response.status_code in (400, 404)  # which of the two is wrong is said first, is all one
    else:
        assert (response.status_code, body["status"]) == (404, 404)


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_it_names_the_methods_that_an_address_takes(path: str, program: Client) -> None:
    here = [operation for operation in OPERATIONS if operation.path == path]
    taken = {operation.method for operation in here}

    for method in set(METHODS) - taken:
        response = program.generic(method.upper(), here[0].address)
        assert problem(response)["code"] == "method_not_allowed"
        assert taken <= {allowed.strip().lower() for allowed in response["Allow"].split(",")}


@every_with_body
def test_it_refuses_a_body_of_another_type(operation: Operation, program: Client) -> None:
    response = call(program, operation, data=b"<a/>", content_type="application/x-nonsense")

    problem(response)
    assert response.status_code == 415 or (operation.has_id and response.status_code == 404)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b"7", b'{"name": NaN}', b'"\\ud800"'])
@pytest.mark.parametrize("operation", [each for each in WITH_BODY if "application/json" in each.body_types], ids=str)
def test_it_refuses_json_that_is_none_or_no_object(operation: Operation, body: bytes, program: Client) -> None:
    response = call(program, operation, data=body)

    problem(response)
    assert response.status_code == 400 or (operation.has_id and response.status_code == 404)


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=x"])
@pytest.mark.parametrize("operation", [each for each in WITH_BODY if "multipart/form-data" in each.body_types], ids=str)
def test_it_refuses_a_form_that_is_none(operation: Operation, boundary: str, program: Client) -> None:
    response = call(program, operation, data=b"no form", content_type=f"multipart/form-data{boundary}")

    problem(response)
    assert response.status_code == 400


@every
def test_it_refuses_nul_in_the_address(operation: Operation, program: Client) -> None:
    response = call(program, operation, query="?search=%00")

    assert (response.status_code, problem(response)["code"]) == (400, "nul_character")


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=cD1hYmM%3D", "page_size=0", "page_size=many"])
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.takes("cursor")], ids=str)
def test_it_refuses_pages_that_there_are_not(operation: Operation, query: str, program: Client) -> None:
    response = call(program, operation, query=f"?{query}")

    code = problem(response)["code"]
    assert code == f"invalid_{query.partition('=')[0]}" or (operation.has_id and code == "not_found")


@every
def test_it_refuses_to_answer_in_a_type_that_it_does_not_have(operation: Operation, program: Client) -> None:
    response = call(program, operation, headers={"Accept": "image/png"})

    problem(response)
    assert response.status_code == 406


@pytest.mark.parametrize("address", ["/api/", "/api/v1/nowhere/", "/products/nowhere", "/products/id/", "/webhooks/no"])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
def test_an_address_that_is_none_is_told_in_the_same_shape(address: str, accept: str, client: Client) -> None:
    response = client.get(address, headers={"Accept": accept})

    assert (response.status_code, problem(response)["code"]) == (404, "not_found")


# --- without the database ----------------------------------------------------------------------


@pytest.fixture
def visitor() -> Client:
    """Somebody with a session, from when the database was still there."""
    visitor = Client(raise_request_exception=False)
    visitor.force_login(User.objects.create_superuser("root"))
    return visitor


@pytest.fixture
def no_database(visitor: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From here on nothing listens where the database was."""
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        patch.setitem(connection.settings_dict, "PORT", "9")
        yield
        connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_database")
@pytest.mark.parametrize("address", ["/api/v1/products/", "/products/all", "/api/v1/imports/"])
def test_a_program_is_told_that_the_database_is_away(address: str, visitor: Client) -> None:
    for client in (visitor, Client(headers={"Authorization": f"Bearer odata_{'0' * 16}_{'A' * 43}"})):
        client.raise_request_exception = False
        response = client.get(address)

        assert (response.status_code, problem(response)["code"]) == (503, "unavailable")
        assert response["Retry-After"] == "5"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_database")
def test_a_person_is_told_that_the_database_is_away(visitor: Client) -> None:
    for address in ("/imports/", "/admin/", "/login/"):
        response = visitor.get(address, headers={"Accept": "text/html"})

        assert response.status_code == 503
        assert "The database does not answer" in response.content.decode()
        assert response["X-Request-ID"] in response.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_database")
def test_nobody_waits_for_a_database_that_is_away_more_than_once(
    visitor: Client, caplog: pytest.LogCaptureFixture
) -> None:
    visitor.get("/imports/")

    assert sum("database_refused" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_database")
def test_the_process_is_alive_whoever_asks_while_the_database_is_away(visitor: Client) -> None:
    assert visitor.get("/livez").status_code == 200
    assert visitor.get("/readyz").json()["code"] == "not_ready"
