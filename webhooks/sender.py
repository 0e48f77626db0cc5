"""One webhook on its way: one HTTP request, and what came of it.

`Sender` keeps connections open between requests and knows no endpoint, retry or signature. It never follows a
redirect, asks a proxy, keeps a cookie or decompresses anything. Where it connects to is judged thrice: the URL's
text, every address that the name leads to, and in the `socket_factory` the address of each socket, before there
is one. Addresses written in a URL never pass a resolver, and a name may lead elsewhere at the next look-up:
the socket is the one place that all of them pass.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from django.conf import settings
from yarl import URL

from webhooks.egress import (
    Policy,
    RefusedHeadersError,
    RefusedUrlError,
    Target,
    check_addresses,
    check_sent_headers,
    fixed_addresses,
    read_url,
)
from webhooks.names import NameLookupError, Names

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 3.0
"""For the look-up of the name, the connection and the TLS handshake together."""
READ_BYTES = 16 * 1024
KEPT_BYTES = 4 * 1024
KEPT_HEADERS = (
    "content-type",
    "content-length",
    "content-encoding",
    "date",
    "location",
    "retry-after",
    "webhook-delivery",
)
"""Never Set-Cookie or a challenge: the log of attempts is read by people who are not the receiver."""
KEPT_HEADER_CHARACTERS = 500
IDLE_SECONDS = 30.0
"""How long a connection waits for the next request to the same receiver."""
DNS_CACHE_SECONDS = 10
PLAIN_HEADERS = frozenset({"content-type", "user-agent", "webhook-id", "webhook-timestamp"})
"""Request headers without a secret; the values of all others are masked where a reply repeats them."""


@dataclass(frozen=True)
class Attempted:
    """What came of one request. Times are in milliseconds, None for what didn't happen."""

    status: int | None
    """None: no answer."""
    error: str
    """"" or a stable word: refused, dns, connect, tls, timeout, connection, protocol, unexpected. An answer of any
    status is no error here."""
    detail: str
    """A sentence for people."""
    reply: str
    """The first 4 KB of the answer in UTF-8, control characters made visible."""
    reply_headers: dict[str, str]
    address: str | None
    """The IP address that was connected to, or last tried."""
    reused: bool
    """The connection was there from an earlier request."""
    dns_ms: int | None
    connect_ms: int | None
    tls_ms: int | None
    first_byte_ms: int | None
    """From the request's being sent to the answer's headers."""
    total_ms: int

    @property
    def ok(self) -> bool:
        """Delivered: a whole answer, with a status of 2xx. A 200 whose body breaks off or drips on has an error too."""
        return not self.error and self.status is not None and 200 <= self.status < 300


class RefusedAddressError(OSError):
    """The guard's no: this address must not be connected to. The message is a sentence."""


@dataclass(slots=True)
class Watch:
    """What one request has come to, written by those who see it happen. Times are of `time.perf_counter`."""

    started: float = field(default_factory=time.perf_counter)
    asked: float | None = None
    named: float | None = None
    connecting: float | None = None
    securing: float | None = None
    sending: float | None = None
    answered: float | None = None
    address: str | None = None
    status: int | None = None
    refused: str = ""
    """Why the guard let no socket be made."""

    def refuse(self, sentence: str) -> RefusedAddressError:
        self.refused = sentence
        return RefusedAddressError(sentence)

    @property
    def reused(self) -> bool:
        return self.sending is not None and self.connecting is None


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
        self._target = lru_cache(maxsize=4096)(self._read_target)

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

    def _read_target(self, url: str) -> tuple[Target, URL]:
        target = read_url(url, self._policy)
        check_addresses(target.host, fixed_addresses(target), self._policy)
        return target, URL(url, encoded=True)

    async def _post(self, watch: Watch, url: str, headers: Mapping[str, str], body: bytes) -> Attempted:
        check_sent_headers(headers)
        _, address = self._target(url)
        response = await self._session.post(address, data=body, headers=headers, allow_redirects=False)
        try:
            watch.answered, watch.status = time.perf_counter(), response.status
            reply = await read_start(response)
        finally:
            response.release() if response.content.at_eof() else response.close()
        return Attempted(
            status=response.status,
            error="",
            detail=answered(response.status),
            reply=readable_reply(response, reply, headers),
            reply_headers=kept_headers(response),
            address=watch.address,
            reused=watch.reused,
            **timings(watch),
        )


async def read_start(response: ClientResponse) -> bytes:
    """The first 16 KB of the answer. What is longer is not read."""
    reply = bytearray()
    while len(reply) < READ_BYTES:
        part = await response.content.read(READ_BYTES - len(reply))
        if not part:
            break
        reply += part
    return bytes(reply)


# --- what is told of it --------------------------------------------------------------------------


def answered(status: int) -> str:
    if 200 <= status < 300:
        return f"The receiver took it with {status}."
    if 300 <= status < 400:
        return f"The receiver answered with a redirect ({status}), which is never followed: give the final URL."
    return f"The receiver answered with {status}."


