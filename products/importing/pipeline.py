"""The story of an import, from the claim to the end of it.

Two threads share the work. One reads, judges and stages the file, a chunk at a time (`staging`); the
other merges the chunks as they land, all in one transaction, so that a file that turns out bad at
its last line still leaves nothing behind. A file that is only checked is compared instead of merged.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from functools import partial

import psycopg
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, connection, transaction

from common.errors import StoreUnavailableError
from common.explain import is_database_away
from common.request_ids import working_for
from products.importing import bulk, columns, lease, stager, undoer
from products.importing.comparer import Comparer
from products.importing.errors import FileError
from products.importing.lease import ImportCancelledError, LeaseLostError, WorkerStopsError, held
from products.importing.merger import CheckOutdatedError, Merger, analyse_catalogue, summarise_history
from products.importing.reporter import Reporter
from products.importing.settler import REJECTED_BY_CATALOGUE, Settler
from products.importing.staging import CollidedError, Staging
from products.models import Import, ReportedRow
from products.progress import publish

logger = logging.getLogger(__name__)


FAULT_OF_OURS = "A fault of this service ended the import; nothing was applied. Its operator finds why in the logs."
DATABASE_IN_THE_WAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
"""Not the file's fault, and not ours: a later attempt may well do. COPY raises the driver's own errors."""


def run(import_id: uuid.UUID, *, worker: str) -> bool:
    """Do the import, if it waits to be done. Every way that this can end is written to its row.

    False if this worker stops and another one is to be told of the import.
    """
    import_ = lease.claim(import_id, worker)
    if import_ is None:
        return True
    with working_for(import_.request_id):
        return _run_claimed(import_)


def _run_claimed(import_: Import) -> bool:
    import_id = import_.pk
    publish(import_)
    logger.info("import_started", extra={"import_id": str(import_id), "attempt": import_.attempt})
    try:
        if import_.staged_attempt is not None and not _staging_is_whole(import_):
            import_ = lease.check_again(import_)
        _attempt(import_)
    except FileError as error:
        lease.fail(import_, error.code, error.detail)
    except ImportCancelledError:
        lease.cancelled(import_)
    except WorkerStopsError:
        return not lease.hand_over(import_)
    except LeaseLostError:
        _say_lease_lost(import_)
    except StoreUnavailableError as error:
        lease.give_back_when_possible(import_, error.detail)
    except DATABASE_IN_THE_WAY as error:
        # Also after a COMMIT whose answer was lost: if it was done, the row no longer is this attempt's.
        why = " ".join(str(error).split())
        told = {"import_id": str(import_id), "error": why}
        logger.warning("import_interrupted", extra=told, exc_info=not is_database_away(error))
        lease.give_back_when_possible(import_, why)
    except Exception:
        if not Import.objects.filter(held(import_)).exists():
            _say_lease_lost(import_)  # an attempt that was given up for dead finds its staging table gone
            return True
        logger.exception("import_broke", extra={"import_id": str(import_id)})
        asked_by = f" Name the request {import_.request_id} to them." if import_.request_id else ""
        lease.fail(import_, "internal_error", FAULT_OF_OURS + asked_by)
    finally:
        logger.info("import_ended", extra={"import_id": str(import_id), "attempt": import_.attempt})
    return True


def _say_lease_lost(import_: Import) -> None:
    logger.warning("import_lease_lost", extra={"import_id": str(import_.pk), "attempt": import_.attempt})


def _attempt(import_: Import) -> None:
    with Reporter(import_) as reporter:
        try:
            _JOBS[Import.Kind(import_.kind)](import_, reporter)
        except FileError:
            reporter.write_snapshot()  # how far it came, and how many rows were rejected
            raise
        finally:
            _clear_up(import_)
    _after_the_end(import_)


def _after_the_end(import_: Import) -> None:
    """Tell the watchers, and make what was written quick to read. None of it changes how the import ended."""
    try:
        ended = Import.objects.select_related("created_by").get(pk=import_.pk)
        publish(ended)
        if ended.state == Import.State.SUCCESS:
            summarise_history()
            analyse_catalogue(ended.rows_created)
    except DATABASE_IN_THE_WAY as error:
        connection.close()
        logger.info("import_not_tidied", extra={"import_id": str(import_.pk), "error": str(error)})


def _import_file(import_: Import, reporter: Reporter) -> None:
    """Read, judge and stage the file; then merge it or, where that is what was asked for, only compare it."""
    if import_.staged_attempt is not None:
        _apply_checked(import_, reporter)
        return
    # Whoever asked to apply a check whose rows are gone sees it again.
    checks = import_.check_first or import_.apply_requested_at is not None
    stager.create(import_)
    with _stored_file(import_) as stream, Staging(import_, stream, reporter) as staging:
        # What was guessed is not applied unseen: somebody is to look whether the text reads right.
        if checks or (staging.encoding_guessed and import_.apply_requested_at is None):
            _compare(import_, staging, reporter)
        else:
            _merge(import_, staging, reporter)


def _stored_file(import_: Import) -> File:
    try:
        return default_storage.open(import_.stored_file)
    except FileNotFoundError:
        raise FileError("The file is not in the file store any more. Upload it again.", code="file_gone") from None


def _compare(import_: Import, staging: Staging, reporter: Reporter) -> None:
    """List what the file would change while it is still being staged, as `_merge` does it."""
    comparer = Comparer(import_, reporter, staging.sku_at)
    stale = import_.apply_requested_at is not None
    _settle(comparer, staging, partial(comparer.finish, stale=stale))


def _merge(import_: Import, staging: Staging, reporter: Reporter) -> None:
    """Merge while the file is still being staged; once more, from the start, where lines collide."""
    merger = Merger(import_, reporter, staging.sku_at)
    if import_.on_error == Import.OnError.ABORT:
        staging.wait()
        reporter.check_none_rejected()
    _settle(merger, staging, merger.finish)


def _settle(settler: Settler, staging: Staging, finish: Callable[[], None]) -> None:
    reporter = settler.reporter
    with contextlib.suppress(CollidedError), transaction.atomic():
        settler.open()
        try:
            settler.settle(staging.arriving())
        except FileError:
            staging.wait()  # too many rejected, perhaps; but lines that another one makes void are none
            if not staging.collided:
                raise
        if staging.collided:
            raise CollidedError
        finish()
        return
    reporter.start_over()
    reporter.merging.forget(REJECTED_BY_CATALOGUE)
    with transaction.atomic():
        settler.open()
        settler.settle(staging.chunks)
        finish()


def _staging_is_whole(import_: Import) -> bool:
    """Whether all rows of the check are still there: a crash of PostgreSQL empties the table."""
    void = import_.reported_rows.filter(outcome=ReportedRow.Outcome.DUPLICATE).count()
    rejected = import_.reported_rows.filter(outcome=ReportedRow.Outcome.REJECTED)
    never_staged = rejected.exclude(errors__0__code__in=REJECTED_BY_CATALOGUE).count()
    return stager.rows_staged(import_) == import_.rows_read - void - never_staged


def _apply_checked(import_: Import, reporter: Reporter) -> None:
    """Merge what an earlier attempt staged and somebody has seen; where it would do anything else, show it again."""
    reporter.go_on_from_check(REJECTED_BY_CATALOGUE)
    chunks = list(stager.chunks_of(import_))
    sku_at = columns.read_layout(import_.header, 1, import_.mapping).positions[columns.SKU.name]
    merger = Merger(import_, reporter, sku_at)
    try:
        with transaction.atomic():
            merger.open()
            merger.settle(chunks)
            merger.finish()
    except CheckOutdatedError:
        reporter.start_over()
        reporter.merging.forget(REJECTED_BY_CATALOGUE)
        comparer = Comparer(import_, reporter, sku_at)
        with transaction.atomic():
            comparer.open()
            comparer.settle(chunks)
            comparer.finish(stale=True)


_JOBS: dict[Import.Kind, Callable[[Import, Reporter], None]] = {
    Import.Kind.FILE: _import_file,
    Import.Kind.UNDO: undoer.undo,
    Import.Kind.BULK: bulk.change,
}


def _clear_up(import_: Import) -> None:
    """Remove the staging table, unless it is to be applied yet. Where that fails, the sweep does it."""
    try:
        now = Import.objects.get(pk=import_.pk)
        if now.staged_attempt is None or stager.staging_table(now) != stager.staging_table(import_):
            stager.drop(import_)
    except DATABASE_IN_THE_WAY:
        connection.close()
        logger.info("staging_table_left", extra={"import_id": str(import_.pk)})
