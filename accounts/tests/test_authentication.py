"""Programs with tokens, people with sessions: who gets in, and what the others are told."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client
from django.urls import path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import scopes_of
from accounts.authentication import authenticate_token
from accounts.models import ApiToken, User
from accounts.tests.people import entitle, token_of
from accounts.urls import urlpatterns as account_urls

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class WhoAmI(APIView):
    """Tells who asked, to those who may read; takes writes of those who may write."""

    required_scopes = {"get": {"read"}, "post": {"write"}}

    def get(self, request: Request) -> Response:
        return Response({"user": request.user.get_username(), "token": getattr(request.auth, "name", None)})

    post = get


urlpatterns = [path("api/me/", WhoAmI.as_view()), *account_urls]


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


def issue(user: User, *scopes: str, **overrides: Any) -> tuple[ApiToken, str]:
    return token_of(user, *(scopes or ("read",)), name="shop", **overrides)


def get_me(authorization: str) -> Any:
    return Client().get("/api/me/", headers={"Authorization": authorization})


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_it_lets_a_token_in_as_its_user(alice: User, scheme: str) -> None:
    _, full = issue(alice)

    response = get_me(f"{scheme} {full}")

    assert response.json() == {"user": "alice", "token": "shop"}


def test_it_asks_for_a_token_where_there_is_none(client: Client) -> None:
    response = client.get("/api/me/")

    assert response.status_code == 401
    assert response.json()["code"] == "not_authenticated"
    assert response["WWW-Authenticate"].startswith("Bearer")


def broken_tokens(full: str) -> dict[str, str]:
    """Strings that look like `full` and open nothing."""
    prefix, key_id, secret = full.split("_", 2)
    other = "A" if secret[-1] != "A" else "B"
    return {
        "wrong secret": f"{prefix}_{key_id}_{secret[:-1]}{other}",
        "unknown id": f"{prefix}_{'0' * 16}_{secret}",
        "no secret": f"{prefix}_{key_id}",
        "empty": "",
        "longer": full + "A",
        "a line more": full + "\n",
        "other prefix": f"sk_{key_id}_{secret}",
        "very long": "odata_" + "0" * 100_000,
        "not ascii": full[:-1] + "é",
        "nul": full[:-1] + "\0",
    }


def test_it_does_not_say_which_part_of_a_token_is_wrong(alice: User) -> None:
    _, full = issue(alice)

    answers = set()
    for broken in broken_tokens(full).values():
        if broken.isascii() and broken.isprintable():
            response = get_me(f"Bearer {broken}")
            body = response.json()
            answers.add((response.status_code, body["code"], body["detail"]))

    assert len(answers) == 1
    assert answers.pop()[:2] == (401, "invalid_token")


def test_a_broken_token_is_nobody(alice: User) -> None:
    token, full = issue(alice)

    assert authenticate_token(full) == token
    for kind, broken in broken_tokens(full).items():
        assert authenticate_token(broken) is None, kind


def test_it_tells_an_expired_token_that_it_has_expired(alice: User) -> None:
    _, full = issue(alice, expires_at=timezone.now() - timedelta(seconds=1))

    response = get_me(f"Bearer {full}")

    assert (response.status_code, response.json()["code"]) == (401, "token_expired")
    assert authenticate_token(full) is None


def test_it_tells_nobody_without_the_secret_that_a_token_has_expired(alice: User) -> None:
    _, full = issue(alice, expires_at=timezone.now() - timedelta(seconds=1))

    response = get_me(f"Bearer {broken_tokens(full)['wrong secret']}")

    assert response.json()["code"] == "invalid_token"


def test_it_refuses_the_token_of_somebody_who_is_switched_off(alice: User) -> None:
    _, full = issue(alice)
    User.objects.update(is_active=False)

    assert get_me(f"Bearer {full}").status_code == 401
    assert authenticate_token(full) is None


def test_it_refuses_a_deleted_token(alice: User) -> None:
    token, full = issue(alice)
    token.delete()

    assert get_me(f"Bearer {full}").status_code == 401


def test_a_bad_token_is_not_saved_by_a_good_session(alice: User, client: Client) -> None:
    client.force_login(alice)

    response = client.get("/api/me/", headers={"Authorization": "Bearer odata_no"})

    assert response.status_code == 401


def test_it_keeps_no_secret(alice: User) -> None:
    token, full = issue(alice)
    secret = full.split("_", 2)[2]

    stored = json.dumps(list(ApiToken.objects.filter(pk=token.pk).values()), default=str)

    assert secret not in stored


def test_it_needs_one_query_for_a_token_in_use(alice: User, django_assert_num_queries: Any) -> None:
    _, full = issue(alice)
    authenticate_token(full)

    with django_assert_num_queries(1):
        authenticate_token(full)


def ask(full: str, method: str = "get") -> Any:
    return getattr(Client(), method)("/api/me/", headers={"Authorization": f"Bearer {full}"})


def test_reading_asks_for_no_permission(alice: User, django_assert_num_queries: Any) -> None:
    _, full = issue(alice, "read", "write", "import", "webhooks")

    with django_assert_num_queries(2):  # the token with its user, and that it is used
        assert ask(full).status_code == 200


def test_reading_again_looks_at_the_token_no_more_for_a_moment(alice: User, django_assert_num_queries: Any) -> None:
    _, full = issue(alice)
    ask(full)

    with django_assert_num_queries(0):
        assert ask(full).status_code == 200


def test_writing_looks_at_the_token_each_time(alice: User) -> None:
    token, full = issue(alice, "read", "write")
    assert ask(full, "get").status_code == ask(full, "post").status_code == 200

    ApiToken.objects.filter(pk=token.pk)._raw_delete(using="default")  # as if another process did it

    assert ask(full, "post").status_code == 401


def test_what_is_known_of_a_token_will_not_do_for_a_second(alice: User) -> None:
    token, full = issue(alice)
    assert ask(full).status_code == 200
    ApiToken.objects.filter(pk=token.pk)._raw_delete(using="default")  # as if another process did it
    gone = time.monotonic()

    while ask(full).status_code == 200:
        assert time.monotonic() - gone < 1


def test_what_is_known_of_a_token_is_forgotten_at_once_where_it_or_its_person_changes(alice: User) -> None:
    token, full = issue(alice)
    assert ask(full).status_code == 200
    alice.is_active = False
    alice.save()
    assert ask(full).status_code == 401

    alice.is_active = True
    alice.save()
    assert ask(full).status_code == 200
    token.delete()
    assert ask(full).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_what_others_read_of_a_token_until_it_was_removed_will_not_do_either(alice: User) -> None:
    token, full = issue(alice)
    assert ask(full).status_code == 200  # its use is noted with that: nobody waits for its row below

    def ask_elsewhere() -> int:
        try:
            return int(ask(full).status_code)
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as thread:
        token.delete()
        assert thread.submit(ask_elsewhere).result() == 200, "nobody knows of it yet"

    assert ask(full).status_code == 401


def test_a_token_that_expires_is_not_known_any_more(alice: User) -> None:
    expiry = timezone.now() + timedelta(seconds=0.2)
    _, full = issue(alice, expires_at=expiry)
    assert ask(full).status_code == 200

    while timezone.now() < expiry:
        assert ask(full).status_code in (200, 401)

    assert ask(full).json()["code"] == "token_expired"


@pytest.mark.parametrize("scope", ["write", "import", "webhooks"])
def test_a_token_loses_what_its_person_lost(alice: User, scope: str) -> None:
    token, _ = issue(alice, "read", scope)
    assert scopes_of(User.objects.get(pk=alice.pk), token) == {"read", scope}

    alice.user_permissions.clear()

    assert scopes_of(User.objects.get(pk=alice.pk), token) == {"read"}


def test_it_is_told_that_its_person_lost_the_right(alice: User) -> None:
    _, full = issue(alice, "read", "write")
    assert ask(full, "post").status_code == 200

    alice.user_permissions.clear()
    answer = ask(full, "post")

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert "no right to `write` (any more)" in answer.json()["detail"]


def test_a_right_that_a_token_does_not_name_is_not_its_own(alice: User) -> None:
    _, full = issue(entitle(alice, "write"), "read", "import")

    assert "This token has no scope `write`" in ask(full, "post").json()["detail"]


def test_it_notes_the_first_use(alice: User) -> None:
    token, full = issue(alice)

    authenticate_token(full)

    token.refresh_from_db()
    assert token.last_used_at is not None


@pytest.mark.parametrize(("age", "noted_again"), [(30, False), (90, True)])
def test_it_notes_a_use_once_a_minute(alice: User, age: int, noted_again: bool) -> None:
    token, full = issue(alice)
    ApiToken.objects.update(last_used_at=Now() - timedelta(seconds=age))
    token.refresh_from_db()
    before = token.last_used_at

    authenticate_token(full)

    token.refresh_from_db()
    assert (token.last_used_at != before) is noted_again


# --- scopes ------------------------------------------------------------------------------------


def test_it_names_the_scope_that_a_token_lacks(alice: User) -> None:
    _, full = issue(alice, "read", "import")

    response = Client().post("/api/me/", headers={"Authorization": f"Bearer {full}"})

    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
    assert "`write`" in response.json()["detail"]


def test_it_names_the_right_that_a_person_lacks(alice: User, client: Client) -> None:
    client.force_login(alice)

    response = client.post("/api/me/")

    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
    assert "`write`" in response.json()["detail"]


def test_a_head_needs_what_a_get_needs(alice: User, client: Client) -> None:
    assert client.head("/api/me/").status_code == 401
    client.force_login(alice)
    assert client.head("/api/me/").status_code == 200


def test_it_says_405_rather_than_403_to_a_method_that_is_not_there(alice: User, client: Client) -> None:
    client.force_login(alice)

    response = client.delete("/api/me/")

    assert response.status_code == 405
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"


# --- sessions ----------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Client:
    """A client in the session of an administrator, whose CSRF token is checked as a browser's is."""
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("root"))
    return browser


