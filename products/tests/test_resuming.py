"""Resumable uploads on the real web server: lines that break, processes that die, and a client that is not ours."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.files.storage import default_storage
from tusclient.client import TusClient
from tusclient.uploader import Uploader

from common.tests.waiting import wait_until
from products.importing import uploads
from products.models import Import, Upload
from products.tests.web_server import WebServer, running

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1024 * 1024
TUS = "Tus-Resumable: 1.0.0"
BYTES = "Content-Type: application/offset+octet-stream"


@pytest.fixture
def web(web_process: WebServer) -> WebServer:
    web_process.let_in()
    return web_process


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for path in Path(default_storage.path(uploads.FOLDER)).glob("*"):
        path.unlink()


def ask(web: WebServer, head: bytes, body: bytes = b"") -> http.client.HTTPResponse:
    """The answer to one request, with its head and status read."""
    with web.connect() as wire:
        wire.sendall(head + body)
        answer = http.client.HTTPResponse(wire, method=head.split(b" ", 1)[0].decode())
        answer.begin()
        answer.read()
        return answer


def answer_on(wire: socket.socket) -> tuple[int, str]:
    """The status of the answer that comes in here, and its code if it is a problem."""
    with closing(http.client.HTTPResponse(wire)) as answer:
        answer.begin()
        body = answer.read()
        return answer.status, json.loads(body)["code"] if body else ""


def create(web: WebServer, length: int) -> str:
    answer = ask(web, web.request("POST", "/files/", TUS, f"Upload-Length: {length}", "Content-Length: 0"))
    assert answer.status == 201
    return str(answer.headers["Location"])


def patch(web: WebServer, path: str, offset: int, length: int) -> bytes:
    return web.request("PATCH", path, TUS, BYTES, f"Upload-Offset: {offset}", f"Content-Length: {length}")


def offset(web: WebServer, path: str) -> int:
    answer = ask(web, web.request("HEAD", path, TUS))
    assert answer.status == 200
    return int(answer.headers["Upload-Offset"])


def finish(web: WebServer, path: str, content: bytes) -> None:
    """Go on from wherever it is, as soon as nobody else writes any more."""

    def done() -> bool:
        there = offset(web, path)
        return ask(web, patch(web, path, there, len(content) - there), content[there:]).status == 204

    wait_until(done)


def kept(path: str) -> bytes:
    return uploads.path_of(Upload.objects.get(pk=path.rsplit("/", 1)[-1]).pk).read_bytes()


def hang_up(wire: socket.socket, *, rudely: bool) -> None:
    """End a connection: with a RST as of a crashed machine, or as a program ends."""
    if rudely:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()


# --- lines that break --------------------------------------------------------------------------


def test_a_file_cut_off_at_any_byte_arrives_as_it_was_sent(web: WebServer) -> None:
    chance = random.Random(20261125)
    content = chance.randbytes(6 * MB)
    path = create(web, len(content))
    offsets = {0}

    while (there := offset(web, path)) < len(content):
        offsets.add(there)
        whole = patch(web, path, there, len(content) - there) + content[there:]
        # Where the server has not noticed the last cut yet, it refuses this part before it has heard all of it.
        with web.connect() as wire, contextlib.suppress(OSError):
            wire.sendall(whole[: chance.randrange(1, 400_000)])
            hang_up(wire, rudely=chance.random() < 0.5)
        there = offset(web, path)
        assert kept(path)[:there] == content[:there]

    assert len(offsets) > 20
    assert hashlib.sha256(kept(path)).digest() == hashlib.sha256(content).digest()


def test_what_came_before_the_cut_is_kept(web: WebServer) -> None:
    content = random.Random(1).randbytes(MB)
    path = create(web, len(content))

    with web.connect() as wire:
        wire.sendall(patch(web, path, 0, len(content)) + content[:300_001])
        wire.shutdown(socket.SHUT_WR)
        assert answer_on(wire) == (400, "body_incomplete")

    assert offset(web, path) == 300_001
    finish(web, path, content)
    assert kept(path) == content


def test_a_body_of_unknown_length_is_taken(web: WebServer) -> None:
    content = random.Random(2).randbytes(MB)
    path = create(web, len(content))
    head = web.request("PATCH", path, TUS, BYTES, "Upload-Offset: 0", "Transfer-Encoding: chunked")

    answer = ask(web, head, b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))

    assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(len(content)))
    assert kept(path) == content


def test_a_checksum_that_does_not_match_keeps_nothing(web: WebServer) -> None:
    path = create(web, 5)
    lines = ["Upload-Offset: 0", "Content-Length: 5", "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="]

    answer = ask(web, web.request("PATCH", path, TUS, BYTES, *lines), b"01234")

    assert (answer.status, offset(web, path)) == (460, 0)


# --- two at once -------------------------------------------------------------------------------


def test_of_two_writers_at_once_one_is_turned_away(web: WebServer) -> None:
    content = random.Random(3).randbytes(MB)
    path = create(web, len(content))
    file = uploads.path_of(Upload.objects.get().pk)

    with web.connect() as slow:
        slow.sendall(patch(web, path, 0, len(content)) + content[: MB // 2])
        wait_until(lambda: file.stat().st_size >= MB // 4)
        refused = ask(web, patch(web, path, 0, 5), b"other")
        assert (refused.status, refused.headers["Retry-After"]) == (423, "5")
        slow.sendall(content[MB // 2 :])
        assert answer_on(slow) == (204, "")

    assert kept(path) == content


def test_writers_that_all_go_on_until_it_is_there_mix_nothing_up(tmp_path: Path) -> None:
    """Of several processes, each with several requests at a time, for the same bytes."""
    content = random.Random(4).randbytes(4 * MB)
    with running(tmp_path, "--workers", "2") as web:
        path = create(web, len(content))
        statuses: list[int] = []

        def go_on(seed: int) -> None:
            chance = random.Random(seed)
            while (there := offset(web, path)) < len(content):
                part = content[there : there + chance.randrange(1, 300_000)]
                statuses.append(ask(web, patch(web, path, there, len(part)), part).status)

        writers = [threading.Thread(target=go_on, args=(seed,)) for seed in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)

    assert not any(writer.is_alive() for writer in writers)
    assert set(statuses) <= {204, 409, 423}
    assert {409, 423} & set(statuses)
    assert kept(path) == content


def test_a_connection_that_went_silent_does_not_hold_the_upload(web: WebServer) -> None:
    """A machine that vanished without a word: its connection stays open here, for ever."""
    content = random.Random(5).randbytes(MB)
    path = create(web, len(content))
    file = uploads.path_of(Upload.objects.get().pk)

    with web.connect() as vanished:
        vanished.sendall(patch(web, path, 0, len(content)) + content[: MB // 2])
        wait_until(lambda: file.stat().st_size >= MB // 4)
        assert ask(web, patch(web, path, 0, 1), b"x").status == 423
        os.utime(file, (0, 0))
        finish(web, path, content)
        assert kept(path) == content
        vanished.sendall(b"x" * (MB // 2))
        assert answer_on(vanished) == (409, "upload_taken_over")

    assert kept(path) == content


# --- processes that die ------------------------------------------------------------------------


def test_a_web_process_killed_in_the_middle_costs_little(tmp_path: Path) -> None:
    content = random.Random(6).randbytes(3 * MB)
    with running(tmp_path) as web:
        path = create(web, len(content))
        assert ask(web, patch(web, path, 0, MB), content[:MB]).status == 204
        with web.connect() as wire:
            wire.sendall(patch(web, path, MB, 2 * MB) + content[MB : 2 * MB])
            wait_until(lambda: len(kept(path)) > MB + MB // 2)
            for pid in [*web.children(), web.process.pid]:
                os.kill(pid, signal.SIGKILL)
            web.process.wait(20)

    with running(tmp_path) as successor:
        successor.token = web.token
        there = offset(successor, path)
        assert MB <= there <= len(kept(path))
        assert kept(path)[:there] == content[:there]
        # The dead one's lock has gone with it: no 423, no waiting.
        assert ask(successor, patch(successor, path, there, len(content) - there), content[there:]).status == 204

    assert kept(path) == content


# --- size --------------------------------------------------------------------------------------


def test_a_large_part_does_not_go_through_memory(web: WebServer) -> None:
    path = create(web, 64 * MB + 5)
    assert ask(web, patch(web, path, 0, 5), b"first").status == 204
    web.forget_peak()
    idle, block = web.peak_memory(), b"x" * MB

    with web.connect() as wire:
        wire.sendall(patch(web, path, 5, 64 * MB))
        for _ in range(64):
            wire.sendall(block)
        assert answer_on(wire) == (204, "")

    assert offset(web, path) == 64 * MB + 5
    assert web.peak_memory() - idle < 25 * MB


# --- a client that is not ours -----------------------------------------------------------------


class Interrupted(io.BytesIO):
    """A file whose reader is stopped once, at a byte."""

    stop_at: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.stop_at is not None and self.tell() >= self.stop_at:
            raise KeyboardInterrupt
        return super().read(size)


def test_tuspy_is_interrupted_and_resumes(web: WebServer) -> None:
    content = b"sku,name\n" + b"".join(b"SKU-%07d,Lamp %d\n" % (number, number) for number in range(2_100_000))
    content = content[:50_000_000]
    file = Interrupted(content)
    client = TusClient(f"http://127.0.0.1:{web.port}/files/", headers={"Authorization": f"Bearer {web.token}"})
    how: dict[str, Any] = {"file_stream": file, "chunk_size": 8 * MB, "metadata": {"filename": "lamps.csv"}}
    first: Uploader = client.uploader(**how, upload_checksum=True)

    file.stop_at = 20_000_000
    with pytest.raises(KeyboardInterrupt):
        first.upload()
    file.stop_at = None
    second: Uploader = client.uploader(**how, url=first.url)
    assert second.offset == 24 * MB
    second.upload()

    answer = requests.post(
        f"http://127.0.0.1:{web.port}/api/v1/imports/",
        json={"upload": second.url, "check_first": True},
        headers={"Authorization": f"Bearer {web.token}"},
        timeout=20,
    )
    assert answer.status_code == 202, answer.text
    import_ = Import.objects.get(pk=answer.json()["id"])
    assert import_.sha256 == hashlib.sha256(content).hexdigest()
    assert (import_.file_name, import_.bytes_total) == ("lamps.csv", 50_000_000)
    with closing(default_storage.open(import_.stored_file)) as stored:
        assert stored.read() == content
