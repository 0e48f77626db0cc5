"""One request to a receiver: what arrives, what is told of it, and what never leaves."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from pytest_django import Settings

from webhooks.attempted import Attempted, Watch
from webhooks.egress import Policy, check_url
from webhooks.sender import WATCH, GuardedSockets, Sender
from webhooks.tests.certificates import Authority
from webhooks.tests.corpus import ADDRESSES, LOOPBACK, METADATA, URLS
from webhooks.tests.name_server import AAAA, A, NameServer
from webhooks.tests.receiver import OK, Answer, Receiver, receiver
from webhooks.tests.watching import sockets_seen

HEADERS = {"Content-Type": "application/json", "webhook-id": "msg_1", "webhook-signature": "v1,abcdefgh="}


@pytest.fixture(autouse=True)
def any_port(settings: Settings) -> None:
    """The receivers of these tests listen where there is room."""
    settings.WEBHOOK_ALLOWED_PORTS = list(range(1, 65536))


@pytest.fixture
def loopback(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8", "::1/128"]


@pytest.fixture
def strict(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = []


@pytest.fixture
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    async with Sender(dns_cache_seconds=0) as sender:
        yield sender


async def post(sender: Sender, url: str, *, timeout: float = 15.0, body: bytes = b"{}", **headers: str) -> Attempted:
    return await sender.send(url=url, headers={**HEADERS, **headers}, body=body, timeout=timeout)


# --- what arrives ------------------------------------------------------------------------------


async def test_a_receiver_gets_exactly_these_bytes_and_headers(loopback: None, sender: Sender) -> None:
    body = b'{"a": "\xc3\xbc\x00\r\n"}' * 50
    async with receiver() as there:
        attempted = await post(
            sender, f"http://127.0.0.1:{there.port}/a/../b;c?d=%2F&e=f%20g", body=body, **{"X-Key": "k"}
        )

    (request,) = there.requests
    assert request.line == "POST /a/../b;c?d=%2F&e=f%20g HTTP/1.1"
    assert request.body == body
    assert request.headers == {
        "host": f"127.0.0.1:{there.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "webhook-id": "msg_1",
        "webhook-signature": "v1,abcdefgh=",
        "x-key": "k",
        "user-agent": "OData-Backend-Webhooks/1",
        "accept": "*/*",
        "accept-encoding": "identity",
    }
    assert attempted.ok
    assert (attempted.status, attempted.error, attempted.reply, attempted.address) == (200, "", "ok", "127.0.0.1")
    assert attempted.connect_ms is not None
    assert attempted.first_byte_ms is not None
    assert attempted.dns_ms is None
    assert attempted.tls_ms is None


async def test_connections_are_kept_and_it_is_told(loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        attempts = [await post(sender, f"http://127.0.0.1:{there.port}/") for _ in range(20)]

        assert there.connections == 1
    assert [attempted.reused for attempted in attempts] == [False] + [True] * 19
    assert {attempted.address for attempted in attempts} == {"127.0.0.1"}
    assert attempts[-1].connect_ms is None


async def test_500_are_in_flight_at_a_time(loopback: None, sender: Sender) -> None:
    everybody = asyncio.Barrier(500)

    async def wait_for_all(writer: asyncio.StreamWriter) -> None:
        await everybody.wait()
        writer.write(OK)
        await writer.drain()

    async with receiver(wait_for_all) as there:
        attempts = await asyncio.gather(*(post(sender, f"http://127.0.0.1:{there.port}/") for _ in range(500)))

    assert all(attempted.ok for attempted in attempts)


async def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt(loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        await post(sender, f"http://127.0.0.1:{there.port}/")

        async def hang_up_at_once(writer: asyncio.StreamWriter) -> None:
            there.answer = OK

        there.answer = hang_up_at_once  # without an answer, when the request is there

        attempted = await post(sender, f"http://127.0.0.1:{there.port}/")

    assert attempted.ok
    assert not attempted.reused
    assert there.connections == 2


# --- what is told ------------------------------------------------------------------------------


async def test_a_refused_connection_is_told(loopback: None, sender: Sender) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        attempted = await post(sender, f"http://127.0.0.1:{unused.getsockname()[1]}/")

    assert (attempted.error, attempted.detail) == ("connect", "No connection could be made: connection refused.")
    assert attempted.address == "127.0.0.1"


async def test_a_name_that_is_not_there_is_told(names: NameServer, sender: Sender) -> None:
    attempted = await post(sender, "http://not-there.test/")

    assert attempted.error == "dns"
    assert "not-there.test" in attempted.detail


async def test_a_name_server_that_does_not_answer_is_given_up_after_3_seconds(
    names: NameServer, sender: Sender
) -> None:
    names.silent = True
    started = time.monotonic()

    attempted = await post(sender, "http://silent.test/")

    assert attempted.error == "dns"
    assert time.monotonic() - started < 3.5


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf", "connection"),
        (hang_up, "connection"),
    ],
)
async def test_an_answer_that_is_none_is_told(answer: Answer, error: str, loopback: None, sender: Sender) -> None:
    async with receiver(answer) as there:
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/", timeout=3)

    assert attempted.error == error
    assert not attempted.ok
    assert attempted.detail.endswith(".")


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.1)


async def never(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def continue_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()


@pytest.mark.parametrize("answer", [drip, never, continue_for_ever])
async def test_the_deadline_is_for_the_whole_answer(answer: Answer, loopback: None, sender: Sender) -> None:
    async with receiver(answer) as there:
        started = time.monotonic()
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/", timeout=0.8)

    assert 0.7 < time.monotonic() - started < 5  # a receiver that says a lot, beside other work
    assert attempted.error == "timeout"
    assert not attempted.ok
    assert "within 0.8 seconds" in attempted.detail
    assert attempted.status == (200 if answer == drip else None)


async def test_a_server_that_accepts_and_stays_silent_has_3_seconds_for_tls(loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        started = time.monotonic()
        attempted = await post(sender, f"https://127.0.0.1:{there.port}/")

    assert attempted.error == "tls"
    assert time.monotonic() - started < 4


async def test_cancelling_ends_it(loopback: None, sender: Sender) -> None:
    async with receiver(never) as there:
        sending = asyncio.ensure_future(post(sender, f"http://127.0.0.1:{there.port}/"))
        while not there.requests:
            await asyncio.sleep(0.01)
        sending.cancel()

        with pytest.raises(asyncio.CancelledError):
            await sending


# --- replies -----------------------------------------------------------------------------------


async def gigabyte(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1_000):
        writer.write(b"x" * 1_000_000)
        gigabyte.sent += 1_000_000  # type: ignore[attr-defined]
        await writer.drain()


async def test_a_reply_of_a_gigabyte_is_not_read(loopback: None, sender: Sender) -> None:
    gigabyte.sent = 0  # type: ignore[attr-defined]
    async with receiver(gigabyte) as there:
        await post(sender, f"http://127.0.0.1:{there.port}/")  # what is made once is made
        tracemalloc.start()
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert attempted.ok
    assert attempted.reply == "x" * 4096
    assert gigabyte.sent < 20_000_000  # type: ignore[attr-defined]
    assert peak < 8_000_000  # the receiver's own megabytes are in it
    assert there.connections == 2  # what is not read to its end is not used again


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_compressed_reply_is_never_opened(encoding: str, loopback: None, sender: Sender) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with receiver(head.encode() + bomb) as there:
        tracemalloc.start()
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert attempted.ok
    assert attempted.reply == f"[compressed as {encoding}, not shown]"
    assert peak < 2_000_000


async def test_control_characters_of_a_reply_are_made_visible(loopback: None, sender: Sender) -> None:
    body = b"a\x00b\x1b[31mred\x7f\tc\nd\r\xff" + "\u202e\u200b\ud7ff\u00e9 \U0001f600".encode()
    head = (
        f"HTTP/1.1 500 Oops\r\nContent-Length: {len(body)}\r\nRetry-After: 7\r\nX-Secret: s\r\nSet-Cookie: a=b\r\n\r\n"
    )
    async with receiver(head.encode() + body) as there:
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/")

    assert attempted.reply == "a␀b␛[31mred␡\tc\nd␍\ufffd\ufffd\ufffd\ud7ff\u00e9 \U0001f600".replace(
        "\ud7ff", attempted.reply[-4]
    )
    assert attempted.reply_headers == {"content-length": str(len(body)), "retry-after": "7"}
    assert (attempted.status, attempted.error, attempted.ok) == (500, "", False)


async def test_a_reply_is_kept_to_4_kb_whatever_it_holds(loopback: None, sender: Sender) -> None:
    async with receiver(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\nLocation: " + b"\xff" * 900 + b"\r\n\r\n" + b"\0" * 9000
    ) as there:
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/")

    assert len(attempted.reply.encode()) <= 4096
    assert len(attempted.reply_headers["location"].encode()) <= 500


async def test_a_receiver_that_repeats_our_headers_does_not_get_the_secret_into_the_log(
    loopback: None, sender: Sender
) -> None:
    body = b"you sent Bearer correct-horse-battery"
    async with receiver(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as there:
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/", Authorization="Token correct-horse-battery")

    assert attempted.reply == "you sent Bearer [masked]"


async def test_a_cookie_is_never_sent_back(loopback: None, sender: Sender) -> None:
    async with receiver(OK.replace(b"\r\n", b"\r\nSet-Cookie: session=stolen; Path=/\r\n", 1)) as there:
        await post(sender, f"http://127.0.0.1:{there.port}/")
        await post(sender, f"http://127.0.0.1:{there.port}/")
        async with receiver() as other:
            await post(sender, f"http://127.0.0.1:{other.port}/")

    for request in [*there.requests, *other.requests]:
        assert "cookie" not in request.headers


# --- never a way in ----------------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
async def test_a_dangerous_url_is_refused_when_sent_and_nothing_is_sent(
    url: str, strict: None, names: NameServer, sender: Sender, settings: Settings
) -> None:
    settings.WEBHOOK_ALLOWED_PORTS = [80, 443, 8080, 8443]
    async with Sender() as sender:
        with sockets_seen() as seen:
            attempted = await post(sender, url)

    assert attempted.error == "refused"
    assert attempted.status is None
    assert attempted.address is None
    assert seen == []
    assert not names.asked


@pytest.mark.parametrize("host", [*LOOPBACK, *METADATA])
async def test_a_listener_on_this_machine_sees_nothing(
    host: str, strict: None, names: NameServer, sender: Sender
) -> None:
    async with receiver() as there:
        attempted = await post(sender, f"http://{host}:{there.port}/")

    assert attempted.error == "refused"
    assert there.connections == 0


async def test_the_watch_over_sockets_sees_a_request_that_is_sent(loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        with sockets_seen() as seen:
            await post(sender, f"http://127.0.0.1:{there.port}/")

    assert seen[:2] == ["a socket was made", ("127.0.0.1", there.port)]


class Liar(AbstractResolver):
    """A resolver that no guard has looked at: the socket is the last one to say no."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("address", ADDRESSES)
