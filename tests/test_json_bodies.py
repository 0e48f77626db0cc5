"""JSON bodies have limits that are looked at before they are read."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiToken, Scope, User

pytestmark = pytest.mark.django_db
PRODUCTS = "/api/v1/products/"


class Unread(io.BytesIO):
    """A body that nobody may read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("The body was read.")

    readline = read


@pytest.fixture
def client() -> APIClient:
    _, full = ApiToken.issue(User.objects.create_superuser("ada"), name="test", scopes=Scope.values)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


def test_a_json_body_that_is_too_large_is_refused_unread(client: APIClient) -> None:
    answer = client.generic(
        "POST", PRODUCTS, "{}", "application/json", CONTENT_LENGTH="6000000", **{"wsgi.input": Unread()}
    )

    assert (answer.status_code, answer["Content-Type"]) == (413, "application/problem+json")
    assert answer.json()["code"] == "too_large"
    assert "6,000,000 bytes" in answer.json()["detail"]


def test_json_of_unknown_length_is_refused_unread(client: APIClient) -> None:
    answer = client.generic(
        "POST", PRODUCTS, "{}", "application/json", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": Unread()}
    )

    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_json_nested_too_deeply_is_a_bad_request(client: APIClient) -> None:
    answer = client.generic("POST", PRODUCTS, "[" * 100_000, "application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


def test_an_answer_without_content_has_no_length(client: APIClient) -> None:
    client.post(PRODUCTS, {"sku": "LAMP-1", "name": "Lamp"}, format="json")

    answer = client.delete(f"{PRODUCTS}LAMP-1/")

    assert answer.status_code == 204
    assert "Content-Length" not in answer
