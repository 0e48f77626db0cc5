"""What the nightly task removes by age, and what it leaves alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, User
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


def test_the_audit_log_goes_back_as_far_as_is_wanted(root: User, settings: Settings) -> None:
    settings.AUDIT_DAYS = 365
    remove_what_is_old()

    assert AuditEntry.objects.get(action="audit.pruned").details["older_than_days"] == 365


def test_zero_is_for_ever(root: User, settings: Settings) -> None:
    settings.IMPORT_FILE_DAYS = 0
    old = imported(root, age=4000)

    remove_what_is_old()

    old.refresh_from_db()
    assert default_storage.exists(old.stored_file)
    assert not AuditEntry.objects.filter(action__in=["audit.pruned", "data.removed"]).exists()
