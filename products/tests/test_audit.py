"""What the audit log says of imports and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from accounts.tests.people import entitle, token_of
from products.models import Import
from products.tests.importing.imports import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    _, full = token_of(ada, "read", "import")
    return APIClient(headers={"authorization": f"Bearer {full}"})


def upload(client: APIClient, **options: str) -> Import:
    answer: Any = client.post(
        "/api/v1/imports/?" + "&".join(f"{name}={value}" for name, value in options.items()),
        "sku,name\nLAMP-1,Lamp\n",
        content_type="text/csv",
    )
    assert answer.status_code == 202, answer.content
    return Import.objects.get(pk=answer.json()["id"])


def noted() -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.exclude(action__startswith="user.").order_by("id")
    return list(entries.values_list("actor_name", "action", "object_id"))


def test_a_started_and_an_undone_import_are_noted(client: APIClient) -> None:
    import_ = run(upload(client))
    client.post(f"/api/v1/imports/{import_.pk}/undo/")

    assert noted() == [("ada", "import.started", str(import_.pk)), ("ada", "import.undone", str(import_.pk))]
    assert AuditEntry.objects.filter(request_id="", action__startswith="import.").count() == 0


def test_a_cancelled_import_is_noted_with_who_cancelled_it(client: APIClient, admin_user: User) -> None:
    import_ = upload(client)
    root = Client()
    root.force_login(admin_user)
    before = len(noted())
    root.post(f"/imports/{import_.pk}/cancel/")

    assert noted()[before:] == [("admin", "import.cancelled", str(import_.pk))]


def test_an_applied_check_is_noted(client: APIClient) -> None:
    import_ = run(upload(client, check_first="true"))
    assert client.post(f"/api/v1/imports/{import_.pk}/apply/").status_code == 202

    assert noted()[-1] == ("ada", "import.applied", str(import_.pk))


def test_what_was_refused_is_not_noted(client: APIClient) -> None:
    import_ = run(upload(client))
    before = noted()

    assert client.post(f"/api/v1/imports/{import_.pk}/cancel/").status_code == 409
    assert client.post(f"/api/v1/imports/{import_.pk}/apply/").status_code == 409
    assert noted() == before


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_an_export_is_noted_with_what_was_asked_for(client: APIClient, ending: str) -> None:
    answer = client.get(f"/api/v1/products/export.{ending}?search=lamp", headers={"accept": "*/*"})
    assert answer.status_code == 200
    answer.close()

    entry = AuditEntry.objects.get(action="products.exported")
    assert (entry.actor_name, entry.details) == ("ada", {"format": ending, "asked": {"search": "lamp"}})


def test_commands_are_noted_too(ada: User, tmp_path: Path) -> None:
    file = tmp_path / "lamps.csv"
    file.write_text("sku,name\nLAMP-1,Lamp\n")

    call_command("import_csv", str(file), user=entitle(ada, "import").username)
    call_command("export_csv", output=tmp_path / "out.csv")

    assert [(who, what) for who, what, _ in noted()] == [("ada", "import.started"), ("", "products.exported")]
