"""What merging and comparing have in common: chunk after chunk, until each staged row is settled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection

from products.catalogue import CATALOGUE_LOCK
from products.importing import validator
from products.importing.columns import UNSEEN
from products.importing.errors import FileError
from products.importing.formulas import MARK_OF_CELL
from products.importing.options import Limit
from products.importing.reporter import Reporter
from products.importing.stager import Chunk, changes_table, staging_table
from products.importing.statements import statement, streamed
from products.models import Import

LOCK_POLL_SECONDS = 0.1
"""Between two tries for the catalogue's lock. Waiting inside of PostgreSQL could not be cancelled."""
_REASONS = {
    "name_missing": validator.name_missing,
    "product_exists": validator.product_exists,
    "product_unknown": validator.product_unknown,
}
REJECTED_BY_CATALOGUE = tuple(_REASONS)
"""Codes of the rows that only the catalogue can show to be wrong."""


class CatalogueMovedError(OperationalError):
    """Somebody created a product of the file while a statement ran that could not see it yet, and did nothing with its
    row: the import is to be tried again."""


def take_catalogue(reporter: Reporter) -> None:
    """Have the catalogue to ourselves until the transaction ends. Raises what `Reporter.checkpoint` raises."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [CATALOGUE_LOCK])
            if cursor.fetchone()[0]:
                return
        reporter.checkpoint()
        time.sleep(LOCK_POLL_SECONDS)


@dataclass
class Settler:
    """Settles chunks within the transaction that its caller holds open."""

    import_: Import
    reporter: Reporter
    sku_at: int
    """Which cell of a row is its sku."""
    phase: Import.Phase = Import.Phase.MERGING
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = {"staging": staging_table(self.import_), "changes": changes_table(self.import_)}
        first = self.import_.duplicates == Import.Duplicates.FIRST
        self.names = {**self.tables, "order": "ASC" if first else "DESC"}
        self.parameters = {
            "import_id": self.import_.pk,
            "actor_id": self.import_.created_by_id,
            "may_create": self.import_.mode != Import.Mode.UPDATE,
            "may_update": self.import_.mode != Import.Mode.CREATE,
            "merged": self.phase == Import.Phase.MERGING,
            "sku_at": self.sku_at,
            "mark": MARK_OF_CELL,
            "unseen": f"[{UNSEEN}]",
        }

    def open(self) -> None:
        """Get ready, before the first chunk. Raises what `Reporter.checkpoint` raises."""
        with connection.cursor() as cursor:
            cursor.execute(statement("merge_settings"))

    def settle(self, chunks: Iterable[Chunk]) -> None:
        """Settle one chunk after the other; between two of them the import can be stopped."""
        for chunk in chunks:
            self.reporter.checkpoint()
            compared, created, updated = self.settle_chunk(chunk)
            rejected = self._list_unmergeable(chunk)
            self.reporter.settled(
                self.phase, chunk.bytes_read, compared, created=created, updated=updated, rejected=rejected
            )

    def settle_chunk(self, chunk: Chunk) -> tuple[int, int, int]:
        """Numbers of skus compared, products created and products updated."""
        raise NotImplementedError

    def settle_missing(self, statement_name: str) -> None:
        """Mode sync: deactivate or list the products that the file lacks, and count them for `check_missing`."""
        if self.import_.mode != Import.Mode.SYNC:
            return
        with connection.cursor() as cursor:
            cursor.execute(statement("whole_table_settings"))
            cursor.execute(statement(statement_name, **self.names), self.parameters)
            deactivated, active = cursor.fetchone()
        self.reporter.products_deactivated = deactivated
        self.reporter.products_active = active

    def check_rejects(self) -> None:
        """Raise FileError if more rows were rejected than may be."""
        self.reporter.check_rejects()
        if self.import_.on_error == Import.OnError.ABORT:
            self.reporter.check_none_rejected()

    def check_missing(self) -> None:
        """Raise FileError if more products would be deactivated than may be."""
        limit = Limit.parse(self.import_.max_deactivated)
        deactivated, active = self.reporter.products_deactivated, self.reporter.products_active
        if limit.exceeded(deactivated, active):
            raise FileError(
                f"{deactivated:,} of {active:,} active products are not in the file and would become inactive, more "
                f"than {limit.words('active products')}. Is this the whole catalogue? If so, apply it with a higher "
                "max_deactivated.",
                code="too_many_deactivated",
            )

    def _list_unmergeable(self, chunk: Chunk) -> int:
        """Report the rows that the merge passed over; returns how many. Raises CatalogueMovedError."""
        if not chunk.may_be_unmergeable:
            return 0
        count = 0
        sql = statement("list_unmergeable", **self.names)
        with connection.cursor() as cursor, streamed(cursor, sql, self.parameters_of(chunk)) as listing:
            for line_number, code, sku, cells in listing:
                if code == "missed":
                    raise CatalogueMovedError("Somebody created a product of the file while it was being written.")
                self.reporter.merging.reject(line_number, json.loads(cells), [_REASONS[code](line_number, sku)])
                count += 1
        return count

    def parameters_of(self, chunk: Chunk) -> dict[str, Any]:
        return {**self.parameters, "first_line": chunk.first_line, "last_line": chunk.last_line}
