"""What the uploader of a file may choose."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from common.errors import FieldError, InvalidInputError
from products.importing import columns
from products.models import Import

_SHARE = r"(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?) ?%"
LIMIT = rf"(none|[0-9]{{1,12}}|{_SHARE}|[0-9]{{1,12}}, ?{_SHARE}|{_SHARE}, ?[0-9]{{1,12}})"
"""Pattern of what `Limit.parse` reads, for schemas."""
_COUNT = re.compile(r"[0-9]{1,12}")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%")


@dataclass(frozen=True)
class Limit:
    """How many rows may be rejected, or products deactivated, before the file is taken for a wrong one. None sets no
    limit."""

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> Limit:
        """`100`, `10%`, `100,10%` (more than both) or `none`. Raises ValueError for anything else."""
        if text.strip().lower() == "none":
            return cls()
        rows: int | None = None
        percent: float | None = None
        for part in map(str.strip, text.split(",")):
            if rows is None and _COUNT.fullmatch(part):
                rows = int(part)
            elif percent is None and (match := _PERCENT.fullmatch(part)) and float(match[1]) <= 100:
                percent = float(match[1])
            else:
                raise ValueError("Give a number of rows, a percentage, or both, such as 100, 10% or 100,10%; or none.")
        return cls(rows, percent)

    def exceeded(self, rejected: int, rows: float) -> bool:
        """Whether this many rejected ones, of so many rows read (or expected), are too many. Where
        both limits are set, both must be passed: ten bad rows of twenty are not yet a wrong file."""
        if self.rows is None and self.percent is None:
            return False
        over_rows = self.rows is None or rejected > self.rows
        over_percent = self.percent is None or rejected > rows * self.percent / 100
        return over_rows and over_percent

    def __str__(self) -> str:
        parts = []
        if self.rows is not None:
            parts.append(str(self.rows))
        if self.percent is not None:
            parts.append(f"{self.percent:g}%")
        return ",".join(parts) or "none"

    def words(self, of: str) -> str:
        """The limits for people: `100 rows and 10 % of the rows`."""
        limits = []
        if self.rows is not None:
            limits.append(f"{self.rows:,} {of}")
        if self.percent is not None:
            limits.append(f"{self.percent:g} % of the {of}")
        return " and ".join(limits)

    def sentence(self, rejected: int, rows: int) -> str:
        """Why the import was stopped, for code `too_many_rejects`."""
        return (
            f"{rejected:,} of the first {rows:,} rows were rejected, more than {self.words('rows')}. "
            "Is this the right file? Nothing was applied: look at the rejected rows and correct the file, "
            "or allow more by max_rejects."
        )


MAPPING_LIMIT = 64 * 1024
_NO_ENCODINGS_OF_FILES = (
    "idna",
    "punycode",
    "undefined",
    "unicode_escape",
    "raw_unicode_escape",
    "utf-7",
    "mbcs",
    "oem",
)
_ENCODING = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_unstorable = re.compile("[\0\ud800-\udfff]").search
"""What PostgreSQL's JSON can't hold: NUL, and halves of surrogate pairs."""


@dataclass(frozen=True)
class FileFormat:
    """What the uploader says of the file. None: find it out."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    """The quotation mark; empty for a file that has none."""
    header_line: int | None = None
    """The line that names the columns; what stands before it is passed over."""
    sheet: str | None = None
    """Name of a workbook's sheet."""

    @classmethod
    def parse(cls, mapping: Mapping[str, str], errors: list[FieldError]) -> FileFormat:
        """From a form or a query; what is not understood is added to `errors`."""
        texts = {name: mapping.get(name) or None for name in ("encoding", "delimiter", "quote", "header_line", "sheet")}
        if texts["encoding"] and not _known_encoding(texts["encoding"]):
            errors.append(_wrong("encoding", texts["encoding"], "Name one such as utf-8, utf-16 or windows-1252."))
        delimiter = {"tab": "\t", "\\t": "\t"}.get(texts["delimiter"] or "", texts["delimiter"])
        if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
            errors.append(_wrong("delimiter", delimiter, "Give one character, or tab."))
        quote = "" if texts["quote"] == "none" else texts["quote"]
        if quote and (len(quote) != 1 or quote in "\r\n\0" or quote == delimiter):
            errors.append(_wrong("quote", quote, "Give one character that is not the delimiter, or none."))
        errors += [
            _wrong(name, text.encode(errors="replace").decode(), "It holds what is no character of a text.")
            for name, text in texts.items()
            if text and _unstorable(text)
        ]
        line = texts["header_line"]
        if line and not (line.isascii() and line.isdigit() and len(line) < 10 and 1 <= int(line) <= MAX_HEADER_LINE):
            errors.append(_wrong("header_line", line, f"Give a line from 1 to {MAX_HEADER_LINE}."))
            line = None
        return cls(texts["encoding"], delimiter, quote, int(line) if line else None, texts["sheet"])

    @classmethod
    def of(cls, import_: Import) -> FileFormat:
        return cls(**import_.file_format)

    def as_dict(self) -> dict[str, Any]:
        """What was said, without what was not."""
        return {name: value for name, value in asdict(self).items() if value is not None}


MAX_HEADER_LINE = 1_000


