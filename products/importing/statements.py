"""The SQL of imports: one statement a file in `sql/`, each with what it is for.

`{staging}` and the like stand for names that the caller gives, and `{differs}` and the like for the file of
that name. Values are parameters, never part of the text.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_PLACE = re.compile(r"\{([a-z_]+)\}")
_COMMENT = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)


@cache
def _text(name: str) -> str | None:
    file = _FOLDER / f"{name}.sql"
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


@cache
def statement(name: str, **names: str) -> str:
    """The statement `sql/<name>.sql` for these names of tables and the like."""

    def filled(match: re.Match[str]) -> str:
        part = match[1]
        return names[part] if part in names else statement(part, **names)

    text = _text(name)
    if text is None:
        raise KeyError(f"sql/{name}.sql")
    # Comments are for readers of the files; PostgreSQL's log is shorter without them.
    return _PLACE.sub(filled, _COMMENT.sub("", text))
