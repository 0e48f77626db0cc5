"""Every address, asked by everybody, answers as the tables say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from channels.db import database_sync_to_async
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts import audit
from accounts.models import ApiToken, Scope, User
from products import catalogue
from products.models import Import, ProductChange
from products.routing import websocket_urlpatterns
from products.tests.test_consumers import Socket, application, session_cookie
from tests.access_table import (
    ADMIN,
    ADMIN_PAGES,
    ALL,
    ALONE,
    OWN,
    PAGES,
    PUBLIC,
    RIGHTS,
    SOCKETS,
    TABLE,
    UPLOADS,
    admin_as_markdown,
    as_markdown,
    has_right,
)
from webhooks.models import Attempt, Delivery, WebhookEndpoint

pytestmark = pytest.mark.django_db
DOCS = Path(__file__).parent.parent / "docs" / "access.md"
REST = [*TABLE, *UPLOADS]
DONE = (200, 201, 202, 204)
COLUMNS = ("method", "path", "need", "whose")


def person(name: str, role: str, **fields: Any) -> User:
    user, _ = User.objects.get_or_create(username=name, defaults=fields)
    user.groups.add(Group.objects.get(name=role))
    return user


def session_of(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def program_of(user: User, *scopes: str) -> Client:
    _, full = ApiToken.issue(user, name="test", scopes=list(scopes))
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {full}"})


def ask(client: Client, method: str, path: str, owner: User | None = None) -> int:
    """The status of the answer; what the address names is made before, and is `owner`'s."""
    owner = owner or User.objects.get_or_create(username="owner")[0]
    names = {"{sku}": "A"}
    if "{sku}" in path:
        catalogue.create_product({"sku": "A", "name": "A"}, actor=owner)
    if "{import_id}" in path:
        stored = default_storage.save("imports/access.csv", ContentFile(b"sku,name\n"))
        names["{import_id}"] = str(
            Import.objects.create(file_name="a.csv", bytes_total=9, created_by=owner, stored_file=stored).pk
        )
    if "{upload_id}" in path:
        answer = session_of_importer(owner).post("/files/", **TUS)
        names["{upload_id}"] = answer["Location"].rsplit("/", 1)[1]
    if "{token_id}" in path:
        names["{token_id}"] = str(ApiToken.issue(owner, name="theirs", scopes=["read"])[0].pk)
    if path.startswith(("/api/v1/webhooks/{", "/api/v1/webhooks/att", "/api/v1/webhooks/del", "/webhooks/")):
        names |= a_webhook_of(owner)
    for name, value in names.items():
        path = path.replace(name, value)
    if path.startswith("/files/"):
        body = {"data": b"abc", "content_type": "application/offset+octet-stream"} if method == "patch" else {}
        kwargs: dict[str, Any] = {**TUS, **body}
    else:
        data = f'{{"url": "{HOOK_URL}"}}' if "/webhooks/" in path and method == "put" else "{}"
        kwargs = {} if method == "get" else {"data": data, "content_type": "application/json"}
    answer = getattr(client, method)(path, **kwargs)
    answer.close()
    return int(answer.status_code)


HOOK_URL = "https://93.184.215.14/hook"


def a_webhook_of(owner: User) -> dict[str, str]:
    """The names of an endpoint, with a delivery and an attempt. Where it is, nothing is sent to."""
    url = "http://192.0.2.1/hook"
    endpoint = WebhookEndpoint.objects.create(url=url, event_types=["ping"], created_by=owner)
    delivery = Delivery.objects.create(
        event_id=endpoint.pk, endpoint_id=endpoint.pk, event_type="ping", state="delivered"
    )
    attempt = Attempt.objects.create(
        delivery_id=delivery.pk,
        endpoint_id=endpoint.pk,
        event_id=endpoint.pk,
        number=1,
        started_at=timezone.now(),
        url=url,
        request_headers={},
        total_ms=1,
    )
    ids = {"{endpoint_id}": endpoint.pk, "{delivery_id}": delivery.pk, "{attempt_id}": attempt.pk}
    return {**{name: str(pk) for name, pk in ids.items()}, "{url}": quote(url, safe=""), "{status}": "active"}


TUS = {"headers": {"Tus-Resumable": "1.0.0", "Upload-Length": "3", "Upload-Offset": "0"}}


def session_of_importer(owner: User) -> Client:
    """Of the owner, who by now may import: only such people have uploads."""
    return session_of(person(owner.username, "importer"))


# --- the tables are whole ----------------------------------------------------------------------


