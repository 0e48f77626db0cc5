"""Secrets at rest, encrypted under a ring of keys."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from common.sealing import UnreadableSecretError, is_fresh, reseal, seal, unseal


def new_key() -> str:
    return Fernet.generate_key().decode()


@pytest.mark.parametrize("text", ["", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"authorization": "schlüssel"}'])
def test_what_was_sealed_can_be_unsealed(text: str) -> None:
    sealed = seal(text)

    assert unseal(sealed) == text
    assert not text or text not in sealed
    assert seal(text) != sealed


def test_the_first_key_encrypts_and_all_decrypt(settings: Settings) -> None:
    old, new = new_key(), new_key()
    settings.WEBHOOK_SECRET_KEYS = [old]
    sealed = seal("secret")
    settings.WEBHOOK_SECRET_KEYS = [new, old]

    assert unseal(sealed) == "secret"
    assert not is_fresh(sealed)
    anew = reseal(sealed)
    assert is_fresh(anew)
    settings.WEBHOOK_SECRET_KEYS = [new]
    assert unseal(anew) == "secret"


@pytest.mark.parametrize("damage", ["another key", "a changed byte", "no ciphertext"])
def test_what_can_not_be_decrypted_is_said_in_words(settings: Settings, damage: str) -> None:
    sealed = seal("secret")
    if damage == "another key":
        settings.WEBHOOK_SECRET_KEYS = [new_key(), new_key()]
    elif damage == "a changed byte":
        sealed = sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:]
    else:
        sealed = "whsec_in_plain_text"

    for open_it in (unseal, reseal):
        with pytest.raises(UnreadableSecretError, match="any key in WEBHOOK_SECRET_KEYS: add the key") as refused:
            open_it(sealed)
        assert refused.value.code == "webhook_secret_unreadable"
    assert not is_fresh(sealed)
