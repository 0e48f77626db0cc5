"""`/api/v1/products/{sku}/history/`, as a program sees it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from products import catalogue
from products.models import Product
from products.tests.importing.imports import csv, imported
from products.tests.test_api_products import client_with, make_product, url_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> APIClient:
    return client_with("read")


def history(client: APIClient, sku: str, query: str = "") -> Any:
    return client.get(f"{url_of(sku)}history/{query}").json()


@pytest.mark.django_db(transaction=True)
def test_it_tells_what_changed_from_what_to_what_by_whom_when_and_by_which_file(client: APIClient) -> None:
    ada = User.objects.get(username="ada")
    import_ = imported(csv("sku,name", "B,Chair", "A,Lamp"), user=ada)
    product = Product.objects.get(sku="A")
    catalogue.update_product(product, {"name": "Lantern", "attributes": {"size": 5}}, actor=None)

    newest, oldest = history(client, "a")["results"]

    assert list(newest) == [
        "action", "version", "sku", "fields", "changed_by", "changed_at", "import", "line_number"
    ]  # fmt: skip
    assert (newest["action"], newest["version"], newest["sku"]) == ("updated", 2, "A")
    assert newest["fields"] == {
        "name": {"old": "Lamp", "new": "Lantern"},
        "attributes": {"old": {}, "new": {"size": 5}},
    }
    assert (newest["changed_by"], newest["import"], newest["line_number"]) == (None, None, None)
    assert (oldest["action"], oldest["fields"]["name"]) == ("created", {"old": None, "new": "Lamp"})
    assert (oldest["changed_by"], oldest["line_number"]) == ("ada", 3)
    assert oldest["import"] == {"id": str(import_.pk), "file_name": "products.csv"}
    assert oldest["changed_at"] < newest["changed_at"]


@pytest.mark.django_db(transaction=True)
def test_of_an_import_that_one_may_not_see_there_is_the_id_alone(client: APIClient) -> None:
    import_ = imported(csv("sku,name", "A,Lamp"), user=User.objects.create_user("grace"))

    [entry] = history(client, "A")["results"]

    assert entry["import"] == {"id": str(import_.pk), "file_name": None}
    assert entry["changed_by"] == "grace"


def test_following_next_shows_every_change_once_newest_first_and_previous_leads_back(client: APIClient) -> None:
    product = make_product("A")
    make_product("B")
    for number in range(2, 8):
        catalogue.update_product(product, {"name": f"Lamp {number}"}, actor=None)

    seen, pages, page = [], 0, history(client, "A", "?page_size=3")
    while True:
        seen += [(entry["version"], entry["fields"]["name"]["new"]) for entry in page["results"]]
        pages += 1
        if not page["next"]:
            break
        last, page = page, client.get(page["next"]).json()

    assert seen == [(version, f"Lamp {version}") for version in range(7, 1, -1)] + [(1, "Lamp")]
    assert pages == 3
    assert client.get(page["previous"]).json()["results"] == last["results"]


def test_a_deleted_product_is_found_by_the_sku_that_it_had(client: APIClient) -> None:
    for name in ("First", "Second"):
        product = make_product("A", name=name)
        catalogue.delete_product(product, actor=None)

    deleted, created = history(client, "a")["results"]

    assert (deleted["action"], deleted["fields"]["name"]) == ("deleted", {"old": "Second", "new": None})
    assert created["fields"]["name"] == {"old": None, "new": "Second"}


def test_a_product_that_is_there_comes_before_one_that_was(client: APIClient) -> None:
    catalogue.delete_product(make_product("A", name="First"), actor=None)
    make_product("a", name="Second")

    assert [entry["action"] for entry in history(client, "A")["results"]] == ["created"]


def test_a_sku_that_never_was_is_not_found(client: APIClient) -> None:
    answer = client.get(f"{url_of('GONE')}history/")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_it_needs_the_scope_to_read_and_refuses_what_it_does_not_know(client: APIClient) -> None:
    make_product("A")

    assert client_with("write").get(f"{url_of('A')}history/").status_code == 403
    assert history(client, "A", "?actoin=created")["code"] == "unknown_parameter"
    assert history(client, "A", "?cursor=nonsense")["code"] == "invalid_cursor"


def test_a_page_takes_as_many_queries_as_an_entry(client: APIClient) -> None:
    product = make_product("A")
    ada = User.objects.get(username="ada")

    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            assert history(client, "A")["results"]
        # Whether the token is looked up anew depends on how long ago that was done.
        return len([query for query in context if "accounts_apitoken" not in query["sql"]])

    catalogue.update_product(product, {"name": "Lamp 0"}, actor=ada)
    few = queries()
    for number in range(1, 20):
        catalogue.update_product(product, {"name": f"Lamp {number}"}, actor=ada)

    assert queries() == few


def test_the_deleted_are_found_by_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = catalogue.deleted_with_sku("A").explain()

    assert "change_deleting_sku" in plan
