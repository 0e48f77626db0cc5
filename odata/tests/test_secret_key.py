"""Where the keys that encrypt webhook secrets come from: the setting, a file, or one made at the first start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from odata.embedded.places import Places
from odata.secret_key import read_or_make, read_or_make_webhook_keys
from odata.tests.running import environment, fresh_folder, manage


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_the_keys_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    places = Places(tmp_path / "home")

    keys = read_or_make_webhook_keys(places)

    Fernet(keys)
    assert read_or_make_webhook_keys(places) == keys
    assert [path.name for path in places.home.iterdir()] == ["webhook_secret_keys"]
    assert (places.home / "webhook_secret_keys").stat().st_mode & 0o777 == 0o600


def test_processes_with_the_same_id_on_two_machines_agree(tmp_path: Path) -> None:
    places, made = Places(tmp_path / "home"), []

    def meanwhile() -> str:
        """The other one is quicker."""
        made.append(read_or_make(places, "key", lambda: "theirs"))
        return "ours"

    assert read_or_make(places, "key", meanwhile) == "theirs"
    assert made == ["theirs"]
    assert [path.name for path in places.home.iterdir()] == ["key"]


def keys_of_a_process(home: Path, **variables: str) -> list[str]:
    """WEBHOOK_SECRET_KEYS, as a process with these variables has it."""
    code = "from odata import settings; print(*settings.SETTING_PROBLEMS, *settings.WEBHOOK_SECRET_KEYS, sep='\\n')"
    env = environment(home, **variables)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
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
