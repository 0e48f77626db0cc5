"""Second factors in the database: what a dump has of them opens nothing."""

from __future__ import annotations

from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django_otp import match_token
from django_otp.oath import totp

from accounts import second_factor
from accounts.devices import Authenticator, RecoveryCodes, new_code
from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password="correct horse battery")


def code_of(device: Authenticator, steps: int = 0) -> str:
    return f"{totp(device.bin_key, drift=steps):06d}"


@pytest.fixture
def codes(alice: User) -> list[str]:
    """Her recovery codes, after she has set a second factor up."""
    device = second_factor.begin(alice)
    codes = second_factor.confirm(device, code_of(device))
    assert codes
    return codes


def dump() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a::text FROM accounts_authenticator a UNION ALL SELECT r::text FROM accounts_recoverycodes r"
        )
        return "\n".join(row[0] for row in cursor.fetchall())


def test_a_dump_holds_neither_the_secret_nor_a_code(codes: list[str]) -> None:
    device, text = Authenticator.objects.get(), dump()

    assert device.sealed_key in text
    for secret in (device.bin_key.hex(), device.secret, *codes, *(code.replace("-", "") for code in codes)):
        assert secret not in text.lower()
        assert secret not in text


def test_recovery_codes_can_not_be_found_by_trying() -> None:
    found = {new_code() for _ in range(100)}

    assert len(found) == 100
    assert all(len(code.replace("-", "")) == 16 for code in found)  # of 5 bits each


@pytest.mark.parametrize("typed", [str, str.upper, lambda code: code.replace("-", ""), lambda code: f" {code} "])
def test_a_recovery_code_works_once_however_it_is_typed(alice: User, codes: list[str], typed: Any) -> None:
    assert isinstance(match_token(alice, typed(codes[3])), RecoveryCodes)
    assert match_token(alice, typed(codes[3])) is None
    assert len(RecoveryCodes.objects.get().digests) == 9


def test_a_code_counts_once_and_a_newer_one_after_it(alice: User) -> None:
    device = Authenticator.objects.create(user=alice, name="phone")
    earlier, later = code_of(device, -1), code_of(device, 1)

    assert match_token(alice, later) == device
    for used in (later, earlier):
        assert match_token(alice, used) is None
        Authenticator.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    assert match_token(alice, code_of(device, 5)) is None  # beyond what a clock may be off


def test_after_a_wrong_code_the_next_has_to_wait(alice: User) -> None:
    device = Authenticator.objects.create(user=alice, name="phone")
    right = code_of(device)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"

    assert match_token(alice, wrong) is None
    assert match_token(alice, right) is None
    Authenticator.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    assert match_token(alice, right) == device


def test_a_wrong_code_of_the_phone_does_not_hold_up_a_recovery_code(alice: User, codes: list[str]) -> None:
    assert match_token(alice, "000000") is None
    assert match_token(alice, codes[0]) is not None


def test_a_new_key_takes_its_place_as_for_webhooks(alice: User, codes: list[str], settings: Any) -> None:
    old, new = settings.WEBHOOK_SECRET_KEYS[0], Fernet.generate_key().decode()
    before = Authenticator.objects.get().bin_key
    settings.WEBHOOK_SECRET_KEYS = [new, old]
    out = StringIO()

    call_command("rekey_webhook_secrets", stdout=out)

    assert out.getvalue().startswith("1 secrets: 1 now encrypted with the first key")
    settings.WEBHOOK_SECRET_KEYS = [new]
    assert Authenticator.objects.get().bin_key == before


def test_whose_key_is_lost_logs_in_by_a_recovery_code(alice: User, codes: list[str], settings: Any) -> None:
    code = code_of(Authenticator.objects.get(), 1)
    settings.WEBHOOK_SECRET_KEYS = [Fernet.generate_key().decode()]
    form = {"username": "alice", "password": "correct horse battery"}

    assert Client().post("/login/", {**form, "code": code}).status_code == 200
    assert Client().post("/login/", {**form, "code": codes[0]}).status_code == 302


def test_second_factors_of_older_versions_are_taken_over(alice: User) -> None:
    key, migration = "00" * 20, import_module("accounts.migrations.0004_sealed_second_factors")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE otp_totp_totpdevice"
            " (user_id int, name text, confirmed bool, key text, drift int, last_t bigint, id int);"
            "CREATE TABLE otp_static_staticdevice (id int, user_id int, name text, confirmed bool);"
            "CREATE TABLE otp_static_statictoken (device_id int, token text);"
            f"INSERT INTO otp_totp_totpdevice VALUES ({alice.pk}, 'authenticator', true, '{key}', 1, 7, 1);"
            f"INSERT INTO otp_static_staticdevice VALUES (1, {alice.pk}, 'recovery', true);"
            "INSERT INTO otp_static_statictoken VALUES (1, 'abcdefgh'), (1, 'ijklmnop')"
        )
    with connection.schema_editor() as editor:
        for _ in range(2):  # the second time there is nothing to do
            migration.take_over(apps, editor)

    device = Authenticator.objects.get()
    assert (device.user, device.confirmed, device.drift, device.last_t) == (alice, True, 1, 7)
    assert device.bin_key == bytes(20)
    assert key not in dump()
    assert match_token(alice, "abcdefgh") is not None
    assert match_token(alice, f"{totp(bytes(20), drift=1):06d}") == device
    assert not {name for name in connection.introspection.table_names() if name.startswith("otp_")}
