"""The SQL of the dispatcher."""

from __future__ import annotations

from pathlib import Path

from common.statements import Statements

statement = Statements(Path(__file__).parent / "sql")
