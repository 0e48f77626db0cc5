"""SQL in files of its own."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from common.statements import Statements


@pytest.fixture
def statement(tmp_path: Path) -> Statements:
    (tmp_path / "copy_rows.sql").write_text("-- What it is for.\nINSERT INTO {target}\nSELECT {columns} FROM source\n")
    (tmp_path / "columns.sql").write_text("-- A part of others.\nsku, {more}")
    return Statements(tmp_path)


def test_names_are_filled_in_and_other_files_and_comments_are_for_readers(statement: Statements) -> None:
    assert statement("copy_rows", target="t", more="name") == "INSERT INTO t\nSELECT sku, name FROM source"


def test_a_statement_that_is_not_there_is_a_bug_that_shows_at_once(statement: Statements) -> None:
    with pytest.raises(FileNotFoundError, match=r"target\.sql"):
        statement("copy_rows")


def test_those_of_ten_thousand_imports_take_no_memory(statement: Statements) -> None:
    statement("copy_rows", target="t", more="name")

    tracemalloc.start()
    for number in range(10_000):
        statement("copy_rows", target=f"staging.import_{number}", more="name")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 50_000
