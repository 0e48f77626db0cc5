"""The SQL of imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db.backends.utils import CursorWrapper

from common.statements import Statements

statement = Statements(Path(__file__).parent / "sql")


@contextmanager
def streamed(cursor: CursorWrapper, sql: str, parameters: dict[str, Any] | None = None) -> Iterator[Iterator[Any]]:
    """The rows of a statement as they come. What is left of them at the end of the block is given up.

    A stream that is left open keeps its connection locked: a rollback after an error would wait for it for ever.
    """
    rows = cursor.stream(sql, parameters)
    try:
        yield rows
    finally:
        rows.close()
