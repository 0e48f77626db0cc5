"""The real live process: daphne with real sockets, killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from redis import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from accounts.models import ApiToken, User
from common.tests.addresses import free_port, listens
from common.tests.waiting import wait_until
from products import progress
from products.hub import DatabaseThreads
from products.models import Import

pytestmark = pytest.mark.django_db(transaction=True)

in_database = DatabaseThreads("test", 2).run
STARTS_WITHIN = 30.0
SUCCEEDED = {"state": "SUCCESS", "phase": "finished", "percent": 100, "version": 999}


class LiveProcess:
    """`daphne odata.asgi:application` on this test's database and Valkey."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        where = ["-b", "127.0.0.1", "-p", str(self.port), "-v", "0"]
        command = [sys.executable, "-m", "daphne", *where, "odata.asgi:application"]
        process = self._process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=self._environment())
        wait_until(lambda: listens(self.port) or process.poll() is not None, "the live process listens", STARTS_WITHIN)
        requests.get(f"http://127.0.0.1:{self.port}/livez", timeout=5).raise_for_status()

    def stop(self) -> int | None:
        return self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        self._end(subprocess.Popen.kill)

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def _end(self, how: Any) -> int | None:
        """Its exit code; None if it had been ended before."""
        if self._process is None:
            return None
        how(self._process)
        code = self._process.wait(20)
        self._process = None
        return code

    def _environment(self) -> dict[str, str]:
        ours = urlsplit(settings.ENV["DATABASE_URL"] or settings.PLACES.database_url)
        url = ours._replace(path="/" + connection.settings_dict["NAME"]).geturl()
        return os.environ | {
            "ODATA_PROCESS": "live",
            "DATABASE_URL": url,
            "REDIS_URL": settings.REDIS_URL,
            "SECRET_KEY": settings.SECRET_KEY,
            "ODATA_HOME": str(settings.ODATA_HOME),
            "LIVE_SOCKETS_PER_USER": "1000",
        }


@pytest.fixture
def live(transactional_db: None) -> Iterator[LiveProcess]:
    process = LiveProcess()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bearer(alice: User) -> dict[str, str]:
    _, full = ApiToken.issue(alice, name="test", scopes=["read"])
    return {"Authorization": f"Bearer {full}"}


@pytest.fixture
def import_(alice: User) -> Import:
    now = timezone.now()
    return Import.objects.create(
        state="PROGRESS",
        phase="staging",
        version=1,
        percent=10,
        bytes_total=1000,
        file_name="shoes.csv",
        created_by=alice,
        started_at=now,
        heartbeat_at=now,
    )


def advance(import_: Import, **fields: Any) -> None:
    """What a worker does: the row first, then the word about it."""
    Import.objects.filter(pk=import_.pk).update(**fields)
    progress.publish(Import.objects.get(pk=import_.pk))


async def next_document(websocket: ClientConnection, timeout: float = 8) -> Any:
    async with asyncio.timeout(timeout):
        return json.loads(await websocket.recv())


async def close_code(websocket: ClientConnection) -> int | None:
    async with asyncio.timeout(8):
        await websocket.wait_closed()
    return websocket.close_code


