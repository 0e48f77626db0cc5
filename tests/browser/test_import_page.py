"""What somebody sees who uploads a file and watches its import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db.models import F
from django.db.models.functions import Now
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.models import User
from products import progress
from products.models import Import
from tests.browser.conftest import Complaints, Service

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long password"


@pytest.fixture
def alice() -> User:
    user = User.objects.create_user("alice", password=PASSWORD)
    user.user_permissions.set(Permission.objects.filter(codename="add_import"))
    return user


def sign_in(tab: Page, user: User, then: str) -> None:
    tab.goto(f"/login/?next={then}")
    tab.get_by_label("Username").fill(user.username)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name=re.compile("log in|sign in", re.IGNORECASE)).click()
    tab.wait_for_url(f"**{then}")


def make_import(owner: User, **fields: Any) -> Import:
    return Import.objects.create(
        **{"file_name": "lamps.csv", "stored_file": "none", "sha256": "0" * 64, "bytes_total": 1000}
        | {"created_by": owner}
        | fields
    )


def advance(import_: Import, **fields: Any) -> None:
    """What a worker does with each snapshot: write the row, then tell the watchers."""
    Import.objects.filter(pk=import_.pk).update(version=F("version") + 1, heartbeat_at=Now(), **fields)
    import_.refresh_from_db()
    progress.publish(import_)


def figure(tab: Page, name: str) -> Any:
    return expect(tab.locator(f"[data-field={name}]"))


def link(tab: Page) -> Any:
    return expect(tab.locator("[data-link-text]"))


def test_it_shows_an_import_from_the_upload_to_its_end(
    tab: Page, context: BrowserContext, complaints: Complaints, alice: User, tmp_path: Path
) -> None:
    file = tmp_path / "lamps.csv"
    file.write_text("sku,name\n" + "".join(f"LAMP-{number},Desk lamp\n" for number in range(1000)))
    sign_in(tab, alice, "/imports/new/")

    tab.get_by_label("File", exact=True).set_input_files(file)
    expect(tab.locator("[data-chosen]")).to_have_text(re.compile(r"lamps\.csv · \d+\.\d kB"))
    tab.get_by_role("button", name="Upload and import").click()
    tab.wait_for_url(re.compile(r"/imports/[0-9a-f-]{36}/$"))

    import_ = Import.objects.get()
    expect(tab.get_by_role("heading", level=1)).to_have_text("lamps.csv")
    link(tab).to_have_text("live")

    half = {"bytes_read": import_.bytes_total // 2, "rows_read": 500, "rows_created": 400, "rows_rejected": 3}
    advance(import_, state="PROGRESS", phase="merging", percent=42, started_at=Now(), **half)
    expect(tab).to_have_title("42 % · lamps.csv")
    figure(tab, "rows_created").to_have_text("400")

    other = complaints.watch(context.new_page())
    for page in (tab, other):
        page.goto(f"/imports/{import_.pk}/")
        figure(page, "rows_read").to_have_text("500")
        link(page).to_have_text("live")

    advance(import_, percent=60, rows_read=700)
    for page in (tab, other):
        figure(page, "rows_read").to_have_text("700")
        expect(page).to_have_title("60 % · lamps.csv")

    end = {"bytes_read": import_.bytes_total, "rows_read": 1000, "rows_created": 997}
    advance(import_, state="SUCCESS", phase="finished", percent=100, finished_at=Now(), **end)
    for page in (tab, other):
        expect(page).to_have_title("Done · lamps.csv")
        expect(page.get_by_text("1,000 rows read = 997 created")).to_be_visible()
        expect(page.get_by_text("Cancel this import")).to_have_count(0)


def test_it_goes_on_asking_while_the_live_server_is_away(
    tab: Page, complaints: Complaints, service: Service, alice: User
) -> None:
    complaints.tolerated = ("WebSocket connection to",)
    import_ = make_import(alice, state="PROGRESS", phase="staging", bytes_read=100, rows_read=10)
    sign_in(tab, alice, f"/imports/{import_.pk}/")
    link(tab).to_have_text("live")

    service.live.stop()
    try:
        expect(tab.get_by_text("The live connection was lost.")).to_be_visible()
        advance(import_, rows_read=20)
        figure(tab, "rows_read").to_have_text("20")
    finally:
        service.live.start()

    link(tab).to_have_text("live", timeout=20_000)
    expect(tab.get_by_text("The live connection was lost.")).to_be_hidden()
    advance(import_, rows_read=30)
    figure(tab, "rows_read").to_have_text("30")


def test_it_is_cancelled_with_the_keyboard_and_says_what_is_left(tab: Page, alice: User) -> None:
    import_ = make_import(alice, state="PROGRESS", phase="staging")
    sign_in(tab, alice, f"/imports/{import_.pk}/")

    tab.get_by_text("Cancel this import…").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("button", name="Yes, cancel it")).to_be_focused()
    tab.keyboard.press("Enter")

    expect(tab.get_by_text("Cancelling: it ends at the next safe point")).to_be_visible()
    import_.refresh_from_db()
    assert import_.cancel_requested_at
    advance(import_, state="CANCELLED", phase="finished", finished_at=Now())
    expect(tab.get_by_text("Nothing of it is in the catalogue.")).to_be_visible()


def test_it_needs_no_javascript(
    browser: Browser, service: Service, complaints: Complaints, alice: User, tmp_path: Path
) -> None:
    file = tmp_path / "lamps.csv"
    file.write_text("sku,name\nLAMP-1,Desk lamp\n")
    context = browser.new_context(base_url=service.url, java_script_enabled=False)
    tab = complaints.watch(context.new_page())
    sign_in(tab, alice, "/imports/new/")

    tab.get_by_label("File", exact=True).set_input_files(file)
    tab.get_by_role("button", name="Upload and import").click()
    tab.wait_for_url(re.compile(r"/imports/[0-9a-f-]{36}/$"))
    advance(Import.objects.get(), state="PROGRESS", phase="staging", rows_read=1234, started_at=Now())

    figure(tab, "rows_read").to_have_text("1,234", timeout=10_000)  # the page renews itself
    context.close()
