"""The same file, imported before."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from accounts.models import User
from products.importing.twins import earlier
from products.models import Import
from products.tests.importing.imports import csv, imported, received, run
from products.tests.test_api_products import client_with

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

FILE = csv("sku,name", "A,Lamp")


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def test_it_is_the_last_one_of_the_same_bytes(ada: User) -> None:
    imported(FILE, user=ada)
    last = imported(FILE, user=ada)
    imported(csv("sku,name", "B,Chair"), user=ada)

    assert earlier(received(FILE, user=ada), ada) == last


def test_what_came_later_is_not_earlier(ada: User) -> None:
    first = imported(FILE, user=ada)
    imported(FILE, user=ada)

    assert earlier(first, ada) is None


def test_what_was_not_applied_or_is_undone_does_not_count(ada: User) -> None:
    imported(csv("sku"), user=ada)
    received(FILE, user=ada)
    imported(FILE, user=ada, check_first="true")
    undone = imported(FILE, user=ada)
    Import.objects.filter(pk=undone.pk).update(undone_by=undone.pk)

    assert earlier(received(FILE, user=ada), ada) is None


def test_it_tells_of_the_imports_of_others_only_to_those_who_may_see_them(ada: User) -> None:
    theirs = imported(FILE, user=User.objects.create_user("grace"))
    mine = received(FILE, user=ada)
    assert earlier(mine, ada) is None

    ada.user_permissions.add(Permission.objects.get(codename="view_import"))

    assert earlier(mine, User.objects.get(pk=ada.pk)) == theirs


def test_an_import_says_it_in_its_own_document_and_not_in_a_list() -> None:
    client = client_with("import")
    ada = User.objects.get(username="ada")
    first = imported(FILE, user=ada)
    second = run(received(FILE, user=ada))

    document = client.get(f"/api/v1/imports/{second.pk}/").json()

    assert document["same_as"] == {
        "id": str(first.pk),
        "file_name": "products.csv",
        "finished_at": client.get(f"/api/v1/imports/{first.pk}/").json()["finished_at"],
        "created_by": "ada",
    }
    assert client.get(f"/api/v1/imports/{first.pk}/").json()["same_as"] is None
    assert all("same_as" not in each for each in client.get("/api/v1/imports/").json()["results"])
