"""A file from its first byte to the catalogue, in one process, against the real database."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from accounts.models import User
from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from products import catalogue as products
from products.importing import lease, staging
from products.importing.columns import MAX_COLUMNS
from products.importing.errors import FILE_ERROR_CODES
from products.importing.reporter import ROWS_AT_A_TIME
from products.importing.validator import ROW_ERROR_CODES
from products.models import Import, Product, ProductChange, ReportedRow
from products.tests.importing import archives
from products.tests.importing.imports import (
    Counts,
    aside,
    catalogue,
    catalogue_held,
    counts,
    csv,
    event_data,
    events,
    execute,
    imported,
    names,
    numbered,
    other_session,
    read,
    received,
    reported,
    run,
    staging_tables,
    stored_text,
    waiting_for_lock,
)
from webhooks.models import Event

# The pipeline works over connections of its own, which see only what is committed.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store", "chunks_of_three")]


# --- what a file does to the catalogue ---------------------------------------------------------


def test_new_changed_and_unchanged_rows_are_told_apart() -> None:
    imported(csv("sku,name,description,status", *(f"P-{n},Lamp {n},Brass,active" for n in range(6))))

    import_ = imported(
        csv(
            "sku,name,description,status",
            "P-0,Lamp 0,Brass,active",
            "P-1,Lantern,Brass,active",
            "N-1,New,,",
            "P-2,Lamp 2,Steel,active",
            "P-3,Lamp 3,Brass,inactive",
            "P-4,Lamp 4,,",
            "N-2,New,,inactive",
        )
    )

    assert counts(import_) == Counts(read=7, created=2, updated=3, unchanged=2)
    assert catalogue() == {
        "P-0": ("Lamp 0", "Brass", "active", 1),
        "P-1": ("Lantern", "Brass", "active", 2),
        "P-2": ("Lamp 2", "Steel", "active", 2),
        "P-3": ("Lamp 3", "Brass", "inactive", 2),
        "P-4": ("Lamp 4", "Brass", "active", 1),
        "P-5": ("Lamp 5", "Brass", "active", 1),
        "N-1": ("New", "", "active", 1),
        "N-2": ("New", "", "inactive", 1),
    }


def test_the_end_of_an_import_is_written_in_full() -> None:
    import_ = imported(numbered(7))

    assert (import_.state, import_.phase, import_.percent) == ("SUCCESS", "finished", 100)
    assert import_.bytes_read == import_.bytes_total == len(numbered(7))
    assert import_.created_at < import_.started_at < import_.finished_at  # type: ignore[operator]
    assert (import_.attempt, import_.losses, import_.lease_expires_at) == (1, 0, None)
    assert (import_.error_code, import_.error_message) == ("", "")


def test_a_price_list_never_activates_products_again() -> None:
    imported(csv("sku,name,description,status", "A,Lamp,Brass,inactive", "B,Chair,Oak,inactive"))

    import_ = imported(csv("sku,name,price", "A,Lantern,9.90", "B,Chair,12.00"))

    assert counts(import_) == Counts(read=2, updated=1, unchanged=1)
    assert catalogue() == {"A": ("Lantern", "Brass", "inactive", 2), "B": ("Chair", "Oak", "inactive", 1)}


def test_what_a_file_has_beside_the_known_columns_is_named() -> None:
    import_ = imported(csv("Price,Article Code,name,,Colour", "1,A,Lamp,x,red"))

    assert import_.header == ["Price", "Article Code", "name", "", "Colour"]
    assert import_.ignored_columns == ["Price", "(column 4)", "Colour"]


def test_an_empty_cell_leaves_the_stored_value_alone() -> None:
    imported(csv("sku,name,description,status", "A,Lamp,Brass,inactive"))

    import_ = imported(csv("sku,name,description,status", "A,  ,,"))

    assert counts(import_) == Counts(read=1, unchanged=1)
    assert catalogue() == {"A": ("Lamp", "Brass", "inactive", 1)}


def test_a_file_of_headers_alone_changes_nothing() -> None:
    assert counts(imported("sku,name\n")) == Counts()


def test_a_file_in_which_every_row_is_rejected_ends_with_its_report() -> None:
    import_ = imported(csv("sku,name", ",Lamp", ",Chair"))

    assert counts(import_) == Counts(read=2, rejected=2)


def test_no_staging_table_is_left() -> None:
    imported(numbered(4))
    imported("name\nLamp\n")

    assert staging_tables() == set()


def test_a_second_delivery_finds_nothing_to_do() -> None:
    import_ = imported(numbered(2))

    assert run(import_) == import_
    assert read(import_).version == import_.version
    assert ProductChange.objects.count() == 2


# --- the sku -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("stored", "spelled"), [("LAMP-1", "lamp-1"), ("Äpfel", "äPFEL"), ("Σίγμα", "σίΓΜΑ")])
def test_a_sku_in_another_case_is_the_same_product(stored: str, spelled: str) -> None:
    imported(csv("sku,name", f"{stored},Lamp"))

    import_ = imported(csv("sku,name", f"{spelled},Lantern"))

    assert counts(import_) == Counts(read=1, updated=1)
    assert names() == {stored: "Lantern"}


def test_lines_whose_skus_differ_in_case_are_duplicates() -> None:
    import_ = imported(csv("sku,name", "Ä-1,First", "b,Chair", "ä-1,Second", "c,Sofa", "d,Desk", "Ä-1,Third"))

    assert counts(import_) == Counts(read=6, created=4, duplicate=2)
    assert names() == {"Ä-1": "Third", "b": "Chair", "c": "Sofa", "d": "Desk"}


def test_letters_whose_case_is_peculiar_are_keyed_as_the_index_of_the_catalogue_does() -> None:
    skus = ["İ", "i", "I", "ı", "i\u0307", "ẞ", "ß", "ss", "ǅ", "Ǆ", "ς", "Σ", "σ", "K", "k", "ﬀ", "ΑΣ", "ας"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT lower(normalize(sku, NFC))) FROM unnest(%s::text[]) AS sku", [skus])
        different = cursor.fetchone()[0]

    first = imported(csv("sku,name", *(f"{sku},Lamp" for sku in skus)))
    second = imported(csv("sku,name", *(f"{sku},Lantern" for sku in reversed(skus))))

    assert counts(first) == Counts(read=len(skus), created=different, duplicate=len(skus) - different)
    assert counts(second) == Counts(read=len(skus), updated=different, duplicate=len(skus) - different)


# --- duplicates --------------------------------------------------------------------------------


def test_of_two_lines_of_a_chunk_the_later_counts() -> None:
    import_ = imported(csv("sku,name", "A,First", "A,Second", "B,Chair"))

    assert counts(import_) == Counts(read=3, created=2, duplicate=1)
    assert names() == {"A": "Second", "B": "Chair"}
    row = ReportedRow.objects.get(source_import=import_)
    assert (row.outcome, row.line_number, row.cells) == ("duplicate", 2, ["A", "First"])
    assert row.errors == [
        {
            "column": "sku",
            "code": "duplicate_sku",
            "message": "Line 3 has the same sku and comes later, so that line counts.",
        }
    ]


def test_of_two_lines_of_different_chunks_the_later_counts() -> None:
    import_ = imported(csv("sku,name", "A,First", "B,Chair", "C,Sofa", "D,Desk", "a,Second"))

    assert counts(import_) == Counts(read=5, created=4, duplicate=1)
    assert names() == {"a": "Second", "B": "Chair", "C": "Sofa", "D": "Desk"}
    assert reported(import_) == [(2, "duplicate_sku")]
    assert {change.line_number for change in ProductChange.objects.all()} == {3, 4, 5, 6}
    assert {(change.action, change.version) for change in ProductChange.objects.all()} == {("created", 1)}


def test_a_void_line_leaves_no_trace_in_the_product() -> None:
    imported(csv("sku,name,description", "A,Lamp,Brass"))

    import_ = imported(csv("sku,name,description", "A,First,Steel", "B,1,", "C,1,", "D,1,", "A,,Oak"))

    assert counts(import_) == Counts(read=5, created=3, updated=1, duplicate=1)
    assert catalogue()["A"] == ("Lamp", "Oak", "active", 2)


def test_of_many_lines_the_last_counts_and_each_other_is_listed() -> None:
    rows = [f"A,{n}" for n in range(5)] + ["B,Chair"] + [f"A,{n}" for n in range(5, 8)]

    import_ = imported(csv("sku,name,colour", *(f"{row},red" for row in rows)))

    assert counts(import_) == Counts(read=9, created=2, duplicate=7)
    assert names() == {"A": "7", "B": "Chair"}
    listed = ReportedRow.objects.filter(source_import=import_).order_by("line_number")
    assert [row.line_number for row in listed] == [2, 3, 4, 5, 6, 8, 9]
    assert all("Line 10 " in row.errors[0]["message"] for row in listed)
    # What no product has is not staged, so it can't be listed.
    assert listed[0].cells == ["A", "0", ""]


def test_a_merge_that_waits_for_the_list_of_duplicates_does_not_look_forgotten(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "KEEP_AWAKE_SECONDS", 0.05)
    import_ = received(csv("sku,name", "A,Lamp", "A,Lantern"))
    with other_session() as other:
        hold_up_the_list(other, import_)
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            wait_until(the_merge_is_kept_awake)
            other.rollback()

    assert counts(read(import_)) == Counts(read=2, created=1, duplicate=1)


def hold_up_the_list(other: BaseDatabaseWrapper, import_: Import) -> None:
    """Whoever lists line 2 waits until this session's transaction ends."""
    other.set_autocommit(False)
    execute(
        other,
        "INSERT INTO products_reportedrow (import_id, outcome, line_number, errors, cells) "
        "VALUES (%s, 'duplicate', 2, '[]', '[]')",
        import_.pk,
    )


