"""Who works on an import: never nobody for long, and never two who both count."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from common.tests.waiting import wait_until
from products.importing import lease, quota
from products.models import Import, ReportedRow
from products.tests.importing.imports import (
    Counts,
    aside,
    counts,
    events,
    execute,
    numbered,
    other_session,
    read,
    received,
    run,
    stored_text,
    waiting_for_lock,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("file_store")]


def claimed(worker: str = "alpha", **fields: Any) -> Import:
    """An import that a worker has taken, and that then is made to have these fields."""
    import_ = lease.claim(received(numbered(2)).pk, worker)
    assert import_ is not None
    return changed(import_, **fields)


def changed(import_: Import, **fields: Any) -> Import:
    if fields:
        Import.objects.filter(pk=import_.pk).update(**fields)
    return read(import_)


def ago(**time: float) -> Any:
    return Now() - timedelta(**time)


# --- claiming ----------------------------------------------------------------------------------


def test_a_claim_begins_an_attempt_with_a_lease(settings: Any) -> None:
    import_ = claimed("alpha")

    assert (import_.state, import_.phase, import_.attempt, import_.worker) == ("PROGRESS", "staging", 1, "alpha")
    assert import_.heartbeat_at is not None
    assert import_.lease_expires_at is not None
    lease_seconds = (import_.lease_expires_at - import_.heartbeat_at).total_seconds()
    assert lease_seconds == pytest.approx(settings.IMPORT_LEASE_SECONDS, abs=1)
    assert events(import_) == ["import.started"]


def test_what_is_claimed_can_not_be_claimed_again() -> None:
    import_ = claimed("alpha")

    assert lease.claim(import_.pk, "beta") is None
    assert read(import_).worker == "alpha"


@pytest.mark.django_db(transaction=True)
def test_of_many_that_claim_at_once_one_gets_it() -> None:
    import_ = received(numbered(2))
    winners: list[Import] = []

    def claim(worker: str) -> None:
        if won := lease.claim(import_.pk, worker):
            winners.append(won)

    with aside(lambda: claim("alpha")), aside(lambda: claim("beta")), aside(lambda: claim("gamma")):
        pass

    assert len(winners) == 1
    assert (read(import_).attempt, read(import_).worker) == (1, winners[0].worker)
    assert events(import_) == ["import.started"]


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "CANCELLED"])
def test_what_has_ended_is_not_claimed(state: str) -> None:
    import_ = changed(received(numbered(2)), state=state)

    assert lease.claim(import_.pk, "alpha") is None


def test_what_is_to_be_tried_later_is_not_claimed_before() -> None:
    import_ = changed(received(numbered(2)), retry_at=Now() + timedelta(hours=1))
    assert lease.claim(import_.pk, "alpha") is None

    changed(import_, retry_at=ago(seconds=1))
    again = lease.claim(import_.pk, "alpha")

    assert again is not None
    assert again.retry_at is None


def test_a_new_attempt_begins_from_nothing_and_is_no_second_start() -> None:
    import_ = claimed(rows_read=50, rows_rejected=3, percent=40)
    ReportedRow.objects.create(source_import=import_, line_number=2, outcome="rejected", errors=[], cells=[])
    changed(import_, state="PENDING")

    again = lease.claim(import_.pk, "beta")

    assert again is not None
    assert (again.attempt, again.rows_read, again.rows_rejected, again.percent) == (2, 0, 0, 0)
    assert again.version > import_.version
    assert not ReportedRow.objects.exists()
    assert events(import_) == ["import.started"]


# --- workers that vanish -----------------------------------------------------------------------


def test_a_lease_that_ran_out_is_taken_away() -> None:
    import_ = claimed(lease_expires_at=ago(seconds=1))

    assert lease.sweep() == [import_.pk]

    import_ = read(import_)
    assert (import_.state, import_.phase, import_.losses) == ("PENDING", "retrying", 1)
    assert (import_.lease_expires_at, import_.error_code) == (None, "")


def test_a_lease_that_is_kept_up_is_left_alone() -> None:
    import_ = claimed()

    assert lease.sweep() == []
    assert read(import_) == import_
    assert read(import_).state == "PROGRESS"


def test_a_file_that_costs_three_workers_fails(file_store: Path) -> None:
    import_ = received(numbered(2))
    for _ in range(3):
        assert lease.claim(import_.pk, "alpha") is not None
        changed(import_, lease_expires_at=ago(seconds=1))
        named = lease.sweep()

    import_ = read(import_)
    assert named == []
    assert (import_.state, import_.phase, import_.error_code) == ("FAILURE", "finished", "worker_lost")
    assert import_.error_message.startswith("3 workers in a row vanished over this file")
    assert import_.stored_file == f"errors/{import_.pk}.csv"
    assert stored_text(import_) == numbered(2).encode()
    assert events(import_) == ["import.started", "import.failed"]


def test_an_import_whose_worker_vanished_can_still_be_cancelled() -> None:
    import_ = lease.request_cancel(claimed(lease_expires_at=ago(seconds=1)))
    assert import_.state == "PROGRESS"

    assert lease.sweep() == []

    assert (read(import_).state, read(import_).error_code) == ("CANCELLED", "cancelled")
    assert events(import_) == ["import.started", "import.cancelled"]


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_worker_vanished_is_done_by_the_next() -> None:
    import_ = claimed(lease_expires_at=ago(seconds=1))
    lease.sweep()

    import_ = run(import_)

    assert counts(import_) == Counts(read=2, created=2)
    assert (import_.attempt, import_.losses) == (2, 1)
    assert events(import_) == ["import.started", "import.completed"]


# --- attempts that are given back --------------------------------------------------------------


def test_what_is_given_back_is_tried_later_and_later() -> None:
    import_ = received(numbered(2))
    waits = []
    for _ in range(8):
        changed(import_, retry_at=None)
        attempt = lease.claim(import_.pk, "alpha")
        assert attempt is not None
        lease.give_back(attempt, "the connection broke")
        retry_at = read(import_).retry_at
        assert retry_at is not None
        waits.append((retry_at - timezone.now()).total_seconds())
        assert lease.sweep() == []

    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=1)
    import_ = read(import_)
    assert (import_.state, import_.phase, import_.losses, import_.attempt) == ("PENDING", "retrying", 0, 8)
    changed(import_, retry_at=ago(seconds=1))
    assert lease.sweep() == [import_.pk]


def test_what_is_given_back_too_often_fails_with_the_reason() -> None:
    import_ = claimed(attempt=lease.MAX_RELEASES + 2, losses=2)

    lease.give_back(import_, "the disk of the database is full")

    import_ = read(import_)
    assert (import_.state, import_.error_code) == ("FAILURE", "not_possible")
    assert import_.error_message == "The import was tried 14 times. The last time: the disk of the database is full"


# --- attempts that don't count any more --------------------------------------------------------


def test_an_attempt_that_was_given_up_for_dead_can_not_write() -> None:
    late = claimed("alpha")
    changed(late, state="PENDING")
    lease.claim(late.pk, "beta")

    lease.fail(late, "quote_not_closed", "Line 7.")
    lease.cancelled(late)
    lease.give_back(late, "the connection broke")

    import_ = read(late)
    assert (import_.state, import_.attempt, import_.worker, import_.error_code) == ("PROGRESS", 2, "beta", "")
    assert events(import_) == ["import.started"]


def test_a_failure_leaves_no_counts_of_what_was_applied() -> None:
    import_ = claimed(rows_read=9, rows_created=4, rows_updated=2, rows_unchanged=1, rows_rejected=2)

    lease.fail(import_, "quote_not_closed", "A quotation mark opens a cell on line 10.")

    import_ = read(import_)
    assert (import_.rows_read, import_.rows_rejected) == (9, 2)
    assert (import_.rows_created, import_.rows_updated, import_.rows_unchanged) == (0, 0, 0)
    assert (import_.error_code, import_.error_message) == (
        "quote_not_closed",
        "A quotation mark opens a cell on line 10.",
    )
    assert import_.finished_at is not None


# --- messages ----------------------------------------------------------------------------------


def test_the_sweep_names_what_nobody_was_told_of_oldest_first() -> None:
    never_sent = changed(received(numbered(1)), dispatched_at=None)
    just_sent = changed(received(numbered(1)), dispatched_at=Now())
    not_taken_up = changed(received(numbered(1)), dispatched_at=Now() - lease.REDISPATCH_AFTER - timedelta(seconds=1))
    ended = changed(received(numbered(1)), dispatched_at=None, state="FAILURE")

    named = lease.sweep()

    assert named == [never_sent.pk, not_taken_up.pk]
    assert just_sent.pk not in named
    assert ended.pk not in named


def test_it_is_noted_whether_a_message_was_sent() -> None:
    import_ = received(numbered(1))

    lease.dispatched(import_.pk, successfully=False)
    assert read(import_).dispatched_at is None

    lease.dispatched(import_.pk, successfully=True)
    assert read(import_).dispatched_at is not None


@pytest.mark.django_db(transaction=True)
def test_what_is_given_back_in_the_moment_of_the_request_is_cancelled_all_the_same() -> None:
    import_ = claimed()
    with other_session() as worker:
        execute(worker, "BEGIN")
        execute(worker, "UPDATE products_import SET state = 'PENDING', phase = 'retrying'")
        with aside(lambda: lease.request_cancel(import_)) as request:
            wait_until(waiting_for_lock)
            execute(worker, "COMMIT")

    assert request.error is None
    assert read(import_).state == "CANCELLED"


def test_neither_sweeps_nor_uploads_read_the_imports_that_have_ended(django_user_model: Any) -> None:
    ada = django_user_model.objects.create_user("ada")
    Import.objects.bulk_create(Import(created_by=ada, state="SUCCESS", bytes_total=1) for _ in range(2000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_import")

    with CaptureQueriesContext(connection) as asked:
        lease.sweep()
        quota.used_by(ada)

    about = [query["sql"] for query in asked if 'FROM "products_import"' in query["sql"]]
    assert len(about) == 4
    for sql in about:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "import_unfinished" in plan, plan