def failed(watch: Watch, error: Exception, timeout: float) -> Attempted:
    """An attempt without a whole answer."""
    word, sentence = classify(watch, error, timeout)
    if word == "unexpected":
        log.error("webhook_attempt_failed_unexpectedly", exc_info=error)
    return Attempted(
        status=watch.status,
        error=word,
        detail=visible(sentence, 1000),
        reply="",
        reply_headers={},
        address=None if word == "refused" else watch.address,
        reused=watch.reused,
        **timings(watch),
    )


def classify(watch: Watch, error: Exception, timeout: float) -> tuple[str, str]:  # noqa: C901 - a table of errors
    """The stable word for an error, and a sentence."""
    if watch.refused:
        return "refused", watch.refused
    match error:
        case RefusedUrlError() | RefusedHeadersError():
            return "refused", error.detail
        case aiohttp.ClientConnectorDNSError(os_error=RefusedAddressError() as refused):
            return "refused", str(refused)
        case aiohttp.ClientConnectorDNSError(os_error=NameLookupError() as unknown):
            return "dns", str(unknown)
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"The name can't be looked up: {reason(error.os_error)}."
        case aiohttp.InvalidURL():
            return "refused", "The URL can't be used."
        case aiohttp.ClientConnectorCertificateError():
            problem = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return "tls", f"The certificate is not accepted: {problem}."
        case aiohttp.ClientConnectorSSLError():
            return "tls", f"No TLS connection could be made: {error.os_error.strerror or error.os_error}."
        case aiohttp.ConnectionTimeoutError():
            return connection_timed_out(watch)
        case aiohttp.ClientConnectorError() if watch.securing is not None:
            return "tls", f"The connection ended during the TLS handshake: {reason(error.os_error)}."
        case aiohttp.ClientConnectorError():
            return "connect", f"No connection could be made: {reason(error.os_error)}."
        case TimeoutError():
            what = "the whole answer" if watch.answered is not None else "an answer"
            return "timeout", f"There was not {what} within {timeout:g} seconds."
        case aiohttp.ClientPayloadError():
            return "connection", "The answer broke off before its end."
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientConnectionError() | ConnectionError():
            return "connection", "The receiver closed the connection before it answered."
        case aiohttp.ClientResponseError():
            return "protocol", f"The answer is not proper HTTP: {error.message}."
        case _:
            return "unexpected", f"Something unexpected happened while sending: {type(error).__name__}."


def connection_timed_out(watch: Watch) -> tuple[str, str]:
    within = f"within {CONNECT_SECONDS:g} seconds"
    if watch.securing is not None:
        return "tls", f"The TLS handshake did not end {within}."
    if watch.connecting is None:
        return "dns", f"The name could not be looked up {within}."
    return "connect", f"No connection could be made {within}."


def reason(error: OSError) -> str:
    """The system's words, without the addresses that asyncio adds."""
    return os.strerror(error.errno).lower() if error.errno is not None and error.errno > 0 else str(error).lower()


def timings(watch: Watch) -> dict[str, Any]:
    connected = watch.securing or watch.sending
    return {
        "dns_ms": between(watch.asked, watch.named),
        "connect_ms": between(watch.connecting, connected),
        "tls_ms": between(watch.securing, watch.sending),
        "first_byte_ms": between(watch.sending, watch.answered),
        "total_ms": round(1000 * (time.perf_counter() - watch.started)),
    }


def between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else round(1000 * (end - start))


def readable_reply(response: ClientResponse, reply: bytes, sent: Mapping[str, str]) -> str:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if reply and encoding not in ("", "identity"):
        return visible(f"[compressed as {encoding}, not shown]", KEPT_BYTES)
    text = reply.decode("utf-8", errors="replace")
    for secret in secrets_in(sent):
        text = text.replace(secret, "[masked]")
    return visible(text, KEPT_BYTES)


def secrets_in(headers: Mapping[str, str]) -> Iterator[str]:
    """What a receiver that repeats the request might put into the log: values, and the words in them."""
    for name, value in headers.items():
        if name.lower() not in PLAIN_HEADERS:
            yield from (part for part in (value, *value.split()) if len(part) >= 8)


def kept_headers(response: ClientResponse) -> dict[str, str]:
    return {
        name: visible(response.headers[name], KEPT_HEADER_CHARACTERS)
        for name in KEPT_HEADERS
        if name in response.headers
    }


HIDDEN = re.compile("[^\t\n -~]")


def visible(text: str, most: int) -> str:
    """`text` with a sign for each control or invisible character, in at most `most` bytes of UTF-8."""
    shown = HIDDEN.sub(lambda match: sign(match[0]), text[:most])
    return shown.encode()[:most].decode(errors="ignore")


def sign(character: str) -> str:
    """Unicode's picture of a control character, U+FFFD for other characters that don't show, or itself."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return "\ufffd" if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" else character
