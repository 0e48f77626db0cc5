"""Rows to products. A bad row is data, not an exception: it comes back as what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from unicodedata import is_normalized, normalize

from products.importing.columns import (
    ATTRIBUTE,
    ATTRIBUTE_LIMIT,
    DESCRIPTION,
    NAME,
    SKU,
    STATUS,
    UNSEEN,
    Column,
    Layout,
    is_of_report,
)
from products.importing.formulas import without_mark
from products.importing.rows import ProductRow, RowError

ROW_ERROR_CODES = {
    "too_few_cells": "The row has fewer cells than the header.",
    "too_many_cells": "The row has more cells than the header.",
    "sku_missing": "The sku is empty.",
    "sku_too_long": f"The sku has more than {SKU.limit} characters.",
    "name_too_long": f"The name has more than {NAME.limit} characters.",
    "description_too_long": f"The description has more than {DESCRIPTION.limit:,} characters.",
    "attribute_too_long": f"An attribute has more than {ATTRIBUTE_LIMIT:,} characters.",
    "control_character": "The cell has a control character. In a description, tabs and line ends are fine.",
    "header_repeated": "The row is the header once more, as where files were put together.",
    "invisible_character": "The sku has a character that nobody sees, such as a space of no width.",
    "unknown_status": "The status is none of the known ones.",
    "name_missing": "The sku is new, and a new product needs a name.",
    "product_exists": "The sku is known, and the mode is `create`.",
    "product_unknown": "The sku is new, and the mode is `update`.",
    "duplicate_sku": "Another line has the same sku, and `duplicates` is `reject`.",
}
"""Every code of a `RowError` with its meaning; docs/import-format.md lists the same."""

Validate = Callable[[int, list[str]], ProductRow | list[RowError]]

_control_in_line = re.compile("[\x00-\x1f\x7f-\x9f]").search
_control_in_text = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]").search
_unseen = re.compile(f"[{UNSEEN}]").search
_STATUSES: dict[str, str | None] = {"": None, **STATUS.values}
_UNKNOWN = "?"


def make_validator(layout: Layout, *, clear_empty: bool = False, marked: bool = True) -> Validate:
    """A function that judges the rows of a file with these columns.

    It takes a row's line number and cells and gives a ProductRow, or all that is wrong with it. With
    `clear_empty` an empty description or attribute is one to be stored, not one to leave alone. Without
    `marked` the values come from no file: an apostrophe before a formula is part of them.
    """
    clears_description = clear_empty and DESCRIPTION.name in layout.positions
    judge = _make_judge(layout, description_if_empty="" if clears_description else None, of_file=marked)
    if not layout.attributes:
        return judge
    attributes_of = _make_attributes(layout, clear_empty=clear_empty)

    def validate(line_number: int, values: list[str]) -> ProductRow | list[RowError]:
        row = judge(line_number, values)
        attributes = attributes_of(line_number, values) if len(values) == len(layout.header) else None
        if isinstance(attributes, list):
            return [*row, *attributes] if isinstance(row, list) else attributes
        return row if isinstance(row, list) else row._replace(attributes=attributes)

    return validate


def _make_attributes(layout: Layout, *, clear_empty: bool) -> Callable[[int, list[str]], str | list[RowError] | None]:
    """A function that makes a row's attributes: a JSON object, in which null takes one away; None for none."""
    positions = tuple(layout.attributes.items())

    def attributes_of(line_number: int, values: list[str]) -> str | list[RowError] | None:
        found: dict[str, str | None] = {}
        errors: list[RowError] = []
        for name, position in positions:
            text = values[position]
            if "(" > text >= "'":  # begins with an apostrophe
                text = without_mark(text)
            text = text.strip()
            if text:
                found[name] = text
                control = _control_in_text(text)
                if control or len(text) > ATTRIBUTE_LIMIT:
                    column = Column(f"{ATTRIBUTE}{name}", (), ATTRIBUTE_LIMIT, "", "")
                    errors += _errors_of_text(line_number, column, text, control)
            elif clear_empty:
                found[name] = None
        return errors or (json.dumps(found, ensure_ascii=False) if found else None)

    return attributes_of


