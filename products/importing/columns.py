"""The columns that a product file may have: one declaration for reader, validator, docs and template."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from products.importing.errors import FileError
from products.importing.formulas import without_mark

MAX_COLUMNS = 1_000


@dataclass(frozen=True)
class Column:
    """One column of a product.

    ``headers`` are the names it goes by in files; case, spaces, hyphens and underscores don't count.
    ``limit`` is the largest number of characters. ``values`` maps each accepted cell, in lower case,
    to what is stored; empty means that any text is taken.
    """

    name: str
    headers: tuple[str, ...]
    limit: int
    help: str
    example: str
    required: bool = False
    values: Mapping[str, str] = field(default_factory=dict)


SKU = Column(
    name="sku",
    headers=(
        "sku",
        "product sku",
        "item sku",
        "sku code",
        "sku number",
        "product code",
        "item code",
        "article code",
        "product number",
        "item number",
        "article number",
        "part number",
        "stock keeping unit",
        "code",
    ),
    limit=100,
    help="Identifies the product; upper and lower case are the same. Spaces around it are removed.",
    example="LAMP-001",
    required=True,
)
NAME = Column(
    name="name",
    headers=("name", "product name", "item name", "article name", "title", "product title", "product"),
    limit=255,
    help="What the product is called. A new product needs one. Spaces around it are removed.",
    example="Desk lamp",
)
DESCRIPTION = Column(
    name="description",
    headers=("description", "product description", "long description", "item description", "desc", "details"),
    limit=100_000,
    help="Any text, also of several lines when the cell is quoted. Kept as it is.",
    example="Brass, 40 cm, with switch",
)
STATUS = Column(
    name="status",
    headers=("status", "product status", "state", "active", "is active", "enabled", "is enabled"),
    limit=100,
    help="Whether the product is on offer. A new product is active unless the file says otherwise.",
    example="active",
    values={
        **dict.fromkeys(("active", "enabled", "true", "yes", "y", "on", "1"), "active"),
        **dict.fromkeys(("inactive", "disabled", "false", "no", "n", "off", "0"), "inactive"),
    },
)

COLUMNS = (SKU, NAME, DESCRIPTION, STATUS)

UNSEEN = r"\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Characters that nobody sees, as within the brackets of a regular expression: soft hyphens, spaces and joiners of no
width, marks of direction and of byte order. They come with what is copied from web pages, or from file to file. Two
skus that differ in them look the same."""


_unseen = re.compile(f"[{UNSEEN}]")


def fold(header: str) -> str:
    """The header without what people vary in it, or don't see: `Product-SKU ` and `product_sku` are one."""
    return "".join(_unseen.sub("", header).casefold().replace("-", " ").replace("_", " ").split())


_BY_HEADER = {fold(header): column for column in COLUMNS for header in column.headers}


def find(header: str) -> Column | None:
    """The column that goes by this header, or None."""
    return _BY_HEADER.get(fold(header))


def names_by_header() -> dict[str, str]:
    """Folded header -> name of its column, for those who match headers elsewhere, such as the upload page."""
    return {header: column.name for header, column in _BY_HEADER.items()}


ATTRIBUTE = "attributes."
"""What a target of a mapping begins with that keeps a column as an attribute."""
ATTRIBUTE_NAME_LIMIT = 100
ATTRIBUTE_LIMIT = 10_000
"""Characters of an attribute's value."""


def target_problem(target: str) -> str:
    """Why a column of a file can't be mapped to this, as a sentence; empty if it can."""
    if not target or target in {column.name for column in COLUMNS}:
        return ""
    name = target.removeprefix(ATTRIBUTE)
    if name == target:
        return (
            f"Use one of {', '.join(column.name for column in COLUMNS)}, {ATTRIBUTE}NAME, or nothing to leave it out."
        )
    if not name.strip() or len(name) > ATTRIBUTE_NAME_LIMIT or not name.isprintable():
        return f"An attribute's name has 1 to {ATTRIBUTE_NAME_LIMIT} printable characters."
    return ""


REPORT_COLUMNS = ("_line", "_error")
"""What a file of rejected rows has before the columns of its own file: a line there, and what is wrong with its row."""


