"""`/api/v1/changes/`: whoever follows it sees each change once, also one that was committed late."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from products import catalogue, feed
from products.api import change_feed
from products.importing import lease
from products.models import Product, ProductChange
from products.tests.importing.imports import csv, imported, numbered, received
from products.tests.web_server import running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

CHANGES = "/api/v1/changes/"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    return client_of(ada, "read")


def client_of(user: User, *scopes: str) -> APIClient:
    _, token = token_of(user, *scopes)
    return APIClient(headers={"authorization": f"Bearer {token}"})


def make(sku: str) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Lamp"}, actor=None)


def skus(body: dict[str, Any]) -> list[str]:
    return [item["sku"] for item in body["results"]]


def lines(client: APIClient, url: str) -> list[dict[str, Any]]:
    answer = client.get(url, headers={"accept": "application/x-ndjson"})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]


@contextmanager
def uncommitted(sku: str) -> Iterator[None]:
    """A product that another transaction creates, and commits when this is left."""
    written, leave = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                make(sku)
                written.set()
                assert leave.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert written.wait(20)
        yield
    finally:
        leave.set()
        thread.join()


# --- the feed of all changes -------------------------------------------------------------------


def test_a_change_says_what_who_when_and_by_which_import(client: APIClient, ada: User) -> None:
    import_ = imported(csv("sku,name", "A,Lamp"), user=ada)
    product = Product.objects.get()
    catalogue.update_product(product, {"name": "Oak lamp", "status": "inactive"}, actor=None)

    created, updated = client.get(CHANGES).json()["results"]

    first, second = ProductChange.objects.order_by("id")
    assert created == {
        "id": first.pk,
        "product_id": product.pk,
        "sku": "A",
        "action": "created",
        "version": 1,
        "changed_fields": [],
        "import": str(import_.pk),
        "changed_by": "ada",
        "changed_at": first.changed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert (updated["id"], updated["version"], updated["import"]) == (second.pk, 2, None)
    assert updated["changed_fields"] == ["name", "status"]
    assert updated["changed_by"] is None


def test_the_values_before_are_told_when_they_are_asked_for(client: APIClient) -> None:
    product = make("A")
    catalogue.update_product(product, {"name": "Oak lamp"}, actor=None)
    catalogue.delete_product(product, actor=None)

    created, updated, deleted = client.get(f"{CHANGES}?values=true").json()["results"]

    assert created["previous"] == {}
    assert updated["previous"] == {"name": "Lamp"}
    assert deleted["previous"] == {"name": "Oak lamp", "description": "", "status": "active", "attributes": {}}


def test_next_is_there_at_the_end_and_leads_to_what_came_since(client: APIClient) -> None:
    make("A")

    first = client.get(CHANGES).json()
    nothing_new = client.get(first["next"]).json()
    make("B")
    then = client.get(nothing_new["next"]).json()

    assert (skus(first), skus(nothing_new), skus(then)) == (["A"], [], ["B"])
    assert then["previous"] is None


def test_an_empty_catalogue_has_a_place_to_begin_at(client: APIClient) -> None:
    empty = client.get(CHANGES).json()
    make("A")

    assert skus(empty) == []
    assert skus(client.get(empty["next"]).json()) == ["A"]


def test_one_can_begin_at_the_present(client: APIClient) -> None:
    make("A")

    now = client.get(f"{CHANGES}?cursor=now").json()
    make("B")

    assert skus(now) == []
    assert skus(client.get(now["next"]).json()) == ["B"]


@pytest.mark.parametrize("late", ["the one that began first", "the one that began last"])
def test_a_change_that_is_committed_late_is_not_skipped(client: APIClient, late: str) -> None:
    """Whoever went by ids or times would remember the early one, and never see the late one."""
    seen: list[str] = []
    if late == "the one that began first":
        with uncommitted("LATE"):
            make("EARLY")
            early = client.get(CHANGES).json()
            seen += skus(early)
    else:
        make("EARLY")
        with uncommitted("LATE"):
            early = client.get(CHANGES).json()
            seen += skus(early)
    place = early["next"]
    make("AFTER")
    for _ in range(2):
        page = client.get(place).json()
        seen += skus(page)
        place = page["next"]

    assert sorted(seen) == ["AFTER", "EARLY", "LATE"]


def test_what_begins_at_the_present_misses_nothing_that_is_being_written(client: APIClient) -> None:
    with uncommitted("LATE"):
        now = client.get(f"{CHANGES}?cursor=now").json()

    assert skus(client.get(now["next"]).json()) == ["LATE"]


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_imports_and_single_edits_come_in_the_order_of_their_transactions(
    client: APIClient, page_size: int, settings: Settings
) -> None:
    settings.IMPORT_BATCH_SIZE = 2
    imported(numbered(3))
    lamp = make("LAMP")
    catalogue.update_product(lamp, {"name": "Oak lamp"}, actor=None)
    imported(numbered(5, name="Shelf"))
    imported(numbered(5, name="Shelf"))  # changes nothing
    catalogue.delete_product(lamp, actor=None)
    catalogue.set_status(Product.objects.all(), "inactive", actor=None)

    seen, url = [], f"{CHANGES}?page_size={page_size}"
    for _ in range(40):
        page = client.get(url).json()
        if not page["results"]:
            break
        assert len(page["results"]) <= page_size
        seen += page["results"]
        url = page["next"]

    written = ProductChange.objects.order_by("transaction_id", "id")
    assert [item["id"] for item in seen] == [change.pk for change in written]
    assert len(seen) == 3 + 2 + 5 + 1 + 5


def test_no_import_is_skipped_where_the_numbers_of_transactions_get_longer(client: APIClient) -> None:
    for number, sku in enumerate("ABCD", start=8):
        import_ = imported(csv("sku,name", f"{sku},Lamp"))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE products_import SET changes_transaction = %s::text::xid8 WHERE id = %s", [number, import_.pk]
            )

    assert skus(client.get(CHANGES, {"page_size": 1}).json()) == ["A"]
    assert skus(client.get(CHANGES, {"page_size": 2}).json()) == ["A", "B"]


def test_an_edit_made_while_an_import_was_running_is_told_once(client: APIClient) -> None:
    with uncommitted("SLOW"):
        imported(numbered(3))
        make("QUICK")

    seen = skus(client.get(CHANGES).json())

    assert sorted(seen) == ["QUICK", "SKU-000000", "SKU-000001", "SKU-000002", "SLOW"]


# --- after a restore ---------------------------------------------------------------------------


def lift_transactions(by: int) -> None:
    """The history as it comes from a server that had done more than this one ever has."""
    with connection.cursor() as cursor:
        for table, column in (
            ("products_productchange", "transaction_id"),
            ("products_import", "changes_transaction"),
            ("products_changepush", "transaction_id"),
        ):
            cursor.execute(f"UPDATE {table} SET {column} = ({column}::text::bigint + {by})::text::xid8")


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_a_history_that_was_restored_elsewhere_is_read_in_its_order_and_new_changes_after_it(
    client: APIClient, page_size: int
) -> None:
    imported(numbered(3))
    make("LAMP")
    imported(numbered(5, name="Shelf"))
    lift_transactions(by=10**12)
    assert skus(client.get(CHANGES).json()) == []

    call_command("migrate", verbosity=0)
    make("NEW")
    assert not feed.adopt_history()

    seen, url = [], f"{CHANGES}?page_size={page_size}"
    for _ in range(20):
        page = client.get(url).json()
        seen += page["results"]
        url = page["next"]
    assert [item["id"] for item in seen] == list(ProductChange.objects.order_by("id").values_list("id", flat=True))
    assert seen[-1]["sku"] == "NEW"


def test_a_cursor_of_another_server_is_refused_in_words(client: APIClient) -> None:
    make("A")
    server, place = parse_qs(client.get(CHANGES).json()["next"].split("?")[1])["cursor"][0].split(".", 1)

    answer = client.get(f"{CHANGES}?cursor={int(server) + 1}.{place}")

    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_outdated")


# --- of one import -----------------------------------------------------------------------------


def test_an_import_lists_what_it_changed_page_by_page_and_then_ends(client: APIClient) -> None:
    imported(numbered(2))
    import_ = imported(numbered(5, name="Shelf"))
    make("OTHER")

    first = client.get(f"{CHANGES}?import={import_.pk}&page_size=3").json()
    last = client.get(first["next"]).json()

    assert skus(first) + skus(last) == [f"SKU-{number:06d}" for number in range(5)]
    assert [item["action"] for item in first["results"]] == ["updated", "updated", "created"]
    assert last["next"] is None


def test_an_import_that_is_not_over_is_no_empty_page(client: APIClient, ada: User) -> None:
    waiting = received(csv("sku,name", "A,B"), user=ada)

    answer = client.get(f"{CHANGES}?import={waiting.pk}")
    lease.request_cancel(waiting)
    cancelled = client.get(f"{CHANGES}?import={waiting.pk}")

    assert (answer.status_code, answer.json()["code"]) == (409, "import_not_finished")
    assert (cancelled.status_code, cancelled.json()["code"]) == (404, "not_applied")


def test_who_may_read_the_catalogue_sees_what_changed_it_but_not_what_may(ada: User) -> None:
    applied, waiting = imported(numbered(1), user=ada), received(numbered(2), user=ada)
    bob = client_of(User.objects.create_user("bob"), "read")

    assert bob.get(f"{CHANGES}?import={applied.pk}").status_code == 200
    assert bob.get(f"{CHANGES}?import={waiting.pk}").json()["code"] == "not_found"
    assert client_of(ada, "import").get(CHANGES).status_code == 403


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("cursor=x", "invalid_cursor"),
        ("cursor=1.-2", "invalid_cursor"),
        ("cursor=1.2.3.4", "invalid_cursor"),
        ("cursor=1.99999999999999999999.1", "invalid_cursor"),
        ("page_size=1001", "invalid_page_size"),
        ("import=x", "invalid"),
        ("values=yes", "invalid"),
        ("since=2026-11-25", "unknown_parameter"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_what_means_nothing_is_refused(client: APIClient, query: str, code: str, accept: str) -> None:
    answer = client.get(f"{CHANGES}?{query}", headers={"accept": accept})

    assert answer.status_code == 400
    if accept == "application/json":
        assert answer.json()["code"] == code


# --- as lines ----------------------------------------------------------------------------------


def test_lines_are_the_pages_in_one_go(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "PORTION", 2)
    imported(numbered(5))
    make("LAMP")

    told = lines(client, CHANGES)

    items = [line for line in told if "id" in line]
    assert items == client.get(CHANGES).json()["results"]
    marks = [line for line in told if "id" not in line]
    assert [mark["end"] for mark in marks] == [False, False, False, True]
    assert told[-1] == marks[-1], "the end is the last line"
    make("SHELF")
    assert [line["sku"] for line in lines(client, marks[-1]["next"])[:-1]] == ["SHELF"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_lines_of_an_import_can_be_gone_on_with_where_they_broke_off(
    client: APIClient, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(change_feed, "PORTION", 2)
    import_ = imported(numbered(count))

    told = lines(client, f"{CHANGES}?import={import_.pk}")
    broken = told[:3]

    assert told[-1] == {"next": None, "end": True}
    whole = [line["sku"] for line in told if "id" in line]
    assert whole == [f"SKU-{number:06d}" for number in range(count)]
    if count > 2:
        rest = lines(client, broken[-1]["next"])
        assert [line["sku"] for line in broken[:-1] + rest[:-1] if "id" in line] == whole


def test_lines_end_though_others_go_on_writing(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "PORTION", 1)
    make("A")
    answer = client.get(CHANGES, headers={"accept": "application/x-ndjson"})
    told = []
    for number, piece in enumerate(answer.streaming_content):  # type: ignore[attr-defined]
        make(f"B{number}")
        told += [json.loads(line) for line in piece.splitlines()]

    assert [line["sku"] for line in told if "id" in line] == ["A"]
    assert told[-1]["end"]


def test_a_page_is_found_by_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT FROM products_productchange WHERE import_id IS NULL AND transaction_id < '9'::xid8"
            " AND (transaction_id, id) > ('5'::xid8, 7::bigint) ORDER BY transaction_id, id LIMIT 10"
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")

    assert "change_by_transaction" in plan
    assert "Sort" not in plan


def test_a_slow_reader_of_lines_keeps_no_connection_from_others(
    ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_POOL_OVERFLOW", "0")  # there is one connection in all
    import_ = imported(numbered(60_000))
    _, token = token_of(ada, "read")
    lines = {"Authorization": f"Bearer {token}", "Accept": "application/x-ndjson"}

    with running(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}{CHANGES}?import={import_.pk}"
        with requests.get(url, headers=lines, stream=True, timeout=20) as slow:
            page = requests.get(url, headers=lines | {"Accept": "application/json"}, timeout=20)
            told = [json.loads(line) for line in slow.iter_lines()]

    assert page.status_code == 200
    assert len(told) == 60_000 + 60_000 // 5000
    assert told[-1] == {"next": None, "end": True}


# --- the docs ----------------------------------------------------------------------------------


def test_the_mirror_of_the_docs_is_one(live_server: Any, ada: User) -> None:
    text = (settings.BASE_DIR / "docs" / "webhooks.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "class Mirror" in block]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    _, token = token_of(ada, "read")
    imported(numbered(3))
    lamp = make("a/b é")

    mirror = names["Mirror"](live_server.url, token)
    catalogue.update_product(lamp, {"name": "Oak lamp"}, actor=None)
    imported(numbered(5, name="Shelf"))
    catalogue.delete_product(Product.objects.get(sku="SKU-000000"), actor=None)
    mirror.follow()

    mirrored = {product["sku"]: (product["name"], product["version"]) for product in mirror.products.values()}
    stored = Product.objects.values_list("sku", "name", "version")
    assert mirrored == {sku: (name, version) for sku, name, version in stored}
