"""`products.changed`: batches of what many changes did, complete, in order, none twice, and never too many ahead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from products import catalogue, pushing
from products.importing import lease
from products.models import ChangePush, Import, Product, ProductChange
from products.tests.importing.imports import csv, imported, numbered, run
from products.tests.listening import listen, told
from webhooks.event_types import MAX_BYTES
from webhooks.models import Delivery, Event, Lane, WebhookEndpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

PUSH = "import django; django.setup(); from products import pushing; pushing.push_all()"


@pytest.fixture
def endpoint() -> WebhookEndpoint:
    return listen("products.changed", batch_items=4)


def batches(endpoint: WebhookEndpoint) -> list[dict[str, Any]]:
    return [body["data"] for body in told(endpoint)]


def assert_exact(endpoint: WebhookEndpoint, import_: Import) -> None:
    """The batches say what the history has of this import: all of it, once, in order, and that it is all."""
    mine = [batch for batch in batches(endpoint) if batch["import"] == str(import_.pk)]
    assert [batch["batch"] for batch in mine] == list(range(1, len(mine) + 1))
    assert [batch["last"] for batch in mine] == [False] * (len(mine) - 1) + [True]
    items = [item for batch in mine for item in batch["items"]]
    written = ProductChange.objects.filter(import_id=import_.pk).order_by("id")
    assert items == [
        {
            "id": change.pk,
            "product_id": change.product_id,
            "sku": change.sku,
            "action": change.action,
            "version": change.version,
            "changed_fields": list(change.previous or {}),
        }
        for change in written
    ]
    assert {batch["items_total"] for batch in mine} == {len(items)} == {import_.products_changed}


def test_an_import_is_told_in_batches_that_are_exact(endpoint: WebhookEndpoint) -> None:
    ada = User.objects.create_user("ada")
    imported(numbered(6))
    import_ = imported(numbered(10, name="Shelf"), user=ada)

    pushing.push_all()

    assert_exact(endpoint, import_)
    mine = [batch for batch in batches(endpoint) if batch["import"] == str(import_.pk)]
    assert [len(batch["items"]) for batch in mine] == [4, 4, 2]
    assert all((batch["kind"], batch["actor"]["username"]) == ("file", "ada") for batch in mine)
    assert not ChangePush.objects.exists()
    assert {delivery.lane for delivery in Delivery.objects.filter(endpoint_id=endpoint.pk)} == {Lane.IMPORT}


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_the_last_batch_says_so(endpoint: WebhookEndpoint, count: int) -> None:
    import_ = imported(numbered(count))

    pushing.push_all()

    assert_exact(endpoint, import_)


def test_an_import_leaves_one_row_for_each_who_wants_it_and_no_event_of_it(endpoint: WebhookEndpoint) -> None:
    other = listen("products.changed")
    listen("product.created")

    imported(numbered(10))

    assert list(ChangePush.objects.values_list("endpoint_id", flat=True)) == [endpoint.pk, other.pk]
    assert not Event.objects.filter(event_type="products.changed").exists()


def test_products_of_a_sync_that_the_file_lacks_are_told(endpoint: WebhookEndpoint) -> None:
    imported(numbered(6))
    checked = imported(numbered(2, name="Shelf"), mode="sync", max_deactivated="100%")
    import_ = run(lease.request_apply(checked))

    pushing.push_all()

    assert import_.products_deactivated == 4
    assert_exact(endpoint, import_)


def test_edits_made_meanwhile_are_not_in_the_batches_of_an_import(endpoint: WebhookEndpoint) -> None:
    """Ids of single edits may lie between those of an import."""
    import_ = imported(numbered(3))
    with connection.cursor() as cursor:  # one in the middle of the import's stretch
        cursor.execute("SELECT max(id) - 1 FROM products_productchange")
        (middle,) = cursor.fetchone()
        cursor.execute(
            "INSERT INTO products_productchange (id, product_id, sku, action, version)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, 99, 'EDIT', 'created', 1)",
            [middle],
        )

    pushing.push_all()

    assert_exact(endpoint, import_)


def test_many_changes_without_an_import_are_told_the_same_way(endpoint: WebhookEndpoint) -> None:
    imported(numbered(5))
    pushing.push_all()
    before = len(batches(endpoint))

    with transaction.atomic():
        catalogue.set_status(Product.objects.all(), "inactive", actor=None)
        catalogue.delete_products(Product.objects.all(), actor=None)
    pushing.push_all()

    new = batches(endpoint)[before:]
    assert [(batch["batch"], batch["last"], len(batch["items"])) for batch in new] == [
        (1, False, 4),
        (2, True, 1),
        (1, False, 4),
        (2, True, 1),
    ]
    assert {(batch["import"], batch["kind"], batch["items_total"]) for batch in new} == {(None, None, 5)}
    assert [item["action"] for batch in new for item in batch["items"]] == ["updated"] * 5 + ["deleted"] * 5


def test_a_batch_is_never_larger_than_receivers_take() -> None:
    endpoint = listen("products.changed", batch_items=1000)
    import_ = imported(csv("sku,name", *(f'"{number:05}{"é" * 90}",Lamp' for number in range(300))))

    pushing.push_all()

    assert_exact(endpoint, import_)
    events = Event.objects.filter(event_type="products.changed").order_by("id")
    sizes = [len(body.encode()) for body in events.values_list("body", flat=True)]
    assert max(sizes) <= MAX_BYTES
    assert min(sizes[:-1]) > MAX_BYTES - 1000, "as many as fit"


def test_150_items_of_an_ordinary_import_fit_into_a_batch() -> None:
    endpoint = listen("products.changed")
    imported(numbered(300))
    with connection.cursor() as cursor:  # ids as they are after years
        cursor.execute("ALTER TABLE products_productchange ALTER id RESTART WITH 100000000")
    import_ = imported(csv("sku,name,status", *(f"SKU-{number:06d},Shelf,inactive" for number in range(300))))

    pushing.push_all()

    mine = [batch for batch in batches(endpoint) if batch["import"] == str(import_.pk)]
    assert [len(batch["items"]) for batch in mine] == [150, 150]


def test_an_endpoint_is_given_no_more_than_it_takes(endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "FEWEST_WAITING", 3)
    monkeypatch.setattr(pushing, "SECONDS_AHEAD", 0)
    monkeypatch.setattr(pushing, "STEP", 2)
    import_ = imported(numbered(22))
    quick = listen("products.changed")
    later = imported(numbered(2, name="Shelf"))

    pushing.push_all()
    assert Delivery.objects.filter(endpoint_id=endpoint.pk).count() == 3
    assert_exact(quick, later)

    for following in (3, 1):  # it takes what waits, and is given what follows
        Delivery.objects.filter(endpoint_id=endpoint.pk).update(state="delivered")
        pushing.push_all()
        assert Delivery.objects.filter(endpoint_id=endpoint.pk, state="pending").count() == following

    assert_exact(endpoint, import_)
    assert_exact(endpoint, later)
    assert not ChangePush.objects.exists()


def test_one_import_is_told_after_the_other(endpoint: WebhookEndpoint) -> None:
    first, second = imported(numbered(9)), imported(numbered(9, name="Shelf"))

    pushing.push_all()

    assert [batch["import"] for batch in batches(endpoint)] == [str(first.pk)] * 3 + [str(second.pk)] * 3


def test_while_one_worker_makes_batches_another_leaves_them_to_it(endpoint: WebhookEndpoint) -> None:
    imported(numbered(9))
    push = ChangePush.objects.get()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM products_changepush FOR UPDATE")
        assert not pushing.push_some(push.pk)
        with other.cursor() as cursor:
            cursor.execute("ROLLBACK")  # else the server may notice later than we ask again
    finally:
        other.close()
    assert not Event.objects.filter(event_type="products.changed").exists()

    pushing.push_all()
    assert len(batches(endpoint)) == 3


@pytest.mark.parametrize("kills", [1, 4])
def test_a_worker_that_is_killed_loses_nothing_and_nobody_is_told_twice(tmp_path: Path, kills: int) -> None:
    endpoint = listen("products.changed", batch_items=2, rate_per_second=1000)
    import_ = imported(numbered(8000))
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "ODATA_HOME": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "odata.settings",
    }

    for _ in range(kills):
        before = Event.objects.count()
        worker = subprocess.Popen([sys.executable, "-c", PUSH], env=environment, cwd=django_settings.BASE_DIR)
        wait_until(lambda: Event.objects.count() > before or worker.poll() is not None)  # noqa: B023
        worker.kill()
        worker.wait(20)
        assert before < Event.objects.count() < 4000, "in the middle of it"
    pushing.push_all()

    assert_exact(endpoint, import_)


@pytest.mark.parametrize("why", ["it is gone", "it chose otherwise"])
def test_who_does_not_want_to_know_any_more_is_not_told(endpoint: WebhookEndpoint, why: str) -> None:
    imported(numbered(9))
    if why == "it is gone":
        endpoint.delete()
    else:
        WebhookEndpoint.objects.update(event_types=["ping"])

    pushing.push_all()

    assert not Event.objects.filter(event_type="products.changed").exists()
    assert not ChangePush.objects.exists()


def test_what_nobody_took_for_a_month_is_given_up(endpoint: WebhookEndpoint, settings: Any) -> None:
    imported(numbered(3))
    imported(numbered(3, name="Shelf"))
    young, old = ChangePush.objects.order_by("-id")
    days = timedelta(days=settings.WEBHOOK_RETENTION_DAYS, hours=1)
    ChangePush.objects.filter(pk=old.pk).update(created_at=timezone.now() - days)

    assert pushing.remove_expired() == 1
    assert ChangePush.objects.get() == young


def test_workers_are_told_once_a_change_is_committed(endpoint: WebhookEndpoint) -> None:
    calls: list[bool] = []

    def requested(**kwargs: Any) -> None:
        calls.append(connection.in_atomic_block)

    pushing.requested.connect(requested)
    try:
        imported(numbered(3))
        imported(numbered(3))
    finally:
        pushing.requested.disconnect(requested)

    assert calls == [False], "once, after the commit, and not for what changed nothing"