def test_the_table_has_every_route_of_the_schema() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    routes = {(method, path) for path, methods in paths.items() for method in methods if method != "parameters"}

    assert {(method, path) for method, path, _, _ in TABLE} == routes


def test_every_address_of_the_service_is_in_a_table() -> None:
    named = {_shape(path) for _, path, _, _ in [*TABLE, *UPLOADS, *PAGES]} | {_shape(f"/{path}") for path in PUBLIC}

    routes = [route for route in _routes(get_resolver().url_patterns) if not route.startswith("admin/")]
    assert [route for route in routes if _shape(f"/{route}") not in named] == []


def test_every_socket_and_every_kind_of_row_in_the_admin_is_in_a_table() -> None:
    for _, path, _, _ in SOCKETS:
        assert [pattern for pattern in websocket_urlpatterns[:-1] if pattern.pattern.match(path.lstrip("/"))]
    assert len(SOCKETS) == len(websocket_urlpatterns) - 1  # the last one takes what no other does
    assert {f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry} == set(ADMIN)


def _routes(patterns: Any, before: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, before + str(pattern.pattern))
        else:
            yield before + str(pattern.pattern)


def _shape(path: str) -> str:
    """The path with all names alike, and without the slash at its end."""
    return re.sub(r"<[^>]+>|\{[^}]+\}", "*", path).rstrip("/")


# --- REST and uploads --------------------------------------------------------------------------


@pytest.mark.parametrize(COLUMNS, REST)
def test_nobody_gets_in_without_a_name(method: str, path: str, need: str, whose: str) -> None:
    assert ask(Client(), method, path) == 401


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(COLUMNS, REST)
def test_a_role_gets_what_the_table_says(role: str, method: str, path: str, need: str, whose: str) -> None:
    user = person("somebody", role)
    status = ask(session_of(user), method, path)

    if not has_right(RIGHTS[role], need):
        assert status == 403
    elif whose == ALONE or (whose == OWN and role != "admin"):
        assert status == 404  # a stranger's
    else:
        assert status not in (401, 403, 404)
        assert status < 500


@pytest.mark.parametrize("scope", Scope.values)
@pytest.mark.parametrize(COLUMNS, REST)
def test_a_token_gets_what_its_scope_says(scope: str, method: str, path: str, need: str, whose: str) -> None:
    """Of the role admin, whose rights are no hindrance."""
    status = ask(program_of(person("somebody", "admin"), scope), method, path)

    if scope not in need.split(" or "):
        assert status == 403
    elif whose == ALONE:
        assert status == 404
    else:
        assert status not in (401, 403, 404)
        assert status < 500


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(COLUMNS, REST)
def test_a_token_that_names_everything_gets_what_its_person_gets(
    role: str, method: str, path: str, need: str, whose: str
) -> None:
    status = ask(program_of(person("somebody", role), *Scope.values), method, path)

    assert (status == 403) == (not has_right(RIGHTS[role], need))


@pytest.mark.parametrize(COLUMNS, [line for line in REST if line[3] != ALL])
def test_the_owner_finds_it(method: str, path: str, need: str, whose: str) -> None:
    owner = person("owner", "admin" if need == "webhooks" else "importer")

    assert ask(session_of(owner), method, path, owner) in (*DONE, 409)  # 409: there is nothing to undo or to apply


# --- sockets -----------------------------------------------------------------------------------


async def _close_code(path: str, headers: dict[str, str]) -> int | None:
    """Why the socket was closed, or None if it shows the import."""
    texts = {"host": "localhost:8001", **headers}
    socket = Socket(application, path, [(name.encode(), value.encode()) for name, value in texts.items()])
    await socket.connect(timeout=8)
    message = await socket.receive_output(8)
    await socket.disconnect(timeout=8)
    return int(message["code"]) if message["type"] == "websocket.close" else None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(COLUMNS, SOCKETS)
async def test_a_socket_shows_an_import_to_those_who_may_see_it(method: str, path: str, need: str, whose: str) -> None:
    @database_sync_to_async
    def prepare() -> tuple[str, dict[str, dict[str, str]]]:
        owner = person("owner", "importer")
        import_ = Import.objects.create(file_name="a.csv", bytes_total=1, created_by=owner)
        callers = {"anonymous": {}, "owner": session_cookie(owner)}
        callers |= {role: session_cookie(person(f"a {role}", role)) for role in RIGHTS}
        for scope in Scope.values:
            _, full = ApiToken.issue(person("root", "admin"), name="test", scopes=[scope])
            callers[f"token:{scope}"] = {"authorization": f"Bearer {full}"}
        return path.replace("{import_id}", str(import_.pk)), callers

    address, callers = await prepare()
    codes = {who: await _close_code(address, headers) for who, headers in callers.items()}

    assert codes == {
        "anonymous": 4401,
        "owner": None,
        **{role: None if role == "admin" else 4404 for role in RIGHTS},
        **{f"token:{scope}": None if scope in need.split(" or ") else 4403 for scope in Scope.values},
    }


