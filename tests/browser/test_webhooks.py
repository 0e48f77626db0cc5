"""A webhook from its first form to its log, in a browser, with a receiver on this machine."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from accounts.models import User
from products import catalogue
from tests.browser.conftest import PASSWORD, Service, log_in
from webhooks import dispatcher
from webhooks.models import Attempt, Delivery, Event, WebhookEndpoint
from webhooks.tests.receivers import receiving

pytestmark = pytest.mark.django_db(transaction=True)
SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of the pages, for who wants to look at them."""


@pytest.fixture(autouse=True)
def local_receivers(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8"]
    settings.WEBHOOK_ALLOWED_PORTS = range(1, 65536)


def make_attempt() -> Attempt:
    """One that failed, of a delivery that failed, of an endpoint that waits for more."""
    endpoint = WebhookEndpoint.objects.create(
        url="https://shop.example.com/" + "hooks/" * 12, description="The shop", event_types=["product.updated"]
    )
    event = Event.objects.create(event_type="product.updated", body='{"type":"product.updated","data":{}}')
    common = {"event_id": event.pk, "endpoint_id": endpoint.pk}
    delivery = Delivery.objects.create(
        **common, event_type="product.updated", state=Delivery.State.FAILED, attempts=1, last_status=503
    )
    return Attempt.objects.create(
        **common,
        delivery_id=delivery.pk,
        number=1,
        started_at=timezone.now(),
        url=endpoint.url,
        request_headers={"webhook-id": "evt_" + "0" * 32, "authorization": "••••"},
        status=503,
        detail="The receiver said 503, which is no success.",
        reply_headers={"retry-after": "120"},
        reply="Closed for repairs. " * 20,
        total_ms=120,
    )


def dispatch() -> None:
    """Deliver what is due. Playwright has an event loop in this thread already."""

    def run() -> None:
        dispatcher.run()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()


def shot(tab: Page, name: str) -> None:
    if not SHOTS:
        return
    for scheme, width in (("light", 320), ("light", 1440), ("dark", 320), ("dark", 1440)):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)
        tab.screenshot(path=Path(SHOTS) / f"{name}-{scheme}-{width}.png", full_page=True, animations="disabled")
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.emulate_media(color_scheme="light")


def test_a_page_that_renews_itself_leaves_alone_who_uses_it(tab: Page) -> None:
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    attempt = make_attempt()
    page = f"/admin/webhooks/delivery/{attempt.delivery_id}/change/"
    log_in(tab, ada, "/admin/webhooks/delivery/")
    box = tab.get_by_label("product.updated of").last
    box.focus()
    Delivery.objects.create(
        event_id=attempt.event_id, endpoint_id=attempt.endpoint_id, event_type="product.updated", attempts=0
    )
    expect(tab.locator("table.log tbody tr")).to_have_count(2, timeout=15_000)
    expect(box).to_be_focused()

    tab.goto(page)
    tab.locator("pre[aria-label=Reply]").evaluate("pre => getSelection().selectAllChildren(pre)")
    with tab.expect_response(lambda answer: answer.url.endswith(page), timeout=20_000) as renewed:
        pass
    renewed.value.finished()
    tab.wait_for_load_state("networkidle")
    assert "Closed for repairs." in tab.evaluate("getSelection().toString()")


def test_a_secret_that_cannot_be_copied_is_selected(tab: Page, service: Service) -> None:
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    log_in(tab, ada, "/admin/webhooks/webhookendpoint/add/")
    tab.get_by_label("URL:").fill(f"http://127.0.0.1:{service.receiver_port}/hooks")
    tab.get_by_role("button", name="Save", exact=True).click()
    tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')) }")
    tab.get_by_role("button", name="Copy", exact=True).click()

    expect(tab.get_by_role("button", name="Selected: copy it with the keyboard")).to_be_visible()
    assert tab.evaluate("getSelection().toString()") == tab.locator("code.secret").inner_text()


def test_an_endpoint_is_made_tested_told_of_an_edit_and_told_again(tab: Page, service: Service) -> None:
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    product = catalogue.create_product({"sku": "LAMP-1", "name": "Desk lamp"}, actor=ada)
    with receiving(lambda got: (202, {"retry-after": "7"}, 0.0), service.receiver_port) as receiver:
        log_in(tab, ada, "/admin/webhooks/webhookendpoint/add/")
        tab.get_by_label("URL:").fill(receiver.url)
        tab.get_by_label("Description:").fill("The shop")
        shot(tab, "add")
        tab.get_by_role("button", name="Save", exact=True).click()
        expect(tab.locator("code.secret")).to_contain_text("whsec_")
        receiver.secret = tab.locator("code.secret").inner_text()
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.get_by_role("button", name="Copy", exact=True).click()
        expect(tab.get_by_role("button", name="Copied")).to_be_visible()
        assert tab.evaluate("navigator.clipboard.readText()") == receiver.secret
        shot(tab, "made")

        tab.locator("#test select[name=event_type]").select_option("product.updated")
        tab.get_by_role("button", name="Send an example now").click()
        test = tab.locator("#test")
        expect(test).to_contain_text("HTTP 202")
        expect(test).to_contain_text("retry-after: 7")
        assert len(receiver.got) == 1
        shot(tab, "endpoint")

        tab.get_by_role("link", name="Log of its deliveries").click()
        rows = tab.locator("table.log tbody tr")
        expect(rows).to_have_count(1)
        catalogue.update_product(product, {"name": "Oak lamp"}, actor=ada)
        expect(rows).to_have_count(2, timeout=15_000)
        dispatch()
        expect(rows.first).to_contain_text("Delivered", timeout=15_000)
        assert receiver.got[-1].data["product"]["name"] == "Oak lamp"
        shot(tab, "log")

        rows.first.get_by_role("link").click()
        expect(tab.locator("pre[aria-labelledby=body-title]")).to_contain_text("Oak lamp")
        shot(tab, "delivery")
        tab.get_by_role("button", name="Deliver again").click()
        expect(tab.locator(".messagelist")).to_contain_text("1 delivery is made again.")
        dispatch()
        expect(tab.locator("article.attempt")).to_have_count(2, timeout=15_000)
        assert receiver.ids[-1] == receiver.ids[-2]

        tab.context.new_cdp_session(tab).send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
        tab.goto(f"/admin/webhooks/webhookendpoint/{WebhookEndpoint.objects.get().pk}/change/")
        now = timezone.now().astimezone(ZoneInfo("Asia/Tokyo"))
        tab.get_by_label("Since (your time)").fill(f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}")
        tab.get_by_label("Until (your time)").fill(f"{now + timedelta(minutes=2):%Y-%m-%dT%H:%M}")
        tab.locator("select[name=state]").select_option("all")
        tab.get_by_role("button", name="Deliver again").click()
        expect(tab.locator(".messagelist")).to_contain_text("1 delivery is made again.")  # not the test
        before = len(receiver.got)
        dispatch()
        assert len(receiver.got) == before + 1
        tab.goto("/admin/webhooks/webhookendpoint/")
        shot(tab, "list")
        tab.goto("/admin/")
        shot(tab, "dashboard")
