"""Signatures of Standard Webhooks: the published vectors, and what an independent library makes of ours."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from time import time

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from webhooks.signing import (
    Ed25519Key,
    HmacKey,
    InvalidSecretError,
    SigningKey,
    check_strength,
    headers,
    parse_key,
    sign,
)
from webhooks.tests.receivers import public_half

SECRET_A = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET_B = "whsec_plJ3nmyCDGBKInavdOK15jsl"
SECRET_C = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_C = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
MESSAGE_A = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
MESSAGE_B = ("msg_loFOjxBNrRLzqYUf", 1731705121, b'{"event_type":"ping","data":{"success":true}}')
SIGNATURE_A = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
SIGNATURE_B = "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
SIGNATURE_C = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

SHORT = "whsec_" + base64.b64encode(b"x" * 23).decode()
LONG = "whsec_" + base64.b64encode(b"x" * 65).decode()


@pytest.mark.parametrize(
    ("secret", "message", "signature"),
    [
        (SECRET_A, MESSAGE_A, SIGNATURE_A),  # in the library's own tests, in seven languages
        (SECRET_B, MESSAGE_B, SIGNATURE_B),  # docs.svix.com, on verifying by hand
        (SECRET_C, MESSAGE_A, SIGNATURE_C),  # in the tests of svix's server
    ],
)
def test_published_vectors(secret: str, message: tuple[str, int, bytes], signature: str) -> None:
    assert sign([parse_key(secret)], *message) == signature


def test_all_keys_sign_in_their_order() -> None:
    keys = [parse_key(SECRET_A), parse_key(SECRET_C)]

    assert sign(keys, *MESSAGE_A) == f"{SIGNATURE_A} {SIGNATURE_C}"


def test_the_three_headers() -> None:
    assert headers([parse_key(SECRET_A)], *MESSAGE_A) == {
        "webhook-id": MESSAGE_A[0],
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE_A,
    }


@settings(derandomize=True, deadline=None)
@given(st.binary(min_size=24, max_size=64), st.text(max_size=200))
def test_the_library_accepts_every_signature(secret: bytes, text: str) -> None:
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    key = HmacKey(secret)

    sent = headers([HmacKey.make(), key], "msg_1", int(time()), body)

    assert Webhook(key.secret()).verify(body, sent) == {"text": text}


@pytest.mark.parametrize("kinds", [[HmacKey], [HmacKey, HmacKey], [Ed25519Key, HmacKey], [HmacKey, Ed25519Key]])
def test_the_library_finds_its_own_signature_among_others(kinds: list[type[HmacKey] | type[Ed25519Key]]) -> None:
    keys: list[SigningKey] = [kind.make() for kind in kinds]
    sent = headers(keys, "msg_1", int(time()), b"{}")

    for key in keys:
        if isinstance(key, HmacKey):
            Webhook(key.secret()).verify(b"{}", sent)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(HmacKey.make().secret()).verify(b"{}", sent)


def test_ed25519_is_verified_with_the_public_key_alone() -> None:
    key = Ed25519Key.make()
    public = public_half(key.public())
    signature = base64.b64decode(sign([key], "msg_1", 1700000000, b"{}").removeprefix("v1a,"))

    public.verify(signature, b"msg_1.1700000000.{}")
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"msg_1.1700000001.{}")


def test_no_time_zone_comes_between_header_and_signature() -> None:
    """The library's own `sign` takes a date and time, and signs another moment where that is not in UTC."""
    moment = datetime(2026, 5, 4, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    timestamp = int(moment.timestamp())
    key = HmacKey.make()
    library = Webhook(key.secret())

    ours = sign([key], "msg_1", timestamp, b"{}")

    assert ours == library.sign("msg_1", moment.astimezone(UTC), "{}")
    assert ours != library.sign("msg_1", moment, "{}")


@pytest.mark.parametrize("timestamp", [datetime(2026, 5, 4, tzinfo=UTC), 1700000000.5, "1700000000"])
def test_nothing_but_a_whole_number_is_taken_for_a_timestamp(timestamp: object) -> None:
    with pytest.raises(TypeError):
        headers([HmacKey.make()], "msg_1", timestamp, b"{}")


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(ValueError, match="no key"):
        headers([], "msg_1", 1700000000, b"{}")


@pytest.mark.parametrize("secret", [SECRET_A, SECRET_B, SECRET_C])
def test_a_secret_is_the_same_when_written_again(secret: str) -> None:
    assert parse_key(secret).secret() == secret


@pytest.mark.parametrize("kind", [HmacKey, Ed25519Key])
def test_new_keys_differ_and_are_strong_enough(kind: type[HmacKey] | type[Ed25519Key]) -> None:
    one, other = kind.make(), kind.make()

    assert one.secret() != other.secret()
    for key in (one, other):
        check_strength(key)
        assert type(parse_key(key.secret())) is kind


def test_new_secrets_have_32_bytes() -> None:
    assert len(base64.b64decode(HmacKey.make().secret().removeprefix("whsec_"))) == 32


def test_the_public_key_is_the_published_one() -> None:
    key = parse_key(SECRET_C)

    assert isinstance(key, Ed25519Key)
    assert key.public() == PUBLIC_C


@pytest.mark.parametrize("size", [24, 25, 26, 32])
def test_padding_may_be_left_out(size: int) -> None:
    secret = HmacKey(os.urandom(size)).secret()

    assert parse_key(secret.rstrip("=")).secret() == secret
    assert parse_key(SECRET_C.rstrip("=")).secret() == SECRET_C


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "must begin with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must begin with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must begin with whsec_"),
        (f" {SECRET_A}", "must begin with whsec_"),
        (PUBLIC_C, "must begin with whsec_"),
        ("whsec_", "Nothing follows whsec_"),
        ("whsec_====", "Nothing follows whsec_"),
        ("whsk_", "Nothing follows whsk_"),
        ("whsec_a", "is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-", "is not base64"),
        (f"{SECRET_A}\n", "is not base64"),
        ("whsec_MfKQ 9r8G", "is not base64"),
        ("whsec_MfKQ=9r8G", "is not base64"),
        ("whsec_schlüssel", "is not base64"),
        ("whsk_" + "A" * 43, "has 32 bytes"),
        (SECRET_C[:-6] + "AAAA==", "do not belong together"),
    ],
)
def test_malformed_secrets_are_refused(secret: str, problem: str) -> None:
    with pytest.raises(InvalidSecretError, match=problem) as refused:
        parse_key(secret)

    assert refused.value.code == "invalid_secret"
    assert len(secret) < 15 or secret[-9:] not in refused.value.detail


@pytest.mark.parametrize(("secret", "size"), [(SHORT, 23), (LONG, 65), (SECRET_B, 18)])
def test_weak_secrets_sign_but_are_not_saved(secret: str, size: int) -> None:
    key = parse_key(secret)

    assert sign([key], *MESSAGE_A).startswith("v1,")
    with pytest.raises(InvalidSecretError, match=f"has {size} bytes; it takes 24 to 64"):
        check_strength(key)


@pytest.mark.parametrize("secret", [SECRET_A, SECRET_C])
def test_keys_do_not_show_what_is_secret(secret: str) -> None:
    key = parse_key(secret)

    for shown in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        assert secret.partition("_")[2][:8] not in shown
