"""`POST /api/v1/products/bulk/`: many products by one request, each for itself or all or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from products import catalogue
from products.catalogue import CATALOGUE_LOCK
from products.models import ChangePush, Product, ProductChange
from products.tests.listening import listen, types
from products.writes import Status

pytestmark = pytest.mark.django_db

BULK = "/api/v1/products/bulk/"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    _, full = token_of(ada, "write")
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


def make_product(sku: str, **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Lamp", **fields}, actor=None)


def send(client: APIClient, *items: object, **more: object) -> Any:
    return client.post(BULK, {"items": items, **more}, format="json")


def outcomes(answer: Any) -> list[tuple[str, int | None]]:
    assert answer.status_code == 200, answer.content
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(len(results)))
    for status in ("created", "updated", "unchanged", "deleted", "not_found", "conflict", "invalid"):
        assert answer.json()[status] == sum(result["status"] == status for result in results)
    return [(result["status"], result["version"]) for result in results]


def errors(answer: Any) -> list[tuple[str, str]]:
    """Pointer and code of all that is wrong, in an answer of either kind."""
    document = answer.json()
    found = document["errors"] if "errors" in document else [e for r in document["results"] for e in r["errors"]]
    assert all(error["message"] for error in found)
    return [(error["pointer"], error["code"]) for error in found]


# --- what comes of items -----------------------------------------------------------------------


def test_products_are_created_changed_left_alone_and_deleted_at_once(client: APIClient, ada: User) -> None:
    for sku in ("CHANGED", "SAME", "GONE"):
        make_product(sku, description="Brass", attributes={"colour": "red"})

    answer = send(
        client,
        {"sku": " new-1 ", "name": "New", "attributes": {"size": [1, None]}},
        {"sku": "changed", "name": "Changed", "status": "inactive"},
        {"sku": "SAME", "name": "Lamp", "attributes": {"colour": "red"}},
        {"sku": "GONE", "action": "delete"},
        {"sku": "NEVER", "action": "delete"},
    )

    assert outcomes(answer) == [
        ("created", 1),
        ("updated", 2),
        ("unchanged", 1),
        ("deleted", None),
        ("not_found", None),
    ]
    new, changed, same = (Product.objects.get(sku=sku) for sku in ("new-1", "CHANGED", "SAME"))
    assert (new.name, new.description, new.status, new.attributes) == ("New", "", "active", {"size": [1, None]})
    assert (changed.name, changed.description, changed.status) == ("Changed", "Brass", "inactive")
    assert changed.updated_at > changed.created_at
    assert same.version == 1
    assert not Product.objects.filter(sku="GONE").exists()
    history = ProductChange.objects.filter(actor_id=ada.pk).order_by("sku")
    assert [(each.sku, each.action, each.version) for each in history] == [
        ("CHANGED", "updated", 2),
        ("GONE", "deleted", 2),
        ("new-1", "created", 1),
    ]
    assert history[0].previous == {"name": "Lamp", "status": "active"}
    assert history[1].previous is not None
    assert history[1].previous["attributes"] == {"colour": "red"}


def test_the_history_is_that_of_single_writes(client: APIClient) -> None:
    """But for the number of the product, and who did it."""
    for way in ("single", "bulk"):
        make_product(f"A-{way}", attributes={"a": 1}), make_product(f"B-{way}")
    fields = {"name": "Other", "description": "x", "attributes": {"a": 2, "b": None}, "status": "inactive"}
    catalogue.update_product(catalogue.product_with_sku("A-single"), fields, actor=None)
    catalogue.delete_product(catalogue.product_with_sku("B-single"), actor=None)

    send(client, {"sku": "A-bulk", **fields}, {"sku": "B-bulk", "action": "delete"})

    def told(way: str) -> list[Any]:
        rows = ProductChange.objects.filter(sku__endswith=way).order_by("sku", "id")
        return [
            (
                row.sku[0],
                row.action,
                row.version,
                {**(row.previous or {}), "sku": "", "created_at": "", "updated_at": ""},
            )
            for row in rows
        ]

    assert told("bulk") == told("single")


def test_what_breaks_a_rule_is_told_for_each_item_and_the_others_are_written(client: APIClient) -> None:
    answer = send(
        client,
        {"sku": "A", "name": "x" * 256, "status": "sold"},
        {"sku": "", "name": "Lamp"},
        {"sku": "B", "name": "Lamp"},
        {"sku": "C"},
        {"sku": "D", "name": "Lamp", "attributes": {"a": ["\0"]}},
        {"sku": "E", "name": "\\u0000", "attributes": {"a": "\\u0000"}},
        {"sku": "F", "action": "delete", "name": "Lamp"},
    )

    assert [status for status, _ in outcomes(answer)] == [
        "invalid", "invalid", "created", "invalid", "invalid", "created", "invalid",
    ]  # fmt: skip
    assert errors(answer) == [
        ("/items/0/name", "name_too_long"),
        ("/items/0/status", "unknown_status"),
        ("/items/1/sku", "sku_missing"),
        ("/items/3/name", "name_missing"),
        ("/items/4/attributes", "control_character"),
        ("/items/6/name", "unexpected_field"),
    ]
    assert Product.objects.get(sku="E").attributes == {"a": "\\u0000"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('"\\ud800"', "half_surrogate"),
        ('{"a": 1e999}', "number_too_large"),
        ('["\\u0000"]', "control_character"),
        ("[" * 100 + "0" + "]" * 100, "nested_too_deeply"),
    ],
)
def test_json_that_can_not_be_stored_is_told_where_it_is(text: str, code: str, client: APIClient) -> None:
    body = '{"items": [{"sku": "A", "name": "Lamp", "attributes": {"b": TEXT}}, {"sku": "B", "name": "Lamp"}]}'

    answer = client.post(BULK, body.replace("TEXT", text), content_type="application/json")

    assert errors(answer) == [("/items/0/attributes", code)]
    assert [status for status, _ in outcomes(answer)] == ["invalid", "created"]


def test_a_sku_stands_in_one_item_only_whatever_its_case(client: APIClient) -> None:
    answer = send(
        client, {"sku": "Straße", "name": "A"}, {"sku": "B", "name": "B"}, {"sku": "STRASSE", "name": "C"},
        {"sku": "b", "action": "delete"},
    )  # fmt: skip

    assert [status for status, _ in outcomes(answer)] == ["created", "invalid", "created", "invalid"]
    assert errors(answer) == [("/items/1/sku", "duplicate_sku"), ("/items/3/sku", "duplicate_sku")]


def test_a_sku_of_several_items_is_not_written_although_one_of_them_is_wrong_for_another_reason(
    client: APIClient,
) -> None:
    for sku in ("A", "B"):
        make_product(sku)

    answer = send(
        client,
        {"sku": " a", "name": ""},
        {"sku": "A", "action": "delete"},
        {"sku": "B", "name": "New"},
        {"sku": "B", "action": "delete", "name": "Old"},
    )

    assert [status for status, _ in outcomes(answer)] == ["invalid"] * 4
    assert errors(answer) == [
        ("/items/0/name", "name_missing"),
        ("/items/1/sku", "duplicate_sku"),
        ("/items/2/sku", "duplicate_sku"),
        ("/items/3/name", "unexpected_field"),
    ]
    assert Product.objects.filter(name="Lamp").count() == 2


def test_a_version_that_was_not_seen_is_not_overwritten(client: APIClient) -> None:
    for sku in ("A", "B", "C", "D"):
        make_product(sku)
    catalogue.update_product(catalogue.product_with_sku("B"), {"name": "Other"}, actor=None)

    answer = send(
        client,
        {"sku": "A", "name": "New", "if_version": 1},
        {"sku": "B", "name": "New", "if_version": 1},
        {"sku": "C", "name": "New", "if_version": 0},
        {"sku": "D", "action": "delete", "if_version": 7},
        {"sku": "E", "name": "New", "if_version": 0},
        {"sku": "F", "name": "New", "if_version": 3},
    )

    assert [status for status, _ in outcomes(answer)] == ["updated"] + ["conflict"] * 3 + ["created", "conflict"]
    assert errors(answer) == [(f"/items/{number}/if_version", "changed_meanwhile") for number in (1, 2, 3, 5)]
    assert Product.objects.get(sku="B").name == "Other"


def test_what_an_answer_has_beside_may_be_sent_back_with_it(client: APIClient) -> None:
    make_product("A")
    item = {"sku": "A", "name": "B", "version": 9, "created_at": "x", "updated_at": "x"}

    assert outcomes(send(client, item)) == [("updated", 2)]


# --- all or none -------------------------------------------------------------------------------


def test_all_or_none_writes_all(client: APIClient) -> None:
    answer = send(client, {"sku": "A", "name": "A"}, {"sku": "B", "action": "delete"}, atomic=True)

    assert outcomes(answer) == [("created", 1), ("not_found", None)]


def test_all_or_none_writes_none_and_names_all_that_is_wrong(client: APIClient) -> None:
    make_product("B")
    endpoint = listen()

    answer = send(
        client,
        {"sku": "A", "name": "A"},
        {"sku": "B", "name": "New", "if_version": 2},
        {"sku": "C", "name": "C", "status": "sold"},
        atomic=True,
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "bulk_refused")
    assert errors(answer) == [("/items/1/if_version", "changed_meanwhile"), ("/items/2/status", "unknown_status")]
    assert list(Product.objects.values_list("sku", "name")) == [("B", "Lamp")]
    assert types(endpoint) == []
    assert not ChangePush.objects.exists()


def test_all_or_none_is_a_conflict_where_only_versions_are_in_the_way(client: APIClient) -> None:
    make_product("A")

    answer = send(client, {"sku": "A", "name": "New", "if_version": 2}, atomic=True)

    assert (answer.status_code, answer.json()["code"]) == (409, "bulk_refused")


# --- bodies that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/items", "required"),
        ({"items": []}, "/items", "min_length"),
        ({"items": {}}, "/items", "not_a_list"),
        ({"items": [{"sku": "A"}] * 1001}, "/items", "too_many_items"),
        ({"items": [{"sku": "A"}, 7]}, "/items/1", "invalid"),
        ({"items": [{"name": "A"}]}, "/items/0/sku", "required"),
        ({"items": [{"sku": 7}]}, "/items/0/sku", "invalid"),
        ({"items": [{"sku": "A", "price": 7}]}, "/items/0/price", "unknown_field"),
        ({"items": [{"sku": "A", "action": "merge"}]}, "/items/0/action", "invalid_choice"),
        ({"items": [{"sku": "A", "if_version": "1"}]}, "/items/0/if_version", "invalid"),
        ({"items": [{"sku": "A", "if_version": -1}]}, "/items/0/if_version", "min_value"),
        ({"items": [{"sku": "A", "name": "A"}], "atomic": 1}, "/atomic", "invalid"),
    ],
)
def test_a_body_of_another_shape_is_refused_as_a_whole(
    body: object, pointer: str, code: str, client: APIClient
) -> None:
    answer = client.post(BULK, body, format="json")

    assert answer.status_code == 400
    assert errors(answer) == [(pointer, code)]
    assert not Product.objects.exists()


# --- the others --------------------------------------------------------------------------------


def test_webhooks_are_told_of_it_as_of_an_import(client: APIClient, ada: User) -> None:
    one, many = listen("product.created"), listen("products.changed")

    send(client, *({"sku": f"A-{number}", "name": "A"} for number in range(3)))

    push = ChangePush.objects.get()
    assert (push.endpoint_id, push.items_total, push.actor_id, push.import_id) == (many.pk, 3, ada.pk, None)
    assert types(one) == []


@contextmanager
def elsewhere(statement: str, *parameters: object) -> Iterator[Any]:
    """Another connection, that has executed this in a transaction of its own."""
    with psycopg.connect(database_url()) as other:
        other.execute(statement, parameters)
        yield other
        other.rollback()


@pytest.mark.django_db(transaction=True)
def test_while_an_import_merges_nothing_is_written_and_the_client_is_told_when_to_ask_again(client: APIClient) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with elsewhere("SELECT pg_advisory_xact_lock(%s)", CATALOGUE_LOCK):
        answer = send(client, {"sku": "A", "name": "A"})

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (409, "catalogue_busy", "5")
    assert not Product.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_product_that_somebody_creates_meanwhile_is_changed_then(client: APIClient) -> None:
    url = database_url()  # here: in the thread it would open a connection of Django's

    def commit_when_waited_for(other: Any) -> None:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"
        with psycopg.connect(url, autocommit=True) as watcher:
            wait_until(lambda: watcher.execute(waiting).fetchone()[0], "our write waits for theirs", 4)  # type: ignore[index]
        other.commit()

    with elsewhere("INSERT INTO products_product (sku, name) VALUES ('a', 'Theirs')") as other:
        thread = Thread(target=commit_when_waited_for, args=[other])
        thread.start()
        answer = send(client, {"sku": "A", "name": "Mine"}, {"sku": "B", "name": "B"})
        thread.join()

    assert outcomes(answer) == [("updated", 2), ("created", 1)]
    assert list(Product.objects.order_by("sku").values_list("sku", "name")) == [("B", "B"), ("a", "Mine")]


def test_the_page_explains_every_status() -> None:
    page = (settings.BASE_DIR / "docs" / "api.md").read_text(encoding="utf-8")
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))

    for status in Status:
        assert f"`{status}`" in table


def test_a_thousand_take_a_handful_of_statements(client: APIClient, django_assert_max_num_queries: Any) -> None:
    for number in range(0, 1000, 2):
        Product.objects.create(sku=f"SKU-{number}", name="Lamp")
    items = [{"sku": f"sku-{number}", "name": "Other"} for number in range(1000)]
    send(client, {"sku": "WARM", "name": "Up"})

    with django_assert_max_num_queries(15):
        answer = send(client, *items)

    assert (answer.json()["created"], answer.json()["updated"]) == (500, 500)
