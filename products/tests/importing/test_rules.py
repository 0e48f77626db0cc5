"""Rules that the uploader chooses: mapping, duplicates, empty cells, and the file as all there is (sync)."""

from __future__ import annotations

import pytest

from accounts.models import User
from products.importing import lease, undoer
from products.models import Import, Product, ProductChange
from products.tests.importing.imports import (
    Counts,
    catalogue,
    counts,
    csv,
    imported,
    names,
    read,
    received,
    reported,
    run,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store", "chunks_of_three")]

HEADER = "sku,name,description,status"


def attributes() -> dict[str, object]:
    return dict(Product.objects.values_list("sku", "attributes"))


# --- mapping -----------------------------------------------------------------------------------

MAPPING = '{"Artikel": "sku", "Bezeichnung": "name", "Farbe": "attributes.colour", "name": "", "(column 5)": "status"}'


def test_columns_go_where_the_mapping_says() -> None:
    import_ = imported(csv("Artikel,Bezeichnung,Farbe,name,", "A,Lamp,red,ignored,inactive"), mapping=MAPPING)

    assert counts(import_) == Counts(read=1, created=1)
    assert catalogue() == {"A": ("Lamp", "", "inactive", 1)}
    assert attributes() == {"A": {"colour": "red"}}
    assert import_.ignored_columns == ["name"]


def test_the_mapping_is_remembered_for_files_with_the_same_headers() -> None:
    imported(csv("Artikel,Bezeichnung,Farbe,name,", "A,Lamp,red,x,inactive"), mapping=MAPPING)

    import_ = imported(csv("Farbe,ARTIKEL,Bezeichnung,name,", "blue,B,Chair,x,active"))

    assert import_.error_code == "sku_column_missing"  # the header is written in another way
    import_ = imported(csv("Artikel,Bezeichnung,Farbe,name,", "B,Chair,blue,x,active"))
    assert counts(import_) == Counts(read=1, created=1)
    assert attributes()["B"] == {"colour": "blue"}


def test_a_mapping_that_does_not_fit_the_file_fails_with_a_sentence() -> None:
    import_ = imported(csv("Artikel,sku", "A,B"), mapping='{"Artikel": "sku"}')

    assert import_.error_code == "column_repeated"
    assert import_.error_message.startswith("“Artikel” (column 1) and “sku” (column 2) both mean sku.")


# --- attributes --------------------------------------------------------------------------------

TWO = {"mapping": '{"colour": "attributes.colour", "size": "attributes.size"}'}


def test_attributes_are_added_changed_and_left_alone() -> None:
    imported(csv("sku,name,colour,size", "A,Lamp,red,L", "B,Chair,,M", "C,Desk,,"), **TWO)
    assert attributes() == {"A": {"colour": "red", "size": "L"}, "B": {"size": "M"}, "C": {}}

    import_ = imported(csv("sku,colour,size", "A,blue,", "B,,M", "C,,XL"), **TWO)

    assert counts(import_) == Counts(read=3, updated=2, unchanged=1)
    assert attributes() == {"A": {"colour": "blue", "size": "L"}, "B": {"size": "M"}, "C": {"size": "XL"}}
    change = ProductChange.objects.get(import_id=import_.pk, sku="A")
    assert change.previous == {"attributes": {"colour": "red", "size": "L"}}


def test_an_attribute_that_is_too_long_or_has_control_characters_is_rejected() -> None:
    import_ = imported(csv("sku,name,colour", f"A,Lamp,{'x' * 10_001}", "B,Lamp,a\x07b"), mapping=TWO["mapping"])

    assert reported(import_) == [(2, "attribute_too_long"), (3, "control_character")]
    assert import_.reported_rows.get(line_number=2).errors[0]["column"] == "attributes.colour"


# --- empty cells -------------------------------------------------------------------------------


def test_empty_cells_may_clear_descriptions_and_attributes_but_never_names_or_status() -> None:
    full = csv(HEADER + ",colour", "A,Lamp,Brass,inactive,red", "B,Chair,Oak,active,blue")
    imported(full, **TWO)

    import_ = imported(csv(HEADER + ",colour", "A,,,,", "B,Chair,Oak,active,blue"), empty_cells="clear", **TWO)

    assert counts(import_) == Counts(read=2, updated=1, unchanged=1)
    assert catalogue()["A"] == ("Lamp", "", "inactive", 2)
    assert attributes() == {"A": {}, "B": {"colour": "blue"}}


def test_a_column_that_the_file_lacks_is_not_cleared() -> None:
    imported(csv(HEADER, "A,Lamp,Brass,inactive"))

    assert counts(imported(csv("sku,name", "A,Lamp"), empty_cells="clear")) == Counts(read=1, unchanged=1)


# --- duplicates --------------------------------------------------------------------------------

TWICE = csv("sku,name", "A,first", "B,only", "C,only", "D,only", "a,second", "A,third")


@pytest.mark.parametrize(("rule", "name"), [("last", "third"), ("first", "first")])
def test_the_line_that_counts_is_the_last_or_the_first(rule: str, name: str) -> None:
    import_ = imported(TWICE, duplicates=rule)

    assert counts(import_) == Counts(read=6, created=4, duplicate=2)
    assert names()["A"] == name
    assert Product.objects.get(sku="A").version == 1


def test_the_first_line_counts_within_a_chunk_too() -> None:
    import_ = imported(csv("sku,name", "A,first", "a,second"), duplicates="first")

    assert counts(import_) == Counts(read=2, created=1, duplicate=1)
    assert names() == {"A": "first"}


@pytest.mark.parametrize("content", [TWICE, csv("sku,name", "A,first", "B,only", "a,second", "C,only", "D,only")])
def test_all_lines_of_a_sku_may_be_rejected(content: str) -> None:
    import_ = imported(content, duplicates="reject", max_rejects="none")

    assert set(names()) == {"B", "C", "D"}
    assert {code for _, code in reported(import_)} == {"duplicate_sku"}
    assert import_.rows_rejected == len(reported(import_)) == content.lower().count("\na,")
    assert import_.rows_duplicate == 0
    assert import_.reported_rows.order_by("line_number").first().cells == ["A", "first"]  # type: ignore[union-attr]


def test_a_collision_names_the_other_line_and_how_its_sku_is_written() -> None:
    import_ = imported(TWICE)

    messages = [row.errors[0]["message"] for row in import_.reported_rows.order_by("line_number")]
    assert messages == [
        "Line 7 has the same sku and comes later, so that line counts.",
        "Line 7 has the same sku, written “A”, and comes later, so that line counts.",
    ]


# --- sync --------------------------------------------------------------------------------------


def synced(content: str, **options: str) -> Import:
    """Checked, which a sync always is."""
    import_ = run(received(content, mode="sync", **options))
    assert import_.phase == "checked", import_.error_message
    return import_


def test_products_that_the_file_lacks_become_inactive_after_they_were_shown() -> None:
    imported(csv(HEADER, *(f"P-{n},Lamp {n},,{'inactive' if n == 9 else 'active'}" for n in range(10))))

    import_ = synced(csv("sku,name", *(f"p-{n},Lamp {n}" for n in range(1, 9)), "N,New"), max_deactivated="20%")

    assert (import_.products_deactivated, import_.rows_created) == (1, 1)
    assert catalogue()["P-0"] == ("Lamp 0", "", "active", 1)
    done = run(lease.request_apply(import_))
    assert (done.state, done.products_deactivated) == ("SUCCESS", 1)
    assert catalogue()["P-0"] == ("Lamp 0", "", "inactive", 2)
    assert catalogue()["P-9"] == ("Lamp 9", "", "inactive", 1)
    undo = run(undoer.request_undo(done, user=None))
    assert (undo.rows_updated, undo.rows_deleted) == (1, 1)
    assert catalogue()["P-0"] == ("Lamp 0", "", "active", 3)


def test_a_product_whose_row_is_rejected_is_not_taken_for_missing() -> None:
    imported(csv(HEADER, "A,Lamp,,active", "B,Chair,,active"))

    import_ = synced(csv(HEADER, "A,Lamp,,active", " b ,Chair,,sold"), max_rejects="none", max_deactivated="none")

    assert (import_.products_deactivated, import_.rows_rejected) == (0, 1)


@pytest.mark.parametrize("sku", ["\N{NO-BREAK SPACE}Café", "café\t", "Cafe\N{COMBINING ACUTE ACCENT}", "Ca\u200bfé"])
def test_the_sku_of_a_rejected_row_is_read_like_any_other(sku: str) -> None:
    imported(csv(HEADER, "Café,Chair,,active"))

    import_ = synced(csv(HEADER, f"{sku},Chair,,sold"), max_rejects="none", max_deactivated="none")

    assert (import_.products_deactivated, import_.rows_rejected) == (0, 1)


def test_the_sku_of_a_rejected_row_is_found_in_a_row_that_stands_in_quotation_marks_as_a_whole() -> None:
    imported(csv(HEADER, "A,Lamp,,active", "B,Chair,,active"))

    import_ = synced(csv(HEADER, "A,Lamp,,active", '"B,""Chair, oak"",,sold"'), max_rejects="none")

    assert (import_.products_deactivated, import_.rows_rejected) == (0, 1)
    assert import_.reported_rows.get().cells == ["B", "Chair, oak", "", "sold"]


def test_more_than_the_limit_is_not_deactivated_unless_that_is_said() -> None:
    imported(csv(HEADER, *(f"P-{n},Lamp,," for n in range(10))))
    before = catalogue()
    import_ = synced(csv("sku,name", "P-0,Lamp"))
    assert import_.products_deactivated == 9

    refused = run(lease.request_apply(import_))

    assert (refused.state, refused.error_code) == ("FAILURE", "too_many_deactivated")
    assert refused.error_message.startswith("9 of 10 active products are not in the file and would become inactive")
    assert catalogue() == before
    again = synced(csv("sku,name", "P-0,Lamp"))
    assert run(lease.request_apply(again, max_deactivated="none")).state == "SUCCESS"
    assert Product.objects.filter(status="inactive").count() == 9


def test_a_product_made_after_the_check_is_shown_before_it_is_deactivated() -> None:
    imported(csv(HEADER, *(f"P-{n},Lamp,," for n in range(10))))
    import_ = synced(csv("sku,name", *(f"P-{n},Lamp" for n in range(10))))
    imported(csv("sku,name", "LATE,Lamp"))

    again = run(lease.request_apply(import_))

    assert (again.phase, again.stale, again.products_deactivated) == ("checked", True, 1)
    assert read(again).state == "PENDING"
    assert catalogue()["LATE"][2] == "active"


def test_who_imports_is_remembered(django_user_model: type[User]) -> None:
    ada = django_user_model.objects.create_user("ada")
    import_ = imported(csv("sku,name", "A,Lamp"), user=ada)

    assert ProductChange.objects.get(import_id=import_.pk).actor_id == ada.pk
