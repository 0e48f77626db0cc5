"""What somebody sees who watches an import: the numbers are those a worker would write."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import User
from products import progress
from products.models import Import
from tests.browser.conftest import Complaints, Service, no_serious_findings, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_it_shows_the_same_truth_in_every_tab(
    context: BrowserContext, complaints: Complaints, service: Service, alice: User
) -> None:
    sign_in(context, service, alice)
    import_ = make_import(alice)
    first, other = (complaints.watch(context.new_page()) for _ in range(2))
    for page in (first, other):
        page.goto(f"/imports/{import_.pk}/")
        link(page).to_have_text("live")

    half = {"bytes_read": 500, "rows_read": 500, "rows_created": 400, "rows_rejected": 3}
    advance(import_, state="PROGRESS", phase="merging", percent=42, started_at=Now(), **half)
    for page in (first, other):
        expect(page).to_have_title("42 % · lamps.csv")
        figure(page, "rows_created").to_have_text("400")

    other.reload()
    figure(other, "rows_read").to_have_text("500")
    link(other).to_have_text("live")
    advance(import_, percent=60, rows_read=700)
    for page in (first, other):
        figure(page, "rows_read").to_have_text("700")
        expect(page).to_have_title("60 % · lamps.csv")

    end = {"bytes_read": 1000, "rows_read": 1000, "rows_created": 997}
    advance(import_, state="SUCCESS", phase="finished", percent=100, finished_at=Now(), **end)
    for page in (first, other):
        expect(page).to_have_title("Done · lamps.csv")
        expect(page.get_by_text("1,000 rows read = 997 created")).to_be_visible()
        expect(page.get_by_text("Cancel this import")).to_have_count(0)


def test_it_draws_how_fast_it_goes_and_says_how_long_it_may_take(tab: Page, service: Service, alice: User) -> None:
    sign_in(tab.context, service, alice)
    import_ = make_import(alice, state="PROGRESS", phase="merging", started_at=Now(), heartbeat_at=Now())
    tab.goto(f"/imports/{import_.pk}/")
    link(tab).to_have_text("live")

    for tick in range(1, 13):
        advance(import_, percent=4 * tick, bytes_read=40 * tick, rows_read=5000 * tick, rows_created=4000 * tick)
        figure(tab, "rows_read").to_have_text(f"{5000 * tick:,}")
        tab.wait_for_timeout(250)  # what is measured is time

    expect(tab.locator("[data-left]")).to_have_text(re.compile(r"^(\d+–\d+ s|a few seconds)$"))
    expect(tab.locator("rate-chart canvas")).to_be_visible()
    tab.get_by_text("The same as a table").click()
    expect(tab.locator("rate-chart tbody tr").nth(3)).to_be_visible()
    no_serious_findings(tab)


def test_it_foretells_a_range_from_the_last_seconds_only(tab: Page) -> None:
    told = """async ([script, samples]) => {
        const { Pace, likely } = await import(script);
        const pace = new Pace();
        for (const [at, percent] of samples) pace.add(at, { percent, rows_read: at, settled: at, attempt: 1 });
        const left = pace.left();
        return left && likely(left);
    }"""
    tab.goto("/login/")

    def likely(samples: list[tuple[float, float]]) -> str | None:
        found: str | None = tab.evaluate(told, ["/static/products/pace.js", samples])
        return found

    steady = [(float(second), second * 2.0) for second in range(11)]
    slow_start = [(second * 1.0, second * 0.1) for second in range(20)]
    slow_start += [(20 + second * 1.0, 2 + second * 2.0) for second in range(20)]
    assert likely(steady) == "35–50 s"
    assert likely(slow_start) == "25–35 s"
    assert likely([(0, 0), (0.5, 5), (1, 10)]) is None
    assert likely([(0, 50), (2, 50), (4, 50)]) is None
    assert likely([(0, 80), (2, 90), (4, 98)]) == "a few seconds"


def test_it_goes_on_asking_while_the_live_server_is_away(
    tab: Page, complaints: Complaints, service: Service, alice: User
) -> None:
    complaints.tolerated = ("WebSocket connection to",)
    import_ = make_import(alice, state="PROGRESS", phase="staging", bytes_read=100, rows_read=10)
    sign_in(tab.context, service, alice)
    tab.goto(f"/imports/{import_.pk}/")
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


def test_it_is_cancelled_with_the_keyboard_and_says_what_is_left(tab: Page, service: Service, alice: User) -> None:
    import_ = make_import(alice, state="PROGRESS", phase="staging")
    sign_in(tab.context, service, alice)
    tab.goto(f"/imports/{import_.pk}/")

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
