"""Wrong settings, as `manage.py check` words them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from common.env import Setting, SettingError
from odata.checks import check_settings
from odata.secret_key import make_fernet_key
from odata.tests.running import environment, fresh_folder, manage


def test_check_lists_every_setting_that_can_not_be_used() -> None:
    with fresh_folder() as home:
        wrong = {"PORT": "eighty", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "DEBUG": "maybe"}
        wrong |= {"WEBHOOK_ALLOWED_CIDRS": "10.0.0.0/8, 10.1.2.3/16", "WEBHOOK_ALLOWED_PORTS": "443,https"}
        wrong |= {"DATABASE_URL": "mysql://db/odata", "REDIS_URL": "queue:6379", "ADMIN_PASSWORD_FILE": "/no/file"}

        done = manage("check", env=environment(home, **wrong))

    assert done.returncode == 1
    for sentence in (
        "(odata.E001) PORT is 'eighty' and must be a whole number.",
        "(odata.E001) LOG_LEVEL is 'loud' and must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL.",
        "(odata.E001) LOG_FORMAT is 'xml' and must be one of auto, console, json.",
        "(odata.E001) DEBUG is 'maybe' and must be true or false.",
        "(odata.E001) WEBHOOK_ALLOWED_CIDRS is '10.0.0.0/8, 10.1.2.3/16' and must be a list of networks such as",
        "10.1.2.3/16 has host bits set.",
        "(odata.E001) WEBHOOK_ALLOWED_PORTS is '443,https' and must be a list of ports from 1 to 65535, which 'https'",
        "(odata.E001) DATABASE_URL must start with postgresql://",
        "(odata.E001) REDIS_URL must start with redis://",
        "(odata.E001) ADMIN_PASSWORD_FILE is '/no/file', which can't be read: No such file or directory.",
    ):
        assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_a_first_command_makes_is_closed_to_others() -> None:
    with fresh_folder() as folder:
        home = folder / "home"

        done = manage("check", env=environment(home, SECRET_KEY="s" * 50, WEBHOOK_SECRET_KEYS=make_fernet_key()))

        assert done.returncode == 0
        assert home.stat().st_mode & 0o066 == 0


@pytest.mark.parametrize("module", ["odata.wsgi", "odata.asgi"])
def test_a_server_does_not_start_with_a_setting_that_can_not_be_used(module: str) -> None:
    with fresh_folder() as home:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            env=environment(home, PORT="70000"),
            cwd=django_settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (1, "PORT is '70000' and must be 65535 or less.\n")


def ids_and_sentences() -> list[tuple[str | None, str]]:
    return [(message.id, message.msg) for message in check_settings(None)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ALLOWED_HOSTS": []}, ("odata.E002", "ALLOWED_HOSTS is empty")),
        ({"LIVE_PORT": 8000}, ("odata.E003", "PORT and LIVE_PORT are both 8000")),
        ({"LIVE_URL": "http://live.example.com"}, ("odata.E004", "LIVE_URL=http://live.example.com must start")),
        ({"HTTPS": True, "LIVE_URL": "ws://live.example.com"}, ("odata.E005", "LIVE_URL starts with ws://")),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["example.com"]}, ("odata.W001", "DEBUG is on while ALLOWED_HOSTS holds")),
        ({"WEBHOOK_DNS_SERVERS": ["dns.example.com"]}, ("odata.E020", "WEBHOOK_DNS_SERVERS holds dns.example.com")),
        ({"WEBHOOK_DNS_SERVERS": ["10.0.0.2:0"]}, ("odata.E020", "WEBHOOK_DNS_SERVERS holds 10.0.0.2:0")),
        ({"WEBHOOK_CA_FILE": "/no/file"}, ("odata.E021", "WEBHOOK_CA_FILE is /no/file, which can't be used: No such")),
        ({"HTTPS": True, "CSRF_TRUSTED_ORIGINS": ["http://example.com"]}, ("odata.W003", "CSRF_TRUSTED_ORIGINS holds")),
    ],
)
def test_it_explains(settings: Settings, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.ENV = {**settings.ENV, "PORT": 8000, "HOST": "127.0.0.1"}
    for name, value in changes.items():
        setattr(settings, name, value)

    ((known_as, sentence),) = ids_and_sentences()

    assert known_as == expected[0]
    assert sentence.startswith(expected[1])


def test_it_explains_a_host_that_nobody_can_use(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    settings.ENV = {**settings.ENV, "HOST": "192.0.2.1"}

    assert [known_as for known_as, _ in ids_and_sentences()] == ["odata.W002"]


@pytest.mark.parametrize("server", ["10.0.0.2", "10.0.0.2:5353", "2001:db8::2", "[2001:db8::2]:5353"])
def test_it_takes_every_spelling_of_a_name_server(settings: Settings, server: str) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.WEBHOOK_DNS_SERVERS = [server]

    assert ids_and_sentences() == []


def test_it_finds_nothing_wrong_with_the_defaults(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

    assert ids_and_sentences() == []


def test_a_secret_is_read_from_its_file_and_never_shown(tmp_path: Any) -> None:
    setting = Setting("KEY", "int", "0", "A number.", secret=True)
    path = tmp_path / "key"
    path.write_text("12\n")

    assert setting.read({"KEY_FILE": str(path)}) == 12
    with pytest.raises(SettingError) as caught:
        setting.read({"KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)
