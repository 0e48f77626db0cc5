"""Whichever way the catalogue is changed, those who want to know are told: once, and if nothing happened, nothing."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from products import catalogue, pushing
from products.importing import lease
from products.models import ChangePush, Product, ProductChange
from products.selection import Selection
from products.tasks import change_products, undo_import
from products.tests.importing.imports import csv, received, run
from products.tests.importing.imports import imported as import_file
from products.tests.listening import listen, told, types
from products.tests.test_views import make_user, signed_in
from webhooks.models import Event

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/admin/products/product/"


@pytest.fixture
def ada() -> User:
    rights = ("view_product", "add_product", "change_product", "delete_product", "add_import", "view_import")
    return make_user("ada", *rights, is_staff=True)


@pytest.fixture
def lamp() -> Product:
    return catalogue.create_product({"sku": "LAMP-1", "name": "Lamp"}, actor=None)


def api(user: User) -> APIClient:
    _, token = token_of(user, "read", "write", "import")
    return APIClient(headers={"authorization": f"Bearer {token}"})


def admin_form(**fields: str) -> dict[str, str]:
    return {"name": "Lamp", "description": "", "status": "active", "attributes": "{}"} | fields


# --- every way in ------------------------------------------------------------------------------

Way = Callable[[User, Product, Path], Any]
WAYS: dict[str, tuple[Way, list[str]]] = {
    "api create": (
        lambda ada, lamp, _: api(ada).post("/api/v1/products/", {"sku": "A", "name": "B"}, format="json"),
        ["product.created"],
    ),
    "api put": (
        lambda ada, lamp, _: api(ada).put("/api/v1/products/LAMP-1/", {"name": "Oak lamp"}, format="json"),
        ["product.updated"],
    ),
    "api patch": (
        lambda ada, lamp, _: api(ada).patch("/api/v1/products/LAMP-1/", {"status": "inactive"}, format="json"),
        ["product.updated"],
    ),
    "api delete": (lambda ada, lamp, _: api(ada).delete("/api/v1/products/LAMP-1/"), ["product.deleted"]),
    "original create": (
        lambda ada, lamp, _: api(ada).post("/products/new", {"sku": "A", "name": "B"}, format="json"),
        ["product.created"],
    ),
    "original put": (
        lambda ada, lamp, _: api(ada).put("/products/id/LAMP-1", {"name": "Oak lamp"}, format="json"),
        ["product.updated"],
    ),
    "original delete": (lambda ada, lamp, _: api(ada).delete("/products/id/LAMP-1"), ["product.deleted"]),
    "admin add": (lambda ada, lamp, _: signed_in(ada).post(f"{ADMIN}add/", admin_form(sku="A")), ["product.created"]),
    "admin change": (
        lambda ada, lamp, _: signed_in(ada).post(f"{ADMIN}{lamp.pk}/change/", admin_form(name="Oak lamp")),
        ["product.updated"],
    ),
    "admin inline": (
        lambda ada, lamp, _: signed_in(ada).post(f"{ADMIN}{lamp.pk}/inline/", {"name": "Oak lamp", "version": "1"}),
        ["product.updated"],
    ),
    "admin delete": (
        lambda ada, lamp, _: signed_in(ada).post(f"{ADMIN}{lamp.pk}/delete/", {"post": "yes"}),
        ["product.deleted"],
    ),
    "admin action": (
        lambda ada, lamp, _: signed_in(ada).post(ADMIN, {"action": "deactivate", "_selected_action": [lamp.pk]}),
        ["products.changed"],
    ),
    "many deleted": (
        lambda ada, lamp, _: catalogue.delete_products(Product.objects.all(), actor=ada),
        ["products.changed"],
    ),
    "import": (
        lambda ada, lamp, _: import_file(csv("sku,name", "LAMP-1,Oak lamp"), user=ada),
        ["import.started", "import.completed", "products.changed"],
    ),
    "import by command": (
        lambda ada, lamp, folder: call_command(
            "import_csv", str(folder / "products.csv"), "--user", "ada", stdout=StringIO()
        ),
        ["import.started", "import.completed", "products.changed"],
    ),
    "bulk change": (
        lambda ada, lamp, _: run(change_products("delete", Selection(), user=ada)),
        ["import.started", "import.completed", "products.changed"],
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_change_the_catalogue_is_told(
    name: str, ada: User, lamp: Product, tmp_path: Path, file_store: Path
) -> None:
    (tmp_path / "products.csv").write_text("sku,name\nLAMP-1,Oak lamp\n")
    way, expected = WAYS[name]
    endpoint = listen()

    way(ada, lamp, tmp_path)
    pushing.push_all()

    assert types(endpoint) == expected
    changes = ProductChange.objects.order_by("id")[1:]
    [body] = [body for body in told(endpoint) if body["type"].startswith("product")]
    assert body["data"]["actor"] == {"id": ada.pk, "username": "ada"}
    shown = [item["id"] for item in body["data"].get("items", [body["data"]])]
    assert shown == [change.pk for change in changes]


@pytest.mark.parametrize("name", WAYS)
def test_nothing_is_written_where_nobody_wants_to_know(
    name: str, ada: User, lamp: Product, tmp_path: Path, file_store: Path
) -> None:
    (tmp_path / "products.csv").write_text("sku,name\nLAMP-1,Oak lamp\n")
    listen("ping")

    # The helpers of the importing tests have a listener of their own.
    WAYS[name][0](ada, lamp, tmp_path)
    pushing.push_all()

    assert not Event.objects.filter(event_type__startswith="product").exists()
    assert not ChangePush.objects.exists()


def test_an_undo_is_told_with_what_it_takes_back(ada: User, file_store: Path) -> None:
    import_ = import_file(csv("sku,name", "A,Lamp", "B,Shelf"), user=ada)
    endpoint = listen()

    run(undo_import(import_, user=ada))
    pushing.push_all()

    assert types(endpoint) == ["import.started", "import.undone", "products.changed"]
    undone, batch = (body["data"] for body in told(endpoint)[1:])
    assert (undone["undoes"], undone["rows_deleted"], undone["kind"]) == (str(import_.pk), 2, "undo")
    assert [(item["sku"], item["action"], item["version"]) for item in batch["items"]] == [
        ("A", "deleted", 2),
        ("B", "deleted", 2),
    ]


# --- what changes nothing ----------------------------------------------------------------------


def test_what_changes_nothing_is_no_event(ada: User, lamp: Product, file_store: Path) -> None:
    endpoint = listen()

    catalogue.update_product(lamp, {"name": "Lamp"}, actor=ada)
    catalogue.set_status(Product.objects.all(), "active", actor=ada)
    catalogue.delete_products(Product.objects.filter(sku="NONE"), actor=ada)
    import_ = import_file(csv("sku,name", "LAMP-1,Lamp"), user=ada)
    pushing.push_all()

    assert import_.rows_unchanged == 1
    assert types(endpoint) == ["import.started", "import.completed"]
    completed = told(endpoint)[1]["data"]
    assert (completed["products_changed"], completed["changes_url"]) == (0, None)


def test_what_is_rolled_back_was_never_said(ada: User, lamp: Product) -> None:
    listen()

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        catalogue.update_product(lamp, {"name": "Oak lamp"}, actor=ada)
        catalogue.set_status(Product.objects.all(), "inactive", actor=ada)
        raise ZeroDivisionError
    pushing.push_all()

    assert told() == []
    assert not ChangePush.objects.exists()


# --- what is said ------------------------------------------------------------------------------


def test_a_change_is_told_with_the_product_and_the_values_before(ada: User) -> None:
    listen()

    product = catalogue.create_product({"sku": "a/b é", "name": "Lamp", "attributes": {"colour": "red"}}, actor=ada)
    catalogue.update_product(product, {"name": "Oak lamp", "attributes": {}}, actor=None)
    catalogue.delete_product(product, actor=ada)

    created, updated, deleted = (body["data"] for body in told())
    assert created["product"] == {
        "sku": "a/b é",
        "name": "Lamp",
        "description": "",
        "status": "active",
        "attributes": {"colour": "red"},
        "version": 1,
        "created_at": created["product"]["created_at"],
        "updated_at": created["product"]["created_at"],
    }
    assert (created["changed_fields"], created["previous"]) == ([], {})
    assert updated["changed_fields"] == ["name", "attributes"]
    assert updated["previous"] == {"name": "Lamp", "attributes": {"colour": "red"}}
    assert (updated["product"]["name"], updated["actor"]) == ("Oak lamp", None)
    assert (deleted["product"]["name"], deleted["changed_fields"], deleted["previous"]) == ("Oak lamp", [], {})
    assert [data["version"] for data in (created, updated, deleted)] == [1, 2, 3]
    assert {data["product_id"] for data in (created, updated, deleted)} == {product.pk}
    assert created["url"] == "/api/v1/products/a/b%20%C3%A9/"


def test_a_product_is_told_as_its_address_shows_it(ada: User) -> None:
    listen()
    product = catalogue.create_product({"sku": "50% é/b?", "name": "Lamp"}, actor=ada)

    answer = api(ada).get(told()[0]["data"]["url"])

    assert answer.json()["sku"] == product.sku
    assert answer.json() == told()[0]["data"]["product"]


def test_values_that_are_too_long_are_left_out_and_named(ada: User) -> None:
    listen()
    product = catalogue.create_product({"sku": "A", "name": "Lamp", "description": "é" * 30_000}, actor=ada)
    catalogue.update_product(product, {"description": "short", "attributes": {"note": "x" * 300}}, actor=ada)

    created, updated = (body["data"] for body in told())

    assert created["left_out"] == updated["left_out"] == ["description"]
    assert "description" not in created["product"]
    assert updated["changed_fields"] == ["description", "attributes"]
    assert updated["previous"] == {"attributes": {}}
    assert updated["product"]["attributes"] == {"note": "x" * 300}


def test_an_import_is_told_with_its_counts_and_where_its_changes_are(ada: User, file_store: Path) -> None:
    import_file(csv("sku,name", "A,Lamp", "B,Shelf"))
    endpoint = listen("import.completed", "import.started")

    import_ = import_file(csv("sku,name", "A,Oak lamp", "B,Shelf", "C,Hook", ",Nameless"), user=ada)

    started, completed = (body["data"] for body in told(endpoint))
    assert (started["state"], started["changes_url"]) == ("PROGRESS", None)
    kinds = ("rows_read", "rows_created", "rows_updated", "rows_unchanged", "rows_rejected", "rows_deleted")
    assert [completed[kind] for kind in kinds] == [4, 1, 1, 1, 1, 0]
    assert (completed["products_changed"], completed["created_by"]) == (2, "ada")
    assert completed["changes_url"] == f"/api/v1/changes/?import={import_.pk}"
    items = api(ada).get(completed["changes_url"]).json()["results"]
    assert [(item["sku"], item["action"]) for item in items] == [("A", "updated"), ("C", "created")]


def test_an_import_of_a_wide_file_is_told_in_few_bytes(ada: User, file_store: Path) -> None:
    endpoint = listen("import.completed")
    names = [f"a column with quite a long name, number {number:04}" for number in range(900)]

    import_file(csv(",".join(["sku", "name", *(f'"{name}"' for name in names)]), "A,B" + ",x" * 900), user=ada)

    assert len(told(endpoint)) == 1, "`told` looks at the size"


def test_a_failure_and_a_cancel_are_told(ada: User, file_store: Path) -> None:
    endpoint = listen("import.failed", "import.cancelled")

    import_file("name\nLamp\n", user=ada)
    lease.request_cancel(received(csv("sku,name", "A,B"), user=ada))

    failed, cancelled = told(endpoint)
    assert (failed["type"], failed["data"]["error"]["code"]) == ("import.failed", "sku_column_missing")
    assert (cancelled["type"], cancelled["data"]["state"]) == ("import.cancelled", "CANCELLED")
