"""A receiver of webhooks that costs as little as it can, so that what is measured is the sender.

    receiver.py PORT [TLS_PORT CERTIFICATE]

`POST /hooks` is answered at once, `POST /after/3` after 3 seconds. `GET /` tells, and forgets, what came: how many
requests and connections, how many different `webhook-id`s, when the first and the last came, the most that were open
at a time, and for each path the seconds between `committed` in the body's data and the arrival.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from typing import Any, cast

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ID = re.compile(rb"webhook-id: *(\S+)", re.IGNORECASE)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
COMMITTED = re.compile(rb'"committed":([0-9.]+)')


class Seen:
    def __init__(self) -> None:
        self.open = 0
        self.forget()

    def forget(self) -> None:
        self.requests = self.connections = self.most_open = 0
        self.first = self.last = 0.0
        self.ids: set[bytes] = set()
        self.delays: dict[str, list[float]] = {}

    def tell(self) -> bytes:
        told: dict[str, Any] = {name: value for name, value in vars(self).items() if name != "ids"}
        body = json.dumps(told | {"ids": len(self.ids)}).encode()
        self.forget()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


SEEN = Seen()


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            head, found, rest = self.data.partition(b"\r\n\r\n")
            if not found:
                return
            length = LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self.data = rest[size:]
            self.answer(head, rest[:size])

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self.transport.write(SEEN.tell())
            return
        now = time.time()
        path = head.split(b" ", 2)[1].decode()
        SEEN.connections += not self.counted
        self.counted = True
        SEEN.requests += 1
        SEEN.first = SEEN.first or now
        SEEN.last = now
        SEEN.open += 1
        SEEN.most_open = max(SEEN.most_open, SEEN.open)
        if found := ID.search(head):
            SEEN.ids.add(found[1])
        if committed := COMMITTED.search(body):
            SEEN.delays.setdefault(path, []).append(now - float(committed[1]))
        if path.startswith("/after/"):
            asyncio.get_running_loop().call_later(float(path.split("/")[2]), self.done)
        else:
            self.done()

    def done(self) -> None:
        SEEN.open -= 1
        self.transport.write(ANSWER)


async def main(port: int, tls_port: int = 0, certificate: str = "") -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=2048)
    if tls_port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        await loop.create_server(Connection, "127.0.0.1", tls_port, backlog=2048, ssl=context)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    port, tls_port, certificate = (*sys.argv[1:], "0", "")[:3]
    asyncio.run(main(int(port), int(tls_port), certificate))
