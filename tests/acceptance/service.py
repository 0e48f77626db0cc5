"""The whole service as real processes on servers of its own, which may be killed without harm to others."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
import requests
from celery import Celery
from django.conf import settings
from psycopg.rows import dict_row

from common.tests.addresses import free_port
from common.tests.waiting import wait_until
from odata.connections import broker_address
from odata.embedded.places import Places
from odata.embedded.servers import start_servers
from odata.embedded.supervisor import Supervisor
from odata.processes import Process, processes, worker
from odata.tests.running import manage

END_STATES = ("SUCCESS", "FAILURE", "CANCELLED")
LEASE_SECONDS = 3
BATCH = 2_000
ENDS_WITHIN = 30.0
"""Seconds that an import may take to end by itself, whatever was done to it."""
PREPARE = """
from django.core.management import call_command
from accounts.models import ApiToken, User
call_command("migrate", verbosity=0)
user = User.objects.create_superuser("ada", password="correct horse battery")
print(ApiToken.issue(user, name="acceptance", scopes=["read", "write", "import"])[1])
"""
SECOND_WORKER = "imports-2"


@dataclass
class Upload:
    """A file that was accepted: what it is called by the service, and what is in it."""

    id: str
    text: str
    """Empty where it undoes another."""
    undoes: str = ""
    """The id of the import that it undoes."""
    session: int = 0
    """The pid of the database session that was seen to wait."""


@dataclass
class Watcher:
    """Asks for an import over the API, again and again until it ends, and keeps what it is told."""

    service: Service
    import_id: str
    seen: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._give_up.wait(0.1):
            answer = self.service.get(f"/api/v1/imports/{self.import_id}/")
            if answer.status_code != 200:
                self.refusals.append(answer.status_code)
                continue
            self.seen.append(answer.json())
            if self.seen[-1]["state"] in END_STATES:
                return

    def join(self, seconds: float = ENDS_WITHIN) -> None:
        """Wait until it has been told the end. What it was told before must be in order."""
        self._thread.join(seconds)
        assert self.seen and self.seen[-1]["state"] in END_STATES, f"the watcher of {self.import_id} saw no end"
        assert set(self.refusals) <= {503}, self.refusals
        assert_never_goes_back(self.seen)

    def stop(self) -> None:
        self._give_up.set()
        self._thread.join(10)


def assert_never_goes_back(documents: list[dict[str, Any]]) -> None:
    """Neither the version nor, within one attempt, the percentage or the rows read."""
    for before, after in pairwise(documents):
        assert before["version"] <= after["version"], (before, after)
        assert before["attempt"] <= after["attempt"], (before, after)
        if before["attempt"] == after["attempt"]:
            assert before["percent"] <= after["percent"], (before, after)
            assert before["rows_read"] <= after["rows_read"], (before, after)


class Service:
    """All processes of `odata.processes`, each of which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self.log: deque[str] = deque(maxlen=400)
        self.supervisor = Supervisor(self.note)
        self.port, self.live_port, self.receiver_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.uploads: list[Upload] = []
        self.watchers: list[Watcher] = []
        self.env = {
            "ODATA_HOME": str(home),
            "DATABASE_URL": self.places.database_url,
            "DATABASE_POOL_SIZE": "2",
            "REDIS_URL": self.places.redis_url,
            "CELERY_BROKER_URL": "",
            "SECRET_KEY": "only-for-tests",
            "LOG_LEVEL": "INFO",
            "PORT": str(self.port),
            "LIVE_PORT": str(self.live_port),
            "IMPORT_LEASE_SECONDS": str(LEASE_SECONDS),
            "IMPORT_SWEEP_SECONDS": "1",
            "IMPORT_BATCH_SIZE": str(BATCH),
            "WEBHOOK_ALLOWED_CIDRS": "127.0.0.0/8",
            "WEBHOOK_ALLOWED_PORTS": str(self.receiver_port),
            "TMPDIR": str(home / "tmp"),
        }
        second = worker("imports", 1)
        names = tuple(part.replace("imports@", f"{SECOND_WORKER}@") for part in second.command)
        every = [
            *processes(port=self.port, live_port=self.live_port),
            replace(second, name=SECOND_WORKER, command=names),
        ]
        self.processes: dict[str, Process] = {process.name: process for process in every}

    def note(self, line: str) -> None:
        """Keep what a process said, except for what the watchers asked."""
        if '"request": "GET' not in line:
            self.log.append(line)

    # --- as a whole ----------------------------------------------------------------------------

    def start_all(self) -> None:
        start_servers(self.supervisor, self.places, durable=False)
        (self.places.home / "tmp").mkdir(mode=0o700)
        done = manage("shell", "-v", "0", "-c", PREPARE, env={**os.environ, **self.env})
        assert done.returncode == 0, done.stderr
        self.token = done.stdout.split()[-1]
        self.make_whole()

    def stop_all(self) -> None:
        self.supervisor.stop_all()

    def stop_processes(self) -> None:
        """End all of it but the database and the queue."""
        self.supervisor.stop(*[name for name in self.supervisor.children if name not in ("postgres", "valkey")])

    def make_whole(self) -> None:
        """Have everything run that is part of the service. The second worker is not: who starts it stops it."""
        children = self.supervisor.children
        for name in ("postgres", "valkey"):
            if name not in children or not children[name].alive:
                start_servers(self.supervisor, self.places, postgres=name == "postgres", valkey=name == "valkey")
        missing = [name for name in self.processes if name != SECOND_WORKER and not self.runs(name)]
        self.start(*missing)

    def empty(self) -> None:
        """Begin anew: no product, no history, no import, no file."""
        self.log.clear()
        self.uploads.clear()
        self.execute_undisturbed(
            "SET odata.prune_history = 'on'; "
            "TRUNCATE products_product, products_productchange, products_import, webhooks_event, webhooks_delivery, "
            "webhooks_webhookendpoint CASCADE"
        )
        # Events are written where somebody wants them; one that is off is sent none.
        self.execute(
            "INSERT INTO webhooks_webhookendpoint (id, url, event_types, enabled, signatures) "
            "VALUES (uuidv7(), 'https://listener.example/', %s, false, '{v1}')",
            [f"import.{event}" for event in ("started", "completed", "failed", "cancelled", "undone")],
        )
        for file in self.stored_files():
            (self.places.home / "files" / file).unlink()

    # --- its processes -------------------------------------------------------------------------

    def runs(self, name: str) -> bool:
        return name in self.supervisor.children and self.supervisor.children[name].alive

    def start(self, *names: str) -> None:
        """Start these and wait until they take requests or messages."""
        for name in names:
            self.supervisor.start(self.processes[name].program(settings.BASE_DIR, self.env))
        for name in names:
            wait_until(lambda name=name: self._is_ready(name), f"{name} is ready")  # type: ignore[misc]

    def _is_ready(self, name: str) -> bool:
        if name in ("web", "live"):
            with suppress(requests.ConnectionError):
                port = self.port if name == "web" else self.live_port
                return requests.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200
            return False
        # Beat takes nothing: that it sends its sweeps is seen by what they do.
        return name == "beat" or any(" ready." in line for line in self.supervisor.children[name].said)

    def has_said(self, name: str, event: str, upload: Upload) -> int:
        """How often the process logged this event of the import or of its task."""
        return sum(line.startswith(name + " ") and event in line and upload.id in line for line in tuple(self.log))

    def stop(self, name: str) -> None:
        """End it in order."""
        if name in self.supervisor.children:
            self.supervisor.stop(name)

    def kill(self, name: str) -> None:
        """SIGKILL for the process and all its children."""
        child = self.supervisor.children.pop(name)
        child.signal_group(signal.SIGKILL)
        child.process.wait()
        child.reader.join(5)

    def kill_child(self, upload: Upload) -> None:
        """SIGKILL for the worker's child that has this import in its hands."""
        self.child_of(upload).kill()

    def child_of(self, upload: Upload) -> psutil.Process:
        """The worker's child that last claimed the import; the row names it."""
        return psutil.Process(int(self.row(upload)["worker"].rpartition(":")[2]))

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """While the process and its children stand still."""
        child = self.supervisor.children[name]
        child.signal_group(signal.SIGSTOP)
        try:
            yield
        finally:
            child.signal_group(signal.SIGCONT)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """While a process and all that it has started stand still; those of PostgreSQL are no group."""
        first = psutil.Process(self.supervisor.children[name].process.pid)
        first.suspend()  # it starts no more of them
        stopped = [first, *first.children(recursive=True)]
        for each in stopped[1:]:
            each.suspend()
        try:
            yield
        finally:
            for each in stopped:
                each.resume()

    # --- its database, queue and files -----------------------------------------------------------

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            host=str(self.places.sockets),
            user="odata",
            dbname="odata",
            application_name="acceptance",
            autocommit=autocommit,
            row_factory=dict_row,
        )

    def query(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        with self.connect() as connection:
            return connection.execute(statement, parameters).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        with self.connect() as connection:
            connection.execute(statement, parameters)

    def execute_undisturbed(self, statement: str) -> None:
        """The same for a statement that locks whole tables, which the running service may deadlock with."""
        for _ in range(5):
            try:
                return self.execute(statement)
            except psycopg.errors.DeadlockDetected:
                continue
        return self.execute(statement)

    def row(self, upload: Upload) -> dict[str, Any]:
        """The row of the import."""
        return self.query("SELECT * FROM products_import WHERE id = %s", upload.id)[0]

    def is_at_attempt(self, upload: Upload, attempt: int) -> bool:
        return bool(self.row(upload)["attempt"] == attempt)

    def staging_tables(self) -> list[str]:
        tables = self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'staging'")
        return [f"staging.{table['tablename']}" for table in tables]

    def stored_files(self) -> set[str]:
        files = self.places.home / "files"
        return {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}

    def empty_valkey(self) -> None:
        with redis.Redis.from_url(self.places.redis_url) as valkey:
            valkey.flushall()

    def age_message(self, upload: Upload) -> None:
        """As if the message that the import waits had been sent half a minute earlier."""
        self.execute(
            "UPDATE products_import SET dispatched_at = dispatched_at - interval '30 s' WHERE id = %s", upload.id
        )

    def start_valkey(self) -> None:
        start_servers(self.supervisor, self.places, postgres=False)

    def send_again(self, upload: Upload) -> None:
        """One more copy of the message that the import waits."""
        with Celery(broker=broker_address(self.places.redis_url), set_as_current=False) as sender:
            sender.send_task("products.tasks.run_import", [upload.id], task_id=upload.id, queue="imports")

    # --- its API -------------------------------------------------------------------------------

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, headers=self.headers, timeout=30)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        headers = {**self.headers, **({"Content-Type": "text/csv"} if body is not None else {})}
        return requests.post(self.url + path, data=body, headers=headers, timeout=30, **options)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def upload(self, text: str, body: Any = None, **options: str) -> Upload:
        """Send a file, as `body` if that is given, and have it watched until its end."""
        answer = self.post("/api/v1/imports/", text.encode() if body is None else body, params=options)
        return self._follow(answer, text)

    def check(self, text: str) -> Upload:
        """Send a file to be looked at, and wait until it can be."""
        upload = self.upload(text, check_first="true")
        wait_until(lambda: self.row(upload)["phase"] == "checked", f"the check of {upload.id}", ENDS_WITHIN)
        return upload

    def apply(self, upload: Upload) -> None:
        answer = self.post(f"/api/v1/imports/{upload.id}/apply/", json={})
        assert answer.status_code == 202, answer.text

    def undo(self, upload: Upload) -> Upload:
        """Have it undone, and the undo watched."""
        return self._follow(self.post(f"/api/v1/imports/{upload.id}/undo/"), "", undoes=upload.id)

    def _follow(self, answer: requests.Response, text: str, undoes: str = "") -> Upload:
        assert answer.status_code == 202, answer.text
        upload = Upload(answer.json()["id"], text, undoes=undoes)
        self.uploads.append(upload)
        self.watchers.append(Watcher(self, upload.id))
        return upload

    def cancel(self, upload: Upload) -> None:
        answer = self.post(f"/api/v1/imports/{upload.id}/cancel/")
        assert answer.status_code == 202, answer.text

    def await_end(self, upload: Upload, seconds: float = ENDS_WITHIN) -> dict[str, Any]:
        """The row of the import when it has ended, by itself."""
        ended: dict[str, Any] = {}

        def has_ended() -> bool:
            with suppress(psycopg.OperationalError):  # a database that recovers
                ended.update(self.row(upload))
            return ended.get("state") in END_STATES

        wait_until(has_ended, f"the end of the import {upload.id}", seconds)
        return ended

    def import_(self, text: str) -> Upload:
        """Upload a file and wait until it is applied."""
        upload = self.upload(text)
        ended = self.await_end(upload)
        assert ended["state"] == "SUCCESS", ended
        return upload
