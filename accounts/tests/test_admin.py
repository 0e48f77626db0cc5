"""People and tokens in the admin."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.authentication import authenticate_token
from accounts.models import ApiToken, User

pytestmark = pytest.mark.django_db

ADD = "/admin/accounts/apitoken/add/"
ENTRIES = 40_000


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def staff() -> User:
    """Somebody who looks after people and tokens, and may change no product."""
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    return staff


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def form(user: User, **overrides: Any) -> dict[str, Any]:
    empty = {"works_for": "", "last_day": ""}
    return {"user": user.pk, "name": "shop", "scopes": ["read", "write"], **empty, **overrides}


def test_it_shows_a_new_token_once(root: User) -> None:
    client = client_of(root)

    shown = html.unescape(client.post(ADD, form(root), follow=True).content.decode())

    match = re.search(r"odata_[0-9a-f]{16}_[\w-]{43}", shown)
    assert match is not None
    token = authenticate_token(match[0])
    assert token is not None
    assert (token.user, token.name, token.scopes) == (root, "shop", ["read", "write"])
    assert f'curl -H "Authorization: Bearer {match[0]}"' in shown
    for address in ("/admin/accounts/apitoken/", f"/admin/accounts/apitoken/{token.pk}/change/"):
        page = client.get(address).content.decode()
        assert token.key_id in page
        assert match[0] not in page
        assert token.digest not in page


def test_both_halves_of_a_time_have_a_name(root: User) -> None:
    page = client_of(root).get(f"/admin/accounts/user/{root.pk}/change/").content.decode()

    assert 'aria-label="Last login: date"' in page
    assert 'aria-label="Last login: time"' in page


def test_only_the_name_of_a_token_can_be_changed(root: User) -> None:
    token, full = ApiToken.issue(root, name="shop", scopes=["read"])

    client_of(root).post(f"/admin/accounts/apitoken/{token.pk}/change/", form(root, name="till", scopes=["import"]))

    token.refresh_from_db()
    assert (token.name, token.scopes) == ("till", ["read"])
    assert authenticate_token(full) == token


def test_deleting_a_token_revokes_it(root: User) -> None:
    token, full = ApiToken.issue(root, name="shop", scopes=["read"])

    client_of(root).post(f"/admin/accounts/apitoken/{token.pk}/delete/", {"post": "yes"})

    assert authenticate_token(full) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scopes": []}, "This field is required."),
        ({"scopes": ["fly"]}, "not one of the available choices"),
        ({"name": ""}, "This field is required."),
        ({"works_for": "day", "last_day": "2020-01-01"}, "This lies in the past."),
        ({"works_for": "day"}, "Say until which day it is to work."),
        ({"works_for": "7", "last_day": "2099-01-01"}, "You chose “7 days” as well."),
        ({"works_for": "for ever"}, "not one of the available choices"),
    ],
)
def test_it_refuses_a_token_that_is_not_right(root: User, wrong: dict[str, Any], words: str) -> None:
    response = client_of(root).post(ADD, form(root, **wrong))

    assert words in html.unescape(response.content.decode())
    assert not ApiToken.objects.exists()


def test_nobody_but_a_superuser_makes_tokens_for_others(root: User, staff: User) -> None:
    client_of(staff).post(ADD, form(root, scopes=["read"]))

    assert not ApiToken.objects.exists()


def test_nobody_hands_out_more_than_they_hold(staff: User) -> None:
    response = client_of(staff).post(ADD, form(staff, scopes=["read", "write"]))

    assert "Your account does not hold: write." in response.content.decode()
    assert not ApiToken.objects.exists()


def test_staff_see_their_own_tokens_alone(root: User, staff: User) -> None:
    ApiToken.issue(root, name="of the root", scopes=["read"])
    ApiToken.issue(staff, name="of the staff", scopes=["read"])

    page = client_of(staff).get("/admin/accounts/apitoken/").content.decode()

    assert "of the staff" in page
    assert "of the root" not in page


def test_nobody_edits_themselves_into_a_superuser(staff: User) -> None:
    data = {"username": "staff", "is_active": "on", "is_superuser": "on", "date_joined_0": "2026-01-01"}

    client_of(staff).post(f"/admin/accounts/user/{staff.pk}/change/", data | {"date_joined_1": "00:00:00"})

    staff.refresh_from_db()
    assert not staff.is_superuser


def test_nobody_but_a_superuser_changes_or_deletes_one(root: User, staff: User) -> None:
    client = client_of(staff)

    assert client.post(f"/admin/accounts/user/{root.pk}/password/", {}).status_code == 403
    assert client.post(f"/admin/accounts/user/{root.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=root.pk).exists()


@pytest.fixture
def long_log() -> None:
    """Entries of 400 days, the last of them of a week ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_auditentry (at, actor_name, action, object_type, object_id, details, request_id) "
            "SELECT now() - interval '407 days' + n * interval '400 days' / %(number)s, 'ada', "
            "       (ARRAY['export.made', 'token.issued'])[1 + n %% 2], '', '', '{}', '' "
            "FROM generate_series(1, %(number)s) AS n",
            {"number": ENTRIES},
        )
        cursor.execute("SELECT brin_summarize_new_values('audit_by_time')")
        cursor.execute("ANALYZE accounts_auditentry")


@pytest.mark.usefixtures("long_log")
@pytest.mark.parametrize("days", [1, 9])
def test_the_audit_log_is_shown_by_action_and_day_without_reading_all_of_it(root: User, days: int) -> None:
    since = timezone.now() - timedelta(days=days)
    client = client_of(root)
    with CaptureQueriesContext(connection) as asked:
        page = client.get("/admin/accounts/auditentry/", {"at__gte": str(since)}).content.decode()

    assert all(f"action={action}" in page for action in ("export.made", "token.issued"))
    looks = [query["sql"] for query in asked if "accounts_auditentry" in query["sql"]]
    assert len(looks) > 2
    assert max(map(entries_read, looks)) < ENTRIES / 4


def entries_read(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.removeprefix('EXPLAIN (FORMAT JSON) ')}")
        return _read_by(cursor.fetchone()[0][0]["Plan"])


def _read_by(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name") == "accounts_auditentry":
        vain = sum(number for name, number in plan.items() if name.startswith("Rows Removed by"))
        own = round((plan["Actual Rows"] + vain) * plan["Actual Loops"])
    return own + sum(map(_read_by, plan.get("Plans", ())))
