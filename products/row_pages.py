"""The rows of a file of which there is more to say than that they were applied: the first ones, or a page of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from common.parameters import whole_number
from products.importing import columns, report
from products.models import Import, ReportedRow

ROWS_SHOWN = 20
FEW = 5
"""Rows that are shown at once, beside the list of causes."""
ROWS_A_PAGE = 100
COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class ReportLine:
    """A row of the file, and what is said of it. `cells` are (text, is it meant)."""

    line_number: int
    errors: list[dict[str, Any]]
    cells: list[tuple[str, bool]]


@dataclass(frozen=True)
class Report:
    """Some rows of one outcome; `columns_hidden` are too many to show side by side."""

    outcome: str
    total: int
    header: list[str]
    columns_hidden: int
    lines: list[ReportLine]

    @property
    def few(self) -> bool:
        return self.total <= FEW


def reports_of(import_: Import) -> list[Report]:
    """The first rows of each outcome that there is."""
    totals = {
        ReportedRow.Outcome.REJECTED: import_.rows_rejected,
        ReportedRow.Outcome.DUPLICATE: import_.rows_duplicate,
        ReportedRow.Outcome.REPAIRED: import_.rows_repaired,
    }
    return [
        report_of(import_, outcome, list(report.rows_of(import_, outcome)[:ROWS_SHOWN]), total)
        for outcome, total in totals.items()
        if total
    ]


def report_of(import_: Import, outcome: str, rows: list[ReportedRow], total: int) -> Report:
    """These rows under the file's own header."""
    header = [str(name) for name in import_.header]
    width = max([len(header), *(len(row.cells) for row in rows)])
    header += [""] * (width - len(header))  # a row may have more cells than there are headers
    return Report(
        outcome=outcome,
        total=total,
        header=header[:COLUMNS_SHOWN],
        columns_hidden=max(0, width - COLUMNS_SHOWN),
        lines=[_line(row, header, import_.mapping) for row in rows],
    )


def _line(row: ReportedRow, header: list[str], mapping: dict[str, str]) -> ReportLine:
    blamed = {error.get("column") for error in row.errors}
    cells = [str(cell) for cell in row.cells] + [""] * (len(header) - len(row.cells))
    marked = [
        (cell, bool(name) and columns.target_of(name, mapping) in blamed - {""})
        for cell, name in zip(cells, header, strict=True)
    ]
    return ReportLine(row.line_number, row.errors, marked[:COLUMNS_SHOWN])


def rows_context(import_: Import, query: Mapping[str, str]) -> dict[str, Any]:
    """What `products/import_rows.html` shows: a page of rows of one outcome, perhaps of one cause."""
    outcomes = {str(outcome) for outcome in ReportedRow.Outcome}
    outcome = query.get("outcome", "") if query.get("outcome") in outcomes else str(ReportedRow.Outcome.REJECTED)
    code, column = query.get("code", "").replace("\0", ""), query.get("column", "").replace("\0", "")
    rows = report.rows_of(import_, outcome, code=code, column=column)
    after = whole_number(query.get("after", ""))
    if after is not None:
        rows = rows.filter(line_number__gt=after)
    found = list(rows[: ROWS_A_PAGE + 1])
    page = found[:ROWS_A_PAGE]
    filters = {name: value for name, value in (("outcome", outcome), ("code", code), ("column", column)) if value}
    return {
        "outcome": outcome,
        "code": code,
        "column": column,
        "report": report_of(import_, outcome, page, len(page)),
        "first": urlencode(filters) if after is not None else "",
        "next": urlencode({**filters, "after": page[-1].line_number}) if len(found) > ROWS_A_PAGE else "",
    }
