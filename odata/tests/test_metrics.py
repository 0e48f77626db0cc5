"""What Prometheus is told, and who is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from common.tests.addresses import free_port
from common.tests.waiting import wait_until
from odata.tests.running import environment
from products.models import Import

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-token-of-the-operator"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Each figure by its name and the values of its labels, which stand by the alphabet."""
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def figures(client: Client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics", headers=HEADERS)
    assert answer.status_code == 200
    return samples(answer.content.decode())


def make_import(**fields: Any) -> Import:
    return Import.objects.create(file_name="a.csv", stored_file="a", sha256="", bytes_total=1, **fields)


def test_it_is_not_there_without_a_token_of_the_operator(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = ""

    answer = client.get("/metrics", headers={"Authorization": "Bearer "})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("given", [None, "Bearer wrong", TOKEN])
def test_it_is_for_who_has_the_token(client: Client, given: str | None) -> None:
    answer = client.get("/metrics", headers={"Authorization": given} if given else {})

    assert (answer.status_code, answer.json()["code"]) == (401, "metrics_token")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_it_tells_of_imports_and_the_queue(client: Client) -> None:
    make_import()
    checked = make_import(phase=Import.Phase.CHECKED)
    make_import(state=Import.State.SUCCESS, phase=Import.Phase.FINISHED, rows_read=70)
    Import.objects.filter(pk=checked.pk).update(created_at="2020-01-01T00:00Z")

    told = figures(client)

    assert told["odata_imports", "queued", "PENDING"] == 1
    assert told["odata_imports", "checked", "PENDING"] == 1
    assert told["odata_imports_of_a_day", "SUCCESS"] == 1
    assert told["odata_import_rows_of_a_day",] == 70
    assert 0 < told["odata_queue_age_seconds",] < 60, "a check that waits for a person is not in the queue"
    assert told["odata_check", "database"] == 1


def test_it_measures_requests_by_route_and_never_by_path(client: Client) -> None:
    client.get("/livez")
    client.get("/nobody-has-such-a-page")

    told = figures(client)

    assert told["odata_request_seconds_count", "GET", "livez", "200"] >= 1
    assert told["odata_request_seconds_count", "GET", "none", "404"] >= 1
    assert not any("nobody-has" in label for labels in told for label in labels)


def test_it_works_without_valkey(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"

    told = figures(client)

    assert (told["odata_check", "valkey"], told["odata_check", "database"]) == (0, 1)
    assert ("odata_products",) in told


def test_several_web_processes_are_added_up(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    stale = tmp_path / "metrics" / f"{os.uname().nodename}.{2**22 + 1}"
    stale.mkdir(parents=True)
    forgotten, other = stale.with_name("a-container-of-last-month.7"), stale.with_name("another-machine.7")
    for folder in (forgotten, other):
        folder.mkdir()
        (folder / "counter_8.db").touch()
    for path in (forgotten / "counter_8.db", forgotten):
        os.utime(path, (0, time.time() - 8 * 24 * 3600))
    env = environment(tmp_path, METRICS_TOKEN=TOKEN, SECRET_KEY="only-for-tests")
    command = [sys.executable, "-m", "odata.web", "--interface", "wsgi", "--port", str(port), "--workers", "2"]
    process = subprocess.Popen([*command, "--log-level", "error", "odata.wsgi:application"], env=env)

    def answers() -> bool:
        try:
            return requests.get(f"{address}/livez", timeout=5).ok
        except requests.ConnectionError:
            return False

    def told() -> dict[tuple[str, ...], float]:
        return samples(requests.get(f"{address}/metrics", headers=HEADERS, timeout=10).text)

    try:
        wait_until(answers, "it answers")
        # Each poll may reach either process, and each begins its file with the first answer that it gives.
        wait_until(lambda: answers() and len(list((tmp_path / "metrics").glob("*/histogram_*.db"))) == 2, "both count")
        of_livez = "odata_request_seconds_count", "GET", "livez", "200"
        before = told()[of_livez]
        for _ in range(30):  # each over a connection of its own: either process may get it
            assert requests.get(f"{address}/livez", timeout=5).ok
        counts = [told()[of_livez] for _ in range(6)]
    finally:
        process.terminate()
        process.wait(30)

    assert counts == [before + 30] * 6, "the answer depends on which process gives it"
    assert len(list((tmp_path / "metrics").glob("*/histogram_*.db"))) == 2, "one process got all requests"
    assert (stale.exists(), forgotten.exists(), other.exists()) == (False, False, True)
