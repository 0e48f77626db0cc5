"""Every write of a product leaves its history, and only what really changes counts."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from common.errors import ConflictError, InvalidInputError, NotFoundError
from products import catalogue
from products.models import Product, ProductChange

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def make_product(actor: User | None = None, **fields: Any) -> Product:
    return catalogue.create_product({"sku": "LAMP-1", "name": "Lamp", **fields}, actor=actor)


def history(product_id: int) -> list[ProductChange]:
    return list(ProductChange.objects.filter(product_id=product_id).order_by("id"))


def test_it_records_who_created_a_product(ada: User) -> None:
    product = make_product(ada)

    [change] = history(product.pk)
    assert (change.sku, change.action, change.version, change.previous) == ("LAMP-1", "created", 1, None)
    assert change.actor_id == ada.pk
    assert product.created_at == product.updated_at


def test_it_refuses_a_sku_that_differs_only_in_case() -> None:
    make_product(sku="Äpfel-1")

    with pytest.raises(ConflictError) as caught:
        make_product(sku="äPFEL-1")

    assert caught.value.code == "sku_taken"
    assert "äPFEL-1" in caught.value.detail
    assert Product.objects.count() == ProductChange.objects.count() == 1


@pytest.mark.parametrize("spelling", ["äpfel-1", "ÄPFEL-1", " Äpfel-1 ", "A\u0308pfel-1"])
def test_it_finds_a_product_however_its_sku_is_spelled(spelling: str) -> None:
    product = make_product(sku="Äpfel-1")

    assert catalogue.product_with_sku(spelling) == product


def test_it_finds_a_sku_through_the_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = catalogue.with_sku("LAMP-1").explain()

    assert "product_sku_unique" in plan


def test_it_trims_and_composes_as_an_import_does() -> None:
    product = make_product(sku=" A\u0308pfel ", name=" Apples ", description=" \n", status="Enabled")

    stored = (product.sku, product.name, product.description, product.status)
    assert stored == ("Äpfel", "Apples", "", "active")


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"sku": " "}, "/sku", "sku_missing"),
        ({"sku": "x" * 101}, "/sku", "sku_too_long"),
        ({"sku": "a\tb"}, "/sku", "control_character"),
        ({"name": ""}, "/name", "name_missing"),
        ({"name": "x" * 256}, "/name", "name_too_long"),
        ({"description": "a\0b"}, "/description", "control_character"),
        ({"status": "sold"}, "/status", "unknown_status"),
        ({"status": ""}, "/status", "status_missing"),
    ],
)
def test_it_refuses_what_no_product_can_be(fields: dict[str, str], pointer: str, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_product(**fields)

    [error] = caught.value.errors
    assert (error.pointer, error.code) == (pointer, code)
    assert caught.value.detail == error.message
    assert not Product.objects.exists()


def test_it_names_all_that_is_wrong_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_product(sku="", name="x" * 256, status="sold")

    assert {error.pointer for error in caught.value.errors} == {"/sku", "/name", "/status"}


def test_a_change_keeps_the_previous_values_of_what_changed_alone(ada: User) -> None:
    product = make_product(description="Brass", attributes={"colour": "red"})

    changed = catalogue.update_product(
        product, {"name": "Desk lamp", "description": "Brass", "attributes": {"colour": "blue"}}, actor=ada
    )

    assert (changed.name, changed.version) == ("Desk lamp", 2)
    assert changed.updated_at > changed.created_at
    change = history(product.pk)[-1]
    assert change.previous == {"name": "Lamp", "attributes": {"colour": "red"}}
    assert (change.action, change.version, change.actor_id) == ("updated", 2, ada.pk)


def test_writing_what_is_there_already_changes_nothing() -> None:
    product = make_product(status="inactive")

    same = catalogue.update_product(product, {"name": "Lamp", "status": "inactive"}, actor=None)

    assert (same.version, same.updated_at) == (1, product.updated_at)
    assert len(history(product.pk)) == 1


def test_true_and_one_are_two_different_values() -> None:
    product = make_product(attributes={"dimmable": 1})

    changed = catalogue.update_product(product, {"attributes": {"dimmable": True}}, actor=None)

    assert changed.version == 2


def test_it_changes_the_product_as_it_is_and_not_as_it_was_read() -> None:
    product = make_product()
    catalogue.update_product(product, {"description": "New"}, actor=None)

    changed = catalogue.update_product(product, {"name": "Desk lamp"}, actor=None)

    assert (changed.description, changed.version) == ("New", 3)


def test_it_says_when_the_product_is_gone() -> None:
    product = make_product()
    Product.objects.all().delete()

    with pytest.raises(NotFoundError):
        catalogue.update_product(product, {"name": "Desk lamp"}, actor=None)


def test_the_history_of_a_deleted_product_has_all_that_brings_it_back(ada: User) -> None:
    product = make_product(description="Brass", status="inactive", attributes={"a": 1})

    catalogue.delete_product(product, actor=ada)

    assert not Product.objects.exists()
    change = history(product.pk)[-1]
    assert (change.action, change.version, change.sku) == ("deleted", 2, "LAMP-1")
    assert change.previous == {
        "sku": "LAMP-1",
        "name": "Lamp",
        "description": "Brass",
        "status": "inactive",
        "attributes": {"a": 1},
        "created_at": product.created_at.isoformat(),
        "updated_at": product.updated_at.isoformat(),
    }


def test_deleting_many_writes_the_same_history_as_deleting_one(ada: User) -> None:
    one, other, kept = (make_product(sku=sku) for sku in ("A", "B", "C"))
    catalogue.delete_product(one, actor=ada)

    deleted = catalogue.delete_products(Product.objects.filter(sku__in=["A", "B"]), actor=ada)

    assert deleted == 1
    assert list(Product.objects.all()) == [kept]
    single, many = history(one.pk)[-1], history(other.pk)[-1]
    assert many.previous is not None
    assert single.previous is not None
    assert many.previous.keys() == single.previous.keys()
    assert datetime.fromisoformat(many.previous["created_at"]) == other.created_at
    assert (many.action, many.version, many.actor_id) == (single.action, single.version, single.actor_id)


def test_setting_the_status_of_many_counts_those_that_really_changed(ada: User) -> None:
    active, inactive = make_product(sku="A"), make_product(sku="B", status="inactive")

    changed = catalogue.set_status(Product.objects.all(), "inactive", actor=ada)

    assert changed == 1
    active.refresh_from_db()
    inactive.refresh_from_db()
    assert [(product.status, product.version) for product in (active, inactive)] == [("inactive", 2), ("inactive", 1)]
    assert history(active.pk)[-1].previous == {"status": "active"}
    assert len(history(inactive.pk)) == 1


@pytest.mark.django_db(transaction=True)
def test_two_changes_at_once_both_count() -> None:
    product = make_product()
    start = threading.Barrier(2)

    def change(name: str, value: str) -> None:
        start.wait()
        catalogue.update_product(product, {name: value}, actor=None)
        connection.close()

    threads = [threading.Thread(target=change, args=pair) for pair in (("name", "N"), ("description", "D"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    product.refresh_from_db()
    assert (product.name, product.description, product.version) == ("N", "D", 3)


@pytest.mark.django_db(transaction=True)
def test_writing_many_waits_for_a_merge_and_then_gives_up_with_a_sentence() -> None:
    make_product()
    held, done = threading.Event(), threading.Event()

    def merge() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [catalogue.CATALOGUE_LOCK])
            held.set()
            done.wait(10)
        connection.close()

    merging = threading.Thread(target=merge)
    merging.start()
    held.wait(10)
    try:
        with pytest.raises(ConflictError) as caught, transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
            catalogue.delete_products(Product.objects.all(), actor=None)
    finally:
        done.set()
        merging.join()

    assert caught.value.code == "catalogue_busy"
    assert Product.objects.count() == 1
