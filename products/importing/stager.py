"""Step 3: the rows of the file into a table of this attempt's own, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.db import connection

from products.importing.reader import Reader
from products.importing.reporter import Reporter
from products.importing.statements import statement
from products.importing.validator import make_validator
from products.models import Import

FIRST_CHUNK = 10_000
"""Rows of the first chunk: small, so that merging starts while most of the file is still unread."""


@dataclass(frozen=True)
class Chunk:
    """Rows that lie in the staging table, committed, and may be merged."""

    first_line: int
    last_line: int
    rows: int
    """Rows in the staging table."""
    bytes_read: int
    """Of the file, up to the end of the chunk."""
    may_be_unmergeable: bool
    """Whether there are rows that only the catalogue can show to be wrong."""


def staging_table(import_: Import) -> str:
    """The name of this attempt's table. An attempt that was given up for dead keeps its own."""
    return f"staging.import_{import_.pk.hex}_{import_.attempt}"


def create(import_: Import) -> None:
    """Make the staging table. Raises what the database raises."""
    with connection.cursor() as cursor:
        cursor.execute(statement("create_staging", staging=staging_table(import_)))


def drop(import_: Import) -> None:
    """Remove the staging table, if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {staging_table(import_)}")


def drop_abandoned() -> None:
    """Remove the staging tables that no running attempt owns: their workers died before they could."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r'")
        tables = {f"staging.{name}" for (name,) in cursor.fetchall()}
        running = Import.objects.filter(state=Import.State.PROGRESS)
        for table in tables - {staging_table(import_) for import_ in running}:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


class Stager:
    """Reads, judges and stages the rows of one file.

    Rows that can't be products go to the reporter and are counted there; the rest goes into the
    staging table. Each chunk is committed before it is handed on, so that another connection sees it.
    """

    def __init__(self, import_: Import, reader: Reader, reporter: Reporter) -> None:
        self._reader = reader
        self._reporter = reporter
        self._validate = make_validator(reader.layout)
        self._copy = statement("copy_staging", staging=staging_table(import_))
        # Modes other than upsert reject by what the catalogue holds: keep every row's cells for the report.
        self._keep_all_cells = import_.mode != Import.Mode.UPSERT

    def chunks(self) -> Iterator[Chunk]:
        """Stage the file. Raises FileError where it can't be read on, and what `Reporter.checkpoint` raises."""
        rows = iter(self._reader)
        size = min(FIRST_CHUNK, settings.IMPORT_BATCH_SIZE)
        while True:
            chunk = self._stage(islice(rows, size))
            if chunk is None:
                return
            if chunk.rows:
                yield chunk
            size = settings.IMPORT_BATCH_SIZE

    def _stage(self, rows: Iterator[tuple[int, list[str]]]) -> Chunk | None:
        """Stage some rows; None if there were none."""
        first_line = line_number = count = staged = kept = 0
        validate, keep_all, dumps = self._validate, self._keep_all_cells, json.dumps
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            write = copy.write_row
            for line_number, cells in rows:
                count += 1
                first_line = first_line or line_number
                row = validate(line_number, cells)
                if isinstance(row, list):
                    self._reporter.staged.reject(line_number, cells, row)
                elif keep_all or row[2] is None:  # no name: it may turn out to be a new product
                    write((*row, dumps(cells)))
                    kept += 1
                    staged += 1
                else:
                    write((*row, None))
                    staged += 1
        if not count:
            return None
        self._reporter.read(count, self._reader.bytes_read)
        return Chunk(first_line, line_number, staged, self._reader.bytes_read, kept > 0)
