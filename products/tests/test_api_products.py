"""`/api/v1/products/`, as a program sees it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from products import catalogue, listing
from products.listing import ORDERS
from products.models import Product, ProductChange
from products.tests.importing.imports import csv, imported

pytestmark = pytest.mark.django_db

PRODUCTS = "/api/v1/products/"


def client_with(*scopes: str) -> APIClient:
    user, _ = User.objects.get_or_create(username="ada")
    _, full = token_of(user, *scopes)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


@pytest.fixture
def client() -> APIClient:
    return client_with("read", "write")


def make_product(sku: str = "LAMP-1", **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Lamp", **fields}, actor=None)


def url_of(sku: str) -> str:
    return f"{PRODUCTS}{quote(sku, safe='')}/"


# --- reading -----------------------------------------------------------------------------------


def test_pages_name_their_neighbours_in_the_link_header_as_in_the_body(client: APIClient) -> None:
    for number in range(5):
        make_product(f"LAMP-{number}")
    first = client.get(PRODUCTS, {"page_size": 2, "status": "active"})
    middle = client.get(first.data["next"])
    last = client.get(middle.data["next"])
    start = f"http://testserver{PRODUCTS}?page_size=2&status=active"
    assert first["Link"] == f'<{start}>; rel="first", <{first.data["next"]}>; rel="next"'
    assert middle["Link"] == (
        f'<{start}>; rel="first", <{middle.data["next"]}>; rel="next", <{middle.data["previous"]}>; rel="prev"'
    )
    assert last["Link"] == f'<{start}>; rel="first", <{last.data["previous"]}>; rel="prev"'


@pytest.mark.parametrize(("sku", "beginning"), [("ΣΑΣ-1", "ΣΑΣ"), ("İ-1", "İ"), ("Éa", "e\u0301")])
def test_the_beginning_of_a_sku_is_found_whatever_its_case(client: APIClient, sku: str, beginning: str) -> None:
    make_product(sku)

    assert [each["sku"] for each in client.get(PRODUCTS, {"sku": beginning}).data["results"]] == [sku]


def test_a_product_has_exactly_the_published_fields(client: APIClient) -> None:
    make_product(description="Brass", attributes={"colour": "red"})

    body = client.get(url_of("LAMP-1")).json()

    assert list(body) == [
        "sku", "name", "description", "status", "attributes", "version", "created_at", "updated_at"
    ]  # fmt: skip
    assert body["attributes"] == {"colour": "red"}
    assert (body["status"], body["version"]) == ("active", 1)


@pytest.mark.parametrize("sku", ["a/b", "two words", "50%", "what?", "#1", "ends/", "Äpfel", "rejects.csv", "..x"])
def test_any_sku_can_be_addressed(client: APIClient, sku: str) -> None:
    make_product(sku)

    assert client.get(url_of(sku.upper())).json()["sku"] == sku


def test_an_unknown_sku_is_not_found(client: APIClient) -> None:
    answer = client.get(url_of("GONE"))

    assert answer.status_code == 404
    assert (answer.json()["code"], "GONE" in answer.json()["detail"]) == ("not_found", True)


def test_following_next_shows_every_product_once_in_order_of_creation(client: APIClient) -> None:
    for number in range(7):
        make_product(f"P{number}")

    seen, pages, url = [], 0, f"{PRODUCTS}?page_size=3"
    while url:
        page = client.get(url).json()
        assert list(page) == ["next", "previous", "results"]
        seen += [product["sku"] for product in page["results"]]
        url, pages = page["next"], pages + 1

    assert seen == [f"P{number}" for number in range(7)]
    assert pages == 3


def test_lists_and_details_show_the_same_of_a_product(client: APIClient) -> None:
    make_product()

    [listed] = client.get(PRODUCTS).json()["results"]

    assert listed == client.get(url_of("LAMP-1")).json()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=inactive", ["B-2"]),
        ("status=active", ["A-1", "C_3"]),
        ("search=b-", ["B-2"]),
        ("search=desk", ["A-1", "B-2"]),
        ("search=DESK&status=active", ["A-1"]),
        ("search=_", ["C_3"]),
        ("search=%25", []),
        ("search=", ["A-1", "B-2", "C_3"]),
    ],
)
def test_it_filters(client: APIClient, query: str, found: list[str]) -> None:
    make_product("A-1", name="Desk lamp")
    make_product("B-2", name="Desk", status="inactive")
    make_product("C_3", name="Chair")

    assert [product["sku"] for product in client.get(f"{PRODUCTS}?{query}").json()["results"]] == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("weight=49.5", ["NUMBER", "TEXT"]),
        ("weight=49.50", ["NUMBER"]),
        ("weight=4.95e1", ["NUMBER"]),
        ("big=10000000000000000000000", ["NUMBER"]),
        ("new=true", ["NUMBER"]),
        ("new=false", []),
        ("weight=NaN", []),
        ("weight=1e999", []),
        ("weight=", []),
        ("weight=49.5&attributes.new=true", ["NUMBER"]),
    ],
)
def test_an_attribute_is_found_by_its_value_as_text_or_number_or_truth(
    client: APIClient, query: str, found: list[str]
) -> None:
    make_product("NUMBER", attributes={"weight": 49.5, "big": 1e22, "new": True})
    make_product("TEXT", attributes={"weight": "49.5", "new": "yes"})

    answer = client.get(f"{PRODUCTS}?attributes.{query}")

    assert [product["sku"] for product in answer.json()["results"]] == found


@pytest.mark.parametrize(
    ("query", "code", "word"),
    [
        ("staus=active", "unknown_parameter", "staus"),
        ("status=sold", "invalid", "sold"),
        ("page_size=0", "invalid_page_size", "page_size"),
        ("cursor=nonsense", "invalid_cursor", "cursor"),
    ],
)
def test_it_does_not_overlook_a_parameter_that_it_does_not_understand(
    client: APIClient, query: str, code: str, word: str
) -> None:
    answer = client.get(f"{PRODUCTS}?{query}")

    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert word in answer.json()["detail"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("enough", [5000, 3], ids="of the next {}".format)
@pytest.mark.parametrize("status", ["", "active"])
@pytest.mark.parametrize("order", ORDERS)
def test_products_of_an_import_come_in_each_order_both_ways_without_those_of_others_and_those_that_are_gone(
    client: APIClient, monkeypatch: pytest.MonkeyPatch, order: str, status: str, enough: int
) -> None:
    monkeypatch.setattr(listing, "NEXT", enough)
    for number in range(5):
        make_product(f"B-{number}")
    rows = [f"{'bAc'[number % 3]}-{number:02},Lamp,{'active' if number % 3 else 'inactive'}" for number in range(3, 18)]
    import_ = imported(csv("sku,name,status", *rows))
    for sku in ("A-04", "c-05", "b-06", "A-16"):
        catalogue.delete_product(catalogue.product_with_sku(sku), actor=None)
    wanted = Product.objects.filter(id__gt=Product.objects.get(sku="B-4").pk)
    expected = [each.sku for each in wanted if status in ("", each.status)]
    if "sku" in order:
        expected.sort(key=str.lower)
    if order.startswith("-"):
        expected.reverse()

    url: str | None = f"{PRODUCTS}?import={import_.pk}&ordering={order}&page_size=2"
    if status:
        url = f"{url}&status={status}"
    pages: list[dict[str, Any]] = []
    while url:
        pages.append(client.get(url).json())
        url = pages[-1]["next"]
    back, url = [pages[-1]], pages[-1]["previous"]
    while url:
        back.insert(0, client.get(url).json())
        url = back[0]["previous"]

    assert [product["sku"] for page in pages for product in page["results"]] == expected
    assert {product["sku"] for page in back for product in page["results"]} == set(expected)


# --- writing -----------------------------------------------------------------------------------


def test_creating_answers_with_the_product_and_its_address(client: APIClient) -> None:
    answer = client.post(PRODUCTS, {"sku": " a/b ", "name": "Lamp", "attributes": {"watts": 5}}, format="json")

    assert answer.status_code == 201
    assert (answer.json()["sku"], answer.json()["attributes"]) == ("a/b", {"watts": 5})
    assert client.get(answer["Location"]).json() == answer.json()
    change = ProductChange.objects.get()
    assert (change.action, change.actor_id) == ("created", User.objects.get(username="ada").pk)


@pytest.mark.parametrize("sku", ["bulk", "a/history", "a/b", "two words?", "#é%"])
def test_the_address_of_a_new_product_leads_to_it_whatever_its_sku(client: APIClient, sku: str) -> None:
    answer = client.post(PRODUCTS, {"sku": sku, "name": "Lamp"}, format="json")

    assert client.get(answer["Location"]).json() == answer.json()


def test_a_sku_can_be_taken_only_once(client: APIClient) -> None:
    make_product("LAMP-1")

    answer = client.post(PRODUCTS, {"sku": "lamp-1", "name": "Lamp"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "sku_taken")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"name": "Lamp"}, "/sku", "required"),
        ({"sku": "", "name": "Lamp"}, "/sku", "sku_missing"),
        ({"sku": "A", "name": " "}, "/name", "name_missing"),
        ({"sku": "A", "name": None}, "/name", "null"),
        ({"sku": ["A"], "name": "Lamp"}, "/sku", "invalid"),
        ({"sku": "A", "name": "Lamp", "status": "sold"}, "/status", "unknown_status"),
        ({"sku": "A", "name": "Lamp", "attributes": [1]}, "/attributes", "not_a_dict"),
        ({"sku": "A", "name": "Lamp", "attributes": {"a": "\0"}}, "/attributes", "control_character"),
        ({"sku": "A", "name": "Lamp", "colour": "red"}, "/colour", "unknown_field"),
        ({"sku": "A", "name": "Lamp\0"}, "/name", None),
        ("text", "", "invalid"),
    ],
)
def test_it_says_which_field_is_wrong(client: APIClient, body: object, pointer: str, code: str | None) -> None:
    answer = client.post(PRODUCTS, body, format="json")

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    found = {(error["pointer"], error["code"]) for error in problem.get("errors", [])} or {("", problem["code"])}
    assert any(pointer == at and code in (None, what) for at, what in found)
    assert not Product.objects.exists()


def test_put_replaces_all_that_it_does_not_name(client: APIClient) -> None:
    make_product(description="Brass", status="inactive", attributes={"a": 1})

    answer = client.put(url_of("lamp-1"), {"name": "Desk lamp"}, format="json")

    body = answer.json()
    assert answer.status_code == 200
    assert (body["name"], body["description"], body["status"], body["attributes"]) == ("Desk lamp", "", "active", {})
    assert body["version"] == 2


def test_put_needs_a_name_and_does_not_create(client: APIClient) -> None:
    make_product()

    assert client.put(url_of("LAMP-1"), {"status": "active"}, format="json").json()["errors"][0]["pointer"] == "/name"
    assert client.put(url_of("NEW"), {"name": "New"}, format="json").status_code == 404


def test_patch_leaves_what_it_does_not_name(client: APIClient) -> None:
    make_product(description="Brass")

    body = client.patch(url_of("LAMP-1"), {"status": "inactive"}, format="json").json()

    assert (body["name"], body["description"], body["status"], body["version"]) == ("Lamp", "Brass", "inactive", 2)


def test_what_was_read_can_be_sent_back_and_changes_nothing(client: APIClient) -> None:
    make_product(description="Brass")
    before = client.get(url_of("LAMP-1")).json()

    answer = client.put(url_of("LAMP-1"), before, format="json")

    assert answer.json() == before
    assert ProductChange.objects.count() == 1


@pytest.mark.parametrize("number", ["1e22", "1e308", "-0.0", "5.0", "0.1", str(2**70)])
def test_the_same_number_however_it_is_written_changes_nothing_twice(client: APIClient, number: str) -> None:
    make_product()
    body = f'{{"name": "Lamp", "attributes": {{"weight": [{number}]}}}}'

    versions = [client.put(url_of("LAMP-1"), body, content_type="application/json").json()["version"] for _ in "two"]

    assert versions == [2, 2, 2]


@pytest.mark.parametrize("other", ["true", "1.5", '"1"', "null"])
def test_what_python_takes_for_the_same_is_a_change(client: APIClient, other: str) -> None:
    make_product(attributes={"weight": 1})

    body = f'{{"attributes": {{"weight": {other}}}}}'

    assert client.patch(url_of("LAMP-1"), body, content_type="application/json").json()["version"] == 2


def test_a_sku_may_be_repeated_in_any_case_but_not_changed(client: APIClient) -> None:
    make_product("LAMP-1")
    make_product("OTHER")

    assert client.patch(url_of("LAMP-1"), {"sku": "lamp-1"}, format="json").json()["sku"] == "LAMP-1"
    for sku in ("LAMP-2", "OTHER", ""):
        answer = client.patch(url_of("LAMP-1"), {"sku": sku, "name": "X"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (400, "sku_immutable")
    assert Product.objects.filter(name="Lamp").count() == 2


def test_deleting_takes_the_product_away_and_keeps_its_history(client: APIClient) -> None:
    make_product()

    answer = client.delete(url_of("lamp-1"))

    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(url_of("LAMP-1")).status_code == 404
    assert client.delete(url_of("LAMP-1")).status_code == 404
    assert list(ProductChange.objects.values_list("action", flat=True)) == ["created", "deleted"]


# --- states of a product -------------------------------------------------------------------------


def test_an_answer_names_the_state_of_its_product_by_whatever_sku_it_was_asked_for(client: APIClient) -> None:
    created = client.post(PRODUCTS, {"sku": "LAMP-1", "name": "Lamp"}, format="json")
    read, again = client.get(url_of("lamp-1")), client.get(url_of("LAMP-1"))
    changed = client.patch(url_of("Lamp-1"), {"name": "Desk lamp"}, format="json")

    assert created["ETag"] == read["ETag"] == again["ETag"]
    assert created["ETag"].startswith('"')  # a strong one
    assert changed["ETag"] == client.get(url_of("LAMP-1"))["ETag"] != created["ETag"]


def test_a_product_that_the_client_has_already_is_not_sent_again(client: APIClient) -> None:
    make_product()
    tag = client.get(url_of("LAMP-1"))["ETag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(url_of("lamp-1"), headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in answer
    client.patch(url_of("LAMP-1"), {"name": "Desk lamp"}, format="json")
    assert client.get(url_of("LAMP-1"), headers={"If-None-Match": tag}).json()["name"] == "Desk lamp"


def test_a_product_made_anew_is_not_taken_for_the_one_that_was_deleted(client: APIClient) -> None:
    make_product()
    tag = client.get(url_of("LAMP-1"))["ETag"]
    client.delete(url_of("LAMP-1"))
    make_product(description="Another one")

    assert client.get(url_of("LAMP-1"), headers={"If-None-Match": tag}).status_code == 200
    assert client.delete(url_of("LAMP-1"), headers={"If-Match": tag}).status_code == 412


def test_a_write_meant_for_another_state_writes_nothing(client: APIClient) -> None:
    make_product()
    tag = client.get(url_of("LAMP-1"))["ETag"]
    client.patch(url_of("LAMP-1"), {"name": "Desk lamp"}, format="json")

    for stale in (tag, "nonsense", "", f"W/{client.get(url_of('LAMP-1'))['ETag']}"):
        answers = [
            client.put(url_of("LAMP-1"), {"name": "Lost"}, format="json", headers={"If-Match": stale}),
            client.patch(url_of("lamp-1"), {"name": "Lost"}, format="json", headers={"If-Match": stale}),
            client.patch(url_of("lamp-1"), {"name": "Desk lamp"}, format="json", headers={"If-Match": stale}),
            client.delete(url_of("LAMP-1"), headers={"If-Match": stale}),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(412, "precondition_failed")] * 4
        assert {answer["Content-Type"] for answer in answers} == {"application/problem+json"}
    assert Product.objects.get().name == "Desk lamp"
    assert ProductChange.objects.count() == 2


def test_a_write_meant_for_this_state_is_done(client: APIClient) -> None:
    make_product()
    tag = client.get(url_of("LAMP-1"))["ETag"]

    changed = client.put(url_of("LAMP-1"), {"name": "Desk lamp"}, format="json", headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    again = client.patch(
        url_of("LAMP-1"), {"name": "Lamp"}, format="json", headers={"If-Match": f'"x", {changed["ETag"]}'}
    )
    assert again.status_code == 200
    assert client.delete(url_of("LAMP-1"), headers={"If-Match": "*"}).status_code == 204


def test_no_write_passes_a_state_that_if_none_match_excludes(client: APIClient) -> None:
    make_product()

    answer = client.put(url_of("LAMP-1"), {"name": "Lost"}, format="json", headers={"If-None-Match": "*"})

    assert (answer.status_code, Product.objects.get().name) == (412, "Lamp")


def test_an_address_of_one_product_overlooks_no_parameter_either(client: APIClient) -> None:
    make_product()
    url = f"{url_of('LAMP-1')}?if_match=1"
    body = {"name": "Lost"}

    answers = [
        client.get(url), client.put(url, body, format="json"), client.patch(url, body, format="json"),
        client.delete(url), client.post(f"{PRODUCTS}?dry_run=1", {"sku": "B", "name": "B"}, format="json"),
    ]  # fmt: skip

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "unknown_parameter")] * 5
    assert list(Product.objects.values_list("name", flat=True)) == ["Lamp"]


# --- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scopes", [("read", "import"), ("import",), ()])
def test_writing_needs_the_scope_write(scopes: tuple[str, ...]) -> None:
    make_product()
    client = client_with(*scopes)
    body = {"sku": "B", "name": "B"}

    answers = [
        client.post(PRODUCTS, body, format="json"),
        client.put(url_of("LAMP-1"), {"name": "B"}, format="json"),
        client.patch(url_of("LAMP-1"), {"name": "B"}, format="json"),
        client.delete(url_of("LAMP-1")),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert list(Product.objects.values_list("name", flat=True)) == ["Lamp"]


def test_reading_needs_the_scope_read_and_strangers_see_nothing() -> None:
    make_product()

    assert client_with("write").get(PRODUCTS).status_code == 403
    assert client_with("import").get(url_of("LAMP-1")).status_code == 403
    assert APIClient().get(PRODUCTS).status_code == 401
