"""Step 5: the staged rows into the catalogue, with their history, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from products import events, pushing
from products.importing.lease import ImportCancelledError, LeaseLostError, held
from products.importing.settler import Settler, take_catalogue
from products.importing.stager import Chunk
from products.importing.statements import statement
from products.models import Import
from products.models.catalogue import CurrentTransactionId
from products.pushing import last_change

MERGE_TRIES = 5
"""For one chunk, while somebody creates products with the skus of its rows."""


class CheckOutdatedError(Exception):
    """The catalogue has changed since the file was checked: applying it would do something else than was shown."""


def summarise_history() -> None:
    """Make the history of an import quick to read. For after the commit."""
    with connection.cursor() as cursor:
        cursor.execute(statement("summarise_history"))


def analyse_catalogue(rows_created: int) -> None:
    """Let the planner, and the pages that show its estimate, know of a catalogue that has grown much. For after the
    commit: within the import's transaction it would count the new rows as none, and autovacuum may take a minute.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT %s > 500 + reltuples / 10 FROM pg_class WHERE oid = 'products_product'::regclass", [rows_created]
        )
        if cursor.fetchone()[0]:
            cursor.execute("ANALYZE (SKIP_LOCKED) products_product")


@dataclass
class Merger(Settler):
    """Merges chunks within the transaction that its caller holds open."""

    def open(self) -> None:
        """Get the catalogue to ourselves, and the session ready. Raises what `Reporter.checkpoint` raises."""
        super().open()
        take_catalogue(self.reporter)
        self._history_before = last_change()
        self._rows = self._rows_new = 0  # merged so far

    def settle_chunk(self, chunk: Chunk) -> tuple[int, int, int]:
        """Numbers of skus compared, products created and products updated.

        MERGE does not see a product that another transaction creates meanwhile, and then fails on
        the unique index. The next statement sees it.

        Where all rows so far were new, those of the chunk are taken for new as well, and not looked up. If one is not,
        the same index says so; from then on all are looked up. Of a row without a name it could not tell.
        """
        all_new = 0 < self._rows == self._rows_new and not chunk.may_be_unmergeable
        names = {**self.names, "same_sku": "false"} if all_new else self.names
        self._rows += chunk.rows
        for last_try in [False] * (MERGE_TRIES - 1) + [True]:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute(statement("merge_chunk", **names), self.parameters_of(chunk))
                    counts: tuple[int, int, int] = cursor.fetchone()
                    self._rows_new += counts[1]
                    return counts
            except IntegrityError:
                names = self.names
                if last_try:
                    raise
        raise AssertionError  # the last try returns or raises

    def finish(self) -> None:
        """Write the final state and the event into the same transaction.

        Raises FileError if more rows were rejected than may be; CheckOutdatedError if what was merged is not what
        was shown; ImportCancelledError or LeaseLostError if the import was cancelled or given to another worker in
        the meantime. All of it for the transaction to be rolled back.
        """
        self.settle_missing("deactivate_missing")
        self.check_rejects()
        self.check_missing()
        if self.import_.staged_attempt is not None:
            self._check_against_check()
        finish(
            self.import_, changes_after=self._history_before, **self.reporter.details, **self.reporter.final_counts()
        )

    def _check_against_check(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement("whole_table_settings"))
            parameters = {**self.parameters, "after": self._history_before}
            cursor.execute(statement("differing_from_check", **self.names), parameters)
            if cursor.fetchone()[0]:
                raise CheckOutdatedError


def finish(import_: Import, **fields: object) -> None:
    """The final state and its events, for the transaction of the change itself.

    Raises ImportCancelledError or LeaseLostError if the import is no longer ours to finish.
    """
    changed = Import.objects.filter(held(import_), cancel_requested_at__isnull=True).update(
        state=Import.State.SUCCESS,
        phase=Import.Phase.FINISHED,
        percent=100,
        version=F("version") + 1,
        heartbeat_at=Now(),
        finished_at=Now(),
        lease_expires_at=None,
        staged_attempt=None,
        expires_at=None,
        changes_until=last_change(),
        changes_transaction=CurrentTransactionId(),
        **fields,
    )
    now = Import.objects.select_related("created_by").get(pk=import_.pk)
    if not changed:
        raise ImportCancelledError if now.cancel_requested_at else LeaseLostError
    pushing.request(now, now.created_by, after=now.changes_after or 0, total=now.products_changed)
    events.import_happened("import.undone" if import_.kind == Import.Kind.UNDO else "import.completed", now)
