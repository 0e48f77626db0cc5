"""What an attempt says of itself while it runs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from common.tests.waiting import wait_until
from products.importing import lease
from products.importing.lease import ImportCancelledError, LeaseLostError
from products.importing.reporter import Reporter
from products.importing.rows import RowError
from products.models import Import, ReportedRow
from products.tests.importing.imports import numbered, read, received, reported

# Rejected rows are written over a connection of their own, which sees only what is committed.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

MERGING = Import.Phase.MERGING


@pytest.fixture
def import_() -> Import:
    import_ = lease.claim(received(numbered(50)).pk, "alpha")
    assert import_ is not None
    return import_


def error(line_number: int, code: str = "sku_missing") -> RowError:
    return RowError(line_number, "sku", code, "The sku is empty.")


def test_snapshots_are_written_while_it_is_entered(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.read(7, 100)
        wait_until(lambda: read(import_).version >= import_.version + 2)

    now = read(import_)
    assert (now.rows_read, now.bytes_read) == (7, 100)


def test_each_snapshot_renews_the_lease(import_: Import) -> None:
    Import.objects.update(lease_expires_at=Now() + timedelta(seconds=1), heartbeat_at=None)

    with Reporter(import_) as reporter:
        reporter.write_snapshot()

    now = read(import_)
    assert now.heartbeat_at is not None
    assert now.lease_expires_at is not None
    assert now.lease_expires_at - now.heartbeat_at > timedelta(seconds=5)


def test_the_percentage_grows_and_never_goes_back(import_: Import) -> None:
    half, whole = import_.bytes_total // 2, import_.bytes_total
    seen = []

    with Reporter(import_) as reporter:
        for step in (
            lambda: reporter.read(25, half),
            lambda: reporter.settled(MERGING, half, 25, created=25, updated=0, rejected=0),
            lambda: reporter.read(25, whole),
            reporter.start_over,
            lambda: reporter.settled(MERGING, whole, 50, created=50, updated=0, rejected=0),
        ):
            step()
            reporter.write_snapshot()
            seen.append(read(import_).percent)

    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(15, abs=1)
    assert seen[1] == pytest.approx(50, abs=1)
    assert seen[-1] == 99  # a hundred is only said of what has succeeded


def test_it_stops_when_somebody_asks_for_it(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.checkpoint()
        lease.request_cancel(import_)
        reporter.write_snapshot()

        with pytest.raises(ImportCancelledError):
            reporter.checkpoint()


def test_it_stops_when_another_has_the_import(import_: Import) -> None:
    Import.objects.update(attempt=2)

    with Reporter(import_) as reporter:
        reporter.read(7, 100)
        reporter.write_snapshot()

        with pytest.raises(LeaseLostError):
            reporter.checkpoint()
    assert read(import_).rows_read == 0


def test_it_goes_on_when_a_snapshot_can_not_be_written(import_: Import) -> None:
    def break_its_connection() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"
            )
            return bool(cursor.fetchone()[0])

    with Reporter(import_) as reporter:
        wait_until(break_its_connection)
        version = read(import_).version
        wait_until(lambda: read(import_).version > version)
        reporter.checkpoint()


def test_rows_that_are_not_applied_are_kept_whatever_becomes_of_the_merge(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.staged.reject(3, ["", "Lamp"], [error(3), error(3, "unknown_status")])
        reporter.staged.void(4, ["A", "x"], error(4, "duplicate_sku"), rejected=False)
        reporter.read(2, 50)

        assert reported(import_) == [(3, "sku_missing"), (3, "unknown_status"), (4, "duplicate_sku")]
        assert (reporter.rows_rejected, reporter.counts["rows_duplicate"]) == (1, 1)
    assert ReportedRow.objects.get(line_number=3).cells == ["", "Lamp"]


def test_a_row_that_an_earlier_attempt_has_listed_is_not_listed_twice(import_: Import) -> None:
    for _ in range(2):
        with Reporter(import_) as reporter:
            reporter.staged.reject(3, ["", "Lamp"], [error(3)])
            reporter.staged.save()

    assert reported(import_) == [(3, "sku_missing")]


def test_what_the_merge_has_rejected_can_be_taken_back(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.staged.reject(3, [], [error(3)])
        reporter.staged.save()
        reporter.merging.reject(4, [], [error(4, "name_missing")])
        reporter.merging.save()
        reporter.merging.reject(5, [], [error(5, "name_missing")])

        reporter.merging.forget(["name_missing"])
        reporter.merging.save()

        assert reported(import_) == [(3, "sku_missing")]
        assert reporter.rows_rejected == 1


def test_rows_that_are_lost_are_a_fault_and_no_success(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.read(3, 50)
        reporter.settled(MERGING, 50, 2, created=2, updated=0, rejected=0)

        with pytest.raises(RuntimeError, match="the rows don't add up"):
            reporter.final_counts()


def test_rows_are_not_said_to_be_unchanged_before_they_are_compared(import_: Import) -> None:
    with Reporter(import_) as reporter:
        reporter.read(3, 100)
        reporter.merging.reject(2, ["A"], [error(2, "product_exists")])
        half_way = reporter.counts
        reporter.settled(MERGING, 100, 3, created=1, updated=0, rejected=1)

        assert (half_way["rows_unchanged"], half_way["rows_rejected"]) == (0, 1)
        assert reporter.final_counts()["rows_unchanged"] == 1


def test_an_attempt_that_was_given_up_for_dead_lists_no_rows(import_: Import) -> None:
    with Reporter(import_) as reporter:
        Import.objects.update(attempt=import_.attempt + 1)
        reporter.staged.reject(2, [""], [error(2)])
        reporter.staged.save()

    assert reported(import_) == []
