"""A file that is looked at first: checked, shown, and then applied exactly so, or not at all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from common.errors import ConflictError
from products import catalogue as products
from products.changes import ChangeFilter, changes_of
from products.importing import lease, stager
from products.models import Import, Product, ProductChange
from products.tests.importing.imports import (
    Counts,
    catalogue,
    csv,
    events,
    imported,
    names,
    numbered,
    read,
    received,
    reported,
    run,
    staging_tables,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store", "chunks_of_three")]

HEADER = "sku,name,description,status"


def checked(content: str, **options: str) -> Import:
    return run(received(content, check_first="true", **options))


def applied(import_: Import, **options: str) -> Import:
    return run(lease.request_apply(import_, **options))


def would_be(import_: Import) -> Counts:
    assert (import_.state, import_.phase) == ("PENDING", "checked")
    return Counts(*(getattr(import_, f"rows_{name}") for name in Counts._fields))


def changes(import_: Import, **wanted: str) -> list[tuple[int | None, str, str, dict[str, tuple[object, object]]]]:
    """(line, sku, action, {field: (old, new)}) of each change."""
    page = changes_of(import_, ChangeFilter(**wanted)).page(after=None, before=None, limit=1000)
    found = [
        (each["line_number"], each["sku"], each["action"], {n: (v["old"], v["new"]) for n, v in each["fields"].items()})
        for each in page
    ]
    return sorted(found, key=lambda change: change[0] or 0)


def some_products() -> None:
    imported(csv(HEADER, *(f"P-{n},Lamp {n},Brass,active" for n in range(6))))


FILE = csv(
    HEADER,
    "P-0,Lamp 0,Brass,active",
    "P-1,Lantern,Brass,active",
    "N-1,New,,",
    ",Nameless,,",
    "P-2,Lamp 2,Steel,inactive",
    "N-2,first,,",
    "n-2,second,,inactive",
    "N-3,,,",
)


def test_nothing_is_written_and_everything_is_counted() -> None:
    some_products()
    before = catalogue()

    import_ = checked(FILE)

    assert would_be(import_) == Counts(read=8, created=2, updated=2, unchanged=1, rejected=2, duplicate=1)
    assert catalogue() == before
    assert not ProductChange.objects.filter(import_id=import_.pk).exists()
    assert reported(import_) == [(5, "sku_missing"), (7, "duplicate_sku"), (9, "name_missing")]
    assert events(import_) == ["import.started"]


def test_each_change_is_shown_with_old_and_new_values() -> None:
    some_products()

    import_ = checked(FILE)

    new = {"name": (None, "New"), "description": (None, ""), "status": (None, "active"), "attributes": (None, {})}
    assert changes(import_) == [
        (3, "P-1", "updated", {"name": ("Lamp 1", "Lantern")}),
        (4, "N-1", "created", new),
        (6, "P-2", "updated", {"description": ("Brass", "Steel"), "status": ("active", "inactive")}),
        (8, "n-2", "created", {**new, "name": (None, "second"), "status": (None, "inactive")}),
    ]


def test_changes_are_filtered_by_action_field_and_the_beginning_of_the_sku() -> None:
    some_products()

    import_ = checked(FILE)

    assert [line for line, *_ in changes(import_, action="created")] == [4, 8]
    assert [line for line, *_ in changes(import_, field="status")] == [6, 8]
    assert [line for line, *_ in changes(import_, search="p-")] == [3, 6]


def test_what_was_shown_is_what_is_applied() -> None:
    some_products()
    import_ = checked(FILE)
    shown = changes(import_)

    done = applied(import_)

    assert done.state == "SUCCESS"
    assert Counts(*(getattr(done, f"rows_{name}") for name in Counts._fields)) == would_be(import_)
    assert changes(done) == shown
    assert catalogue()["P-1"] == ("Lantern", "Brass", "active", 2)
    assert names()["n-2"] == "second"
    assert reported(done) == [(5, "sku_missing"), (7, "duplicate_sku"), (9, "name_missing")]
    assert events(done) == ["import.started", "import.completed"]
    assert staging_tables() == set()


@pytest.mark.parametrize(
    "edit",
    [
        lambda: products.update_product(Product.objects.get(sku="P-1"), {"description": "Edited"}, actor=None),
        lambda: products.delete_product(Product.objects.get(sku="P-1"), actor=None),
        lambda: products.create_product({"sku": "N-1", "name": "Somebody else's"}, actor=None),
        lambda: products.update_product(Product.objects.get(sku="P-0"), {"name": "Edited"}, actor=None),
    ],
    ids=["changed", "deleted", "created", "no longer unchanged"],
)
def test_where_the_catalogue_has_changed_it_is_shown_anew_and_nothing_is_applied(edit: object) -> None:
    some_products()
    import_ = checked(FILE)
    edit()  # type: ignore[operator]
    before = catalogue()

    again = applied(import_)

    assert (again.state, again.phase, again.stale, again.apply_requested_at) == ("PENDING", "checked", True, None)
    assert catalogue() == before
    shown = changes(again)
    done = applied(again)
    assert (done.state, changes(done)) == ("SUCCESS", shown)


def test_an_edit_of_a_product_that_the_file_lacks_does_not_matter() -> None:
    some_products()
    import_ = checked(FILE)
    products.update_product(Product.objects.get(sku="P-5"), {"name": "Edited"}, actor=None)

    assert applied(import_).state == "SUCCESS"


def test_a_check_is_discarded_and_leaves_nothing() -> None:
    some_products()
    before = catalogue()
    import_ = checked(FILE)

    lease.request_cancel(import_)
    stager.drop_abandoned()

    discarded = read(import_)
    assert (discarded.state, discarded.error_message) == (
        "CANCELLED",
        "The checked file was discarded. Nothing was applied.",
    )
    assert (discarded.rows_created, discarded.rows_updated) == (0, 0)
    assert catalogue() == before
    assert staging_tables() == set()
    with pytest.raises(ConflictError, match="already ended: cancelled"):
        lease.request_apply(discarded)


def test_the_sweep_keeps_what_a_check_has_staged_and_starts_nothing() -> None:
    import_ = checked(numbered(4))

    assert lease.sweep() == []
    stager.drop_abandoned()

    assert len(staging_tables()) == 2
    assert run(import_).phase == "checked"
    assert applied(import_).state == "SUCCESS"


def test_a_check_that_nobody_decides_on_is_given_up() -> None:
    import_ = checked(numbered(4))
    Import.objects.update(expires_at=Now() - timedelta(seconds=1))

    lease.sweep()
    stager.drop_abandoned()

    assert (read(import_).state, read(import_).error_code) == ("CANCELLED", "check_expired")
    assert staging_tables() == set()


def test_what_a_crash_of_the_database_has_emptied_is_read_and_shown_again() -> None:
    some_products()
    import_ = checked(FILE)
    shown = changes(import_)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {stager.staging_table(import_)}, {stager.changes_table(import_)}")

    again = applied(import_)

    assert (again.phase, again.stale) == ("checked", True)
    assert changes(again) == shown
    assert reported(again) == [(5, "sku_missing"), (7, "duplicate_sku"), (9, "name_missing")]
    assert applied(again).state == "SUCCESS"
    stager.drop_abandoned()
    assert staging_tables() == set()


def test_it_is_applied_once_however_often_that_is_asked() -> None:
    import_ = checked(numbered(4))
    lease.request_apply(import_)

    with pytest.raises(ConflictError, match="being applied already"):
        lease.request_apply(import_)

    done = run(import_)
    with pytest.raises(ConflictError, match="already ended: done"):
        lease.request_apply(done)


def test_what_is_not_checked_yet_can_not_be_applied() -> None:
    with pytest.raises(ConflictError, match="still being checked"):
        lease.request_apply(received(numbered(4), check_first="true"))


@pytest.mark.parametrize(
    ("options", "code"), [({"on_error": "abort"}, "rows_rejected"), ({"max_rejects": "1"}, "too_many_rejects")]
)
def test_a_check_fails_where_the_import_would(options: dict[str, str], code: str) -> None:
    import_ = checked(FILE, **options)

    assert (import_.state, import_.error_code) == ("FAILURE", code)
    assert staging_tables() == set()


@pytest.mark.parametrize("mode", ["create", "update"])
def test_every_mode_is_checked_as_it_is_applied(mode: str) -> None:
    some_products()

    import_ = checked(FILE, mode=mode, max_rejects="none")
    done = applied(import_)

    assert Counts(*(getattr(done, f"rows_{name}") for name in Counts._fields)) == would_be(import_)


def test_whoever_reads_what_was_planned_while_it_is_applied_sees_what_was_done() -> None:
    some_products()
    import_ = checked(FILE)
    planned = changes_of(import_, ChangeFilter())
    before = planned.page(after=None, before=None, limit=100)

    applied(import_)

    now = planned.page(after=None, before=None, limit=100)
    assert {change["sku"] for change in now} == {change["sku"] for change in before}


def test_pages_of_changes_join_without_gap_in_both_directions() -> None:
    import_ = checked(numbered(7))
    found = changes_of(import_, ChangeFilter())

    first = found.page(after=None, before=None, limit=3)
    second = found.page(after=first[-1]["key"], before=None, limit=3)
    back = found.page(after=None, before=second[0]["key"], limit=3)

    assert [change["line_number"] for change in first + second] == [2, 3, 4, 5, 6, 7]
    assert back == first
