"""The rows that were not applied, as a file to correct and upload as it is.

Each row keeps its cells as they were, so that correcting the file needs nothing but what was wrong.
Two columns come first: `_line`, the row's line in the file it came from, and `_error`, what is wrong with it.
They are no columns of a product, so an import ignores them. They are first because a row may have too few or
too many cells: behind these, they would slip under a wrong header, and a row filled up to the right length
would pass as correct without anybody having looked.

Cells that a spreadsheet would take for a formula get an apostrophe, which an import takes off again: such
files come from strangers, and are opened where a formula could do harm. The byte order mark tells Excel
that it is UTF-8.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from products.importing import report
from products.importing.columns import REPORT_COLUMNS, header_name, is_of_report
from products.importing.formulas import made_safe
from products.models import Import

ROWS_A_CHUNK = 500


def rejects_csv(import_: Import, outcome: str) -> Iterator[str]:
    """The file in pieces of some hundred rows, read from the database as they are asked for."""
    header = [str(name) for name in import_.header]
    ours = {index for index, name in enumerate(header) if is_of_report(name)}
    # A column without a name is called by its place, which is another one here: so a mapping finds it still.
    names = [name if name.strip() else header_name(header, position) for position, name in enumerate(header)]
    rows = report.rows_of(import_, outcome)
    yield "\ufeff" + _text([[*REPORT_COLUMNS, *_without(names, ours)]])
    last_line = -1
    # Page by page: a cursor would have to outlive its transaction, which a pooler in between does not let it.
    while page := list(
        rows.filter(line_number__gt=last_line).values_list("line_number", "errors", "cells")[:ROWS_A_CHUNK]
    ):
        yield _text([line, _reasons(errors), *_without(cells, ours)] for line, errors, cells in page)
        last_line = page[-1][0]


def _without(cells: Sequence[str], indexes: set[int]) -> list[str]:
    """A file that was already one of these does not get our columns twice."""
    return [cell for index, cell in enumerate(cells) if index not in indexes]


def _reasons(errors: list[dict[str, Any]]) -> str:
    return " ".join(str(error["message"]) for error in errors)


def _text(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as RFC 4180 has them, without a formula in them."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows([made_safe(str(cell)) for cell in row] for row in rows)
    return buffer.getvalue()