# --- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(COLUMNS, PAGES)
def test_a_page_leads_who_is_not_known_to_the_login(method: str, path: str, need: str, whose: str) -> None:
    owner, _ = User.objects.get_or_create(username="owner")
    client = Client()

    assert ask(client, method, path, owner) == 302
    assert client.get("/imports/")["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(COLUMNS, PAGES)
def test_a_page_shows_a_role_what_the_table_says(role: str, method: str, path: str, need: str, whose: str) -> None:
    status = ask(session_of(person("somebody", role)), method, path)

    if whose == ALONE or (whose == OWN and role != "admin"):
        assert status == 404  # a stranger's, whatever one may do
    elif not has_right(RIGHTS[role], need):
        assert status == 403
    else:
        assert status in (200, 302)


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(COLUMNS, [line for line in PAGES if line[3] != ALL])
def test_a_page_lets_the_owner_do_what_their_role_says(
    role: str, method: str, path: str, need: str, whose: str
) -> None:
    owner = person("owner", role)

    status = ask(session_of(owner), method, path, owner)
    assert status in (200, 302) if has_right(RIGHTS[role], need) else status == 403


# --- the admin ---------------------------------------------------------------------------------


def admin_pages() -> dict[str, int]:
    """Each page of the admin, with a row to be about if it needs one, and the status the role admin has as staff."""
    owner = User.objects.create_user("owner")
    product = catalogue.create_product({"sku": "A", "name": "A"}, actor=owner)
    rows: dict[str, Any] = {
        "accounts/auditentry": audit.record(None, "token.issued", "7"),
        "accounts/user": owner,
        "auth/group": Group.objects.get(name="viewer"),
        "products/import": Import.objects.create(file_name="a.csv", bytes_total=1, created_by=owner),
        "products/product": product,
        "products/productchange": ProductChange.objects.filter(product_id=product.pk).get(),
        "webhooks/webhookendpoint": WebhookEndpoint.objects.create(url="http://192.0.2.1/", event_types=["ping"]),
    }
    expected = dict.fromkeys(ADMIN_PAGES, 200)
    for model, may in ADMIN.items():
        allowed = {right: 200 if right in may.split() else 403 for right in ("view", "add", "delete")}
        expected[f"/admin/{model}/"] = allowed["view"]
        expected[f"/admin/{model}/add/"] = allowed["add"]
        if row := rows.get(model):
            expected[f"/admin/{model}/{row.pk}/change/"] = allowed["view"]
            expected[f"/admin/{model}/{row.pk}/delete/"] = allowed["delete"]
    return expected


def statuses(client: Client, paths: list[str]) -> dict[str, int]:
    return {path: client.get(path, follow=True).status_code for path in paths}


def test_the_role_admin_as_staff_sees_of_the_admin_what_the_table_says() -> None:
    expected = admin_pages()
    client = session_of(person("boss", "admin", is_staff=True))

    assert statuses(client, list(expected)) == expected


@pytest.mark.parametrize("role", RIGHTS)
def test_who_is_not_staff_sees_nothing_of_the_admin(role: str) -> None:
    paths = [*admin_pages(), "/admin/", "/admin/palette.json", "/admin/running/", "/admin/jsi18n/"]

    assert set(statuses(session_of(person("somebody", role)), paths).values()) == {403}


def test_the_admin_leads_who_is_not_known_to_the_login() -> None:
    for path in [*admin_pages(), "/admin/", "/admin/palette.json", "/admin/running/"]:
        answer = Client().get(path, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/login/?next="), path


def test_staff_without_a_role_see_no_rows() -> None:
    paths = list(admin_pages())
    client = session_of(User.objects.create_user("new", is_staff=True))

    assert set(statuses(client, paths).values()) == {403}
    assert client.get("/admin/").status_code == 200


# --- the documentation -------------------------------------------------------------------------


def test_the_documentation_shows_these_tables() -> None:
    text = DOCS.read_text()

    for table in (as_markdown(TABLE), as_markdown(UPLOADS), as_markdown(SOCKETS, refusal="4403")):
        assert table in text
    assert as_markdown(PAGES, scopes=False) in text
    assert admin_as_markdown() in text