def the_merge_is_kept_awake() -> bool:
    """Whether the last statement of the transaction that has the catalogue was one for its own sake."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity "
            "WHERE datname = current_database() AND xact_start IS NOT NULL AND query = 'SELECT 1' AND pid IN "
            "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted))"
        )
        return bool(cursor.fetchone()[0])


def test_an_import_that_lists_many_duplicates_can_be_cancelled() -> None:
    import_ = received(csv("sku,name", *["A,Lamp"] * 2_000))
    with other_session() as other:
        hold_up_the_list(other, import_)
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            asked = lease.request_cancel(read(import_)).version
            wait_until(lambda: read(import_).version > asked + 1)  # a snapshot that has seen it
            other.rollback()

    assert read(import_).state == "CANCELLED"
    assert import_.reported_rows.count() == ROWS_AT_A_TIME


def test_a_rejected_line_does_not_make_an_earlier_one_void() -> None:
    import_ = imported(csv("sku,name,status", "A,First,", "B,Chair,", "C,Sofa,", "A,Second,sold"))

    assert counts(import_) == Counts(read=4, created=3, rejected=1)
    assert names()["A"] == "First"


def test_a_line_without_a_name_is_judged_only_if_it_counts() -> None:
    rows = ["A,", "B,Chair", "C,Sofa", "A,Lamp", "D,Desk", "E,Stool", "F,Bench", "F,"]

    import_ = imported(csv("sku,name", *rows))

    assert counts(import_) == Counts(read=8, created=5, rejected=1, duplicate=2)
    assert names() == {"A": "Lamp", "B": "Chair", "C": "Sofa", "D": "Desk", "E": "Stool"}
    assert reported(import_) == [(2, "duplicate_sku"), (8, "duplicate_sku"), (9, "name_missing")]


@pytest.mark.parametrize("mode", ["upsert", "create", "update"])
def test_lines_that_are_void_are_not_held_against_the_file(settings: Settings, mode: str) -> None:
    settings.IMPORT_BATCH_SIZE = 100
    if mode == "update":
        imported(numbered(200))
    first = csv("sku,name", *(f"SKU-{number:06d}," for number in range(200)))
    second = numbered(200, "Lantern").removeprefix("sku,name\n")

    import_ = imported(first + second, mode=mode, max_rejects="50")

    applied = {"updated": 200} if mode == "update" else {"created": 200}
    assert counts(import_) == Counts(read=400, duplicate=200, **applied)
    assert set(names().values()) == {"Lantern"}


# --- modes -------------------------------------------------------------------------------------


def test_an_upsert_needs_a_name_only_for_what_is_new() -> None:
    imported(csv("sku,name", "A,Lamp"))

    import_ = imported(csv("sku,status,colour", "A,inactive,red", "B,active,blue"))

    assert counts(import_) == Counts(read=2, updated=1, rejected=1)
    assert catalogue() == {"A": ("Lamp", "", "inactive", 2)}
    row = ReportedRow.objects.get(source_import=import_)
    assert (row.line_number, row.outcome, row.cells) == (3, "rejected", ["B", "active", "blue"])
    assert row.errors == [
        {
            "column": "name",
            "code": "name_missing",
            "message": "There is no product B yet, and a new product needs a name. Fill it in.",
        }
    ]


def test_create_rejects_what_is_there() -> None:
    imported(csv("sku,name", "A,Lamp", "B,Chair"))

    import_ = imported(
        csv("sku,name,colour", "C,Sofa,", "a,Lantern,red", "D,Desk,", "E,,", "B,,"), mode="create", max_rejects="none"
    )

    assert counts(import_) == Counts(read=5, created=2, rejected=3)
    assert names() == {"A": "Lamp", "B": "Chair", "C": "Sofa", "D": "Desk"}
    assert reported(import_) == [(3, "product_exists"), (5, "name_missing"), (6, "product_exists")]
    row = ReportedRow.objects.get(source_import=import_, line_number=3)
    assert row.cells == ["a", "Lantern", "red"]
    assert row.errors[0]["message"].startswith("The product a exists, and this import only creates.")


def test_update_rejects_what_is_not_there() -> None:
    imported(csv("sku,name", "A,Lamp", "B,Chair"))

    import_ = imported(csv("sku,name", "A,Lantern", "X,Sofa", "B,Chair", "Y,"), mode="update")

    assert counts(import_) == Counts(read=4, updated=1, unchanged=1, rejected=2)
    assert names() == {"A": "Lantern", "B": "Chair"}
    assert reported(import_) == [(3, "product_unknown"), (5, "product_unknown")]
    assert "There is no product X, and this import only updates." in str(
        ReportedRow.objects.get(line_number=3).errors[0]["message"]
    )


# --- rejected rows -----------------------------------------------------------------------------


def test_bad_rows_are_rejected_and_the_rest_is_applied() -> None:
    rows = {
        "too_few_cells": "A,Lamp",
        "too_many_cells": "A,Lamp,,,x",
        "sku_missing": " ,Lamp,,",
        "sku_too_long": f"{'x' * 101},Lamp,,",
        "name_too_long": f"A,{'x' * 256},,",
        "description_too_long": f"A,Lamp,{'x' * 100_001},",
        "control_character": "A,La\x07mp,,",
        "header_repeated": "sku,name,description,status",
        "invisible_character": "A\u200b,Lamp,,",
        "unknown_status": "A,Lamp,,sold",
        "name_missing": "A,,,",
    }

    import_ = imported(csv("sku,name,description,status", "G-1,Good,,", *rows.values(), "G-2,Good,,"))

    assert counts(import_) == Counts(read=13, created=2, rejected=11)
    assert set(names()) == {"G-1", "G-2"}
    assert reported(import_) == [(line, code) for line, code in enumerate(rows, start=3)]
    elsewhere = {"product_exists", "product_unknown", "duplicate_sku", "attribute_too_long"}
    assert {*rows} | elsewhere == set(ROW_ERROR_CODES)


def test_a_rejected_row_is_kept_with_its_line_its_reasons_and_its_cells() -> None:
    import_ = imported('sku,name,colour,status\nA,"two\nlines",red,sold\n\n"B ",Chair,"a ""b""",gone\n')

    first, second = ReportedRow.objects.filter(source_import=import_)
    assert (first.line_number, first.cells) == (2, ["A", "two\nlines", "red", "sold"])
    assert [(error["column"], error["code"]) for error in first.errors] == [
        ("name", "control_character"),
        ("status", "unknown_status"),
    ]
    assert first.errors[1]["message"].startswith("The status “sold” is not known. Use one of: active,")
    assert (second.line_number, second.cells) == (5, ["B ", "Chair", 'a "b"', "gone"])


