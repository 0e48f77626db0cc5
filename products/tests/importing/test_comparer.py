"""The staged rows against each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from products.importing import comparer, stager
from products.importing.columns import read_layout
from products.importing.comparer import Duplicate
from products.models import Import

pytestmark = pytest.mark.django_db


@pytest.fixture
def import_() -> Import:
    """An import whose staging table is there."""
    import_ = Import.objects.create(state="PROGRESS", attempt=1, bytes_total=1)
    stager.create(import_)
    return import_


def stage(import_: Import, *rows: tuple[int, str, str | None]) -> str:
    table = stager.staging_table(import_)
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(f"INSERT INTO {table} (line_number, sku, name) VALUES (%s, %s, %s)", row)
    return table


def staged_lines(table: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT line_number FROM {table} ORDER BY 1")
        return [line for (line,) in cursor.fetchall()]


def take(table: str, *header: str, rule: Import.Duplicates = Import.Duplicates.LAST) -> Iterator[Duplicate]:
    return comparer.take_duplicates(table, read_layout(header, 1), rule)


def test_the_first_line_of_a_sku_may_count_instead(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", None), (4, "a", "2"))

    [duplicate] = take(table, "sku", "name", rule=Import.Duplicates.FIRST)

    assert duplicate == Duplicate(4, 2, "A", "a", ["a", "2"])
    assert staged_lines(table) == [2, 3]


def test_all_lines_of_a_sku_that_comes_twice_may_be_taken_out(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", None), (4, "a", "2"), (5, "A", "3"))

    duplicates = list(take(table, "sku", "name", rule=Import.Duplicates.REJECT))

    assert [(duplicate.line_number, duplicate.other_line) for duplicate in duplicates] == [(2, 5), (4, 2), (5, 2)]
    assert staged_lines(table) == [3]


def test_the_last_line_of_a_sku_counts_and_the_others_are_taken_out(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", None), (4, "a", "2"), (7, "C", "3"), (9, "A", "4"), (11, "b", "5"))

    duplicates = list(take(table, "sku", "name"))

    assert duplicates == [
        Duplicate(2, 9, "A", "A", ["A", "1"]),
        Duplicate(3, 11, "b", "B", ["B", ""]),
        Duplicate(4, 9, "A", "a", ["a", "2"]),
    ]
    assert staged_lines(table) == [7, 9, 11]


def test_where_no_sku_comes_twice_nothing_is_taken_out(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", "2"))

    assert list(take(table, "sku", "name")) == []
    assert staged_lines(table) == [2, 3]


def test_the_cells_stand_where_the_file_has_them(import_: Import) -> None:
    table = stage(import_, (2, "A", "Lamp"), (3, "A", "Lantern"))

    [duplicate] = take(table, "title", "price", "code")

    assert duplicate.cells == ["Lamp", "", "A"]
