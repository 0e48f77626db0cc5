"""How the staged rows are merged: by one plan, and with the catalogue to oneself. What comes of it
is in test_pipeline."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection, transaction

from products.importing import stager
from products.importing.statements import statement
from products.models import Import
from products.tests.importing.imports import imported, numbered

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]


def plan_of_merge(staging: str) -> str:
    parameters = {"first_line": 2, "last_line": 1_000, "may_update": True, "may_create": True}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement("merge_settings", staging=staging))
        cursor.execute(
            "EXPLAIN " + statement("merge_chunk", staging=staging),
            {**parameters, "import_id": uuid.uuid4(), "actor_id": None},
        )
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize("analysed", [False, True])
def test_each_row_is_looked_up_in_the_index_whatever_the_statistics_say(analysed: bool) -> None:
    import_ = Import.objects.create(state="PROGRESS", attempt=1, bytes_total=1)
    stager.create(import_)
    staging = stager.staging_table(import_)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO products_product (sku, name) SELECT 'A-' || n, '' FROM generate_series(1, 3000) n")
        cursor.execute(f"INSERT INTO {staging} (line_number, sku) SELECT n, 'A-' || n FROM generate_series(1, 3000) n")
        if analysed:
            cursor.execute(f"ANALYZE products_product, {staging}")

    plan = plan_of_merge(staging)

    stager.drop(import_)
    assert "Index Scan using product_sku_unique" in plan
    assert "Seq Scan" not in plan
    assert "Nested Loop" in plan


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
