"""The headers that keep a browser from doing what a stranger wants, on every answer whoever made it."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client, override_settings

from accounts.models import ApiToken, Scope, User
from odata.headers import of_the_live_server
from tests.access_table import ADMIN, PAGES, PUBLIC, TABLE, UPLOADS
from tests.test_access import ask, person

pytestmark = pytest.mark.django_db

DEMANDED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
TOLD_BY_NONE = ("Server", "X-Powered-By")


def lacks(answer: Any) -> list[str]:
    """What is wrong with the headers of an answer that is nobody else's business."""
    found = [name for name, value in DEMANDED.items() if answer.headers.get(name) != value]
    found += [name for name in TOLD_BY_NONE if name in answer.headers]
    found += [] if is_strict(answer.headers.get("Content-Security-Policy", "")) else ["Content-Security-Policy"]
    kept = answer.headers.get("Cache-Control", "")
    if "no-store" not in kept and kept != "private, no-cache":  # the second asks again with its ETag
        found.append("Cache-Control")
    return found


def is_strict(policy: str) -> bool:
    """Nothing but what is listed, scripts from our own files alone, no frame around it."""
    parts = {name: sources for name, *sources in (part.split() for part in policy.split(";") if part.strip())}
    return (
        parts.get("default-src") == parts.get("frame-ancestors") == ["'none'"]
        and parts.get("script-src", ["'self'"]) == ["'self'"]
        and "'unsafe" not in policy
    )


