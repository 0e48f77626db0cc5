"""What may stand behind the question mark: one rule for every operation of the API."""

from __future__ import annotations

import re
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from drf_spectacular.extensions import OpenApiFilterExtension
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request

from accounts.models import Scope, User
from accounts.tests.people import token_of
from common.parameters import KnownParameters
from products.api.products import ProductViewSet
from products.listing import page_query
from products.models import Product

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Client:
    ada = User.objects.create_superuser("ada", password=None)
    return Client(headers={"Authorization": f"Bearer {token_of(ada, *Scope.values)[1]}"})


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    return [(method.upper(), path, each) for path, item in paths.items() for method, each in item.items()]


def test_every_operation_refuses_a_parameter_that_it_does_not_know(api: Client) -> None:
    passed = []
    for method, path, _ in operations():
        address = re.sub(r"{\w+}", lambda found: str(uuid.uuid4()), path)
        answer = api.generic(method, f"{address}?colour=red", "{}", content_type="application/json")
        if (answer.status_code, answer.json().get("code")) != (400, "unknown_parameter"):
            passed.append(f"{method} {path}: {answer.status_code}")
    assert passed == []


def test_every_read_takes_the_parameters_that_its_description_names(api: Client) -> None:
    """Their values may be wrong: what is asked is whether the names are known."""
    refused = []
    for method, path, operation in operations():
        names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        address = re.sub(r"{\w+}", lambda found: str(uuid.uuid4()), path)
        if method == "GET" and names:
            answer = api.get(f"{address}?{'&'.join(f'{name}=1' for name in names if name != 'format')}")
            if answer.status_code == 400 and answer.json()["code"] == "unknown_parameter":
                refused.append(f"{path}: {answer.json()['detail']}")
    assert refused == []