def test_all_or_nothing_applies_all() -> None:
    assert counts(imported(numbered(7), on_error="abort")) == Counts(read=7, created=7)


def test_all_or_nothing_takes_lines_that_are_void() -> None:
    import_ = imported(csv("sku,name", "A,1", "B,2", "C,3", "D,4", "A,5"), on_error="abort")

    assert counts(import_) == Counts(read=5, created=4, duplicate=1)
    assert names()["A"] == "5"


def test_all_or_nothing_applies_nothing_and_lists_every_bad_row() -> None:
    rows = ["A,Lamp", ",x", "B,Chair", "C,Sofa", "D,Desk", "E,Stool", ",y", "F,Bench"]

    import_ = imported(csv("sku,name", *rows), on_error="abort")

    assert (import_.state, import_.error_code) == ("FAILURE", "rows_rejected")
    assert import_.error_message.startswith("2 of 8 rows can't be applied, and this import was to apply all or nothing")
    assert (import_.rows_read, import_.rows_rejected, import_.rows_created) == (8, 2, 0)
    assert reported(import_) == [(3, "sku_missing"), (8, "sku_missing")]
    assert not Product.objects.exists()
    assert not ProductChange.objects.exists()


def test_all_or_nothing_also_holds_for_what_only_the_catalogue_shows() -> None:
    imported(csv("sku,name", "C,Sofa"))

    import_ = imported(
        csv("sku,name", "A,Lamp", "X,", "B,Chair", "D,Desk", "C,Couch", "Y,"), on_error="abort", max_rejects="none"
    )

    assert (import_.state, import_.error_code) == ("FAILURE", "rows_rejected")
    assert reported(import_) == [(3, "name_missing"), (7, "name_missing")]
    assert names() == {"C": "Sofa"}


