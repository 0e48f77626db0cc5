"""How a peer is run: by its own Python, on a table that is ready for it, its seconds told as JSON.

The seconds count from the opening of the file to the end of the last commit: neither the start of
Python nor the import of its libraries counts against a peer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Load = Callable[[Path], int]
"""Loads a file and returns how many rows it had."""


def database_url() -> str:
    return sys.argv[1]


def table() -> str:
    return sys.argv[2]


def django_database() -> dict[str, str]:
    """The address as Django wants it."""
    url = urlsplit(database_url())
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.removeprefix("/"),
        "USER": url.username or "",
        "HOST": parse_qs(url.query)["host"][0],
    }


def run(load: Load) -> None:
    """Load the file that the command line names, and print what it took."""
    path = Path(sys.argv[3])
    started = time.perf_counter()
    rows = load(path)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mb": round(peak_kb() / 1024, 1)}))


def peak_kb() -> int:
    """The most memory that this process had. Not ru_maxrss, which begins with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
