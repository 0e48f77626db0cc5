"""A receiver that goes by versions ends where the catalogue is, in whatever order it hears of it, and how often."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from products import catalogue, pushing
from products.models import Product
from products.tests.listening import listen, told

pytestmark = pytest.mark.django_db(transaction=True)

SKUS = st.sampled_from(["A", "B", "C"])
NAMES = st.sampled_from(["Lamp", "Shelf", "Hook"])
STEPS = st.lists(st.tuples(st.sampled_from(["create", "update", "delete"]), SKUS, NAMES), max_size=20)


class Receiver:
    """What docs/webhooks.md tells those who integrate: of each product, the greatest version counts."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, dict[str, Any] | None]] = {}

    def hear(self, body: dict[str, Any]) -> None:
        data = body["data"]
        version, _ = self.known.get(data["product_id"], (0, None))
        if data["version"] > version:
            product = None if body["type"] == "product.deleted" else data["product"]
            self.known[data["product_id"]] = (data["version"], product)

    def products(self) -> dict[str, tuple[str, int]]:
        alive = [product for _, product in self.known.values() if product]
        return {product["sku"]: (product["name"], product["version"]) for product in alive}


def play(steps: list[tuple[str, str, str]]) -> None:
    for step, sku, name in steps:
        product = catalogue.with_sku(sku).first()
        if step == "create" and product is None:
            catalogue.create_product({"sku": sku, "name": name}, actor=None)
        elif step == "update" and product:
            catalogue.update_product(product, {"name": name}, actor=None)
        elif step == "delete" and product:
            catalogue.delete_product(product, actor=None)


@given(steps=STEPS, data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shuffle_with_any_repeats_ends_in_the_right_state(
    steps: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE products_product, products_productchange, webhooks_event, webhooks_delivery")
        cursor.execute("DELETE FROM webhooks_webhookendpoint")
    listen("product.created", "product.updated", "product.deleted")
    play(steps)
    bodies = told()
    repeats = data.draw(st.lists(st.sampled_from(bodies), max_size=10)) if bodies else []
    heard = data.draw(st.permutations([*bodies, *repeats]))

    receiver = Receiver()
    for body in heard:
        receiver.hear(body)

    stored = Product.objects.values_list("sku", "name", "version")
    assert receiver.products() == {sku: (name, version) for sku, name, version in stored}


@given(steps=STEPS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_versions_of_a_product_grow_by_one_from_event_to_event(steps: list[tuple[str, str, str]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE products_product, products_productchange, webhooks_event, webhooks_delivery")
        cursor.execute("DELETE FROM webhooks_webhookendpoint")
    listen()
    play(steps)
    catalogue.set_status(Product.objects.all(), "inactive", actor=None)
    pushing.push_all()

    versions: dict[int, list[int]] = {}
    for body in told():
        for item in body["data"].get("items", [body["data"]]):
            versions.setdefault(item["product_id"], []).append(item["version"])
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())