async def test_the_guard_at_the_socket_alone_keeps_every_address_from_being_reached(address: str, strict: None) -> None:
    WATCH.set(Watch())
    connector = aiohttp.TCPConnector(
        resolver=Liar(address, "::1", "127.0.0.1"), socket_factory=GuardedSockets(Policy())
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with sockets_seen() as seen, pytest.raises(aiohttp.ClientConnectorError):
            await session.post("http://liar.test/")

    assert seen == []
    assert WATCH.get().refused


async def test_a_name_that_is_public_when_saved_and_ours_when_sent_is_refused(
    strict: None, names: NameServer, sender: Sender
) -> None:
    names.answers["rebind.test"] = [["93.184.216.34"], ["127.0.0.1"]]
    async with receiver() as there:
        url = f"http://rebind.test:{there.port}/"
        await asyncio.to_thread(check_url, url)

        with sockets_seen() as seen:
            attempted = await post(sender, url)

    assert attempted.error == "refused"
    assert "127.0.0.0/8, this machine" in attempted.detail
    assert seen == []
    assert there.connections == 0
    assert names.asked["rebind.test", A] == 2


async def test_a_name_that_changes_between_two_requests_is_judged_anew(settings: Settings, names: NameServer) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.2/32"]  # stands for a public address
    names.answers["rebind.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    async with (
        receiver(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), host="127.0.0.2") as public,
        receiver(host="127.0.0.1", port=public.port) as inner,
        Sender(dns_cache_seconds=0) as sender,
    ):
        first = await post(sender, f"http://rebind.test:{public.port}/")
        second = await post(sender, f"http://rebind.test:{public.port}/")

    assert (first.ok, first.address) == (True, "127.0.0.2")
    assert second.error == "refused"
    assert len(public.requests) == 1
    assert inner.connections == 0


