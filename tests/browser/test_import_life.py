"""Imports from their file to their end, with a worker that does them, as somebody in front of a browser lives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.models import F
from django.db.models.functions import Now
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from common.tests.addresses import database_url
from products.catalogue import CATALOGUE_LOCK
from products.importing.options import ImportOptions
from products.models import Import, Product
from products.tasks import start_import, sweep_imports
from tests.browser.conftest import Complaints, Service, ended, no_serious_findings, no_sideways_scrolling, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = "sku,name,description\nLAMP-1,Desk lamp,Brass\nLAMP-2,Floor lamp,Oak\nLAMP-3,Wall lamp,Steel\n"
SECOND = (
    "sku,name\nLAMP-1,Desk lamp\nLAMP-2,Tall floor lamp\nLAMP-4,Ceiling lamp\n,No sku\nLAMP-4,Ceiling lamp, round\n"
)


def sent(owner: User, content: str | bytes, name: str = "lamps.csv", **options: Any) -> Import:
    """A file that was sent a moment ago."""
    data = content.encode() if isinstance(content, str) else content
    return start_import([data], file_name=name, options=ImportOptions.parse(options), user=owner)


@contextmanager
def catalogue_held() -> Iterator[None]:
    """While somebody else has the catalogue: an import that wants to write waits, and is alive."""
    with psycopg.connect(database_url(), autocommit=True) as somebody_else:
        somebody_else.execute("SELECT pg_advisory_lock(%s)", [CATALOGUE_LOCK])
        yield


@pytest.fixture
def page(tab: Page, service: Service, alice: User) -> Page:
    """A tab in which Alice has signed in."""
    sign_in(tab.context, service, alice)
    return tab


def open_import(page: Page, import_: Import) -> None:
    page.goto(f"/imports/{import_.pk}/")


def state(page: Page) -> Any:
    return expect(page.locator("[data-view] > .heading .state"))


def step(page: Page) -> Any:
    return expect(page.locator('[aria-current="step"]'))


# --- the short way -----------------------------------------------------------------------------


def test_a_small_file_is_done_by_the_time_its_page_is_there(page: Page, alice: User, tmp_path: Path) -> None:
    file = tmp_path / "fifty.csv"
    file.write_text("sku,name\n" + "".join(f"LAMP-{number},Desk lamp\n" for number in range(50)))
    page.goto("/imports/new/")
    page.locator("main input[type=file]").set_input_files(file)

    page.locator("main button[type=submit]").click()
    page.wait_for_url(re.compile(r"/imports/[0-9a-f-]{36}/$"))
    import_ = Import.objects.get()
    assert not import_.check_first
    state(page).to_have_text("Done")
    expect(page.get_by_text("50 rows read = 50 created")).to_be_visible()


def test_it_is_looked_at_applied_and_undone(page: Page, alice: User) -> None:
    ended(sent(alice, FIRST))
    import_ = sent(alice, SECOND, "new-lamps.csv", check_first="true", max_rejects="none")
    open_import(page, import_)

    state(page).to_have_text("Checked")
    step(page).to_contain_text("Changes")
    expect(page.get_by_text("Nothing is written yet")).to_be_visible()
    changes = page.locator("#changes")
    expect(changes.get_by_role("row", name="LAMP-4")).to_contain_text("created")
    changed = changes.get_by_role("row", name="LAMP-2")
    expect(changed.locator(".old")).to_have_text("Floor lamp")
    expect(changed.locator("ins")).to_have_text("Tall floor")
    no_serious_findings(page)

    changes.get_by_label("What happens").select_option("created")
    expect(changes.get_by_role("row", name="LAMP-2")).to_have_count(0)
    expect(changes.get_by_role("row", name="LAMP-4")).to_be_visible()
    expect(page).to_have_url(re.compile(f"{import_.pk}/$"))
    assert not Product.objects.filter(sku="LAMP-4").exists()

    page.get_by_role("button", name="Apply: create 1, change 1").click()
    state(page).to_have_text("Done")
    assert Product.objects.get(sku="LAMP-2").name == "Tall floor lamp"
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    no_serious_findings(page)

    page.get_by_text("Undo this import…").click()
    expect(
        page.get_by_text("This removes 1 product that was created, gives 1 their values from before")
    ).to_be_visible()
    page.get_by_role("button", name="Yes, undo it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Undo of new-lamps.csv")
    state(page).to_have_text("Done")
    expect(page.get_by_text("2 products are as they were before.")).to_be_visible()
    assert not Product.objects.filter(sku="LAMP-4").exists()
    no_serious_findings(page)

    page.get_by_role("link", name="new-lamps.csv").click()
    expect(page.get_by_text("This was taken back")).to_be_visible()
    page.get_by_role("link", name="this undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Undo of new-lamps.csv")


def test_a_check_is_applied_with_the_keyboard_alone(page: Page, alice: User) -> None:
    open_import(page, sent(alice, FIRST, check_first="true"))
    state(page).to_have_text("Checked")

    button = page.get_by_role("button", name="Apply: create 3")
    for _ in range(30):
        page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    expect(button).to_be_focused()
    page.keyboard.press("Enter")

    state(page).to_have_text("Done")
    assert Product.objects.count() == 3


def test_a_check_is_discarded(page: Page, alice: User) -> None:
    open_import(page, sent(alice, FIRST, check_first="true"))

    page.get_by_role("button", name="Discard").click()

    state(page).to_have_text("Discarded")
    assert not Product.objects.exists()


def test_what_is_checked_is_shown_again_where_the_catalogue_has_changed(page: Page, alice: User) -> None:
    ended(sent(alice, FIRST))
    open_import(page, sent(alice, SECOND, check_first="true", max_rejects="none"))
    state(page).to_have_text("Checked")
    Product.objects.filter(sku="LAMP-2").update(name="Somebody else's", version=F("version") + 1)

    page.get_by_role("button", name=re.compile("^Apply")).click()

    expect(page.get_by_text("This was checked again.")).to_be_visible()
    expect(page.locator("#changes").get_by_role("row", name="LAMP-2").locator(".old")).to_have_text("Somebody else's")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    state(page).to_have_text("Done")


def test_many_products_become_inactive_only_when_somebody_says_so(page: Page, alice: User) -> None:
    ended(sent(alice, FIRST))
    open_import(page, sent(alice, "sku,name\nLAMP-1,Desk lamp\n", "all.csv", mode="sync"))

    expect(page.get_by_text("2 of 3 active products are not in the file and would become inactive.")).to_be_visible()
    page.get_by_role("button", name="Apply: deactivate 2").click()
    state(page).to_have_text("Checked")  # the browser asks for the box
    page.get_by_label("Yes, deactivate 2 products").check()
    no_serious_findings(page)
    page.get_by_role("button", name="Apply: deactivate 2").click()

    state(page).to_have_text("Done")
    assert set(Product.objects.filter(status="active").values_list("sku", flat=True)) == {"LAMP-1"}


# --- the long way ------------------------------------------------------------------------------


def test_a_reload_in_the_middle_loses_nothing(page: Page, complaints: Complaints, alice: User) -> None:
    with catalogue_held():
        import_ = sent(alice, FIRST)
        open_import(page, import_)
        step(page).to_contain_text("Check")
        state(page).to_have_text("Running")
        page.reload()
        state(page).to_have_text("Running")
        expect(page.locator("[data-link-text]")).to_have_text("live")
        no_serious_findings(page)
        other = complaints.watch(page.context.new_page())
        open_import(other, import_)
        state(other).to_have_text("Running")

    for each in (page, other):
        state(each).to_have_text("Done")


def test_a_running_import_is_cancelled_and_leaves_nothing(page: Page, alice: User) -> None:
    with catalogue_held():
        open_import(page, sent(alice, FIRST))
        state(page).to_have_text("Running")
        page.get_by_text("Cancel this import…").click()
        expect(page.get_by_text("A cancelled import leaves nothing")).to_be_visible()
        page.get_by_role("button", name="Yes, cancel it").click()
        state(page).to_have_text("Cancelled")

    assert not Product.objects.exists()


def test_another_worker_takes_over_where_one_was_killed(page: Page, service: Service, alice: User) -> None:
    with catalogue_held():
        import_ = sent(alice, FIRST)
        open_import(page, import_)
        state(page).to_have_text("Running")
        service.worker.kill()
        Import.objects.filter(pk=import_.pk).update(lease_expires_at=Now())  # as if its seconds had gone by
        sweep_imports()
        expect(page.get_by_text("This is attempt 2.")).to_be_visible()
        service.worker.start()

    state(page).to_have_text("Done", timeout=20_000)
    expect(page.get_by_text("1 of them lost with their worker")).to_be_visible()
    assert Product.objects.count() == 3


def test_a_wrong_file_is_told(page: Page, alice: User) -> None:
    open_import(page, sent(alice, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "lamps.csv"))

    state(page).to_have_text("Failed")
    expect(page.get_by_text("Nothing of this file is in the catalogue.")).to_be_visible()
    expect(page.locator(".steps .failed")).to_contain_text("Check")
    no_serious_findings(page)


def test_a_file_is_read_again_in_another_way_and_checked_first(page: Page, alice: User) -> None:
    import_ = sent(alice, FIRST, check_first="true")
    open_import(page, import_)
    page.get_by_text("Read this file again in another way").click()
    page.get_by_label("Encoding").select_option("windows-1252")
    page.get_by_role("button", name="Read again").click()

    expect(page).not_to_have_url(re.compile(str(import_.pk)))
    state(page).to_have_text("Checked")
    ended(import_, "CANCELLED")
    again = Import.objects.latest("id")
    assert again.file_format["encoding"] == again.detected["encoding"] == "windows-1252"
    assert again.detected["encoding_from"] == "declared"
    assert again.sha256 == import_.sha256


def test_rejected_rows_are_told_by_their_cause(page: Page, alice: User) -> None:
    rows = "".join(f"LAMP-{number},Desk lamp,sold\n" for number in range(30)) + ",No sku,active\nLAMP-X,Good,active\n"
    open_import(page, sent(alice, "sku,name,status\n" + rows, max_rejects="none"))

    state(page).to_have_text("Done")
    causes = page.locator(".causes")
    expect(causes.get_by_role("row", name=re.compile("status"))).to_contain_text("30")
    no_serious_findings(page)
    causes.get_by_role("link", name=re.compile("sku")).click()
    expect(page.locator(".report tbody tr")).to_have_count(1)
    expect(page.locator(".report tbody th")).to_have_text("32")
    no_serious_findings(page)


# --- every browser -------------------------------------------------------------------------------


def test_it_needs_no_javascript(browser: Browser, service: Service, complaints: Complaints, alice: User) -> None:
    context = browser.new_context(base_url=service.url, java_script_enabled=False)
    sign_in(context, service, alice)
    page = complaints.watch(context.new_page())
    with catalogue_held():
        import_ = sent(alice, FIRST)
        open_import(page, import_)
        state(page).to_have_text("Running")
    state(page).to_have_text("Done", timeout=10_000)  # the page renews itself

    checked = sent(alice, SECOND, check_first="true", max_rejects="none")
    open_import(page, checked)
    page.get_by_label("What happens").select_option("updated")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would change")
    expect(page.get_by_role("row", name="LAMP-2")).to_be_visible()
    expect(page.get_by_role("row", name="LAMP-4")).to_have_count(0)
    page.get_by_role("link", name="← lamps.csv").click()
    page.get_by_role("button", name=re.compile("^Apply")).click()
    state(page).to_have_text("Done", timeout=10_000)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_window_and_can_be_read_in_the_dark(page: Page, alice: User, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": 320, "height": 640})
    done = ended(sent(alice, FIRST, "a-long-name-of-a-file-without-a-space-in-it-2026-11-25.csv"))
    checked = sent(alice, SECOND, check_first="true", max_rejects="none")
    for address in [f"{done.pk}/", f"{checked.pk}/", f"{checked.pk}/changes/", f"{checked.pk}/rows/", "?file=lamps"]:
        page.goto(f"/imports/{address}")
        no_sideways_scrolling(page)
        no_serious_findings(page)


def test_the_list_is_narrowed_and_stays_so_while_it_renews_itself(page: Page, alice: User) -> None:
    ended(sent(alice, FIRST, "lamps.csv"))
    sent(alice, FIRST, "chairs.csv", check_first="true")
    page.goto("/imports/")
    no_serious_findings(page)

    page.get_by_text("Narrow the list").click()
    page.get_by_label("File name has").fill("chair")
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_role("link", name="chairs.csv")).to_be_visible()
    expect(page.get_by_role("link", name="lamps.csv")).to_have_count(0)
    expect(page.locator("fresh-list .state")).to_have_text("Checked")
    no_serious_findings(page)
