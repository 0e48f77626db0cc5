"""What a file is, judged by how it begins."""

from __future__ import annotations

import codecs
import csv
import io

from products.importing import columns
from products.importing.errors import FileError

DELIMITERS = (",", ";", "\t", "|")
"""In order of preference where a file gives no reason to choose."""
SAMPLE_ROWS = 100

_SAVE_AS_CSV = "Open it in the program that made it and save it as CSV UTF-8."
_UNPACK = "Unpack it and upload the CSV file that is inside."

_MAGIC = (
    (b"%PDF-", "a PDF document", "Export the table as CSV UTF-8 where the document comes from."),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", "Upload the CSV file instead."),
    (b"\xff\xd8\xff", "a JPEG picture", "Upload the CSV file instead."),
    (b"GIF87a", "a GIF picture", "Upload the CSV file instead."),
    (b"GIF89a", "a GIF picture", "Upload the CSV file instead."),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"BZh91AY&SY", "a bzip2 archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (xls)", _SAVE_AS_CSV),
    (b"PAR1\x15", "a Parquet file", "Export its table as CSV UTF-8."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV UTF-8."),
    (b"{\\rtf", "a rich text document", _SAVE_AS_CSV),
)
_UTF16_OR_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def refuse_what_is_not_text(head: bytes) -> None:
    """Raise FileError, naming what the file really is, when its first bytes show that it is no CSV."""
    if head.startswith(b"PK\x03\x04"):
        raise _not_text(*_kind_of_zip(head))
    for magic, kind, advice in _MAGIC:
        if head.startswith(magic):
            raise _not_text(kind, advice)
    if head.startswith(_UTF16_OR_32) or _looks_like_utf16(head):
        raise _not_text("text in UTF-16 or UTF-32", "Save it again as CSV UTF-8.")
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _not_text("a web page or XML", _SAVE_AS_CSV)


def find_delimiter(sample: str) -> str:
    """The character that parts the cells of a file that begins with ``sample``.

    The delimiter under which the header names the most known columns wins; then the one under
    which most rows have as many cells as the header; then the one that makes most cells; then the
    first of `DELIMITERS`. The same sample always gets the same answer.
    """
    return max(DELIMITERS, key=lambda delimiter: _merit(sample, delimiter))


def _merit(sample: str, delimiter: str) -> tuple[int, float, int]:
    # Where the quoting of the header is broken, its first line still tells.
    rows = _first_rows(sample, delimiter) or [line.split(delimiter) for line in sample.splitlines()[:1]]
    if not rows:
        return 0, 0, 0
    header = rows[0]
    known = len({column.name for column in map(columns.find, header) if column})
    if len(header) == 1:
        return known, 0, 1
    return known, sum(len(row) == len(header) for row in rows) / len(rows), len(header)


def _first_rows(sample: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True):
            if row:
                rows.append(row)
            if len(rows) == SAMPLE_ROWS:
                break
    except csv.Error:  # the sample is cut within a row, or this is not the delimiter
        pass
    return rows


def _kind_of_zip(head: bytes) -> tuple[str, str]:
    if b"opendocument.spreadsheet" in head[:200]:
        return "an OpenDocument spreadsheet (ods)", _SAVE_AS_CSV
    if b"xl/" in head or b"[Content_Types].xml" in head[:200]:
        return "an Excel workbook (xlsx)", _SAVE_AS_CSV
    return "a zip archive", _UNPACK


def _looks_like_utf16(head: bytes) -> bool:
    """Western text in UTF-16 without a byte order mark: every other byte is NUL."""
    start = head[:200]
    return len(start) >= 4 and max(start[::2].count(0), start[1::2].count(0)) > len(start) // 2 * 0.8


def _not_text(kind: str, advice: str) -> FileError:
    return FileError(f"The file is {kind}, whatever its name says; a CSV file is needed. {advice}", code="not_text")
