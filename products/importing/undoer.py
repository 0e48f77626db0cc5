"""Undo: the inverse of what an import wrote, in one transaction; what was edited since is kept and listed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts import audit
from common.errors import ConflictError
from common.ids import uuid7
from products.importing.merger import finish
from products.importing.reporter import Reporter
from products.importing.rows import RowError
from products.importing.settler import take_catalogue
from products.importing.statements import statement, streamed
from products.models import Import
from products.pushing import last_change

if TYPE_CHECKING:
    from accounts.models import User


KEPT_CODES = {
    "edited_since": "The product was changed or deleted after the import, and is kept as it is.",
    "sku_taken": "The product was deleted, and another one has its sku by now.",
}
"""Why an undo leaves a product alone; docs/import-format.md lists the same."""


@transaction.atomic
def request_undo(import_: Import, *, user: User | None) -> Import:
    """Have an applied import undone; the answer is the undo, an import of its own that waits for a worker.

    Raises ConflictError if there is nothing to undo, or if it was or is being undone.
    """
    target = Import.objects.select_for_update(of=("self",)).get(pk=import_.pk)
    if target.state != Import.State.SUCCESS:
        raise ConflictError("Only what was applied can be undone, and this was not.", code="not_applied")
    if target.undone_by:
        raise ConflictError("This was undone already, or is being undone.", code="undone_already")
    if not target.products_changed or target.changes_until is None:
        raise ConflictError("This changed nothing, so there is nothing to undo.", code="nothing_to_undo")
    undo = Import.objects.create(
        id=uuid7(),
        kind=Import.Kind.UNDO,
        undoes=target,
        file_name=f"Undo of {target.file_name}"[:255],
        bytes_total=0,
        created_by=user,
        dispatched_at=Now(),
    )
    target.undone_by = undo.pk
    target.save(update_fields=["undone_by"])
    audit.record(user, "import.undone", target, {"by_import": str(undo.pk)})
    return undo


def undo(import_: Import, reporter: Reporter) -> None:
    """Do the undo `import_`. Raises what `Reporter.checkpoint` and `merger.finish` raise; then nothing is done."""
    target = Import.objects.get(undos=import_)
    reporter.details = {"header": ["sku"]}
    reporter.expect(target.products_changed)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statement("merge_settings"))
        take_catalogue(reporter)
        before = last_change()
        undoer = _Undoer(import_, target, reporter, json.dumps(_rows_of_undos()))
        low = target.changes_after or 0
        while low < (target.changes_until or 0):
            reporter.checkpoint()
            high = min(low + settings.IMPORT_BATCH_SIZE, target.changes_until or 0)
            undoer.undo_stretch(low, high)
            low = high
        finish(import_, changes_after=before, **reporter.details, **reporter.final_counts())


def _rows_of_undos() -> dict[str, str]:
    """Of each undo that was done: the first import of its row, which is what it undid or, if that was an undo too, what
    that one undid, and so on."""
    undos = Import.objects.filter(kind=Import.Kind.UNDO, state=Import.State.SUCCESS, undoes__isnull=False)
    rows: dict[str, str] = {}
    # The oldest first: only after an undo comes what may undo it.
    for undo_id, undone_id in undos.order_by("finished_at").values_list("pk", "undoes_id"):
        rows[str(undo_id)] = rows.get(str(undone_id), str(undone_id))
    return rows


@dataclass
class _Undoer:
    import_: Import
    target: Import
    reporter: Reporter
    rows: str
    """`_rows_of_undos` as JSON."""

    def undo_stretch(self, low: int, high: int) -> None:
        """What the import wrote into its history after `low` and up to `high`."""
        parameters: dict[str, Any] = {
            "low": low,
            "high": high,
            "undoes": self.target.pk,
            "import_id": self.import_.pk,
            "actor_id": self.import_.created_by_id,
            "rows": self.rows,
            "before": last_change(),
        }
        with connection.cursor() as cursor:
            cursor.execute(statement("undo_chunk"), parameters)
            looked_at, removed, restored, returned = cursor.fetchone()
            if looked_at > removed + restored + returned:
                with streamed(cursor, statement("list_kept"), parameters) as listing:
                    for row in listing:
                        self._keep(*row)
        self.reporter.changed(looked_at, created=returned, updated=restored, deleted=removed)

    def _keep(self, line_number: int | None, sku: str, action: str, version: int, seen: int | None) -> None:
        number = self.reporter.merging.rejected + 1
        place = f" (line {line_number:,} of the file)" if line_number else ""
        code = "edited_since"
        if action == "deleted":
            code, why = "sku_taken", "can't come back: another product has its sku by now"
        elif seen is None:
            why = "was deleted since, and stays so"
        else:
            why = f"was changed since, from version {version:,} to {seen:,}, and stays as it is"
        self.reporter.merging.reject(number, [sku], [RowError(number, "sku", code, f"The product {sku}{place} {why}.")])
