"""Secrets at rest, and the ring of keys that encrypts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from pytest_django import Settings

from odata.embedded.places import Places
from odata.secret_key import read_or_make_webhook_keys
from odata.tests.running import environment, fresh_folder, manage
from webhooks.secrets import UnreadableSecretError, is_fresh, reseal, seal, unseal


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


def test_the_keys_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    places = Places(tmp_path / "home")

    keys = read_or_make_webhook_keys(places)

    Fernet(keys)
    assert read_or_make_webhook_keys(places) == keys
    assert [path.name for path in places.home.iterdir()] == ["webhook_secret_keys"]
    assert (places.home / "webhook_secret_keys").stat().st_mode & 0o777 == 0o600


def keys_of_a_process(home: Path, **variables: str) -> list[str]:
    """WEBHOOK_SECRET_KEYS, as a process with these variables has it."""
    code = "from odata import settings; print(*settings.SETTING_PROBLEMS, *settings.WEBHOOK_SECRET_KEYS, sep='\\n')"
    env = environment(home, **variables)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=django_settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_processes_get_the_keys_from_the_setting_or_a_file_or_home() -> None:
    one, other = new_key(), new_key()
    with fresh_folder() as home:
        assert keys_of_a_process(home, WEBHOOK_SECRET_KEYS=f"{one}, {other}") == [one, other]

        (home / "elsewhere").write_text(f"{other},{one}\n")
        assert keys_of_a_process(home, WEBHOOK_SECRET_KEYS_FILE=str(home / "elsewhere")) == [other, one]
        assert not (home / "webhook_secret_keys").exists()

        made = keys_of_a_process(home)
        assert keys_of_a_process(home) == made
        (home / "webhook_secret_keys").write_text(f"{one},{made[0]}\n")
        assert keys_of_a_process(home) == [one, *made]


@pytest.mark.parametrize("wrong", ["hunter2hunter2", "{good},hunter2hunter2", "{good};{good}"])
def test_keys_that_are_none_are_refused_at_the_start_and_not_shown(wrong: str) -> None:
    good = new_key()
    with fresh_folder() as home:
        done = manage("check", env=environment(home, WEBHOOK_SECRET_KEYS=wrong.format(good=good)))

    assert done.returncode == 1
    assert "(odata.E001) WEBHOOK_SECRET_KEYS is (hidden) and must be Fernet keys" in done.stderr
    assert "hunter2" not in done.stderr
    assert good not in done.stderr
    assert "Traceback" not in done.stderr
