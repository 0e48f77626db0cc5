"""What goes on while a server that the service stands on is really stopped, and that it recovers without a restart."""

from __future__ import annotations

import time

import requests

from odata.tests.running import wait_until
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import changes, first_file
from tests.acceptance.service import Service


def test_without_the_queue_reads_writes_uploads_and_progress_go_on(service: Service) -> None:
    service.import_(first_file())
    service.stop("valkey")

    began = time.monotonic()
    product = service.get("/api/v1/products/")
    upload = service.upload(changes("red"))
    progress = service.get(f"/api/v1/imports/{upload.id}/")
    ready = service.get("/readyz")
    took = time.monotonic() - began

    assert (product.status_code, progress.status_code, ready.status_code) == (200, 200, 200)
    assert progress.json()["state"] == "PENDING"
    assert ready.json()["checks"]["valkey"]["state"] == "degraded"
    assert took < 10
    service.start_valkey()
    assert service.await_end(upload)["state"] == "SUCCESS"
    assert_whole(service)


def test_without_the_database_requests_are_refused_quickly_and_served_again_when_it_is_back(service: Service) -> None:
    service.import_(first_file())
    service.stop("postgres")
    try:
        for path in ("/api/v1/products/", "/api/v1/imports/", "/readyz"):
            began = time.monotonic()
            answer = service.get(path)
            took = time.monotonic() - began
            assert (answer.status_code, took < 5) == (503, True), (path, answer.status_code, took)
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["code"] in ("database_unavailable", "not_ready", "unavailable"), answer.text
        assert requests.get(f"{service.url}/livez", timeout=5).status_code == 200
    finally:
        service.make_whole()

    wait_until(lambda: service.get("/api/v1/products/").status_code == 200, "reads are served again", 20)
    wait_until(lambda: service.get("/readyz").status_code == 200, "it is ready again", 20)
    service.import_(changes("red"))
    assert_whole(service)