async def test_a_kept_connection_stays_with_the_address_that_was_judged(settings: Settings, names: NameServer) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.2/32"]
    names.answers["rebind.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    async with (
        receiver(host="127.0.0.2") as public,
        receiver(host="127.0.0.1", port=public.port) as inner,
        Sender(dns_cache_seconds=0) as sender,
    ):
        attempts = [await post(sender, f"http://rebind.test:{public.port}/") for _ in range(3)]

    assert [(attempted.address, attempted.reused) for attempted in attempts] == [
        ("127.0.0.2", False),
        ("127.0.0.2", True),
        ("127.0.0.2", True),
    ]
    assert inner.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2", "127.0.0.1"],
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.2", "::1"],
        ["127.0.0.2", "fd00::1"],
        ["127.0.0.2", "::ffff:127.0.0.1"],
        ["127.0.0.2", "64:ff9b::7f00:1"],
    ],
)
async def test_a_name_with_one_address_too_many_is_refused(
    addresses: list[str], settings: Settings, names: NameServer
) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.2/32"]
    names.answers["mixed.test"] = [addresses]
    async with receiver(host="127.0.0.2") as there, Sender() as sender:
        with sockets_seen() as seen:
            attempted = await post(sender, f"http://mixed.test:{there.port}/")

    assert attempted.error == "refused"
    assert seen == []
    assert there.connections == 0
    assert names.asked["mixed.test", A] == names.asked["mixed.test", AAAA] == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://169.254.169.254/", "/again"]
)
async def test_a_redirect_is_never_followed(status: int, target: str, loopback: None, sender: Sender) -> None:
    async with receiver() as other:
        location = target.format(port=other.port)
        answer = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        async with receiver(answer) as there:
            attempted = await post(sender, f"http://127.0.0.1:{there.port}/")

    assert (attempted.status, attempted.ok) == (status, False)
    assert attempted.reply_headers["location"] == location
    assert "never followed" in attempted.detail
    assert len(there.requests) == 1
    assert other.connections == 0


