"""What a file is, how its text is written, and where its table begins: judged by its first bytes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from products.importing import columns
from products.importing.errors import FileError

DELIMITERS = (",", ";", "\t", "|")
"""In order of preference where a file gives no reason to choose."""
RARE_DELIMITERS = ("^", "~", ":")
"""Looked for only where none of the others parts the cells of the header."""
QUOTES = ('"', "'")
SAMPLE_ROWS = 100
MAX_PREAMBLE = 50
"""Rows that may stand before the header and are passed over without being told to."""
GUESSED = "guess"
"""Origin of an encoding that the file gives no proof of."""

_SAVE_AS_CSV = "Open it in the program that made it and save it as CSV UTF-8."
_UNPACK = "Unpack it and upload the file that is inside."

_MAGIC = (
    (b"%PDF-", "a PDF document", "Export the table as CSV UTF-8 where the document comes from."),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", "Upload the CSV file instead."),
    (b"\xff\xd8\xff", "a JPEG picture", "Upload the CSV file instead."),
    (b"GIF87a", "a GIF picture", "Upload the CSV file instead."),
    (b"GIF89a", "a GIF picture", "Upload the CSV file instead."),
    # These three are read where they are the file itself: here they are within an archive.
    (b"\x1f\x8b", "a gzip archive within an archive", _UNPACK),
    (b"PK\x03\x04", "an archive or a workbook within an archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook within an archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"BZh91AY&SY", "a bzip2 archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"PAR1\x15", "a Parquet file", "Export its table as CSV UTF-8."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV UTF-8."),
    (b"{\\rtf", "a rich text document", _SAVE_AS_CSV),
)


def refuse_what_is_not_text(head: bytes) -> None:
    """Raise FileError, naming what the file really is, when its first bytes show that it has no table of text."""
    for magic, kind, advice in _MAGIC:
        if head.startswith(magic):
            raise _not_text(kind, advice)
    start = head.removeprefix(codecs.BOM_UTF8)[:400].replace(b"\0", b"").lstrip(b"\xff\xfe")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _not_text("a web page or XML", _SAVE_AS_CSV)


def _not_text(kind: str, advice: str) -> FileError:
    return FileError(
        f"The file is {kind}, whatever its name says; a CSV file or a workbook is needed. {advice}", code="not_text"
    )


# --- the encoding ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoding:
    """How the bytes of a file become text."""

    codec: str
    """Python's name of it."""
    origin: str
    """What says so: `declared` by the uploader, `bom` (a byte order mark), `content`, or `guess`."""

    @property
    def name(self) -> str:
        """As people know it."""
        return _NAMES.get(self.codec, self.codec.replace("_", "-"))


_NAMES = {"cp1252": "windows-1252", "cp1250": "windows-1250", "cp1251": "windows-1251", "cp1253": "windows-1253"}
_NAMES |= {"iso8859-1": "iso-8859-1", "iso8859-15": "iso-8859-15", "mac-roman": "macintosh"}

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_HIGH_BYTES = re.compile(b"[\x80-\xff]+")
_LONG_RUN = 2.5
"""Bytes. Where those beyond ASCII stand in longer runs on average, whole words are made of them: the script is not
the Latin one. In the Latin one they are single letters, rarely two together."""
_WESTERN = frozenset("äöüßÄÖÜéèêëàâáçñíóúìòùîôûïåæøœÅÆØÉÈÀÇÑÁÍÓÚÔ€°£–’”“„®™")
_LATIN_ENCODINGS = (
    ("cp1252", _WESTERN),
    ("cp1250", frozenset("ąćęłńóśźżŁŚŻáčďéěíňřšťúůýžČŘŠŽäöüßőű°–”„")),
    ("cp850", _WESTERN),
    ("mac-roman", _WESTERN),
)
"""With the signs that texts in them have. The first counts where two explain as much."""


