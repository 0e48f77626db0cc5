"""What the stages of an import hand to each other.

Named tuples, since there is one per row of the file: half a million frozen dataclasses would cost
as much as parsing the file does.
"""

from __future__ import annotations

from typing import NamedTuple


class ProductRow(NamedTuple):
    """One row that can be a product. None leaves the stored value alone: the cell is empty or its
    column is not in the file."""

    line_number: int
    sku: str
    name: str | None
    description: str | None
    """Empty: to be emptied."""
    status: str | None
    attributes: str | None = None
    """A JSON object of those that the file has; null takes one away."""


class RowError(NamedTuple):
    """One thing wrong with one row."""

    line_number: int
    column: str
    """Name of the product's column; empty where the row as a whole is wrong."""
    code: str
    message: str
