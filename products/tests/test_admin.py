"""The admin: products are edited with their history, imports are watched."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from common.counting import EstimatingPaginator
from products import catalogue, search
from products.models import Import, Product, ProductChange
from products.search import NarrowSearchError, at_most, find, parse
from products.selection import Selection
from products.tasks import undo_import
from products.tests.importing.imports import run
from products.tests.rewriting import history_rewritten
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


@pytest.mark.parametrize("sure", [False, True])
def test_it_asks_before_it_deletes_ticked_products(editor: User, sure: bool) -> None:
    products = [make_product("LAMP-1"), make_product("LAMP-2")]
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in products]}

    answer = signed_in(editor).post(PRODUCTS, chosen | ({"post": "yes"} if sure else {}))

    assert Product.objects.count() == 2, "the workers delete"
    if sure:
        change = Import.objects.get(kind="bulk")
        assert answer["Location"] == f"/imports/{change.pk}/"
        assert (change.bulk["action"], change.created_by) == ("delete", editor)
        assert change.bulk["selection"]["ids"] == [row.pk for row in products]
    else:
        text = answer.content.decode()
        assert "Delete 2 products?" in text
        assert "It can be undone afterwards" in text
        assert "LAMP-2" in text
        assert not Import.objects.exists()


def test_it_asks_before_it_changes_all_that_match_without_reading_them(editor: User) -> None:
    Product.objects.bulk_create(Product(sku=f"LAMP-{number}", name="Lamp") for number in range(200))
    across = {"action": "deactivate", "select_across": "1", "_selected_action": [Product.objects.first().pk]}  # type: ignore[union-attr]
    client = signed_in(editor)
    client.get(PRODUCTS)

    with CaptureQueriesContext(connection) as asked:
        text = client.post(f"{PRODUCTS}?q=LAMP-1", across).content.decode()
    answer = client.post(f"{PRODUCTS}?q=LAMP-1", across | {"post": "yes"})

    assert "Deactivate 111 products?" in text
    assert "sku begins with “LAMP-1”" in text
    assert not [query for query in asked if "LIMIT" not in query["sql"] and '"products_product"."name"' in query["sql"]]
    change = Import.objects.get()
    assert answer["Location"] == f"/imports/{change.pk}/"
    assert change.bulk == {"action": "deactivate", "selection": Selection(sku="LAMP-1").as_dict()}


def test_it_says_that_the_whole_catalogue_is_meant(editor: User) -> None:
    across = {"action": "delete_selected", "select_across": "1", "_selected_action": [make_product().pk]}

    assert "the whole catalogue" in signed_in(editor).post(PRODUCTS, across).content.decode()


@pytest.mark.django_db(transaction=True)
def test_what_was_deleted_in_the_admin_comes_back_by_an_undo(editor: User) -> None:
    products = [make_product("LAMP-1"), make_product("LAMP-2"), make_product("SHELF-1")]
    chosen = {"action": "delete_selected", "select_across": "1", "_selected_action": [products[0].pk], "post": "yes"}
    signed_in(editor).post(f"{PRODUCTS}?q=lamp-", chosen)
    change = Import.objects.get()

    run(change)
    assert [product.sku for product in Product.objects.all()] == ["SHELF-1"]
    assert {entry.actor_id for entry in ProductChange.objects.filter(action="deleted")} == {editor.pk}
    run(undo_import(change, user=editor))

    assert sorted(product.sku for product in Product.objects.all()) == ["LAMP-1", "LAMP-2", "SHELF-1"]


def test_it_changes_the_status_of_ticked_products_at_once(editor: User) -> None:
    product, other = make_product(), make_product("LAMP-2")

    signed_in(editor).post(PRODUCTS, {"action": "deactivate", "_selected_action": [product.pk]})

    product.refresh_from_db()
    other.refresh_from_db()
    assert (product.status, other.status) == ("inactive", "active")
    assert ProductChange.objects.filter(product_id=product.pk).latest("id").previous == {"status": "active"}


@pytest.mark.parametrize("action", ["activate", "deactivate", "delete_selected"])
def test_it_changes_nothing_for_those_who_may_only_look(reader: User, action: str) -> None:
    product = make_product()

    signed_in(reader).post(PRODUCTS, {"action": action, "_selected_action": [product.pk], "post": "yes"})

    product.refresh_from_db()
    assert product.version == 1
    assert not Import.objects.exists()


# --- edits in the list -------------------------------------------------------------------------


def inline(product: Product, **fields: Any) -> tuple[str, dict[str, Any]]:
    return f"{PRODUCTS}{product.pk}/inline/", {"name": product.name, "status": product.status, "version": 1} | fields


def test_a_row_of_the_list_is_edited_with_its_history(editor: User) -> None:
    product = make_product()

    told = signed_in(editor).post(*inline(product, name=" Brass lamp ", status="inactive")).json()

    assert (told["name"], told["status_label"], told["version"]) == ("Brass lamp", "Inactive", 2)
    change = ProductChange.objects.filter(product_id=product.pk).latest("id")
    assert (change.actor_id, change.previous) == (editor.pk, {"name": "Desk lamp", "status": "active"})


def test_an_edit_of_a_row_is_refused_if_somebody_else_was_first(editor: User) -> None:
    product = make_product()
    catalogue.update_product(product, {"name": "Brass lamp"}, actor=None)

    answer = signed_in(editor).post(*inline(product, name="Copper lamp"), headers={"Accept": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
    assert "you saw version 1, it has version 2 now" in answer.json()["detail"]
    product.refresh_from_db()
    assert product.name == "Brass lamp"


def test_an_edit_of_a_row_is_refused_in_words_for_a_bad_value(editor: User) -> None:
    answer = signed_in(editor).post(*inline(make_product(), name=" "), headers={"Accept": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "name_missing"


def test_a_row_is_edited_by_nobody_who_may_only_look(reader: User) -> None:
    product = make_product()

    assert signed_in(reader).post(*inline(product, name="Brass lamp")).status_code == 403
    assert "inline-edit.js" not in signed_in(reader).get(PRODUCTS).content.decode()


def test_the_page_of_a_product_refuses_what_would_overwrite_another_change(editor: User) -> None:
    product = make_product()
    catalogue.update_product(product, {"name": "Brass lamp"}, actor=None)
    form = form_of(product, name="Copper lamp", seen=1)
    client = signed_in(editor)

    text = client.post(f"{PRODUCTS}{product.pk}/change/", form).content.decode()

    assert "you saw version 1, it has version 2 now" in html.unescape(text)
    assert 'name="seen" value="2"' in text
    assert client.post(f"{PRODUCTS}{product.pk}/change/", form | {"seen": 2}).status_code == 302
    product.refresh_from_db()
    assert product.name == "Copper lamp"


@pytest.mark.parametrize("wrong", ["[1, 2]", '"red"', "{colour: red}"])
def test_attributes_that_are_no_names_with_values_are_refused(editor: User, wrong: str) -> None:
    product = make_product()

    answer = signed_in(editor).post(f"{PRODUCTS}{product.pk}/change/", form_of(product, attributes=wrong))

    assert answer.status_code == 200
    product.refresh_from_db()
    assert product.attributes == {}


def test_a_sku_that_is_taken_is_said_beside_it_with_the_way_to_its_product(editor: User) -> None:
    product = make_product("LAMP-1")
    form = {"sku": "lamp-1", "name": "Another", "description": "", "status": "active", "attributes": "{}"}

    text = signed_in(editor).post(f"{PRODUCTS}add/", form).content.decode()

    assert f'There is already a product with this sku: <a href="{PRODUCTS}{product.pk}/change/">LAMP-1</a>.' in text
    assert "onstraint" not in text
    assert Product.objects.count() == 1


def test_those_who_may_only_look_see_a_product_with_its_history_and_no_field(reader: User) -> None:
    product = make_product(attributes={"colour": "red"})

    text = signed_in(reader).get(f"{PRODUCTS}{product.pk}/change/").content.decode()

    assert "colour" in text
    assert "<ins>Desk lamp</ins>" in text
    assert 'name="name"' not in text
    assert "seen" not in text


# --- history and search ------------------------------------------------------------------------


def test_it_shows_old_and_new_values_and_older_changes_on_demand(editor: User) -> None:
    product = make_product(attributes={"colour": "red", "size": "L"})
    for number in range(25):
        catalogue.update_product(product, {"name": f"Lamp {number}"}, actor=editor)
    catalogue.update_product(product, {"attributes": {"colour": "blue", "size": "L"}}, actor=editor)
    client = signed_in(editor)

    first = client.get(f"{PRODUCTS}{product.pk}/change/").content.decode()
    older = re.search(r'href="([^"]+)" data-older', first)
    assert older
    second = client.get(html.unescape(older[1])).content.decode()

    assert "<del>red</del>" in first
    assert "<ins>blue</ins>" in first
    assert "<del>Lamp 23</del>" in first
    assert "<ins>Lamp 24</ins>" in first
    assert "<strong" not in first[first.index("<tbody>") :]
    assert "<ins>Desk lamp</ins>" in second
    assert "Created" in second
    assert "data-older" not in second


def test_the_page_of_a_product_opens_however_deep_its_attributes_are(editor: User) -> None:
    deepest: Any = "red"
    for _ in range(catalogue.MOST_LEVELS - 1):
        deepest = [deepest]
    product = make_product(attributes={"colour": deepest})

    assert signed_in(editor).get(f"{PRODUCTS}{product.pk}/change/").status_code == 200


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "²"])
def test_numbers_in_addresses_that_nothing_has_are_not_found(editor: User, number: str) -> None:
    client, product = signed_in(editor), make_product()

    assert client.get(f"{PRODUCTS}{number}/older/?before=1").status_code == 404
    assert client.get(f"{PRODUCTS}{product.pk}/older/?before={number}").status_code == 404
    assert client.post(f"{PRODUCTS}{number}/inline/", {"version": 1}).status_code == 404
    assert client.post(f"{PRODUCTS}{product.pk}/inline/", {"version": number}).status_code == 400


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


def test_the_history_of_a_product_names_no_import_to_those_who_may_not_see_it(editor: User, importer: User) -> None:
    product = make_product()
    source = make_import(importer, file_name="secret-prices.csv")
    catalogue.update_product(product, {"name": "Old lamp"}, actor=editor)
    ProductChange.objects.create(
        product_id=product.pk, sku=product.sku, action="updated", version=3, previous={}, import_id=source.pk
    )
    client = signed_in(editor)

    page = client.get(f"{PRODUCTS}{product.pk}/change/").content.decode()
    older = client.get(f"{PRODUCTS}{product.pk}/older/?before={2**59}").content.decode()

    for text in (page, older):
        assert "an import" in text
        assert "secret-prices.csv" not in text
        assert str(source.pk) not in text


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


def test_it_searches_skus_by_their_index() -> None:
    make_product("LAMP-1")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    found = find(parse("lamp")).products.order_by()

    assert "Index Cond: ((lower((sku)::text) ~>=~ 'lamp'" in found.explain()


def test_it_finds_products_by_their_attributes(editor: User) -> None:
    make_product("LAMP-1", attributes={"colour": "dark red"})
    make_product("LAMP-2", attributes={"colour": "blue"})

    text = signed_in(editor).get(PRODUCTS, {"q": 'colour:"dark red" desk'}).content.decode()

    assert "LAMP-1" in text
    assert "LAMP-2" not in text
    assert "colour is “dark red”" in text


def test_it_filters_by_import_and_by_day(editor: User) -> None:
    source = make_import(editor, state="SUCCESS", file_name="autumn.csv", changes_after=0, changes_until=10**9)
    old, new = make_product("OLD-1"), make_product("NEW-1")
    Product.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(days=3))
    with history_rewritten():
        ProductChange.objects.filter(product_id=new.pk).update(import_id=source.pk)
    client = signed_in(editor)

    by_import = client.get(PRODUCTS, {"import": str(source.pk)}).content.decode()
    today = client.get(PRODUCTS, {"changed_since": str(timezone.now().date())}).content.decode()
    week = client.get(PRODUCTS, {"changed_since": str(timezone.now().date() - timedelta(days=6))}).content.decode()

    assert "NEW-1" in by_import
    assert "OLD-1" not in by_import
    assert "NEW-1" in today
    assert "OLD-1" not in today
    assert "OLD-1" in week


@pytest.mark.parametrize("query", ["status=gone", "changed_since=soon", "import=7"])
def test_a_filter_that_is_not_right_is_said_and_dropped(editor: User, query: str) -> None:
    answer = signed_in(editor).get(f"{PRODUCTS}?{query}", follow=True)

    assert answer.redirect_chain == [(PRODUCTS, 302)]
    assert 'class="error"' in answer.content.decode()


def test_a_search_that_takes_too_long_says_how_to_narrow_it() -> None:
    with pytest.raises(NarrowSearchError) as caught, at_most(0.05), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")

    assert "Narrow it: the beginning of a sku" in caught.value.detail
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting = reset_val FROM pg_settings WHERE name = 'statement_timeout'")
        assert cursor.fetchone() == (True,)


def test_a_word_that_many_names_have_is_estimated_and_its_pages_are_whole(
    editor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Product.objects.bulk_create(Product(sku=f"L-{number:03d}", name="Oak lamp") for number in range(120))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_product")
    monkeypatch.setattr(search, "LISTED", 10)
    monkeypatch.setattr(EstimatingPaginator, "EXACT_UP_TO", 10)

    pages = [signed_in(editor).get(PRODUCTS, {"q": "lamp", "p": number}).content.decode() for number in (1, 2)]

    assert "about 120 products" in pages[0]
    assert [len(set(re.findall(r">L-\d\d\d</a>", page))) for page in pages] == [50, 50]
    assert not {*re.findall(r">L-\d\d\d</a>", pages[0])} & {*re.findall(r">L-\d\d\d</a>", pages[1])}


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


def test_it_lists_imports_by_state_kind_person_and_day(importer: User, reader: User) -> None:
    make_import(importer, file_name="good.csv", state="SUCCESS")
    make_import(reader, file_name="bad.csv", state="FAILURE")
    make_import(reader, file_name="Delete products", kind="bulk")
    make_import(reader, file_name="checked.csv", phase="checked")
    make_import(reader, file_name="unwanted.csv", state="CANCELLED", checked_at=timezone.now())
    client = signed_in(importer)

    def listed(query: str) -> list[str]:
        text = client.get(f"{IMPORTS}?{query}").content.decode()
        names = ("good.csv", "bad.csv", "Delete products", "checked.csv", "unwanted.csv")
        return [name for name in names if f">{name}</a>" in text]

    assert listed("state=FAILURE") == ["bad.csv"]
    assert listed("state=PENDING") == ["Delete products"]
    assert listed("state=CHECKED") == ["checked.csv"]
    assert listed("state=CANCELLED") == []
    assert listed("state=DISCARDED") == ["unwanted.csv"]
    assert listed("kind__exact=bulk") == ["Delete products"]
    assert listed(f"created_by__id__exact={importer.pk}") == ["good.csv"]
    assert len(listed("days=7")) == 5
    Import.objects.filter(file_name="good.csv").update(created_at=timezone.now() - timedelta(days=8))
    assert len(listed("days=7")) == 4


def test_a_check_that_waits_for_a_decision_is_called_the_same_everywhere(importer: User) -> None:
    import_ = make_import(importer, file_name="checked.csv", phase="checked")
    client = signed_in(importer)

    for address in ("/imports/", f"/imports/{import_.pk}/", f"/imports/{import_.pk}/changes/", IMPORTS, "/admin/"):
        text = client.get(address).content.decode()
        assert re.findall(r'<span class="state [A-Z]+">([^<]*)</span>', text) == ["Checked"], address
    assert '<option value="CHECKED">Checked</option>' in client.get("/imports/").content.decode()
    assert "?state=CHECKED" in client.get(IMPORTS).content.decode()
    found = client.get("/admin/palette.json", {"q": "checked"}).json()["results"]
    assert [entry["hint"].split(",")[0] for entry in found if entry["label"] == "checked.csv"] == ["Checked"]


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


@pytest.mark.django_db(transaction=True)  # an export reads what is committed
def test_what_the_list_shows_is_exported_as_it_is_narrowed(editor: User) -> None:
    make_product("LAMP-1", attributes={"colour": "red"})
    make_product("CHAIR-1", attributes={"colour": "blue"})
    client = signed_in(editor)

    page = client.get(f"{PRODUCTS}?q=colour:red&status=active").content.decode()
    found = re.search(r'href="(/api/v1/products/export\.csv\?[^"]+)"', page)

    assert found is not None
    exported = b"".join(client.get(html.unescape(found[1])).streaming_content).decode()  # type: ignore[attr-defined]
    assert "LAMP-1" in exported
    assert "CHAIR-1" not in exported
