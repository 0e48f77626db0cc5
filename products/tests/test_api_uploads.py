"""`/files/`, as a client of tus 1.0 sees it, and the import that a finished upload becomes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.people import token_of
from products.importing import uploads
from products.models import Import, Upload

pytestmark = [pytest.mark.django_db]

FILES, IMPORTS = "/files/", "/api/v1/imports/"
BYTES = "application/offset+octet-stream"
CSV = b"sku,name\nLAMP-1,Lamp\n"


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for path in Path(default_storage.path(uploads.FOLDER)).glob("*"):
        path.unlink()


class Tus:
    """A client of the protocol; each call gives the answer."""

    def __init__(self, **headers: str) -> None:
        self.client = Client(raise_request_exception=False, enforce_csrf_checks=True)
        self.headers = {"Tus-Resumable": "1.0.0", **headers}

    def call(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in {**self.headers, **named}.items() if value is not None}
        content_type = kept.pop("Content-Type", "")
        return self.client.generic(method, path, body, content_type=content_type, headers=kept)

    def create(self, length: int = len(CSV), **headers: str | None) -> Any:
        return self.call("POST", FILES, **{"Upload_Length": str(length), **headers})

    def patch(self, path: str, offset: int, body: bytes, **headers: str | None) -> Any:
        return self.call("PATCH", path, body, **{"Upload_Offset": str(offset), "Content_Type": BYTES, **headers})

    def head(self, path: str) -> Any:
        return self.call("HEAD", path)

    def start(self, **body: object) -> Any:
        return self.call("POST", IMPORTS, json.dumps(body).encode(), Content_Type="application/json")

    def upload(self, body: bytes = CSV) -> str:
        """A whole file; its address."""
        path = str(self.create(len(body))["Location"])
        assert self.patch(path, 0, body).status_code == 204
        return path


@pytest.fixture
def tus(ada: User) -> Tus:
    return with_token(ada)


def with_token(user: User, *scopes: str) -> Tus:
    _, full = token_of(user, *(scopes or ("import",)))
    return Tus(Authorization=f"Bearer {full}")


def with_session(user: User) -> Tus:
    tus = Tus()
    tus.headers["X-CSRFToken"] = tus.client.get("/login/").cookies["csrftoken"].value
    tus.client.force_login(user)
    return tus


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def code(answer: Any, status: int) -> str:
    """The code of a problem, which has the one shape and says what protocol it belongs to."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Tus-Resumable"] == "1.0.0"
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer["X-Request-ID"]
    return str(body["code"])


# --- the protocol ------------------------------------------------------------------------------


def test_it_says_what_it_can_to_anybody(settings: Any) -> None:
    settings.IMPORT_MAX_BYTES = 1_000

    for path in (FILES, f"{FILES}{'0' * 32}"):
        answer = Tus(**{"Tus-Resumable": "0.2.2"}).call("OPTIONS", path)
        assert answer.status_code == 204
        assert answer["Tus-Version"] == "1.0.0"
        assert answer["Tus-Max-Size"] == "1000"
        assert answer["Tus-Checksum-Algorithm"] == "sha1,sha256"
        assert answer["Tus-Extension"] == "creation,creation-with-upload,expiration,checksum,termination"


def test_an_upload_is_begun_written_to_and_asked_about(tus: Tus) -> None:
    metadata = f"filename {encoded('Größe.csv')},filetype {encoded('text/csv')},is_confidential"
    begun = tus.create(Upload_Metadata=metadata)

    assert begun.status_code == 201
    path = begun["Location"]
    first = tus.patch(path, 0, CSV[:5])
    asked = tus.head(path)
    last = tus.patch(path, 5, CSV[5:])

    assert (first.status_code, first["Upload-Offset"]) == (204, "5")
    assert (asked.status_code, asked["Upload-Offset"], asked["Upload-Length"]) == (200, "5", str(len(CSV)))
    assert (asked["Upload-Metadata"], asked["Cache-Control"]) == (metadata, "no-store")
    assert (last.status_code, last["Upload-Offset"]) == (204, str(len(CSV)))
    assert {answer["Tus-Resumable"] for answer in (begun, first, asked, last)} == {"1.0.0"}
    for answer in (begun, first, asked, last):
        expires = parsedate_to_datetime(answer["Upload-Expires"])
        assert timedelta(hours=23) < expires - datetime.now(UTC) <= timedelta(hours=24)
    assert Upload.objects.get().file_name == "Größe.csv"


