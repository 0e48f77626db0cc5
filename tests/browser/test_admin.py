"""A day in the admin: the palette, edits in the list, changes of many, with mouse and keyboard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from accounts.models import User
from common.tests.addresses import database_url
from products import catalogue
from products.models import Import, Product, ProductChange
from tests.browser.conftest import PASSWORD, ROOT, Service, end_session, log_in, log_in_elsewhere
from tests.browser.test_import_page import make_import

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCTS = "/admin/products/product/"


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


@pytest.fixture
def worker(service: Service, tmp_path: Any) -> Iterator[None]:
    """A real worker of the queue `imports`."""
    command = [
        "-m",
        "celery",
        "-A",
        "odata",
        "worker",
        "--queues",
        "imports",
        "--pool",
        "solo",
        "--loglevel",
        "warning",
    ]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url()},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        yield
        process.terminate()
        process.wait(timeout=30)


def make_product(sku: str = "LAMP-1", **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Desk lamp"} | fields, actor=None)


def options(tab: Page) -> Any:
    return tab.get_by_role("dialog").get_by_role("option")


# --- the palette -------------------------------------------------------------------------------


def test_the_palette_is_worked_with_the_keyboard_alone(tab: Page, ada: User) -> None:
    product = make_product("LAMP-1", name="Desk light")
    make_product("SHELF-1", name="Shelf for a lamp")
    make_import(ada, file_name="lamps-of-may.csv", state="SUCCESS")
    log_in(tab, ada, "/admin/")
    opener = tab.get_by_role("button", name=re.compile("Find"))
    opener.focus()

    tab.keyboard.press("Control+k")
    field = tab.get_by_role("combobox")
    expect(field).to_be_focused()
    expect(options(tab).first).to_have_text(re.compile("Dashboard"))
    tab.keyboard.type("lamp")
    expect(options(tab)).to_have_text(
        [re.compile(words) for words in ("LAMP-1", "SHELF-1", "Find “lamp”", "lamps-of-may")]
    )
    expect(options(tab).nth(0)).to_have_attribute("aria-selected", "true")

    tab.keyboard.press("ArrowDown")
    expect(options(tab).nth(1)).to_have_attribute("aria-selected", "true")
    expect(field).to_have_attribute("aria-activedescendant", options(tab).nth(1).get_attribute("id") or "")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowUp")
    expect(options(tab).nth(3)).to_have_attribute("aria-selected", "true")
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog")).to_be_hidden()
    expect(opener).to_be_focused()

    tab.keyboard.press("Enter")  # the button opens it too
    tab.keyboard.type("lamp-1")
    expect(options(tab).first).to_have_text(re.compile("LAMP-1"))
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**{PRODUCTS}{product.pk}/change/")


def test_the_palette_says_when_nothing_is_found_and_when_the_server_is_away(
    tab: Page, ada: User, complaints: Any
) -> None:
    complaints.tolerated = ("Failed to load resource",)
    log_in(tab, ada, "/admin/")
    tab.get_by_role("button", name=re.compile("Find")).click()
    tab.keyboard.type("zzz")
    expect(options(tab)).to_have_text([re.compile("Find “zzz”")])

    tab.route("**/admin/palette.json*", lambda route: route.abort())
    tab.keyboard.type("z")
    expect(tab.locator("#palette .note")).to_have_text("The server does not answer. Type on to ask it again.")


# --- edits in the list -------------------------------------------------------------------------


def test_a_product_is_edited_in_the_list_with_the_keyboard(tab: Page, ada: User) -> None:
    product = make_product()
    log_in(tab, ada, PRODUCTS)

    tab.get_by_role("button", name="Edit LAMP-1").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_label("Name of LAMP-1")).to_be_focused()
    tab.keyboard.type("Brass lamp")
    tab.keyboard.press("Tab")
    tab.keyboard.press("i")  # chooses "Inactive"
    tab.keyboard.press("Enter")

    expect(tab.locator("[data-name]")).to_have_text("Brass lamp")
    expect(tab.locator("td .status")).to_have_text("Inactive")
    expect(tab.get_by_role("button", name="Edit LAMP-1")).to_be_focused()
    expect(tab.locator("#edit-status")).to_have_text("LAMP-1 is saved.")
    product.refresh_from_db()
    assert (product.name, product.status, product.version) == ("Brass lamp", "inactive", 2)
    assert ProductChange.objects.filter(product_id=product.pk).latest("id").actor_id == ada.pk


def test_an_edit_in_the_list_does_not_overwrite_what_somebody_else_wrote(tab: Page, ada: User, complaints: Any) -> None:
    complaints.tolerated = ("status of 409",)
    product = make_product()
    log_in(tab, ada, PRODUCTS)
    catalogue.update_product(product, {"name": "Brass lamp"}, actor=None)

    tab.get_by_role("button", name="Edit LAMP-1").click()
    tab.keyboard.type("Copper lamp")
    tab.keyboard.press("Enter")

    expect(tab.get_by_role("alert")).to_contain_text("LAMP-1 was changed meanwhile")
    tab.get_by_role("button", name="Show the new values").click()
    expect(tab.locator("[data-name]")).to_have_text("Brass lamp")
    product.refresh_from_db()
    assert (product.name, product.version) == ("Brass lamp", 2)


def test_an_edit_in_the_list_survives_the_end_of_the_session(tab: Page, ada: User) -> None:
    product = make_product()
    log_in(tab, ada, PRODUCTS)
    tab.get_by_role("button", name="Edit LAMP-1").click()
    tab.keyboard.type("Copper lamp")

    end_session(tab)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("alert")).to_contain_text("You are not logged in any more, so nothing was saved.")
    log_in_elsewhere(tab, ada)
    tab.keyboard.press("Enter")

    expect(tab.locator("[data-name]")).to_have_text("Copper lamp")
    product.refresh_from_db()
    assert product.name == "Copper lamp"


def test_a_form_can_be_sent_after_a_login_in_another_tab(tab: Page, ada: User) -> None:
    product = make_product()
    log_in(tab, ada, f"{PRODUCTS}{product.pk}/change/")
    tab.get_by_label("Name:").fill("Copper lamp")

    log_in_elsewhere(tab, ada)
    tab.get_by_role("button", name="Save and continue editing").click()

    expect(tab.locator(".messagelist .success")).to_be_visible()
    product.refresh_from_db()
    assert product.name == "Copper lamp"


def test_a_form_is_sent_once_however_often_its_button_is_pressed(tab: Page, ada: User) -> None:
    log_in(tab, ada, f"{PRODUCTS}add/")
    sent: list[Request] = []
    held: list[Route] = []
    tab.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    tab.route("**/add/", lambda route: route.continue_() if held else held.append(route))
    tab.get_by_label("Sku:").fill("LAMP-1")
    tab.get_by_label("Name:").fill("Desk lamp")
    place = tab.get_by_role("button", name="Save", exact=True).bounding_box()
    assert place

    with tab.expect_request("**/add/"):
        tab.mouse.click(place["x"] + 5, place["y"] + 5)
    tab.mouse.click(place["x"] + 5, place["y"] + 5)
    held[0].continue_()

    expect(tab.locator(".messagelist")).to_contain_text("was added successfully")
    assert len(sent) == 1


def test_attributes_are_edited_as_names_and_values(tab: Page, ada: User) -> None:
    product = make_product(attributes={"colour": "red"})
    log_in(tab, ada, f"{PRODUCTS}{product.pk}/change/")

    tab.get_by_label("Value").fill("blue")
    tab.get_by_role("button", name="Add an attribute").click()
    tab.keyboard.type("size")
    tab.keyboard.press("Tab")
    tab.keyboard.type("XL")
    tab.get_by_role("button", name="Save and continue editing").click()

    expect(tab.locator(".messagelist .success")).to_be_visible()
    product.refresh_from_db()
    assert product.attributes == {"colour": "blue", "size": "XL"}
    expect(tab.locator("table.changes del")).to_have_text("red")


def test_older_changes_are_loaded_into_the_page(tab: Page, ada: User) -> None:
    product = make_product()
    for number in range(30):
        catalogue.update_product(product, {"name": f"Lamp {number}"}, actor=ada)
    log_in(tab, ada, f"{PRODUCTS}{product.pk}/change/")
    rows = tab.locator("table.changes tbody tr")
    expect(rows).to_have_count(20)

    tab.get_by_role("link", name="Load older changes").click()

    expect(rows).to_have_count(31)
    expect(tab.get_by_role("link", name="Load older changes")).to_have_count(0)


# --- many at a time ----------------------------------------------------------------------------


def test_all_that_match_are_deleted_in_the_background(tab: Page, ada: User, worker: None) -> None:
    for number in range(60):
        make_product(f"LAMP-{number:02d}")
    make_product("SHELF-1")
    log_in(tab, ada, f"{PRODUCTS}?q=lamp")

    tab.locator("#action-toggle").check()
    tab.get_by_role("button", name="Choose all 60 that match").click()
    tab.locator("select[name=action]").select_option("delete_selected")
    tab.get_by_role("button", name="Go").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Delete 60 products?")
    expect(tab.get_by_text("It can be undone afterwards")).to_be_visible()
    tab.get_by_role("button", name="Delete 60 products").click()

    change = Import.objects.get(kind="bulk")
    tab.wait_for_url(f"**/admin/products/import/{change.pk}/change/")
    expect(tab.locator(".state").first).to_have_text("Done", timeout=30_000)
    assert [product.sku for product in Product.objects.all()] == ["SHELF-1"]


# --- the frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", ["/admin/", PRODUCTS, "/admin/products/import/", f"{PRODUCTS}add/", "/admin/accounts/user/"]
)
def test_it_fits_a_narrow_screen_and_its_menu_folds(tab: Page, ada: User, page: str) -> None:
    make_product(name="A lamp with a very long name " * 5)
    make_import(ada, file_name="a-file-with-a-very-long-name-that-has-no-place-to-break.csv", state="SUCCESS")
    tab.set_viewport_size({"width": 320, "height": 640})
    log_in(tab, ada, page)

    assert tab.evaluate("document.documentElement.scrollWidth") == 320
    menu = tab.get_by_role("button", name="Menu")
    expect(tab.get_by_role("navigation", name="Menu")).to_be_hidden()
    menu.press("Enter")
    expect(tab.get_by_role("navigation", name="Menu")).to_be_visible()
    expect(menu).to_have_attribute("aria-expanded", "true")


def test_the_theme_is_chosen_by_its_button(tab: Page, ada: User) -> None:
    tab.emulate_media(color_scheme="light")
    log_in(tab, ada, "/admin/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)

    tab.get_by_role("button", name=re.compile("Toggle theme")).click()

    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    dark = tab.evaluate(background)
    assert dark != light
    tab.goto("/imports/")
    assert tab.evaluate(background) == dark  # on the plain pages too


def test_running_imports_are_renewed_on_the_first_page(tab: Page, ada: User) -> None:
    import_ = make_import(ada, state="PROGRESS", phase="staging", percent=10)
    log_in(tab, ada, "/admin/")
    expect(tab.get_by_text("10 % ·")).to_be_visible()

    Import.objects.filter(pk=import_.pk).update(percent=55)

    expect(tab.get_by_text("55 % ·")).to_be_visible(timeout=10_000)