@dataclass(frozen=True)
class ImportOptions:
    """How one import treats its file. ``max_rejects`` and ``max_deactivated`` are as `Limit.parse` reads them."""

    mode: str = Import.Mode.UPSERT.value
    on_error: str = Import.OnError.SKIP.value
    max_rejects: str = "100,10%"
    duplicates: str = Import.Duplicates.LAST.value
    empty_cells: str = Import.EmptyCells.KEEP.value
    max_deactivated: str = "10%"
    check_first: bool = False
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Header -> column, `attributes.NAME`, or "" for a column to leave out. Headers that are not here are matched."""
    file_format: FileFormat = FileFormat()

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> ImportOptions:
        """Options from a form, a query, a JSON body or a command line. What is absent or empty keeps its default.

        Raises InvalidInputError naming every option that is not understood.
        """
        errors: list[FieldError] = []
        texts = {
            name: str(value)
            for name, value in mapping.items()
            if isinstance(value, str | int) and not isinstance(value, bool)
        }
        mode = _choice(texts, "mode", Import.Mode.values, cls.mode, errors)
        options = cls(
            mode=mode,
            on_error=_choice(texts, "on_error", Import.OnError.values, cls.on_error, errors),
            max_rejects=_limit(texts, "max_rejects", cls.max_rejects, errors),
            duplicates=_choice(texts, "duplicates", Import.Duplicates.values, cls.duplicates, errors),
            empty_cells=_choice(texts, "empty_cells", Import.EmptyCells.values, cls.empty_cells, errors),
            max_deactivated=_limit(texts, "max_deactivated", cls.max_deactivated, errors),
            # A file that is taken for all there is may silence the whole catalogue: it is always looked at first.
            check_first=_flag(mapping, "check_first", errors) or mode == Import.Mode.SYNC,
            mapping=_mapping(mapping.get("mapping"), errors),
            file_format=FileFormat.parse(texts, errors),
        )
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), errors=errors)
        return options

    @classmethod
    def of(cls, import_: Import) -> ImportOptions:
        """Those of this import."""
        fields = {each.name: getattr(import_, each.name) for each in dataclass_fields(cls)}
        return cls(**fields | {"file_format": FileFormat.of(import_)})

    def as_fields(self) -> dict[str, Any]:
        """The same by the names of an import's fields."""
        fields = {each.name: getattr(self, each.name) for each in dataclass_fields(self)}
        return fields | {"mapping": dict(self.mapping), "file_format": self.file_format.as_dict()}


def parse_format(mapping: Mapping[str, str]) -> FileFormat:
    """`FileFormat.parse` by itself. Raises InvalidInputError naming every option that is not understood."""
    errors: list[FieldError] = []
    file_format = FileFormat.parse(mapping, errors)
    if errors:
        raise InvalidInputError(" ".join(error.message for error in errors), errors=errors)
    return file_format


OPTION_NAMES = (*(each.name for each in dataclass_fields(ImportOptions) if each.name != "file_format"),)
FORMAT_NAMES = tuple(each.name for each in dataclass_fields(FileFormat))


def _choice(mapping: Mapping[str, str], name: str, choices: list[str], default: str, errors: list[FieldError]) -> str:
    text = mapping.get(name, "").strip()
    if not text:
        return default
    if text not in choices:
        message = f"{name} can't be “{text[:40]}”. Use one of: {', '.join(choices)}."
        errors.append(FieldError(f"/{name}", "invalid_choice", message))
    return text


def _limit(mapping: Mapping[str, str], name: str, default: str, errors: list[FieldError]) -> str:
    text = mapping.get(name, "").strip()
    if not text:
        return default
    try:
        return str(Limit.parse(text))
    except ValueError as error:
        errors.append(_wrong(name, text, str(error)))
        return default


def read_limit(text: str) -> str:
    """A limit such as `10%`, as it is stored; empty stays empty. Raises InvalidInputError."""
    errors: list[FieldError] = []
    limit = _limit({"max_deactivated": text}, "max_deactivated", "", errors)
    if errors:
        raise InvalidInputError(errors[0].message, errors=errors)
    return limit


def _flag(mapping: Mapping[str, Any], name: str, errors: list[FieldError]) -> bool:
    value = mapping.get(name, "")
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in ("", "true", "false", "1", "0", "on", "off", "yes", "no"):
        errors.append(_wrong(name, text, "Use true or false."))
    return text in ("true", "1", "on", "yes")


def _mapping(value: Any, errors: list[FieldError]) -> dict[str, str]:
    """The mapping as an object, or as the JSON text of one. Whether it fits the file is known when its header is."""
    if not value:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value[: MAPPING_LIMIT + 1])
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict) or not all(isinstance(target, str) for target in value.values()):
        errors.append(
            _wrong(
                "mapping", str(value), 'Give a JSON object such as {"Artikel": "sku", "Farbe": "attributes.colour"}.'
            )
        )
        return {}
    if any(map(_unstorable, value)):
        errors.append(FieldError("/mapping", "invalid_mapping", "A header in it holds what is no character of a file."))
    for header, target in value.items():
        if problem := columns.target_problem(target):
            errors.append(
                FieldError(
                    "/mapping", "invalid_mapping", f"“{header[:40]}” can't be mapped to “{target[:60]}”. {problem}"
                )
            )
    return dict(value)


def _known_encoding(name: str) -> bool:
    try:
        if not _ENCODING.fullmatch(name):
            return False
        codec = codecs.lookup(name)
        return codec._is_text_encoding and codec.name not in _NO_ENCODINGS_OF_FILES  # the flag that str.encode asks
    except LookupError:
        return False


def _wrong(name: str, text: str, advice: str) -> FieldError:
    return FieldError(f"/{name}", "invalid", f"{name} “{text[:40]}” is not understood. {advice}")
