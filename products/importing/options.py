"""What the uploader of a file may choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import FieldError, InvalidInputError
from products.models import Import

_COUNT = re.compile(r"[0-9]{1,12}")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%")


@dataclass(frozen=True)
class MaxRejects:
    """How many rows may be rejected before the file is taken for a wrong one. None sets no limit."""

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> MaxRejects:
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

    def sentence(self, rejected: int, rows: int) -> str:
        """Why the import was stopped, for code `too_many_rejects`."""
        limits = []
        if self.rows is not None:
            limits.append(f"{self.rows:,} rows")
        if self.percent is not None:
            limits.append(f"{self.percent:g} % of the rows")
        return (
            f"{rejected:,} of the first {rows:,} rows were rejected, more than {' and '.join(limits)}. "
            "Is this the right file? Nothing was applied: look at the rejected rows and correct the file, "
            "or allow more by max_rejects."
        )


@dataclass(frozen=True)
class ImportOptions:
    """How one import treats its file. ``max_rejects`` is the text that `MaxRejects.parse` reads."""

    mode: str = Import.Mode.UPSERT.value
    on_error: str = Import.OnError.SKIP.value
    max_rejects: str = "100,10%"

    @classmethod
    def parse(cls, mapping: Mapping[str, str]) -> ImportOptions:
        """Options from a form, a query or a command line. What is absent or empty keeps its default.

        Raises InvalidInputError naming every option that is not understood.
        """
        errors: list[FieldError] = []
        mode = _choice(mapping, "mode", Import.Mode.values, cls.mode, errors)
        on_error = _choice(mapping, "on_error", Import.OnError.values, cls.on_error, errors)
        max_rejects = cls.max_rejects
        if text := mapping.get("max_rejects", "").strip():
            try:
                max_rejects = str(MaxRejects.parse(text))
            except ValueError as error:
                errors.append(FieldError("/max_rejects", "invalid", f"“{text[:40]}” is not understood. {error}"))
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), errors=errors)
        return cls(mode, on_error, max_rejects)


def _choice(mapping: Mapping[str, str], name: str, choices: list[str], default: str, errors: list[FieldError]) -> str:
    text = mapping.get(name, "").strip()
    if not text:
        return default
    if text not in choices:
        message = f"{name} can't be “{text[:40]}”. Use one of: {', '.join(choices)}."
        errors.append(FieldError(f"/{name}", "invalid_choice", message))
    return text