# --- too many rejected rows --------------------------------------------------------------------


def test_a_wrong_file_is_stopped_early(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 2_000

    import_ = imported(csv("sku,name", *(f",Lamp {number:0200}" for number in range(20_000))))

    assert (import_.state, import_.error_code) == ("FAILURE", "too_many_rejects")
    assert re.match(
        r"[\d,]+ of the first [\d,]+ rows were rejected, more than 100 rows and 10 % of the rows\. ",
        import_.error_message,
    )
    assert import_.rows_read < 10_000
    assert import_.rows_rejected == import_.rows_read == len(reported(import_))


def test_a_number_of_bad_rows_stops_a_file_at_once(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 10

    import_ = imported(csv("sku,name", *[",Lamp"] * 6) + numbered(5_000)[len("sku,name\n") :], max_rejects="5")

    assert import_.error_code == "too_many_rejects"
    assert import_.rows_read < 100
    assert not Product.objects.exists()


def test_bad_rows_at_the_beginning_of_a_long_good_file_do_not_stop_it(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 50

    import_ = imported(csv("sku,name", *[",Lamp 000"] * 150) + numbered(2_000)[len("sku,name\n") :])

    assert counts(import_) == Counts(read=2_150, created=2_000, rejected=150)


def test_the_share_of_bad_rows_is_judged_at_the_end(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 50
    good, bad = numbered(1_000), csv("", *[",Lamp 000"] * 150).lstrip()

    import_ = imported(good + bad)

    assert (import_.state, import_.error_code) == ("FAILURE", "too_many_rejects")
    assert import_.error_message.startswith("150 of the first 1,150 rows were rejected, more than 100 rows and 10 % of")
    assert not Product.objects.exists()


def test_few_bad_rows_are_no_wrong_file_however_short_it_is() -> None:
    assert counts(imported(csv("sku,name", ",1", ",2", "A,Lamp"))) == Counts(read=3, created=1, rejected=2)


def test_a_file_for_another_catalogue_is_stopped_by_what_the_merge_rejects(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 50

    import_ = imported(numbered(300), mode="update")

    assert (import_.state, import_.error_code) == ("FAILURE", "too_many_rejects")
    assert len(reported(import_)) == import_.rows_rejected > 100
    assert {code for _, code in reported(import_)} == {"product_unknown"}


# --- files that can't be imported --------------------------------------------------------------

BAD_FILES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "file_empty": (b"", {}, "The file is empty. Begin the file with a line such as: sku,name,description,status"),
    "not_text": (b"%PDF-1.7\n", {}, "The file is a PDF document, whatever its name says"),
    "nul_byte": (b"sku,name\nA,Lamp\nB,Ch\x00air\n", {}, "Byte 20 (line 3) is a NUL,"),
    "invalid_utf8": (
        b"sku,name\nA,Lamp\nB,St\xfchle\n",
        {"encoding": "utf-8"},
        "Invalid UTF-8 at byte 20 (line 3): the byte 0xFC",
    ),
    "invalid_encoding": (
        b"\xff\xfe" + "sku,name\nA,Lamp\n".encode("utf-16-le") + b"B",
        {},
        "Invalid UTF-16-LE at byte 34 (line 3): the file ends in the middle of a character.",
    ),
    "archive_files": (archives.zip_of({"a.csv": b"sku\n", "b.csv": b"sku\n"}), {}, "The zip archive holds 2 files"),
    "archive_encrypted": (archives.ENCRYPTED_ZIP, {}, "“products.csv” in the zip archive is encrypted."),
    "archive_broken": (gzip.compress(numbered(50).encode())[:-9], {}, "The archive can't be unpacked: it is cut off."),
    "archive_too_large": (
        gzip.compress(csv("sku,name,description", *(f"{n},Lamp,{'x' * 90_000}" for n in range(150))).encode()),
        {},
        "The archive unpacks to more than 200 times its own size",
    ),
    "workbook_unreadable": (archives.zip_of({"xl/workbook.xml": b"<"}), {}, "The file seems to be a workbook, but"),
    "workbook_too_large": (
        archives.xlsx([["sku"], *([None] * 1_000_000), ["A"] * 5_000]),
        {},
        "The workbook is too large: reading it takes more memory or time",
    ),
    "sheet_unknown": (
        archives.xlsx([["sku"]]),
        {"sheet": "Prices"},
        "The workbook has no sheet “Prices”. It has: “Sheet1”.",
    ),
    "header_missing": (b"\n\n,,\n", {}, "Line 3 should name the columns, but its cells are all empty."),
    "sku_column_missing": (b"title,price\nLamp,1\n", {}, "No column of line 1 is the sku. Found: “title”, “price”."),
    "column_repeated": (b"sku,name,Code\nA,Lamp,B\n", {}, "“sku” (column 1) and “Code” (column 3) both mean sku."),
    "too_many_columns": (b"sku" + b",x" * MAX_COLUMNS + b"\n", {}, "Line 1 has 1,001 columns; at most 1,000 are read"),
    "quote_not_closed": (b'sku,name\nA,Lamp\nB,"Chair\nC,Sofa\n', {}, "A quotation mark opens a cell on line 3 and"),
    "quote_misplaced": (b'sku,name\nA,"Lamp"x\nB,Chair\n', {}, "Line 2: a quoted cell goes on after its closing"),
    "field_too_large": (b"sku,name\nA," + b"x" * (1 << 20) + b"x\n", {}, "A cell of the row on line 2 is larger than"),
    "row_too_long": (b"sku,name\n" + b"A,x," * (5 << 18), {}, "The row that starts on line 2 is longer than 4 MB."),
    "too_many_rejects": (b"sku,name\n,1\n,2\n", {"max_rejects": "1"}, "2 of the first 2 rows were rejected, more than"),
    "rows_rejected": (b"sku,name\n,1\n", {"on_error": "abort"}, "1 of 1 rows can't be applied, and this import was"),
}


def test_every_way_a_file_can_be_bad_is_shown_here() -> None:
    assert {*BAD_FILES, "too_many_deactivated", "file_gone"} == set(FILE_ERROR_CODES)


@pytest.mark.parametrize("code", BAD_FILES)
def test_a_bad_file_fails_with_a_sentence_and_is_kept_aside(code: str, file_store: Path) -> None:
    content, options, sentence = BAD_FILES[code]

    import_ = imported(content, **options)

    assert (import_.state, import_.phase, import_.error_code) == ("FAILURE", "finished", code)
    assert import_.error_message.startswith(sentence)
    assert import_.stored_file == f"errors/{import_.pk}.csv"
    assert stored_text(import_) == content
    assert list((file_store / "imports").iterdir()) == []
    assert not Product.objects.exists()
    assert events(import_) == ["import.started", "import.failed"]
    assert staging_tables() == set()


def test_a_file_that_turns_bad_at_its_end_leaves_nothing(settings: Settings) -> None:
    imported(csv("sku,name", "SKU-000000,Old"))
    settings.IMPORT_BATCH_SIZE = 1_000

    import_ = imported(numbered(5_000, "x" * 200).encode() + b"X,\xff\n")

    assert (import_.state, import_.error_code) == ("FAILURE", "invalid_utf8")
    assert names() == {"SKU-000000": "Old"}
    assert ProductChange.objects.count() == 1
    assert 0 < import_.rows_read <= 5_000
    assert (import_.rows_created, import_.rows_updated, import_.rows_unchanged) == (0, 0, 0)


def test_a_stored_file_that_is_gone_ends_the_import(file_store: Path) -> None:
    import_ = received(numbered(2))
    (file_store / import_.stored_file).unlink()

    import_ = run(import_)

    assert (import_.state, import_.error_code) == ("FAILURE", "file_gone")
    assert str(file_store) not in import_.error_message


# --- the history -------------------------------------------------------------------------------


def test_each_real_change_leaves_one_row_of_history() -> None:
    ada = User.objects.create_user("ada")
    first = imported(csv("sku,name,description", "A,Lamp,Brass", "B,Chair,Oak"))

    second = imported(csv("name,sku,description,status", "Chair,b,Oak,", "Lantern,a,,inactive"), user=ada)

    changes = ProductChange.objects.filter(sku="A").order_by("id")
    assert [(c.action, c.version, c.previous, c.import_id, c.line_number, c.actor_id) for c in changes] == [
        ("created", 1, None, first.pk, 2, None),
        ("updated", 2, {"name": "Lamp", "status": "active"}, second.pk, 3, ada.pk),
    ]
    assert {change.product_id for change in changes} == {Product.objects.get(sku="A").pk}
    assert [change.action for change in ProductChange.objects.filter(sku="B")] == ["created"]


def test_the_history_knows_a_value_that_was_empty() -> None:
    imported(csv("sku,name", "A,Lamp"))
    imported(csv("sku,description", "A,Brass"))

    assert ProductChange.objects.get(action="updated").previous == {"description": ""}


# --- telling others ----------------------------------------------------------------------------


def test_the_start_and_the_end_are_events() -> None:
    import_ = imported(numbered(4))

    assert events(import_) == ["import.started", "import.completed"]
    started, completed = map(event_data, Event.objects.order_by("id"))
    assert (started["state"], started["rows_read"]) == ("PROGRESS", 0)
    assert (completed["state"], completed["rows_created"]) == ("SUCCESS", 4)
    assert completed["finished_at"]


def test_the_end_and_its_event_become_true_at_once() -> None:
    with other_session() as other, catalogue_held() as let_go:
        import_ = received(numbered(4))
        with aside(lambda: run(import_)):
            wait_until(lambda: events(import_) == ["import.started"])
            # No event can be written for the moment; the merge and the final state can.
            other.set_autocommit(False)
            execute(other, "LOCK TABLE webhooks_event IN SHARE MODE")
            let_go()
            wait_until(waiting_for_lock)

            assert read(import_).state == "PROGRESS"
            assert not Product.objects.exists()
            other.rollback()

    assert read(import_).state == "SUCCESS"
    assert events(import_) == ["import.started", "import.completed"]


# --- cancelling --------------------------------------------------------------------------------


def test_an_import_that_waits_is_cancelled_at_once() -> None:
    import_ = lease.request_cancel(received(numbered(4)))

    assert (import_.state, import_.phase, import_.error_code) == ("CANCELLED", "finished", "cancelled")
    assert events(import_) == ["import.cancelled"]
    assert run(import_).state == "CANCELLED"
    assert not Product.objects.exists()


def test_an_import_that_runs_stops_between_two_chunks(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 100
    with catalogue_held() as let_go:
        import_ = received(numbered(1_000))
        with aside(lambda: run(import_)):
            wait_until(lambda: read(import_).rows_read == 1_000)
            import_ = lease.request_cancel(read(import_))
            assert (import_.state, import_.cancel_requested_at is not None) == ("PROGRESS", True)
            wait_until(lambda: read(import_).finished)  # also while somebody else merges
        let_go()

    assert read(import_).state == "CANCELLED"
    assert events(import_) == ["import.started", "import.cancelled"]
    assert not Product.objects.exists()
    assert staging_tables() == set()


def test_an_import_that_merges_is_cancelled_up_to_its_last_moment() -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "SELECT FROM products_product FOR UPDATE")
        import_ = received(csv("sku,name", "A,Lantern"))
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)  # in its only chunk: no checkpoint is left
            lease.request_cancel(read(import_))
            other.rollback()

    assert read(import_).state == "CANCELLED"
    assert names() == {"A": "Lamp"}


def test_a_cancellation_that_comes_too_late_is_told_so() -> None:
    import_ = received(numbered(4))
    late: list[Exception] = []

    def cancel() -> None:
        try:
            lease.request_cancel(import_)
        except Exception as error:
            late.append(error)

    with other_session() as other, catalogue_held() as let_go, aside(lambda: run(import_)):
        wait_until(lambda: events(import_) == ["import.started"])
        other.set_autocommit(False)
        execute(other, "LOCK TABLE webhooks_event IN SHARE MODE")
        let_go()
        wait_until(waiting_for_lock)  # the final state is written, and not yet committed
        with aside(cancel):
            wait_until(lambda: waiting_for_lock() >= 2)
            other.rollback()

    assert read(import_).state == "SUCCESS"
    assert [getattr(error, "code", error) for error in late] == ["import_finished"]
    assert read(import_).cancel_requested_at is None


def test_what_has_ended_can_not_be_cancelled() -> None:
    import_ = imported(numbered(1))

    with pytest.raises(lease.ConflictError, match="The import has already ended: done"):
        lease.request_cancel(import_)


# --- others write too --------------------------------------------------------------------------


def test_a_product_that_somebody_creates_meanwhile_is_updated() -> None:
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "INSERT INTO products_product (sku, name) VALUES ('sku-000001', 'Theirs')")
        import_ = received(numbered(3))
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)  # the unique index waits for what becomes of theirs
            other.commit()

    assert counts(read(import_)) == Counts(read=3, created=2, updated=1)
    assert catalogue()["sku-000001"] == ("Lamp", "", "active", 2)
    assert ProductChange.objects.count() == 3


@pytest.mark.parametrize(("row", "name"), [("e,Desk,Oak", "Desk"), ("e,,Oak", "Lamp")])
def test_a_known_product_is_found_behind_many_new_ones(settings: Settings, row: str, name: str) -> None:
    settings.IMPORT_BATCH_SIZE = 2
    imported(csv("sku,name", "E,Lamp"))

    import_ = imported(csv("sku,name,description", "A,Lamp,", "B,Lamp,", "C,Lamp,", row, "D,Lamp,", "F,Lamp,"))

    assert counts(import_) == Counts(read=6, created=5, updated=1)
    assert catalogue()["E"] == (name, "Oak", "active", 2)
    assert ProductChange.objects.filter(import_id=import_.pk).count() == 6


def test_new_products_are_not_looked_up_behind_new_ones(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 2
    with CaptureQueriesContext(connection) as queries:
        import_ = imported(numbered(6))

    merges = [query["sql"] for query in queries if query["sql"].startswith("WITH source")]
    assert [" ON false" in sql for sql in merges] == [False, True, True]
    assert counts(import_) == Counts(read=6, created=6)


def test_a_product_that_somebody_creates_meanwhile_is_not_new_any_more() -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "INSERT INTO products_product (sku, name) VALUES ('b', 'Theirs')")
        import_ = received(csv("sku,name", "A,Ours", "B,Ours", "C,Ours"), mode="create", max_rejects="none")
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            execute(other, "DELETE FROM products_product WHERE sku = 'A'")
            other.commit()

    assert counts(read(import_)) == Counts(read=3, created=2, rejected=1)
    assert reported(import_) == [(3, "product_exists")]
    assert names() == {"A": "Ours", "b": "Theirs", "C": "Ours"}


def test_a_product_that_somebody_deletes_while_the_merge_runs_was_there() -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "INSERT INTO products_product (sku, name) VALUES ('b', 'Theirs')")
        import_ = received(csv("sku,name", "A,Ours", "B,Ours"), mode="create", max_rejects="none")
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)  # the merge, which has seen A
            products.delete_product(Product.objects.get(sku="A"), actor=None)
            other.rollback()

    assert counts(read(import_)) == Counts(read=2, created=1, rejected=1)
    assert reported(import_) == [(2, "product_exists")]