def find_encoding(head: bytes, *, whole: bool, declared: str | None = None) -> Encoding:
    """The encoding of a file that begins with ``head``; ``whole`` if that is all of it."""
    mark = next(((mark, name) for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if declared:
        return Encoding(_with_byte_order(codecs.lookup(declared).name, mark[1] if mark else ""), "declared")
    if mark:
        return Encoding(mark[1], "bom")
    if utf16 := _utf16_without_mark(head):
        return Encoding(utf16, "content")
    if _is_utf8(head, whole=whole):
        return Encoding("utf-8", "content")
    return Encoding(_guess(head), GUESSED)


def _with_byte_order(codec: str, marked: str) -> str:
    """UTF-16 as such leaves the order of bytes to the mark; without one it is that of Windows."""
    if codec in ("utf-16", "utf-32"):
        return marked if marked.startswith(codec) else f"{codec}-le"
    return "utf-8" if codec == "utf-8-sig" else codec


def _utf16_without_mark(head: bytes) -> str:
    """Delimiters, line ends and digits have a NUL beside them in UTF-16, always on the same side."""
    start = head[: min(len(head), 4096) // 2 * 2]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(start) < 4 or max(even, odd) * 10 < len(start) or min(even, odd) * 50 > len(start):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_utf8(head: bytes, *, whole: bool) -> bool:
    try:
        _, used = codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    # The file may be cut off within a character; but where its very last byte alone is not ASCII, it is a letter.
    return not whole or len(head) - used != 1 or not head[:used].isascii()


def _guess(head: bytes) -> str:
    """The most likely encoding of a text that is not UTF-8: of Windows, of DOS or of old Macs, by the letters that
    it makes of the bytes; or, for other scripts than the Latin one, what charset-normalizer takes it for."""
    if _is_shift_jis(head):
        return "cp932"
    runs = _HIGH_BYTES.findall(head)
    counts = Counter(b"".join(runs))
    merit, codec = max(((_explained(counts, *each), each[0]) for each in _LATIN_ENCODINGS), key=lambda found: found[0])
    if counts.total() > _LONG_RUN * len(runs) or merit < counts.total():
        from charset_normalizer import from_bytes  # takes memory, and is hardly ever needed

        best = from_bytes(head[: head.rfind(b"\n") + 1] or head).best()
        if best is not None and not best.encoding.startswith(("utf", "ascii")):
            return codecs.lookup(best.encoding).name
    return codec


def _explained(counts: Counter[int], codec: str, letters: frozenset[str]) -> int:
    """How many of these bytes are signs that a text in this encoding has; small letters, the likelier ones, twice."""
    signs = {byte: bytes([byte]).decode(codec, "replace") for byte in counts}
    return sum(counts[byte] * (2 if sign.islower() else 1) for byte, sign in signs.items() if sign in letters)


def _is_shift_jis(head: bytes) -> bool:
    """Half of its bytes are ASCII letters, so runs don't tell; but no other text turns into kana by it."""
    beyond = [sign for sign in head.decode("cp932", "replace") if sign > "\x7f"]
    return sum("\u3040" <= sign <= "\u30ff" for sign in beyond) * 3 > len(beyond)


# --- the dialect -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text become cells."""

    delimiter: str
    quote: str
    """The quotation mark; empty for none."""
    header_line: int
    """The line that names the columns. What stands before it is passed over."""


class _Row(NamedTuple):
    line_number: int
    cells: list[str]


class _Merit(NamedTuple):
    """What speaks for a dialect, what counts most first."""

    known: int
    """Known columns in the header."""
    agreeing: float
    """Share of the rows that have as many cells as the header."""
    bare: bool
    """Whether the header's cells are without quotation marks of another kind."""
    cells: int
    """Of the header."""


_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*")
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)


def find_dialect(
    sample: str, *, delimiter: str | None = None, quote: str | None = None, header_line: int | None = None
) -> Dialect:
    """The dialect of a text that begins with ``sample``, whole lines; what is declared is taken as it is.

    The delimiter and quotation mark under which the header names the most known columns win; then
    those under which most rows have as many cells as the header; then those that make most cells;
    then the first. The same sample always gets the same answer.
    """
    lines = io.StringIO(sample, newline="").readlines()
    skipped = (header_line or 1) - 1
    if header_line is None:
        skipped, named = _separator_line(lines)
        delimiter = delimiter or named
    lines = lines[skipped:]
    best = _best(lines, (delimiter,) if delimiter else DELIMITERS, quote, declared=header_line is not None)
    if delimiter is None and best[0].cells <= 1:
        rare = _best(lines, RARE_DELIMITERS, quote, declared=header_line is not None)
        if rare[0].cells > 1 and rare[0].agreeing == 1 and (rare[0].known or rare[0].cells > 2):
            best = rare
    _, found = best
    return Dialect(found.delimiter, found.quote, header_line or skipped + found.header_line)


def _separator_line(lines: Sequence[str]) -> tuple[int, str | None]:
    """The line `sep=;` at the beginning, by which Excel is told the delimiter: (lines up to it, the delimiter)."""
    for number, line in enumerate(lines[:5], start=1):
        if match := _SEPARATOR_LINE.fullmatch(line):
            return number, match[1]
        if line.strip():
            break
    return 0, None


def _best(
    lines: Sequence[str], delimiters: Sequence[str], quote: str | None, *, declared: bool
) -> tuple[_Merit, Dialect]:
    found = []
    for each in delimiters:
        marks = _quotes(lines, each) if quote is None else (quote,)
        # What speaks for another mark may stand in any row, and so may what speaks against it.
        rows = SAMPLE_ROWS if len(marks) == 1 else len(lines)
        found += [_judge(lines, each, mark, most_rows=rows, declared=declared) for mark in marks if mark != each]
    return max(found, key=lambda each: each[0])


def _quotes(lines: Sequence[str], delimiter: str) -> tuple[str, ...]:
    """The quotation marks that there may be, the likelier one first. An apostrophe is one only where all cells of
    a line stand in it, or one does that has the delimiter in it, or the mark itself, written twice."""
    part = re.escape(delimiter)
    cell = "'[^']*'"
    whole = re.compile(rf"{cell}(?:{part}{cell})*\s*")
    wrapped = re.compile(rf"(?:^|{part})'(?:[^'{part}]*{part}[^']*|(?:[^'{part}]*'')+[^'{part}]*)'(?={part}|\s*$)")
    marked = [line for line in lines if "'" in line]
    if not any(map(whole.fullmatch, marked[:MAX_PREAMBLE])) and not any(map(wrapped.search, marked)):
        return ('"',)
    usual = re.compile(rf'(?:^|{part})"')
    return ('"', "'") if any(map(usual.search, lines)) else ("'", '"')


def _judge(
    lines: Sequence[str], delimiter: str, quote: str, *, most_rows: int, declared: bool
) -> tuple[_Merit, Dialect]:
    rows, unread = _first_rows(lines, delimiter, quote, most_rows)
    if not rows:  # where the quoting of the header is broken, its first line still tells
        rows, unread = [_Row(1, line.split(delimiter)) for line in lines[:1]], 0
    if not rows:
        return _Merit(0, 0, True, 0), Dialect(delimiter, quote, 1)
    at = 0 if declared else find_header([row.cells for row in rows], after_blank=_after_blank(lines, rows))
    header, table = rows[at].cells, rows[at:]
    agreeing = sum(len(row.cells) == len(header) for row in table) / (len(table) + unread) if len(header) > 1 else 0
    bare = not any(len(cell) > 1 and cell[0] == cell[-1] and cell[0] in QUOTES for cell in map(str.strip, header))
    # A single word may be a title: it says nothing, unless it is the one column that every product file has.
    known = known_names(header) if len(header) > 1 or _names_sku(header) else 0
    return _Merit(known, agreeing, bare, len(header)), Dialect(delimiter, quote, rows[at].line_number)


def _first_rows(lines: Sequence[str], delimiter: str, quote: str, most: int) -> tuple[list[_Row], int]:
    """The rows, and how many lines can't be read as rows: this is not the dialect, or the sample is cut within one."""
    rows: list[_Row] = []
    parser = csv.reader(lines, **csv_options(delimiter, quote))
    line_number = 1
    try:
        for cells in parser:
            if cells:
                rows.append(_Row(line_number, cells))
            if len(rows) == most:
                break
            line_number = parser.line_num + 1
    except csv.Error:
        return rows, min(most - len(rows), sum(1 for line in lines[line_number - 1 :] if line.strip()))
    return rows, 0


def csv_options(delimiter: str, quote: str) -> dict[str, Any]:
    """For the csv module. Strict, or an unclosed quote would swallow the rest of the file without a word."""
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return {"delimiter": delimiter, "quotechar": quote or None, "quoting": quoting, "strict": True}


def _after_blank(lines: Sequence[str], rows: Sequence[_Row]) -> list[bool]:
    return [row.line_number > 1 and not lines[row.line_number - 2].strip() for row in rows]


# --- the header --------------------------------------------------------------------------------


def known_names(header: Sequence[str]) -> int:
    """How many columns of a product a row names."""
    return len({column.name for column in map(columns.find, header) if column})


def find_header(rows: Sequence[Sequence[str]], *, after_blank: Sequence[bool] = ()) -> int:
    """Which of the first rows names the columns: the first, unless it clearly is a title or a remark.

    What stands before the header has a single cell that is not empty, or begins with `#`; or it has fewer cells,
    and begins with such a row or ends with an empty line. The rows after the header are as wide as it is.
    """
    if not rows or _names_sku(rows[0]):
        return 0
    for at, row in enumerate(rows[1:MAX_PREAMBLE], start=1):
        if _names_sku(row) and known_names(row) > 1:
            return at
    widths = Counter(len(row) for row in rows if len(row) > 1)
    if not widths:
        return 0
    usual = max(widths, key=lambda width: (widths[width], width))
    header = next(
        (at for at, row in enumerate(rows[:MAX_PREAMBLE]) if len(row) >= usual and not _is_remark(row, usual)), 0
    )
    before, row = rows[:header], rows[header]
    if not any(len(later) == len(row) for later in rows[header + 1 :]):
        return 0
    # What begins with a title has no header there; and what is narrower than the table is none of its rows.
    if all(_is_remark(each, usual) or (_is_remark(rows[0], usual) and len(each) < usual) for each in before):
        return header
    parted = bool(after_blank and after_blank[header]) and all(len(each) < usual for each in before)
    return header if parted and all(cell.strip() and not _NUMBER.fullmatch(cell.strip()) for cell in row) else 0


def _is_remark(row: Sequence[str], usual: int) -> bool:
    """Whether a row is a title or the like: a single cell, or one that begins with `#` and is no row of the table."""
    return sum(1 for cell in row if cell.strip()) <= 1 or (row[0].lstrip().startswith("#") and len(row) != usual)


def _names_sku(row: Sequence[str]) -> bool:
    return any(column is columns.SKU for column in map(columns.find, row))
