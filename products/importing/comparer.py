"""Step 4: the staged file against itself and, where it is only checked, against the catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from products.importing.columns import DESCRIPTION, NAME, SKU, STATUS, Layout
from products.importing.lease import ImportCancelledError, LeaseLostError, held
from products.importing.settler import Settler
from products.importing.stager import Chunk
from products.importing.statements import statement, streamed
from products.models import Import

COUNTING = {
    Import.Duplicates.LAST: {"counting_line": "last", "is_void": "line_number < last"},
    Import.Duplicates.FIRST: {"counting_line": "first", "is_void": "line_number > first"},
    Import.Duplicates.REJECT: {
        "counting_line": "CASE WHEN line_number = first THEN last ELSE first END",
        "is_void": "first < last",
    },
}
"""By what is wanted of lines with the same sku: the other line that a void one is told of, and which are void."""


class Duplicate(NamedTuple):
    """A line that another one of the same sku makes void."""

    line_number: int
    other_line: int
    """The one that counts, if one does."""
    other_sku: str
    """As it stands there: perhaps in other letters of the two cases."""
    sku: str
    cells: list[str]


def take_duplicates(staging: str, layout: Layout, rule: Import.Duplicates) -> Iterator[Duplicate]:
    """The lines that another line of the same sku makes void, in order. They are gone from the staging
    table when the iterator is used up."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")  # the merge has the other processor
        cursor.execute(statement("has_duplicates", staging=staging))
        if not cursor.fetchone()[0]:
            return
        with streamed(cursor, statement("take_duplicates", staging=staging, **COUNTING[rule])) as listing:
            for line_number, other_line, other_sku, cells, attributes, *values in listing:
                found = json.loads(cells) if cells else _cells(values, json.loads(attributes or "{}"), layout)
                yield Duplicate(line_number, other_line, other_sku, values[0], found)


def _cells(values: list[str | None], attributes: dict[str, str | None], layout: Layout) -> list[str]:
    """The values where the file has them; what it has beside them was not staged."""
    cells = [""] * len(layout.header)
    for column, value in zip((SKU, NAME, DESCRIPTION, STATUS), values, strict=True):
        if column.name in layout.positions:
            cells[layout.positions[column.name]] = value or ""
    for name, position in layout.attributes.items():
        cells[position] = attributes.get(name) or ""
    return cells


@dataclass
class Comparer(Settler):
    """Lists what a merge would change, within the transaction that its caller holds open."""

    phase: Import.Phase = Import.Phase.COMPARING

    def open(self) -> None:
        """Make the list anew."""
        super().open()
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS {changes}".format(**self.tables))
            cursor.execute(statement("create_changes", **self.tables))

    def settle_chunk(self, chunk: Chunk) -> tuple[int, int, int]:
        with connection.cursor() as cursor:
            cursor.execute(statement("compare_chunk", **self.names), self.parameters_of(chunk))
            counts: tuple[int, int, int] = cursor.fetchone()
            return counts

    def finish(self, *, stale: bool) -> None:
        """Let the import wait for a decision. Raises as `Merger.finish` does."""
        self.settle_missing("list_missing")
        self.check_rejects()
        with connection.cursor() as cursor:
            cursor.execute(statement("index_changes", **self.tables))
        changed = Import.objects.filter(held(self.import_), cancel_requested_at__isnull=True).update(
            state=Import.State.PENDING,
            phase=Import.Phase.CHECKED,
            percent=100,
            version=F("version") + 1,
            heartbeat_at=Now(),
            lease_expires_at=None,
            checked_at=Now(),
            staged_attempt=self.import_.staged_attempt or self.import_.attempt,
            stale=stale,
            apply_requested_at=None,
            expires_at=Now() + timedelta(hours=settings.IMPORT_CHECK_HOURS),
            **self.reporter.details,
            **self.reporter.final_counts(),
        )
        if not changed:
            now = Import.objects.get(pk=self.import_.pk)
            raise ImportCancelledError if now.cancel_requested_at else LeaseLostError
