"""Rows with the wrong number of cells: put right where it is beyond doubt, and reported either way."""

from __future__ import annotations

import pytest

from products.importing import report
from products.importing.detect import Dialect
from products.importing.lease import request_apply
from products.importing.repairs import REPAIR_CODES, repair
from products.models import ReportedRow
from products.tests.importing.imports import Counts, catalogue, counts, csv, imported, names, reported, run

COMMA = Dialect(",", '"', 1)


@pytest.mark.parametrize(
    ("cells", "meant", "code"),
    [
        (["A", "b", "c", ""], ["A", "b", "c"], "surplus_cells_dropped"),
        (["A", "b", "c", " ", "", ""], ["A", "b", "c"], "surplus_cells_dropped"),
        (['A,"b, b",c'], ["A", "b, b", "c"], "row_unwrapped"),
        (["A,,"], ["A", "", ""], "row_unwrapped"),
    ],
)
def test_a_row_is_put_right_beyond_doubt(cells: list[str], meant: list[str], code: str) -> None:
    repaired = repair(7, cells, 3, COMMA)

    assert repaired is not None
    assert repaired.cells == meant
    assert (repaired.what.line_number, repaired.what.code) == (7, code)
    assert code in REPAIR_CODES


@pytest.mark.parametrize(
    "cells", [["A", "b"], ["A", "b", "c", "d"], ["A", "b", "c", "", "d"], ["A"], ["A,b"], ["A,b,c,d"], ['A,"b,c']]
)
def test_what_would_be_a_guess_is_left(cells: list[str]) -> None:
    assert repair(7, cells, 3, COMMA) is None


def test_a_sheet_has_no_rows_to_unwrap() -> None:
    assert repair(7, ["A,b,c"], 3, None) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("file_store")
def test_repaired_rows_are_applied_counted_and_listed_as_they_stood() -> None:
    content = csv("sku,name,status", "A,Lamp,active,,", '"B,""Chair, oak"",inactive"', "C,Sofa", "D,Desk,,x", ",x,,")

    import_ = imported(content)

    assert counts(import_) == Counts(read=5, created=2, rejected=3)
    assert catalogue() == {"A": ("Lamp", "", "active", 1), "B": ("Chair, oak", "", "inactive", 1)}
    assert import_.rows_repaired == 2
    assert reported(import_) == [
        (2, "surplus_cells_dropped"),
        (3, "row_unwrapped"),
        (4, "too_few_cells"),
        (5, "too_many_cells"),
        (6, "sku_missing"),
    ]
    repaired = ReportedRow.objects.filter(source_import=import_, outcome="repaired").order_by("line_number")
    assert [row.cells for row in repaired] == [["A", "Lamp", "active", "", ""], ['B,"Chair, oak",inactive']]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("file_store")
def test_with_on_error_abort_a_repaired_row_is_no_error() -> None:
    imported(csv("sku,name", "A,Lamp,,"), on_error="abort")

    assert names() == {"A": "Lamp"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("file_store")
@pytest.mark.parametrize("check_first", ["true", "false"])
def test_a_row_that_is_rejected_after_its_repair_counts_and_is_listed_as_rejected_alone(check_first: str) -> None:
    content = csv("sku,name,status", "A,Lamp,active,", "B,,active,,", "C,Old name,active,", "C,Sofa,active")

    import_ = imported(content, max_rejects="none", check_first=check_first)
    if check_first == "true":
        assert (import_.rows_repaired, import_.rows_rejected, import_.rows_duplicate) == (1, 1, 1)
        import_ = run(request_apply(import_))

    assert counts(import_) == Counts(read=4, created=2, rejected=1, duplicate=1)
    assert import_.rows_repaired == 1
    assert [row.line_number for row in report.rows_of(import_, "repaired")] == [2]
    assert [(cause.count, cause.lines) for cause in report.causes(import_, "repaired")] == [(1, [2])]
