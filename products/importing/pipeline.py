"""The story of an import, from the claim to the end of it.

Two threads share the work. One reads, judges and stages the file, a chunk at a time; the other
merges the chunks as they land, all in one transaction, so that a file that turns out bad at its
last line still leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import uuid
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import BinaryIO, cast

import psycopg
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, connection, transaction

from products.importing import comparer, lease, stager
from products.importing.errors import FileError
from products.importing.lease import ImportCancelledError, LeaseLostError
from products.importing.merger import REJECTED_BY_MERGE, Merger, summarise_history
from products.importing.reader import open_reader
from products.importing.reporter import Reporter
from products.importing.stager import Chunk, Stager, staging_table
from products.models import Import
from products.progress import publish

logger = logging.getLogger(__name__)


FAULT_OF_OURS = "A fault of this service ended the import; nothing was applied. Its operator finds why in the logs."
DATABASE_IN_THE_WAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
"""Not the file's fault, and not ours: a later attempt may well do. COPY raises the driver's own errors."""


class _CollidedError(Exception):
    """Lines of different chunks have the same sku: what was merged may not be what counts."""


def run(import_id: uuid.UUID, *, worker: str) -> None:
    """Do the import, if it waits to be done. Every way that this can end is written to its row."""
    import_ = lease.claim(import_id, worker)
    if import_ is None:
        return
    publish(import_)
    logger.info("import_started", extra={"import_id": str(import_id), "attempt": import_.attempt})
    try:
        _attempt(import_)
    except FileError as error:
        lease.fail(import_, error.code, error.detail)
    except ImportCancelledError:
        lease.cancelled(import_)
    except LeaseLostError:
        logger.warning("import_lease_lost", extra={"import_id": str(import_id), "attempt": import_.attempt})
    except DATABASE_IN_THE_WAY as error:
        # Also after a COMMIT whose answer was lost: if it was done, the row no longer is this attempt's.
        logger.warning("import_interrupted", extra={"import_id": str(import_id)}, exc_info=True)
        lease.give_back_when_possible(import_, str(error).strip().splitlines()[0])
    except Exception:
        logger.exception("import_broke", extra={"import_id": str(import_id)})
        message = (
            "A fault of this service ended the import. Nothing was applied. Its operator finds the cause in the log."
        )
        lease.fail(import_, "internal_error", message)
    finally:
        logger.info("import_ended", extra={"import_id": str(import_id), "attempt": import_.attempt})


def _attempt(import_: Import) -> None:
    with Reporter(import_) as reporter:
        try:
            stager.create(import_)
            with default_storage.open(import_.stored_file) as stream, Staging(import_, stream, reporter) as staging:
                _merge(import_, staging, reporter)
        except FileError:
            reporter.write_snapshot()  # how far it came, and how many rows were rejected
            raise
        finally:
            _clear_up(import_)
    publish(Import.objects.select_related("created_by").get(pk=import_.pk))
    summarise_history()


def _merge(import_: Import, staging: Staging, reporter: Reporter) -> None:
    """Merge while the file is still being staged; once more, from the start, where lines collide."""
    merger = Merger(import_, reporter)
    if import_.on_error == Import.OnError.ABORT:
        staging.wait()
        reporter.check_none_rejected()
    with contextlib.suppress(_CollidedError), transaction.atomic():
        merger.open()
        try:
            merger.merge(staging.arriving())
        except FileError:
            staging.wait()  # too many rejected, perhaps; but lines that a later one makes void are none
            if not staging.collided:
                raise
        if staging.collided:
            raise _CollidedError
        merger.finish()
        return
    reporter.start_merge()
    reporter.merging.forget(REJECTED_BY_MERGE)
    with transaction.atomic():
        merger.open()
        merger.merge(staging.chunks)
        merger.finish()


def _clear_up(import_: Import) -> None:
    """Remove the staging table. Where that fails, the sweep does it."""
    try:
        stager.drop(import_)
    except DATABASE_IN_THE_WAY:
        connection.close()
        logger.info("staging_table_left", extra={"import_id": str(import_.pk)})


class Staging:
    """The file being staged by a thread of its own. A context manager; the thread ends with it."""

    def __init__(self, import_: Import, stream: File[bytes], reporter: Reporter) -> None:
        """Reads the header. Raises FileError where there is none to be used."""
        self.chunks: list[Chunk] = []
        """What is staged so far."""
        self.collided = False
        """Whether lines of different chunks have the same sku; known when the file is staged."""
        reader = open_reader(cast(BinaryIO, stream), total_bytes=import_.bytes_total)
        reporter.opened(reader.header, reader.ignored_columns)
        self._stager = Stager(import_, reader, reporter)
        self._find_duplicates = partial(comparer.take_duplicates, staging_table(import_), reader.layout)
        self._reporter = reporter
        self._landed: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name="import-stager", daemon=True)

    def __enter__(self) -> Staging:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned = True
        self._thread.join()

    def arriving(self) -> Iterator[Chunk]:
        """The chunks as they land. Ends early where lines collide; raises what ended the staging."""
        while (chunk := self._landed.get()) is not None and not self.collided:
            yield chunk
        self.wait()

    def wait(self) -> None:
        """Wait until the file is staged. Raises what ended the staging."""
        self._thread.join()
        if self._error:
            raise self._error

    def _work(self) -> None:
        try:
            for chunk in self._stager.chunks():
                if self._abandoned:
                    return
                self.chunks.append(chunk)
                self._landed.put(chunk)
            self._resolve_duplicates()
        except BaseException as error:
            self._error = error
        finally:
            connection.close()
            self._landed.put(None)

    def _resolve_duplicates(self) -> None:
        ends = [chunk.last_line for chunk in self.chunks]
        for duplicate in self._find_duplicates():
            self._reporter.staged.void(*duplicate)
            if bisect_left(ends, duplicate.line_number) != bisect_left(ends, duplicate.counting_line):
                self.collided = True
        self._reporter.staged.save()
