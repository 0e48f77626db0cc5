"""Imports within the process of the test: taken in, run, and looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.core.files.storage import default_storage
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.models import User
from products.catalogue import CATALOGUE_LOCK
from products.importing import pipeline, receiver
from products.importing.options import ImportOptions
from products.models import Import, Product, ReportedRow
from webhooks.models import Event, WebhookEndpoint

DEADLINE = 20.0
"""Seconds that a condition may take to come true on a busy machine."""


def csv(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def numbered(count: int, name: str = "Lamp", start: int = 0) -> str:
    """A file of so many good rows."""
    return csv("sku,name", *(f"SKU-{number:06d},{name}" for number in range(start, start + count)))


def received(content: str | bytes, *, user: User | None = None, **options: str) -> Import:
    """An import that waits for a worker, and somebody who wants to hear of it."""
    listen()
    data = content.encode() if isinstance(content, str) else content
    return receiver.receive([data], file_name="products.csv", options=ImportOptions.parse(options), user=user)


def run(import_: Import) -> Import:
    """Do the work of a worker, and return the import as it then is."""
    pipeline.run(import_.pk, worker="test")
    return read(import_)


def imported(content: str | bytes, *, user: User | None = None, **options: str) -> Import:
    return run(received(content, user=user, **options))


def read(import_: Import) -> Import:
    return Import.objects.get(pk=import_.pk)


# --- what came of it ---------------------------------------------------------------------------


class Counts(NamedTuple):
    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    duplicate: int = 0


def counts(import_: Import) -> Counts:
    """What an import that was applied says of its rows; every row is one of the kinds."""
    assert import_.state == Import.State.SUCCESS, f"{import_.state}: {import_.error_message}"
    counts = Counts(
        import_.rows_read,
        import_.rows_created,
        import_.rows_updated,
        import_.rows_unchanged,
        import_.rows_rejected,
        import_.rows_duplicate,
    )
    assert counts.read == sum(counts[1:])
    return counts


def catalogue() -> dict[str, tuple[str, str, str, int]]:
    """sku -> (name, description, status, version)"""
    rows = Product.objects.values_list("sku", "name", "description", "status", "version")
    return {sku: (name, description, status, version) for sku, name, description, status, version in rows}


def names() -> dict[str, str]:
    return dict(Product.objects.values_list("sku", "name"))


def reported(import_: Import) -> list[tuple[int, str]]:
    """(line, code) of each row that was not applied."""
    rows = ReportedRow.objects.filter(source_import=import_).order_by("line_number", "outcome")
    return [(row.line_number, error["code"]) for row in rows for error in row.errors]


def listen() -> None:
    """Events are written where an endpoint wants them. This one is off: nothing is sent."""
    event_types = [f"import.{event}" for event in ("started", "completed", "failed", "cancelled", "undone")]
    WebhookEndpoint.objects.get_or_create(url="https://listener.example/", enabled=False, event_types=event_types)


def events(import_: Import) -> list[str]:
    """The types of the events that the import has put into the outbox, oldest first."""
    return [event.event_type for event in Event.objects.order_by("id") if event_data(event)["id"] == str(import_.pk)]


def event_data(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.body)["data"]
    return data


def staging_tables() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r'")
        return {name for (name,) in cursor.fetchall()}


def stored_text(import_: Import) -> bytes:
    with default_storage.open(import_.stored_file) as file:
        return bytes(file.read())


# --- others at work ----------------------------------------------------------------------------


class Aside(threading.Thread):
    """Something done in a thread of its own. What it raises is kept as `error`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._work = work

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()


@contextmanager
def aside(work: Callable[[], object]) -> Iterator[Aside]:
    """Do this work beside the block, and wait for it when the block is done."""
    thread = Aside(work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(DEADLINE)
    assert not thread.is_alive()


@contextmanager
def other_session() -> Iterator[BaseDatabaseWrapper]:
    """A connection of somebody else; what it leaves open is rolled back at the end."""
    other = connection.copy()
    other.inc_thread_sharing()
    try:
        yield other
    finally:
        other.close()


def execute(session: BaseDatabaseWrapper, sql: str, *parameters: object) -> None:
    with session.cursor() as cursor:
        cursor.execute(sql, parameters)


@contextmanager
def catalogue_held() -> Iterator[Callable[[], None]]:
    """The catalogue's lock is somebody else's: imports stage, but wait with merging. Gives the
    function that lets go of it."""
    with other_session() as other:
        execute(other, "SELECT pg_advisory_lock(%s)", CATALOGUE_LOCK)
        yield lambda: execute(other, "SELECT pg_advisory_unlock_all()")


def waiting_for_lock() -> int:
    """How many sessions of this database wait for a lock that another one has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])
