"""The whole service in its real processes, and a client of its public API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import requests
from database import connect
from memory import Tree
from place import PROJECT, Place

READY_SECONDS = 90
IMPORT_SECONDS = 900
POLL_SECONDS = 0.02
BOUNDARY = "benchmark-boundary-7c1f"


class BenchmarkError(Exception):
    """What was measured is not what should have been; the message says how."""


@dataclass(frozen=True)
class Imported:
    """One import that ended in SUCCESS. Seconds count from the answer 202 to the upload."""

    upload_seconds: float
    seen_seconds: float
    """Until another connection sees the final state, asked every POLL_SECONDS: after the commit."""
    row_seconds: float
    """Until the `finished_at` of its row: just before the commit."""
    document: dict[str, Any]


class Service:
    def __init__(self, place: Place) -> None:
        from accounts.models import ApiToken, Scope, User

        self.place = place
        self.address = f"http://127.0.0.1:{place.port}"
        user = User.objects.create_superuser("bench", password=None)
        expiry = timedelta(hours=12)
        _, secret = ApiToken.issue(user, name="Benchmarks", scopes=[Scope.IMPORT, Scope.READ], expires_at=_in(expiry))
        self.token = secret
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {secret}"
        self.connection: psycopg.Connection = connect(place.places.database_url)

    # --- processes -----------------------------------------------------------------------------

    def start(self) -> None:
        from odata.processes import processes

        self._processes = {each.name: each for each in processes(port=self.place.port, live_port=self.place.live_port)}
        for name in self._processes:
            self.start_process(name)
        self.await_web()
        self.await_worker()

    def start_process(self, name: str) -> None:
        self.place.supervisor.start(self._processes[name].program(PROJECT, {}))

    def stop_process(self, name: str) -> None:
        self.place.supervisor.stop(name)

    def restart(self, name: str) -> None:
        self.stop_process(name)
        self.start_process(name)

    def tree(self, name: str) -> Tree:
        """The process of this name and its children."""
        return Tree(self.place.supervisor.children[name].process.pid)

    def await_web(self) -> None:
        self._await_answer("web", self.place.port)

    def await_live(self) -> None:
        self._await_answer("live", self.place.live_port)

    def _await_answer(self, name: str, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.check_alive()
            try:
                if self.session.get(f"http://127.0.0.1:{port}/livez", timeout=5).ok:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the {name} process did not answer within {READY_SECONDS} s")
            time.sleep(0.1)

    def await_worker(self) -> None:
        """Wait until the worker has forked its child and both are idle."""
        deadline = time.monotonic() + READY_SECONDS
        while len(self.tree("imports").pids()) < 2:
            self.check_alive()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the worker had no child within {READY_SECONDS} s")
            time.sleep(0.1)
        self.tree("imports").await_steady()

    def check_alive(self) -> None:
        for name, child in self.place.supervisor.children.items():
            if not child.alive:
                raise BenchmarkError(f"{name} has ended: {' / '.join(list(child.said)[-3:])}")

    # --- the API -------------------------------------------------------------------------------

    def upload(self, path: Path, content_type: str = "text/csv", **options: str) -> tuple[dict[str, Any], float]:
        """Send a file, or a multipart body made by `multipart`; the document and the seconds until the 202."""
        headers = {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{path.name}"'}
        with path.open("rb") as file:
            started = time.perf_counter()
            response = self.session.post(
                f"{self.address}/api/v1/imports/", data=file, headers=headers, params=options, timeout=300
            )
            seconds = time.perf_counter() - started
        if response.status_code != 202:
            raise BenchmarkError(f"the upload was answered {response.status_code}: {response.text[:300]}")
        return dict(response.json()), seconds

    def export(self, ending: str) -> tuple[int, float]:
        """Download the whole catalogue: bytes, and seconds from the request to the last of them."""
        started = time.perf_counter()
        path = f"{self.address}/api/v1/products/export.{ending}"
        with self.session.get(path, stream=True, timeout=300) as response:
            response.raise_for_status()
            size = sum(map(len, response.iter_content(1 << 20)))
            seconds = time.perf_counter() - started
        if size != int(response.headers["Content-Length"]):
            raise BenchmarkError(f"the export broke off after {size:,} bytes")
        return size, seconds

    def cancel(self, import_id: str) -> None:
        self.session.post(f"{self.address}/api/v1/imports/{import_id}/cancel/", timeout=60).raise_for_status()

    def import_file(self, path: Path, **expected: int) -> Imported:
        """Upload a file and wait for the end. Raises BenchmarkError unless it ends well, with the `expected` counts."""
        document, upload_seconds = self.upload(path)
        return self._follow(document, upload_seconds, **expected)

    def check_file(self, path: Path, **expected: int) -> Imported:
        """Upload a file to be looked at, and wait until it can be."""
        document, upload_seconds = self.upload(path, check_first="true")
        return self._follow(document, upload_seconds, **expected)

    def apply(self, checked: Imported, **expected: int) -> Imported:
        return self._act(checked, "apply", **expected)

    def undo(self, applied: Imported, **expected: int) -> Imported:
        return self._act(applied, "undo", **expected)

    def _act(self, on: Imported, action: str, **expected: int) -> Imported:
        response = self.session.post(self.address + on.document["links"][action], json={}, timeout=60)
        response.raise_for_status()
        return self._follow(response.json(), 0.0, **expected)

    def _follow(self, document: dict[str, Any], upload_seconds: float, **expected: int) -> Imported:
        accepted, accepted_at = time.perf_counter(), time.time()
        finished_at = self._await_end(document["id"])
        seen_seconds = time.perf_counter() - accepted
        document = self.session.get(f"{self.address}/api/v1/imports/{document['id']}/", timeout=60).json()
        wrong = {name: document[name] for name, count in expected.items() if document[name] != count}
        if (document["state"] != "SUCCESS" and document["phase"] != "checked") or wrong:
            what = document["file_name"]
            raise BenchmarkError(f"{what} ended as {document['state']}, {document['error']}, {wrong or ''}")
        return Imported(upload_seconds, seen_seconds, finished_at - accepted_at, document)

    def _await_end(self, import_id: str) -> float:
        """The time of the row's `finished_at`, or of its check; our clock and the database's are one."""
        deadline = time.monotonic() + IMPORT_SECONDS
        query = (
            "SELECT extract(epoch FROM CASE phase WHEN 'finished' THEN finished_at WHEN 'checked' THEN checked_at END)"
            "::float FROM products_import WHERE id = %s"
        )
        while time.monotonic() < deadline:
            row = self.connection.execute(query, [import_id]).fetchone()
            if row and row[0]:
                return float(row[0])
            self.check_alive()
            time.sleep(POLL_SECONDS)
        raise BenchmarkError(f"import {import_id} did not end within {IMPORT_SECONDS} s")


def multipart(path: Path, target: Path) -> tuple[Path, str]:
    """The body of a form with this file, on disk, and its content type: making it is not part of the upload."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{path.name}"'
    with target.open("wb") as body:
        body.write(f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: text/csv\r\n\r\n".encode())
        body.writelines(_blocks(path))
        body.write(f"\r\n--{BOUNDARY}--\r\n".encode())
    return target, f"multipart/form-data; boundary={BOUNDARY}"


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


def _in(time_from_now: timedelta) -> Any:
    from django.utils import timezone

    return timezone.now() + time_from_now
