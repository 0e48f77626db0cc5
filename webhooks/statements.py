"""The SQL of the dispatcher: one statement a file in `sql/`, each with what it is for."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_COMMENT = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)


@cache
def statement(name: str) -> str:
    """The statement `sql/<name>.sql`, without its comments: those are for readers of the file."""
    return _COMMENT.sub("", (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")).strip()
