"""The SQL of imports: one statement a file in `sql/`, each with what it is for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"


@cache
def _text(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def statement(name: str, *, staging: str = "") -> str:
    """The statement `sql/<name>.sql` for one staging table. Values are parameters, never part of the text."""
    return _text(name).replace("{staging}", staging)
