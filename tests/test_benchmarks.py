"""docs/performance.md is what `make bench` writes, also where it measures only a part."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

PAGE = Path(settings.BASE_DIR) / "docs" / "performance.md"
MACHINE = {
    "cpu": "CPU",
    "cores": 2,
    "memory_gb": 8,
    "kernel": "Linux",
    "load_before": 0.5,
    "versions": {},
    "database": {},
}
EXPORTS: dict[str, Any] = {
    "whole": False,
    "date": "2030-01-01",
    "command": "make bench 'BENCH_ARGS=--only exports'",
    "rows": 500_000,
    "machine": MACHINE,
    "seconds": {"export csv": [2.0, 1.0, 4.0]},
    "other": {
        "export memory": {"export csv": {"file_bytes": 9e7, "idle_mb": 1, "resident_mb": 30, "proportional_mb": 1}}
    },
}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(settings.BASE_DIR) / "benchmarks"))
    yield importlib.import_module("report")
    del sys.modules["report"]


def test_the_page_is_the_template_with_what_was_measured(report: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert report.filled(report.blocks_of(page)) == page


def test_a_run_of_a_part_renews_its_tables_and_no_others(report: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")

    before, after = report.blocks_of(page), report.blocks_of(report.renewed(page, EXPORTS))

    assert {name for name, block in after.items() if before[name] != block} == {"exports", "export_memory"}
    assert "| export csv | 90 MB | 2.00 (1.00–4.00) | 250,000 |" in after["exports"]
    assert "Measured on 2030-01-01 by `make bench 'BENCH_ARGS=--only exports'`; load before: 0.5." in after["exports"]
    assert "missed by 5.0 MB" in after["export_memory"]
