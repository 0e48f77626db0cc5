"""How a test with transactions of its own leaves the database: as `migrate` left it.

Django would truncate every table and have each app look for its kinds of rows, permissions and roles again: a fifth
of a second, a thousand times. Here only what holds rows is emptied, and what `migrate` made is made again only where
a test changed it.
"""

from __future__ import annotations

from typing import Any

from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, transaction
from django.test import TransactionTestCase
from psycopg.errors import LockNotAvailable

from common.tests.waiting import wait_until

MADE = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
"""Filled by `migrate`. Kinds of rows keep their ids: a web process that runs beside the tests remembers them."""

LARGE = 1 << 20
"""Bytes of a table from which on truncating it is the cheaper way, and leaves no dead rows to read past."""

NEVER_TRUNCATED = {"accounts_auditentry": "audit_never_truncated", "products_productchange": "history_never_truncated"}
"""The tables of the audit log and the history of products, each with the trigger that forbids it."""

_as_made: list[Any] = []


def prepare() -> None:
    """Once the tests' database is there: allow it to be emptied, and remember what is to stay."""
    with connection.cursor() as cursor:
        for table, trigger in NEVER_TRUNCATED.items():
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    _as_made[:] = _what_is_made()
    TransactionTestCase._fixture_teardown = _empty_after  # type: ignore[attr-defined]


def _empty_after(case: TransactionTestCase) -> None:
    """Wait for transactions that still run, remove all rows, and leave what `migrate` makes as it was.

    Fails the test where others hold the tables for too long.
    """
    wait_until(_empty, "nobody holds the tables any more")
    if _what_is_made() != _as_made:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE auth_group CASCADE")
        emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)
        _as_made[:] = _what_is_made()


def _empty() -> bool:
    """Remove all rows, unless somebody holds a table: who waits for one with the others in hand may block them."""
    tables = [name for name in connection.introspection.django_table_names(only_existing=True) if name not in MADE]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE NOWAIT")
            cursor.execute(" UNION ALL ".join(_look_into(name) for name in tables))
            sizes = dict(cursor.fetchall())
            if sizes and max(sizes.values()) < LARGE and _may_silence_triggers():
                cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger, and no order to keep to
                cursor.execute("; ".join(f"DELETE FROM {name}" for name in sizes))
            elif sizes:
                cursor.execute(f"TRUNCATE {', '.join(tables)}")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True


def _may_silence_triggers() -> bool:
    """Not everybody may on a server that DATABASE_URL names."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        return bool(cursor.fetchone()[0])


def _look_into(table: str) -> str:
    """A row with its name and size in bytes, partitions counted in, where it holds anything."""
    size = f"greatest(pg_relation_size('{table}'), sum(pg_relation_size(relid)))"
    return f"SELECT '{table}', (SELECT {size} FROM pg_partition_tree('{table}')) WHERE EXISTS (SELECT FROM {table})"


def _what_is_made() -> list[Any]:
    """What `migrate` made: a digest of each table's rows, and the names of the partitions."""
    columns = [f"(SELECT md5(string_agg(made::text, ',' ORDER BY id)) FROM {table} AS made)" for table in MADE]
    columns.append("(SELECT array_agg(inhrelid ORDER BY inhrelid) FROM pg_inherits)")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}")
        return list(cursor.fetchone())