def test_the_first_bytes_may_come_with_the_beginning(tus: Tus) -> None:
    begun = tus.call("POST", FILES, CSV[:5], Upload_Length=str(len(CSV)), Content_Type=BYTES)

    assert (begun.status_code, begun["Upload-Offset"]) == (201, "5")
    assert tus.head(begun["Location"])["Upload-Offset"] == "5"


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1"])
def test_another_version_is_refused(tus: Tus, version: str | None) -> None:
    path = tus.create()["Location"]
    tus.headers["Tus-Resumable"] = version  # type: ignore[assignment]

    for answer in (tus.create(), tus.patch(path, 0, CSV), tus.call("DELETE", path)):
        assert code(answer, 412) == "tus_version"
        assert answer["Tus-Version"] == "1.0.0"
    assert tus.head(path).status_code == 412
    assert Upload.objects.get().offset == 0


@pytest.mark.parametrize(
    ("headers", "status", "wanted"),
    [
        ({"Upload_Length": None}, 400, "upload_length_required"),
        ({"Upload_Length": "-1"}, 400, "upload_length_required"),
        ({"Upload_Length": "1e3"}, 400, "upload_length_required"),
        ({"Upload_Length": None, "Upload_Defer_Length": "1"}, 400, "upload_length_required"),
        ({"Upload_Length": "5000000001"}, 413, "too_large"),
        ({"Upload_Metadata": "filename not*base64"}, 400, "invalid_metadata"),
        ({"Upload_Metadata": "filename YQ==,filename YQ=="}, 400, "invalid_metadata"),
        ({"Upload_Metadata": ",,"}, 400, "invalid_metadata"),
        ({"Upload_Metadata": "x " + "YQ==" * 1000}, 400, "invalid_metadata"),
    ],
)
def test_a_beginning_that_is_wrong_is_refused(tus: Tus, headers: dict[str, Any], status: int, wanted: str) -> None:
    assert code(tus.create(**headers), status) == wanted
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    ("headers", "status", "wanted"),
    [
        ({"Upload_Offset": None}, 400, "upload_offset_required"),
        ({"Upload_Offset": "x"}, 400, "upload_offset_required"),
        ({"Upload_Offset": "1"}, 409, "offset_mismatch"),
        ({"Content_Type": "application/octet-stream"}, 415, "unsupported_media_type"),
        ({"Content_Type": None}, 415, "unsupported_media_type"),
        ({"Upload_Checksum": "md5 AA=="}, 400, "checksum_unknown"),
        ({"Upload_Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}, 460, "checksum_mismatch"),
    ],
)
def test_a_part_that_is_wrong_is_refused(tus: Tus, headers: dict[str, Any], status: int, wanted: str) -> None:
    path = tus.create()["Location"]

    assert code(tus.patch(path, 0, CSV, **headers), status) == wanted
    assert tus.head(path)["Upload-Offset"] == "0"


def test_a_part_with_the_right_checksum_is_taken(tus: Tus) -> None:
    path = tus.create(11)["Location"]

    answer = tus.patch(path, 0, b"hello world", Upload_Checksum="sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")

    assert answer["Upload-Offset"] == "11"


def test_more_bytes_than_announced_are_refused(tus: Tus) -> None:
    path = tus.create(3)["Location"]

    assert code(tus.patch(path, 0, b"0123"), 413) == "beyond_length"


def test_parts_are_not_held_to_the_size_of_other_bodies(tus: Tus, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    tus.upload(b"x" * 100_000)


def test_a_method_may_be_named_in_a_header(tus: Tus) -> None:
    path = tus.create()["Location"]

    answer = tus.call(
        "POST", path, CSV, X_HTTP_Method_Override="PATCH", Upload_Offset="0", Content_Type=BYTES, Accept="image/png"
    )

    assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(CSV)))


