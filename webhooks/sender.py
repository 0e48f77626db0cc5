"""One webhook on its way: one HTTP request, whose outcome `attempted` puts into words.

`Sender` keeps connections open between requests and knows no endpoint, retry or signature. It never follows a
redirect, asks a proxy, keeps a cookie or decompresses anything. Where it connects to is judged thrice: the URL's
text, every address that the name leads to, and in the `socket_factory` the address of each socket, before there
is one. Addresses written in a URL never pass a resolver, and a name may lead elsewhere at the next look-up:
the socket is the one place that all of them pass.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from django.conf import settings
from yarl import URL

from webhooks.attempted import CONNECT_SECONDS, Attempted, RefusedAddressError, Watch, answered, failed
from webhooks.egress import Policy, RefusedUrlError, check_addresses, check_sent_headers, fixed_addresses, read_url
from webhooks.names import Names

READ_BYTES = 16 * 1024
IDLE_SECONDS = 30.0
"""How long a connection waits for the next request to the same receiver."""
DNS_CACHE_SECONDS = 10

WATCH: ContextVar[Watch] = ContextVar("webhooks.sender.watch")
"""The request that the running code works for. aiohttp's tasks inherit it; requests that wait for the same look-up
have it in the first one's account."""


class GuardedNames(AbstractResolver):
    """Looks names up and refuses all addresses of one where any must not be reached."""

    def __init__(self, names: AbstractResolver, policy: Policy) -> None:
        self._names = names
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        watch = WATCH.get()
        watch.asked = time.perf_counter()
        found = await self._names.resolve(host, port, family)
        watch.named = time.perf_counter()
        try:
            check_addresses(host, (result["host"] for result in found), self._policy)
        except RefusedUrlError as error:
            raise RefusedAddressError(error.detail) from None
        return found

    async def close(self) -> None:
        await self._names.close()


class GuardedSockets:
    """aiohttp's `socket_factory`: every socket is made here, or is not made."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = info
        address = str(place[0])
        watch = WATCH.get()
        refusal = self._policy.refusal(ip_address(address))
        if refusal is not None:
            raise watch.refuse(f"The address is in {refusal}, which webhooks don't go to.")
        watch.address = address
        watch.connecting = watch.connecting or time.perf_counter()
        return socket.socket(family, kind, protocol)


class WatchedTLS(ssl.SSLContext):
    """Verifies the certificate against the name, and tells when a handshake begins."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        WATCH.get().securing = time.perf_counter()
        return super().wrap_bio(*args, **kwargs)


def tls_context() -> ssl.SSLContext:
    """The system's authorities, and those of WEBHOOK_CA_FILE. Read again where a file changed: that takes 20 ms."""
    files = [file for file in (ssl.get_default_verify_paths().cafile, settings.WEBHOOK_CA_FILE) if file]
    return _context_of(settings.WEBHOOK_CA_FILE, tuple((file, Path(file).stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=2)
def _context_of(ca_file: str, as_of: tuple[tuple[str, int], ...]) -> ssl.SSLContext:
    context = WatchedTLS(ssl.PROTOCOL_TLS_CLIENT)  # requires a certificate and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class WatchedRequest(ClientRequest):
    """Tells when a connection is there, and to whom."""

    async def send(self, conn: Connection) -> ClientResponse:
        watch = WATCH.get()
        watch.sending = time.perf_counter()
        peer = conn.transport.get_extra_info("peername") if conn.transport is not None else None
        watch.address = peer[0] if peer else watch.address
        return await super().send(conn)


class Sender:
    """Sends webhooks. An asynchronous context manager; one for each dispatcher, within one event loop.

    It has no limit to connections of its own, since a request that waits here for another's end would look slow by
    its receiver's fault: how many run at a time is the caller's to say.
    """

    def __init__(self, *, dns_cache_seconds: int = DNS_CACHE_SECONDS) -> None:
        self._policy = Policy.from_settings()
        self._dns_cache_seconds = dns_cache_seconds
        self._judged = lru_cache(maxsize=4096)(self._judge)

    async def __aenter__(self) -> Self:
        self._names = GuardedNames(Names(), self._policy)
        connector = aiohttp.TCPConnector(
            resolver=self._names,
            ttl_dns_cache=self._dns_cache_seconds,
            socket_factory=GuardedSockets(self._policy),
            ssl=tls_context(),
            limit=0,
            limit_per_host=0,
            keepalive_timeout=IDLE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=WatchedRequest,
            trust_env=False,
            auto_decompress=False,
            raise_for_status=False,
            read_bufsize=READ_BYTES,
            headers={"User-Agent": "OData-Backend-Webhooks/1", "Accept": "*/*", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._names.close()

    async def send(self, *, url: str, headers: Mapping[str, str], body: bytes, timeout: float = 15.0) -> Attempted:
        """POST exactly these bytes, in `timeout` seconds from here to the end of the answer.

        Raises nothing but CancelledError: whatever goes wrong is in what it returns.
        """
        watch = Watch()
        token = WATCH.set(watch)
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await self._post(watch, url, headers, body)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    # A receiver may close an idle connection just when it is taken up again. Nothing came back, so
                    # this is worth another connection; if the request did arrive, `webhook-id` tells it is the same.
                    if not watch.reused or watch.answered is not None:
                        raise
                    return await self._post(watch, url, headers, body)
        except Exception as error:
            return failed(watch, error, timeout)
        finally:
            WATCH.reset(token)

    def _judge(self, url: str) -> URL:
        """The URL, as it is, if its text is fit for webhooks. Raises RefusedUrlError."""
        there = read_url(url, self._policy)
        check_addresses(there.host, fixed_addresses(there), self._policy)
        return URL(url, encoded=True)

    async def _post(self, watch: Watch, url: str, headers: Mapping[str, str], body: bytes) -> Attempted:
        check_sent_headers(headers)
        response = await self._session.post(self._judged(url), data=body, headers=headers, allow_redirects=False)
        try:
            watch.answered, watch.status = time.perf_counter(), response.status
            reply = await read_start(response)
        finally:
            response.release() if response.content.at_eof() else response.close()
        return answered(watch, response, reply, headers)


async def read_start(response: ClientResponse) -> bytes:
    """The first 16 KB of the answer. What is longer is not read."""
    reply = bytearray()
    while len(reply) < READ_BYTES:
        part = await response.content.read(READ_BYTES - len(reply))
        if not part:
            break
        reply += part
    return bytes(reply)