@pytest.mark.parametrize(("mode", "row"), [("update", "B,Bench,Oak"), ("upsert", "B,,Oak")])
def test_a_product_that_somebody_creates_while_the_merge_runs_is_not_passed_over(mode: str, row: str) -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "SELECT FROM products_product FOR UPDATE")
        import_ = received(csv("sku,name,description", "A,Lamp,Brass", row), mode=mode, max_rejects="none")
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)  # the merge, which does not see what is created from here on
            products.create_product({"sku": "B", "name": "Bench"}, actor=None)
            other.rollback()
    assert (read(import_).phase, reported(import_)) == ("retrying", [])
    Import.objects.update(retry_at=None)

    assert counts(run(import_)) == Counts(read=2, updated=2)
    assert catalogue()["B"] == ("Bench", "Oak", "active", 2)


def test_a_product_that_somebody_holds_is_waited_for() -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "UPDATE products_product SET name = 'Theirs', version = version + 1")
        import_ = received(csv("sku,name", "A,Ours"))
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            other.commit()

    assert counts(read(import_)) == Counts(read=1, updated=1)
    assert catalogue() == {"A": ("Ours", "", "active", 3)}
    assert ProductChange.objects.get(action="updated").previous == {"name": "Theirs"}


def test_two_files_at_once_are_merged_one_after_the_other(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 100
    one, two = received(numbered(500, "One")), received(numbered(500, "Two", start=250))

    with aside(lambda: run(one)), aside(lambda: run(two)):
        pass

    assert read(one).rows_created + read(two).rows_created == 750
    assert read(one).rows_updated + read(two).rows_updated == 250
    overlap = {names()[f"SKU-{number:06d}"] for number in range(250, 500)}
    assert len(overlap) == 1
    assert ProductChange.objects.count() == 1_000


def test_an_api_write_during_a_merge_is_not_lost() -> None:
    imported(csv("sku,name,description", "A,Lamp,Brass"))
    product = Product.objects.get(sku="A")
    with catalogue_held() as let_go:
        import_ = received(csv("sku,description", "A,Steel"))
        with aside(lambda: run(import_)):
            wait_until(lambda: read(import_).rows_read == 1)
            products.update_product(product, {"name": "Lantern"}, actor=None)
            let_go()

    assert catalogue() == {"A": ("Lantern", "Steel", "active", 3)}


# --- an attempt that lost its lease ------------------------------------------------------------


def test_an_attempt_that_was_given_up_for_dead_applies_nothing() -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "SELECT FROM products_product FOR UPDATE")
        import_ = received(csv("sku,name", "A,Lantern"))
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            # Another worker has claimed it, and may even have finished.
            Import.objects.filter(pk=import_.pk).update(attempt=2)
            other.rollback()

    assert (read(import_).state, read(import_).attempt) == ("PROGRESS", 2)
    assert events(import_) == ["import.started"]
    assert names() == {"A": "Lamp"}


