"""Roles, locks against guessing, tickets, and the audit log."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client
from django.utils import timezone
from django_otp.oath import totp

from accounts import audit, second_factor
from accounts.access import scopes_of
from accounts.authentication import authenticate_token
from accounts.devices import Authenticator
from accounts.models import ApiToken, AuditEntry, SocketTicket, User
from accounts.roles import ROLES
from accounts.sockets import Handshake, identify, redeem
from accounts.tests.people import token_of
from accounts.tickets import issue_ticket, redeem_ticket

pytestmark = pytest.mark.django_db
Import: Any = apps.get_model("products.Import")
PASSWORD = "correct horse battery"
DOCS = Path(__file__).parents[2] / "docs" / "access.md"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password=PASSWORD)


def try_login(username: str, password: str, **headers: str) -> Any:
    return Client().post("/login/", {"username": username, "password": password}, headers=headers)


# --- roles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "scopes", "sees_all"),
    [
        ("viewer", {"read"}, False),
        ("editor", {"read", "write"}, False),
        ("importer", {"read", "import"}, False),
        ("admin", {"read", "write", "import"}, True),
    ],
)
def test_a_role_may_do_what_its_name_says(alice: User, role: str, scopes: set[str], sees_all: bool) -> None:
    other = Import.objects.create(file_name="other.csv", bytes_total=1)
    alice.groups.add(Group.objects.get(name=role))

    assert scopes <= scopes_of(alice, None) <= scopes | {"webhooks"}
    assert Import.objects.visible_to(alice).filter(pk=other.pk).exists() is sees_all


def test_migrating_again_keeps_what_an_operator_gave_a_role() -> None:
    from django.contrib.auth.models import Permission

    viewer = Group.objects.get(name="viewer")
    viewer.permissions.add(Permission.objects.get(codename="add_import"))
    before = viewer.permissions.count()

    call_command("migrate", verbosity=0)

    assert viewer.permissions.count() == before
    assert set(Group.objects.values_list("name", flat=True)) == set(ROLES)


# --- guessing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_ten_wrong_passwords_lock_whoever_it_is(alice: User, username: str) -> None:
    answers = [try_login(username, "wrong", **{"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(10)]

    locked = try_login(username, PASSWORD, **{"X-Forwarded-For": "10.9.9.9"})

    assert answers == [200] * 9 + [429]
    assert locked.status_code == 429
    assert 890 < int(locked["Retry-After"]) <= 900
    page = locked.content.decode()
    until = re.search(r'Try again at <strong><time datetime="([^"]+)">[^<]+ UTC</time></strong>, in 15 minutes', page)
    assert until
    assert timedelta(minutes=14, seconds=50) < datetime.fromisoformat(until[1]) - timezone.now() < timedelta(minutes=16)
    assert 'href="/login/">Back to the login' in page


def test_a_lock_says_when_it_ends_and_ends_though_somebody_goes_on_trying(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 1
    try_login("alice", "wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=13))

    locked = try_login("alice", "wrong")

    assert 60 < int(locked["Retry-After"]) <= 120
    assert "in 2 minutes" in locked.content.decode()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15))
    assert try_login("alice", PASSWORD).status_code == 302


def test_who_is_locked_out_goes_on_to_where_they_wanted(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 1

    page = (
        Client().post("/login/", {"username": "alice", "password": "x", "next": "/imports/?a=1&b=2"}).content.decode()
    )

    assert 'href="/login/?next=/imports/%3Fa%3D1%26b%3D2">Back to the login' in page


def test_behind_proxies_it_is_the_address_that_the_proxy_saw(alice: User, settings: Any) -> None:
    settings.PROXY_COUNT = 1
    for n in range(10):
        try_login("alice", "wrong", **{"X-Forwarded-For": f"1.2.3.{n}, 203.0.113.7"})

    assert try_login("alice", PASSWORD, **{"X-Forwarded-For": "9.9.9.9, 203.0.113.7"}).status_code == 429
    assert try_login("alice", PASSWORD, **{"X-Forwarded-For": "203.0.113.8"}).status_code == 302


def test_of_ipv6_it_is_the_network_that_a_customer_has(alice: User, settings: Any) -> None:
    settings.PROXY_COUNT = 1
    for n in range(10):
        try_login("alice", "wrong", **{"X-Forwarded-For": f"2001:db8:1:2::{n}"})

    assert try_login("alice", PASSWORD, **{"X-Forwarded-For": "2001:db8:1:2:ffff::1"}).status_code == 429
    assert try_login("alice", PASSWORD, **{"X-Forwarded-For": "2001:db8:1:3::1"}).status_code == 302


def test_an_address_that_tries_many_names_is_locked_for_all_of_them(alice: User, settings: Any) -> None:
    settings.PROXY_COUNT = 1
    settings.LOGIN_ADDRESS_LIMIT = 12
    for n in range(12):
        assert try_login(f"nobody{n}", PASSWORD, **{"X-Forwarded-For": "203.0.113.7"}).status_code == 200

    locked = [try_login(name, PASSWORD, **{"X-Forwarded-For": "203.0.113.7"}) for name in ("nobody13", "alice")]

    assert [answer.status_code for answer in locked] == [429, 429]
    assert 890 < int(locked[0]["Retry-After"]) <= 900
    assert try_login("alice", PASSWORD, **{"X-Forwarded-For": "203.0.113.8"}).status_code == 302


def test_an_office_that_shares_an_address_may_be_wrong_now_and_then(alice: User) -> None:
    for n in range(50):
        try_login(f"colleague{n}", "wrong")

    assert try_login("alice", PASSWORD).status_code == 302


def test_the_admin_has_no_other_way_in(alice: User) -> None:
    answer = Client().post("/admin/login/", {"username": "alice", "password": PASSWORD})

    assert answer["Location"] == "/login/?next=/admin/"


# --- the second factor -------------------------------------------------------------------------


def present_code(device: Authenticator) -> str:
    return f"{totp(device.bin_key):06d}"


def enrol(client: Client, user: User) -> list[str]:
    client.post("/account/second-factor/", {"act": "begin"})
    device = Authenticator.objects.get(user=user)
    answer = client.post("/account/second-factor/", {"act": "confirm", "code": present_code(device)})
    return list(answer.context["codes"])


def test_who_has_a_second_factor_needs_it(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    codes = enrol(client, alice)
    assert len(codes) == 10

    without = try_login("alice", PASSWORD)
    with_code = Client().post("/login/", {"username": "alice", "password": PASSWORD, "code": codes[0]})
    again = Client().post("/login/", {"username": "alice", "password": PASSWORD, "code": codes[0]})

    assert without.status_code == 200
    assert "present code" in without.content.decode()
    assert with_code.status_code == 302
    assert again.status_code == 200


def test_a_right_code_after_a_wrong_one_is_told_to_wait(alice: User) -> None:
    device = second_factor.begin(alice)
    codes = second_factor.confirm(device, present_code(device))
    assert codes
    Authenticator.objects.update(last_t=-1)  # as if half a minute had gone by: each code works once
    form = {"username": "alice", "password": PASSWORD}
    wrong = f"{(int(present_code(device)) + 500_000) % 1_000_000:06d}"

    first = Client().post("/login/", {**form, "code": wrong}).content.decode()
    Authenticator.objects.update(throttling_failure_count=6)
    right = Client().post("/login/", {**form, "code": present_code(device)}).content.decode()

    assert "This is not the present code of your authenticator" in first
    assert re.search(r"this one was not looked at\. Wait 3[012] seconds, then try again\.", right)
    assert Client().post("/login/", {**form, "code": codes[0]}).status_code == 302  # of the other kind


def test_on_the_page_of_the_second_factor_a_code_that_is_not_looked_at_is_told_to_wait(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    device = second_factor.begin(alice)

    def told(act: str, code: str) -> str:
        return str(client.post("/account/second-factor/", {"act": act, "code": code}).context["problem"])

    def as_if_wrong_before() -> None:
        Authenticator.objects.update(throttling_failure_count=8, throttling_failure_timestamp=timezone.now(), last_t=-1)

    as_if_wrong_before()
    assert re.search("not looked at. Wait 3 minutes, then try again", told("confirm", present_code(device)))
    Authenticator.objects.update(throttling_failure_count=0)
    assert told("confirm", present_code(device)) == ""
    as_if_wrong_before()
    assert re.search("not looked at. Wait 3 minutes, then try again", told("remove", present_code(device)))
    assert second_factor.enrolled(alice)


def test_staff_without_it_get_no_admin_page_where_it_is_required(settings: Any, alice: User) -> None:
    settings.REQUIRE_SECOND_FACTOR_FOR_STAFF = True
    alice.is_staff = alice.is_superuser = True
    alice.save()
    client = Client()
    client.force_login(alice)

    for address in ["/admin/", "/admin/products/product/", "/admin/accounts/user/add/", "/admin/palette.json"]:
        answer = client.get(address, follow=True)
        assert answer.redirect_chain[-1][0] == "/account/second-factor/", address
    enrol(client, alice)
    assert client.get("/admin/").status_code == 200


def test_no_address_of_the_admin_shows_a_second_factor(admin_client: Client, alice: User) -> None:
    device = second_factor.begin(alice)
    codes = second_factor.confirm(device, present_code(device))
    assert codes
    secrets = (device.bin_key.hex(), device.secret, device.sealed_key, *codes)
    shown = [
        admin_client.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/{row.pk}/{page}").content.decode()
        for model in admin.site._registry
        for row in model._default_manager.all()[:20]
        for page in ("change/", "history/", "delete/")
    ]

    assert len(shown) > 3
    assert not [secret for secret in secrets for page in shown if secret in page]
    for model_admin in ("accounts/authenticator", "accounts/recoverycodes"):
        pages = ("", "add/", f"{device.pk}/change/")
        assert {admin_client.get(f"/admin/{model_admin}/{page}").status_code for page in pages} == {404}


def test_an_operator_resets_a_lost_second_factor(alice: User) -> None:
    device = second_factor.begin(alice)
    second_factor.confirm(device, present_code(device))
    out = StringIO()

    call_command("reset_second_factor", "alice", stdout=out)

    assert "alice logs in by password alone" in out.getvalue()
    assert not second_factor.enrolled(alice)
    assert try_login("alice", PASSWORD).status_code == 302
    assert AuditEntry.objects.filter(action="second_factor.reset", object_id=str(alice.pk)).count() == 1


def test_a_reset_says_when_there_is_nothing_to_reset(alice: User) -> None:
    with pytest.raises(CommandError, match="'alice' has no second factor"):
        call_command("reset_second_factor", "alice")
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("reset_second_factor", "nobody")


def test_a_wrong_code_sets_nothing_up(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    client.post("/account/second-factor/", {"act": "begin"})

    assert "<svg" in client.get("/account/second-factor/").content.decode()
    assert client.post("/account/second-factor/", {"act": "confirm", "code": "x"}).status_code == 400
    assert not Authenticator.objects.get(user=alice).confirmed


def test_who_has_begun_a_second_factor_may_think_better_of_it(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    client.post("/account/second-factor/", {"act": "begin"})

    page = client.post("/account/second-factor/", {"act": "abandon", "code": ""}).content.decode()

    assert "Set it up" in page
    assert not Authenticator.objects.filter(user=alice).exists()


def test_abandoning_leaves_a_second_factor_that_counts(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    device = Authenticator.objects.create(user=alice, name="authenticator", confirmed=True)

    client.post("/account/second-factor/", {"act": "abandon", "code": ""})

    assert Authenticator.objects.filter(pk=device.pk, confirmed=True).exists()


# --- one's own tokens --------------------------------------------------------------------------


def test_people_make_see_and_revoke_their_own_tokens(alice: User) -> None:
    bob = User.objects.create_user("bob")
    client, stranger = Client(), Client()
    client.force_login(alice)
    stranger.force_login(bob)

    made = client.post("/account/tokens/", {"name": "shop", "scopes": ["read"]})
    full, token = made.context["full"], ApiToken.objects.get()

    assert f"Authorization: Bearer {full}" in made.content.decode()
    assert full not in client.get("/account/tokens/").content.decode()
    assert authenticate_token(full) == token
    assert stranger.post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    assert client.get(f"/account/tokens/{token.pk}/revoke/", follow=True).redirect_chain == [("/account/tokens/", 302)]
    assert authenticate_token(full) == token  # who had to log in first comes back by GET
    assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 302
    assert authenticate_token(full) is None
    assert sorted(AuditEntry.objects.filter(action__startswith="token").values_list("action", flat=True)) == [
        "token.issued",
        "token.revoked",
    ]


@pytest.mark.parametrize(
    ("chosen", "days"), [({}, None), ({"works_for": "30"}, 30), ({"works_for": "day", "last_day": "tomorrow"}, 2)]
)
def test_a_token_works_for_as_long_as_was_chosen(alice: User, chosen: dict[str, str], days: int | None) -> None:
    client, today = Client(), timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    client.force_login(alice)
    if "last_day" in chosen:
        chosen = {**chosen, "last_day": f"{today + timedelta(days=1):%Y-%m-%d}"}

    page = client.post("/account/tokens/", {"name": "shop", "scopes": ["read"], **chosen}).content.decode()

    expires_at = ApiToken.objects.get().expires_at
    if days is None:
        assert expires_at is None
        assert "Works until it is revoked" in page
    else:
        assert expires_at is not None
        assert today + timedelta(days=days) <= expires_at < today + timedelta(days=days + 1)
        assert f'Works until <time datetime="{expires_at:%Y-%m-%dT%H:%M}' in page


def test_people_change_their_own_password_and_are_logged_out_elsewhere(alice: User) -> None:
    here, elsewhere = Client(), Client()
    here.force_login(alice)
    elsewhere.force_login(alice)
    page, new = "/account/password/", "lamp of brass and oak"
    before = here.cookies["sessionid"].value

    refused = here.post(page, {"old_password": "wrong", "new_password1": new, "new_password2": new})
    changed = here.post(page, {"old_password": PASSWORD, "new_password1": new, "new_password2": new}, follow=True)

    assert refused.status_code == 400
    assert "Your password is changed" in changed.content.decode()
    assert here.cookies["sessionid"].value != before
    assert elsewhere.get(page).status_code == 302
    assert try_login("alice", new).status_code == 302
    noted = AuditEntry.objects.get(action="user.password_changed")
    assert (noted.actor_name, noted.object_id, noted.details) == ("alice", str(alice.pk), {})


def test_what_the_audit_log_cannot_note_is_not_done(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    token, _ = token_of(alice, "read")
    device = second_factor.begin(alice)
    device.confirmed = True
    device.save()
    code = totp(device.bin_key)
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE accounts_auditentry ADD CONSTRAINT full_disk CHECK (action !~ '^(token|second)') NOT VALID"
        )

    assert client.post("/account/tokens/", {"name": "shop", "scopes": ["read"]}).status_code == 409
    assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 409
    assert client.post("/account/second-factor/", {"act": "remove", "code": f"{code:06}"}).status_code == 409
    with pytest.raises(IntegrityError), transaction.atomic():
        call_command("issue_token", "alice", "--name", "shop", "--scopes", "read")
    assert list(ApiToken.objects.all()) == [token]
    assert second_factor.enrolled(alice)


def test_nobody_makes_a_token_that_may_more_than_they(alice: User) -> None:
    client = Client()
    client.force_login(alice)

    assert client.post("/account/tokens/", {"name": "shop", "scopes": ["write"]}).status_code == 400


def test_one_s_page_offers_what_one_may_do_and_says_what_a_token_lost(alice: User) -> None:
    token_of(alice, "read", "import", name="shop")
    client = Client()
    client.force_login(alice)
    before = client.get("/account/tokens/").content.decode()
    alice.user_permissions.clear()
    after = client.get("/account/tokens/").content.decode()

    assert 'value="import"' in before
    assert 'value="write"' not in before
    assert "No longer works" not in before
    assert 'value="import"' not in after
    assert "No longer works for import" in after


# --- tickets -----------------------------------------------------------------------------------


def ticket_handshake(ticket: str) -> Handshake:
    return redeem(Handshake.of([], f"ticket={ticket}".encode()))


def test_a_ticket_opens_once_as_its_token(alice: User) -> None:
    token, full = ApiToken.issue(alice, name="shop", scopes=["read"])
    answer = Client().post("/api/v1/sockets/tickets/", headers={"Authorization": f"Bearer {full}"})
    assert answer.status_code == 201

    handshake = ticket_handshake(answer.json()["ticket"])
    caller = identify(handshake)

    assert caller is not None
    assert caller.token == token
    assert caller.user == alice
    assert identify(ticket_handshake(answer.json()["ticket"])) is None
    assert identify(handshake) is not None  # looked at again while the socket is open
    token.delete()
    assert identify(handshake) is None


def test_an_old_ticket_and_an_invented_one_open_nothing(alice: User) -> None:
    token, _ = ApiToken.issue(alice, name="shop", scopes=["read"])
    ticket, _ = issue_ticket(token)
    SocketTicket.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert redeem_ticket(ticket) is None
    assert redeem_ticket("invented") is None


def test_a_bad_ticket_is_never_saved_by_a_good_token(alice: User) -> None:
    _, full = ApiToken.issue(alice, name="shop", scopes=["read"])

    assert identify(redeem(Handshake.of([(b"authorization", f"Bearer {full}".encode())], b"ticket=x"))) is None


def test_a_session_is_told_that_it_needs_no_ticket(alice: User) -> None:
    client = Client()
    client.force_login(alice)

    answer = client.post("/api/v1/sockets/tickets/")

    assert (answer.status_code, answer.json()["code"]) == (400, "ticket_needs_token")


def test_a_dump_of_the_database_opens_nothing(alice: User) -> None:
    token, full = ApiToken.issue(alice, name="shop", scopes=["read"])
    ticket, _ = issue_ticket(token)
    browser = Client()
    browser.force_login(alice)
    key = browser.cookies["sessionid"].value
    mistyped = Client().post("/login/", {"username": "alice", "password": "wrong", "code": "abcd-efgh-ijkl-mnop"})
    assert mistyped.status_code == 200
    with connection.cursor() as cursor:
        dump = "".join(
            f"{row}\n" for table in connection.introspection.table_names(cursor) for row in _rows(cursor, table)
        )

    assert token.key_id in dump  # it is a dump, and the token is in it
    assert full.split("_", 2)[2] not in dump
    assert ticket not in dump
    assert "abcd-efgh" not in dump
    assert key not in dump
    stored = Session.objects.get().session_key
    assert stored in dump
    assert logged_in(key)
    assert not logged_in(stored)
    assert authenticate_token(f"odata_{token.key_id}_{token.digest[:43]}") is None


def test_who_was_logged_in_before_keys_were_digests_still_is(alice: User) -> None:
    browser = Client()
    browser.force_login(alice)
    key = browser.cookies["sessionid"].value
    Session.objects.update(session_key=key)
    assert not logged_in(key)

    step = import_module("accounts.migrations.0006_session_keys").Migration.operations[0]
    with connection.cursor() as cursor:
        cursor.execute(step.sql)
        cursor.execute(step.sql)  # and again: it leaves digests as they are

    assert logged_in(key)


def logged_in(session_key: str) -> bool:
    return Client(headers={"Cookie": f"sessionid={session_key}"}).get("/account/tokens/").status_code == 200


def _rows(cursor: Any, table: str) -> list[Any]:
    cursor.execute(f'SELECT t::text FROM "{table}" t')
    return [row[0] for row in cursor.fetchall()]


# --- audit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET action = 'nothing'",
        "DELETE FROM accounts_auditentry",
        "TRUNCATE accounts_auditentry",
    ],
)
def test_the_audit_log_is_append_only(alice: User, statement: str) -> None:
    entry = audit.record(alice, "token.issued", alice)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditentry ENABLE TRIGGER audit_never_truncated")

    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert AuditEntry.objects.get(pk=entry.pk).action == "token.issued"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET action = 'nothing'",
        "DELETE FROM accounts_auditentry",
        "TRUNCATE accounts_auditentry",
        "ALTER TABLE accounts_auditentry DISABLE TRIGGER ALL",
        "DROP TABLE accounts_auditentry",
        "DROP TRIGGER audit_never_changed ON accounts_auditentry",
        "CREATE OR REPLACE FUNCTION accounts_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ],
)
def test_with_the_documented_roles_the_service_s_own_can_only_append(alice: User, statement: str) -> None:
    (recipe,) = re.findall(r"```sql\n(CREATE ROLE.*?)```", DOCS.read_text(), re.DOTALL)
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE the_service; ALTER FUNCTION accounts_audit_is_append_only OWNER TO the_service")
        cursor.execute(recipe.replace("odata_owner", "the_owner").replace("TO odata;", "TO the_service;"))
        cursor.execute("SET LOCAL ROLE the_service; SET LOCAL odata.prune_audit = 'on'")
    entry = audit.record(alice, "token.issued", "7")

    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert AuditEntry.objects.get(pk=entry.pk).action == "token.issued"


def test_sign_ins_are_noted_without_the_password(alice: User) -> None:
    client = Client()
    client.post("/login/", {"username": "alice", "password": "a wrong secret"})
    client.post("/login/", {"username": "alice", "password": PASSWORD})
    client.post("/logout/")

    noted = list(AuditEntry.objects.order_by("id").values_list("action", "actor_name", "ip"))

    assert noted == [
        ("session.refused", "", "127.0.0.1"),
        ("session.started", "alice", "127.0.0.1"),
        ("session.ended", "alice", "127.0.0.1"),
    ]
    assert "secret" not in str(list(AuditEntry.objects.values()))


def test_a_person_can_be_removed_and_what_they_did_stays(alice: User) -> None:
    audit.record(alice, "token.issued")
    alice.delete()

    assert AuditEntry.objects.get(action="token.issued").actor_name == "alice"


def test_a_changed_role_is_noted(alice: User) -> None:
    alice.groups.add(Group.objects.get(name="editor"))

    assert AuditEntry.objects.get(action="user.roles_changed").details == {"change": "add", "roles": ["editor"]}


def noted(action: str) -> list[tuple[str, str, Any]]:
    """Who did it, to what, and the details, in their order."""
    return list(
        AuditEntry.objects.filter(action=action).order_by("id").values_list("actor_name", "object_id", "details")
    )


def test_a_changed_role_is_noted_from_its_other_end_too(alice: User) -> None:
    editor = Group.objects.get(name="editor")
    editor.user_set.add(alice)
    editor.user_set.clear()
    alice.groups.add(editor)
    alice.groups.clear()

    pairs = [(object_id, details["change"]) for _, object_id, details in noted("user.roles_changed")]
    assert pairs == [(str(alice.pk), change) for change in ("add", "clear", "add", "clear")]


def save_person(client: Client, user: User, **fields: Any) -> None:
    """Save the admin's form of this person with these fields, the way a browser sends it."""
    form = {"username": user.username, "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    answer = client.post(f"/admin/accounts/user/{user.pk}/change/", {**form, **fields})
    assert answer.status_code == 302, answer.content.decode()


def test_who_gave_and_took_powers_is_noted(admin_client: Client, alice: User) -> None:
    write = Permission.objects.get(codename="change_product")
    save_person(admin_client, alice, is_staff="on", user_permissions=[write.pk])
    save_person(admin_client, alice)

    assert noted("user.powers_changed")[-2:] == [
        ("admin", str(alice.pk), {"is_staff": True}),
        ("admin", str(alice.pk), {"is_staff": False}),
    ]
    assert noted("user.permissions_changed") == [
        ("admin", str(alice.pk), {"change": change, "permissions": ["products.change_product"]})
        for change in ("add", "remove")
    ]


def test_saving_a_person_as_they_are_notes_nothing(admin_client: Client, alice: User) -> None:
    save_person(admin_client, alice)
    before = AuditEntry.objects.count()

    save_person(admin_client, alice)

    assert AuditEntry.objects.count() == before


def test_who_redefined_a_role_is_noted(admin_client: Client) -> None:
    viewer = Group.objects.get(name="viewer")
    kept = list(viewer.permissions.values_list("pk", flat=True))
    added = Permission.objects.get(codename="add_import")

    admin_client.post(f"/admin/auth/group/{viewer.pk}/change/", {"name": "viewer", "permissions": [*kept, added.pk]})

    details = {"change": "add", "permissions": ["products.add_import"]}
    assert noted("role.permissions_changed") == [("admin", str(viewer.pk), details)]


def test_a_password_set_by_somebody_is_noted_without_it(admin_client: Client, alice: User) -> None:
    new = "a-brand-new-secret-77"
    form = {"password1": new, "password2": new, "usable_password": "true"}
    answer = admin_client.post(f"/admin/accounts/user/{alice.pk}/password/", form)

    assert answer.status_code == 302
    assert noted("user.password_changed") == [("admin", str(alice.pk), {})]
    assert new not in str(list(AuditEntry.objects.values()))


def test_a_superuser_made_and_removed_by_a_command_is_noted_as_nobodys() -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    key = str(root.pk)
    root.delete()

    assert noted("user.powers_changed") == [("", key, {"is_staff": True, "is_superuser": True})]
    assert noted("user.removed") == [("", key, {"username": "root"})]


def test_a_token_issued_by_command_is_noted_without_its_secret(alice: User) -> None:
    out = StringIO()
    call_command("issue_token", "alice", "--name", "shop", "--scopes", "read", stdout=out, stderr=StringIO())

    token = ApiToken.objects.get()
    assert noted("token.issued") == [("", str(token.pk), {"by": "manage.py", "of": "alice", "scopes": ["read"]})]
    assert out.getvalue().strip() not in str(list(AuditEntry.objects.values()))


def test_an_endpoint_of_webhooks_can_be_noted(alice: User) -> None:
    endpoint: Any = apps.get_model("webhooks.WebhookEndpoint")(url="https://example.com/hook")

    entry = audit.record(alice, "webhook.created", endpoint, {"url": endpoint.url})

    assert (entry.object_type, entry.object_id) == ("webhooks.WebhookEndpoint", str(endpoint.pk))


def test_old_entries_can_be_pruned_and_that_is_noted(alice: User) -> None:
    AuditEntry.objects.create(action="old", at=timezone.now() - timedelta(days=400))
    audit.record(alice, "new")

    call_command("prune_audit", older_than_days=365, stdout=StringIO())

    assert sorted(AuditEntry.objects.values_list("action", flat=True)) == ["audit.pruned", "new"]


def test_the_admin_shows_the_log_and_changes_nothing(admin_client: Client) -> None:
    entry = audit.record(None, "token.issued", "7")
    page = admin_client.get(f"/admin/accounts/auditentry/{entry.pk}/change/")

    assert page.status_code == 200
    assert admin_client.get("/admin/accounts/auditentry/?action=token.issued").status_code == 200
    assert admin_client.post(f"/admin/accounts/auditentry/{entry.pk}/change/", {}).status_code == 403
    assert admin_client.post(f"/admin/accounts/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403
