"""Steps 3 and 4 beside the merge: the file is staged by a thread of its own, and then held against itself."""

from __future__ import annotations

import queue
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import BinaryIO, cast

from django.core.files.base import File
from django.db import connection

from products.importing import columns, mappings
from products.importing.comparer import Duplicate, take_duplicates
from products.importing.options import FileFormat
from products.importing.reader import open_reader
from products.importing.reporter import Reporter
from products.importing.rows import RowError
from products.importing.stager import Chunk, Stager, staging_table
from products.models import Import

KEEP_AWAKE_SECONDS = 15.0
"""How long the transaction of who waits for the staging is left alone: PostgreSQL ends one that looks forgotten
(idle_in_transaction_session_timeout in merge_settings.sql)."""


class CollidedError(Exception):
    """Lines of different chunks have the same sku: what was merged may not be what counts."""


class Staging:
    """The file being staged by a thread of its own. A context manager; the thread ends with it."""

    def __init__(self, import_: Import, stream: File[bytes], reporter: Reporter) -> None:
        """Reads the header. Raises FileError where there is none to be used."""
        self.chunks: list[Chunk] = []
        """What is staged so far."""
        self.collided = False
        """Whether lines of different chunks have the same sku; known when the file is staged."""
        reader = open_reader(
            cast(BinaryIO, stream),
            total_bytes=import_.bytes_total,
            mapping=partial(_mapping_of, import_),
            file_format=FileFormat.of(import_),
        )
        reporter.opened(reader.header, reader.ignored_columns, import_.mapping, reader.table.detected)
        self.encoding_guessed = reader.table.encoding_guessed
        """Whether nothing proves that the text is read as it was written."""
        self._table = reader.table
        self.sku_at = reader.layout.positions[columns.SKU.name]
        self._stager = Stager(import_, reader, reporter)
        self._rule = Import.Duplicates(import_.duplicates)
        self._find_duplicates = partial(take_duplicates, staging_table(import_), reader.layout, self._rule)
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
        self._table.close()

    def arriving(self) -> Iterator[Chunk]:
        """The chunks as they land. Ends early where lines collide; raises what ended the staging."""
        while (chunk := self._next()) is not None and not self.collided:
            yield chunk
        self.wait()

    def wait(self) -> None:
        """Wait until the file is staged. Raises what ended the staging."""
        while self._thread.is_alive():
            self._thread.join(KEEP_AWAKE_SECONDS)
            _keep_awake()
        if self._error:
            raise self._error

    def _next(self) -> Chunk | None:
        while True:
            try:
                return self._landed.get(timeout=KEEP_AWAKE_SECONDS)
            except queue.Empty:
                _keep_awake()

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
        rejects = self._rule == Import.Duplicates.REJECT
        for duplicate in self._find_duplicates():
            if self._abandoned:
                return
            self._reporter.checkpoint()
            error = duplicate_sku(duplicate, self._rule)
            self._reporter.staged.void(duplicate.line_number, duplicate.cells, error, rejected=rejects)
            # Within a chunk the right line counts anyway; but where none does, one may have been merged.
            if rejects or bisect_left(ends, duplicate.line_number) != bisect_left(ends, duplicate.other_line):
                self.collided = True
        self._reporter.staged.save()


def _keep_awake() -> None:
    """Use the waiting thread's connection, so that PostgreSQL sees that its process lives."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _mapping_of(import_: Import, headers: Sequence[str]) -> Mapping[str, str]:
    """What its uploader said, or what was said of the last file with these headers."""
    if import_.mapping:
        mappings.remember(headers, import_.mapping, import_.created_by)
    else:
        import_.mapping = mappings.remembered(headers)
    return dict(import_.mapping)


def duplicate_sku(duplicate: Duplicate, rule: Import.Duplicates) -> RowError:
    """What is said of a line that another one of the same sku makes void."""
    written = "" if duplicate.sku == duplicate.other_sku else f", written “{duplicate.other_sku}”,"
    same = f"Line {duplicate.other_line:,} has the same sku{written} and"
    message = {
        Import.Duplicates.LAST: f"{same} comes later, so that line counts.",
        Import.Duplicates.FIRST: f"{same} comes first, so that line counts.",
        Import.Duplicates.REJECT: f"{same} only one of them can be right. Remove the others.",
    }[rule]
    return RowError(duplicate.line_number, "sku", "duplicate_sku", message)
