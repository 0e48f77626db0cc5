"""What came of one request, for the log of attempts: in words that people read, and in figures."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
from aiohttp.client_reqrep import ClientResponse

from webhooks.egress import RefusedHeadersError, RefusedUrlError
from webhooks.names import NameLookupError

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 3.0
"""For the look-up of the name, the connection and the TLS handshake together."""
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
PLAIN_HEADERS = frozenset({"content-type", "user-agent", "webhook-id", "webhook-timestamp"})
"""Request headers without a secret; the values of all others are masked where a reply repeats them."""


@dataclass(frozen=True)
class Attempted:
    """What came of one request. Times are in milliseconds, None for what didn't happen."""

    status: int | None
    """None: no answer."""
    error: str
    """"" or a stable word: refused, dns, connect, tls, timeout, connection, protocol, unexpected, unsendable. An answer
    of any status is no error here."""
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


def answered(watch: Watch, response: ClientResponse, reply: bytes, sent: Mapping[str, str]) -> Attempted:
    """An attempt with an answer, whose body begins with `reply`; `sent` are the headers of the request."""
    return Attempted(
        status=response.status,
        error="",
        detail=in_words(response.status),
        reply=readable_reply(response, reply, sent),
        reply_headers=kept_headers(response),
        address=watch.address,
        reused=watch.reused,
        **timings(watch),
    )


def in_words(status: int) -> str:
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


def not_sent(problem: str) -> Attempted:
    """No attempt at all: there is nothing to send, or nothing to sign it with."""
    return Attempted(
        status=None,
        error="unsendable",
        detail=problem,
        reply="",
        reply_headers={},
        address=None,
        reused=False,
        dns_ms=None,
        connect_ms=None,
        tls_ms=None,
        first_byte_ms=None,
        total_ms=0,
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
