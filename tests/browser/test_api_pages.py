"""The pages on which people read the API, with nothing from elsewhere and nothing that the policy refuses."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def test_swagger_shows_and_sends_the_operations(tab: Page) -> None:
    tab.goto("/api/docs/")

    expect(tab.get_by_role("heading", name=re.compile("OData Backend"))).to_be_visible()
    tab.get_by_text("List products", exact=True).click()
    expect(tab.get_by_role("button", name="Try it out")).to_be_visible()


def test_redoc_shows_the_operations(tab: Page) -> None:
    tab.goto("/api/redoc/")

    expect(tab.get_by_role("heading", name=re.compile("OData Backend"))).to_be_visible()
    expect(tab.get_by_role("heading", name="List products").first).to_be_attached()
    expect(tab.locator("[role=search] input")).to_be_visible()
