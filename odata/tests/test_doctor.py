"""What `manage.py doctor` and its page say of a service that is well, and of one thing at a time that is not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Authenticator, User
from common.sealing import seal
from common.tests.waiting import wait_until
from odata import alive, doctor, health
from odata.doctor import machine, postgres, running, valkey
from odata.doctor.finding import Finding
from odata.secret_key import make_fernet_key
from odata.tasks import worker_heartbeat
from odata.tests.running import environment, fresh_folder, manage
from products.models import Import

pytestmark = pytest.mark.django_db(transaction=True)

SWEEP = "products.tasks.sweep_imports"


def found(check: Callable[[], Iterator[Finding]]) -> dict[str, Finding]:
    """What the check says, by name. Whatever is not well says how to put it right."""
    findings = {finding.what: finding for finding in check()}
    assert all(finding.sentence.endswith(".") for finding in findings.values())
    assert all(finding.remedy for finding in findings.values() if finding.state != doctor.OK)
    return findings


@pytest.fixture
def clean_valkey() -> Iterator[None]:
    """Without the signs that other tests left."""

    def clean() -> None:
        with health.valkey() as client:
            client.delete(alive.ENDS, health.HEARTBEAT_KEY, *client.scan_iter(f"{alive.PROCESSES}*"))

    clean()
    yield
    clean()


# --- as a whole --------------------------------------------------------------------------------


def test_without_servers_it_says_what_is_missing_and_ends_with_2() -> None:
    with fresh_folder() as home:
        done = manage("doctor", "--json", env=environment(home))

    assert (done.returncode, done.stderr) == (2, "")
    said = json.loads(done.stdout)
    database = next(finding for finding in said["findings"] if finding["what"] == "database")
    assert database["sentence"].startswith("PostgreSQL can't be reached: ")
    assert database["remedy"] == "Start or reach the server (the embedded one: start it with manage.py up)."
    assert said["state"] == "error"
    assert sum(said["counts"].values()) == len(said["findings"])


def test_its_page_shows_the_same_to_an_administrator(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))

    page = client.get("/admin/doctor/").content.decode()

    assert "PostgreSQL 18" in page
    assert "fsync is off" in page  # that of the tests
    assert page.index("fsync is off") < page.index("autovacuum is on")  # what is wrong comes first
    assert 'href="/admin/doctor/" aria-current="page"' in page


def test_nothing_secret_is_told(settings: Settings) -> None:
    settings.SECRET_KEY = "canary-of-the-sessions-" * 3
    settings.WEBHOOK_SECRET_KEYS = ["canary-of-the-webhooks"]

    said = repr(doctor.examine())

    assert "canary" not in said


def test_a_check_that_stumbles_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise KeyError("oops")
        yield

    monkeypatch.setattr(doctor, "AREAS", {"Settings": (broken, machine.versions)})

    (section,) = doctor.examine()

    assert [finding.state for finding in section.findings] == ["error", "ok"]
    assert section.findings[0].sentence == "Could not be looked at (KeyError)."


# --- the machine -------------------------------------------------------------------------------


def test_a_key_that_others_can_read_is_an_error(settings: Settings, tmp_path: Path) -> None:
    settings.ODATA_HOME = tmp_path
    settings.ENV = settings.ENV | {"SECRET_KEY": "", "WEBHOOK_SECRET_KEYS": []}
    (tmp_path / "secret_key").write_text("s")
    (tmp_path / "webhook_secret_keys").write_text("w")
    (tmp_path / "secret_key").chmod(0o644)
    (tmp_path / "webhook_secret_keys").chmod(0o600)

    findings = found(machine.secrets)

    assert findings["secret_key"].state == "error"
    assert findings["secret_key"].remedy == f"chmod 600 {tmp_path / 'secret_key'}"
    assert findings["webhook_secret_keys"].state == "ok"


def test_a_home_that_others_can_look_into_is_an_error(settings: Settings, tmp_path: Path) -> None:
    settings.ODATA_HOME = tmp_path
    tmp_path.chmod(0o755)

    assert found(machine.home)["home"].state == "error"

    tmp_path.chmod(0o700)
    assert found(machine.home)["home"].state == "ok"


def test_a_home_that_is_not_there_is_said_to_be_so_by_all_that_look_at_it(settings: Settings, tmp_path: Path) -> None:
    settings.ODATA_HOME = tmp_path / "nowhere"
    settings.ENV = settings.ENV | {"SECRET_KEY": "", "WEBHOOK_SECRET_KEYS": []}

    assert found(machine.home)["home"].state == "error"
    assert "can't be looked at: No such file" in found(machine.secrets)["secret_key"].sentence
    assert found(machine.disk)["disk"].state == "warning"


def test_plain_http_is_a_warning_once_others_reach_the_service(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert found(machine.https)["https"].state == "ok"

    settings.ALLOWED_HOSTS = ["catalogue.example.com"]
    assert found(machine.https)["https"].state == "warning"

    settings.HTTPS = True
    assert found(machine.https)["https"].state == "ok"


def test_a_mail_server_that_does_not_answer_is_an_error(settings: Settings) -> None:
    settings.ENV = settings.ENV | {"EMAIL_URL": "smtp://localhost:9"}
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend",
        "127.0.0.1",
        9,
    )

    assert "Connection refused" in found(machine.mail)["mail"].sentence


class ReadOnlyStore(FileSystemStorage):
    def _save(self, name: str, content: ContentFile) -> str:
        raise PermissionError(13, "Permission denied")


def test_a_file_store_that_takes_nothing_is_an_error(settings: Settings) -> None:
    fine = found(machine.file_store)["file_store"]
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.ReadOnlyStore"}}

    broken = found(machine.file_store)["file_store"]

    assert fine.state == "ok"
    assert (broken.state, "Permission denied" in broken.sentence) == ("error", True)


# --- the servers -------------------------------------------------------------------------------


@contextmanager
def database_setting(name: str, value: str) -> Iterator[None]:
    """While new sessions of the tests' database begin with this."""
    with connection.cursor() as cursor:
        database = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {database} SET {name} = {value}")
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {database} RESET {name}")


