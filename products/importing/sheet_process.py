"""Reads a workbook (xlsx, xlsb, xls, ods) from stdin and writes the rows of one sheet to stdout.

A program of its own, started by `sources`, since a workbook is unpacked in memory as a whole: a small
file can claim cells that fill any memory, and what runs out of it ends a process. This one may.

It writes lines of JSON: what the workbook is, then lists of rows, then an empty list; or an error
with its code and sentence at any place. A line that is not ended means that the process was.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import python_calamine
from python_calamine import CalamineSheet, CalamineWorkbook

MAX_MEMORY = 1 << 30
"""Bytes of address space. A sheet of 300,000 rows and 4 columns takes a fifth of it."""
MAX_SECONDS = 300
"""Of processor time."""
MAX_CELL = 1 << 20
"""Characters: as `lines.MAX_FIELD`, which this program doesn't import, to start quickly."""
ROWS_AT_A_TIME = 200

_SAVE_AS_CSV = "Open it in the program that made it and save the sheet as CSV UTF-8."


class WorkbookError(Exception):
    """The workbook can't be read: a code and a sentence."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    try:
        workbook = _open(data)
        sheet = _sheet(workbook, sys.argv[1] if len(sys.argv) > 1 else None)
        names = [name[:100] for name in workbook.sheet_names[:100]]
        _write({"container": _kind(data), "sheet": sheet.name, "sheets": names, "rows": sheet.total_height})
        batch: list[tuple[int, list[str]]] = []
        for row in _rows(sheet):
            batch.append(row)
            if len(batch) == ROWS_AT_A_TIME:
                _write(batch)
                batch = []
        if batch:
            _write(batch)
        _write([])
    except WorkbookError as error:
        _write({"error": error.args[0], "detail": error.args[1]})
    except BrokenPipeError:  # nobody reads on
        os._exit(0)


def _open(data: bytes) -> CalamineWorkbook:
    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except python_calamine.PasswordError:
        raise _protected() from None
    except MemoryError:
        raise
    except BaseException:  # a panic of Rust is no Exception
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise _protected() from None
        message = f"The file seems to be a workbook, but it can't be read as one: it may be damaged. {_SAVE_AS_CSV}"
        raise WorkbookError("workbook_unreadable", message) from None


def _sheet(workbook: CalamineWorkbook, wanted: str | None) -> CalamineSheet:
    """The sheet of this name or, without one, the first that can be seen."""
    tables = [each for each in workbook.sheets_metadata if each.typ == python_calamine.SheetTypeEnum.WorkSheet]
    names = [each.name for each in tables]
    visible = [each.name for each in tables if each.visible == python_calamine.SheetVisibleEnum.Visible]
    if wanted is not None and wanted not in names:
        listed = ", ".join(f"“{name}”" for name in names[:20])
        message = f"The workbook has no sheet “{wanted[:100]}”. It has: {listed or 'none with a table'}."
        raise WorkbookError("sheet_unknown", message)
    if not names:
        raise WorkbookError("sheet_unknown", "The workbook has no sheet with a table.")
    name = wanted or (visible or names)[0]
    try:
        return workbook.get_sheet_by_name(name)
    except MemoryError:
        raise
    except BaseException:
        message = f"The sheet “{name[:100]}” can't be read: it may be damaged. {_SAVE_AS_CSV}"
        raise WorkbookError("workbook_unreadable", message) from None


def _rows(sheet: CalamineSheet) -> Iterator[tuple[int, list[str]]]:
    """Each row that has anything, by its number in the sheet, without the empty cells at its end."""
    for number, values in enumerate(sheet.iter_rows(), start=1):
        cells = [value if value.__class__ is str and "\0" not in value else _text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            if max(map(len, cells)) > MAX_CELL:
                message = f"A cell of row {number:,} is larger than {MAX_CELL >> 20} MB. Shorten it."
                raise WorkbookError("field_too_large", message)
            yield number, cells


def _text(value: Any) -> str:
    """What a person would have typed."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # Fifteen digits, as the spreadsheets themselves: 0.1 + 0.2 is 0.3 there.
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(Decimal(f"{value:.15g}"), "f")
    if isinstance(value, datetime):
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value).replace("\0", "")


def _kind(data: bytes) -> str:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return "xls"
    if b"mimetype" in data[:200] and b"opendocument" in data[:200]:
        return "ods"
    return "xlsb" if b"xl/workbook.bin" in data else "xlsx"


def _protected() -> WorkbookError:
    return WorkbookError(
        "workbook_unreadable", "The workbook is protected by a password. Save it without one, or as CSV UTF-8."
    )


def _write(message: Any) -> None:
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
