"""Step 6: what became of the rows, told while it happens and kept afterwards.

The pipeline's two threads count here; a thread of its own writes the counts to the import's row, at
most four times a second. The same write renews the lease and brings back whether to go on.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import Count, F
from django.db.models.functions import Now

from common.request_ids import working_for
from common.stopping import stopping
from products.importing.errors import FileError
from products.importing.lease import ImportCancelledError, LeaseLostError, WorkerStopsError, held, lease_time
from products.importing.lines import READ_AHEAD
from products.importing.options import Limit
from products.importing.report import repaired_in_vain
from products.importing.rows import RowError
from products.models import Import, ReportedRow
from products.progress import publish

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SNAPSHOTS = 0.25
READING_SHARE = 0.3
"""Of the whole import, for the percentage: reading and checking takes about this part of the time."""
MARGIN_OF_ESTIMATE = 2
"""A file is stopped early only when it has this many times the rejects that it may have: how many
rows it has is an estimate until its end."""
ROWS_AT_A_TIME = 500
SUMMANDS = ("rows_created", "rows_updated", "rows_deleted", "rows_unchanged", "rows_rejected", "rows_duplicate")
"""Every row that was read is exactly one of these."""


class RowLog:
    """The rows that are not applied, on their way to where people can read them.

    Each thread has its own. It has a connection of its own too: what is listed stays listed when
    the merge is rolled back.
    """

    def __init__(self, import_: Import) -> None:
        self.rejected = self.duplicate = self.repaired = 0
        self._import = import_
        self._waiting: list[tuple[str, int, str, str]] = []
        self._connection = connection.copy()
        self._connection.inc_thread_sharing()  # made and closed by one thread, used by another

    def reject(self, line_number: int, cells: list[str], errors: Sequence[RowError]) -> None:
        """This row is not applied, for these reasons."""
        self.rejected += 1
        self._add(ReportedRow.Outcome.REJECTED, line_number, cells, errors)

    def void(self, line_number: int, cells: list[str], error: RowError, *, rejected: bool) -> None:
        """This row is not applied, since another line has the same sku."""
        if rejected:
            self.reject(line_number, cells, [error])
            return
        self.duplicate += 1
        self._add(ReportedRow.Outcome.DUPLICATE, line_number, cells, [error])

    def repair(self, line_number: int, cells: list[str], repairs: Sequence[RowError]) -> None:
        """This row is applied, after something in it was put right beyond doubt."""
        self.repaired += 1
        self._add(ReportedRow.Outcome.REPAIRED, line_number, cells, repairs)

    def save(self) -> None:
        """Write what waits, if the import is still this attempt's. A row that is there already stays as it is: an
        attempt that was given up for dead may have written it just before, from the same line."""
        if not self._waiting:
            return
        outcomes, lines, errors, cells = zip(*self._waiting, strict=True)
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO products_reportedrow (import_id, outcome, line_number, errors, cells) "
                "SELECT id, rows.* FROM unnest(%s::text[], %s::bigint[], %s::jsonb[], %s::jsonb[]) AS rows "
                "JOIN products_import ON id = %s AND attempt = %s AND state = 'PROGRESS' ON CONFLICT DO NOTHING",
                [list(outcomes), list(lines), list(errors), list(cells), self._import.pk, self._import.attempt],
            )
        self._waiting.clear()

    def forget(self, codes: Sequence[str]) -> None:
        """Take back what was rejected for one of these reasons."""
        self.rejected = 0
        self._waiting.clear()
        with self._connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM products_reportedrow "
                "WHERE import_id = %s AND outcome = 'rejected' AND errors -> 0 ->> 'code' = ANY(%s)",
                [self._import.pk, list(codes)],
            )

    def close(self) -> None:
        self._connection.close()

    def _add(self, outcome: str, line_number: int, cells: list[str], errors: Sequence[RowError]) -> None:
        reasons = [{"column": e.column, "code": e.code, "message": e.message} for e in errors]
        self._waiting.append((outcome, line_number, json.dumps(reasons), json.dumps(cells)))
        if len(self._waiting) >= ROWS_AT_A_TIME:
            self.save()


class Reporter:
    """The counts of one attempt. A context manager: snapshots are written while it is entered."""

    def __init__(self, import_: Import) -> None:
        self.phase = Import.Phase.STAGING
        self.staged = RowLog(import_)
        """For the stager's thread."""
        self.merging = RowLog(import_)
        """For the merger's thread."""
        self._import = import_
        self._max_rejects = Limit.parse(import_.max_rejects)
        self._rows_read = self._bytes_read = 0
        self._rows_expected = 0
        self._deleted = 0
        self.products_deactivated = 0
        """That the file lacks, in mode sync ..."""
        self.products_active = 0
        """... of so many."""
        self.start_over()
        self._percent = 0.0
        self.details: dict[str, Any] = {}
        """What the header row said, for the import's row. A file may be done before the first snapshot."""
        self._halt: type[Exception] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_snapshots, name="import-reporter", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.staged.close()
        self.merging.close()

    # --- counting ------------------------------------------------------------------------------

    def opened(
        self, header: list[str], ignored_columns: list[str], mapping: Mapping[str, str], detected: Mapping[str, Any]
    ) -> None:
        """The file is read as `detected` says and has this header row; these of its columns are left out, and the
        others go as mapped or by name."""
        self.details = {
            "header": header,
            "ignored_columns": ignored_columns,
            "mapping": dict(mapping),
            "detected": dict(detected),
        }

    def read(self, rows: int, bytes_read: int) -> None:
        """So many more rows were read. Raises FileError when too many are rejected, and as `checkpoint`."""
        self._rows_read += rows
        self._bytes_read = bytes_read
        self.staged.save()
        # What the merge rejects is not held against the file here: a later line may yet make it void.
        self._check_rejects_so_far(self.staged.rejected)
        self.checkpoint()

    def go_on_from_check(self, codes_of_merge: Sequence[str]) -> None:
        """The file was read by an earlier attempt: take over what is known of it, but for what the catalogue said."""
        self._rows_read, self._bytes_read = self._import.rows_read, self._import.bytes_total
        self.merging.forget(codes_of_merge)
        outcomes = self._import.reported_rows.values_list("outcome").annotate(number=Count("pk"))
        found = dict(outcomes.values_list("outcome", "number"))
        self.staged.rejected = found.get(ReportedRow.Outcome.REJECTED, 0)
        self.staged.duplicate = found.get(ReportedRow.Outcome.DUPLICATE, 0)
        self.staged.repaired = found.get(ReportedRow.Outcome.REPAIRED, 0)

    def start_over(self) -> None:
        """No row is settled (any more)."""
        self._bytes_settled = self._compared = self._created = self._updated = self._passed_over = 0

    def settled(
        self, phase: Import.Phase, bytes_read: int, compared: int, *, created: int, updated: int, rejected: int
    ) -> None:
        """A chunk, which ends at this byte of the file, was merged or compared. Raises FileError as `read` does."""
        self.phase = phase
        self._bytes_settled = bytes_read
        self._compared += compared
        self._created += created
        self._updated += updated
        self._passed_over += rejected
        self.merging.save()
        if rejected:
            self._check_rejects_so_far(self.rows_rejected)

    def expect(self, rows: int) -> None:
        """Of an undo or a bulk change: so many products are to be looked at."""
        self._rows_expected = rows

    def changed(self, rows: int, *, created: int = 0, updated: int = 0, deleted: int = 0, unchanged: int = 0) -> None:
        """Of an undo or a bulk change: so many more were looked at, and this became of them."""
        self.phase = Import.Phase.MERGING
        self._rows_read += rows
        self._created += created
        self._updated += updated
        self._deleted += deleted
        self._compared += created + updated + unchanged
        self.merging.save()

    def check_rejects(self) -> None:
        """Raise FileError if too many of the rows, which are all read, are rejected."""
        self._check_rejects(self.rows_rejected, self._rows_read)

    def check_none_rejected(self) -> None:
        """Raise FileError if any row is rejected: for imports that apply all of a file or nothing."""
        if self.rows_rejected:
            raise FileError(
                f"{self.rows_rejected:,} of {self._rows_read:,} rows can't be applied, and this import was to apply "
                "all or nothing, so nothing was applied. Correct the rejected rows, or import with on_error=skip.",
                code="rows_rejected",
            )

    def checkpoint(self) -> None:
        """Raise ImportCancelledError, LeaseLostError or WorkerStopsError if this attempt is to stop. Nothing was
        applied by then."""
        if self._halt:
            raise self._halt
        if stopping():
            raise WorkerStopsError

    @property
    def rows_rejected(self) -> int:
        return self.staged.rejected + self.merging.rejected

    @property
    def counts(self) -> dict[str, int]:
        """The counts so far, by the names of the import's fields."""
        return {
            "bytes_read": self._bytes_read,
            "rows_read": self._rows_read,
            "rows_created": self._created,
            "rows_updated": self._updated,
            "rows_unchanged": self._compared - self._created - self._updated - self._passed_over,
            "rows_rejected": self.rows_rejected,
            "rows_duplicate": self.staged.duplicate,
            "rows_deleted": self._deleted,
            "rows_repaired": self.staged.repaired,
            "products_deactivated": self.products_deactivated,
        }

    def final_counts(self) -> dict[str, int]:
        """The counts, which now add up. Raises RuntimeError if they don't: then rows were lost, by a fault of ours."""
        counts = self.counts
        parts = sum(counts[name] for name in SUMMANDS)
        if parts != counts["rows_read"]:
            raise RuntimeError(f"the rows don't add up: {counts}")
        if counts["rows_repaired"] and (counts["rows_rejected"] or counts["rows_duplicate"]):
            counts["rows_repaired"] -= repaired_in_vain(self._import)
        return counts

    def _check_rejects_so_far(self, rejected: int) -> None:
        bytes_of_rows = self._bytes_read - READ_AHEAD
        expected = self._rows_read * self._import.bytes_total / bytes_of_rows if bytes_of_rows > 0 else math.inf
        self._check_rejects(rejected, expected * MARGIN_OF_ESTIMATE)

    def _check_rejects(self, rejected: int, rows: float) -> None:
        if self._max_rejects.exceeded(rejected, rows):
            raise FileError(self._max_rejects.sentence(rejected, self._rows_read), code="too_many_rejects")

    # --- telling -------------------------------------------------------------------------------

    def write_snapshot(self) -> None:
        """Write the counts to the import's row, renew the lease, and tell the watchers."""
        # Never back, even where a merge is begun again; and 100 is only said of what has ended.
        self._percent = max(self._percent, min(99.0, self._share_done()))
        with transaction.atomic():
            changed = Import.objects.filter(held(self._import)).update(
                phase=self.phase,
                percent=self._percent,
                version=F("version") + 1,
                heartbeat_at=Now(),
                lease_expires_at=Now() + lease_time(),
                **self.details,
                **self.counts,
            )
            import_ = Import.objects.select_related("created_by").get(pk=self._import.pk)
        if not changed:
            self._halt = LeaseLostError
        elif import_.cancel_requested_at:
            self._halt = ImportCancelledError
        publish(import_)

    def _share_done(self) -> float:
        """In percent."""
        if self._import.kind != Import.Kind.FILE:
            return 100 * self._rows_read / max(self._rows_expected, 1)
        reading_share = READING_SHARE if self._import.staged_attempt is None else 0
        done = self._bytes_settled * (1 - reading_share) + self._bytes_read * reading_share
        return 100 * done / max(self._import.bytes_total, 1)

    def _write_snapshots(self) -> None:
        with working_for(self._import.request_id):
            self._write_snapshots_until_stopped()

    def _write_snapshots_until_stopped(self) -> None:
        try:
            while not self._stop.wait(SECONDS_BETWEEN_SNAPSHOTS):
                try:
                    self.write_snapshot()
                except DatabaseError as error:
                    # The lease goes on running: if it ends before the database is back, it is lost rightly.
                    logger.warning("snapshot_not_written: %s", error)
                    connection.close()
        finally:
            connection.close()