class Recorder(Client):
    """Keeps what it was answered."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(raise_request_exception=False, **defaults)
        self.answers: list[Any] = []

    def request(self, **request: Any) -> Any:
        answer: Any = super().request(**request)
        self.answers.append(answer)
        if answer.streaming:
            for _ in answer.streaming_content:  # to its end, or it would be left open
                pass
        answer.close = lambda: None  # once more, it would close the test's connection to the database
        return answer

    def bad_ones(self) -> dict[str, list[str]]:
        assert self.answers
        names = [f"{each.request['REQUEST_METHOD']} {each.request['PATH_INFO']}" for each in self.answers]
        marked = {f"{name} {each.status_code}": lacks(each) for name, each in zip(names, self.answers, strict=True)}
        return {name: found for name, found in marked.items() if found}


def recorder_of(user: User) -> Recorder:
    client = Recorder()
    client.force_login(user)
    return client


@pytest.fixture
def token() -> dict[str, str]:
    root, _ = User.objects.get_or_create(username="root", is_superuser=True)
    return {"Authorization": f"Bearer {ApiToken.issue(root, name='test', scopes=Scope.values)[1]}"}


@pytest.mark.parametrize("who", ["anonymous", "admin"])
def test_every_address_has_them(who: str) -> None:
    client = Recorder() if who == "anonymous" else recorder_of(person("boss", "admin", is_staff=True))

    for method, path, _, _ in [*TABLE, *UPLOADS, *PAGES]:
        with transaction.atomic():
            ask(client, method, path)
            transaction.set_rollback(True)  # the next line makes the same product again
    for path in sorted(PUBLIC - {"logout/"}):
        client.get(f"/{path.replace('<str:token>', 'x')}")
    for model in ADMIN:
        client.get(f"/admin/{model}/")
        client.get(f"/admin/{model}/add/")
    for path in ("", "palette.json", "running/", "jsi18n/", "password_change/", "no/such/"):
        client.get(f"/admin/{path}")
    client.post("/logout/")

    relaxed = {f"GET {path} 200": ["Content-Security-Policy"] for path in ("/api/docs/", "/api/redoc/")}
    assert client.bad_ones() == relaxed  # see below
    assert {each.status_code for each in client.answers} >= {200, 302, 404}


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_the_pages_of_the_documentation_are_there_to_be_read(path: str) -> None:
    answer = Client(raise_request_exception=False).options(path)

    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_the_pages_of_the_documentation_are_relaxed_for_styles_alone(path: str) -> None:
    policy = Client().get(path)["Content-Security-Policy"]

    assert "style-src 'self' 'unsafe-inline'" in policy
    assert is_strict(policy.replace(" 'unsafe-inline'", ""))


def test_every_kind_of_refusal_has_them(token: dict[str, str], settings: Any) -> None:
    client = Recorder(headers=token)
    products, json = "/api/v1/products/", "application/json"
    client.post(products, {"sku": "A", "name": "A"}, json)
    tag = client.get(f"{products}A/")["ETag"]
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "3", "Upload-Offset": "0"}
    upload = client.post("/files/", headers=tus)["Location"]
    asked = {
        301: client.get("/api/v1/products"),
        304: client.get(f"{products}A/", headers={"If-None-Match": tag}),
        308: client.post("/api/v1/products"),
        400: client.post(products, "{", json),
        401: client.get(products, headers={"Authorization": "Bearer odata_x"}),
        404: client.get("/no/such/"),
        405: client.delete("/readyz"),
        409: client.post(products, {"sku": "a", "name": "A"}, json),
        411: client.post(products, "{}", json, headers={"Transfer-Encoding": "chunked"}),
        412: client.patch(f"{products}A/", {"name": "B"}, json, headers={"If-Match": '"1-99"'}),
        413: client.generic("POST", products, "{}", json, CONTENT_LENGTH="6000000"),
        415: client.patch(upload, b"abc", json, headers=tus | {"Upload-Offset": "0"}),
    }
    client.get("/imports/", headers={"Host": "evil.example"})  # refused by Django before any view
    client.get("/%00")
    client.get("/static/no-such.css")
    settings.API_RATE_LIMIT = 1
    asked[429] = [client.get(products) for _ in range(3)][-1]

    assert {status: answer.status_code for status, answer in asked.items()} == {status: status for status in asked}
    assert client.bad_ones() == {}


@pytest.mark.urls("common.tests.probes")
def test_every_kind_of_failure_has_them() -> None:
    from common.tests.test_problems import KINDS

    client = Recorder()
    for kind in KINDS:
        for path in ("api/fail", "api/plain", "page"):
            client.get(f"/{path}/{kind}/", headers={"Accept": "text/html"})

    assert client.bad_ones() == {}
    assert {each.status_code for each in client.answers} >= {500, 503, 507}


def test_the_login_and_its_lock_have_them() -> None:
    client = Recorder()
    for _ in range(11):
        client.post("/login/", {"username": "nobody", "password": "wrong"})

    assert client.answers[-1].status_code == 429
    assert client.bad_ones() == {}


def test_a_form_without_its_token_is_refused_with_them() -> None:
    client = Recorder(enforce_csrf_checks=True)

    assert client.post("/login/", {"username": "nobody"}).status_code == 403
    assert client.bad_ones() == {}


def test_static_files_have_them_and_may_be_kept() -> None:
    for name in ("favicon.svg", "drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"):
        answer = Recorder().get(f"/static/{name}")

        assert answer.status_code == 200
        assert lacks(answer) == ["Cache-Control"]
        assert "public" in answer["Cache-Control"]


def test_over_https_browsers_are_told_to_stay_there() -> None:
    with override_settings(SECURE_SSL_REDIRECT=True, SECURE_HSTS_SECONDS=31536000):
        client = Recorder()
        led = client.get("/imports/")
        secure = [client.get(path, secure=True) for path in ("/login/", "/no/such/", "/static/favicon.svg", "/livez")]
        foreign = client.get("/imports/", headers={"Host": "evil.example"})  # which is not led to evil.example
        secure += [client.get("/login/", secure=True, headers={"Host": "evil.example"})]

    assert (led.status_code, led["Location"]) == (301, "https://testserver/imports/")
    assert foreign.status_code == 400
    assert {each["Strict-Transport-Security"][:16] for each in secure} == {"max-age=31536000"}
    assert [name for name in client.bad_ones() if "static" not in name] == []


def test_what_the_live_server_says_over_http_has_them() -> None:
    class Answer:
        headers = {name.decode().title(): value.decode() for name, value in of_the_live_server()}

    assert lacks(Answer) == []
    with override_settings(HTTPS=True, SECURE_HSTS_SECONDS=60):
        assert b"strict-transport-security" in dict(of_the_live_server())
    assert settings.SECURE_CONTENT_TYPE_NOSNIFF
