"""Where the time of one import goes: its stages one by one, in this process.

    .venv/bin/python benchmarks/stages.py [--rows 500000] [--kind shuffled] [--repeats 3] [--explain]

Wall clock, processor time of this process and processor time of the database, each as a median; and
the wall clock as a ratio to raw COPY of the same file, made in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import database
import files
import psutil
from place import Place, fresh_place

FIRST, AGAIN, CHANGED = "first", "unchanged", "all changed"


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    client: float
    database: float


class Clock:
    """Measures what happens within `with clock(stage)`, and keeps it by the stage's name."""

    def __init__(self, postmaster: int) -> None:
        self.measured: dict[str, list[Spent]] = defaultdict(list)
        self._postmaster = psutil.Process(postmaster)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        before = self._now()
        yield
        self.measured[stage].append(Spent(*(after - then for after, then in zip(self._now(), before, strict=True))))

    def _now(self) -> Spent:
        return Spent(time.perf_counter(), time.process_time(), self._database_seconds())

    def _database_seconds(self) -> float:
        """Processor time of all of the database's processes, also those that have ended."""
        ended = self._postmaster.cpu_times()
        seconds = ended.children_user + ended.children_system
        for process in self._postmaster.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                seconds += used.user + used.system
        return float(seconds)


class Attempt:
    """One file, taken in and claimed, with its staging table; nothing watches and no progress is written."""

    def __init__(self, path: Path) -> None:
        from products.importing import lease, stager
        from products.importing.reader import open_reader
        from products.importing.reporter import Reporter

        claimed = lease.claim(receive(path), "stages")
        assert claimed is not None
        self.import_ = claimed
        self.reporter = Reporter(claimed)
        stager.create(claimed)
        self.stream = path.open("rb")
        self.reader = open_reader(self.stream, total_bytes=claimed.bytes_total)
        self.sku_at = self.reader.layout.positions["sku"]
        self.chunks: list[Any] = []

    def stage(self) -> None:
        from products.importing.stager import Stager

        self.chunks = list(Stager(self.import_, self.reader, self.reporter).chunks())

    def find_duplicates(self) -> None:
        from products.importing import comparer, stager
        from products.models import Import

        rule = Import.Duplicates(self.import_.duplicates)
        list(comparer.take_duplicates(stager.staging_table(self.import_), self.reader.layout, rule))

    def merge(self) -> None:
        from django.db import transaction

        from products.importing.merger import Merger

        merger = Merger(self.import_, self.reporter, self.sku_at)
        with transaction.atomic():
            merger.open()
            merger.settle(self.chunks)
            merger.finish()

    def explain(self) -> list[str]:
        """How the database merges the second chunk. Undone."""
        from django.db import connection, transaction

        from products.importing.merger import Merger
        from products.importing.statements import statement

        merger = Merger(self.import_, self.reporter, self.sku_at)
        sql = statement("merge_chunk", **merger.names)
        chunk = self.chunks[min(1, len(self.chunks) - 1)]
        values = merger.parameters_of(chunk)
        with transaction.atomic(), connection.cursor() as cursor:
            merger.open()
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, WAL, COSTS OFF) {sql}", values)
            plan = [line for (line,) in cursor.fetchall()]
            transaction.set_rollback(True)
        return [f"A chunk of {chunk.rows:,} rows:", *plan]

    def close(self) -> None:
        from products.importing import lease, stager

        self.stream.close()
        self.reporter.staged.close()
        self.reporter.merging.close()
        stager.drop(self.import_)
        lease.cancelled(self.import_)  # where it was not merged


def receive(path: Path) -> uuid.UUID:
    """Take the file in, as an upload would."""
    from products.importing import receiver
    from products.importing.options import ImportOptions

    with path.open("rb") as file:
        blocks = iter(lambda: file.read(1 << 20), b"")
        return receiver.receive(blocks, file_name=path.name, options=ImportOptions(), user=None).pk


def time_reading(clock: Clock, path: Path) -> None:
    """The file alone, without a database."""
    from products.importing.reader import open_reader
    from products.importing.validator import make_validator

    with clock("read"), path.open("rb") as stream:
        for _ in open_reader(stream, total_bytes=path.stat().st_size):
            pass
    with clock("read + validate"), path.open("rb") as stream:
        reader = open_reader(stream, total_bytes=path.stat().st_size)
        validate = make_validator(reader.layout)
        for line_number, cells in reader:
            validate(line_number, cells)


def time_stages(clock: Clock, path: Path, what: str) -> None:
    """One after the other, which the worker does at the same time."""
    with contextlib.closing(Attempt(path)) as attempt:
        with clock("read + validate + stage"):
            attempt.stage()
        with clock("find duplicates"):
            attempt.find_duplicates()
        with clock(f"merge, {what}"):
            attempt.merge()


def time_whole(clock: AbstractContextManager[None], path: Path) -> None:
    """All of it, as the worker does it."""
    from products.importing import pipeline

    import_id = receive(path)
    with clock:
        pipeline.run(import_id, worker="stages")


def explain(path: Path) -> str:
    with contextlib.closing(Attempt(path)) as attempt:
        attempt.stage()
        return "\n".join(attempt.explain())


def measure(place: Place, wanted: argparse.Namespace) -> Clock:
    clock = Clock(place.supervisor.children["postgres"].process.pid)
    path = files.make(wanted.kind, wanted.rows, place.home / "products.csv")
    changed = files.make(f"{wanted.kind}-changed", wanted.rows, place.home / "changed.csv")
    steps = ((path, FIRST), (path, AGAIN), (changed, CHANGED))
    with database.connect(place.places.database_url) as connection:
        for _ in range(wanted.repeats):
            with clock("raw COPY"):
                database.raw_copy(connection, path)
            time_reading(clock, path)
            database.empty_catalogue(connection)
            for file, what in steps:
                database.settle(connection)
                time_stages(clock, file, what)
            database.empty_catalogue(connection)
            for file, what in steps:
                database.settle(connection)
                time_whole(clock(f"whole import, {what}"), file)
        if wanted.explain:
            print(f"\nAll changed. {explain(path)}")
            database.empty_catalogue(connection)
            database.settle(connection)
            print(f"\nFirst. {explain(path)}")
    return clock


def show(clock: Clock) -> None:
    copy_seconds = median(spent.wall for spent in clock.measured["raw COPY"])
    print(f"\n{'stage':<30}{'seconds':>9}{'x COPY':>9}   processor: {'client':>8}{'database':>10}")
    for stage, values in clock.measured.items():
        spent = Spent(*(median(each) for each in zip(*values, strict=True)))
        ratio = spent.wall / copy_seconds
        print(f"{stage:<30}{spent.wall:>9.2f}{ratio:>9.2f}{'':>14}{spent.client:>8.2f}{spent.database:>10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--kind", choices=["sorted", "shuffled", "plain"], default="shuffled")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--explain", action="store_true", help="also show how the database merges one chunk")
    arguments = parser.parse_args()
    with fresh_place() as somewhere:
        show(measure(somewhere, arguments))
