from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from products.importing import columns
from products.importing.errors import FILE_ERROR_CODES
from products.importing.options import FORMAT_NAMES, OPTION_NAMES
from products.importing.reader import open_reader
from products.importing.repairs import REPAIR_CODES
from products.importing.rows import ProductRow
from products.importing.undoer import KEPT_CODES
from products.importing.validator import ROW_ERROR_CODES, make_validator
from products.models import Import, Product

PAGE = (Path(__file__).parents[3] / "docs" / "import-format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("sku", "sku"),
        (" SKU ", "sku"),
        ("Product-SKU", "sku"),
        ("product_sku", "sku"),
        ("Article  Number", "sku"),
        ("itemNumber", "sku"),
        ("Title", "name"),
        ("PRODUCT_NAME", "name"),
        ("Desc", "description"),
        ("long description", "description"),
        ("Active", "status"),
        ("is_enabled", "status"),
        ("\u200bsku\ufeff", "sku"),
    ],
)
def test_it_knows_a_column_by_its_synonyms(header: str, name: str) -> None:
    column = columns.find(header)

    assert column
    assert column.name == name


@pytest.mark.parametrize("header", ["", "price", "skus", "sku 2", "name of colour"])
def test_it_does_not_guess(header: str) -> None:
    assert columns.find(header) is None


def test_no_header_means_two_columns() -> None:
    folded = [columns.fold(header) for column in columns.COLUMNS for header in column.headers]

    assert len(folded) == len(set(folded))


def test_the_columns_fit_into_the_model() -> None:
    for column in columns.COLUMNS:
        field = Product._meta.get_field(column.name)
        if not column.values:
            assert getattr(field, "max_length", None) in {column.limit, None}

    assert set(columns.STATUS.values.values()) == set(Product.Status.values)


def test_the_template_is_a_file_that_can_be_imported() -> None:
    data = columns.template_csv().encode()

    reader = open_reader(io.BytesIO(data), total_bytes=len(data))
    validate = make_validator(reader.layout)
    rows = [validate(line_number, values) for line_number, values in reader]

    assert rows == [ProductRow(2, "LAMP-001", "Desk lamp", "Brass, 40 cm, with switch", "active")]
    assert reader.header == [column.name for column in columns.COLUMNS]


def test_the_docs_describe_every_column() -> None:
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)}

    for column in columns.COLUMNS:
        row = rows[column.name]
        assert ("yes" if column.required else "no") in row
        assert column.help in row
        assert f"{column.limit:,}" in row or column.values
        for header in column.headers:
            assert header in row
        for value in column.values:
            assert f"`{value}`" in PAGE


def test_the_docs_show_the_template() -> None:
    assert (
        "\n".join(",".join(cells) for cells in csv.reader(io.StringIO(columns.template_csv()))).split("\n")[0] in PAGE
    )


@pytest.mark.parametrize(
    ("code", "meaning"),
    [*FILE_ERROR_CODES.items(), *ROW_ERROR_CODES.items(), *KEPT_CODES.items(), *REPAIR_CODES.items()],
)
def test_the_docs_explain_every_error_code(code: str, meaning: str) -> None:
    assert f"| `{code}` | {meaning} |" in PAGE


def test_the_docs_name_every_option() -> None:
    values = [
        *Import.Mode.values,
        *Import.OnError.values,
        *Import.Duplicates.values,
        *Import.EmptyCells.values,
        *OPTION_NAMES,
        *FORMAT_NAMES,
    ]
    for value in values:
        assert f"`{value}`" in PAGE


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("attributes.Colour", "attributes.Colour"),
        ("Attributes.colour", "attributes.colour"),
        ("attributes. Colour of it", "attributes.Colour of it"),
        ("attributes.a.b", "attributes.a.b"),
        ("attributes.", ""),
        (f"attributes.{'x' * 101}", ""),
        ("attribute.colour", ""),
        ("colour", ""),
    ],
)
def test_a_header_may_name_an_attribute(header: str, target: str) -> None:
    assert columns.target_of(header, {}) == target


def test_a_mapping_says_otherwise() -> None:
    mapping = {"attributes.colour": "", "attributes.size": "name"}
    layout = columns.read_layout(["sku", "attributes.colour", "attributes.size", "attributes.Size"], 1, mapping)

    assert layout.positions == {"sku": 0, "name": 2}
    assert layout.attributes == {"Size": 3}
    assert layout.ignored_columns == ("attributes.colour",)
