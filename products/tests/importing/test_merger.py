"""How the staged rows are merged: by one plan, and with the catalogue to oneself. What comes of it
is in test_pipeline."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from products.importing import stager
from products.importing.statements import statement
from products.models import Import
from products.tests.importing.imports import execute, imported, numbered, other_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]


PARAMETERS = {"first_line": 2, "last_line": 1_000, "may_update": True, "may_create": True, "merged": True}
LOOKED_UP = re.compile(r"Index Scan using product_sku_unique on products_product p\S*\n\s+Index Cond: \(\(lower")


def plan_of(name: str, import_: Import) -> str:
    names = {"staging": stager.staging_table(import_), "changes": stager.changes_table(import_), "order": "DESC"}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement("merge_settings"))
        cursor.execute(statement("create_changes", **names))
        cursor.execute(
            "EXPLAIN (COSTS OFF) " + statement(name, **names),
            {**PARAMETERS, "import_id": uuid.uuid4(), "actor_id": None},
        )
        transaction.set_rollback(True)
        return "\n".join(line for (line,) in cursor.fetchall())


def nothing_known() -> None:
    """Statistics of a table that nobody has looked at."""


def analysed() -> None:
    execute_all("ANALYZE products_product")


def taken_for_empty() -> None:
    """As after an analysis in the middle of the first import, whose rows nobody else sees yet."""
    with other_session() as other:
        other.set_autocommit(False)
        execute(other, f"INSERT INTO products_product (sku, name) {some('B')}")
        execute_all("ANALYZE products_product")
        other.rollback()
    execute_all("SELECT 1 / (reltuples = 0 AND relpages > 0)::int FROM pg_class WHERE relname = 'products_product'")


def some(letter: str) -> str:
    return f"SELECT '{letter}-' || n, '' FROM generate_series(1, 3000) n"


def execute_all(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize("name", ["merge_chunk", "compare_chunk", "list_unmergeable"])
@pytest.mark.parametrize("catalogue", [nothing_known, analysed, taken_for_empty])
def test_each_row_is_looked_up_in_the_index_whatever_the_statistics_say(
    name: str, catalogue: Callable[[], None]
) -> None:
    import_ = Import.objects.create(state="PROGRESS", attempt=1, bytes_total=1)
    stager.create(import_)
    staging = stager.staging_table(import_)
    if catalogue is not taken_for_empty:
        execute_all(f"INSERT INTO products_product (sku, name) {some('A')}")
    execute_all(f"INSERT INTO {staging} (line_number, sku) SELECT n, 'A-' || n FROM generate_series(1, 3000) n")
    catalogue()

    plan = plan_of(name, import_)

    stager.drop(import_)
    assert LOOKED_UP.search(plan), plan
    assert "Seq Scan" not in plan


def test_what_the_merge_sets_ends_with_it() -> None:
    imported(numbered(3))

    with connection.cursor() as cursor:
        for setting in ("enable_hashjoin", "enable_mergejoin", "enable_material", "enable_seqscan"):
            cursor.execute(f"SHOW {setting}")
            assert cursor.fetchone() == ("on",)


def test_the_catalogue_is_free_again_after_an_import() -> None:
    imported(numbered(3))
    imported("name\nLamp\n")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchone() == (0,)