def test_a_lost_attempt_stops_while_it_waits_for_the_catalogue() -> None:
    with catalogue_held():
        import_ = received(numbered(3))
        with aside(lambda: run(import_)) as worker:
            wait_until(lambda: read(import_).rows_read == 3)
            Import.objects.filter(pk=import_.pk).update(attempt=2)
            wait_until(lambda: not worker.is_alive())

    assert not Product.objects.exists()


def end_sessions_that_wait() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )


def test_an_import_whose_connection_breaks_is_tried_again(caplog: LogCaptureFixture) -> None:
    imported(csv("sku,name", "A,Lamp"))
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "SELECT FROM products_product FOR UPDATE")
        import_ = received(csv("sku,name", "A,Lantern", "B,Chair"))
        with aside(lambda: run(import_)):
            wait_until(waiting_for_lock)
            end_sessions_that_wait()
        other.rollback()

    import_ = read(import_)
    assert (import_.state, import_.phase, import_.error_code) == ("PENDING", "retrying", "")
    assert import_.retry_at is not None
    assert import_.dispatched_at is None
    assert names() == {"A": "Lamp"}
    (told,) = [record for record in caplog.records if record.getMessage() == "import_interrupted"]
    assert not told.exc_info, "a server that went away is one line in the log, not a traceback"
    Import.objects.update(retry_at=timezone.now())
    assert counts(run(import_)) == Counts(read=2, created=1, updated=1)
    assert events(import_) == ["import.started", "import.completed"]
    assert staging_tables() == set()


