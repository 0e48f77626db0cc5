"""The staged rows against each other."""

from __future__ import annotations

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


def test_the_last_line_of_a_sku_counts_and_the_others_are_taken_out(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", None), (4, "a", "2"), (7, "C", "3"), (9, "A", "4"), (11, "b", "5"))

    duplicates = list(comparer.take_duplicates(table, read_layout(["sku", "name"], 1)))

    assert duplicates == [
        Duplicate(2, 9, ["A", "1"]),
        Duplicate(3, 11, ["B", ""]),
        Duplicate(4, 9, ["a", "2"]),
    ]
    assert staged_lines(table) == [7, 9, 11]


def test_where_no_sku_comes_twice_nothing_is_taken_out(import_: Import) -> None:
    table = stage(import_, (2, "A", "1"), (3, "B", "2"))

    assert list(comparer.take_duplicates(table, read_layout(["sku", "name"], 1))) == []
    assert staged_lines(table) == [2, 3]


def test_the_cells_stand_where_the_file_has_them(import_: Import) -> None:
    table = stage(import_, (2, "A", "Lamp"), (3, "A", "Lantern"))

    [duplicate] = comparer.take_duplicates(table, read_layout(["title", "price", "code"], 1))

    assert duplicate.cells == ["Lamp", "", "A"]