@dataclass(frozen=True)
class Layout:
    """Which cell of a row belongs to which column."""

    header: tuple[str, ...]
    """The header row as it stands in the file."""
    positions: Mapping[str, int]
    """Name of the column -> index of its cell."""
    ignored_columns: tuple[str, ...]
    """Headers that are no column of a product; one without a name is called by its place."""
    attributes: Mapping[str, int] = field(default_factory=dict)
    """Name of the attribute -> index of its cell, for columns that are kept as such."""


def header_name(header: Sequence[str], position: int) -> str:
    """What a column is called: by its header or, where it has none, by its place."""
    return without_mark(header[position].strip()) or f"(column {position + 1})"


def own_header(header: str) -> str:
    """The header as the file has it for which this one was made: without a mark, and empty for a column that is
    called by its place, as in a file of rejected rows."""
    name = without_mark(header.strip())
    return "" if _place.fullmatch(name) else name


def is_of_report(header: str) -> bool:
    """Whether this is a column that a file of rejected rows adds."""
    return header.strip().casefold() in REPORT_COLUMNS


_place = re.compile(r"\(column [0-9]+\)")


def target_of(name: str, mapping: Mapping[str, str]) -> str:
    """Where the column of this header goes: as the mapping says, else to the column that goes by it, or to the
    attribute that it names, as `attributes.NAME`; "" is nowhere."""
    if name in mapping:
        return mapping[name]
    if name[: len(ATTRIBUTE)].casefold() == ATTRIBUTE:
        target = ATTRIBUTE + name[len(ATTRIBUTE) :].strip()
        return "" if target_problem(target) else target
    column = find(name)
    return column.name if column else ""


def read_layout(header: Sequence[str], line_number: int, mapping: Mapping[str, str] | None = None) -> Layout:
    """Match the header row of a file. Raises FileError where it can't be the header of a product file."""
    if len(header) > MAX_COLUMNS:
        raise FileError(
            f"Line {line_number} has {len(header):,} columns; at most {MAX_COLUMNS:,} are read. "
            "Remove the columns that are not needed.",
            code="too_many_columns",
        )
    if not any(name.strip() for name in header):
        raise FileError(
            f"Line {line_number} should name the columns, but its cells are all empty. "
            "Begin the file with a line such as: sku,name,description,status",
            code="header_missing",
        )
    positions: dict[str, int] = {}
    ignored = []
    mapping = {without_mark(name): target for name, target in (mapping or {}).items()}
    for position in range(len(header)):
        name = header_name(header, position)
        target = target_of(name, mapping)
        if not target:
            ignored.append(name)
        elif target in positions:
            raise _repeated(header, target, positions[target], position)
        else:
            positions[target] = position
    if SKU.name not in positions:
        raise _sku_missing(header, line_number)
    columns = {target: position for target, position in positions.items() if not target.startswith(ATTRIBUTE)}
    attributes = {
        target.removeprefix(ATTRIBUTE).strip(): position
        for target, position in positions.items()
        if target.startswith(ATTRIBUTE)
    }
    return Layout(tuple(header), columns, tuple(ignored), attributes)


def template_csv() -> str:
    """A file to start from: every column and one product."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.name for column in COLUMNS])
    writer.writerow([column.example for column in COLUMNS])
    return text.getvalue()


def _repeated(header: Sequence[str], target: str, first: int, second: int) -> FileError:
    return FileError(
        f"“{header[first].strip()}” (column {first + 1}) and “{header[second].strip()}” (column {second + 1}) "
        f"both mean {target}. Remove or rename one of them, or map it to something else.",
        code="column_repeated",
    )


def _sku_missing(header: Sequence[str], line_number: int) -> FileError:
    shown = ", ".join(f"“{name.strip()[:60]}”" for name in header[:20])
    more = f" and {len(header) - 20} more" if len(header) > 20 else ""
    return FileError(
        f"No column of line {line_number} is the sku. Found: {shown}{more}. "
        f"The first line must name the columns, and the sku goes by one of: {', '.join(SKU.headers)}. "
        "A column of another name can be mapped to it.",
        code="sku_column_missing",
    )
