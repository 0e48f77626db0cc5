"""The paths of the service that this one replaces work as they did there."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from products import catalogue
from products.models import Import, Product, ProductChange

pytestmark = pytest.mark.django_db

SLASHES = pytest.mark.parametrize("slash", ["", "/"])


@pytest.fixture
def client() -> APIClient:
    _, full = token_of(User.objects.create_user("ada"), "read", "write", "import")
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


def make_product(sku: str) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Lamp"}, actor=None)


@SLASHES
def test_a_file_is_accepted_with_the_id_of_its_task(client: APIClient, slash: str) -> None:
    file = SimpleUploadedFile("products.csv", b"sku,name\nA,B\n", "text/csv")

    answer = client.post(f"/products/csv{slash}", {"file": file})

    assert answer.status_code == 202
    import_ = Import.objects.get()
    assert answer.json()["task_id"] == answer.json()["id"] == str(import_.pk)
    assert answer.json() | {"same_as": None} == client.get(answer["Location"]).json()


@SLASHES
def test_all_products_are_a_plain_list_by_position(client: APIClient, slash: str) -> None:
    for number in range(5):
        make_product(f"P{number}")

    everything = client.get(f"/products/all{slash}").json()
    some = client.get(f"/products/all{slash}?skip=1&limit=2").json()

    assert [product["sku"] for product in everything] == ["P0", "P1", "P2", "P3", "P4"]
    assert some == everything[1:3]
    assert client.get(f"/products/all{slash}?skip=99").json() == []


@pytest.mark.parametrize(
    "query",
    [
        "skip=-1",
        "skip=x",
        "limit=1001",
        "limit=-1",
        "limit=1e3",
        "limit=\u0664",
        "page=2",
        "skip=0000000000019999999999",
    ],
)
def test_a_position_that_is_none_is_refused(client: APIClient, query: str) -> None:
    answer = client.get(f"/products/all?{query}")

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert query.partition("=")[0] in answer.json()["detail"]


@SLASHES
def test_a_product_can_be_made_read_replaced_and_deleted(client: APIClient, slash: str) -> None:
    made = client.post(f"/products/new{slash}", {"sku": "a/1", "name": "Lamp"}, format="json")
    read = client.get(f"/products/id/A%2F1{slash}")
    replaced = client.put(f"/products/id/a%2F1{slash}", {"name": "Desk lamp"}, format="json")
    deleted = client.delete(f"/products/id/a%2F1{slash}")

    assert [answer.status_code for answer in (made, read, replaced, deleted)] == [201, 200, 200, 204]
    assert read.json() == made.json()
    assert (replaced.json()["name"], replaced.json()["version"]) == ("Desk lamp", 2)
    assert not Product.objects.exists()
    assert list(ProductChange.objects.values_list("action", flat=True)) == ["created", "updated", "deleted"]


@SLASHES
def test_a_slash_at_the_end_of_a_sku_is_its_own(client: APIClient, slash: str) -> None:
    make_product("A")
    make_product("A/")

    read = client.get(f"/products/id/A%2F{slash}")
    first, again = (client.delete(f"/products/id/A%2F{slash}") for _ in range(2))

    assert read.json()["sku"] == "A/"
    assert (first.status_code, again.status_code) == (204, 404)
    assert client.get("/products/id/A").json()["sku"] == "A"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/products/csv"),
        ("get", "/products/all"),
        ("post", "/products/new"),
        ("get", "/products/id/A"),
        ("put", "/products/id/A"),
        ("delete", "/products/id/A"),
    ],
)
def test_strangers_are_turned_away(method: str, path: str) -> None:
    answer = getattr(APIClient(), method)(path)

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