async def watch_to_the_end(url: str, headers: dict[str, str], until: float = 30) -> list[dict[str, Any]]:
    """A well-behaved client: comes back whenever it is cut off, unless it was told the end."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(until):
        while True:
            with suppress(OSError, ConnectionClosed, TimeoutError):
                async with connect(url, additional_headers=headers) as websocket:
                    async for frame in websocket:
                        seen.append(json.loads(frame))
            if seen and seen[-1]["state"] == "SUCCESS":
                return seen
            await asyncio.sleep(0.1)


def path_of(import_: Import) -> str:
    return f"/ws/imports/{import_.pk}/"


async def test_told_to_stop_it_tells_the_sockets_to_come_back(
    live: LiveProcess, import_: Import, bearer: dict[str, str]
) -> None:
    async with (
        connect(live.url(path_of(import_)), additional_headers=bearer) as first,
        connect(live.url(path_of(import_)), additional_headers=bearer) as second,
    ):
        await next_document(first)
        await next_document(second)

        code = await asyncio.to_thread(live.stop)

        assert await close_code(first) == await close_code(second) == 4503
        assert code == 0


async def test_it_shows_an_import_to_its_end_in_two_tabs_and_to_who_comes_late(
    live: LiveProcess, import_: Import, alice: User, bearer: dict[str, str]
) -> None:
    client = Client()
    await in_database(client.force_login, alice)
    cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}
    page = "http://127.0.0.1:8000"
    task_monitor = live.url(f"/webhooks/task-monitor/{import_.pk}")

    async with (
        connect(live.url(path_of(import_)), additional_headers=cookie, origin=page) as first,
        connect(task_monitor, additional_headers=bearer) as second,
    ):
        assert (await next_document(first))["percent"] == 10
        assert (await next_document(second))["progress"] == 10
        await in_database(advance, import_, version=2, percent=50)
        assert (await next_document(first))["percent"] == 50
        assert (await next_document(second))["progress"] == 50
        async with connect(live.url(path_of(import_)), additional_headers=bearer) as late:
            assert (await next_document(late, timeout=2))["percent"] == 50
        await in_database(advance, import_, **SUCCEEDED)
        assert (await next_document(first))["state"] == "SUCCESS"
        assert (await next_document(second))["status"] == "SUCCESS"
        assert await close_code(first) == await close_code(second) == 1000


async def test_it_tells_each_refusal_by_its_code(
    live: LiveProcess, import_: Import, alice: User, bearer: dict[str, str]
) -> None:
    unknown = "/ws/imports/01890a5d-ac96-774b-bcce-b302099a8057/"
    charlie = await in_database(User.objects.create_user, "charlie")
    _, full = await in_database(ApiToken.issue, charlie, name="test", scopes=["read"])
    cases = [
        (path_of(import_), {}, 4401),
        (path_of(import_), {"Authorization": f"Bearer {full}"}, 4404),
        (unknown, bearer, 4404),
        ("/ws/imports/nonsense/", bearer, 4404),
        ("/nowhere", bearer, 4404),
    ]

    for path, headers, code in cases:
        async with connect(live.url(path), additional_headers=headers) as websocket:
            assert await close_code(websocket) == code, path
    with pytest.raises(InvalidStatus) as refused:
        await connect(live.url(path_of(import_)), additional_headers=bearer, origin="https://evil.example")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(("frames", "code"), [(["x" * 70_000], 4413), (["hello?"] * 250, 4429)], ids=["large", "many"])
async def test_a_client_that_says_too_much_is_let_go(
    live: LiveProcess, import_: Import, bearer: dict[str, str], frames: list[str], code: int
) -> None:
    async with connect(live.url(path_of(import_)), additional_headers=bearer) as websocket:
        await next_document(websocket)
        with suppress(ConnectionClosed):
            for frame in frames:
                await websocket.send(frame)

        assert await close_code(websocket) == code


async def test_where_the_database_fails_a_client_is_told_to_come_back(
    live: LiveProcess, import_: Import, bearer: dict[str, str]
) -> None:
    def rename(table: str, name: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")

    await in_database(rename, "products_import", "products_away")
    try:
        async with connect(live.url(path_of(import_)), additional_headers=bearer) as websocket:
            assert await close_code(websocket) == 4503
    finally:
        await in_database(rename, "products_away", "products_import")


async def test_a_stopped_process_lets_go_at_once_and_without_claiming_an_end(
    live: LiveProcess, import_: Import, bearer: dict[str, str]
) -> None:
    async with connect(live.url(path_of(import_)), additional_headers=bearer) as websocket:
        await next_document(websocket)

        async with asyncio.timeout(5):
            await asyncio.to_thread(live.stop)

        assert await close_code(websocket) == 4503  # come back; 1000 would be the end of the import


async def test_who_comes_back_after_a_kill_sees_the_truth_and_the_end(
    live: LiveProcess, import_: Import, bearer: dict[str, str]
) -> None:
    watching = asyncio.create_task(watch_to_the_end(live.url(path_of(import_)), bearer))
    async with connect(live.url(path_of(import_)), additional_headers=bearer) as websocket:
        await next_document(websocket)

    await asyncio.to_thread(live.kill)
    await in_database(advance, import_, version=2, percent=50)
    await asyncio.to_thread(live.start)
    async with connect(live.url(path_of(import_)), additional_headers=bearer) as websocket:
        assert (await next_document(websocket, timeout=2))["percent"] == 50
    await in_database(advance, import_, **SUCCEEDED)
    seen = await watching

    assert seen[-1]["state"] == "SUCCESS"
    versions = [document["version"] for document in seen]
    assert versions == sorted(versions)


async def test_two_hundred_watchers_all_see_the_end_though_valkey_is_emptied(
    live: LiveProcess, import_: Import, bearer: dict[str, str]
) -> None:
    url = live.url(path_of(import_))
    watchers = [asyncio.create_task(watch_to_the_end(url, bearer)) for _ in range(200)]
    async with connect(url, additional_headers=bearer) as websocket:
        await next_document(websocket, timeout=20)
        with Redis.from_url(settings.REDIS_URL) as valkey:
            await asyncio.to_thread(valkey.flushdb)
        await in_database(advance, import_, **SUCCEEDED)
        ends = await asyncio.gather(*watchers)

    assert len(ends) == 200
    assert {seen[-1]["version"] for seen in ends} == {999}


def test_the_live_process_answers_nothing_else_over_http(live: LiveProcess) -> None:
    page = requests.get(f"http://127.0.0.1:{live.port}/admin/", timeout=5)

    assert page.status_code == 404
    assert requests.head(f"http://127.0.0.1:{live.port}/livez", timeout=5).status_code == 200


@pytest.mark.parametrize("length", ["Content-Length: 5", "Content-Length: 9000000000", "Transfer-Encoding: chunked"])
def test_the_live_process_takes_no_bodies(live: LiveProcess, length: str) -> None:
    """They would be written to its disk to their end, whoever sends them."""
    head = f"POST /ws/imports/1/ HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()
    answer = b""
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as wire:
        wire.sendall(head + b"5\r\nhello\r\n")
        while piece := wire.recv(1000):
            answer += piece

    assert answer == b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n"