async def test_proxies_of_the_environment_are_not_used(
    loopback: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with receiver() as proxy, receiver() as there:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with Sender() as sender:
            attempted = await post(sender, f"http://127.0.0.1:{there.port}/")

    assert attempted.ok
    assert proxy.connections == 0
    assert "authorization" not in there.requests[0].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "a\r\nHost: inner"},
        {"X-Key": "a\nb"},
        {"X-Key\r\nHost": "a"},
        {"Host": "inner"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
        {"X-Key": "\x00"},
    ],
)
async def test_headers_can_not_split_or_move_a_request(headers: dict[str, str], loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        attempted = await post(sender, f"http://127.0.0.1:{there.port}/", **headers)

    assert attempted.error == "refused"
    assert there.connections == 0


async def test_loopback_is_reached_by_name_when_an_operator_says_so(loopback: None, sender: Sender) -> None:
    async with receiver() as there:
        attempted = await post(sender, f"http://localhost:{there.port}/")

    assert attempted.ok
    assert attempted.dns_ms is not None


async def test_ipv6_is_reached_when_an_operator_says_so(loopback: None, sender: Sender) -> None:
    async with receiver(host="::1") as there:
        attempted = await post(sender, f"http://[::1]:{there.port}/")

    assert (attempted.ok, attempted.address) == (True, "::1")


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, settings: Settings) -> Authority:
    """An authority that WEBHOOK_CA_FILE names."""
    authority = Authority(tmp_path)
    settings.WEBHOOK_CA_FILE = str(authority.path)
    return authority


@pytest.fixture
def hook_test(names: NameServer) -> Iterator[None]:
    names.answers["hook.test"] = [["127.0.0.1"]]
    yield


async def over_tls(there: Receiver, host: str = "hook.test") -> list[Attempted]:
    async with Sender() as sender:
        return [await post(sender, f"https://{host}:{there.port}/") for _ in range(2)]


async def test_a_certificate_for_the_name_is_accepted(loopback: None, hook_test: None, authority: Authority) -> None:
    async with receiver(tls=authority.context("hook.test")) as there:
        first, second = await over_tls(there)

    assert first.ok
    assert (first.tls_ms, first.connect_ms, first.dns_ms) != (None, None, None)
    assert (second.ok, second.reused, second.tls_ms) == (True, True, None)


@pytest.mark.parametrize(
    ("name", "self_signed", "days"),
    [
        ("other.test", False, 1),
        ("127.0.0.1", False, 1),  # the address that is connected to, but not the name
        ("hook.test", True, 1),
        ("hook.test", False, -1),
    ],
)
async def test_any_other_certificate_is_refused(
    name: str, self_signed: bool, days: int, loopback: None, hook_test: None, authority: Authority
) -> None:
    async with receiver(tls=authority.context(name, self_signed=self_signed, days=days)) as there:
        attempted, _ = await over_tls(there)

    assert attempted.error == "tls"
    assert attempted.detail.startswith("The certificate is not accepted: ")
    assert there.requests == []


async def test_an_authority_that_nobody_named_is_refused(
    loopback: None, hook_test: None, authority: Authority, settings: Settings
) -> None:
    settings.WEBHOOK_CA_FILE = ""
    async with receiver(tls=authority.context("hook.test")) as there:
        attempted, _ = await over_tls(there)

    assert attempted.error == "tls"
    assert there.requests == []


async def test_an_address_in_the_url_is_verified_as_one(loopback: None, authority: Authority) -> None:
    async with receiver(tls=authority.context("127.0.0.1")) as there:
        attempted, _ = await over_tls(there, "127.0.0.1")

    assert attempted.ok


async def test_plain_http_behind_https_is_told(loopback: None, sender: Sender) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        attempted = await post(sender, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    assert attempted.error == "tls"
