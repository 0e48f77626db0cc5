"""What is measured. Each case adds its seconds to the results under a name of its own."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import database
import deliveries
import files
import reads
import watchers
from memory import watch
from place import PROJECT, Place
from service import BenchmarkError, Imported, Service, multipart

PEER_SECONDS = 300
PEER_TABLE = "bench_peer"
BULK_SLICE = 10_000
DEFAULT_SLICE = 5_000
LARGE, SMALL = 20, 1
"""Sizes of the catalogues that the same file is merged into, in files."""
BIG_UPLOAD_BYTES = 200_000_000

Case = Callable[[], None]


class Cases:
    """The measurements of one run: its servers, its files and its results."""

    def __init__(self, service: Service, place: Place, rows: int, peers_python: Path) -> None:
        self.service, self.place, self.rows, self.peers_python = service, place, rows, peers_python
        self.connection = database.connect(place.places.database_url)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.other: dict[str, Any] = defaultdict(dict)
        self._files: dict[tuple[str, int], Path] = {}

    def file(self, kind: str, rows: int | None = None) -> Path:
        """A file of this kind, made when it is first asked for."""
        rows = rows or self.rows
        if (kind, rows) not in self._files:
            self._files[kind, rows] = files.make(kind, rows, self.place.home / f"{kind}-{rows}.csv")
        return self._files[kind, rows]

    # --- our own -------------------------------------------------------------------------------

    def raw_copy(self, kind: str) -> None:
        self.seconds[f"copy {kind}"].append(database.raw_copy(self.connection, self.file(kind)))

    def imports(self, kind: str) -> None:
        """Into the empty catalogue; the same once more; then a file in which every row differs: looked at, discarded,
        applied, undone; and the first undone too."""
        database.empty_catalogue(self.connection)
        service, file, changed = self.service, self.file(kind), self.file(f"{kind}-changed")
        first = self._time("first", kind, lambda: service.import_file(file, rows_created=self.rows))
        self._time("unchanged", kind, lambda: service.import_file(file, rows_unchanged=self.rows))
        check = self._time("check", kind, lambda: service.check_file(changed, rows_updated=self.rows))
        service.cancel(check.document["id"])
        change = self._time("changed", kind, lambda: service.import_file(changed, rows_updated=self.rows))
        self._time("undo of changes", kind, lambda: service.undo(change, rows_updated=self.rows))
        self._time("undo of the first", kind, lambda: service.undo(first, rows_deleted=self.rows))

    def check_and_apply(self, kind: str) -> None:
        """New products: looked at, then applied."""
        database.empty_catalogue(self.connection)
        check = self._time(
            "check of new", kind, lambda: self.service.check_file(self.file(kind), rows_created=self.rows)
        )
        self._time("apply", kind, lambda: self.service.apply(check, rows_created=self.rows))

    def _time(self, name: str, kind: str, act: Callable[[], Imported]) -> Imported:
        database.settle(self.connection)
        done = act()
        self.seconds[f"{name} {kind}"].append(done.seen_seconds)
        self.seconds[f"{name} {kind}, by finished_at"].append(done.row_seconds)
        self.seconds[f"{name} {kind}, upload"].append(done.upload_seconds)
        return done

    # --- the peers -----------------------------------------------------------------------------

    def bulk_create(self) -> None:
        self._make_peer_table(unique="(sku)")
        self._peer("bulk_create", "bulk_create", self.file("shuffled"))

    def sqlmodel(self) -> None:
        self._make_peer_table(unique="(sku)")
        self._peer("sqlmodel", "sqlmodel_objects", self.file("shuffled"))

    def dict_and_copy(self) -> None:
        database.make_copy_of_products(self.connection, PEER_TABLE)
        for name in ("dict and copy, first", "dict and copy, again"):
            self._peer(name, "dict_and_copy", self.file("shuffled"))

    def import_export(self) -> None:
        for mode, rows in (("default", DEFAULT_SLICE), ("bulk", BULK_SLICE), ("tuned", BULK_SLICE)):
            rows = min(rows, self.rows)
            self._make_peer_table(unique="(sku)")
            self._peer(f"import-export {mode}", "with_import_export", self.file("shuffled", rows), mode, rows=rows)

    def _make_peer_table(self, *, unique: str) -> None:
        """Like the catalogue's, but unique by the sku as it stands: these peers know of no index on an expression."""
        database.make_copy_of_products(self.connection, PEER_TABLE)
        self.connection.execute(f"DROP INDEX {PEER_TABLE}_lower_idx")
        self.connection.execute(f"CREATE UNIQUE INDEX ON {PEER_TABLE} {unique}")

    def _peer(self, name: str, script: str, path: Path, *arguments: str, rows: int | None = None) -> None:
        """Run a peer; where it had only a slice of the rows, its seconds are scaled to all of them."""
        database.settle(self.connection, PEER_TABLE)
        program = [str(self.peers_python), str(PROJECT / "benchmarks" / "peers" / f"{script}.py")]
        command = [*program, self.place.places.database_url, PEER_TABLE, str(path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_SECONDS, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"{script} failed: {done.stderr[-2000:]}")
        said = json.loads(done.stdout.splitlines()[-1])
        rows = rows or self.rows
        if said["rows"] != rows or self._count(PEER_TABLE) != rows:
            raise BenchmarkError(f"{script} loaded {said['rows']:,} of {rows:,} rows")
        self.seconds[name].append(said["seconds"] * self.rows / rows)
        self.other["peers"][name] = {"rows": rows, "peak_mb": said["peak_mb"]}

    def _count(self, table: str) -> int:
        row = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(row[0]) if row else 0

    # --- memory and uploads --------------------------------------------------------------------

    def worker_memory(self, rows: int) -> None:
        """Of a worker that has just started, while it does its first import."""
        path = self.file("shuffled", rows)
        database.empty_catalogue(self.connection)
        self.service.restart("imports")
        self.service.await_worker()
        idle = self.service.tree("imports").resident()
        with watch(self.service.tree("imports")) as growth:
            done = self.service.import_file(path, rows_created=rows)
        self.other["worker memory"][str(rows)] = {
            **growth.as_mb(),
            "idle_mb": round(idle / 2**20, 1),
            "file_bytes": path.stat().st_size,
            "seconds": done.seen_seconds,
        }

    def uploads(self, repeats: int) -> None:
        """Seconds and memory of taking files in, with nothing beside it: the worker rests."""
        self.service.stop_process("imports")
        big_rows = self.rows * BIG_UPLOAD_BYTES // self.file("shuffled").stat().st_size + 1
        for size, rows in (("the file", self.rows), ("200 MB", big_rows)):
            path = self.file("sorted", rows)
            form, form_type = multipart(path, self.place.home / "form.body")
            for way, body, content_type in (("raw", path, "text/csv"), ("multipart", form, form_type)):
                self._uploads(f"upload {size}, {way}", body, content_type, repeats)
        self.service.start_process("imports")
        self.service.await_worker()

    def _uploads(self, name: str, body: Path, content_type: str, repeats: int) -> None:
        self.service.restart("web")
        self.service.await_web()
        self._warm_up()
        tree = self.service.tree("web")
        tree.await_steady()
        idle = tree.resident()
        with watch(tree) as growth:
            for _ in range(repeats):
                document, seconds = self.service.upload(body, content_type)
                self.seconds[name].append(seconds)
                self.service.cancel(document["id"])
        self.other["web memory"][name] = {
            **growth.as_mb(),
            "idle_mb": round(idle / 2**20, 1),
            "file_bytes": body.stat().st_size,
        }

    def _warm_up(self) -> None:
        """An idle web process is one that has served before: requests of all kinds, a small upload too."""
        for _ in range(20):
            self.service.session.get(f"{self.service.address}/api/v1/products/", timeout=30).raise_for_status()
        document, _ = self.service.upload(self.file("sorted", 10))
        self.service.cancel(document["id"])

    # --- exports -------------------------------------------------------------------------------

    def exports(self, repeats: int) -> None:
        """Seconds and memory of the web process, whose answer a client takes as fast as it comes."""
        self._fill_catalogue(SMALL)
        for ending in ("csv", "xlsx"):
            self.service.restart("web")
            self.service.await_web()
            self._warm_up()
            tree = self.service.tree("web")
            tree.await_steady()
            idle, size = tree.resident(), 0
            with watch(tree) as growth:
                for _ in range(repeats):
                    size, seconds = self.service.export(ending)
                    self.seconds[f"export {ending}"].append(seconds)
            self.other["export memory"][f"export {ending}"] = {
                **growth.as_mb(),
                "idle_mb": round(idle / 2**20, 1),
                "file_bytes": size,
            }
        database.empty_catalogue(self.connection)

    # --- webhooks ------------------------------------------------------------------------------

    def webhooks(self) -> None:
        """With dispatchers of its own: those of the service rest meanwhile."""
        for name in ("beat", "webhooks"):
            self.service.stop_process(name)
        self.other["webhooks"] = deliveries.measure(self.place)
        for name in ("webhooks", "beat"):
            self.service.start_process(name)

    # --- reads ---------------------------------------------------------------------------------

    def reads(self) -> None:
        """By web processes of its own, each with its settings: that of the service rests meanwhile."""
        database.empty_catalogue(self.connection)
        secret = str(self.service.session.headers["Authorization"]).removeprefix("Bearer ")
        self.other["reads"] = reads.measure(self.place, secret, self.peers_python)
        database.empty_catalogue(self.connection)

    # --- watchers ------------------------------------------------------------------------------

    def watchers(self) -> None:
        self.other["watchers"] = watchers.measure(self.service, self.file("shuffled"), self.rows)

    # --- a large catalogue ---------------------------------------------------------------------

    def large(self, repeats: int) -> None:
        """The same files into a catalogue of 20 times their size, and into one of their size."""
        path = self.place.home / "large.csv"
        for size, name in ((SMALL, "small"), (LARGE, "large")):
            for number in range(repeats):
                self._fill_catalogue(size)
                files.write(files.spread(self.rows, f"v{number}"), path, shuffle=True)
                self._time("changed", f"in a {name} catalogue", lambda: self.service.import_file(path))
                files.write(files.between(self.rows, f"v{number}"), path, shuffle=True)
                self._time("first", f"in a {name} catalogue", lambda: self.service.import_file(path))
        database.empty_catalogue(self.connection)

    def _fill_catalogue(self, size: int) -> None:
        """Products whose skus are those of `files.spread` or, in the large one, lie between them too."""
        database.empty_catalogue(self.connection)
        self.connection.execute(
            "INSERT INTO products_product (sku, name, description) SELECT 'OD-' || lpad(n::text, 7, '0'), "
            "'Product ' || n, repeat('Made for a catalogue that is large. ', 4) FROM generate_series(0, %s, %s) AS n",
            [self.rows * files.SPREAD - 1, files.SPREAD // size],
        )