def _make_judge(layout: Layout, *, description_if_empty: str | None, of_file: bool) -> Validate:
    """`make_validator` without the attributes; what is no row `of_file` has no marks. A row is first held against
    everything that most rows are, in a handful of calls into C; only what falls through is looked at closely."""
    cell_count = len(layout.header)
    sku_at = layout.positions[SKU.name]
    read: Callable[[str], str] = without_mark if of_file else str
    header_of_sku = layout.header[sku_at] if of_file else None
    own = [(at, header) for at, header in enumerate(layout.header) if not is_of_report(header)]
    name_at = layout.positions.get(NAME.name, -1)
    description_at = layout.positions.get(DESCRIPTION.name, -1)
    status_at = layout.positions.get(STATUS.name, -1)
    max_sku, max_name, max_description = SKU.limit, NAME.limit, DESCRIPTION.limit
    make, status_of = tuple.__new__, _STATUSES.get

    def validate(line_number: int, values: list[str]) -> ProductRow | list[RowError]:
        if len(values) != cell_count:
            return [_wrong_cell_count(line_number, len(values), cell_count)]
        if values[sku_at] == header_of_sku and all(values[at] == header for at, header in own):
            return [_header_repeated(line_number)]
        sku = values[sku_at].strip()
        name = values[name_at].strip() if name_at >= 0 else ""
        description = values[description_at] if description_at >= 0 else ""
        status = status_of(values[status_at], _UNKNOWN) if status_at >= 0 else None
        if (
            sku
            and len(sku) <= max_sku
            and sku.isascii()
            and sku.isprintable()
            and len(name) <= max_name
            and name.isprintable()
            and (name.isascii() or is_normalized("NFC", name))
            and len(description) <= max_description
            and (description.isprintable() or not _control_in_text(description))
            and status is not _UNKNOWN
            # What begins with an apostrophe, and nothing else, sorts from "'" to before "(".
            and not "(" > sku >= "'"
            and not "(" > name >= "'"
            and not "(" > description >= "'"
        ):
            if description.isspace():
                description = ""
            # Past the named tuple's own constructor, which costs twice as much.
            return make(ProductRow, (line_number, sku, name or None, description or description_if_empty, status, None))
        sku, name = read(values[sku_at]).strip(), read(values[name_at]).strip() if name_at >= 0 else ""
        row = _look_closely(line_number, sku, name, read(description), values[status_at] if status_at >= 0 else "")
        if isinstance(row, ProductRow) and row.description is None:
            return row._replace(description=description_if_empty)
        return row

    return validate


def _look_closely(line_number: int, sku: str, name: str, description: str, status: str) -> ProductRow | list[RowError]:
    sku, name = normalize("NFC", sku), normalize("NFC", name)
    known_status = _STATUSES.get(status.strip().lower(), _UNKNOWN)
    errors = [
        *_errors_of_text(line_number, SKU, sku, _control_in_line(sku)),
        *_errors_of_text(line_number, NAME, name, _control_in_line(name)),
        *_errors_of_text(line_number, DESCRIPTION, description, _control_in_text(description)),
    ]
    if not sku:
        errors.append(_sku_missing(line_number))
    if unseen := _unseen(sku):
        errors.append(_invisible_character(line_number, unseen))
    if known_status is _UNKNOWN:
        errors.append(_unknown_status(line_number, status))
    if errors:
        return errors
    return ProductRow(line_number, sku, name or None, description if description.strip() else None, known_status, None)


def _errors_of_text(line_number: int, column: Column, text: str, control: re.Match[str] | None) -> list[RowError]:
    errors = []
    if len(text) > column.limit:
        message = f"The {column.name} has {len(text):,} characters; at most {column.limit:,} fit. Shorten it."
        code = "attribute_too_long" if column.name.startswith(ATTRIBUTE) else f"{column.name}_too_long"
        errors.append(RowError(line_number, column.name, code, message))
    if control:
        message = (
            f"The {column.name} has the control character U+{ord(control.group()):04X} "
            f"as its character {control.start() + 1:,}. Remove it."
        )
        errors.append(RowError(line_number, column.name, "control_character", message))
    return errors


def _wrong_cell_count(line_number: int, found: int, expected: int) -> RowError:
    if found < expected:
        advice = "Add the missing delimiters; an empty cell leaves the stored value alone."
    else:
        advice = "Put a cell that has the delimiter in its text in quotation marks."
    code = "too_few_cells" if found < expected else "too_many_cells"
    return RowError(line_number, "", code, f"The row has {found:,} cells, the header {expected:,}. {advice}")


def _sku_missing(line_number: int) -> RowError:
    return RowError(line_number, SKU.name, "sku_missing", "The sku is empty. Fill it in, or remove the row.")


def _header_repeated(line_number: int) -> RowError:
    message = "The row is the header once more: files were put together, perhaps. Remove it."
    return RowError(line_number, "", "header_repeated", message)


def _invisible_character(line_number: int, found: re.Match[str]) -> RowError:
    message = (
        f"The sku has U+{ord(found.group()):04X} as its character {found.start() + 1:,}, which nobody sees: "
        "it would look like another sku without it. Remove it."
    )
    return RowError(line_number, SKU.name, "invisible_character", message)


def _unknown_status(line_number: int, status: str) -> RowError:
    shown = status.strip()[:40]
    message = f"The status “{shown}” is not known. Use one of: {', '.join(STATUS.values)}."
    return RowError(line_number, STATUS.name, "unknown_status", message)


def name_missing(line_number: int, sku: str) -> RowError:
    """The row would create a product, and has no name for it."""
    message = f"There is no product {sku} yet, and a new product needs a name. Fill it in."
    return RowError(line_number, NAME.name, "name_missing", message)


def product_exists(line_number: int, sku: str) -> RowError:
    """The import may only create, and the product is there."""
    message = f"The product {sku} exists, and this import only creates. Import the row in mode update or upsert."
    return RowError(line_number, SKU.name, "product_exists", message)


def product_unknown(line_number: int, sku: str) -> RowError:
    """The import may only update, and the product is not there."""
    message = f"There is no product {sku}, and this import only updates. Import the row in mode create or upsert."
    return RowError(line_number, SKU.name, "product_unknown", message)
