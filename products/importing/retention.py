"""What is removed by age: files and reported rows of imports that have ended, and imports that came to nothing.

Nothing goes that an undo needs: that is the history of the products, and the row of the import, both of
which stay. All of it is done in batches, each a transaction of its own, so that it can be stopped between
any two and goes on the next night.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from common.stopping import stopping
from products.models import Import

BATCH = 200
"""Imports at a time."""
ROWS = 10_000
"""Reported rows at a time."""
DELETE_ROWS = """
    DELETE FROM products_reportedrow
     WHERE id IN (SELECT id FROM products_reportedrow WHERE import_id = %s LIMIT %s)
"""


def remove_files(days: int) -> int:
    """Remove files and reported rows of the imports that ended so many days ago; returns of how many imports."""
    removed = 0
    old = Import.objects.filter(state__in=Import.END_STATES, cleared_at=None, finished_at__lt=_before(days))
    while not stopping() and (batch := list(old.order_by("id")[:BATCH])):
        for import_ in batch:
            if import_.stored_file:
                default_storage.delete(import_.stored_file)  # first: cut off here, the row still knows of it
            if not _remove_rows(import_):
                return removed
            Import.objects.filter(pk=import_.pk).update(stored_file="", cleared_at=Now())
            removed += 1
    return removed


def _remove_rows(import_: Import) -> bool:
    """Remove the reported rows of an import, millions perhaps; False if that was broken off, to go on another time."""
    with connection.cursor() as cursor:
        while not stopping():
            cursor.execute(DELETE_ROWS, [import_.pk, ROWS])
            if cursor.rowcount < ROWS:
                return True
    return False


def remove_imports(days: int) -> int:
    """Remove the imports that ended so many days ago and changed nothing; returns how many.

    What changed something stays, also when it was undone: an undo of another import has to know whose changes
    were taken back.
    """
    nothing = Q(state__in=[Import.State.FAILURE, Import.State.CANCELLED]) | Q(
        state=Import.State.SUCCESS, rows_created=0, rows_updated=0, rows_deleted=0, products_deactivated=0
    )
    old = Import.objects.filter(nothing, undone_by=None, finished_at__lt=_before(days)).exclude(
        kind=Import.Kind.UNDO, state=Import.State.SUCCESS
    )
    removed = 0
    while not stopping() and (batch := list(old.order_by("id")[:BATCH])):
        for import_ in batch:
            if import_.stored_file:
                default_storage.delete(import_.stored_file)
            if not _remove_rows(import_):
                return removed
        Import.objects.filter(pk__in=[import_.pk for import_ in batch]).delete()
        removed += len(batch)
    return removed


def _before(days: int) -> Now:
    """That long ago, by the database's clock."""
    moment: Now = Now() - timedelta(days=days)  # type: ignore[assignment]
    return moment
