"""How much one person may have here at a time, whichever way the files come."""

from __future__ import annotations

import base64
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import entitle
from products.importing import quota, receiver
from products.importing.options import ImportOptions
from products.models import Import, Upload
from products.tests.test_api_imports import IMPORTS, client_of, make_import

pytestmark = pytest.mark.django_db

QUOTA = 100_000
TUS = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_METADATA": f"filename {base64.b64encode(b'a.csv').decode()}"}


@pytest.fixture(autouse=True)
def _a_quota(settings: Settings, file_store: Path) -> None:
    settings.UPLOAD_QUOTA_BYTES = QUOTA


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    return client_of(ada, "import")


def begin(client: APIClient, length: int) -> Any:
    return client.post("/files/", HTTP_UPLOAD_LENGTH=str(length), **TUS)


def send(client: APIClient, length: int) -> Any:
    return client.post(f"{IMPORTS}?file_name=a.csv", b"x" * length, content_type="text/csv")


def assert_refused(answer: Any) -> None:
    assert (answer.status_code, answer["Content-Type"]) == (413, "application/problem+json")
    assert answer.json()["code"] == "quota_exceeded"
    assert "100,000" in answer.json()["detail"]
    assert "cancel some, or delete uploads" in answer.json()["detail"]


def test_what_is_announced_counts_until_the_upload_is_gone(client: APIClient) -> None:
    upload = begin(client, QUOTA)
    assert upload.status_code == 201
    assert_refused(begin(client, 1))
    assert_refused(send(client, 70_000))

    assert client.delete(upload["Location"], **TUS).status_code == 204
    assert begin(client, 1).status_code == 201


def test_an_import_counts_until_it_has_ended(client: APIClient, ada: User) -> None:
    import_ = make_import(ada, bytes_total=QUOTA)
    assert_refused(begin(client, 1))
    assert_refused(send(client, 10))

    Import.objects.filter(pk=import_.pk).update(state=Import.State.FAILURE)
    assert send(client, 10).status_code == 202


def test_a_form_and_a_body_are_refused_by_their_length_before_they_are_read(client: APIClient, ada: User) -> None:
    make_import(ada, bytes_total=QUOTA // 2)

    assert_refused(send(client, QUOTA // 2 + 1))
    assert_refused(client.post(IMPORTS, {"file": SimpleUploadedFile("a.csv", b"x" * QUOTA * 2)}))
    assert_refused(client.post(IMPORTS, {"file": SimpleUploadedFile("a.csv", b"x" * (QUOTA // 2 + 1))}))
    assert Import.objects.count() == 1


def test_what_is_refused_leaves_no_file(ada: User, file_store: Path) -> None:
    with pytest.raises(quota.QuotaError):
        receiver.receive([b"x" * (QUOTA + 1)], file_name="a.csv", options=ImportOptions(), user=ada)

    assert [path for path in file_store.rglob("*") if path.is_file()] == []


def test_an_upload_that_becomes_an_import_counts_once(client: APIClient, ada: User) -> None:
    content = b"sku,name\n" + b"x" * (QUOTA - 9)
    headers = {**TUS, "content_type": "application/offset+octet-stream", "HTTP_UPLOAD_LENGTH": str(QUOTA)}
    upload = client.post("/files/", content, **headers)

    assert client.post(IMPORTS, {"upload": upload["Location"]}, format="json").status_code == 202
    assert (Upload.objects.get().taken_by, quota.used_by(ada)) == (Import.objects.get().pk, QUOTA)


def test_nobody_pays_for_others_and_zero_means_no_limit(client: APIClient, ada: User, settings: Settings) -> None:
    make_import(User.objects.create_user("bob"), bytes_total=QUOTA)
    assert begin(client, QUOTA).status_code == 201

    settings.UPLOAD_QUOTA_BYTES = 0
    assert begin(client, QUOTA).status_code == 201


@pytest.mark.parametrize(("most", "quota", "code"), [(10_000, 1, "too_large"), (10_000_000, 1_000, "quota_exceeded")])
def test_every_way_in_refuses_a_file_by_its_length_in_the_same_order_and_words(
    most: int, quota: int, code: str, client: APIClient, ada: User, settings: Settings
) -> None:
    settings.IMPORT_MAX_BYTES, settings.UPLOAD_QUOTA_BYTES = most, quota
    client.force_login(entitle(ada, "import"))
    length, form = "6000000", "multipart/form-data; boundary=x"

    as_file = client.generic("POST", IMPORTS, b"x", content_type="text/csv", CONTENT_LENGTH=length)
    in_form = client.generic("POST", IMPORTS, b"x", content_type=form, CONTENT_LENGTH=length)
    in_parts = client.post("/files/", **TUS, HTTP_UPLOAD_LENGTH=length)
    on_page = client.generic("POST", "/imports/new/", b"x", content_type=form, CONTENT_LENGTH=length)

    assert [answer.status_code for answer in (as_file, in_form, in_parts, on_page)] == [413] * 4
    assert [answer.json()["code"] for answer in (as_file, in_form, in_parts)] == [code] * 3
    assert as_file.json()["detail"] == in_parts.json()["detail"]
    assert unescape(on_page.content.decode()).count(in_form.json()["detail"]) == 1
