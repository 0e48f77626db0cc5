"""Exports: what is in them, that an import takes them for what they are, and what they cost."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from common.errors import InvalidInputError
from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from products import catalogue
from products.changes import ChangeFilter, changes_of
from products.exporting import (
    MAX_ATTRIBUTES,
    Export,
    csv_pieces,
    write_csv,
    write_workbook,
)
from products.importing.columns import ATTRIBUTE_LIMIT, DESCRIPTION, NAME, SKU
from products.importing.formulas import NEEDS_MARK, STARTS, without_mark
from products.importing.lines import MAX_ROW
from products.importing.statements import statement
from products.models import Product
from products.tests.importing.imports import Counts, counts, imported
from products.workbooks import SHEET_CELL

pytestmark = pytest.mark.django_db(transaction=True)

ODD = [
    "=1+1",
    "+SUM(A1)",
    "-5",
    "+49.5",
    "-1,5",
    "-5+cmd|' /C calc'!A0",
    "+49 30 1234",
    "@here",
    "＝1",
    "－5",
    "'quoted",
    "'=1",
    "''=1",
    "'-5",
    "'",
    "''",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    " '=1",
    " '=1 ",
    "\t'=1",
    "'\t",
    "a,b;c|d\te",
    'say "so"',
    '"',
    "one\r\ntwo\nthree\rfour\n",
    "  spaces  ",
    "\u00a0no-break\u2003",
    "\\.",
    "\\N",
    "NULL",
    "\ufeffmark",
    "größe",
    "o\u0308",
    "\U0001f4a1",
    "_x000D_",
    "0012",
    "1e5",
]
"""Texts that a format, a spreadsheet or an import could take for something else."""

UNSPEAKABLE: list[Any] = ["\u0001", "\u0085", ["\u0085"], "x" * (ATTRIBUTE_LIMIT + 1), ["x" * ATTRIBUTE_LIMIT]]
"""Attributes that no cell can say so that an import takes it."""
OTHER_TYPES: list[Any] = [
    0, -5, 49.50, 1e300, 12345678901234567890, True, False, None, "", " ", [], {}, [1, "two", None], {"a": {"b": "=1"}},
    ["\u0001"], *UNSPEAKABLE,
]  # fmt: skip


def make(sku: str, **fields: Any) -> Product:
    return catalogue.create_product({"sku": sku, "name": "Lamp", **fields}, actor=None)


def exported(**parameters: str) -> bytes:
    file = io.BytesIO()
    write_csv(Export.parse(parameters), file)
    return file.getvalue()


def table(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def workbook(**parameters: str) -> bytes:
    file = io.BytesIO()
    write_workbook(Export.parse(parameters), file)
    return file.getvalue()


def sheet_of(data: bytes) -> list[list[Any]]:
    """Its cells; numbers, formulas and errors are no str."""
    return CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_name("products").to_python()


def stored() -> list[tuple[Any, ...]]:
    return list(Product.objects.order_by("sku").values_list("sku", "name", "description", "status", "attributes"))


@pytest.fixture
def odd_catalogue() -> None:
    """Products whose every field is odd."""
    for number, text in enumerate(ODD):
        in_line = " ".join(text.split()) or "x"
        sku = in_line.strip("\ufeff")  # which no sku may have
        make(f"{sku}{number}", name=in_line, description=text, attributes={"text": text, "Text": in_line})
    for number, value in enumerate(OTHER_TYPES):
        make(f"OTHER-{number}", status="inactive", attributes={"value": value, "also": "text"})
    make("NAMES", attributes={"": "1", " edge ": "2", "n" * 101: "3", "line\nend": "4", 'a,"b"': "5", "=1": "6"})


# --- what is in it -----------------------------------------------------------------------------


def test_it_has_a_column_for_every_field_and_attribute() -> None:
    make("B-2", description="Brass, 40 cm", attributes={"colour": "red"})
    make("A-1", name="Chair", status="inactive", attributes={"Price": 49.5, "colour": "blue"})
    make("C-3")

    data = exported()

    assert data.startswith(b"\xef\xbb\xbfsku,")
    assert table(data) == [
        ["sku", "name", "description", "status", "attributes.Price", "attributes.colour"],
        ["B-2", "Lamp", "Brass, 40 cm", "active", "", "red"],
        ["A-1", "Chair", "", "inactive", "49.5", "blue"],
        ["C-3", "Lamp", "", "active", "", ""],
    ]


def test_columns_are_those_that_are_asked_for() -> None:
    product = make("A-1", attributes={"colour": "red"})

    header, row = table(exported(columns="version, sku,created_at,updated_at", bom="false"))

    assert header == ["version", "sku", "created_at", "updated_at"]
    assert row == ["1", "A-1", *[f"{product.created_at:%Y-%m-%dT%H:%M:%S.%fZ}"] * 2]


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"status": "inactive"}, ["A-1"]),
        ({"search": "lamp"}, ["B-2"]),
        ({"attributes.colour": "red"}, ["B-2"]),
        ({"search": "nothing"}, []),
    ],
)
def test_it_has_what_the_filters_leave(parameters: dict[str, str], found: list[str]) -> None:
    make("B-2", attributes={"colour": "red"})
    make("A-1", name="Chair", status="inactive", attributes={"size": "L"})

    header, *rows = table(exported(**parameters))

    assert [row[0] for row in rows] == found
    assert len(header) == (5 if found else 4)


def test_the_products_of_an_import_can_be_exported() -> None:
    make("A-1")
    import_ = imported("sku,name\nB-2,Chair\nA-1,Lamp\n")

    assert [row[0] for row in table(exported(**{"import": str(import_.pk)}))[1:]] == ["B-2"]


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("＝1", "'＝1"),
        ("-5", "-5"),
        ("+49.5", "+49.5"),
        ("-5-3", "'-5-3"),
        ("+49 30", "'+49 30"),
        ("'=1", "''=1"),
        ("'quoted", "'quoted"),
        ("plain", "plain"),
    ],
)
def test_no_cell_is_a_formula_unless_asked_for(cell: str, safe: str) -> None:
    make("A-1", name=cell, attributes={"note": cell})

    assert table(exported())[1] == ["A-1", safe, "", "active", safe]
    raw = f"'{cell}" if cell.startswith("'=") else cell
    assert table(exported(formulas="raw"))[1] == ["A-1", raw, "", "active", raw]


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"columns": "sku,price"}, "price"),
        ({"columns": "sku,sku"}, "twice"),
        ({"formulas": "none"}, "formulas"),
        ({"bom": "yes"}, "bom"),
        ({"status": "sold"}, "sold"),
    ],
)
def test_what_it_does_not_know_is_refused(parameters: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        Export.parse(parameters)


def test_too_many_attributes_are_refused_unless_they_are_left_out() -> None:
    make("A-1", attributes={f"a{number}": "1" for number in range(MAX_ATTRIBUTES)})
    assert len(table(exported())[0]) == 4 + MAX_ATTRIBUTES

    make("B-1", attributes={"one more": "1"})
    with pytest.raises(InvalidInputError, match=f"more than {MAX_ATTRIBUTES} different attributes") as caught:
        exported()

    assert caught.value.code == "too_many_attributes"
    assert len(table(exported(columns="sku,name"))) == 3
    assert len(table(exported(search="b-1"))[0]) == 5


def test_the_longest_row_is_one_that_an_import_reads() -> None:
    quoted = 2 * (SKU.limit + NAME.limit + DESCRIPTION.limit + MAX_ATTRIBUTES * ATTRIBUTE_LIMIT)

    assert quoted + 4 * (MAX_ATTRIBUTES + 4) < MAX_ROW


# --- and back again ----------------------------------------------------------------------------


@pytest.mark.parametrize("empty_cells", ["keep", "clear"])
@pytest.mark.parametrize("formulas", ["safe", "raw"])
def test_importing_an_export_changes_nothing(odd_catalogue: None, formulas: str, empty_cells: str) -> None:
    if empty_cells == "clear":  # what no cell can say would then be emptied, as was asked for
        for value in UNSPEAKABLE:
            Product.objects.filter(attributes__value=value).delete()
    before = list(Product.objects.order_by("id").values())

    import_ = imported(exported(formulas=formulas), empty_cells=empty_cells)

    assert counts(import_) == Counts(read=len(before), unchanged=len(before))
    assert list(Product.objects.order_by("id").values()) == before
    assert import_.ignored_columns == []


def test_apostrophes_far_down_in_an_export_stay() -> None:
    Product.objects.bulk_create(Product(sku=f"P{n}", name="Lamp", description="Brass") for n in range(150))
    make("Q1", name="'90s lamp", description="The boys'")
    make("Q2", name="'s-Hertogenbosch'", description="'x'")

    import_ = imported(exported())

    assert counts(import_) == Counts(read=152, unchanged=152)


@pytest.mark.parametrize("formulas", ["safe", "raw"])
def test_texts_come_into_an_empty_catalogue_as_they_were(odd_catalogue: None, formulas: str) -> None:
    Product.objects.filter(sku__startswith="OTHER").delete()
    Product.objects.filter(sku="NAMES").delete()
    before = stored()
    data = exported(formulas=formulas)
    Product.objects.all().delete()

    import_ = imported(data)

    assert counts(import_).created == len(before)
    # An import takes off the spaces around an attribute.
    expected = [(*fields, {name: text.strip() for name, text in attributes.items()}) for *fields, attributes in before]
    assert stored() == expected


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    "'=+-@\t\r\n＝＋ 5.,\"a", max_size=6
)
ANY_JSON = st.recursive(
    ANY_TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY_TEXT, inner, max_size=2),
    max_leaves=3,
)


def accepted(fields: dict[str, Any]) -> bool:
    try:
        catalogue.checked(fields)
    except InvalidInputError:
        return False
    return True


ANY_PRODUCT = st.fixed_dictionaries(
    {"name": ANY_TEXT, "description": ANY_TEXT, "attributes": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3)}
).filter(accepted)


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[*HealthCheck], database=None)
@given(products=st.lists(ANY_PRODUCT, min_size=1, max_size=12), formulas=st.sampled_from(["safe", "raw"]))
def test_importing_the_export_of_any_catalogue_changes_nothing(products: list[dict[str, Any]], formulas: str) -> None:
    Product.objects.all().delete()
    for number, fields in enumerate(products):
        catalogue.create_product({"sku": f"P{number}", **fields}, actor=None)
    before = list(Product.objects.order_by("id").values())

    import_ = imported(exported(formulas=formulas))

    assert counts(import_) == Counts(read=len(products), unchanged=len(products))
    assert list(Product.objects.order_by("id").values()) == before


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[*HealthCheck])
@given(text=ANY_TEXT, formulas=st.sampled_from(list(NEEDS_MARK)))
def test_a_mark_that_is_put_before_any_text_is_taken_away_again(text: str, formulas: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s ~ %s", [text, NEEDS_MARK[formulas]])
        [needs_mark] = cursor.fetchone()
    cell = f"'{text}" if needs_mark else text

    assert without_mark(cell) == text
    if formulas == "safe":
        number = cell.lstrip("+-").replace(",", "").replace(".", "")
        assert cell[:1] not in {*STARTS.replace("\\", "")} or not cell or (number.isascii() and number.isdigit())


def test_the_database_trims_what_python_trims() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {statement('whitespace')}")
        [whitespace] = cursor.fetchone()

    assert set(whitespace) == {chr(code) for code in range(0x110000) if chr(code).isspace()}


@pytest.mark.parametrize(
    ("value", "cell", "after"),
    [
        (49.5, "59.50", 59.5),
        (49.5, "ask", "ask"),
        (49.5, "true", "true"),
        (True, "false", False),
        ([1, 2], "[1, 2, 3]", [1, 2, 3]),
        ({"a": "x"}, '{"a": "y"}', {"a": "y"}),
        ("5", "6", "6"),
        (None, "6", "6"),
        (["x"], "x", "x"),
        ({"x": 1}, "[1", "[1"),
    ],
)
def test_an_attribute_keeps_its_type_where_the_cell_can_be_read_as_one(value: Any, cell: str, after: Any) -> None:
    make("A-1", attributes={"price": value, "other": "text"})
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["sku", "attributes.price"], ["A-1", cell]])

    assert counts(imported(buffer.getvalue())).updated == 1
    assert Product.objects.get().attributes == {"price": after, "other": "text"}


def test_a_check_shows_what_becomes_of_attributes_by_their_types() -> None:
    make("A-1", attributes={"price": 49.5, "size": "L", "old": [1]})
    make("B-2", attributes={"price": 5})
    text = "sku,name,attributes.price,attributes.old\nA-1,,59.5,\nB-2,,5.0,\nC-3,Chair,7,\n"

    import_ = imported(text, check_first="true", empty_cells="clear")

    changes = changes_of(import_, ChangeFilter()).page(after=None, before=None, limit=10)
    assert [(change["sku"], change["fields"]["attributes"]) for change in changes] == [
        ("A-1", {"old": {"price": 49.5, "size": "L", "old": [1]}, "new": {"price": 59.5, "size": "L"}}),
        ("C-3", {"old": None, "new": {"price": "7"}}),
    ]
    only = changes_of(import_, ChangeFilter(field="attributes")).page(after=None, before=None, limit=10)
    assert [change["sku"] for change in only] == ["A-1", "C-3"]


def test_a_rejected_row_names_its_product_also_with_a_mark_before_its_sku() -> None:
    make("=A-1")
    make("'=B-2")
    make("C-3")

    import_ = imported("sku,status\n'=A-1,sold\n''=B-2,sold\n", mode="sync", max_rejects="none")

    changes = changes_of(import_, ChangeFilter()).page(after=None, before=None, limit=10)
    assert [(change["sku"], change["action"]) for change in changes] == [("C-3", "deactivated")]


def test_an_unset_attribute_is_set_and_an_emptied_one_goes() -> None:
    make("A-1", attributes={"old": "1", "blank": ""})

    imported("sku,attributes.old,attributes.new,Attributes.blank\nA-1,,2,\n", empty_cells="clear")

    assert Product.objects.get().attributes == {"new": "2", "blank": ""}


# --- workbooks ---------------------------------------------------------------------------------


def test_a_workbook_has_the_texts_as_they_are(odd_catalogue: None) -> None:
    expected = table(exported(formulas="raw"))

    assert sheet_of(workbook()) == expected


def test_a_description_that_no_cell_holds_is_refused_with_its_sku() -> None:
    make("A-1", description="x" * (SHEET_CELL - 1))
    make("B-2", description="'=" + "x" * (SHEET_CELL - 2))

    with pytest.raises(InvalidInputError, match="B-2") as caught:
        workbook()

    assert caught.value.code == "cell_too_long"
    assert workbook(columns="sku,name")
    assert workbook(search="A-1")


def test_a_sheet_that_grows_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.workbooks.SHEET_BYTES", 500)
    make("A-1", description="x" * 400)

    with pytest.raises(InvalidInputError, match="2 GB") as caught:
        workbook()

    assert caught.value.code == "sheet_too_large"


def test_more_products_than_a_sheet_has_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.exporting.SHEET_ROWS", 2)
    make("A-1")
    assert workbook()
    make("B-2")

    with pytest.raises(InvalidInputError, match="2 products are chosen") as caught:
        workbook()

    assert caught.value.code == "too_many_rows"


# --- what it costs -----------------------------------------------------------------------------

MANY = 200_000
DESCRIPTION_OF_EACH = "Brass, with switch. " * 10


@pytest.fixture
def large_catalogue() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO products_product (sku, name, description, attributes) "
            "SELECT 'SKU-' || n, 'Product ' || n, %s, (ARRAY['{}', %s])[1 + n %% 2]::jsonb "
            "FROM generate_series(1, %s) AS n",
            [DESCRIPTION_OF_EACH, '{"colour": "red", "size": 5}', MANY],
        )


def sessions_in_transaction() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND (xact_start IS NOT NULL OR state <> 'idle')"
        )
        return int(cursor.fetchone()[0])


def test_the_first_pieces_come_before_the_last_product_is_read_and_closing_ends_the_transaction(
    large_catalogue: None,
) -> None:
    with closing(csv_pieces(Export())) as pieces:
        first = list(islice(pieces, 3))
        with connection.cursor() as cursor:
            cursor.execute("SELECT state FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%'")
            assert cursor.fetchall() == [("active",)]
        assert sum(map(len, first)) < 1_000_000

    wait_until(lambda: sessions_in_transaction() == 0)


def test_the_whole_file_shows_one_moment(large_catalogue: None) -> None:
    with closing(csv_pieces(Export())) as pieces:
        parts = [next(pieces)]
        Product.objects.update(status="inactive")
        parts += pieces

    rows = table(b"".join(parts))
    assert len(rows) == MANY + 1
    assert {row[3] for row in rows[1:]} == {"active"}


def test_a_database_that_breaks_off_raises_instead_of_ending_the_file(large_catalogue: None) -> None:
    pieces = csv_pieces(Export())
    next(pieces)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%%' AND pid <> %s",
            [connection.connection.info.backend_pid],
        )

    with pytest.raises(psycopg.OperationalError):
        list(pieces)


MEASURE = """
import django, io, os, sys
django.setup()
from products.exporting import Export, csv_pieces, write_workbook
from products.selection import Selection

def memory(line):
    return int(next(each for each in open("/proc/self/status") if each.startswith(line)).split()[1])

class Nowhere(io.RawIOBase):
    def writable(self): return True
    def write(self, data): return len(data)

for piece in csv_pieces(Export(Selection(search="SKU-1"))): break
before = memory("VmRSS")
size = sum(map(len, csv_pieces(Export())))
print(memory("VmHWM") - before, size)
"""


def test_many_products_take_no_more_memory_than_few(large_catalogue: None, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url(), "ODATA_HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    grown, size = map(int, done.stdout.split())
    assert size > MANY * len(DESCRIPTION_OF_EACH)
    assert grown < 10_000  # kB
