"""The fastest known way of others: duplicates found in a dict, COPY to a temporary table, and one upsert."""

from __future__ import annotations

import csv
from pathlib import Path

import peer
import psycopg

INCOMING = """
    CREATE TEMPORARY TABLE incoming (sku text, name text, description text, status text) ON COMMIT DROP
"""
UPSERT = """
    INSERT INTO {table} (sku, name, description, status)
    SELECT sku, name, description, status FROM incoming
        ON CONFLICT (lower(sku)) DO UPDATE
       SET name = excluded.name, description = excluded.description, status = excluded.status, updated_at = now()
"""


def load(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["sku"].lower(): row for row in csv.DictReader(file)}
    with psycopg.connect(peer.database_url()) as connection, connection.cursor() as cursor:
        cursor.execute(INCOMING)
        with cursor.copy("COPY incoming (sku, name, description, status) FROM STDIN") as copy:
            for row in rows.values():
                copy.write_row((row["sku"], row["name"], row["description"], row["status"]))
        cursor.execute(UPSERT.format(table=peer.table()))
    return len(rows)


if __name__ == "__main__":
    peer.run(load)
