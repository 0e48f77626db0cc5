"""The real web server, as a process of its own: what a client in this process can't show of bodies and broken lines."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts.models import User
from accounts.tests.people import token_of
from common.tests.addresses import database_url, free_port, listens
from common.tests.waiting import wait_until


@dataclass
class WebServer:
    """A granian of our own; what it is asked, it is asked with a token."""

    process: subprocess.Popen[bytes]
    port: int
    token: str = ""

    def head(self, content_type: str, *lines: str) -> bytes:
        """The head of an upload in one go."""
        return self.request("POST", "/api/v1/imports/", f"Content-Type: {content_type}", *lines)

    def request(self, method: str, path: str, *lines: str) -> bytes:
        fields = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}"]
        return "\r\n".join([*fields, *lines, "", ""]).encode()

    def send(self, *pieces: bytes, break_off: bool = False) -> tuple[int, Any]:
        """Send these bytes, and perhaps hang up then; give the answer's status and document."""
        with self.connect() as wire:
            for piece in pieces:
                wire.sendall(piece)
            if break_off:
                wire.shutdown(socket.SHUT_WR)  # still listening, or nobody would know of the answer
            with closing(http.client.HTTPResponse(wire)) as answer:
                answer.begin()
                return answer.status, json.loads(answer.read())

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(source, 0))

    def children(self) -> list[int]:
        main = self.process.pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    def let_in(self) -> None:
        """Ask from now on with a token of ada's, who is made if she is not there."""
        ada, _ = User.objects.get_or_create(username="ada")
        _, self.token = token_of(ada, "import")

    def forget_peak(self) -> None:
        """Count `peak_memory` from now on."""
        for pid in self.children():
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): sets VmHWM to what is held now

    def peak_memory(self) -> int:
        """The most memory that a process of the server has held so far, in bytes."""
        lines = [line for pid in self.children() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextmanager
def running(folder: Path, *more: str, port: int = 0, **environment: str) -> Iterator[WebServer]:
    """A server whose log is in `folder`, with a token of ada's."""
    with started(folder, *more, port=port, **environment) as server:
        server.let_in()
        yield server


@contextmanager
def started(folder: Path, *more: str, port: int = 0, **environment: str) -> Iterator[WebServer]:
    """The same without a token, which the next test does not know: for many tests, which `let_in`."""
    port = port or free_port()
    log = folder / "web.log"
    command = [sys.executable, "-m", "odata.web", "--interface", "wsgi", "--port", str(port), "--blocking-threads", "4"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *more, "odata.wsgi:application"],
            env={**os.environ, "DATABASE_URL": database_url(), "DATABASE_POOL_SIZE": "1", **environment},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, "the web server listens", 20)
        assert process.poll() is None, log.read_text()
        yield WebServer(process, port)
    finally:
        process.terminate()
        process.wait(20)
