"""The places in one web process, at the real web server: taken by what does not end, they keep nobody waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction

from accounts.models import ApiToken, User
from accounts.tests.people import entitle
from common.in_flight import PATIENCE, Places
from common.tests.waiting import wait_until
from products.models import Import
from products.tests.web_server import WebServer, running

PLACES = 2


# --- the line ----------------------------------------------------------------------------------


def test_places_go_to_those_who_came_first() -> None:
    places = Places(1)
    served: list[int] = []

    def come(number: int) -> None:
        assert places.take(30)
        served.append(number)

    place = places.take(0)
    with ThreadPoolExecutor(3) as threads:
        for number in range(3):
            threads.submit(come, number)
            wait_until(partial(has, places._line, number + 1), "it stands in line")
        for number in range(3):
            places.give_back(place)
            wait_until(partial(has, served, number + 1), "one is served")

    assert served == [0, 1, 2]


def has(those: Sized, number: int) -> bool:
    return len(those) == number


def test_who_waits_in_vain_spares_others_the_wait_until_there_is_a_place() -> None:
    places = Places(1)
    place = places.take(0)

    assert not places.take(0.01)
    assert not places.take(30), "it is known to be stuck"
    places.give_back(place)
    place = places.take(0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(places.take, 30)
        wait_until(lambda: places._line, "it waits again")
        places.give_back(place)
        assert waiting.result()


def test_of_quick_ones_few_are_at_work_together_and_the_next_begins_when_one_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("common.in_flight.STALL", 3600)
    places = Places(4, at_once=1)
    first = places.take(0)

    assert not places.take(0.05)
    places.give_back(first)
    assert places.take(0)


def test_where_those_at_work_get_nothing_done_as_many_others_begin_up_to_all_places() -> None:
    places = Places(3, at_once=1)
    slow = [places.take(30) for _ in range(3)]
    assert all(slow), "each begins when the one before has stalled"

    assert not places.take(0.05), "there are no more than three"
    for place in slow:
        places.give_back(place)
    quick = places.take(0)
    assert quick
    places.give_back(quick)
    assert places.take(0), "the slow ones are not counted any more"


def test_nobody_has_more_than_their_share_and_who_comes_after_them_is_served_all_the_same() -> None:
    places = Places(4, share=2)
    place = places.take(0, "ada")
    assert places.take(0, "ada")

    assert not places.take(0.01, "ada")
    assert places.take(0, "bob")
    with ThreadPoolExecutor(1) as threads:
        places.give_back(place, "ada")
        assert places.take(0, "ada")
        waiting = threads.submit(places.take, 30, "ada")
        wait_until(lambda: places._line, "it waits")
        assert places.take(0, "cyd"), "she is passed by"
        places.give_back(place, "ada")
        assert waiting.result()


# --- the server --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[WebServer]:
    monkeypatch.setenv("WEB_THREADS", "16")
    monkeypatch.setenv("WEB_MAX_IN_FLIGHT", str(PLACES))
    with running(tmp_path, "--blocking-threads", "16") as server:
        ada = User.objects.get()
        entitle(ada, "read")
        server.token = ApiToken.issue(ada, name="all", scopes=["read", "import"])[1]
        yield server


def ask(server: WebServer, path: str, body: bytes | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    url = f"http://127.0.0.1:{server.port}{path}"
    if body is None:
        return requests.get(url, headers=headers, timeout=60)
    return requests.post(url, headers={**headers, "Content-Type": "text/csv"}, data=body, timeout=60)


def assert_refused(answer: requests.Response, *, within: float, retry_after: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "too_busy")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == retry_after
    assert "Content-Security-Policy" in answer.headers
    assert answer.elapsed.total_seconds() < within


def test_where_requests_are_stuck_others_are_refused_at_once_and_health_is_told(server: WebServer) -> None:
    assert ask(server, "/api/v1/imports/").status_code == 200
    with ThreadPoolExecutor(10) as threads:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK products_product IN ACCESS EXCLUSIVE MODE")
            stuck = [threads.submit(ask, server, "/api/v1/products/") for _ in range(PLACES)]
            wait_until(lambda: waiting_for_a_lock() == PLACES, "they are stuck")

            assert_refused(ask(server, "/api/v1/imports/"), within=PATIENCE + 2, retry_after="2")
            for answer in threads.map(ask, [server] * 8, ["/api/v1/imports/"] * 8):
                assert_refused(answer, within=PATIENCE / 2, retry_after="2")
            assert ask(server, "/livez").status_code == ask(server, "/readyz").status_code == 200

        assert [each.result().status_code for each in stuck] == [200] * PLACES
        assert ask(server, "/api/v1/imports/").status_code == 200


def test_bodies_that_never_come_keep_nobody_from_reading(server: WebServer) -> None:
    """The CSRF cookie of the form is any: it is looked for in the body, by strangers too."""
    head = server.request(
        "POST",
        "/login/",
        f"Cookie: csrftoken={'a' * 32}",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Length: 100",
    )
    with ExitStack() as lines:
        for _ in range(PLACES + 1):
            lines.enter_context(server.connect()).sendall(head + b"user")
        writing = {"json": {"sku": "A", "name": "Anna"}, "headers": {"Authorization": f"Bearer {server.token}"}}
        url = f"http://127.0.0.1:{server.port}/api/v1/products/"
        wait_until(lambda: requests.post(url, timeout=60, **writing).status_code == 503, "they are stuck")

        for _ in range(3):
            answer = ask(server, "/api/v1/imports/")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < PATIENCE / 2

    wait_until(lambda: requests.post(url, timeout=60, **writing).status_code != 503, "one can write again")


def test_bodies_of_one_address_that_never_come_keep_nobody_else_from_writing(server: WebServer) -> None:
    head = server.request("POST", "/login/", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 100")
    writing = {"json": {"sku": "A", "name": "Anna"}, "headers": {"Authorization": f"Bearer {server.token}"}}
    url = f"http://127.0.0.1:{server.port}/api/v1/products/"
    with ExitStack() as lines:
        for _ in range(PLACES + 1):
            lines.enter_context(server.connect(source="127.0.0.2")).sendall(head + b"user")
        wait_until(lambda: is_refused_from_there(server), "they have all that they get")

        answer = requests.post(url, timeout=60, **writing)

    assert answer.status_code == 403, "the token may not write, as it was found at once"
    assert answer.elapsed.total_seconds() < PATIENCE / 2


def is_refused_from_there(server: WebServer) -> bool:
    """Whether a small form from that address gets no place any more."""
    with server.connect(source="127.0.0.2") as line:
        line.sendall(server.request("POST", "/login/", "Content-Length: 1", "Connection: close") + b"a")
        return line.recv(12) == b"HTTP/1.1 503"


def test_forms_of_strangers_that_never_come_keep_no_files_waiting(server: WebServer) -> None:
    """A form may hold a file; theirs is read before it is known that they may send none."""
    head = server.request(
        "POST",
        "/logout/",
        f"Cookie: csrftoken={'a' * 32}",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Length: 5000000",
    )
    with ExitStack() as lines:
        for _ in range(PLACES + 1):
            lines.enter_context(server.connect()).sendall(head + b"--x")
        url = f"http://127.0.0.1:{server.port}/login/"
        wait_until(lambda: requests.post(url, data={"a": "b"}, timeout=60).status_code == 503, "they are stuck")

        assert ask(server, "/api/v1/imports/", b"sku,name\n").status_code == 202
        assert ask(server, "/api/v1/products/export.csv").status_code == 200


@pytest.mark.parametrize("form", [{"data": {}}, {"files": {"more": "x"}}], ids=["urlencoded", "multipart"])
def test_a_flood_of_logins_keeps_nobody_from_anything_else(server: WebServer, form: dict[str, Any]) -> None:
    """Each takes 100 MB to be looked at, and any stranger may ask for it."""
    url = f"http://127.0.0.1:{server.port}"

    def log_in(name: str) -> requests.Response:
        fields = {"username": name, "password": "wrong", "csrfmiddlewaretoken": "a" * 32}
        cookies = {"csrftoken": "a" * 32}
        return requests.post(f"{url}/login/", **{**form, "data": fields}, cookies=cookies, timeout=60)

    with ThreadPoolExecutor(PLACES) as threads:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK accounts_user IN ACCESS EXCLUSIVE MODE")
            stuck = [threads.submit(log_in, f"nobody{number}") for number in range(PLACES)]
            wait_until(lambda: waiting_for_a_lock() == PLACES, "they are stuck")

            answer = requests.get(f"{url}/imports/", allow_redirects=False, timeout=60)
            assert answer.status_code == 302
            assert answer.elapsed.total_seconds() < PATIENCE / 2
            refused = log_in("nobody")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")

        assert [each.result().status_code for each in stuck] == [200] * PLACES


def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


def test_files_on_slow_lines_keep_only_files_waiting_until_they_are_gone(server: WebServer) -> None:
    stored = default_storage.save("imports/large.csv", ContentFile(bytes(50_000_000)))
    large = Import.objects.create(file_name="a.csv", bytes_total=1, created_by=User.objects.get(), stored_file=stored)
    path = f"/api/v1/imports/{large.pk}/file/"
    with server.connect() as comes, server.connect() as goes:
        comes.sendall(server.head("text/csv", "Content-Length: 100000000") + b"sku")
        goes.sendall(server.request("GET", path))
        assert goes.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(lambda: ask(server, "/api/v1/imports/", b"sku,name\n").status_code == 503, "both have their places")

        assert_refused(ask(server, "/api/v1/imports/", b"sku,name\n"), within=PATIENCE / 2, retry_after="10")
        assert_refused(ask(server, path), within=PATIENCE / 2, retry_after="10")
        assert ask(server, "/api/v1/imports/").status_code == 200

    wait_until(lambda: ask(server, "/api/v1/imports/", b"sku,name\n").status_code == 202, "files are taken again")
    assert len(ask(server, path).content) == 50_000_000
    default_storage.delete(stored)
