"""The history of a product: complete, in order, and found without reading all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from products import catalogue
from products.changes import ChangeFilter, History, changes_of, described
from products.importing.merger import summarise_history
from products.models import Import, Product, ProductChange
from products.pushing import last_change
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


def rows_read(look: Callable[[], object]) -> int:
    """How many rows of the history this reads, by PostgreSQL's own account."""
    with CaptureQueriesContext(connection) as asked:
        look()
    read = 0
    for query in asked:
        if "FROM products_productchange" in query["sql"] or 'FROM "products_productchange"' in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
                read += _read_by(cursor.fetchone()[0][0]["Plan"])
    return read


def _read_by(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name") == "products_productchange":
        vain = sum(number for name, number in plan.items() if name.startswith("Rows Removed by"))
        own = round((plan["Actual Rows"] + vain) * plan["Actual Loops"])
    return own + sum(map(_read_by, plan.get("Plans", ())))


def large_import(*places: int) -> Import:
    """An import with as many entries in the history as there are products; or with those at these places alone, the
    others being somebody else's."""
    import_ = Import(state="SUCCESS", changes_after=last_change())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO products_productchange (product_id, sku, action, version, import_id) "
            "SELECT n, 'SKU-' || n, 'created', 1, CASE WHEN %(all)s OR n = ANY (%(places)s) THEN %(import)s::uuid END "
            "FROM generate_series(1, %(number)s) AS n ORDER BY n",
            {"all": not places, "places": list(places), "import": import_.pk, "number": PRODUCTS},
        )
        summarise_history()
        cursor.execute("ANALYZE products_productchange")
    import_.changes_until = last_change()
    return import_


def keys_of(import_: Import, **place: Any) -> list[int]:
    """The places in the import of the changes on a page."""
    begins = import_.changes_after or 0
    whole = {"after": None, "before": None, "limit": 50}
    return [each["key"] - begins for each in changes_of(import_, ChangeFilter()).page(**whole | place)]


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_page_of_the_changes_of_a_large_import_reads_a_part_of_them(end: str) -> None:
    import_ = large_import()
    place = {"before": last_change() + 1} if end == "last" else {}
    found: list[int] = []

    read = rows_read(lambda: found.extend(keys_of(import_, **place)))

    assert found == list(range(1, 51) if end == "first" else range(PRODUCTS - 49, PRODUCTS + 1))
    assert read < PRODUCTS / 6


@pytest.mark.django_db(transaction=True)
def test_the_changes_of_an_import_are_found_by_themselves_where_later_ones_filled_the_gaps_of_earlier_pages() -> None:
    insert = (
        "INSERT INTO products_productchange (product_id, sku, action, version, import_id, previous) "
        "SELECT n, 'SKU-' || n, 'updated', 2, %s, jsonb_build_object('description', repeat('-', 1000)) "
        "FROM generate_series(1, %s) AS n"
    )
    import_ = Import(state="SUCCESS")
    with connection.cursor() as cursor:
        cursor.execute(insert, [None, PRODUCTS // 4])
        import_.changes_after = last_change()
        cursor.execute(insert, [import_.pk, 1000])
        import_.changes_until = last_change()
        cursor.execute("VACUUM (ANALYZE) products_productchange")
    large_import()  # of short rows

    read = rows_read(lambda: keys_of(import_))

    assert read < PRODUCTS / 12


@pytest.mark.django_db
def test_the_changes_of_an_import_are_found_wherever_they_are() -> None:
    import_ = large_import(1, 12_345, PRODUCTS)
    behind = last_change() + 1

    assert keys_of(import_) == [1, 12_345, PRODUCTS]
    assert keys_of(import_, before=behind) == [1, 12_345, PRODUCTS]
    assert keys_of(import_, after=behind - PRODUCTS, limit=1) == [12_345]
    assert keys_of(import_, before=behind - 1, limit=1) == [12_345]
    assert keys_of(import_, after=behind - 1) == []


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["newest", "oldest"])
def test_an_end_of_a_long_history_is_read_by_itself(end: str) -> None:
    product = catalogue.create_product({"sku": "A", "name": "Lamp"}, actor=None)
    for number in range(400):
        catalogue.update_product(product, {"status": ("active", "inactive")[number % 2 == 0]}, actor=None)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_productchange")

    def page() -> list[int]:
        found = ProductChange.objects.of_product(product.pk, newest_first=end == "newest", limit=10)
        return [change.version for change in found]

    assert page() == (list(range(401, 391, -1)) if end == "newest" else list(range(1, 11)))
    assert rows_read(page) < 401 + 20, "the creation, in a table whose ranges are not summarised yet, and the page"


@pytest.mark.django_db
def test_the_history_of_one_field_is_told_without_looking_for_the_others() -> None:
    product = catalogue.create_product({"sku": "A", "name": "Lamp"}, actor=None)
    for number in range(400):
        catalogue.update_product(product, {"status": ("active", "inactive")[number % 2 == 0]}, actor=None)
    oldest = list(ProductChange.objects.order_by("id")[1:51])

    read = rows_read(lambda: described(oldest))

    assert read < 200, "the fifty, and for each the one after it"


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
