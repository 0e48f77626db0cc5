"""A history that nobody made: what tests need, and the service refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def history_rewritten() -> Iterator[None]:
    """In here the history of products may be changed."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE products_productchange DISABLE TRIGGER history_never_changed")
        yield
        cursor.execute("ALTER TABLE products_productchange ENABLE TRIGGER history_never_changed")
