"""What was applied can be taken back as one action; what was edited since is kept and listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from common.errors import ConflictError
from products import catalogue as products
from products.changes import described
from products.importing import bulk, undoer
from products.importing.statements import statement
from products.importing.undoer import KEPT_CODES
from products.models import Import, Product, ProductChange
from products.selection import Selection
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
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store", "chunks_of_three")]

HEADER = "sku,name,description,status"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="correct horse battery")


def undone(import_: Import, user: User | None = None) -> Import:
    return run(undoer.request_undo(import_, user=user))


def values() -> dict[str, tuple[str, str, str, object]]:
    """Everything of each product but its version, which always grows."""
    rows = Product.objects.values_list("sku", "name", "description", "status", "attributes")
    return {sku: tuple(rest) for sku, *rest in rows}


def a_catalogue() -> Import:
    return imported(csv(HEADER + ",colour", *(f"P-{n},Lamp {n},Brass,active,red" for n in range(5))), **COLOUR)


COLOUR = {"mapping": '{"colour": "attributes.colour"}'}
CHANGES = csv(
    HEADER + ",colour",
    "P-0,Lantern,Brass,active,red",
    "P-1,Lamp 1,,inactive,blue",
    "p-2,Lamp 2,Steel,,",
    "N-1,New,,,green",
    "P-3,Lamp 3,Brass,active,red",
    "N-2,New,,,",
)


def test_created_products_are_removed_and_changed_fields_restored(ada: User) -> None:
    a_catalogue()
    before = values()
    import_ = imported(CHANGES, **COLOUR)
    assert values() != before

    undo = undone(import_, ada)

    assert values() == before
    assert (undo.state, undo.kind, undo.undoes_id) == ("SUCCESS", "undo", import_.pk)
    assert (undo.rows_read, undo.rows_updated, undo.rows_deleted) == (5, 3, 2)
    assert (read(import_).undone_by, read(import_).undoable) == (undo.pk, False)
    assert events(undo) == ["import.started", "import.undone"]


def test_an_undo_is_recorded_in_the_history(ada: User) -> None:
    a_catalogue()
    import_ = imported(CHANGES, **COLOUR)
    undo = undone(import_, ada)

    changes = ProductChange.objects.filter(import_id=undo.pk).order_by("sku")
    assert [(change.sku, change.action, change.line_number, change.actor_id) for change in changes] == [
        ("N-1", "deleted", 5, ada.pk),
        ("N-2", "deleted", 7, ada.pk),
        ("P-0", "updated", 2, ada.pk),
        ("P-1", "updated", 3, ada.pk),
        ("P-2", "updated", 4, ada.pk),
    ]
    [change] = described(ProductChange.objects.filter(import_id=undo.pk, sku="P-1"))
    assert change["fields"] == {
        "status": {"old": "inactive", "new": "active"},
        "attributes": {"old": {"colour": "blue"}, "new": {"colour": "red"}},
    }


def test_products_edited_since_are_kept_and_listed() -> None:
    a_catalogue()
    import_ = imported(CHANGES, **COLOUR)
    products.update_product(Product.objects.get(sku="P-0"), {"name": "Edited"}, actor=None)
    products.update_product(Product.objects.get(sku="N-1"), {"name": "Edited too"}, actor=None)
    products.delete_product(Product.objects.get(sku="P-1"), actor=None)

    undo = undone(import_)

    assert names() == {
        "P-0": "Edited",
        "N-1": "Edited too",
        "P-2": "Lamp 2",
        "P-3": "Lamp 3",
        "P-4": "Lamp 4",
    }
    assert (undo.rows_read, undo.rows_updated, undo.rows_deleted, undo.rows_rejected) == (5, 1, 1, 3)
    assert {code for _, code in reported(undo)} == {"edited_since"} <= set(KEPT_CODES)
    messages = [row.errors[0]["message"] for row in undo.reported_rows.all()]
    assert messages == [
        "The product P-0 (line 2 of the file) was changed since, from version 2 to 3, and stays as it is.",
        "The product P-1 (line 3 of the file) was deleted since, and stays so.",
        "The product N-1 (line 5 of the file) was changed since, from version 1 to 2, and stays as it is.",
    ]


def test_imports_are_undone_one_after_the_other_back_to_the_first() -> None:
    first = a_catalogue()
    before = values()
    second = imported(CHANGES, **COLOUR)
    between = values()
    third = imported(csv("sku,name", "P-0,Third", "P-1,Third", "N-1,Third"))

    assert undone(third).rows_rejected == 0
    assert values() == between
    assert undone(second).rows_rejected == 0
    assert values() == before
    assert undone(first).rows_rejected == 0
    assert values() == {}


def test_an_undo_can_be_undone() -> None:
    a_catalogue()
    import_ = imported(CHANGES, **COLOUR)
    after = values()
    ids = dict(Product.objects.values_list("sku", "id"))
    undo = undone(import_)

    redo = undone(undo)

    assert values() == after
    assert dict(Product.objects.values_list("sku", "id")) == ids
    assert (redo.rows_created, redo.rows_updated, redo.rows_rejected) == (2, 3, 0)


def test_a_product_whose_sku_was_taken_meanwhile_does_not_come_back() -> None:
    a_catalogue()
    deletion = run(bulk.request_change("delete", Selection(search="P-1"), user=None))
    products.create_product({"sku": "p-1", "name": "Another"}, actor=None)

    undo = undone(deletion)

    assert names()["p-1"] == "Another"
    assert reported(undo) == [(1, "sku_taken")]


def test_what_was_undone_or_never_applied_is_not_undone_again() -> None:
    import_ = imported(numbered(2))
    undone(import_)

    for target, code in [
        (import_, "undone_already"),
        (imported("name\nLamp\n"), "not_applied"),
        (imported(numbered(0)), "nothing_to_undo"),
    ]:
        with pytest.raises(ConflictError) as raised:
            undoer.request_undo(target, user=None)
        assert raised.value.code == code


def test_an_undo_that_was_cancelled_can_be_asked_for_again() -> None:
    from products.importing import lease

    import_ = imported(numbered(2))
    lease.request_cancel(undoer.request_undo(import_, user=None))

    assert read(import_).undoable
    assert undone(read(import_)).state == "SUCCESS"
    assert not Product.objects.exists()


@pytest.mark.parametrize("action", ["activate", "deactivate", "delete"])
def test_a_change_of_many_products_is_watched_and_undone_like_an_import(action: str, ada: User) -> None:
    imported(csv(HEADER, *(f"P-{n},Lamp,Brass,{'inactive' if n % 2 else 'active'}" for n in range(10))))
    imported(csv(HEADER, "Q-1,Lamp,Brass,inactive", "Q-2,Lamp,Brass,active"))
    before = values()

    change = run(bulk.request_change(action, Selection(search="P-"), user=ada))

    assert (change.state, change.kind, change.rows_read) == ("SUCCESS", "bulk", 10)
    if action == "delete":
        assert change.rows_deleted == 10
        assert set(values()) == {"Q-1", "Q-2"}
    else:
        assert (change.rows_updated, change.rows_unchanged) == (5, 5)
        wanted = {"activate": "active", "deactivate": "inactive"}[action]
        assert Product.objects.filter(sku__startswith="P-", status=wanted).count() == 10
    assert set(ProductChange.objects.filter(import_id=change.pk).values_list("actor_id", flat=True)) == {ada.pk}
    assert undone(change).rows_rejected == 0
    assert values() == before


def test_what_was_applied_in_chunks_is_undone_in_chunks() -> None:
    import_ = imported(numbered(20))

    undo = undone(import_)

    assert (undo.rows_read, undo.rows_deleted) == (20, 20)
    assert catalogue() == {}
    assert Counts(read=0) == Counts()


def test_the_import_to_be_undone_may_be_of_a_file_that_waits() -> None:
    with pytest.raises(ConflictError, match="Only what was applied"):
        undoer.request_undo(received(numbered(2)), user=None)


def test_what_was_undone_and_then_applied_again_counts_as_an_edit() -> None:
    imported(csv("sku,name", "A,Lamp"))
    first = imported(csv("sku,name", "A,Lantern"))
    second = imported(csv("sku,name", "A,Chandelier"))
    again = undone(undone(second))
    assert names() == {"A": "Chandelier"}

    undo = undone(first)

    assert names() == {"A": "Chandelier"}
    assert reported(undo) == [(1, "edited_since")]

    undone(again)
    assert names() == {"A": "Lantern"}


def test_what_an_undo_has_kept_counts_as_an_edit_although_its_import_was_undone() -> None:
    imported(csv("sku,name", "A,Lamp"))
    first = imported(csv("sku,name", "A,Lantern"))
    second = imported(csv("sku,name", "A,Chandelier"))
    third = imported(csv("sku,description", "A,Of brass"))
    assert reported(undone(second)) == [(1, "edited_since")]
    undone(third)

    undo = undone(first)

    assert names() == {"A": "Chandelier"}
    assert reported(undo) == [(1, "edited_since")]


def test_what_was_applied_again_after_an_undo_counts_as_an_edit_for_that_undo() -> None:
    imported(csv("sku,name", "A,Lamp"))
    first = imported(csv("sku,name", "A,Lantern"))
    second = imported(csv("sku,name", "A,Chandelier"))
    undo_of_second = undone(second)
    undo_of_first = undone(first)
    assert reported(undone(undo_of_second)) == []
    assert names() == {"A": "Chandelier"}

    again = undone(undo_of_first)

    assert names() == {"A": "Chandelier"}
    assert reported(again) == [(1, "edited_since")]


def test_what_an_undo_of_an_undo_has_kept_stays_undone_and_does_not_count() -> None:
    imported(csv("sku,name", "A,Lamp"))
    first = imported(csv("sku,name", "A,Lantern"))
    undo_of_second = undone(imported(csv("sku,name", "A,Chandelier")))
    third = imported(csv("sku,description", "A,Of brass"))
    assert reported(undone(undo_of_second)) == [(1, "edited_since")]
    undone(third)

    assert reported(undone(first)) == []
    assert names() == {"A": "Lamp"}


def test_what_an_undo_kept_is_found_in_one_reading_of_its_history() -> None:
    """Read once for each product, the history of 50,000 kept everybody else from the catalogue for minutes."""
    imported(csv("sku,name", *(f"P-{n},Lamp {n}" for n in range(20))))
    change = imported(csv("sku,name", *(f"P-{n},Lantern {n}" for n in range(20))))
    products.update_product(Product.objects.get(sku="P-7"), {"name": "By hand"}, actor=None)
    undo = undone(change)
    parameters = {
        "low": change.changes_after,
        "high": change.changes_until,
        "undoes": change.pk,
        "import_id": undo.pk,
        "before": undo.changes_after,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement("merge_settings"))
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement('list_kept')}", parameters)
        answer = cursor.fetchone()[0]
    [plan] = json.loads(answer) if isinstance(answer, str) else answer

    assert [code for _, code in reported(undo)] == ["edited_since"]
    assert {node["Actual Loops"] for node in nodes(plan["Plan"]) if node.get("Alias") == "done"} == {1}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan, and all below it."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)
