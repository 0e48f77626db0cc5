"""Every page, light and dark, wide and narrow, as axe-core sees it."""

from __future__ import annotations

import pytest
from django_otp.oath import totp
from playwright.sync_api import BrowserContext

from accounts.devices import Authenticator
from accounts.models import User
from products import catalogue
from products.models import Product
from tests.browser.conftest import (
    PASSWORD,
    Complaints,
    Service,
    heading_in_sight,
    no_serious_findings,
    no_sideways_scrolling,
    sign_in,
)
from tests.browser.test_import_page import make_import
from tests.browser.test_webhooks import make_attempt

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = [
    "/imports/",
    "/imports/new/",
    "/imports/{import}/",
    "/imports/{import}/changes/",
    "/admin/",
    "/admin/products/product/",
    "/admin/products/product/{product}/change/",
    "/admin/products/product/add/",
    "/admin/products/import/",
    "/admin/products/import/{import}/change/",
    "/admin/products/import/add/",
    "/admin/products/productchange/",
    "/admin/webhooks/webhookendpoint/",
    "/admin/webhooks/webhookendpoint/add/",
    "/admin/webhooks/webhookendpoint/{endpoint}/change/?tested={attempt}",
    "/admin/webhooks/delivery/",
    "/admin/webhooks/delivery/{delivery}/change/",
    "/admin/accounts/user/",
    "/admin/accounts/user/{person}/change/",
    "/admin/doctor/",
    "/admin/accounts/apitoken/",
    "/admin/accounts/auditentry/",
    "/admin/django_celery_results/taskresult/",
    "/account/tokens/",
    "/account/password/",
    "/account/second-factor/",
]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_no_page_shuts_anybody_out(
    context: BrowserContext, complaints: Complaints, service: Service, scheme: str, width: int
) -> None:
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    product = catalogue.create_product(
        {"sku": "LAMP-1", "name": "Desk lamp", "attributes": {"colour": "red"}}, actor=ada
    )
    import_ = make_import(ada, state="SUCCESS", phase="finished", rows_read=3, rows_created=3)
    assert Product.objects.count() == 1
    attempt = make_attempt()
    ids = {
        "import": import_.pk,
        "person": ada.pk,
        "product": product.pk,
        "endpoint": attempt.endpoint_id,
        "delivery": attempt.delivery_id,
        "attempt": attempt.pk,
    }
    sign_in(context, service, ada)
    page = complaints.watch(context.new_page())
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)

    for path in PAGES:
        page.goto(path.format(**ids))
        no_serious_findings(page)
        no_sideways_scrolling(page)
        heading_in_sight(page)
        assert complaints == [], path


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("light", 320), ("dark", 1280), ("dark", 320)])
def test_a_second_factor_and_a_token_can_be_had_by_everybody(
    context: BrowserContext, complaints: Complaints, scheme: str, width: int
) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    page = complaints.watch(context.new_page())
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)

    def looks_right(what: str) -> None:
        no_serious_findings(page)
        no_sideways_scrolling(page)
        assert complaints == [], what

    def log_in(code: str) -> None:
        page.goto("/login/?next=/account/tokens/")
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Code").fill(code)
        page.get_by_role("button", name="Log in").click()

    log_in("")
    page.get_by_label("Name").fill("The shop's till")
    page.get_by_label("Read products and imports").check()
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("it is not shown again").wait_for()
    looks_right("a new token")

    page.goto("/account/second-factor/")
    looks_right("before")
    page.get_by_role("button", name="Set it up").click()
    page.get_by_text("Or type the secret").wait_for()
    looks_right("the QR code")
    card, code = page.locator(".card").first.bounding_box(), page.locator("svg.qr").bounding_box()
    assert card
    assert code
    assert code["x"] + code["width"] <= card["x"] + card["width"]
    device = Authenticator.objects.get()
    page.get_by_label("Code").fill(f"{totp(device.bin_key):06d}")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Keep these recovery codes").wait_for()
    looks_right("the recovery codes")
    recovery = page.locator("ul code").first.inner_text()

    context.clear_cookies()
    log_in("")
    page.get_by_text("needs the present code").wait_for()
    looks_right("a login without the code")
    log_in(recovery)
    page.wait_for_url("**/account/tokens/")
    looks_right("the tokens")


def test_who_is_not_signed_in_meets_a_page_for_everybody(context: BrowserContext, complaints: Complaints) -> None:
    page = complaints.watch(context.new_page())

    for path in ("/login/", "/admin/login/"):
        page.goto(path)
        no_serious_findings(page)
