"""Step 5: the staged rows into the catalogue, with their history, in one transaction."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from products.catalogue import CATALOGUE_LOCK
from products.importing import validator
from products.importing.lease import ImportCancelledError, LeaseLostError, held
from products.importing.reporter import Reporter
from products.importing.stager import Chunk, staging_table
from products.importing.statements import statement
from products.models import Import
from products.progress import document
from webhooks import outbox

LOCK_POLL_SECONDS = 0.1
"""Between two tries for the catalogue's lock. Waiting inside of PostgreSQL could not be cancelled."""
MERGE_TRIES = 5
"""For one chunk, while somebody creates products with the skus of its rows."""
_REASONS = {
    "name_missing": validator.name_missing,
    "product_exists": validator.product_exists,
    "product_unknown": validator.product_unknown,
}
REJECTED_BY_MERGE = tuple(_REASONS)
"""Codes of the rows that only the catalogue can show to be wrong."""


def summarise_history() -> None:
    """Make the history of an import quick to read. For after the commit."""
    with connection.cursor() as cursor:
        cursor.execute(statement("summarise_history"))


@dataclass
class Merger:
    """Merges chunks within the transaction that its caller holds open."""

    import_: Import
    reporter: Reporter
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.staging = staging_table(self.import_)
        self._creates_only = self.import_.mode == Import.Mode.CREATE
        self.parameters = {
            "import_id": self.import_.pk,
            "actor_id": self.import_.created_by_id,
            "may_create": self.import_.mode != Import.Mode.UPDATE,
            "may_update": self.import_.mode != Import.Mode.CREATE,
        }

    def open(self) -> None:
        """Get the catalogue to ourselves, and the session ready. Raises what `Reporter.checkpoint` raises."""
        with connection.cursor() as cursor:
            cursor.execute(statement("merge_settings", staging=self.staging))
            while not self._lock_taken():
                self.reporter.checkpoint()
                time.sleep(LOCK_POLL_SECONDS)

    def merge(self, chunks: Iterable[Chunk]) -> None:
        """Merge one chunk after the other; between two of them the import can be stopped."""
        for chunk in chunks:
            self.reporter.checkpoint()
            # What is listed as rejected must not be applied by the merge, although others write in between.
            rejected = self._list_unmergeable(chunk) if self._creates_only else 0
            compared, created, updated = self._merge_chunk(chunk)
            rejected += self._list_unmergeable(chunk) if not self._creates_only else 0
            self.reporter.merged(chunk.bytes_read, compared, created=created, updated=updated, rejected=rejected)

    def finish(self) -> None:
        """Write the final state and the event into the same transaction.

        Raises FileError if more rows were rejected than may be, and ImportCancelledError or
        LeaseLostError if the import was cancelled or given to another worker in the meantime: for
        the transaction to be rolled back.
        """
        self.reporter.check_rejects()
        if self.import_.on_error == Import.OnError.ABORT:
            self.reporter.check_none_rejected()
        counts = self.reporter.final_counts()
        changed = Import.objects.filter(held(self.import_), cancel_requested_at__isnull=True).update(
            state=Import.State.SUCCESS,
            phase=Import.Phase.FINISHED,
            percent=100,
            version=F("version") + 1,
            heartbeat_at=Now(),
            finished_at=Now(),
            lease_expires_at=None,
            **self.reporter.details,
            **counts,
        )
        import_ = Import.objects.select_related("created_by").get(pk=self.import_.pk)
        if not changed:
            raise ImportCancelledError if import_.cancel_requested_at else LeaseLostError
        outbox.publish("import.completed", dict(document(import_)))

    def _lock_taken(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [CATALOGUE_LOCK])
            return bool(cursor.fetchone()[0])

    def _merge_chunk(self, chunk: Chunk) -> tuple[int, int, int]:
        """Numbers of skus compared, products created and products updated.

        MERGE does not see a product that another transaction creates meanwhile, and then fails on
        the unique index. The next statement sees it.
        """
        for last_try in [False] * (MERGE_TRIES - 1) + [True]:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute(statement("merge_chunk", staging=self.staging), self._parameters(chunk))
                    counts: tuple[int, int, int] = cursor.fetchone()
                    return counts
            except IntegrityError:
                if last_try:
                    raise
        raise AssertionError  # the last try returns or raises

    def _list_unmergeable(self, chunk: Chunk) -> int:
        """Report the rows that the merge passes over; returns how many."""
        if not chunk.may_be_unmergeable:
            return 0
        with connection.cursor() as cursor:
            count = 0
            listing = cursor.stream(statement("list_unmergeable", staging=self.staging), self._parameters(chunk))
            for line_number, code, sku, cells in listing:
                self.reporter.merging.reject(line_number, json.loads(cells), [_REASONS[code](line_number, sku)])
                count += 1
            return count

    def _parameters(self, chunk: Chunk) -> dict[str, Any]:
        return {**self.parameters, "first_line": chunk.first_line, "last_line": chunk.last_line}
