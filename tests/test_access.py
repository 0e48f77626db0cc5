"""Every REST route, asked by everybody, answers as the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from accounts.models import User
from products import catalogue
from products.models import Import
from tests.access_table import RIGHTS, TABLE, as_markdown

pytestmark = pytest.mark.django_db
DOCS = Path(__file__).parent.parent / "docs" / "access.md"


def person(name: str, role: str) -> Client:
    user = User.objects.create_user(name)
    user.groups.add(Group.objects.get(name=role))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def ask(client: Client, method: str, path: str) -> int:
    owner, _ = User.objects.get_or_create(username="owner")
    import_ = Import.objects.create(file_name="a.csv", bytes_total=1, created_by=owner)
    if "{sku}" in path:
        catalogue.create_product({"sku": "A", "name": "A"}, actor=owner)
    address = path.replace("{import_id}", str(import_.pk)).replace("{sku}", "A")
    kwargs: dict[str, Any] = {} if method == "get" else {"data": "{}", "content_type": "application/json"}
    answer = getattr(client, method)(address, **kwargs)
    answer.close()
    return int(answer.status_code)


def test_the_table_has_every_route_of_the_schema() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    routes = {(method, path) for path, methods in paths.items() for method in methods if method != "parameters"}

    assert {(method, path) for method, path, _, _ in TABLE} == routes


@pytest.mark.parametrize(("method", "path", "need", "owned"), TABLE)
def test_nobody_gets_in_without_a_name(method: str, path: str, need: str, owned: bool) -> None:
    assert ask(Client(), method, path) == 401


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(("method", "path", "need", "owned"), TABLE)
def test_a_role_gets_what_the_table_says(role: str, method: str, path: str, need: str, owned: bool) -> None:
    status = ask(person("somebody", role), method, path)

    if need not in RIGHTS[role]:
        assert status == 403
    elif owned and role != "admin":
        assert status == 404  # a stranger's
    else:
        assert status not in (401, 403, 500)


def test_the_documentation_shows_this_table() -> None:
    assert as_markdown() in DOCS.read_text()
