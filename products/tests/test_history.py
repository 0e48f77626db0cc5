"""The history of a product: complete, in order, and found without reading all of it."""

from __future__ import annotations

import re

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models.signals import post_init

from accounts.models import User
from products import catalogue
from products.changes import History
from products.importing.merger import summarise_history
from products.models import Import, Product, ProductChange
from products.tests.importing.imports import csv, imported

PRODUCTS = 60_000


@pytest.mark.django_db(transaction=True)
def test_it_has_every_change_of_a_product_whichever_way_it_came() -> None:
    ada = User.objects.create_user("ada")
    first = imported(csv("sku,name", "A,Lamp", "B,Chair"))
    product = Product.objects.get(sku="A")
    catalogue.update_product(product, {"name": "Lantern"}, actor=ada)
    catalogue.set_status(Product.objects.all(), "inactive", actor=ada)
    second = imported(csv("sku,status", "A,active"), user=ada)
    catalogue.delete_product(product, actor=None)

    changes = list(ProductChange.objects.of_product(product.pk))

    assert [(c.version, c.action, c.import_id, c.actor_id) for c in changes] == [
        (1, "created", first.pk, None),
        (2, "updated", None, ada.pk),
        (3, "updated", None, ada.pk),
        (4, "updated", second.pk, ada.pk),
        (5, "deleted", None, None),
    ]
    assert [c.previous for c in changes[1:4]] == [{"name": "Lamp"}, {"status": "active"}, {"status": "inactive"}]
    assert changes == list(ProductChange.objects.filter(product_id=product.pk).order_by("id"))


@pytest.mark.django_db(transaction=True)
def test_a_product_that_comes_back_under_its_sku_has_a_history_of_its_own() -> None:
    imported(csv("sku,name", "A,Lamp"))
    old = Product.objects.get()
    catalogue.delete_product(old, actor=None)
    imported(csv("sku,name", "a,Lantern"))
    new = Product.objects.get()

    assert [change.action for change in ProductChange.objects.of_product(old.pk)] == ["created", "deleted"]
    assert [change.action for change in ProductChange.objects.of_product(new.pk)] == ["created"]


@pytest.fixture
def long_history(db: None) -> None:
    """As many creations as an import writes, and some later changes."""
    insert = "INSERT INTO products_productchange (product_id, sku, action, version) SELECT n, 'SKU-' || n, %s, %s "
    with connection.cursor() as cursor:
        cursor.execute(f"{insert} FROM generate_series(1, {PRODUCTS}) AS n", ["created", 1])
        cursor.execute(f"{insert} FROM generate_series(1, {PRODUCTS}, 10) AS n", ["updated", 2])
        summarise_history()
        cursor.execute("ANALYZE products_productchange")


@pytest.mark.usefixtures("long_history")
def test_one_product_is_found_by_the_indexes() -> None:
    history = ProductChange.objects.of_product(PRODUCTS // 2 + 1)

    plan = history.explain(analyze=True)

    assert [change.action for change in history] == ["created", "updated"]
    assert "change_creating_product" in plan
    assert "change_of_product" in plan
    assert "Seq Scan" not in plan
    read_in_vain = sum(int(rows) for rows in re.findall(r"Rows Removed by \w+(?: \w+)*: (\d+)", plan))
    assert read_in_vain < PRODUCTS / 10


@pytest.mark.usefixtures("long_history")
def test_what_was_changed_since_is_found_by_the_ids() -> None:
    newest = ProductChange.objects.latest("id").pk

    plan = ProductChange.objects.filter(id__gt=newest - 100).explain()

    assert "change_by_id" in plan
    assert "Seq Scan" not in plan


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE products_productchange SET actor_id = 7",
        "UPDATE products_productchange SET previous = '{}', transaction_id = pg_current_xact_id()",
        "DELETE FROM products_productchange",
        "TRUNCATE products_productchange",
    ],
)
def test_it_is_appended_to_and_never_changed(statement: str) -> None:
    catalogue.create_product({"sku": "A", "name": "Lamp"}, actor=None)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE products_productchange ENABLE TRIGGER history_never_truncated")

    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert ProductChange.objects.get().actor_id is None


@pytest.mark.django_db
def test_old_history_goes_only_when_that_is_what_is_said() -> None:
    catalogue.create_product({"sku": "A", "name": "Lamp"}, actor=None)

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL odata.prune_history = 'on'")
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            cursor.execute("UPDATE products_productchange SET actor_id = 7")
        cursor.execute("DELETE FROM products_productchange")

    assert not ProductChange.objects.exists()


@pytest.mark.django_db
def test_an_old_page_of_a_long_history_is_shown_without_reading_what_came_after() -> None:
    product = catalogue.create_product({"sku": "A", "name": "Lamp 0"}, actor=None)
    for number in range(1, 40):
        catalogue.update_product(product, {"name": f"Lamp {number}"}, actor=None)
    read: list[object] = []

    def count(instance: object, **kwargs: object) -> None:
        read.append(instance)

    post_init.connect(count, sender=ProductChange)
    try:
        page = History(product.pk, Import.objects.none()).page(after=None, before=0, limit=3)
    finally:
        post_init.disconnect(count, sender=ProductChange)

    assert [change["fields"]["name"] for change in page] == [
        {"old": "Lamp 1", "new": "Lamp 2"},
        {"old": "Lamp 0", "new": "Lamp 1"},
        {"old": None, "new": "Lamp 0"},
    ]
    assert len(read) == 3
