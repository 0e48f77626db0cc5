"""What goes on while a server that the service stands on is really stopped, and that it recovers without a restart."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from common.tests.waiting import wait_until
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


def test_without_the_queue_products_are_edited_by_api_and_in_the_admin(service: Service) -> None:
    service.import_(first_file())
    sku = service.get("/api/v1/products/").json()["results"][0]["sku"]
    admin = session_of_ada(service)
    form = {"sku": "BY-HAND", "name": "Made by hand", "description": "", "status": "active", "attributes": "{}"}
    service.stop("valkey")
    try:
        began = time.monotonic()
        edited = requests.patch(
            f"{service.url}/api/v1/products/{sku}/", json={"name": "Edited"}, headers=service.headers, timeout=30
        )
        by_hand = send(admin, f"{service.url}/admin/products/product/add/", form)
        took = time.monotonic() - began
    finally:
        service.start_valkey()

    assert (edited.status_code, edited.json()["name"]) == (200, "Edited")
    assert by_hand.status_code == 302, by_hand.text
    assert service.get("/api/v1/products/BY-HAND/").json()["name"] == "Made by hand"
    assert took < 10


def session_of_ada(service: Service) -> requests.Session:
    """A browser in which she has logged in."""
    session = requests.Session()
    answer = send(session, f"{service.url}/login/", {"username": "ada", "password": "correct horse battery"})
    assert answer.status_code == 302, answer.text
    return session


def send(session: requests.Session, url: str, form: dict[str, str]) -> requests.Response:
    """Open the page with the form, and send it."""
    session.get(url, timeout=30)
    fields = {**form, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    return session.post(url, data=fields, headers={"Referer": url}, timeout=30, allow_redirects=False)


def lines(service: Service, text: str) -> list[str]:
    """What the processes have said with this in it."""
    return [line for line in tuple(service.log) if text in line]


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
        wait_until(lambda: lines(service, "task_failed"), "a sweep says that it failed", 20)
        assert not lines(service, "Traceback"), lines(service, "Traceback")[0]
        assert len(lines(service, "error connecting in")) < 10
    finally:
        service.make_whole()

    wait_until(lambda: service.get("/api/v1/products/").status_code == 200, "reads are served again", 20)
    wait_until(lambda: service.get("/readyz").status_code == 200, "it is ready again", 20)
    service.import_(changes("red"))
    assert_whole(service)


def test_a_frozen_database_keeps_nobody_waiting_and_all_is_well_when_it_goes_on(service: Service) -> None:
    shown = service.import_(first_file())
    paths = ["/api/v1/products/", "/api/v1/imports/", "/imports/", "/readyz"]
    cookies = session_of_ada(service).cookies.get_dict()

    def ask(path: str) -> requests.Response:
        if path.startswith("/api/"):
            return service.get(path)
        return requests.get(service.url + path, cookies=cookies, timeout=60)

    with ThreadPoolExecutor(40) as threads:
        with service.frozen("postgres"):
            first = list(threads.map(ask, paths * 10))
            then = list(threads.map(ask, paths * 10))
            alive = service.get("/livez")
            socket = f"ws://127.0.0.1:{service.live_port}/ws/imports/{shown.id}/"
            with connect(socket, additional_headers=service.headers) as live, pytest.raises(ConnectionClosed):
                live.recv(timeout=5)
            assert live.close_code == 4503
        for answer in first + then:
            took = answer.elapsed.total_seconds()
            assert (answer.status_code, took < 5) == (503, True), (answer.url, answer.status_code, took)
            assert int(answer.headers["Retry-After"]) > 0
        assert sum(answer.elapsed.total_seconds() < 1 for answer in then) > len(then) / 2, "most are refused at once"
        assert alive.status_code == 200
        assert not lines(service, "Traceback"), lines(service, "Traceback")[0]

    for path in paths:
        wait_until(lambda path=path: ask(path).status_code == 200, f"{path} is served again", 20)  # type: ignore[misc]
    service.import_(changes("red"))
    assert_whole(service)