def test_a_database_that_does_not_keep_what_it_took_is_told_of() -> None:
    with database_setting("synchronous_commit", "off"), database_setting("work_mem", "'64kB'"):
        findings = found(postgres.session)

    assert findings["synchronous_commit"].state == "warning"
    assert findings["fsync"].state == "error"  # the tests' own server is in a hurry
    assert findings["fsync"].remedy == "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();"
    assert findings["work_mem"].sentence.startswith("work_mem is 64 kB")
    assert findings["collation"].state == findings["autovacuum"].state == "ok"


def test_pools_that_may_open_more_than_the_database_takes_are_a_warning(settings: Settings) -> None:
    assert found(postgres.session)["connections"].state == "ok"

    settings.ENV = settings.ENV | {"WEB_WORKERS": 8}

    assert "may open 451" in found(postgres.session)["connections"].sentence


def test_servers_that_answer_are_told_with_version_and_time() -> None:
    assert found(postgres.server)["database"].sentence.startswith("PostgreSQL 18.")
    assert {finding.state for finding in postgres.server()} == {"ok"}
    assert found(valkey.server)["valkey"].sentence.startswith("Valkey 9.")


# --- what runs ---------------------------------------------------------------------------------


def test_processes_are_seen_by_their_signs(clean_valkey: None) -> None:
    assert {finding.state for finding in running.processes()} == {"error"}

    alive.keep_saying_so("worker-imports")
    wait_until(alive.processes, "a sign of life", 5)

    findings = found(running.processes)
    assert findings["worker-imports"].sentence == f"worker-imports: 1 on {socket.gethostname()}."
    assert findings["beat"].state == "error"


BEAT = """
import django
django.setup()
from odata import alive
alive.EVERY = 0.1
alive._say("beat", alive.time.time())
"""


def test_a_beat_that_was_started_anew_is_one_beat_and_two_at_a_time_are_a_warning(clean_valkey: None) -> None:
    def another() -> subprocess.Popen[bytes]:
        before = len(alive.processes())
        started = subprocess.Popen([sys.executable, "-c", BEAT], cwd=Path(__file__).parents[2])
        wait_until(lambda: len(alive.processes()) > before, "it has given a sign")
        return started

    with another() as first:
        first.kill()
    with another() as second:
        renewed = found(running.processes)["beat"]
        with another() as third:
            wait_until(lambda: found(running.processes)["beat"].state == "warning", "both are seen")
            third.kill()
        second.kill()

    assert (renewed.state, renewed.sentence) == ("ok", f"beat: 1 on {socket.gethostname()}.")


def test_a_sweep_that_failed_is_told_until_one_ends_well(clean_valkey: None) -> None:
    worker_heartbeat()
    alive.note_end(SWEEP, error="OperationalError")

    failed = found(running.schedule)
    alive.note_end(SWEEP)

    assert failed["heartbeat"].state == "ok"
    assert "failed 0 s ago (OperationalError)" in failed[f"task.{SWEEP}"].sentence
    assert found(running.schedule)["schedule"].state == "ok"


