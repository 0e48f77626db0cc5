"""The catalogue, or a part of it, as a file: CSV, or a workbook. Importing it again changes nothing.

PostgreSQL makes the cells and the process passes them on, so that memory stays flat whatever the number of
products. One snapshot holds for the whole file: nothing in it is from before and nothing from after a change.
What a cell can't say so that an import would understand it (docs/export.md) is left empty, which an import
leaves alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

from django.db import DatabaseError, InterfaceError, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper

from common import replica
from common.errors import InvalidInputError
from products.importing.columns import ATTRIBUTE, ATTRIBUTE_LIMIT, target_problem
from products.importing.formulas import NEEDS_MARK
from products.selection import Selection
from products.workbooks import SHEET_CELL, SHEET_ROWS, write_sheet

MAX_ATTRIBUTES = 150
"""Columns of attributes. With more of the longest values, a row could be too long for an import (`lines.MAX_ROW`)."""
SECONDS = 3600
"""A file may take so long to make, also where its reader is slow. A page's statements may take far less
(WEB_STATEMENT_TIMEOUT); this one is about all products, and holds up nobody: all that it keeps from being done is
the removal of dead rows."""
PIECE = 1 << 16
"""Bytes that are passed on at a time."""
BYTE_ORDER_MARK = "\ufeff".encode()

_TEXT = ("sku", "name", "description")
_AS_THEY_ARE = {
    "status": "status",
    "version": "version",
    **{
        name: f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        for name in ("created_at", "updated_at")
    },
}
COLUMNS = ("sku", "name", "description", "status", "attributes", "version", "created_at", "updated_at")
"""`attributes` stands for a column for each attribute that one of the products has."""
STANDARD = COLUMNS[:5]
"""Those that an import reads."""
_CONTROL = r"[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
"""Characters that an import refuses in an attribute."""


class Formulas(models.TextChoices):
    """What is done with cells that a spreadsheet would take for formulas."""

    SAFE = "safe", "An apostrophe goes before them"
    RAW = "raw", "They stay as they are"


@dataclass(frozen=True)
class Export:
    """What is to be exported, and how."""

    selection: Selection = field(default_factory=Selection)
    columns: tuple[str, ...] = STANDARD
    formulas: str = str(Formulas.SAFE)
    byte_order_mark: bool = True
    """Excel takes a CSV file without one for something else than UTF-8."""

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Export:
        """From the parameters of an address. Others are passed over. Raises InvalidInputError."""
        columns = tuple(name.strip() for name in (parameters.get("columns") or ",".join(STANDARD)).split(","))
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown:
            raise InvalidInputError.about(
                "columns", f"There is no column {unknown[0]!r}. Choose from: {', '.join(COLUMNS)}."
            )
        if len(set(columns)) < len(columns):
            raise InvalidInputError.about("columns", "A column is named twice. Name each of them once.")
        formulas = parameters.get("formulas") or str(Formulas.SAFE)
        if formulas not in Formulas.values:
            raise InvalidInputError.about(
                "formulas", f"formulas can't be {formulas!r}. Use one of: {', '.join(Formulas.values)}."
            )
        mark = parameters.get("bom") or "true"
        if mark not in ("true", "false"):
            raise InvalidInputError.about("bom", f"bom can't be {mark!r}. Use true or false.")
        return cls(Selection.parse(parameters), columns, formulas, mark == "true")


def csv_pieces(export: Export) -> Generator[bytes]:
    """The file in pieces. With the first one the products are chosen. Closing it early ends the database's work.

    Raises InvalidInputError if the products have too many attributes, and what a database raises.
    """
    with _snapshot() as session:
        names = attribute_names(session, export)
        waiting = (BYTE_ORDER_MARK if export.byte_order_mark else b"") + _header_line(export, names)
        statement, parameters = _select(export, names)
        with session.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT (FORMAT csv)", parameters) as rows:
            parts, size = [waiting], len(waiting)
            for row in rows:
                parts.append(bytes(row))
                size += len(row)
                if size >= PIECE:
                    yield b"".join(parts)
                    parts, size = [], 0
        yield b"".join(parts)


def write_csv(export: Export, file: IO[bytes]) -> None:
    """The whole of `csv_pieces`."""
    file.writelines(csv_pieces(export))


def write_workbook(export: Export, file: IO[bytes]) -> None:
    """The same as a workbook of one sheet, whose cells are all text: in it nothing is a formula.

    Raises InvalidInputError if a sheet can't hold it, and as `csv_pieces` does.
    """
    export = Export(export.selection, export.columns, str(Formulas.RAW))
    with _snapshot() as session:
        names = attribute_names(session, export)
        _refuse_what_no_sheet_holds(session, export)
        statement, parameters = _select(export, names)
        with session.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT", parameters) as rows:
            header = headers(export, names)
            write_sheet(file, "products", chain([header], rows.rows()), columns=len(header))


# --- columns -----------------------------------------------------------------------------------


def attribute_names(session: BaseDatabaseWrapper, export: Export) -> list[str]:
    """The attributes that the products have and a header can name, in order. Raises InvalidInputError if they
    are too many."""
    if "attributes" not in export.columns:
        return []
    products = export.selection.products().exclude(attributes={}).order_by().values("attributes")
    statement, parameters = products.query.sql_with_params()
    keys = f"SELECT DISTINCT jsonb_object_keys(attributes) FROM ({statement}) AS product LIMIT %s"  # noqa: S608
    with session.cursor() as cursor:
        cursor.execute(keys, [*parameters, MAX_ATTRIBUTES + 1])
        names = sorted(name for (name,) in cursor.fetchall())
    if len(names) > MAX_ATTRIBUTES:
        raise InvalidInputError(
            f"These products have more than {MAX_ATTRIBUTES} different attributes, and a file has a column for each. "
            "Export fewer products, or leave the attributes out: columns=sku,name,description,status",
            code="too_many_attributes",
        )
    return [name for name in names if name == name.strip() and not target_problem(ATTRIBUTE + name)]


def headers(export: Export, names: list[str]) -> list[str]:
    """The header row."""
    attributes = [ATTRIBUTE + name for name in names]
    return [header for column in export.columns for header in (attributes if column == "attributes" else [column])]


def _select(export: Export, names: list[str]) -> tuple[str, tuple[Any, ...]]:
    """The statement whose rows are those of the file."""
    chosen, parameters = export.selection.products().order_by().values(*_stored(export)).query.sql_with_params()
    values = "".join(f", attributes ->> %s AS attribute_{number}" for number in range(len(names)))
    cells = [cell for column in export.columns for cell in _cells(column, len(names), NEEDS_MARK[export.formulas])]
    # Ordered within, where the values of the attributes are looked up, which is done once for each.
    # The names are ours; those of attributes, and what is looked for, are parameters.
    inner = f"SELECT chosen.*{values} FROM ({chosen}) AS chosen ORDER BY id"  # noqa: S608
    return f"SELECT {', '.join(cells)} FROM ({inner}) AS product ORDER BY id", (*names, *parameters)  # noqa: S608


def _stored(export: Export) -> list[str]:
    return ["id", *export.columns]


def _cells(column: str, attributes: int, needs_mark: str) -> list[str]:
    if column == "attributes":
        names = [f"attribute_{number}" for number in range(attributes)]
        # What an import would refuse is left out.
        return [
            f"CASE WHEN length({name}) > {ATTRIBUTE_LIMIT} OR {name} ~ '{_CONTROL}' THEN NULL"
            f" ELSE {_marked(name, needs_mark)} END"
            for name in names
        ]
    return [_marked(column, needs_mark) if column in _TEXT else _AS_THEY_ARE[column]]


def _marked(value: str, needs_mark: str) -> str:
    pattern = needs_mark.replace("'", "''")
    return f"CASE WHEN {value} ~ '{pattern}' THEN '''' || {value} ELSE {value} END"


def _header_line(export: Export, names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(headers(export, names))
    return text.getvalue().encode()


# --- workbooks ---------------------------------------------------------------------------------


def _refuse_what_no_sheet_holds(session: BaseDatabaseWrapper, export: Export) -> None:
    statement, parameters = export.selection.products().order_by().values("sku", "description").query.sql_with_params()
    longest = "max(sku) FILTER (WHERE length(description) >= %s)" if "description" in export.columns else "NULL"
    asked = [SHEET_CELL] if "description" in export.columns else []
    with session.cursor() as cursor:
        cursor.execute(f"SELECT count(*), {longest} FROM ({statement}) AS product", [*asked, *parameters])  # noqa: S608
        count, sku = cursor.fetchone()
    if count >= SHEET_ROWS:
        raise InvalidInputError(
            f"{count:,} products are chosen, and a sheet holds {SHEET_ROWS - 1:,} below its header. "
            "Export them as CSV, or choose fewer.",
            code="too_many_rows",
        )
    if sku:
        raise InvalidInputError(
            f"The description of {sku} has more than the {SHEET_CELL:,} characters that a cell of a workbook holds. "
            "Export as CSV, or leave the descriptions out.",
            code="cell_too_long",
        )


# --- the database ------------------------------------------------------------------------------


@contextmanager
def _snapshot() -> Iterator[BaseDatabaseWrapper]:
    """A connection of its own, that sees the catalogue as it is now until it is closed: whoever iterates over a
    file does other things between two pieces, which are no part of its transaction. To the replica, where there is
    one: an export of millions keeps the server from cleaning up for minutes."""
    session = replica.caught_up() or connection.copy()
    try:
        with session.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SECONDS}s'")
            cursor.execute(f"SET LOCAL transaction_timeout = '{SECONDS}s'")
        yield session
    finally:
        with suppress(DatabaseError, InterfaceError):  # it may be gone
            session.rollback()
        session.close()