def test_a_connection_that_breaks_after_the_end_leaves_it_an_end(caplog: LogCaptureFixture) -> None:
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, "LOCK TABLE products_productchange IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM has it
        import_ = received(csv("sku,name", "A,Lamp"))
        with aside(lambda: run(import_)) as worker:
            wait_until(waiting_for_lock)
            assert read(import_).state == "SUCCESS"
            end_sessions_that_wait()
        other.rollback()

    assert worker.error is None
    assert counts(read(import_)) == Counts(read=1, created=1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_catalogue_that_has_grown_much_is_known_to_the_planner() -> None:
    imported(numbered(1_000))

    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'products_product'::regclass")
        assert cursor.fetchone() == (1_000,)


# --- memory ------------------------------------------------------------------------------------

MEASURE = """
import django
django.setup()
from pathlib import Path
from products.tests.importing.imports import imported, numbered

def memory(line):
    return next(int(text.split()[1]) for text in Path("/proc/self/status").read_text().splitlines() if line in text)

imported(numbered(1_000))
before = memory("VmRSS")
rows = "".join(f"SKU-{number:06d},Lamp\\n" for number in range(150_000)).encode()
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
import_ = imported(b"sku,name\\n" + rows)
assert import_.state == "SUCCESS", import_.error_message
print(memory("VmHWM") - before - len(rows) // 1024)
"""


def test_a_long_file_takes_no_more_memory_than_a_short_one(file_store: Path) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "ODATA_HOME": str(file_store),
        "IMPORT_BATCH_SIZE": "50000",
    }

    done = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000  # kB


