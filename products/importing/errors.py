"""Why a whole file can't be imported. One row that is wrong is no such error: see `validator`."""

from __future__ import annotations

from common.errors import ServiceError

FILE_ERROR_CODES = {
    "file_gone": "The file is not in the file store any more.",
    "file_empty": "The file has no content.",
    "not_text": "The file is something else than a table: a picture, a PDF, a web page, an archive of another kind.",
    "nul_byte": "The file holds a NUL byte, which no text has.",
    "invalid_utf8": "The text is not valid UTF-8, or it is cut off in the middle of a character.",
    "invalid_encoding": "The text is not valid in the encoding that was declared or found, or it is cut off.",
    "archive_files": "The zip archive holds no file, or several.",
    "archive_encrypted": "The zip archive is encrypted.",
    "archive_broken": "The archive is damaged, cut off, or packed by a method that is not known.",
    "archive_too_large": "The archive unpacks to more than `IMPORT_MAX_BYTES`, or to more than 200 times its size.",
    "workbook_unreadable": "The workbook is damaged, or protected by a password.",
    "workbook_too_large": "The workbook has more than 50 MB, or takes more than 1 GB of memory to unpack.",
    "sheet_unknown": "The workbook has no sheet of that name.",
    "header_missing": "No line names the columns.",
    "sku_column_missing": "None of the headers is known as the sku column.",
    "column_repeated": "Two headers mean the same column.",
    "too_many_columns": "The header has more than 1,000 columns.",
    "quote_not_closed": "A cell opens with a quotation mark that is never closed.",
    "quote_misplaced": "A closing quotation mark is followed by more text of the same cell.",
    "field_too_large": "A cell is larger than 1 MB.",
    "row_too_long": "A row is longer than 4 MB, usually because the file has no line ends.",
    "too_many_rejects": "More rows were rejected than `max_rejects` allows.",
    "too_many_deactivated": "In mode `sync`, more products would become inactive than `max_deactivated` allows.",
    "rows_rejected": "A row was rejected, and `on_error` is `abort`.",
}
"""Every code of a `FileError` with its meaning; docs/import-format.md lists the same."""


class FileError(ServiceError):
    """The file ends the import here and nothing of it is applied. ``code`` is one of `FILE_ERROR_CODES`."""

    status = 400
    code = "file_invalid"
    title = "The file can't be imported"

    def __init__(self, detail: str, *, code: str) -> None:
        assert code in FILE_ERROR_CODES, code  # noqa: S101 - a slip of ours, not of the file
        super().__init__(detail, code=code)
