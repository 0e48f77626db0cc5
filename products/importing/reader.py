"""Lines or a sheet to rows: streaming, each row with the line on which it starts."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import Any, BinaryIO

from products.importing.columns import read_layout
from products.importing.detect import (
    GUESSED,
    SAMPLE_ROWS,
    Dialect,
    csv_options,
    find_dialect,
    find_encoding,
    find_header,
    refuse_what_is_not_text,
)
from products.importing.errors import FileError
from products.importing.lines import MAX_FIELD, Lines, count_line_ends, field_too_large
from products.importing.options import FileFormat
from products.importing.sources import HEAD_BYTES, Sheet, Text, open_source

csv.field_size_limit(MAX_FIELD)  # for the whole process: the csv module knows no other way

_BEGIN_WITH = "Begin the file with a line such as: sku,name,description,status"

Row = tuple[int, list[str]]
"""The line on which the row starts, as an editor shows it (the first is 1, the header's lines count), and its cells. A
plain tuple: there is one for each row of the file."""

Mapper = Callable[[Sequence[str]], Mapping[str, str]]
"""Given the headers of a file: where its columns go."""


def no_mapping(headers: Sequence[str]) -> Mapping[str, str]:
    """Columns go by their names."""
    return {}


class Table:
    """The rows of any file that is a table, whatever its columns mean. Made by `open_table`; iterate once."""

    def __init__(self, source: Text | Sheet, rows: Iterator[Row], dialect: Dialect | None, detected: dict[str, Any]):
        self._source = source
        self._rows = rows
        header = next(rows, None)
        if header is None:
            begins = dialect.header_line if dialect else 1
            place = "the file" if begins == 1 else f"the file from line {begins:,} on"
            raise FileError(f"There is nothing but empty lines in {place}. {_BEGIN_WITH}", code="header_missing")
        self.header_line, self.header = header
        """The line that names the columns, and its cells as they stand there."""
        self.dialect = dialect
        """None for a sheet, which has cells of its own."""
        self.detected = {**source.found, **detected, "header_line": self.header_line}
        """How the file is read, for `Import.detected`."""

    @property
    def encoding_guessed(self) -> bool:
        """Whether nothing proves that the text is read as it was written."""
        return self.detected.get("encoding_from") == GUESSED

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file so far, at most READ_AHEAD more than the rows so far have."""
        return self._source.bytes_taken

    def __iter__(self) -> Iterator[Row]:
        """Raises FileError at the place from which the file can't be read on."""
        return self._rows

    def close(self) -> None:
        """Let go of what reading takes beside the stream."""
        self._source.close()


class Reader:
    """The rows of a product file, without its header. Made by `open_reader`; iterate once."""

    def __init__(self, table: Table, *, total_bytes: int, mapping: Mapper = no_mapping) -> None:
        self.table = table
        self.total_bytes = total_bytes
        """Size of the file, to which `bytes_read` grows."""
        self.layout = read_layout(table.header, table.header_line, mapping(table.header))

    @property
    def header(self) -> list[str]:
        """The header row as it stands in the file."""
        return list(self.layout.header)

    @property
    def ignored_columns(self) -> list[str]:
        """Headers that are no column of a product."""
        return list(self.layout.ignored_columns)

    @property
    def bytes_read(self) -> int:
        """As of the table."""
        return self.table.bytes_read

    def __iter__(self) -> Iterator[Row]:
        return iter(self.table)


def open_reader(
    stream: BinaryIO, *, total_bytes: int, mapping: Mapper = no_mapping, file_format: FileFormat | None = None
) -> Reader:
    """Read the beginning of a file and its header, whose columns go where the answer of `mapping` says.

    Raises FileError, with a sentence for the person who made the file, where it can't be an import.
    """
    table = open_table(stream, total_bytes=total_bytes, file_format=file_format)
    try:
        return Reader(table, total_bytes=total_bytes, mapping=mapping)
    except BaseException:
        table.close()
        raise


def open_table(stream: BinaryIO, *, total_bytes: int, file_format: FileFormat | None = None) -> Table:
    """Read the beginning of any table. What `file_format` does not say is found out. Raises FileError."""
    said = file_format or FileFormat()
    source = open_source(stream, total_bytes=total_bytes, sheet=said.sheet)
    try:
        return _table_of_sheet(source, said) if isinstance(source, Sheet) else _table_of_text(source, said)
    except BaseException:
        source.close()
        raise


# --- sheets ------------------------------------------------------------------------------------


def _table_of_sheet(sheet: Sheet, said: FileFormat) -> Table:
    rows = iter(sheet)
    if said.header_line:
        wanted = said.header_line
        rows = (row for row in rows if row[0] >= wanted)
    first = list(islice(rows, SAMPLE_ROWS))
    if not first:
        raise FileError(
            f"The sheet “{sheet.found['sheet']}” is empty. The option sheet names another one of the workbook's.",
            code="file_empty",
        )
    if not said.header_line:
        gaps = [row[0] > before[0] + 1 for before, row in pairwise(first)]
        first = first[find_header([cells for _, cells in first], after_blank=[False, *gaps]) :]
    return Table(sheet, _filled_up(chain(first, rows), len(first[0][1])), None, {})


def _filled_up(rows: Iterator[Row], width: int) -> Iterator[Row]:
    """In a sheet an empty cell at the end of a row is not missing."""
    for line_number, cells in rows:
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        yield line_number, cells


# --- text --------------------------------------------------------------------------------------


def _table_of_text(source: Text, said: FileFormat) -> Table:
    refuse_what_is_not_text(source.head)
    encoding = find_encoding(source.head, whole=len(source.head) < HEAD_BYTES, declared=said.encoding)
    lines = Lines(source, encoding)
    sample = lines.sample()
    if not sample:
        raise FileError(f"The file is empty. {_BEGIN_WITH}", code="file_empty")
    dialect = find_dialect(sample, delimiter=said.delimiter, quote=said.quote, header_line=said.header_line)
    detected = {
        "encoding": encoding.name,
        "encoding_from": encoding.origin,
        "delimiter": dialect.delimiter,
        "quote": dialect.quote,
    }
    return Table(source, _TextRows(lines, dialect).read(), dialect, detected)


class _TextRows:
    """The rows of a text from its header on."""

    def __init__(self, lines: Lines, dialect: Dialect) -> None:
        self._lines = lines
        self._dialect = dialect
        self._held: list[str] = []  # the line that the csv module is to begin with

    def read(self) -> Iterator[Row]:
        """A line without a quotation mark is a row, and splitting it takes a quarter of the time
        that the csv module needs; every other row is the csv module's."""
        lines, delimiter, held = self._lines, self._dialect.delimiter, self._held
        quote = self._dialect.quote or "\0"  # which no line has
        source = chain.from_iterable(lines.blocks(delimiter))
        parser = csv.reader(self._lines_of_quoted_row(source), **csv_options(delimiter, self._dialect.quote))
        line_number = self._dialect.header_line
        for _ in islice(source, line_number - 1):
            pass
        for line in source:
            if quote not in line and len(line) <= MAX_FIELD:
                if text := line.rstrip("\r\n"):
                    yield line_number, text.split(delimiter)
                line_number += 1
            else:
                lines.row_began = line_number
                held.append(line)
                lines_before = parser.line_num
                try:
                    values = next(parser)
                except csv.Error as error:
                    raise self._unreadable(str(error), line_number + parser.line_num - lines_before - 1) from None
                lines.row_began = 0
                yield line_number, values
                line_number += parser.line_num - lines_before

    def _lines_of_quoted_row(self, source: Iterator[str]) -> Iterator[str]:
        """What the csv module reads: the line at hand, then as many as its row goes on for."""
        held = self._held
        while True:
            if held:
                yield held.pop()
            elif (line := next(source, None)) is not None:
                yield line
            else:
                return

    def _unreadable(self, reason: str, line_number: int) -> FileError:
        """The parser stopped on this line, inside the row that began on `self._lines.row_began`."""
        began = self._lines.row_began
        row = self._lines.unfinished_row()
        opened = began + count_line_ends(row[: _last_opening_quote(row, self._dialect)])
        if "field limit" in reason and line_number == opened:
            return field_too_large(line_number)
        if "expected after" in reason and line_number == opened:
            return FileError(
                f"Line {line_number:,}: a quoted cell goes on after its closing quotation mark. "
                'Write a quotation mark inside of a quoted cell twice: "5"" pipe". '
                "If the marks are part of the text, import with quote=none.",
                code="quote_misplaced",
            )
        return FileError(
            f"A quotation mark opens a cell on line {opened:,} and is not closed where the cell should end"
            f"{self._where_it_ended(reason, line_number)}. Close it, or write it twice if it is part of the text; "
            "if no cell of the file stands in quotation marks, import with quote=none.",
            code="quote_not_closed",
        )

    @staticmethod
    def _where_it_ended(reason: str, line_number: int) -> str:
        if "field limit" in reason:
            return f": {MAX_FIELD >> 20} MB later, on line {line_number:,}, the cell still goes on"
        if "expected after" in reason:
            return f": the next one, on line {line_number:,}, is followed by more text"
        return ": the file ends before"


def _last_opening_quote(row: str, dialect: Dialect) -> int:
    """Where, in the text of a row that can't be parsed, the cell begins that is to blame."""
    quote = dialect.quote
    if not quote:
        return 0
    mark = re.escape(quote)
    to_closing_quote = re.compile(f"[^{mark}]*(?:{mark}{mark}[^{mark}]*)*{mark}")
    at = 0
    while True:
        if row.startswith(quote, at):
            closed = to_closing_quote.match(row, at + 1)
            if closed is None or not row.startswith((dialect.delimiter, "\r", "\n"), closed.end()):
                return at
            at = closed.end()
        following = row.find(dialect.delimiter, at)
        if following < 0:
            return at
        at = following + 1
