"""`manage.py rekey_webhook_secrets`."""

from __future__ import annotations

import threading
from datetime import timedelta
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from pytest_django import Settings

from accounts.models import IdempotentReply, User
from common.sealing import is_fresh, seal, unseal
from common.tests.waiting import wait_until
from webhooks.keys import issue_keys, rotate
from webhooks.management.commands import rekey_webhook_secrets
from webhooks.models import EndpointSecret, WebhookEndpoint
from webhooks.targets import read_one


def rekey(*args: str) -> str:
    out = StringIO()
    call_command("rekey_webhook_secrets", *args, stdout=out)
    return out.getvalue()


@pytest.fixture
def old(settings: Settings) -> str:
    """The key that has encrypted everything so far."""
    key = Fernet.generate_key().decode()
    settings.WEBHOOK_SECRET_KEYS = [key]
    return key


@pytest.fixture
def new() -> str:
    return Fernet.generate_key().decode()


def endpoint(headers: str = "") -> WebhookEndpoint:
    there = WebhookEndpoint.objects.create(
        url="https://listener.example/", event_types=["ping"], signatures=["v1", "v1a"]
    )
    if headers:
        WebhookEndpoint.objects.filter(pk=there.pk).update(sealed_headers=seal(headers))
    issue_keys(there)
    return there


@pytest.mark.django_db
def test_everything_is_encrypted_with_the_first_key(
    old: str, new: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekey_webhook_secrets, "BATCH", 2)
    many = [endpoint('{"authorization": "hunter2"}'), endpoint(), endpoint()]
    rotate(many[0], timedelta(days=1))
    before = {row.pk: unseal(row.sealed) for row in EndpointSecret.objects.all()}
    settings.WEBHOOK_SECRET_KEYS = [new, old]

    assert rekey() == "9 secrets: 9 now encrypted with the first key, 0 were before, 0 can't be decrypted.\n"

    settings.WEBHOOK_SECRET_KEYS = [new]
    assert {row.pk: unseal(row.sealed) for row in EndpointSecret.objects.all()} == before
    assert unseal(WebhookEndpoint.objects.get(pk=many[0].pk).sealed_headers) == '{"authorization": "hunter2"}'
    assert WebhookEndpoint.objects.get(pk=many[1].pk).sealed_headers == ""
    assert rekey() == "9 secrets: 0 now encrypted with the first key, 9 were before, 0 can't be decrypted.\n"


@pytest.mark.django_db
def test_stored_answers_which_have_keys_of_their_own_are_left_alone(old: str) -> None:
    endpoint()
    ada = User.objects.create_user("ada")
    IdempotentReply.objects.create(digest="0" * 64, user=ada, sealed="by a key that is in no ring")

    assert rekey() == "2 secrets: 0 now encrypted with the first key, 2 were before, 0 can't be decrypted.\n"


@pytest.mark.django_db
def test_check_only_counts(old: str, new: str, settings: Settings) -> None:
    there = endpoint()
    settings.WEBHOOK_SECRET_KEYS = [new, old]
    rotate(there)
    before = set(EndpointSecret.objects.values_list("pk", "sealed"))

    assert rekey("--check") == "4 secrets: 2 to encrypt with the first key, 2 were before, 0 can't be decrypted.\n"

    assert set(EndpointSecret.objects.values_list("pk", "sealed")) == before


@pytest.mark.django_db
def test_what_no_key_decrypts_is_named_and_left(old: str, new: str, settings: Settings) -> None:
    lost = endpoint("{}")
    settings.WEBHOOK_SECRET_KEYS = [other := Fernet.generate_key().decode()]
    kept = endpoint()
    settings.WEBHOOK_SECRET_KEYS = [new, other]
    before = set(lost.secrets.values_list("sealed", flat=True))

    with pytest.raises(CommandError, match="No key in WEBHOOK_SECRET_KEYS decrypts") as refused:
        rekey()

    assert str(refused.value).count(str(lost.pk)) == 3
    assert f"{lost.pk} (sealed_headers)" in str(refused.value)
    assert str(kept.pk) not in str(refused.value)
    assert set(lost.secrets.values_list("sealed", flat=True)) == before
    assert all(is_fresh(row.sealed) for row in kept.secrets.all())


@pytest.mark.django_db(transaction=True)
def test_a_change_made_meanwhile_is_not_overwritten(old: str, new: str, settings: Settings) -> None:
    there = endpoint("before")
    settings.WEBHOOK_SECRET_KEYS = [new, old]
    said: list[str] = []

    def run() -> None:
        try:
            said.append(rekey())
        finally:
            connection.close()

    running = threading.Thread(target=run)
    with transaction.atomic():
        WebhookEndpoint.objects.filter(pk=there.pk).update(sealed_headers=seal("after"))
        running.start()
        wait_until_somebody_waits()
    running.join(30)

    there.refresh_from_db()
    assert unseal(there.sealed_headers) == "after"
    assert said == ["3 secrets: 2 now encrypted with the first key, 1 were before, 0 can't be decrypted.\n"]


def wait_until_somebody_waits() -> None:
    """For a lock. Not by pg_stat_activity, which stands still within a transaction."""
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    with connection.cursor() as cursor:
        wait_until(lambda: cursor.execute(waits).fetchone()[0], "somebody waits for our lock", 10)


@pytest.mark.django_db(transaction=True)
def test_it_may_run_while_secrets_are_rotated(
    old: str, new: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekey_webhook_secrets, "BATCH", 3)
    many = [endpoint("{}") for _ in range(8)]
    settings.WEBHOOK_SECRET_KEYS = [new, old]
    problems: list[BaseException] = []

    def turn() -> None:
        try:
            for there in many:
                for _ in range(3):
                    rotate(there)
                    assert not read_one(there).problem
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    turning = threading.Thread(target=turn)
    turning.start()
    while turning.is_alive():
        rekey()
    turning.join(30)
    rekey()

    assert problems == []
    settings.WEBHOOK_SECRET_KEYS = [new]
    for there in many:
        assert len(read_one(there).keys) == 8
