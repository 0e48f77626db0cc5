"""Every kind of failure, told in the one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

pytestmark = [pytest.mark.urls("common.tests.probes"), pytest.mark.django_db]

KINDS = {
    "conflict": (409, "import_finished"),
    "fields": (400, "invalid"),
    "later": (503, "unavailable"),
    "missing": (404, "not_found"),
    "forbidden": (403, "permission_denied"),
    "model-rule": (400, "invalid"),
    "nested-rule": (400, "invalid"),
    "throttled": (429, "throttled"),
    "suspicious": (400, "bad_request"),
    "too-big": (413, "too_large"),
    "database-down": (503, "unavailable"),
    "pool-empty": (503, "unavailable"),
    "disk-full": (507, "no_space"),
    "slow-statement": (503, "busy"),
    "nul": (400, "invalid"),
    "bug": (500, "internal_error"),
}


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def problem(response: Any) -> dict[str, Any]:
    """The body of an answer, which has to be a problem."""
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.content)
    assert list(body)[:6] == ["type", "title", "status", "code", "detail", "instance"]
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:odata:problem:{body['code']}"
    assert body["request_id"] == response["X-Request-ID"]
    return body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", ["fail", "plain"])
def test_it_tells_every_failure_of_an_api_path_as_a_problem(client: Client, view: str, kind: str) -> None:
    response = client.get(f"/api/{view}/{kind}/")

    body = problem(response)
    assert (body["status"], body["code"]) == KINDS[kind]
    assert body["instance"] == f"/api/{view}/{kind}/"


@pytest.mark.parametrize("kind", KINDS)
def test_it_tells_every_failure_of_a_page_as_a_page(client: Client, kind: str) -> None:
    response = client.get(f"/page/{kind}/", headers={"Accept": "text/html,*/*;q=0.8"})

    assert response.status_code == KINDS[kind][0]
    assert response["Content-Type"].startswith("text/html")
    assert response["X-Request-ID"] in response.content.decode()


@pytest.mark.parametrize(
    ("kind", "words", "may_pass"),
    [
        ("forbidden", "log out first", False),
        ("missing", "Is the address written right?", False),
        ("too-big", "send less at once", False),
        ("bug", "Try again; if it stays so", True),
        ("database-down", "Try again.", True),
        ("throttled", "", True),
    ],
)
def test_a_page_says_what_to_do_next(client: Client, kind: str, words: str, may_pass: bool) -> None:
    page = client.get(f"/page/{kind}/", headers={"Accept": "text/html"}).content.decode()

    assert words in page
    assert ('<a class="button" href="">Try again</a>' in page) is may_pass
    assert page.count("Something went wrong on our side") == (
        2 if kind == "bug" else 0
    )  # the window's title, the heading


def test_a_form_that_met_a_database_that_is_away_is_sent_once_more(client: Client) -> None:
    page = client.post("/page/database-down/", headers={"Accept": "text/html"})

    assert "Go back and send it once more." in page.content.decode()


def test_it_tells_a_page_as_json_to_those_who_ask_for_json(client: Client) -> None:
    assert problem(client.get("/page/missing/", headers={"Accept": "application/json"}))["code"] == "not_found"
    assert problem(client.get("/nowhere/", headers={"Accept": "application/problem+json"}))["code"] == "not_found"


def test_it_hides_the_words_of_bugs_and_of_servers(client: Client) -> None:
    for kind in ("bug", "database-down"):
        assert "secret" not in client.get(f"/api/fail/{kind}/").content.decode()
        assert "10.1.2.3" not in client.get(f"/api/fail/{kind}/").content.decode()


def test_it_says_when_to_come_again(client: Client) -> None:
    assert client.get("/api/fail/later/")["Retry-After"] == "7"
    assert client.get("/api/fail/throttled/")["Retry-After"] == "3"
    assert client.get("/api/plain/database-down/")["Retry-After"] == "5"
    assert client.get("/api/fail/slow-statement/")["Retry-After"] == "2"


def test_it_points_at_each_value_that_is_wrong(client: Client) -> None:
    body = problem(client.post("/api/fail/bug/", {"age": "old"}, content_type="application/json"))

    assert body["detail"] == "2 values are not valid: see `errors`."
    assert body["errors"] == [
        {"pointer": "/name", "code": "required", "message": "This field is required."},
        {"pointer": "/age", "code": "invalid", "message": "A valid integer is required."},
    ]


def test_it_points_into_nested_values_and_at_the_whole(client: Client) -> None:
    errors = problem(client.get("/api/fail/nested-rule/"))["errors"]

    assert [error["pointer"] for error in errors] == ["/rows/1/a~1b", ""]


def test_it_keeps_the_code_of_a_model_rule(client: Client) -> None:
    errors = problem(client.get("/api/fail/model-rule/"))["errors"]

    assert errors == [{"pointer": "/sku", "code": "max_length", "message": "Too long."}]


@pytest.mark.parametrize("body", ["{", "[1, 2", '{"name": NaN}', "\xff\xfe", ""])
def test_it_refuses_json_that_is_none(client: Client, body: str) -> None:
    response = client.post("/api/fail/bug/", body.encode("latin1"), content_type="application/json")

    assert problem(response)["status"] == 400


def test_it_refuses_a_body_that_is_too_large(client: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    response = client.post("/api/fail/bug/", {"name": "x" * 1000}, content_type="application/json")

    assert problem(response)["code"] == "too_large"
    assert response.status_code == 413


def test_it_refuses_a_type_that_it_does_not_take(client: Client) -> None:
    response = client.post("/api/fail/bug/", b"<a/>", content_type="application/xml")

    assert problem(response)["code"] == "unsupported_media_type"
    assert "`application/json`" in problem(response)["detail"]


def test_it_refuses_to_answer_in_a_type_that_it_does_not_have(client: Client) -> None:
    response = client.get("/api/fail/bug/", headers={"Accept": "image/png"})

    assert problem(response)["code"] == "not_acceptable"


@pytest.mark.parametrize("view", ["fail", "plain"])
def test_it_names_the_methods_that_an_address_takes(client: Client, view: str) -> None:
    response = client.delete(f"/api/{view}/bug/")

    assert problem(response)["code"] == "method_not_allowed"
    assert "GET" in response["Allow"]


@pytest.mark.parametrize("address", ["/api/fail/a%00b/", "/api/fail/bug/?q=%00", "/nowhere%00"])
def test_it_refuses_nul_in_an_address(client: Client, address: str) -> None:
    response = client.get(address, headers={"Accept": "application/json"})

    assert problem(response)["code"] == "nul_character"


def test_it_does_not_answer_to_a_foreign_host_name(client: Client) -> None:
    response = client.get("/api/fail/bug/", headers={"Host": "evil.example"})

    assert problem(response)["code"] == "unknown_host"


def test_it_keeps_method_and_body_where_only_the_slash_is_missing(client: Client) -> None:
    response = client.post("/api/fail/bug", {}, content_type="application/json")

    assert response.status_code == 308
    assert response["Location"] == "/api/fail/bug/"


def test_it_gives_every_answer_its_request_id(client: Client) -> None:
    first, second = (client.post("/api/fail/bug/", {"name": "a", "age": 1}, "application/json") for _ in range(2))

    assert first.status_code == second.status_code == 200
    assert first["X-Request-ID"] != second["X-Request-ID"]


def test_it_does_not_let_a_form_in_that_is_not_from_our_pages() -> None:
    response = Client(enforce_csrf_checks=True).post("/page/bug/", headers={"Accept": "application/json"})

    assert problem(response)["code"] == "csrf_failed"
