"""What the workers run, and how they are told to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery import current_app as app
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import User
from products import tasks
from products.importing import stager, uploads
from products.importing.options import ImportOptions
from products.models import Import, Upload
from products.tests.importing.imports import Counts, counts, numbered, read, received, staging_tables

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]


def messages() -> list[tuple[str, str]]:
    """(task id, arguments) of what waits for the workers of imports, oldest first."""
    with app.connection_for_read() as queue:
        waiting = reversed(queue.default_channel.client.lrange("imports", 0, -1))  # type: ignore[attr-defined]
    headers = [json.loads(message)["headers"] for message in waiting]
    return [(header["id"], header["argsrepr"]) for header in headers]


@pytest.fixture(autouse=True)
def empty_queue() -> Iterator[None]:
    def purge() -> None:
        with app.connection_for_write() as queue:
            queue.default_channel.queue_purge("imports")  # type: ignore[attr-defined]

    purge()
    yield
    purge()


@pytest.fixture
def queue_is_down(empty_queue: None) -> Iterator[None]:
    """Nobody listens where the queue should be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.amqp, "_producer_pool", None)
        patch.setattr(app.conf, "broker_url", "redis://127.0.0.1:1/0")
        yield


def start() -> Import:
    content = [numbered(2).encode()]
    return read(tasks.start_import(content, file_name="a.csv", options=ImportOptions(), user=None))


def test_the_workers_are_told_of_a_new_import() -> None:
    import_ = start()

    assert messages() == [(str(import_.pk), f"('{import_.pk}',)")]
    assert import_.dispatched_at is not None


def test_the_workers_are_told_once_of_the_import_of_an_upload() -> None:
    ada = User.objects.create_user("ada")
    upload = uploads.append(uploads.create(ada, None, length=4), 0, [b"sku\n"])

    def start() -> Import:
        with uploads.kept(upload) as file:
            return tasks.import_upload(upload, file, options=ImportOptions(), user=ada)

    first, second = start(), start()

    assert first == second
    assert [task_id for task_id, _ in messages()] == [str(first.pk)]


def test_what_beat_sends_is_known_to_the_workers(settings: Settings) -> None:
    app.loader.import_default_modules()

    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert entry["task"] in app.tasks


def test_expired_uploads_are_removed_on_schedule(settings: Settings) -> None:
    uploads.create(User.objects.create_user("ada"), None, length=4)
    Upload.objects.update(expires_at=Now())

    app.tasks[settings.CELERY_BEAT_SCHEDULE["remove-expired-uploads"]["task"]]()

    assert not Upload.objects.exists()


@pytest.mark.usefixtures("queue_is_down")
def test_a_file_is_taken_in_while_the_queue_is_down() -> None:
    began = time.monotonic()

    import_ = start()

    assert (import_.state, import_.phase, import_.dispatched_at) == ("PENDING", "queued", None)
    assert time.monotonic() - began < 3  # who uploads does not wait for the queue


def test_the_sweep_sends_what_could_not_be_sent() -> None:
    import_ = received(numbered(2))
    Import.objects.update(dispatched_at=None)

    tasks.sweep_imports()
    tasks.sweep_imports()

    assert [task_id for task_id, _ in messages()] == [str(import_.pk)]
    assert read(import_).dispatched_at is not None


@pytest.mark.usefixtures("queue_is_down")
def test_a_sweep_while_the_queue_is_down_leaves_it_to_the_next() -> None:
    import_ = received(numbered(2))
    Import.objects.update(dispatched_at=None)

    tasks.sweep_imports()

    assert read(import_).dispatched_at is None


def test_a_sweep_adds_nothing_to_a_queue_that_nobody_works_on() -> None:
    received(numbered(2))
    Import.objects.update(dispatched_at=None)
    with app.connection_for_write() as queue:
        client = queue.default_channel.client  # type: ignore[attr-defined]
        client.rpush("imports", *["{}"] * tasks.MOST_WAITING)

        tasks.sweep_imports()

        assert client.llen("imports") == tasks.MOST_WAITING


def test_the_sweep_tells_of_an_import_whose_worker_vanished_and_clears_up_behind_it() -> None:
    import_ = received(numbered(2))
    Import.objects.update(state="PROGRESS", attempt=1, lease_expires_at=Now() - timedelta(seconds=1))
    stager.create(read(import_))

    tasks.sweep_imports()

    assert [task_id for task_id, _ in messages()] == [str(import_.pk)]
    assert staging_tables() == set()


def test_a_worker_does_the_import_it_is_told_of_once_however_often_it_is_told() -> None:
    import_ = received(numbered(2))

    tasks.run_import(str(import_.pk))
    tasks.run_import(str(import_.pk))

    assert counts(read(import_)) == Counts(read=2, created=2)
    assert read(import_).attempt == 1
