"""What became of the rows, for those who ask afterwards: by cause, and row by row."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from products.importing.statements import statement
from products.models import Import, ReportedRow

ROWS_LOOKED_AT = 50_000
"""Of a file that is wrong from top to bottom the rest says nothing new, and would take seconds."""
CAUSES = 100
LINES = 5
"""Named of each cause."""


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong with some rows. A row may have several."""

    code: str
    column: str
    """Empty where the row as a whole is meant."""
    count: int
    lines: list[int]
    """The first ones."""
    message: str
    """As the first of these rows has it."""


def causes(import_: Import, outcome: str) -> list[Cause]:
    """What is said of the rows with this outcome, most frequent first. Of the first ROWS_LOOKED_AT only."""
    limits = {"rows": ROWS_LOOKED_AT, "lines": LINES, "causes": CAUSES}
    with connection.cursor() as cursor:
        cursor.execute(statement("causes"), {"import_id": import_.pk, "outcome": outcome, **limits})
        return [Cause(*row) for row in cursor.fetchall()]


def repaired_in_vain(import_: Import) -> int:
    """How many rows were repaired, and then not applied for another reason."""
    return import_.reported_rows.filter(_applied_no_more(import_), outcome=ReportedRow.Outcome.REPAIRED).count()


def _applied_no_more(import_: Import) -> Exists:
    """Of a row that was repaired: that it is rejected or duplicate all the same."""
    same_line = import_.reported_rows.filter(line_number=OuterRef("line_number"))
    return Exists(same_line.exclude(outcome=ReportedRow.Outcome.REPAIRED))


def rows_of(import_: Import, outcome: str, *, code: str = "", column: str = "") -> QuerySet[ReportedRow]:
    """The rows with this outcome, perhaps of one cause only, in the order of the file."""
    rows = import_.reported_rows.filter(outcome=outcome).order_by("line_number")
    if outcome == ReportedRow.Outcome.REPAIRED:
        rows = rows.exclude(_applied_no_more(import_))
    if code:
        rows = rows.filter(errors__contains=[{"code": code, "column": column}])
    return rows
