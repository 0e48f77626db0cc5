"""A web server that is told to stop: the load balancer is told first, and nobody is cut off."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from common.tests.waiting import wait_until
from products.models import Import
from products.tests.web_server import WebServer, running

pytestmark = pytest.mark.django_db(transaction=True)
FILE = b"sku,name\nA,Anna\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with running(tmp_path, "--workers", "2", "--workers-kill-timeout", "10", DRAIN_SECONDS="3") as server:
        yield server


def get(server: WebServer, path: str) -> requests.Response:
    """The answer over a connection of its own."""
    headers = {"Authorization": f"Bearer {server.token}"}
    return requests.get(f"http://127.0.0.1:{server.port}{path}", headers=headers, timeout=10)


def listens(server: WebServer) -> bool:
    try:
        server.connect().close()
    except OSError:
        return False
    return True


def test_the_load_balancer_sees_it_first_and_requests_are_served_to_their_end(server: WebServer) -> None:
    assert get(server, "/readyz").status_code == 200
    idle = server.connect()
    idle.sendall(server.request("GET", "/livez"))  # a connection that is kept, as a proxy does
    assert idle.recv(12) == b"HTTP/1.1 200"
    slow = server.connect()
    slow.sendall(server.head("text/csv", f"Content-Length: {len(FILE)}") + FILE[:4])

    server.process.send_signal(signal.SIGTERM)

    wait_until(lambda: get(server, "/readyz").status_code == 503, "it says that it drains", 2)
    assert get(server, "/readyz").json()["code"] == "draining"
    assert {get(server, "/api/v1/imports/").status_code for _ in range(8)} == {200}  # both workers serve
    wait_until(lambda: not listens(server), "it takes no more", 10)
    assert server.process.poll() is None
    slow.sendall(FILE[4:])
    status, document = answer(slow)
    slow.close()
    idle.close()
    assert (status, Import.objects.get().file_name) == (202, document["file_name"])
    assert server.process.wait(10) == 0


def answer(wire: Any) -> tuple[int, Any]:
    with closing(http.client.HTTPResponse(wire)) as response:
        response.begin()
        return response.status, json.loads(response.read())


def test_told_twice_it_does_not_wait(server: WebServer) -> None:
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: get(server, "/readyz").status_code == 503, "it says that it drains", 2)

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(2) == 0
