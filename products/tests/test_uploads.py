"""Files sent to the real web server: in full or not at all, and never through memory."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from accounts.models import ApiToken, User
from products.models import Import

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1024 * 1024
BOUNDARY = "limit-of-the-parts"
FORM_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
).encode()
FORM_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
RAW, FORM = "text/csv", f"multipart/form-data; boundary={BOUNDARY}"
ROWS = b"sku,name\n" + b"".join(b"SKU-%06d,Lamp\n" % number for number in range(10_000))


@dataclass
class WebServer:
    """A granian of our own; what it is asked, it is asked with a token."""

    process: subprocess.Popen[bytes]
    port: int
    token: str

    def head(self, content_type: str, *lines: str) -> bytes:
        fields = ["POST /api/v1/imports/ HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}"]
        return "\r\n".join([*fields, f"Content-Type: {content_type}", *lines, "", ""]).encode()

    def send(self, *pieces: bytes, break_off: bool = False) -> tuple[int, Any]:
        """Send these bytes, and perhaps hang up then; give the answer's status and document."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as wire:
            for piece in pieces:
                wire.sendall(piece)
            if break_off:
                wire.shutdown(socket.SHUT_WR)  # still listening, or nobody would know of the answer
            with closing(http.client.HTTPResponse(wire)) as answer:
                answer.begin()
                return answer.status, json.loads(answer.read())

    def peak_memory(self) -> int:
        """The most memory that a process of the server has held so far, in bytes."""
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        lines = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    _, token = ApiToken.issue(User.objects.create_user("ada"), name="test", scopes=["import"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "web.log"
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), "--blocking-threads", "4"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "odata.wsgi:application"],
            env={**os.environ, "DATABASE_URL": database_url(), "DATABASE_POOL_SIZE": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for_port(port, log)
        yield WebServer(process, port, token)
    finally:
        process.terminate()
        process.wait(20)


def database_url() -> str:
    """The database of this test, for another process."""
    connection.ensure_connection()
    info = connection.connection.info
    login = quote(info.user) + (f":{quote(info.password)}" if info.password else "")
    return f"postgresql://{login}@/{info.dbname}?host={quote(info.host, safe='')}&port={info.port}"


def wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


def stored_files() -> list[Path]:
    root = Path(default_storage.path(""))
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


def body_of(content_type: str) -> bytes:
    return ROWS if content_type == RAW else FORM_HEAD + ROWS + FORM_TAIL


@pytest.mark.parametrize("content_type", [RAW, FORM])
def test_a_file_arrives_as_it_was_sent(web: WebServer, content_type: str) -> None:
    body = body_of(content_type)

    status, document = web.send(web.head(content_type, f"Content-Length: {len(body)}"), body)

    assert (status, document["bytes_total"]) == (202, len(ROWS))
    import_ = Import.objects.get(pk=document["id"])
    with default_storage.open(import_.stored_file) as file:
        assert file.read() == ROWS


@pytest.mark.parametrize("content_type", [RAW, FORM])
def test_an_upload_that_breaks_off_leaves_nothing(web: WebServer, content_type: str) -> None:
    body = body_of(content_type)
    before = stored_files()

    status, problem = web.send(web.head(content_type, f"Content-Length: {len(body)}"), body[:-1000], break_off=True)

    assert (status, problem["code"]) == (400, "body_incomplete")
    assert not Import.objects.exists()
    assert stored_files() == before


def test_a_body_of_unknown_length_is_refused(web: WebServer) -> None:
    pieces = [b"%x\r\n%s\r\n" % (len(ROWS), ROWS), b"0\r\n\r\n"]

    status, problem = web.send(web.head(RAW, "Transfer-Encoding: chunked"), *pieces)

    assert (status, problem["code"]) == (411, "length_required")


@pytest.mark.parametrize("content_type", [RAW, FORM])
def test_a_large_file_does_not_go_through_memory(web: WebServer, content_type: str) -> None:
    body, tail = (b"", b"") if content_type == RAW else (FORM_HEAD, FORM_TAIL)
    small = body + ROWS + tail
    web.send(web.head(content_type, f"Content-Length: {len(small)}"), small)
    idle, block = web.peak_memory(), b"x" * MB

    length = len(body) + 64 * MB + len(tail)
    status, document = web.send(web.head(content_type, f"Content-Length: {length}"), body, *[block] * 64, tail)

    assert (status, document["bytes_total"]) == (202, 64 * MB)
    assert web.peak_memory() - idle < 25 * MB
