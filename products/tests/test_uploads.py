"""Files sent to the real web server: in full or not at all, and never through memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from products.models import Import
from products.tests.web_server import WebServer

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1024 * 1024
BOUNDARY = "limit-of-the-parts"
FORM_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
).encode()
FORM_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
RAW, FORM = "text/csv", f"multipart/form-data; boundary={BOUNDARY}"
ROWS = b"sku,name\n" + b"".join(b"SKU-%06d,Lamp\n" % number for number in range(10_000))


@pytest.fixture
def web(web_process: WebServer) -> WebServer:
    web_process.let_in()
    return web_process


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
    web.forget_peak()
    idle, block = web.peak_memory(), b"x" * MB

    length = len(body) + 64 * MB + len(tail)
    status, document = web.send(web.head(content_type, f"Content-Length: {length}"), body, *[block] * 64, tail)

    assert (status, document["bytes_total"]) == (202, 64 * MB)
    assert web.peak_memory() - idle < 25 * MB


def test_a_large_file_with_a_key_does_not_go_through_memory_and_is_taken_once(web: WebServer) -> None:
    web.send(web.head(RAW, f"Content-Length: {len(ROWS)}"), ROWS)
    web.forget_peak()
    idle, block, head = web.peak_memory(), b"x" * MB, web.head(RAW, f"Content-Length: {64 * MB}", "Idempotency-Key: k")

    first, again = (web.send(head, *[block] * 64) for _ in range(2))

    assert first[0] == 202
    assert again == first
    assert web.peak_memory() - idle < 25 * MB
    assert Import.objects.filter(bytes_total=64 * MB).count() == 1
    assert web.send(head, *[block] * 63, b"y" * MB)[1]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("charset", ["rot13", "undefined", "idna", "utf-16", "windows-1252"])
@pytest.mark.parametrize("content_type", [RAW, FORM])
def test_the_charset_of_a_body_says_nothing_of_the_address(web: WebServer, content_type: str, charset: str) -> None:
    body = body_of(content_type)
    lines = (f"Content-Type: {content_type}; charset={charset}", f"Content-Length: {len(body)}")

    status, document = web.send(web.request("POST", "/api/v1/imports/?file_name=%C3%A4.csv", *lines), body)

    assert (status, document.get("file_name")) == (202, "ä.csv" if content_type == RAW else "a.csv")
