"""Lines to rows: streaming, each row with the line on which it starts."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import BinaryIO

from products.importing.columns import Layout, read_layout
from products.importing.detect import find_delimiter, refuse_what_is_not_text
from products.importing.errors import FileError
from products.importing.lines import MAX_FIELD, Lines, count_line_ends, field_too_large

csv.field_size_limit(MAX_FIELD)  # for the whole process: the csv module knows no other way

_BEGIN_WITH = "Begin the file with a line such as: sku,name,description,status"
_TO_CLOSING_QUOTE = re.compile('[^"]*(?:""[^"]*)*"')


Mapper = Callable[[Sequence[str]], Mapping[str, str]]
"""Given the headers of a file: where its columns go."""


def no_mapping(headers: Sequence[str]) -> Mapping[str, str]:
    """Columns go by their names."""
    return {}


class Reader:
    """The rows of one file, without its header. Made by `open_reader`; iterate once."""

    def __init__(self, stream: BinaryIO, *, total_bytes: int, mapping: Mapper = no_mapping) -> None:
        self._mapping = mapping
        self.total_bytes = total_bytes
        """Size of the file, to which `bytes_read` grows."""
        self._lines = Lines(stream)
        if not self._lines.sample():
            raise FileError(f"The file is empty. {_BEGIN_WITH}", code="file_empty")
        refuse_what_is_not_text(self._lines.head)
        self.delimiter = find_delimiter(self._lines.sample())
        self._held: list[str] = []  # the line that the csv module is to begin with
        self._rows = self._read_rows()
        self.layout = self._read_header()

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
        """Bytes taken from the file so far, at most READ_AHEAD more than the rows so far have."""
        return self._lines.bytes_read

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row: a `RawRow` as a plain tuple, which costs far less.

        Raises FileError at the place from which the file can't be read on.
        """
        return self._rows

    def _read_header(self) -> Layout:
        for line_number, header in self._rows:
            return read_layout(header, line_number, self._mapping(header))
        raise FileError(f"The file has nothing but empty lines. {_BEGIN_WITH}", code="header_missing")

    def _read_rows(self) -> Iterator[tuple[int, list[str]]]:
        """A line without a quotation mark is a row, and splitting it takes a quarter of the time
        that the csv module needs; every other row is the csv module's."""
        lines, delimiter, held = self._lines, self.delimiter, self._held
        source = chain.from_iterable(lines.blocks(delimiter))
        # Strict, or an unclosed quote would swallow the rest of the file without a word.
        parser = csv.reader(self._lines_of_quoted_row(source), delimiter=delimiter, strict=True)
        line_number = 1
        for line in source:
            if '"' not in line and len(line) <= MAX_FIELD:
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
        opened = began + count_line_ends(row[: _last_opening_quote(row, self.delimiter)])
        if "field limit" in reason and line_number == opened:
            return field_too_large(line_number)
        if "expected after" in reason and line_number == opened:
            return FileError(
                f"Line {line_number:,}: a quoted cell goes on after its closing quotation mark. "
                'Write a quotation mark inside of a quoted cell twice: "5"" pipe".',
                code="quote_misplaced",
            )
        return FileError(
            f"A quotation mark opens a cell on line {opened:,} and is not closed where the cell should end"
            f"{self._where_it_ended(reason, line_number)}. Close it, or write it twice if it is part of the text.",
            code="quote_not_closed",
        )

    @staticmethod
    def _where_it_ended(reason: str, line_number: int) -> str:
        if "field limit" in reason:
            return f": {MAX_FIELD >> 20} MB later, on line {line_number:,}, the cell still goes on"
        if "expected after" in reason:
            return f": the next one, on line {line_number:,}, is followed by more text"
        return ": the file ends before"


def open_reader(stream: BinaryIO, *, total_bytes: int, mapping: Mapper = no_mapping) -> Reader:
    """Read the beginning of a file and its header, whose columns go where the answer of `mapping` says.

    Raises FileError, with a sentence for the person who made the file, where it can't be an import.
    """
    return Reader(stream, total_bytes=total_bytes, mapping=mapping)


def _last_opening_quote(row: str, delimiter: str) -> int:
    """Where, in the text of a row that can't be parsed, the cell begins that is to blame."""
    at = 0
    while True:
        if row.startswith('"', at):
            closed = _TO_CLOSING_QUOTE.match(row, at + 1)
            if closed is None or not row.startswith((delimiter, "\r", "\n"), closed.end()):
                return at
            at = closed.end()
        following = row.find(delimiter, at)
        if following < 0:
            return at
        at = following + 1
