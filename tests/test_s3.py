"""Files in a bucket, by a real server that speaks S3: the web servers and the workers share no disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from accounts.tests.people import token_of
from common.errors import StoreUnavailableError, TooLargeError
from common.s3_store import PART
from odata import backup
from odata.doctor import machine
from odata.tests.running import free_port, wait_until
from products.importing import lease, receiver, stager, uploads
from products.importing.options import ImportOptions
from products.models import Import
from products.tests.importing.archives import xlsx
from products.tests.importing.imports import Counts, catalogue, counts, csv, imported, names, numbered, received, run
from products.tests.web_server import database_url

BUCKET = "catalogue-files"
KEYS = {"aws_access_key_id": "anyone", "aws_secret_access_key": "anything"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of moto's server, an independent implementation of S3 in memory."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(address), "S3 answers")
        yield address
    finally:
        process.terminate()
        process.wait(10)


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/moto-api/", timeout=1).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def bucket(server: str, settings: Settings, tmp_path: Path, transactional_db: None) -> Iterator[Any]:
    """An empty bucket that files are kept in."""
    s3 = boto3.resource("s3", endpoint_url=server, region_name="us-east-1", **KEYS)
    bucket = s3.create_bucket(Bucket=BUCKET)
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "local"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    keep_in(settings, server)
    yield bucket
    Import.objects.update(staged_attempt=None, state=Import.State.CANCELLED)
    stager.drop_abandoned()
    bucket.objects.delete()
    bucket.delete()


def keep_in(settings: Settings, address: str) -> None:
    options = {
        "bucket_name": BUCKET,
        "endpoint_url": address,
        "region_name": "us-east-1",
        "access_key": KEYS["aws_access_key_id"],
        "secret_key": KEYS["aws_secret_access_key"],
    }
    store = {"BACKEND": "common.s3_store.S3FileStore", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": store}


pytestmark = pytest.mark.django_db(transaction=True)


def stored(bucket: Any) -> dict[str, bytes]:
    return {each.key: each.get()["Body"].read() for each in bucket.objects.all()}


def left_on_the_disk(settings: Settings) -> list[Path]:
    return [path for path in settings.FILE_UPLOAD_TEMP_DIR.rglob("*") if path.is_file()]


# --- the life of a file ------------------------------------------------------------------------


def test_a_file_is_kept_in_the_bucket_and_imported_from_there(bucket: Any, settings: Settings) -> None:
    text = numbered(2_000)

    import_ = received(text)

    assert stored(bucket) == {f"imports/{import_.pk}.csv": text.encode()}
    assert counts(run(import_)) == Counts(read=2_000, created=2_000)
    assert left_on_the_disk(settings) == []


def test_a_file_of_several_parts_arrives_whole(bucket: Any) -> None:
    block = os.urandom(PART // 3 + 7)
    chunks = [block] * 7

    import_ = receiver.receive(chunks, file_name="a.csv", options=ImportOptions(), user=None)

    (content,) = stored(bucket).values()
    assert len(content) == import_.bytes_total == 7 * len(block) > 2 * PART
    assert hashlib.sha256(content).hexdigest() == import_.sha256


def test_of_a_file_that_breaks_off_or_is_too_large_nothing_is_kept(bucket: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(2 * PART)
        raise ConnectionAbortedError("gone")

    with pytest.raises(ConnectionAbortedError):
        receiver.receive(broken(), file_name="a.csv", options=ImportOptions(), user=None)
    with pytest.raises(TooLargeError):
        receiver.receive([bytes(PART)] * 3, file_name="a.csv", options=ImportOptions(), user=None, max_bytes=PART * 2)

    assert stored(bucket) == {} and not Import.objects.exists()
    assert "Uploads" not in bucket.meta.client.list_multipart_uploads(Bucket=BUCKET)


def test_a_checked_file_is_applied(bucket: Any) -> None:
    checked = imported(csv("sku,name", "A,Lamp", "B,"), check_first="true")
    assert (checked.phase, checked.rows_rejected, names()) == ("checked", 1, {})

    applied = run(lease.request_apply(checked))

    assert counts(applied) == Counts(read=2, created=1, rejected=1)


def test_a_workbook_is_read_by_the_process_that_reads_workbooks(bucket: Any) -> None:
    import_ = imported(xlsx([["sku", "name"], ["A", "Lamp"]]))

    assert counts(import_) == Counts(read=1, created=1)
    assert list(catalogue()) == ["A"]


def test_a_file_that_failed_is_set_aside_in_the_bucket(bucket: Any) -> None:
    import_ = imported("just,some,words\n1,2,3\n")

    assert (import_.state, import_.stored_file) == ("FAILURE", f"errors/{import_.pk}.csv")
    assert list(stored(bucket)) == [import_.stored_file]


def test_a_file_that_somebody_removed_is_said_to_be_gone(bucket: Any) -> None:
    import_ = received(numbered(2))
    bucket.objects.delete()

    assert run(import_).error_code == "file_gone"


def test_a_file_can_be_downloaded(bucket: Any, client: Client) -> None:
    ada = User.objects.create_user("ada")
    import_ = received(numbered(2), user=ada)
    headers = {"Authorization": f"Bearer {token_of(ada, 'read')[1]}"}

    answer = client.get(f"/api/v1/imports/{import_.pk}/file/", headers=headers)

    assert (answer.status_code, answer["Content-Length"]) == (200, str(import_.bytes_total)), answer
    assert answer.getvalue() == numbered(2).encode()
    answer.close()


def test_an_upload_in_parts_lies_on_the_local_disk_until_an_import_takes_it(bucket: Any, settings: Settings) -> None:
    ada = User.objects.create_user("ada")
    text = numbered(2_000).encode()
    upload = uploads.create(ada, None, length=len(text))
    upload = uploads.append(upload, 0, [text[:9_000]])
    upload = uploads.append(upload, 9_000, [text[9_000:]])
    assert stored(bucket) == {} and len(left_on_the_disk(settings)) == 1

    import_, _ = uploads.import_from(upload, options=ImportOptions(), user=ada)

    assert stored(bucket) == {import_.stored_file: text} and left_on_the_disk(settings) == []
    assert counts(run(import_)) == Counts(read=2_000, created=2_000)


def test_what_an_upload_left_on_this_disk_goes_with_a_later_one(bucket: Any, settings: Settings) -> None:
    """A worker on another machine can only remove its row."""
    ada = User.objects.create_user("ada")
    stray = uploads.path_of(uploads.create(ada, None, length=1).pk)
    ada.upload_set.all().delete()
    os.utime(stray, (time.time() - 7200,) * 2)

    kept = uploads.path_of(uploads.create(ada, None, length=1).pk)

    assert left_on_the_disk(settings) == [kept]


def test_only_files_without_an_import_are_removed(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import_ = received(numbered(2))
    bucket.put_object(Key="imports/lost.csv", Body=b"x")
    receiver.remove_orphans()
    assert len(stored(bucket)) == 2  # it may be on its way yet

    monkeypatch.setattr(receiver, "ORPHAN_AGE", timedelta(seconds=-1))
    receiver.remove_orphans()

    assert list(stored(bucket)) == [import_.stored_file]


def test_a_backup_holds_the_files_of_the_bucket(bucket: Any, tmp_path: Path) -> None:
    import_ = received(numbered(2))
    bucket.put_object(Key="errors/older.csv", Body=b"x")

    backup.write(tmp_path / "today.odata")

    with tarfile.open(tmp_path / "today.odata") as tar:
        assert {"files/errors/older.csv", f"files/{import_.stored_file}"} <= set(tar.getnames())


def test_the_doctor_says_that_the_bucket_takes_a_file(bucket: Any) -> None:
    [finding] = machine.file_store()

    assert (finding.state, "S3FileStore" in finding.sentence) == ("ok", True)
    assert not stored(bucket)


# --- a store that is away ----------------------------------------------------------------------


def test_while_the_store_is_away_uploads_are_refused_soon_and_imports_wait_for_it(
    bucket: Any, settings: Settings, server: str
) -> None:
    waiting = received(numbered(2))
    keep_in(settings, f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()

    with pytest.raises(StoreUnavailableError):
        received(numbered(2))
    given_back = run(waiting)

    assert time.monotonic() - began < 5
    assert (given_back.state, given_back.phase) == ("PENDING", "retrying")
    keep_in(settings, server)
    Import.objects.update(retry_at=None)
    assert counts(run(waiting)) == Counts(read=2, created=2)


# --- another machine ---------------------------------------------------------------------------

WORKER = """
import sys, uuid, django
django.setup()
from products.importing import pipeline
pipeline.run(uuid.UUID(sys.argv[1]), worker="elsewhere")
"""


def test_a_worker_with_nothing_but_the_settings_imports_what_a_web_server_took_in(
    bucket: Any, server: str, tmp_path: Path
) -> None:
    import_ = received(numbered(2_000))
    env = os.environ | {
        "ODATA_HOME": str(tmp_path / "elsewhere"),
        "DATABASE_URL": database_url(),
        "S3_BUCKET": BUCKET,
        "S3_ENDPOINT_URL": server,
        "S3_REGION": "us-east-1",
        "S3_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "S3_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
    }

    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(import_.pk)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    import_.refresh_from_db()
    assert (counts(import_), import_.worker) == (Counts(read=2_000, created=2_000), "elsewhere")
