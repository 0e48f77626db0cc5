"""Every request that the OpenAPI document shows is answered as the document says."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings

from accounts.models import ApiToken, Scope, User
from products import catalogue
from products.importing import uploads
from products.models import Import, Upload
from tests.test_access import HOOK_URL, a_webhook_of
from webhooks.models import WebhookEndpoint

pytestmark = pytest.mark.django_db

FILE = b"sku,name\nLAMP-3,Lamp\n"
NAMED = "0190163d-8694-739b-aea5-966c26f8ad90"
"""The id that stands in bodies: of an upload, or of an endpoint."""
GERMAN = b"Artikel,name,Farbe\nLAMP-3,Lampe,rot\n"
STATES: dict[str, dict[str, Any]] = {
    "apply/": {"phase": Import.Phase.CHECKED},
    "/undo/": {"state": Import.State.SUCCESS, "rows_created": 1, "changes_after": 0, "changes_until": 1},
}
"""Of the import that a path's end is about."""
PATHS = SchemaGenerator().get_schema(request=None, public=True)["paths"]


@pytest.fixture(autouse=True)
def _files_of_its_own(settings: Settings, tmp_path: Path) -> None:
    default = settings.STORAGES["default"]
    options = {**default["OPTIONS"], "location": tmp_path}
    settings.STORAGES = {**settings.STORAGES, "default": {**default, "OPTIONS": options}}


def shown() -> list[tuple[str, str, str, str, Any]]:
    """Each request: method, path, type of the body, the example's name, and its value. Without a body, the bare one."""
    found = []
    for path, item in PATHS.items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            for media_type, media in content.items():
                examples = media.get("examples", {})
                found += [(method, path, media_type, name, each["value"]) for name, each in examples.items()]
            if not content:
                found.append((method, path, "", "", None))
    return found


def test_every_body_has_an_example() -> None:
    bodies = [
        (method, path, media_type, media)
        for path, item in PATHS.items()
        for method, operation in item.items()
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items()
    ]

    assert [(method, path, media_type) for method, path, media_type, media in bodies if not media.get("examples")] == []


@pytest.mark.parametrize(
    ("method", "path", "media_type", "value"),
    [pytest.param(*each[:3], each[4], id=" ".join(filter(None, each[:4]))) for each in shown()],
)
def test_it_is_answered_as_is_said(method: str, path: str, media_type: str, value: Any) -> None:
    ada = User.objects.create_superuser("ada", password=None)
    record, token = ApiToken.issue(ada, name="test", scopes=Scope.values)
    address = path
    for name, found in what_is_there(ada, record, path).items():
        address = address.replace(name, found)
    client = Client(headers={"Authorization": f"Bearer {token}"})

    answer: Any = getattr(client, method)(address, **sent(media_type, value))

    (success, *_) = (int(status) for status in PATHS[path][method]["responses"])
    said = b"".join(answer) if answer.streaming else answer.content
    assert answer.status_code == success < 300, said


def sent(media_type: str, value: Any) -> dict[str, Any]:
    """The body of an example."""
    if media_type == "multipart/form-data":
        return {"data": {**value, "file": SimpleUploadedFile(value["file"], FILE)}}
    data = json.dumps(value) if media_type == "application/json" else value
    return {"data": data, "content_type": media_type} if media_type else {}


def what_is_there(ada: User, token: ApiToken, path: str) -> dict[str, str]:
    """Values for the names in the path, and what stands in bodies."""
    catalogue.create_product({"sku": "LAMP-1", "name": "Lamp"}, actor=ada)
    stored = default_storage.save("imports/example.csv", ContentFile(FILE))
    import_ = Import.objects.create(
        file_name="lamps.csv", bytes_total=len(FILE), created_by=ada, stored_file=stored, **STATES.get(path[-6:], {})
    )
    if path in ("/api/v1/imports/", "/products/csv"):
        upload = Upload(owner=ada, token=token, file_name="lamps.csv", length=len(GERMAN), offset=len(GERMAN))
        upload.pk, upload.expires_at = uuid.UUID(NAMED), timezone.now() + timedelta(hours=1)
        upload.save(force_insert=True)
        uploads.path_of(upload.pk).parent.mkdir(exist_ok=True)
        uploads.path_of(upload.pk).write_bytes(GERMAN)
    WebhookEndpoint.objects.create(pk=NAMED, url=HOOK_URL, event_types=["ping"], created_by=ada)
    return {"{sku}": "LAMP-1", "{import_id}": str(import_.pk), **a_webhook_of(ada)}
