"""What the Ctrl-K palette finds: pages and actions that a person may use, products, imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict

from django.http import HttpRequest
from django.urls import reverse

from products.models import Import, Product
from products.search import NarrowSearchError, at_most
from products.selection import Selection

FEW = 6
LONGEST = 200
NAME_SECONDS = 0.2
"""So long may the search through all names take while somebody types; skus and imports are found at once."""


class Entry(TypedDict):
    group: str
    label: str
    hint: str
    url: str


class Answer(TypedDict):
    results: list[Entry]
    note: str
    """What there is to say about the results; empty for nothing."""


def palette(request: HttpRequest, pages: list[Entry]) -> Answer:
    """The answer to `?q=`; `pages` are those that this person may open."""
    text = " ".join(request.GET.get("q", "")[:LONGEST].replace("\0", "").split())
    words = text.lower().split()
    results = [each for each in pages if all(word in f"{each['label']} {each['hint']}".lower() for word in words)]
    if not text:
        return {"results": results, "note": ""}
    note = ""
    if request.user.has_perm("products.view_product") or request.user.has_perm("products.change_product"):
        found, note = _products(text)
        results += found
        results.append(_entry("Products", f"Find “{text}” in all products", "", _product_list(text)))
    results += _imports(request, text)
    return {"results": results, "note": note}


def _products(text: str) -> tuple[list[Entry], str]:
    """By the beginning of the sku, then by the words of the name while there is time."""
    by_sku = list(Selection(sku=text).products().order_by("id")[:FEW])
    if len(by_sku) == FEW or len(text) < 2:
        return [_product(each) for each in by_sku], ""
    try:
        with at_most(NAME_SECONDS):
            by_name = list(Selection(search=text).products().order_by()[:FEW])
    except NarrowSearchError:
        words = f"The names took longer than {NAME_SECONDS * 1000:.0f} ms. Search the list, or begin with a sku."
        return [_product(each) for each in by_sku], words
    known = {each.pk for each in by_sku}
    return [_product(each) for each in [*by_sku, *(each for each in by_name if each.pk not in known)][:FEW]], ""


def _product(product: Product) -> Entry:
    return _entry("Products", product.sku, product.name, reverse("admin:products_product_change", args=[product.pk]))


def _product_list(text: str) -> str:
    return reverse("admin:products_product_changelist", query={"q": text})


def _imports(request: HttpRequest, text: str) -> Iterator[Entry]:
    page = "admin:products_import_change" if request.user.has_perm("products.view_import") else "import-detail"
    seen = Import.objects.visible_to(request.user)
    for import_ in seen.filter(file_name__icontains=text).order_by("-pk")[:FEW]:
        hint = f"{import_.standing.label}, {import_.created_at:%Y-%m-%d}"
        yield _entry("Imports", import_.file_name, hint, reverse(page, args=[import_.pk]))


def _entry(group: str, label: str, hint: str, url: str) -> Entry:
    return {"group": group, "label": label, "hint": hint, "url": url}


def entries_of(apps: list[dict[str, Any]], actions: list[tuple[str, str]]) -> list[Entry]:
    """Pages, from the admin's own list of what this person may open, and actions as (label, address)."""
    found = [_entry("Go to", label, "", url) for label, url in actions]
    for app in apps:
        for model in app["models"]:
            if model.get("admin_url"):
                found.append(_entry("Go to", model["name"], app["name"], model["admin_url"]))
            if model.get("add_url") and model["object_name"] != "Import":
                found.append(_entry("Go to", f"Add: {model['name']}", app["name"], model["add_url"]))
    return found
