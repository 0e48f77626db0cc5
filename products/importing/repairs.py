"""What is wrong with a row and beyond doubt how it was meant. Asked only where the number of cells is wrong."""

from __future__ import annotations

import csv
from typing import NamedTuple

from products.importing.detect import Dialect, csv_options
from products.importing.rows import RowError

REPAIR_CODES = {
    "surplus_cells_dropped": "The row has more cells than the header, and all of the surplus ones are empty: left out.",
    "row_unwrapped": "The row as a whole stands in quotation marks, as after a second export: read once more.",
}
"""Every code of a `Repair` with its meaning; docs/import-format.md lists the same."""


class Repair(NamedTuple):
    """A row as it was meant, and what was done to it."""

    cells: list[str]
    what: RowError


def repair(line_number: int, cells: list[str], width: int, dialect: Dialect | None) -> Repair | None:
    """The row with as many cells as the header, `width`; None where that would be a guess."""
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        surplus = len(cells) - width
        message = f"{surplus:,} empty cell{'s' if surplus > 1 else ''} at the end of the row {_were(surplus)} left out."
        return Repair(cells[:width], RowError(line_number, "", "surplus_cells_dropped", message))
    if len(cells) == 1 and width > 1 and dialect and dialect.quote:
        inner = _parsed(cells[0], dialect)
        if inner is not None and len(inner) == width:
            message = "The row as a whole stood in quotation marks; they were taken off, and it was read once more."
            return Repair(inner, RowError(line_number, "", "row_unwrapped", message))
    return None


def _parsed(text: str, dialect: Dialect) -> list[str] | None:
    """The cells of a text that is exactly one row."""
    try:
        rows = list(csv.reader([text], **csv_options(dialect.delimiter, dialect.quote)))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _were(number: int) -> str:
    return "were" if number > 1 else "was"