# --- how the file is written -------------------------------------------------------------------


def test_a_file_whose_encoding_is_guessed_waits_to_be_looked_at() -> None:
    import_ = imported("sku;name\nA;Größe\n".encode("cp1252"))

    assert (import_.state, import_.phase, import_.check_first) == ("PENDING", "checked", False)
    assert import_.detected == {
        "encoding": "windows-1252",
        "encoding_from": "guess",
        "delimiter": ";",
        "quote": '"',
        "header_line": 1,
    }
    assert not Product.objects.exists()

    lease.request_apply(import_)

    assert counts(run(import_)) == Counts(read=1, created=1)
    assert names() == {"A": "Größe"}


def test_a_file_whose_encoding_is_declared_is_applied() -> None:
    imported("sku;name\nA;Größe\n".encode("cp1252"), encoding="windows-1252")

    assert names() == {"A": "Größe"}


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress("Products\n\nsku,name\nA,Größe\n".encode()),
        archives.zip_of({"p.csv": "sku|name\nA|Größe\n".encode("utf-16")}),
        archives.xlsx([["Products"], ["sku", "name"], ["A", "Größe"]]),
    ],
)
def test_a_file_is_applied_whatever_it_comes_in(content: bytes) -> None:
    import_ = imported(content)

    assert counts(import_) == Counts(read=1, created=1)
    assert names() == {"A": "Größe"}
    assert import_.bytes_read == import_.bytes_total == len(content)
    assert import_.detected["container"] in ("gzip", "zip", "xlsx")
