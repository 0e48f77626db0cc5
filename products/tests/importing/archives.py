"""Archives and workbooks to import, made by hand: as small as their formats allow."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DATE, _DATE_AND_TIME, _TIME = 1, 2, 3
"""Styles of cells: Excel has no dates, but numbers that are shown as dates."""


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def _encrypted() -> bytes:
    """An archive that says of its file that it is encrypted, in both places where it says so."""
    data = bytearray(zip_of({"products.csv": b"sku,name\nA,Lamp\n"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


ENCRYPTED_ZIP = _encrypted()

Cell = str | int | float | bool | tuple[int, float] | None
"""A tuple is a number with a style. A text that begins with `=` is a formula and its value: `=1+1|2`."""


def date(days: int) -> tuple[int, float]:
    """By Excel's count, in which 45,000 is 2023-03-15."""
    return _DATE, days


def date_and_time(days: float) -> tuple[int, float]:
    return _DATE_AND_TIME, days


def time(days: float) -> tuple[int, float]:
    return _TIME, days


def xlsx(*sheets: Sequence[Sequence[Cell] | None], hidden: int = 0) -> bytes:
    """A workbook of sheets called Sheet1 and so on, the first `hidden` of which are. A row that is None is left out."""
    names = [f"Sheet{number}" for number in range(1, len(sheets) + 1)]
    states = ["hidden"] * hidden + ["visible"] * len(sheets)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" state="{state}" r:id="rId{number}"/>'
        for number, (name, state) in enumerate(zip(names, states, strict=False), start=1)
    )
    related = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    styles = f'<Relationship Id="rId0" Type="{_RELATIONS}/styles" Target="styles.xml"/></Relationships>'
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    formats = '<xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="21"/>'
    files = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">{related}{styles}',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><cellXfs count="4">{formats}</cellXfs></styleSheet>',
    }
    for number, rows in enumerate(sheets, start=1):
        files[f"xl/worksheets/sheet{number}.xml"] = _sheet(rows)
    return zip_of({name: content.encode() for name, content in files.items()})


def _sheet(rows: Sequence[Sequence[Cell] | None]) -> str:
    lines = []
    for number, row in enumerate(rows, start=1):
        if row is not None:
            cells = "".join(_cell(f"{_letters(column)}{number}", value) for column, value in enumerate(row))
            lines.append(f'<row r="{number}">{cells}</row>')
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def _letters(column: int) -> str:
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _cell(place: str, value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{value:d}</v></c>'
    if isinstance(value, tuple):
        return f'<c r="{place}" s="{value[0]}"><v>{value[1]}</v></c>'
    if isinstance(value, str) and value.startswith("="):
        formula, result = value[1:].split("|")
        return f'<c r="{place}"><f>{escape(formula)}</f><v>{result}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def ods(*rows: Sequence[str]) -> bytes:
    """A spreadsheet of LibreOffice with one sheet, Products, of texts."""
    table = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    name = "urn:oasis:names:tc:opendocument:xmlns:"
    content = (
        f'<office:document-content xmlns:office="{name}office:1.0" xmlns:table="{name}table:1.0" '
        f'xmlns:text="{name}text:1.0"><office:body><office:spreadsheet><table:table table:name="Products">{table}'
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    mimetype = b"application/vnd.oasis.opendocument.spreadsheet"
    manifest = f'<manifest:manifest xmlns:manifest="{name}manifest:1.0"/>'
    files = {"mimetype": mimetype, "content.xml": content.encode(), "META-INF/manifest.xml": manifest.encode()}
    return zip_of(files, zipfile.ZIP_STORED)