def test_a_session_may_read(browser: Client) -> None:
    assert browser.get("/api/me/").json() == {"user": "root", "token": None}


def test_a_session_may_not_write_without_its_csrf_token(browser: Client) -> None:
    response = browser.post("/api/me/")

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")


def test_a_session_may_write_with_its_csrf_token_in_the_header(browser: Client) -> None:
    token = csrf_token_of(browser)

    assert browser.post("/api/me/", headers={"X-CSRFToken": token}).status_code == 200


def test_a_csrf_token_in_a_form_is_not_looked_for(browser: Client) -> None:
    token = csrf_token_of(browser)

    response = browser.post("/api/me/", {"csrfmiddlewaretoken": token})

    assert response.json()["code"] == "csrf_failed"


def test_a_foreign_page_may_not_write_in_a_session(browser: Client) -> None:
    headers = {"X-CSRFToken": csrf_token_of(browser), "Origin": "https://evil.example"}

    assert browser.post("/api/me/", headers=headers).json()["code"] == "csrf_failed"


def test_a_session_of_somebody_switched_off_is_nobody(browser: Client) -> None:
    User.objects.update(is_active=False)

    assert browser.get("/api/me/").status_code == 401


def csrf_token_of(browser: Client) -> str:
    """The CSRF cookie that the log-in page hands out."""
    fresh = Client()
    fresh.get("/login/")
    browser.cookies["csrftoken"] = fresh.cookies["csrftoken"].value
    return fresh.cookies["csrftoken"].value
