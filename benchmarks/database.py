"""What is done to the database around and instead of an import."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

BLOCK = 1 << 18
RAW = "bench_raw"
COPY_OF_PRODUCTS = """
    DROP TABLE IF EXISTS {table};
    CREATE TABLE {table} (LIKE products_product INCLUDING ALL) WITH (fillfactor = 90)
"""
"""Columns, defaults, constraints and indexes of the catalogue; LIKE leaves out the fill factor alone."""


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True)


def make_copy_of_products(connection: psycopg.Connection, table: str) -> None:
    """An empty table like the catalogue's."""
    connection.execute(COPY_OF_PRODUCTS.format(table=table))


def empty_catalogue(connection: psycopg.Connection) -> None:
    connection.execute("SET odata.prune_history = 'on'")
    connection.execute("TRUNCATE products_product, products_productchange, products_reportedrow")


def settle(connection: psycopg.Connection, *tables: str) -> None:
    """Do by hand what the server would do at a time of its own, so that no measurement meets it by chance."""
    for table in tables or ("products_product", "products_productchange", "products_import"):
        connection.execute(f"VACUUM (ANALYZE) {table}")
    connection.execute("CHECKPOINT")


def raw_copy(connection: psycopg.Connection, path: Path) -> float:
    """Seconds of COPY of the file into an empty table like the catalogue's, commit included."""
    make_copy_of_products(connection, RAW)
    connection.execute("CHECKPOINT")
    started = time.perf_counter()
    with (
        path.open("rb") as file,
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy(f"COPY {RAW} (sku, name, description, status) FROM STDIN (FORMAT csv, HEADER)") as copy,
    ):
        while block := file.read(BLOCK):
            copy.write(block)
    seconds = time.perf_counter() - started
    connection.execute(f"DROP TABLE {RAW}")
    return seconds
