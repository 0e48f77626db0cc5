"""A thousand watchers of one running import: how late they see what is written, and whether any misses the end.

    .venv/bin/python benchmarks/watchers.py [--rows 500000] [--watchers 1000]

The live process is the real one, the sockets are those of two programs beside it (`watching.py`), and the import runs
in the real worker: all share the processors of this machine. *Lag* is from the time that a snapshot bears, which is
that of the transaction that wrote it, to its arrival; where a socket skips a version, to the arrival of the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import database
import files
from memory import MB
from place import PROJECT, fresh_place
from service import BenchmarkError, Service

WATCHERS = 1000
PROGRAMS = 2
AT_ONCE = 20
"""Sockets that one program opens at a time."""
TURNS = 3


def measure(service: Service, path: Path, rows: int, watchers: int = WATCHERS) -> dict[str, Any]:
    """Three imports, each watched by all from before its start, then one that half of them join while it runs."""
    os.environ["LIVE_SOCKETS_PER_USER"] = str(2 * watchers)
    service.restart("live")
    service.await_live()
    tree = service.tree("live")
    tree.await_steady()
    idle = tree.resident()
    turns, memory = [], []
    for _ in range(TURNS):
        database.empty_catalogue(service.connection)
        turns.append(one_import(service, path, rows, watchers))
        memory.append(round(tree.highest_resident() / MB, 1))
    database.empty_catalogue(service.connection)
    joining = one_import(service, path, rows, watchers // 2, joining=watchers // 2)
    return {
        "watchers": watchers,
        **worst(turns),
        "joining": joining,
        "idle_mb": round(idle / MB, 1),
        "peak_mb": memory,
    }


def worst(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The highest of each figure; all have to hold every time."""
    return {name: max(turn[name] for turn in turns) for name in turns[0]}


def one_import(service: Service, path: Path, rows: int, watchers: int, joining: int = 0) -> dict[str, Any]:
    """The import waits until all who are to see its start have come; then the worker is let at it."""
    service.stop_process("imports")
    document, _ = service.upload(path)
    url = f"ws://127.0.0.1:{service.place.live_port}{document['links']['socket']}"
    with watching(service, url, watchers, PROGRAMS) as programs:
        join_seconds = await_ready(programs)
        used = service.tree("live").cpu_seconds()
        service.start_process("imports")
        if not joining:
            told = await_end(programs)
        else:
            await_progress(service, document["id"])
            with watching(service, url, joining, 1) as late:
                told = await_end([*programs, *late])
    used = service.tree("live").cpu_seconds() - used
    ended = service.session.get(f"{service.address}/api/v1/imports/{document['id']}/", timeout=60).json()
    if ended["state"] != "SUCCESS" or ended["rows_created"] != rows:
        raise BenchmarkError(f"the import ended as {ended['state']}, {ended['error']}")
    found = figures(told)
    return {**found, "cpu_ms_each": round(1000 * used / found["sent"], 3), "join_seconds": join_seconds}


@contextmanager
def watching(service: Service, url: str, count: int, programs: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, str(PROJECT / "benchmarks" / "watching.py"), url, str(count // programs), str(AT_ONCE)]
    environment = os.environ | {"TOKEN": service.token}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(programs)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def await_ready(programs: list[subprocess.Popen[bytes]]) -> float:
    started = time.monotonic()
    killers = [threading.Timer(60, program.kill) for program in programs]
    for killer in killers:
        killer.start()
    for program in programs:
        if not program.stdout or program.stdout.readline() != b"ready\n":
            raise BenchmarkError("the watchers did not all see the import within 60 s")
    for killer in killers:
        killer.cancel()
    return round(time.monotonic() - started, 2)


def await_end(programs: list[subprocess.Popen[bytes]]) -> list[dict[str, Any]]:
    """What the programs tell, in their last line."""
    return [json.loads(program.communicate(timeout=120)[0].splitlines()[-1]) for program in programs]


def await_progress(service: Service, import_id: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        row = service.connection.execute("SELECT rows_read FROM products_import WHERE id = %s", [import_id]).fetchone()
        if row and row[0]:
            return
        time.sleep(0.02)
    raise BenchmarkError("the import did not start")


def figures(told: list[dict[str, Any]]) -> dict[str, Any]:
    written = {int(version): at for each in told for version, at in each["written"].items()}
    sockets = [seen for each in told for seen in each["sockets"]]
    lags = sorted(lag for seen in sockets for lag in lags_of(seen, written))
    last = max(written)
    return {
        "p50_ms": at(lags, 0.5),
        "p99_ms": at(lags, 0.99),
        "most_ms": at(lags, 1.0),
        "end_p99_ms": at(sorted(seen[-1][1] - written[last] for seen in sockets), 0.99),
        "snapshots": len(written),
        "sent": sum(len(seen) - 1 for seen in sockets),
        "missed_the_end": sum(len(each["sockets"]) - each["ended"] for each in told),
        "cut_off": sum(code != 1000 for each in told for code in each["codes"]),
    }


def lags_of(seen: list[tuple[int, float]], written: dict[int, float]) -> Iterator[float]:
    """For each version after the first that this socket saw: from its writing to when it was seen, or a newer one."""
    since = seen[0][0]
    arrivals = iter(seen)
    version, arrived = next(arrivals)
    for each in sorted(written):
        if each <= since:
            continue
        while version < each:
            try:
                version, arrived = next(arrivals)
            except StopIteration:
                return
        yield arrived - written[each]


def at(values: list[float], share: float) -> float:
    return round(1000 * values[int((len(values) - 1) * share)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--watchers", type=int, default=WATCHERS)
    options = parser.parse_args()
    with fresh_place() as place:
        service = Service(place)
        service.start()
        path = files.make("shuffled", options.rows, place.home / "watched.csv")
        print(json.dumps(measure(service, path, options.rows, options.watchers), indent=1))


if __name__ == "__main__":
    main()