def test_an_upload_can_be_deleted(tus: Tus) -> None:
    path = tus.upload()

    assert tus.call("DELETE", path).status_code == 204
    assert tus.head(path).status_code == 404
    assert code(tus.patch(path, 0, b""), 404) == "not_found"
    assert not list(Path(default_storage.path(uploads.FOLDER)).iterdir())


def test_an_upload_that_has_expired_is_gone(tus: Tus) -> None:
    path = tus.create()["Location"]
    Upload.objects.update(expires_at=timezone.now())

    assert tus.head(path).status_code == 410
    assert code(tus.patch(path, 0, CSV), 410) == "upload_gone"
    assert code(tus.call("DELETE", path), 410) == "upload_gone"


def test_too_many_uploads_are_refused(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_UPLOADS", 2)

    assert [tus.create().status_code for _ in range(3)] == [201, 201, 429]


@pytest.mark.parametrize("path", ["/files/nonsense", f"/files/{'0' * 32}", "/files/a/b"])
def test_an_upload_that_there_is_not_is_told_in_our_shape(tus: Tus, path: str) -> None:
    answer = tus.patch(path, 0, b"", Accept="text/html")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_other_methods_are_refused(tus: Tus) -> None:
    path = tus.create()["Location"]

    assert code(tus.call("GET", path), 405) == "method_not_allowed"
    assert code(tus.call("PUT", path, CSV), 405) == "method_not_allowed"


# --- who may -----------------------------------------------------------------------------------


def test_strangers_and_those_without_the_right_are_refused(ada: User) -> None:
    path = with_token(ada).create()["Location"]

    for tus, status in ((Tus(), 401), (Tus(Authorization="Bearer odata_x"), 401), (with_token(ada, "write"), 403)):
        code(tus.create(), status)
        code(tus.patch(path, 0, CSV), status)
        code(tus.call("DELETE", path), status)
        assert tus.head(path).status_code == status
    assert code(with_session(User.objects.create_user("bob")).create(), 403) == "missing_scope"


def test_an_upload_belongs_to_the_token_that_began_it(tus: Tus, ada: User) -> None:
    path = tus.create()["Location"]
    others = [with_token(ada), with_session(ada), with_token(User.objects.create_superuser("bob"))]

    for other in others:
        assert other.head(path).status_code == 404
        assert code(other.patch(path, 0, CSV), 404) == "not_found"
        assert code(other.call("DELETE", path), 404) == "not_found"
        assert other.start(upload=path).status_code == 404
    assert tus.patch(path, 0, CSV).status_code == 204


def test_a_person_uploads_in_any_session_of_theirs(ada: User) -> None:
    path = with_session(ada).create()["Location"]

    assert with_session(ada).patch(path, 0, CSV).status_code == 204
    assert with_token(ada).head(path).status_code == 404


def test_a_session_writes_only_with_the_csrf_token(ada: User) -> None:
    tus = with_session(ada)
    path = tus.create()["Location"]
    csrf = tus.headers.pop("X-CSRFToken")

    assert code(tus.create(), 403) == "csrf_failed"
    assert code(tus.patch(path, 0, CSV), 403) == "csrf_failed"
    assert code(tus.call("DELETE", path), 403) == "csrf_failed"
    assert code(tus.call("POST", path, CSV, X_HTTP_Method_Override="PATCH"), 403) == "csrf_failed"
    assert tus.start(upload=path).json()["code"] == "csrf_failed"
    assert tus.head(path)["Upload-Offset"] == "0"
    tus.headers["X-CSRFToken"] = csrf
    assert tus.patch(path, 0, CSV).status_code == 204
    assert tus.start(upload=path).status_code == 202


# --- the import --------------------------------------------------------------------------------


def test_a_finished_upload_becomes_an_import(tus: Tus, ada: User) -> None:
    begun = tus.create(Upload_Metadata=f"filename {encoded('spring.csv')}")
    tus.patch(begun["Location"], 0, CSV)

    answer = tus.start(
        upload=begun["Location"],
        mode="update",
        check_first=True,
        max_rejects="7",
        header_line=1,
        mapping={"Artikel": "sku"},
    )

    assert answer.status_code == 202
    body = answer.json()
    assert (answer["Location"], answer["Retry-After"]) == (f"{IMPORTS}{body['id']}/", "1")
    import_ = Import.objects.get(pk=body["id"])
    assert (import_.file_name, import_.bytes_total, import_.created_by) == ("spring.csv", len(CSV), ada)
    assert (import_.mode, import_.check_first, import_.max_rejects) == ("update", True, "7")
    assert (import_.mapping, import_.file_format) == ({"Artikel": "sku"}, {"header_line": 1})
    with default_storage.open(import_.stored_file) as file:
        assert file.read() == CSV
    assert import_.dispatched_at


@pytest.mark.parametrize("name", ["{id}", "/files/{id}", "https://catalogue.example.com/files/{id}"])
def test_the_upload_is_named_by_its_id_or_address(tus: Tus, name: str) -> None:
    upload_id = tus.upload().rsplit("/", 1)[-1]

    assert tus.start(upload=name.format(id=upload_id)).status_code == 202


def test_asked_again_it_answers_with_the_same_import(tus: Tus) -> None:
    path = tus.upload()

    first, second = tus.start(upload=path), tus.start(upload=path)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert Import.objects.count() == 1
    assert code(tus.call("DELETE", path), 409) == "upload_taken"
    asked = tus.head(path)
    assert asked["Upload-Offset"] == asked["Upload-Length"]
    assert "Upload-Expires" not in asked


def test_an_upload_that_is_not_finished_starts_nothing(tus: Tus) -> None:
    path = tus.create()["Location"]
    tus.patch(path, 0, CSV[:5])

    answer = tus.start(upload=path)

    assert (answer.status_code, answer.json()["code"]) == (409, "upload_unfinished")
    assert f"5 of {len(CSV)} bytes" in answer.json()["detail"]
    assert not Import.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "wanted", "word"),
    [
        ({}, 400, "file_missing", "upload"),
        ({"mode": "create"}, 400, "file_missing", "upload"),
        ({"upload": ""}, 400, "file_missing", "upload"),
        ({"upload": None}, 400, "invalid", "upload: This field may not be null"),
        ({"upload": {"id": 7}}, 400, "invalid", "upload: Not a valid string"),
        ({"upload": "x"}, 404, "not_found", "begin a new one"),
        ({"upload": "x", "on_eror": "abort"}, 400, "unknown_parameter", "on_eror"),
        ({"upload": "x", "mode": "replace"}, 400, "invalid", "replace"),
        ({"upload": "x", "mode": ["create"]}, 400, "invalid", "mode: Not a valid string"),
        ({"upload": "x", "mode": True}, 400, "invalid", "mode: Not a valid string"),
        ({"upload": "x", "check_first": "true"}, 400, "invalid", "check_first: Must be a valid boolean"),
        ({"upload": "x", "check_first": 1}, 400, "invalid", "check_first: Must be a valid boolean"),
        ({"upload": "x", "check_first": None}, 400, "invalid", "check_first: This field may not be null"),
        ({"upload": "x", "header_line": 0.5}, 400, "invalid", "header_line: A valid integer"),
        ({"upload": "x", "header_line": "3"}, 400, "invalid", "header_line: A valid integer"),
        ({"upload": "x", "max_rejects": 7}, 400, "invalid", "max_rejects: Not a valid string"),
        ({"upload": "x", "mapping": ["sku"]}, 400, "invalid", "mapping"),
        ({"upload": "x" * 6_000_000}, 413, "too_large", "JSON"),
    ],
)
def test_a_wrong_wish_starts_nothing(tus: Tus, body: dict[str, Any], status: int, wanted: str, word: str) -> None:
    answer = tus.start(**body)

    assert (answer.status_code, answer.json()["code"]) == (status, wanted)
    assert word.lower() in answer.json()["detail"].lower()
    assert not Import.objects.exists()
