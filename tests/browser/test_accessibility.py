"""Every page, light and dark, wide and narrow, as axe-core sees it."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from accounts.models import User
from products import catalogue
from products.models import Product
from tests.browser.conftest import PASSWORD, Complaints, Service, no_serious_findings, no_sideways_scrolling, sign_in
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
    "/admin/accounts/apitoken/",
    "/admin/accounts/auditentry/",
    "/account/tokens/",
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
        assert complaints == [], path


def test_who_is_not_signed_in_meets_a_page_for_everybody(context: BrowserContext, complaints: Complaints) -> None:
    page = complaints.watch(context.new_page())

    for path in ("/login/", "/admin/login/"):
        page.goto(path)
        no_serious_findings(page)
