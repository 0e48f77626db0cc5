"""The admin: products are edited with their history, imports are watched."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import site
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import User
from products import catalogue
from products.admin import ProductAdmin
from products.admin.paginator import EstimatingPaginator
from products.models import Import, Product, ProductChange
from products.tests.test_views import CSV, make_import, make_user, signed_in

pytestmark = pytest.mark.django_db

PRODUCTS = "/admin/products/product/"
IMPORTS = "/admin/products/import/"


@pytest.fixture
def editor() -> User:
    return make_user("editor", "view_product", "add_product", "change_product", "delete_product", is_staff=True)


@pytest.fixture
def importer() -> User:
    return make_user("importer", "view_import", "add_import", is_staff=True)


@pytest.fixture
def reader() -> User:
    return make_user("reader", "view_product", "view_import", is_staff=True)


def make_product(sku: str = "LAMP-1", **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Desk lamp"} | fields, actor=None)


def form_of(product: Product, **fields: Any) -> dict[str, Any]:
    shown = {"name": product.name, "description": product.description, "status": product.status, "attributes": "{}"}
    return shown | fields


# --- products ----------------------------------------------------------------------------------


def test_it_records_an_edit_with_its_author_and_the_values_before(editor: User) -> None:
    product = make_product()

    answer = signed_in(editor).post(f"{PRODUCTS}{product.pk}/change/", form_of(product, name="Brass lamp"))

    assert answer.status_code == 302
    product.refresh_from_db()
    assert (product.name, product.version) == ("Brass lamp", 2)
    change = ProductChange.objects.filter(product_id=product.pk).latest("id")
    assert (change.action, change.version, change.actor_id) == ("updated", 2, editor.pk)
    assert change.previous == {"name": "Desk lamp"}


def test_it_records_nothing_when_nothing_was_changed(editor: User) -> None:
    product = make_product()

    signed_in(editor).post(f"{PRODUCTS}{product.pk}/change/", form_of(product))

    product.refresh_from_db()
    assert product.version == 1
    assert ProductChange.objects.filter(product_id=product.pk).count() == 1


def test_it_records_a_new_product(editor: User) -> None:
    fields = {"sku": "SHELF-9", "name": "Oak shelf", "description": "", "status": "active", "attributes": "{}"}

    answer = signed_in(editor).post(f"{PRODUCTS}add/", fields, follow=True)

    product = Product.objects.get(sku="SHELF-9")
    assert "was added successfully" in answer.content.decode()
    assert ProductChange.objects.get(product_id=product.pk).action == "created"


def test_it_refuses_a_sku_that_is_taken_in_other_letters(editor: User) -> None:
    make_product("LAMP-1")
    fields = {"sku": "lamp-1", "name": "Lamp", "description": "", "status": "active", "attributes": "{}"}

    answer = signed_in(editor).post(f"{PRODUCTS}add/", fields, follow=True)

    assert "errornote" in answer.content.decode() or "already a product" in answer.content.decode()
    assert Product.objects.count() == 1


def test_it_never_changes_a_sku(editor: User) -> None:
    product = make_product()

    signed_in(editor).post(f"{PRODUCTS}{product.pk}/change/", form_of(product, sku="OTHER", name="Brass lamp"))

    product.refresh_from_db()
    assert product.sku == "LAMP-1"


def test_it_records_a_deletion(editor: User) -> None:
    product = make_product()

    signed_in(editor).post(f"{PRODUCTS}{product.pk}/delete/", {"post": "yes"})

    assert not Product.objects.exists()
    assert ProductChange.objects.filter(product_id=product.pk).latest("id").action == "deleted"


def test_it_records_each_deletion_of_an_action(editor: User) -> None:
    products = [make_product("LAMP-1"), make_product("LAMP-2")]
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in products], "post": "yes"}

    signed_in(editor).post(PRODUCTS, chosen)

    assert not Product.objects.exists()
    deleted = ProductChange.objects.filter(action="deleted")
    assert sorted(change.sku for change in deleted) == ["LAMP-1", "LAMP-2"]
    assert {change.actor_id for change in deleted} == {editor.pk}


def test_it_records_a_change_of_status_by_an_action(editor: User) -> None:
    product = make_product()

    signed_in(editor).post(PRODUCTS, {"action": "set_inactive", "_selected_action": [product.pk]})

    product.refresh_from_db()
    assert product.status == "inactive"
    assert ProductChange.objects.filter(product_id=product.pk).latest("id").previous == {"status": "active"}


def test_it_shows_the_history_of_a_product(editor: User) -> None:
    product = make_product()
    source = make_import(editor, file_name="autumn.csv")
    ProductChange.objects.create(
        product_id=product.pk,
        sku=product.sku,
        action="updated",
        version=2,
        previous={"name": "Old lamp"},
        import_id=source.pk,
        line_number=1337,
    )

    text = signed_in(editor).get(f"{PRODUCTS}{product.pk}/change/").content.decode()

    assert "Old lamp" in text
    assert "autumn.csv</a>, line 1337" in text


def test_it_lets_nobody_change_a_product_who_may_only_look(reader: User) -> None:
    product = make_product()

    answer = signed_in(reader).post(f"{PRODUCTS}{product.pk}/change/", form_of(product, name="Brass lamp"))

    assert answer.status_code == 403
    product.refresh_from_db()
    assert product.name == "Desk lamp"


def test_it_finds_products_by_the_beginning_of_a_sku_and_else_by_name(editor: User) -> None:
    make_product("LAMP-1", name="Desk light")
    make_product("SHELF-1", name="Shelf for a lamp, wide")
    client = signed_in(editor)

    by_sku = client.get(f"{PRODUCTS}?q=lamp").content.decode()
    by_name = client.get(f"{PRODUCTS}?q=WIDE").content.decode()

    assert "LAMP-1" in by_sku
    assert "SHELF-1" not in by_sku
    assert "SHELF-1" in by_name


def test_it_searches_skus_by_their_index(rf: RequestFactory) -> None:
    make_product("LAMP-1")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    products = ProductAdmin(Product, site)

    found, _ = products.get_search_results(rf.get("/"), Product.objects.order_by(), "lamp")

    assert "Index Cond: ((lower((sku)::text) ~>=~ 'lamp'" in found.explain()


def test_it_estimates_how_many_there_are_rather_than_count_a_large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    Product.objects.bulk_create(Product(sku=f"LAMP-{number}", name="Lamp") for number in range(40))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_product")
    monkeypatch.setattr(EstimatingPaginator, "EXACT_UP_TO", 10)

    assert EstimatingPaginator(Product.objects.all(), 50).count == 40


# --- imports -----------------------------------------------------------------------------------


def test_it_takes_a_file_in_the_admin(importer: User) -> None:
    answer = signed_in(importer).post(f"{IMPORTS}add/", {"file": SimpleUploadedFile("lamps.csv", CSV)})

    import_ = Import.objects.get()
    assert answer["Location"] == f"{IMPORTS}{import_.pk}/change/"
    assert import_.created_by == importer


def test_it_takes_no_file_in_the_admin_without_the_token_of_its_form(importer: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(importer)

    answer = client.post(f"{IMPORTS}add/", {"file": SimpleUploadedFile("lamps.csv", CSV)})

    assert answer.status_code == 403
    assert not Import.objects.exists()


def test_it_takes_no_file_from_staff_who_may_not_import(reader: User) -> None:
    answer = signed_in(reader).post(f"{IMPORTS}add/", {"file": SimpleUploadedFile("lamps.csv", CSV)})

    assert answer.status_code == 403
    assert "Upload a file" not in signed_in(reader).get(IMPORTS).content.decode()


def test_it_shows_the_live_page_of_an_import_in_the_admin(importer: User) -> None:
    import_ = make_import(importer, state="PROGRESS", phase="staging", started_at=timezone.now())

    text = signed_in(importer).get(f"{IMPORTS}{import_.pk}/change/").content.decode()

    assert "<import-progress" in text
    assert f"/ws/imports/{import_.pk}/" in text


def test_it_cancels_imports_by_an_action(importer: User) -> None:
    import_ = make_import(importer)

    answer = signed_in(importer).post(IMPORTS, {"action": "cancel", "_selected_action": [import_.pk]}, follow=True)

    import_.refresh_from_db()
    assert import_.cancel_requested_at or import_.state == "CANCELLED"
    assert "Nothing of it" in answer.content.decode()


def test_it_shows_staff_no_import_whose_right_they_lack(editor: User) -> None:
    import_ = make_import(None)

    client = signed_in(editor)

    assert client.get(IMPORTS).status_code == 403
    assert client.get(f"{IMPORTS}{import_.pk}/change/").status_code == 403


def test_it_keeps_the_history_from_every_hand() -> None:
    client = signed_in(make_user("dora", is_staff=True, is_superuser=True))
    make_product()
    change = ProductChange.objects.get()

    assert client.get("/admin/products/productchange/").status_code == 200
    assert client.get("/admin/products/productchange/add/").status_code == 403
    assert client.post(f"/admin/products/productchange/{change.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ProductChange.objects.count() == 1