def test_every_operation_refuses_a_parameter_that_is_given_twice(api: Client) -> None:
    passed = []
    for method, path, operation in operations():
        address = re.sub(r"{\w+}", lambda found: str(uuid.uuid4()), path)
        for name in ["format", *(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")]:
            query = f"{name}=json&{name}=json"
            answer = api.generic(method, f"{address}?{query}", "{}", content_type="application/json")
            code = "not_found" if name == "format" and answer.status_code == 404 else "repeated_parameter"
            if answer.json().get("code") != code:
                passed.append(f"{method} {path}?{query}: {answer.status_code} {answer.content[:80]!r}")
    assert passed == []


def test_no_parameter_is_documented_as_one_to_be_repeated() -> None:
    """`refuse_repeated` knows none that may be."""
    parameters = [each for _, _, operation in operations() for each in operation.get("parameters", ())]

    assert [each["name"] for each in parameters if each["schema"].get("type") == "array"] == []


@pytest.mark.parametrize("twice", ["status=active&status=inactive", "attributes.colour=red&attributes.colour=red"])
def test_the_refusal_names_what_is_given_twice(api: Client, twice: str) -> None:
    name = twice.partition("=")[0]
    answer = api.get(f"/api/v1/products/?search=a&{twice}")

    assert (answer.status_code, answer.json()["code"]) == (400, "repeated_parameter")
    assert answer.json()["detail"] == (
        f"The parameter '{name}' is given 2 times. Give it once: only one of the values could count."
    )
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [(f"/{name}", "repeated_parameter")]


def test_the_refusal_says_what_there_is(api: Client) -> None:
    answer = api.get("/api/v1/webhooks/?colour=red&page_size=2&size=3")

    assert answer.json()["detail"] == "There is no parameter 'colour' here. There are: cursor, page_size."
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/colour", "/size"]


@pytest.mark.parametrize("name", ["attributes", "attributes.", "attribute.colour", "Status"])
def test_a_name_that_is_nearly_right_is_refused(api: Client, name: str) -> None:
    assert api.get("/api/v1/products/", {name: "red"}).json()["code"] == "unknown_parameter"


# --- fields, order, total ---------------------------------------------------------------------------


@pytest.fixture
def catalogue() -> None:
    for sku in ("b-1", "A-2", "C-3", "É-4", "z_5"):
        Product.objects.create(sku=sku, name=f"Product {sku}", attributes={"colour": "red", "big": 2**70})


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("path", ["/api/v1/products/b-1/", "/products/id/b-1"])
def test_one_product_shows_the_fields_that_are_chosen(api: Client, path: str) -> None:
    answer = api.get(path, {"fields": "name, version"})

    assert answer.json() == {"sku": "b-1", "name": "Product b-1", "version": 1}
    assert answer["ETag"] == api.get(path)["ETag"]


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("filters", [{}, {"attributes.colour": "red"}])
def test_a_list_shows_the_fields_that_are_chosen(api: Client, filters: dict[str, str]) -> None:
    answer = api.get("/api/v1/products/", {"fields": "attributes", "page_size": "1", **filters}).json()

    assert answer["results"] == [{"sku": "b-1", "attributes": {"colour": "red", "big": 2**70}}]
    assert "fields=attributes" in answer["next"]


@pytest.mark.parametrize("fields", ["", "id", "sku,", "sku,price"])
def test_a_field_that_there_is_not_is_refused(api: Client, fields: str) -> None:
    answer = api.get("/api/v1/products/", {"fields": fields})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/fields")
    assert "There are: sku, name, description, status" in answer.json()["detail"]


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("filters", ["", "&status=active"])
@pytest.mark.parametrize(
    ("ordering", "skus"),
    [
        ("id", ["b-1", "A-2", "C-3", "É-4", "z_5"]),
        ("-id", ["z_5", "É-4", "C-3", "A-2", "b-1"]),
        ("sku", ["A-2", "b-1", "C-3", "z_5", "É-4"]),
        ("-sku", ["É-4", "z_5", "C-3", "b-1", "A-2"]),
    ],
)
def test_pages_go_forth_and_back_in_each_order(api: Client, ordering: str, skus: list[str], filters: str) -> None:
    there, page = [], api.get(f"/api/v1/products/?ordering={ordering}&page_size=2{filters}").json()
    there.append(page)
    while page["next"]:
        there.append(page := api.get(page["next"]).json())
    back = [page]
    while page["previous"]:
        back.insert(0, page := api.get(page["previous"]).json())

    assert [product["sku"] for page in there for product in page["results"]] == skus
    assert [page["results"] for page in back] == [page["results"] for page in there]


@pytest.mark.usefixtures("catalogue")
def test_a_place_in_one_order_is_none_in_the_other(api: Client) -> None:
    by_id = api.get("/api/v1/products/?page_size=2").json()["next"]
    by_sku = api.get("/api/v1/products/?page_size=2&ordering=sku").json()["next"]

    for address in (by_id + "&ordering=sku", by_sku.replace("ordering=sku", "ordering=id")):
        assert api.get(address).json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("ordering", ["name", "sku,id", "", "updated_at"])
def test_an_order_without_an_index_is_refused(api: Client, ordering: str) -> None:
    answer = api.get("/api/v1/products/", {"ordering": ordering})

    assert answer.status_code == 400
    assert answer.json()["detail"].endswith("is not possible here. There is: id, -id, sku, -sku.")


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("down", [False, True])
def test_the_order_of_skus_has_an_index(down: bool) -> None:
    with connection.cursor() as cursor:  # so few products would be read in any order and sorted
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")

    plan = page_query(Product.objects.all(), "sku", down, ("name",), 2, "c-3").explain()

    assert re.search(r"Index Scan (Backward )?using product_sku_unique", plan)
    assert "Index Cond" in plan


@pytest.mark.usefixtures("catalogue")
def test_about_how_many_there_are_is_told_on_request(api: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_product")

    assert api.get("/api/v1/products/?total=estimate&page_size=1").json()["total_estimate"] == 5
    assert api.get("/api/v1/products/?total=estimate&status=inactive").json()["total_estimate"] <= 1
    assert "total_estimate" not in api.get("/api/v1/products/").json()
    assert api.get("/api/v1/products/?total=exact").json()["detail"].endswith("There is: estimate.")


def test_the_first_requests_of_a_server_may_all_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """drf-spectacular looks for its extensions then, such as for a library that is not installed."""
    (missing,) = [each for each in OpenApiFilterExtension._registry if each.__name__ == "DjangoFilterExtension"]
    request, start = RequestFactory().get("/", {"page_size": "1"}), threading.Barrier(8)
    view = ProductViewSet(action="list", request=Request(request), format_kwarg=None, kwargs={})
    vars(view)["get"] = view.list  # as the router does it

    def ask() -> bool:
        start.wait(10)
        return KnownParameters().has_permission(Request(request), view)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            monkeypatch.setattr(missing, "target_class", "django_filters.rest_framework.DjangoFilterBackend")
            monkeypatch.setattr(KnownParameters, "known", {})
            with ThreadPoolExecutor(8) as threads:
                assert all(each.result() for each in [threads.submit(ask) for _ in range(8)])
    finally:
        sys.setswitchinterval(interval)