def test_tasks_note_their_ends_by_themselves(clean_valkey: None) -> None:
    worker_heartbeat.apply()

    assert alive.ends()["odata.tasks.worker_heartbeat"].good_at > 0


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


def test_a_live_server_that_is_not_where_browsers_look_is_a_warning(settings: Settings) -> None:
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.LIVE_URL = f"ws://127.0.0.1:{server.server_port}"
        another = found(running.live)["live"]
        server.shutdown()
    settings.LIVE_URL = "ws://127.0.0.1:9"
    nobody = found(running.live)["live"]

    assert (another.state, nobody.state) == ("warning", "warning")
    assert "status 404" in another.sentence
    assert "Connection refused" in nobody.sentence


def test_behind_a_proxy_that_nobody_named_there_is_no_live_server_to_miss(settings: Settings) -> None:
    settings.LIVE_URL, settings.SITE_URL = "same-origin", ""
    assert found(running.live)["live"].state == "ok"

    settings.SITE_URL = "http://127.0.0.1:9"
    assert "at ws://127.0.0.1:9 (Connection refused)" in found(running.live)["live"].sentence


def test_tables_that_are_missing_are_not_taken_for_a_server_that_is_away() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_authenticator RENAME TO elsewhere")
        try:
            findings = [each for section in doctor.examine() for each in section.findings if each.what == "unknown"]
        finally:
            cursor.execute("ALTER TABLE elsewhere RENAME TO accounts_authenticator")

    assert [finding.sentence for finding in findings] == ["Not known while tables are missing."]


def test_imports_that_wait_for_long_while_none_runs_are_an_error() -> None:
    import_ = Import.objects.create(file_name="a.csv", bytes_total=1)
    assert found(running.imports)["imports"].state == "ok"

    Import.objects.filter(pk=import_.pk).update(created_at=timezone.now() - timedelta(hours=2))
    assert "The oldest has waited for 2:00:00, and none runs." in found(running.imports)["imports"].sentence

    Import.objects.filter(pk=import_.pk).update(
        state="PROGRESS", lease_expires_at=timezone.now() - timedelta(minutes=5)
    )
    assert found(running.imports)["lost_imports"].state == "error"


def test_webhooks_that_are_late_are_a_warning() -> None:
    from webhooks.models import Delivery, WebhookEndpoint

    endpoint = WebhookEndpoint.objects.create(url="https://receiver.example/", event_types=["ping"])
    Delivery.objects.create(
        event_id=endpoint.pk,
        endpoint_id=endpoint.pk,
        event_type="ping",
        state="pending",
        due_at=timezone.now() - timedelta(hours=1),
    )

    assert found(running.webhooks)["webhook_backlog"].sentence == (
        "1 webhook deliveries are due, the oldest for 60 minutes."
    )


def test_keys_that_do_not_fit_the_database_are_an_error(settings: Settings) -> None:
    from webhooks.models import EndpointSecret, WebhookEndpoint

    endpoint = WebhookEndpoint.objects.create(url="https://receiver.example/", event_types=["ping"])
    EndpointSecret.objects.create(endpoint=endpoint, kind="v1", sealed=seal("whsec_x"))
    assert found(running.webhook_secrets)["webhook_secrets"].state == "ok"

    settings.WEBHOOK_SECRET_KEYS = [make_fernet_key()]

    assert "1 of 1 webhook secrets" in found(running.webhook_secrets)["webhook_secrets"].sentence

    settings.WEBHOOK_SECRET_KEYS = []  # what was set is no key

    assert "1 of 1 webhook secrets" in found(running.webhook_secrets)["webhook_secrets"].sentence


def test_keys_that_do_not_fit_the_second_factors_are_an_error(settings: Settings) -> None:
    Authenticator.objects.create(user=User.objects.create_user("ada"), name="phone", sealed_key=seal("ab"))
    assert found(running.second_factors)["second_factors"].state == "ok"

    settings.WEBHOOK_SECRET_KEYS = [make_fernet_key()]

    told = found(running.second_factors)["second_factors"]
    assert (told.state, "1 of 1 second factors" in told.sentence) == ("error", True)
    assert "reset_second_factor" in told.remedy


def test_another_key_than_that_of_the_sessions_is_a_warning(settings: Settings, client: Client) -> None:
    assert found(running.sessions)["sessions"].sentence == "Nobody is logged in."
    client.force_login(User.objects.create_user("ada"))
    assert found(running.sessions)["sessions"].state == "ok"

    settings.SECRET_KEY = "another"

    told = found(running.sessions)["sessions"]
    assert (told.state, "another SECRET_KEY" in told.sentence) == ("warning", True)
