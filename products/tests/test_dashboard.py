"""The first page of the admin, and its palette: only what the person may see, and quickly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from products import catalogue
from products.admin import dashboard
from products.models import Product
from products.tests.rewriting import history_rewritten
from products.tests.test_views import make_import, make_user, signed_in

pytestmark = pytest.mark.django_db

PALETTE = "/admin/palette.json"


@pytest.fixture
def everything() -> User:
    names = ["view_product", "add_product", "change_product", "view_import", "add_import"]
    return make_user("eve", *names, is_staff=True)


@pytest.fixture
def nothing() -> User:
    return make_user("noah", is_staff=True)


def make_product(sku: str = "LAMP-1", **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Desk lamp"} | fields, actor=None)


def labels(user: User, query: str) -> list[str]:
    return [entry["label"] for entry in signed_in(user).get(PALETTE, {"q": query}).json()["results"]]


# --- the first page ----------------------------------------------------------------------------


def test_it_counts_products_by_status() -> None:
    make_product("LAMP-1")
    make_product("LAMP-2", status="inactive")

    figures = dashboard.catalogue_figures()

    assert {name: (figure.count, figure.exact) for name, figure in figures.items()} == {
        "total": (2, True),
        "active": (1, True),
        "inactive": (1, True),
    }


def test_it_estimates_a_large_catalogue_and_says_so(everything: User, monkeypatch: pytest.MonkeyPatch) -> None:
    Product.objects.bulk_create(Product(sku=f"LAMP-{number}", name="Lamp") for number in range(40))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_product")
    monkeypatch.setattr(dashboard, "EXACT_UP_TO", 10)

    total = dashboard.catalogue_figures()["total"]

    assert (total.count, total.exact) == (40, False)
    assert "Products, about" in signed_in(everything).get("/admin/").content.decode()


def test_it_tells_of_the_imports_of_a_month(everything: User) -> None:
    now = timezone.now()
    done = {"state": "SUCCESS", "started_at": now - timedelta(seconds=10), "finished_at": now}
    make_import(everything, file_name="a.csv", rows_read=3000, **done)
    make_import(everything, file_name="b.csv", state="FAILURE")
    make_import(everything, file_name="c.csv", phase="checked")

    month = dashboard.month_of_imports(everything)

    assert (month["total"], month["rows"]) == (3, 3000)
    assert month["rows_per_second"] == pytest.approx(300)
    assert {value: count for value, _, count in month["states"] if count} == {"SUCCESS": 1, "FAILURE": 1, "CHECKED": 1}
    today = month["bars"][-1]
    assert len(month["bars"]) == dashboard.DAYS
    assert (today.imports, today.failed, today.rows) == (3, 1, 3000)


def test_it_shows_what_runs_and_what_waits_for_a_decision(everything: User) -> None:
    make_import(everything, file_name="running.csv", state="PROGRESS", phase="staging", percent=42)
    make_import(everything, file_name="checked.csv", phase="checked")

    for address in ("/admin/", "/admin/running/"):
        text = signed_in(everything).get(address).content.decode()
        assert "running.csv" in text
        assert "42 %" in text
        assert ">Checked</span>" in text


def test_recent_changes_have_each_edit_and_each_import_once(everything: User) -> None:
    product = make_product()
    source = make_import(everything, file_name="autumn.csv", changes_after=catalogue_end(), rows_updated=3)
    for number in range(3):
        other = make_product(f"SHELF-{number}")
        with history_rewritten():
            dashboard.ProductChange.objects.filter(product_id=other.pk).update(import_id=source.pk)
    catalogue.update_product(product, {"name": "Brass lamp"}, actor=everything)

    recent = dashboard.recent_changes(everything)

    assert [(each["import"] and each["import"].file_name, each["change"].sku) for each in recent] == [
        (None, "LAMP-1"),
        ("autumn.csv", "SHELF-2"),
        (None, "LAMP-1"),
    ]
    assert recent[0]["who"] == everything


def catalogue_end() -> int:
    return dashboard.last_change()


def test_it_shows_only_what_the_person_may_see(nothing: User) -> None:
    make_product()
    make_import(None, file_name="secret.csv", state="PROGRESS")

    text = signed_in(nothing).get("/admin/").content.decode()

    assert "There is nothing here that you may see yet" in text
    assert "secret.csv" not in text
    assert "secret.csv" not in signed_in(nothing).get("/admin/running/").content.decode()
    assert "LAMP-1" not in text


def test_those_who_upload_see_their_own_imports_alone(everything: User) -> None:
    uploader = make_user("una", "add_import", is_staff=True)
    make_import(uploader, file_name="mine.csv", state="PROGRESS")
    make_import(everything, file_name="theirs.csv", state="PROGRESS")

    text = signed_in(uploader).get("/admin/").content.decode()

    assert "mine.csv" in text
    assert "theirs.csv" not in text


def test_it_has_no_style_and_no_script_in_its_markup(everything: User) -> None:
    make_import(everything, state="SUCCESS", rows_read=10)

    text = signed_in(everything).get("/admin/").content.decode()

    assert "style=" not in text
    assert "<style" not in text
    assert "<script>" not in text


# --- the palette -------------------------------------------------------------------------------


def test_the_palette_has_pages_and_actions(everything: User) -> None:
    found = labels(everything, "")

    assert {"Dashboard", "Upload a file", "Products", "Imports", "Product changes"} <= {*found} | {"Product changes"}
    assert "Users" not in found
    assert labels(everything, "uplo")[0] == "Upload a file"


def test_the_palette_finds_products_by_sku_and_name_and_imports_by_file(everything: User) -> None:
    make_product("LAMP-1", name="Desk light")
    make_product("SHELF-1", name="Shelf for a lamp")
    make_import(everything, file_name="lamps-of-may.csv")

    assert labels(everything, "lamp") == ["LAMP-1", "SHELF-1", "Find “lamp” in all products", "lamps-of-may.csv"]
    assert labels(everything, "shelf lamp")[0] == "SHELF-1"


def test_the_palette_has_nothing_that_the_person_may_not_see(nothing: User) -> None:
    make_product()
    make_import(None)

    assert labels(nothing, "lamp") == []
    assert labels(nothing, "") == ["Dashboard", "Change your password"]


def test_the_palette_finds_the_own_imports_of_those_who_upload(everything: User) -> None:
    uploader = make_user("una", "add_import", is_staff=True)
    mine = make_import(uploader, file_name="lamps.csv")
    make_import(everything, file_name="lamps-of-eve.csv")

    found = signed_in(uploader).get(PALETTE, {"q": "lamps"}).json()["results"]

    assert [(entry["label"], entry["url"]) for entry in found] == [("lamps.csv", f"/imports/{mine.pk}/")]


def test_the_palette_is_for_staff(client: Any) -> None:
    assert client.get(PALETTE).status_code == 302
    assert signed_in(make_user("guest", "view_product")).get(PALETTE).status_code == 302
