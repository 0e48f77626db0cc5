"""Receivers of webhooks, real ones with a socket, that check what they get with a library that others wrote."""

from __future__ import annotations

import json
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from webhooks import keys
from webhooks.models import WebhookEndpoint


@dataclass
class Got:
    """One request as it came."""

    id: str
    timestamp: int
    body: bytes
    headers: dict[str, str]
    at: float
    """By `time.monotonic`."""

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


Answer = tuple[int, dict[str, str], float]
"""Status, headers, and the seconds that it takes."""


def fine(got: Got) -> Answer:
    return 200, {}, 0.0


@dataclass
class Receiver:
    """What it got, and what it says to it."""

    url: str
    answer: Callable[[Got], Answer] = fine
    secret: str = ""
    got: list[Got] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    """At a time, of requests."""
    refused: list[str] = field(default_factory=list)
    """Why signatures were found wrong."""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.over = threading.Event()

    def hang_up(self) -> None:
        """Answer all that is open, and take no more time from now on."""
        self.over.set()

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.got]


class Server(ThreadingHTTPServer):
    """One that knows its connections."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self.lines: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.lines.discard(request)
        super().shutdown_request(request)

    def take_nothing_more(self) -> None:
        """A dispatcher that outlives a test would else send by them what the next one, at the same port, awaits."""
        for line in tuple(self.lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def receiving(answer: Callable[[Got], Answer] = fine, port: int = 0) -> Iterator[Receiver]:
    """A receiver on this machine, for as long as it is wanted; at any port, if none is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            got = Got(headers["webhook-id"], int(headers["webhook-timestamp"]), body, headers, time.monotonic())
            with receiver.lock:
                receiver.open += 1
                receiver.most_open = max(receiver.most_open, receiver.open)
                receiver.got.append(got)
            self.check(got)
            status, extra, seconds = receiver.answer(got)
            if seconds:
                receiver.over.wait(seconds)
            with receiver.lock:
                receiver.open -= 1
            self.send_response(status)
            for name, value in {**extra, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def check(self, got: Got) -> None:
            if not receiver.secret:
                return
            try:
                Webhook(receiver.secret).verify(got.body.decode(), got.headers)
            except Exception as error:
                receiver.refused.append(repr(error))

        def log_message(self, *arguments: object) -> None:
            pass

    server = Server(("127.0.0.1", port), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hooks", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hang_up()
        server.shutdown()
        server.server_close()
        thread.join()
        server.take_nothing_more()
        assert not receiver.refused, receiver.refused[:3]


def endpoint_of(receiver: Receiver, *event_types: str, **fields: Any) -> WebhookEndpoint:
    """An endpoint for it, which from now on checks the signatures."""
    endpoint = WebhookEndpoint.objects.create(url=receiver.url, event_types=list(event_types or ["ping"]), **fields)
    receiver.secret = next((each.text for each in keys.issue_keys(endpoint) if each.kind == "v1"), "")
    return endpoint


def public_half(told: str) -> Ed25519PublicKey:
    """The key of a text `whpk_..`, as a receiver reads it."""
    return Ed25519PublicKey.from_public_bytes(b64decode(told.removeprefix("whpk_"), validate=True))
