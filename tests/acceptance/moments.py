"""Files for the tests of faults, and the moments at which these happen.

A moment is hit from outside: the test holds a lock that the worker runs into, does its worst while
the worker stands there, and lets go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from common.tests.waiting import wait_until
from products.catalogue import CATALOGUE_LOCK
from tests.acceptance.service import Service, Upload

ROWS = 5_000
LINE_OF_SKU = 2
"""What is to be added to a row's number to get its line in the file."""
REJECTED_ROW = 4_321
"""A row, in the third chunk, that every file of `changes` rejects."""


def first_file(rows: int = ROWS) -> str:
    """Some products."""
    return _file(f"SKU-{number:05},Product {number},,active" for number in range(rows))


def changes(word: str, rows: int = 2 * ROWS) -> str:
    """Every third product changed, new ones, and a few lines of every kind that is not applied."""
    lines = [
        f"sku-{number:05},Product {number}{f' {word}' if number % 3 == 0 else ''},,active" for number in range(rows)
    ]
    lines[REJECTED_ROW] = f"SKU-{REJECTED_ROW:05},no such status,,sold"
    lines[7] = "SKU-00008,replaced by the next line,,active"
    lines[20] = "SKU-00021,too few cells"
    lines[9_000] = "NEW-9000,,no name,active"
    return _file(lines)


def in_reverse(text: str) -> str:
    """The file with its last line first."""
    header, *lines = text.splitlines()
    return "\n".join([header, *reversed(lines)]) + "\n"


def _file(lines: Iterable[str]) -> str:
    return "\n".join(["sku,name,description,status", *lines]) + "\n"


# --- moments -----------------------------------------------------------------------------------


@contextmanager
def transaction(service: Service) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A transaction of the test's own, rolled back at the end."""
    with service.connect(autocommit=False) as connection:
        yield connection
        with suppress(psycopg.OperationalError):  # the server itself may have been killed meanwhile
            connection.rollback()


def await_blocked(service: Service, by: psycopg.Connection[Any]) -> int:
    """Wait until a worker stands at a lock of this connection; returns the pid of the worker's session."""
    found: list[dict[str, Any]] = []

    def stands() -> bool:
        found[:] = service.query(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'odata-worker-imports'"
            " AND %s = ANY(pg_blocking_pids(pid))",
            by.info.backend_pid,
        )
        return bool(found)

    wait_until(stands, "the worker stands at the lock", 20)
    return int(found[0]["pid"])


@contextmanager
def while_staging(service: Service, text: str) -> Iterator[Upload]:
    """While the worker stages a file, two chunks of which are staged already."""
    with transaction(service) as session:
        with service.paused("imports"):
            upload = service.upload(text)
            # The report of this row is one that the worker will want to write, and can't while ours is undecided.
            session.execute(
                "INSERT INTO products_reportedrow (import_id, outcome, line_number, errors, cells)"
                " VALUES (%s, 'rejected', %s, '[]', '[]')",
                [upload.id, REJECTED_ROW + LINE_OF_SKU],
            )
        upload.session = await_blocked(service, session)
        yield upload


@contextmanager
def held_up(service: Service) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """While nobody gets past a product of the second chunk of `changes`."""
    with transaction(service) as session:
        session.execute("SELECT FROM products_product WHERE sku = 'SKU-03000' FOR UPDATE")
        yield session


@contextmanager
def while_merging(service: Service, text: str) -> Iterator[Upload]:
    """While the worker merges, one chunk of the file being merged already and the second under way."""
    with held_up(service) as session:
        upload = service.upload(text)
        upload.session = await_blocked(service, session)
        yield upload


@contextmanager
def just_after_the_commit(service: Service, text: str) -> Iterator[Upload]:
    """While the worker clears up after an import that is committed."""
    with transaction(service) as session:
        with while_merging(service, text) as upload:
            (table,) = service.staging_tables()
            session.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        await_blocked(service, session)
        yield upload


@contextmanager
def catalogue_taken(service: Service) -> Iterator[None]:
    """While nobody gets to merge. The workers stage, and then ask for the catalogue again and again."""
    with transaction(service) as session:
        session.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOGUE_LOCK])
        yield


def are_queueing(service: Service, workers: int) -> bool:
    """Whether so many workers are where `catalogue_taken` leaves them: all is staged, and no other transaction open."""
    sessions = service.query(
        "SELECT query FROM pg_stat_activity WHERE application_name = 'odata-worker-imports' AND xact_start IS NOT NULL"
    )
    return len(sessions) == workers and all("pg_try_advisory_xact_lock" in session["query"] for session in sessions)


def await_queueing(service: Service, workers: int) -> None:
    wait_until(lambda: are_queueing(service, workers), f"{workers} workers want the catalogue", 20)
