"""Step 3: the rows of the file into a table of this attempt's own, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.db import connection
from django.db.models import Q

from products.importing.reader import Reader
from products.importing.repairs import repair
from products.importing.reporter import Reporter
from products.importing.rows import ProductRow, RowError
from products.importing.statements import statement
from products.importing.validator import make_validator
from products.models import Import

FIRST_CHUNK = 10_000
"""Rows of the first chunk: small, so that merging starts while most of the file is still unread."""
_TYPES = ("int8", "text", "text", "text", "text", "text", "text")
"""Of the columns of copy_staging.sql, as they are sent."""
_JSONB = "\1"
"""What jsonb begins with in the binary format, its version; the rest of it is text."""


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
    """The name of this attempt's table, or of the one that an earlier attempt checked and left to be applied.
    An attempt that was given up for dead keeps its own."""
    return f"staging.import_{_suffix(import_)}"


def changes_table(import_: Import) -> str:
    """The name of the table of what the staged rows would change."""
    return f"staging.changes_{_suffix(import_)}"


def _suffix(import_: Import) -> str:
    return f"{import_.pk.hex}_{import_.staged_attempt or import_.attempt}"


def create(import_: Import) -> None:
    """Make the staging table. Raises what the database raises."""
    with connection.cursor() as cursor:
        cursor.execute(statement("create_staging", staging=staging_table(import_)))


def drop(import_: Import) -> None:
    """Remove the staging table and the list of changes, if there are any."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {staging_table(import_)}, {changes_table(import_)}")


def drop_abandoned() -> None:
    """Remove the staging tables that nobody needs any more: their workers died before they could."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r'")
        tables = {f"staging.{name}" for (name,) in cursor.fetchall()}
        waiting = Q(state=Import.State.PENDING, staged_attempt__isnull=False)
        needed = Import.objects.filter(Q(state=Import.State.PROGRESS) | waiting)
        for import_ in needed:
            tables -= {staging_table(import_), changes_table(import_)}
        for table in tables:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


def rows_staged(import_: Import) -> int | None:
    """How many rows the kept staging table has: fewer than were staged if PostgreSQL crashed; None if it is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s), to_regclass(%s)", [staging_table(import_), changes_table(import_)])
        if None in cursor.fetchone():
            return None
        cursor.execute(f"SELECT count(*) FROM {staging_table(import_)}")  # noqa: S608 - the name is ours
        return int(cursor.fetchone()[0])


def chunks_of(import_: Import) -> Iterator[Chunk]:
    """The kept staging table in chunks, to be merged."""
    size = settings.IMPORT_BATCH_SIZE
    with connection.cursor() as cursor:
        cursor.execute(statement("chunks_of_staging", staging=staging_table(import_)), {"size": size})
        found = cursor.fetchall()
    done = 0
    for first_line, last_line, rows, may_be_unmergeable in found:
        done += rows
        bytes_read = import_.bytes_total * done // sum(each[2] for each in found)
        yield Chunk(first_line, last_line, rows, bytes_read, may_be_unmergeable)


class Stager:
    """Reads, judges and stages the rows of one file.

    Rows that can't be products go to the reporter and are counted there; the rest goes into the
    staging table. Each chunk is committed before it is handed on, so that another connection sees it.
    """

    def __init__(self, import_: Import, reader: Reader, reporter: Reporter) -> None:
        self._reader = reader
        self._reporter = reporter
        self._validate = make_validator(reader.layout, clear_empty=import_.empty_cells == Import.EmptyCells.CLEAR)
        self._copy = statement("copy_staging", staging=staging_table(import_))
        # What is rejected later than here needs its cells for the report.
        self._keep_all_cells = (
            import_.mode in (Import.Mode.CREATE, Import.Mode.UPDATE) or import_.duplicates == Import.Duplicates.REJECT
        )

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
        width = len(self._reader.header)
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            copy.set_types(_TYPES)
            write = copy.write_row
            for line_number, cells in rows:
                count += 1
                first_line = first_line or line_number
                row = validate(line_number, cells)
                if isinstance(row, list) and len(cells) != width:
                    cells, row = self._repaired(line_number, cells, row)
                if isinstance(row, list):
                    self._reporter.staged.reject(line_number, cells, row)
                    continue
                staged += 1
                if row[5] is not None:
                    row = row._replace(attributes=_JSONB + row[5])
                if keep_all or row[2] is None:  # no name: it may turn out to be a new product
                    write((*row, _JSONB + dumps(cells)))
                    kept += 1
                else:
                    write((*row, None))
        if not count:
            return None
        self._reporter.read(count, self._reader.bytes_read)
        return Chunk(first_line, line_number, staged, self._reader.bytes_read, kept > 0)

    def _repaired(
        self, line_number: int, cells: list[str], errors: list[RowError]
    ) -> tuple[list[str], ProductRow | list[RowError]]:
        """Of a row that has the wrong number of cells: as it was meant, if that is beyond doubt, and its product or
        what is wrong with it. What is then rejected is reported so, too, each cell in its column: in mode sync its
        product is in the file."""
        repaired = repair(line_number, cells, len(self._reader.header), self._reader.table.dialect)
        if repaired is None:
            return cells, errors
        row = self._validate(line_number, repaired.cells)
        if not isinstance(row, list):
            self._reporter.staged.repair(line_number, cells, [repaired.what])
        return repaired.cells, row
