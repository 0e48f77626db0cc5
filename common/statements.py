"""SQL in files of its own: one statement a file, each with what it is for, in the folder `sql` of who uses it."""

from __future__ import annotations

import re
from pathlib import Path

_PLACE = re.compile(r"\{([a-z_]+)\}")
_COMMENT = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)


class Statements:
    """The statements of a folder.

    In them `{staging}` and the like stand for names that the caller gives, and `{differs}` and the like for the file of
    that name. Values are parameters, never part of the text.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[str, str] = {}
        """As they stand in the files. Filled in they are not kept: each import has tables of its own names."""

    def __call__(self, name: str, **names: str) -> str:
        """The statement `<name>.sql` for these names of tables and the like."""

        def filled(match: re.Match[str]) -> str:
            part = match[1]
            return names[part] if part in names else self(part, **names)

        return _PLACE.sub(filled, self._text(name))

    def _text(self, name: str) -> str:
        """Without comments, which are for readers of the files: PostgreSQL's log is shorter so."""
        if name not in self._texts:
            text = (self._folder / f"{name}.sql").read_text(encoding="utf-8")
            self._texts[name] = _COMMENT.sub("", text).strip()
        return self._texts[name]
