"""What health checks are told, with every server up and with each one down."""

from __future__ import annotations

import socket
import socketserver
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from odata import health
from odata.tasks import worker_heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


def ready(client: Client) -> tuple[int, str, dict[str, str]]:
    """Status, overall word and the state of each check; asserts that it comes in time."""
    start = time.monotonic()
    response = client.get("/readyz")
    assert time.monotonic() - start < 4
    body = response.json()
    states = {name: check["state"] for name, check in body["checks"].items()}
    assert all(check["detail"].endswith(".") for check in body["checks"].values())
    return response.status_code, body.get("code") or body["status"], states


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word, as a stopped server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_is_alive_without_asking_anybody(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/livez").json() == {"status": "ok"}


def test_it_is_ready_when_all_answer_and_a_worker_has_worked(client: Client) -> None:
    worker_heartbeat()

    assert ready(client) == (
        200,
        "ok",
        {"database": "ok", "migrations": "ok", "valkey": "ok", "worker": "ok", "disk": "ok"},
    )


def test_it_is_degraded_without_a_worker(client: Client) -> None:
    with health.valkey() as valkey:
        valkey.delete(health.HEARTBEAT_KEY)
    assert ready(client)[1:] == ("degraded", ready(client)[2] | {"worker": "degraded"})

    with health.valkey() as valkey:
        valkey.set(health.HEARTBEAT_KEY, time.time() - health.HEARTBEAT_OLD - 2)
    assert ready(client)[0:2] == (200, "degraded")


def test_it_is_degraded_without_valkey(client: Client, settings: Any, silent_port: int) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{silent_port}/0"

    status, word, states = ready(client)

    assert (status, word, states["valkey"], states["worker"]) == (200, "degraded", "degraded", "degraded")


def test_it_is_degraded_on_a_full_disk(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DISK_LOW", 1 << 60)

    assert ready(client)[2]["disk"] == "degraded"


@pytest.mark.parametrize("silent", [True, False])
def test_it_is_not_ready_without_a_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, silent_port: int, silent: bool
) -> None:
    port = silent_port if silent else 9
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", str(port))

    status, code, states = ready(client)

    assert (status, code) == (503, "not_ready")
    assert (states["database"], states["migrations"]) == ("failed", "failed")


def test_it_is_not_ready_until_all_migrations_are_applied(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'accounts' AND name = '0001_initial'")
    try:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "accounts.0001_initial: run manage.py migrate" in response.json()["detail"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0001_initial', now())"
            )


class Slow(socketserver.BaseRequestHandler):
    """A server that hangs up, after a moment."""

    asked = 0

    def handle(self) -> None:
        Slow.asked += 1
        time.sleep(0.3)


def test_however_many_ask_at_once_it_looks_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while it looks waits for the next look."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as server, ThreadPoolExecutor(16) as threads:
        threads.submit(server.serve_forever, poll_interval=0.05)
        try:
            monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
            monkeypatch.setitem(connection.settings_dict, "PORT", str(server.server_address[1]))
            health.check_all()
            of_one_look, Slow.asked = Slow.asked, 0

            found = [each.result() for each in [threads.submit(health.check_all) for _ in range(12)]]
        finally:
            server.shutdown()
    assert 0 < Slow.asked <= 2 * of_one_look
    assert {each["database"].state for each in found} == {"failed"}


def test_it_tells_no_names_of_servers(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://:hidden@127.0.0.1:9/0"

    text = client.get("/readyz").content.decode()

    for secret in ("hidden", "127.0.0.1", settings.DATABASES["default"]["NAME"], str(settings.ODATA_HOME)):
        assert secret not in text


def test_it_takes_no_other_method(client: Client) -> None:
    response = client.post("/readyz")

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD"
