"""Measure the import, the upload and the peers in one run, and write docs/performance.md.

    make bench                              all of it, some 20 minutes on 2 cores
    make bench BENCH_ARGS=--quick           50,000 rows: does everything work? The ratios say little
    make bench BENCH_ARGS=--large           also into a catalogue of 20 times the file, much longer
    make bench BENCH_ARGS="--only imports"  a part; the rest of docs/performance.md stays as it is

It starts a PostgreSQL, a Valkey and all processes of the service in a folder of its own below
TMPDIR, and leaves nothing of them behind. Raw results go to benchmarks/results/.
Only what was measured with 500,000 rows and 5 times gets into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import machine
import report
from cases import Case, Cases
from place import PROJECT, fresh_place
from service import BenchmarkError, Service

RESULTS = PROJECT / "benchmarks" / "results"
PAGE = PROJECT / "docs" / "performance.md"
PARTS = ("copy", "imports", "peers", "memory", "uploads", "exports", "webhooks", "reads", "watchers")
QUICK_ROWS, QUICK_REPEATS = 50_000, 3


def rounds(cases: Cases, parts: set[str], repeats: int) -> None:
    """Everything that is compared by its seconds, in turns: what disturbs the machine disturbs all alike."""
    turns: list[tuple[str, Case]] = []
    if "copy" in parts:
        turns += [(f"raw COPY, {kind}", partial(cases.raw_copy, kind)) for kind in ("shuffled", "sorted")]
    if "imports" in parts:
        turns += [(f"imports, {kind}", partial(cases.imports, kind)) for kind in ("shuffled", "sorted")]
        turns += [("check and apply", partial(cases.check_and_apply, "shuffled"))]
    if "peers" in parts:
        turns += [
            ("peer: dict and COPY", cases.dict_and_copy),
            ("peer: bulk_create", cases.bulk_create),
            ("peer: SQLModel", cases.sqlmodel),
            ("peer: django-import-export", cases.import_export),
        ]
    for number in range(repeats):
        start = number % max(len(turns), 1)
        for name, case in turns[start:] + turns[:start]:
            step(f"{number + 1}/{repeats} {name}", case)


def step(name: str, case: Case) -> None:
    started = time.monotonic()
    print(f"{datetime.now(UTC):%H:%M:%S} {name} ...", end="", flush=True)
    case()
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def measure(cases: Cases, wanted: argparse.Namespace) -> None:
    parts = set(wanted.only or PARTS) | ({"copy"} if "imports" in (wanted.only or ()) else set())
    rounds(cases, parts, wanted.repeats)
    if "memory" in parts:
        for rows in (wanted.rows // 5, wanted.rows, wanted.rows * 10):
            step(f"memory of the worker, {rows:,} rows", partial(cases.worker_memory, rows))
    if "uploads" in parts:
        step("uploads", lambda: cases.uploads(wanted.repeats))
    if "exports" in parts:
        step("exports", lambda: cases.exports(wanted.repeats))
    if "webhooks" in parts:
        step("webhooks", cases.webhooks)
    if "reads" in parts:
        step("reads", cases.reads)
    if "watchers" in parts:
        step("watchers", cases.watchers)
    if wanted.large:
        step("a large catalogue", lambda: cases.large(min(wanted.repeats, 3)))


def run(wanted: argparse.Namespace) -> dict[str, Any]:
    """All measurements, as one document."""
    started = time.monotonic()
    with fresh_place() as place:
        service = Service(place)
        step("starting the service", service.start)
        cases = Cases(service, place, wanted.rows, wanted.peers_python)
        about = machine.describe(cases.connection)
        measure(cases, wanted)
        file_bytes = cases.file("shuffled").stat().st_size if wanted.whole else 0
    return {
        "whole": wanted.whole,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": shlex.join(["make", "bench", *([f"BENCH_ARGS={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else [])]),
        "commit": _commit(),
        "rows": wanted.rows,
        "repeats": wanted.repeats,
        "file_bytes": file_bytes,
        "minutes": (time.monotonic() - started) / 60,
        "machine": about,
        "seconds": cases.seconds,
        "other": cases.other,
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def keep(results: dict[str, Any], fit_for_the_page: bool) -> None:
    """Write the raw results, and the page: the one in docs only where they are fit to be shown."""
    RESULTS.mkdir(exist_ok=True)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    raw = RESULTS / f"{name}.json"
    raw.write_text(json.dumps(results, indent=1), encoding="utf-8")
    target = PAGE if fit_for_the_page else RESULTS / f"{name}.md"
    if fit_for_the_page and not results["whole"]:
        text = report.renewed(PAGE.read_text(encoding="utf-8"), results)
    else:
        text = report.page(results)
    target.write_text(text, encoding="utf-8")
    print(f"\nResults: {raw.relative_to(PROJECT)}\nPage: {target.relative_to(PROJECT)}\n")
    if not results["whole"]:
        print(report.measured(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=_positive, help="rows of the file (500000)")
    parser.add_argument("--repeats", type=_positive, help="how often each is measured (5)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be given several times")
    parser.add_argument("--large", action="store_true", help="also import into a catalogue of 20 times the file")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows, {QUICK_REPEATS} times")
    parser.add_argument("--peers-python", type=Path, default=PROJECT / "benchmarks" / ".venv" / "bin" / "python")
    wanted = parser.parse_args()
    wanted.fit_for_the_page = not (wanted.quick or wanted.rows or wanted.repeats)
    wanted.whole = wanted.fit_for_the_page and not wanted.only
    wanted.rows = wanted.rows or (QUICK_ROWS if wanted.quick else 500_000)
    wanted.repeats = wanted.repeats or (QUICK_REPEATS if wanted.quick else 5)
    if {"peers", "reads"}.intersection(wanted.only or PARTS) and not wanted.peers_python.exists():
        parser.error(f"the peers' libraries are not there ({wanted.peers_python}): `make bench` installs them.")
    return wanted


def _positive(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise ValueError
    return number


def main() -> None:
    wanted = parse_arguments()
    try:
        keep(run(wanted), wanted.fit_for_the_page)
    except BenchmarkError as error:
        sys.exit(f"\nThe run was broken off: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped; nothing was written.")


if __name__ == "__main__":
    main()
