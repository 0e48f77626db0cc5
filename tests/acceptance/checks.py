"""What must be true after every fault, whatever it was."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

from common.tests.waiting import wait_until
from tests.acceptance.oracle import Change, Oracle, Row
from tests.acceptance.service import Service

COUNTS = (
    "rows_read",
    "rows_created",
    "rows_updated",
    "rows_deleted",
    "rows_unchanged",
    "rows_rejected",
    "rows_duplicate",
)
END_EVENTS = {"SUCCESS": "import.completed", "FAILURE": "import.failed", "CANCELLED": "import.cancelled"}
NOT_COMPARED = ("attributes", "created_at", "updated_at", "version")
"""Of what a deleted product was: the oracle knows nothing of these."""


def assert_whole(service: Service) -> None:
    """Every import has ended and was seen to end; the catalogue is what the files make of it; nothing is left."""
    for upload in service.uploads:
        service.await_end(upload)
    for watcher in service.watchers:
        watcher.join()
    assert_what_oracle_says(service)
    assert_told_truly(service)
    assert_nothing_left(service)


def assert_what_oracle_says(service: Service) -> None:
    """Products, versions, history and counts, after the files that were applied, in the order of their commits."""
    oracle = Oracle()
    uploads = {upload.id: upload for upload in service.uploads}
    # The last statement of a merge sets `finished_at`, while it has the catalogue to itself.
    for row in service.query("SELECT * FROM products_import WHERE state = 'SUCCESS' ORDER BY finished_at"):
        upload = uploads[str(row["id"])]
        counts = oracle.undo(upload.id, upload.undoes) if upload.undoes else oracle.apply(upload.id, upload.text)
        assert {name: row[name] for name in COUNTS} == {name: counts[name] for name in COUNTS}
    products = service.query("SELECT sku, name, description, status, version FROM products_product")
    assert {Row(**product) for product in products} == set(oracle.products.values())
    assert len(products) == len(oracle.products)
    changes = service.query(
        "SELECT sku, version, action, previous, import_id::text, line_number FROM products_productchange"
    )
    assert sorted(map(_comparable, changes), key=_place) == sorted(
        (_comparable(change._asdict()) for change in oracle.history), key=_place
    )


def _comparable(change: dict[str, Any]) -> Change:
    previous = change["previous"] and {
        name: value for name, value in change["previous"].items() if name not in NOT_COMPARED
    }
    return Change(**{**change, "previous": previous})


def _place(change: Change) -> tuple[str, int]:
    return change.sku.lower(), change.version


def assert_told_truly(service: Service) -> None:
    """The rows add up; reported rows and events are there once; the API shows what the row says."""
    imports = {str(row["id"]): row for row in service.query("SELECT * FROM products_import")}
    assert imports.keys() == {upload.id for upload in service.uploads}
    for import_id, row in imports.items():
        if row["state"] == "SUCCESS":
            assert row["rows_read"] == sum(row[name] for name in COUNTS[1:]), row
            assert _reported(service, import_id) == {
                outcome: row[f"rows_{outcome}"] for outcome in ("rejected", "duplicate") if row[f"rows_{outcome}"]
            }
        else:
            assert (row["rows_created"], row["rows_updated"], row["rows_unchanged"]) == (0, 0, 0), row
        shown = service.get(f"/api/v1/imports/{import_id}/").json()
        assert {name: shown[name] for name in ("state", "version", *COUNTS)} == {
            name: row[name] for name in ("state", "version", *COUNTS)
        }
        events = service.query(
            "SELECT event_type FROM webhooks_event WHERE body::jsonb #>> '{data,id}' = %s ORDER BY id", import_id
        )
        started = ["import.started"] if row["attempt"] else []
        end = END_EVENTS[row["state"]]
        if row["kind"] == "undo" and row["state"] == "SUCCESS":
            end = "import.undone"
        assert [event["event_type"] for event in events] == [*started, end]


def _reported(service: Service, import_id: str) -> dict[str, int]:
    rows = service.query(
        "SELECT outcome, count(*) AS number FROM products_reportedrow WHERE import_id = %s GROUP BY outcome", import_id
    )
    return {row["outcome"]: row["number"] for row in rows}


def assert_nothing_left(service: Service) -> None:
    """No staging table, lock, open transaction or file without an import; none comes without waiting a little."""
    wait_until(lambda: leftovers(service) == [], f"nothing is left of the imports but {leftovers(service)}", 15)
    stored = {row["stored_file"] for row in service.query("SELECT stored_file FROM products_import")} - {""}
    assert service.stored_files() == stored
    # Python's multiprocessing has a folder for each web process that runs.
    temporary = [path.name for path in (service.places.home / "tmp").iterdir() if not path.name.startswith("pymp-")]
    assert temporary == []


def leftovers(service: Service) -> list[Any]:
    left: list[Any] = []
    with suppress(psycopg.OperationalError):
        left += service.staging_tables()
        left += service.query("SELECT locktype, pid, objid FROM pg_locks WHERE locktype = 'advisory'")
        left += service.query(
            "SELECT pid, application_name, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
            " AND xact_start < now() - interval '2 s'"
        )
    return left
