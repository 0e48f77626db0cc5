"""Looking first, applying and undoing, as a program does it; and the products that an import changed."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from products.importing import pipeline
from products.models import Import
from products.tests.importing.imports import csv, imported
from products.tests.test_api_imports import client_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

IMPORTS = "/api/v1/imports/"
FILE = csv("Artikel,name,Farbe", "A,Lantern,red", "B,Chair,blue", ",Nobody,", "C,Desk,")
MAPPING = '{"Artikel": "sku", "Farbe": "attributes.colour"}'


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    return client_of(ada, "import", "read")


def worked_on(answer: Any) -> dict[str, Any]:
    """What a worker makes of the import that the answer names."""
    assert answer.status_code == 202, answer.content
    pipeline.run(Import.objects.get(pk=answer.json()["id"]).pk, worker="test")
    return dict(answer.json())


def checked(client: APIClient, **options: str) -> dict[str, Any]:
    file = SimpleUploadedFile("spring.csv", FILE.encode(), "text/csv")
    answer = client.post(IMPORTS, {"file": file, "mapping": MAPPING, "check_first": "true", **options})
    return dict(client.get(f"{IMPORTS}{worked_on(answer)['id']}/").json())


def test_a_file_is_looked_at_page_by_page_and_then_applied(client: APIClient) -> None:
    imported(csv("sku,name", "A,Lamp"))

    document = checked(client)

    assert (document["state"], document["phase"], document["rows_created"]) == ("PENDING", "checked", 2)
    assert document["mapping"] == {"Artikel": "sku", "Farbe": "attributes.colour"}
    first = client.get(f"{document['links']['changes']}?page_size=2").json()
    rest = client.get(first["next"]).json()
    assert [change["sku"] for change in first["results"] + rest["results"]] == ["A", "B", "C"]
    assert first["results"][0] == {
        "line_number": 2,
        "sku": "A",
        "action": "updated",
        "version": 2,
        "fields": {"name": {"old": "Lamp", "new": "Lantern"}, "attributes": {"old": {}, "new": {"colour": "red"}}},
    }
    assert (first["previous"], rest["next"]) == (None, None)
    assert client.get(rest["previous"]).json()["results"] == first["results"]

    worked_on(client.post(document["links"]["apply"], {}, format="json"))

    document = client.get(document["links"]["self"]).json()
    assert (document["state"], document["undoable"]) == ("SUCCESS", True)
    applied = client.get(document["links"]["changes"]).json()["results"]
    assert {change["sku"] for change in applied} == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("action=created", {"B", "C"}),
        ("search=b", {"B"}),
        ("field=attributes&search=B", {"B"}),
        ("action=updated&field=name", {"A"}),
    ],
)
def test_the_changes_are_filtered(client: APIClient, query: str, expected: set[str]) -> None:
    imported(csv("sku,name", "A,Lamp"))
    document = checked(client)

    before = client.get(f"{document['links']['changes']}?{query}").json()["results"]
    worked_on(client.post(document["links"]["apply"], {}, format="json"))
    after = client.get(f"{document['links']['changes']}?{query}").json()["results"]

    assert {change["sku"] for change in before} == {change["sku"] for change in after} == expected


def test_what_is_applied_is_undone_by_an_import_of_its_own(client: APIClient) -> None:
    imported(csv("sku,name", "A,Lamp"))
    document = checked(client)
    worked_on(client.post(document["links"]["apply"], {}, format="json"))

    answer = client.post(document["links"]["undo"])
    undo = worked_on(answer)

    assert (undo["kind"], undo["undoes"], undo["links"]["file"]) == ("undo", document["id"], None)
    assert answer["Location"] == undo["links"]["self"]
    assert client.get(document["links"]["self"]).json()["undone_by"] == undo["id"]
    products = client.get("/api/v1/products/").json()["results"]
    assert [(product["sku"], product["name"]) for product in products] == [("A", "Lamp")]
    again = client.post(document["links"]["undo"])
    assert (again.status_code, again.json()["code"]) == (409, "undone_already")


@pytest.mark.parametrize(("action", "code"), [("apply", "not_checked"), ("undo", "not_applied")])
def test_what_does_not_wait_for_it_is_refused(client: APIClient, action: str, code: str) -> None:
    document = checked(client)
    client.post(document["links"]["cancel"])

    answer = client.post(document["links"][action], {}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, code)


@pytest.mark.parametrize("action", ["apply", "undo"])
def test_reading_is_not_enough_to_decide(client: APIClient, ada: User, action: str) -> None:
    document = checked(client)

    assert client_of(ada, "read").post(document["links"][action], {}, format="json").status_code == 403
    assert client_of(User.objects.create_user("bob"), "import").post(document["links"][action]).status_code == 404


def test_the_limit_of_a_sync_is_raised_when_it_is_applied(client: APIClient) -> None:
    imported(csv("sku,name", "A,Lamp", "X,Old", "Y,Old", "Z,Old"))
    document = checked(client, mode="sync")
    assert (document["phase"], document["products_deactivated"]) == ("checked", 3)

    wrong = client.post(document["links"]["apply"], {"max_deactivated": "some"}, format="json")
    worked_on(client.post(document["links"]["apply"], {"max_deactivated": "none"}, format="json"))

    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/max_deactivated")
    assert client.get(document["links"]["self"]).json()["state"] == "SUCCESS"
    deactivated = client.get(f"{document['links']['changes']}?action=deactivated").json()["results"]
    assert {change["sku"] for change in deactivated} == {"X", "Y", "Z"}


def test_what_a_sync_deactivates_is_called_so_before_and_after_it_is_applied_and_not_when_it_is_undone(
    client: APIClient,
) -> None:
    imported(csv("sku,name", "A,Lantern", "X,Old"))
    document = checked(client, mode="sync", max_deactivated="none")

    def actions(of: dict[str, Any], query: str = "") -> dict[str, str]:
        changes = client.get(f"{of['links']['changes']}{query}").json()["results"]
        return {change["sku"]: change["action"] for change in changes}

    shown = actions(document)
    worked_on(client.post(document["links"]["apply"], {}, format="json"))
    applied = actions(document)
    undo = worked_on(client.post(document["links"]["undo"], {}, format="json"))

    assert applied == shown
    assert shown["X"] == "deactivated"
    assert actions(undo)["X"] == "updated"
    assert actions(undo, "?action=deactivated") == {}


def test_the_file_comes_back_as_it_was_sent(client: APIClient) -> None:
    document = checked(client)

    answer = client.get(document["links"]["file"])

    assert b"".join(answer.streaming_content) == FILE.encode()  # type: ignore[attr-defined]
    assert answer["Content-Disposition"] == 'attachment; filename="spring.csv"'


def test_products_are_found_by_attribute_and_by_the_import_that_changed_them(client: APIClient) -> None:
    imported(csv("sku,name", "A,Lantern", "X,Old"))
    document = checked(client)
    worked_on(client.post(document["links"]["apply"], {}, format="json"))

    def skus(query: str) -> set[str]:
        return {product["sku"] for product in client.get(f"/api/v1/products/?{query}").json()["results"]}

    assert skus("attributes.colour=red") == {"A"}
    assert skus("attributes.colour=green") == set()
    assert skus(f"import={document['id']}") == {"A", "B", "C"}
    assert client.get("/api/v1/products/?import=some").status_code == 400
    assert client.get("/api/v1/products/?attribute.colour=red").json()["code"] == "unknown_parameter"
