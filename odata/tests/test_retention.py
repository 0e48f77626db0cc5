"""What the nightly task removes by age, and what it leaves alone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import audit
from accounts.models import AuditEntry, User
from common import batches
from odata.tasks import remove_what_is_old
from products.importing import retention, undoer
from products.importing.options import ImportOptions
from products.importing.pipeline import run
from products.models import Import, Product, ReportedRow
from products.tasks import start_import

pytestmark = pytest.mark.django_db(transaction=True)
FILE = b"sku,name\nA,Anna\n,Nobody\n"


@pytest.fixture(autouse=True)
def days(settings: Settings) -> None:
    settings.IMPORT_FILE_DAYS, settings.IMPORT_DAYS, settings.AUDIT_DAYS = 90, 0, 0


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def imported(user: User, *, age: int, content: bytes = FILE) -> Import:
    """An import that ended so many days ago."""
    options = ImportOptions(max_rejects="100")
    import_ = start_import([content], file_name="a.csv", options=options, user=user)
    run(import_.pk, worker="test")
    ended = timezone.now() - timedelta(days=age)
    Import.objects.filter(pk=import_.pk).update(finished_at=ended)
    import_.refresh_from_db()
    return import_


def ended(state: str, *, age: int, **fields: Any) -> Import:
    stored = default_storage.save("imports/old.csv", ContentFile(FILE))
    at = timezone.now() - timedelta(days=age)
    return Import.objects.create(
        file_name="a.csv", bytes_total=1, stored_file=stored, state=state, finished_at=at, **fields
    )


def test_old_files_and_their_rows_go_and_the_others_stay(root: User) -> None:
    old, young = imported(root, age=91), imported(root, age=89)
    running = ended("PROGRESS", age=91)

    remove_what_is_old()

    left = {import_.pk for import_ in Import.objects.all() if import_.stored_file}
    assert left == {young.pk, running.pk}
    assert not default_storage.exists(old.stored_file)
    assert default_storage.exists(young.stored_file)
    assert set(ReportedRow.objects.values_list("source_import", flat=True)) == {young.pk}
    assert AuditEntry.objects.get(action="data.removed").details == {"import_files": 1}


def test_what_is_left_says_so_and_can_be_undone(root: User, client: Client) -> None:
    old = imported(root, age=91)
    remove_what_is_old()
    client.force_login(root)

    page = client.get(f"/imports/{old.pk}/").content.decode()
    file = client.get(f"/api/v1/imports/{old.pk}/file/")
    rows = client.get(f"/api/v1/imports/{old.pk}/rejects.csv")

    assert "not kept any more" in page
    assert "can still be undone" in page
    assert "Download the file" not in page
    assert (file.status_code, file.json()["code"]) == (404, "file_gone")
    assert (rows.status_code, rows.json()["code"]) == (404, "rows_gone")
    old.refresh_from_db()
    undo = undoer.request_undo(old, user=root)
    run(undo.pk, worker="test")
    assert not Product.objects.exists()


def test_imports_that_came_to_nothing_go_if_asked_and_no_other(root: User, settings: Settings) -> None:
    settings.IMPORT_FILE_DAYS, settings.IMPORT_DAYS = 0, 30
    applied = imported(root, age=31)
    undo = undoer.request_undo(applied, user=root)
    run(undo.pk, worker="test")
    Import.objects.filter(pk=undo.pk).update(finished_at=timezone.now() - timedelta(days=31))
    failed, cancelled = ended("FAILURE", age=31), ended("CANCELLED", age=31)
    young = ended("FAILURE", age=29)

    remove_what_is_old()

    assert set(Import.objects.values_list("pk", flat=True)) == {applied.pk, undo.pk, young.pk}
    assert not default_storage.exists(failed.stored_file)
    assert not default_storage.exists(cancelled.stored_file)


def test_more_than_a_batch_is_removed_in_one_night(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "ROWS", 2)
    olds = [ended("SUCCESS", age=91) for _ in range(5)]
    ReportedRow.objects.bulk_create(
        ReportedRow(source_import=olds[0], line_number=number, outcome="rejected", errors=[], cells=[])
        for number in range(5)
    )

    assert retention.remove_files(90) == 5
    assert not ReportedRow.objects.exists()
    assert retention.remove_files(90) == 0


# --- some at a time ----------------------------------------------------------------------------


@contextmanager
def stopped_after(times: int, *modules: Any) -> Iterator[None]:
    """In here these modules find, when they have looked so many times, that the worker has been asked to stop."""
    looks = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "stopping", lambda: next(looks) > times)
        yield


def old_entries(number: int) -> None:
    at = timezone.now() - timedelta(days=366)
    AuditEntry.objects.bulk_create(AuditEntry(action="old", at=at) for _ in range(number))


def test_the_audit_log_goes_back_as_far_as_is_wanted(root: User, settings: Settings) -> None:
    settings.AUDIT_DAYS = 365
    old_entries(3)
    audit.record(root, "token.issued")

    remove_what_is_old()

    assert not AuditEntry.objects.filter(action="old").exists()
    assert AuditEntry.objects.filter(action="token.issued").exists()
    assert AuditEntry.objects.get(action="audit.pruned").details == {"older_than_days": 365, "entries": 3}


def test_the_audit_log_is_pruned_in_batches_each_noted_with_what_it_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PRUNED_AT_A_TIME", 2)
    old_entries(5)

    with CaptureQueriesContext(connection) as queries:
        assert audit.prune(365) == 5

    notes = AuditEntry.objects.filter(action="audit.pruned").order_by("id")
    assert [note.details["entries"] for note in notes] == [2, 2, 1]
    assert sum(query["sql"] == "COMMIT" for query in queries) == 3
    assert audit.prune(365) == 0 and notes.count() == 3  # nothing removed, nothing noted


def test_the_pruning_of_the_audit_log_stops_with_its_worker_and_goes_on_the_next_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "PRUNED_AT_A_TIME", 2)
    old_entries(5)

    with stopped_after(1, audit):
        assert audit.prune(365) == 2
    assert AuditEntry.objects.filter(action="old").count() == 3
    assert audit.prune(365) == 3


def test_the_rows_of_a_large_import_are_removed_until_the_worker_stops_and_the_rest_the_next_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "ROWS", 2)
    import_ = ended("FAILURE", age=91)
    ReportedRow.objects.bulk_create(
        ReportedRow(source_import=import_, line_number=number, outcome="rejected", errors=[], cells=[])
        for number in range(5)
    )

    with stopped_after(2, retention):  # before the batch of imports, and before the first rows
        assert retention.remove_files(90) == 0
    assert ReportedRow.objects.count() == 3
    with stopped_after(2, retention):
        assert retention.remove_imports(90) == 0
    assert ReportedRow.objects.count() == 1
    assert retention.remove_imports(90) == 1
    assert not ReportedRow.objects.exists()


def test_expired_sessions_go_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AT_A_TIME", 2)
    expired = Session.objects.bulk_create(
        Session(session_key=f"k{number}", expire_date=timezone.now() - timedelta(days=1)) for number in range(5)
    )
    Session.objects.create(session_key="good", expire_date=timezone.now() + timedelta(days=1))

    with stopped_after(2, batches):
        remove_what_is_old()
    assert Session.objects.count() == len(expired) - 4 + 1
    remove_what_is_old()

    assert [session.session_key for session in Session.objects.all()] == ["good"]


def test_a_store_that_is_away_keeps_nothing_else_from_going(root: User) -> None:
    import_ = imported(root, age=91)
    file = Path(default_storage.path(import_.stored_file))
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))

    with pytest.raises(OSError):
        remove_what_is_old()

    assert not Session.objects.exists()
    import_.refresh_from_db()
    assert import_.stored_file, "it goes another night"
    shutil.rmtree(file)


def test_zero_is_for_ever(root: User, settings: Settings) -> None:
    settings.IMPORT_FILE_DAYS = 0
    old = imported(root, age=4000)

    remove_what_is_old()

    old.refresh_from_db()
    assert default_storage.exists(old.stored_file)
    assert not AuditEntry.objects.filter(action__in=["audit.pruned", "data.removed"]).exists()
