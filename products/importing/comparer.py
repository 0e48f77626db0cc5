"""Step 4: the staged file against itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connection, transaction

from products.importing.columns import DESCRIPTION, NAME, SKU, STATUS, Layout
from products.importing.statements import statement


class Duplicate(NamedTuple):
    """A line that a later one of the same sku makes void."""

    line_number: int
    counting_line: int
    cells: list[str]


def take_duplicates(staging: str, layout: Layout) -> Iterator[Duplicate]:
    """The lines that a later line of the same sku makes void, in order; the last one counts. They are
    gone from the staging table when the iterator is used up."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute(statement("has_duplicates", staging=staging))
        if not cursor.fetchone()[0]:
            return
        for line_number, counting_line, *values in cursor.stream(statement("take_duplicates", staging=staging)):
            yield Duplicate(line_number, counting_line, _cells(values, layout))


def _cells(values: list[str | None], layout: Layout) -> list[str]:
    """The values where the file has them; what it has beside them was not staged."""
    cells = [""] * len(layout.header)
    for column, value in zip((SKU, NAME, DESCRIPTION, STATUS), values, strict=True):
        if column.name in layout.positions:
            cells[layout.positions[column.name]] = value or ""
    return cells
