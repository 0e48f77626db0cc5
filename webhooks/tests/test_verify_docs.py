"""The receivers of docs/verify-webhooks.md, taken from the page and run: what they accept, and what they refuse."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from django.conf import settings

from common.tests.addresses import free_port, listens
from common.tests.waiting import wait_until
from webhooks.signing import Ed25519Key, HmacKey, SigningKey, headers
from webhooks.tests.test_signing import MESSAGE_A, SECRET_A, SIGNATURE_A

PAGE = (settings.BASE_DIR / "docs" / "verify-webhooks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|js)\n(?:#|//) (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NODE = shutil.which("node")
BODY = '{"type": "product.updated", "data": {"name": "Käse €"}}'.encode()
SECRET = HmacKey.make()
PRIVATE = Ed25519Key.make()


def block(name: str, having: str = "") -> str:
    """The page's only code block that is this file, and has these words in it."""
    (found,) = [code for file, code in BLOCKS if file == name and having in code]
    return str(found)


@dataclass(frozen=True)
class Receiver:
    """A receiver of the page, running."""

    key: SigningKey
    """The one whose signatures it is to accept."""
    url: str
    output: Path

    def post(self, sent: dict[str, str], body: bytes = BODY) -> int:
        """Status of the answer."""
        return requests.post(self.url, data=body, headers=sent, timeout=10).status_code

    def sign(self, *keys: SigningKey, message_id: str = "evt_1", age: int = 0, body: bytes = BODY) -> dict[str, str]:
        return headers(keys or [self.key], message_id, int(time.time()) - age, body)


RECEIVERS = {
    "Python, with the library": ("receiver.py", "verify.py", "import Webhook,", SECRET),
    "Python, by itself": ("receiver.py", "verify.py", "hmac.digest", SECRET),
    "Python, ed25519": ("receiver.py", "verify.py", "ed25519", PRIVATE),
    "JavaScript": ("receiver.mjs", "verify.mjs", "createHmac", SECRET),
    "JavaScript, ed25519": ("receiver.mjs", "verify.mjs", "createPublicKey", PRIVATE),
}


@pytest.fixture(scope="module", params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    main, verify, having, key = RECEIVERS[request.param]
    program = sys.executable if main.endswith(".py") else NODE
    if program is None:
        pytest.skip("node is not on this machine")
    folder = tmp_path_factory.mktemp("receiver")
    (folder / main).write_text(block(main), encoding="utf-8")
    (folder / verify).write_text(block(verify, having), encoding="utf-8")
    port = free_port()
    env = {"PORT": str(port), "WEBHOOK_SECRET": SECRET.secret(), "WEBHOOK_PUBLIC_KEY": PRIVATE.public()}
    output = folder / "output"
    with (
        output.open("wb") as out,
        subprocess.Popen([program, main], cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, "the receiver listens", 20)
            assert process.poll() is None, output.read_text()
            yield Receiver(key, f"http://127.0.0.1:{port}/", output)
        finally:
            process.terminate()


def test_every_block_of_the_page_is_run() -> None:
    run = {block(main) for main, *_ in RECEIVERS.values()}
    run |= {block(verify, having) for _, verify, having, _ in RECEIVERS.values()}

    assert run == {code for _, code in BLOCKS}
    assert len(BLOCKS) == len(re.findall(r"^```\w", PAGE, re.MULTILINE))


def test_the_vector_of_the_page_is_the_published_one() -> None:
    for published in (SECRET_A, MESSAGE_A[0], str(MESSAGE_A[1]), MESSAGE_A[2].decode(), SIGNATURE_A):
        assert f"`{published}`" in PAGE


def test_it_accepts_what_we_send(receiver: Receiver) -> None:
    assert receiver.post(receiver.sign()) == 204


def test_it_accepts_it_among_signatures_of_other_keys_and_kinds(receiver: Receiver) -> None:
    others = [HmacKey.make(), Ed25519Key.make()]

    assert receiver.post(receiver.sign(*others, receiver.key)) == 204
    assert receiver.post(receiver.sign(receiver.key, *others)) == 204


def test_it_does_a_message_once_however_often_it_comes(receiver: Receiver) -> None:
    done = receiver.output.read_text().count("product.updated")

    answers = [receiver.post(receiver.sign(message_id="evt_twice", age=age)) for age in (3, 0)]

    assert answers == [204, 204]
    assert receiver.output.read_text().count("product.updated") == done + 1


@pytest.mark.parametrize("age", [301, 3600, -310])
def test_it_refuses_what_is_not_of_now(receiver: Receiver, age: int) -> None:
    assert receiver.post(receiver.sign(age=age)) == 401


def test_it_accepts_what_took_its_time(receiver: Receiver) -> None:
    assert receiver.post(receiver.sign(age=240)) == 204


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"updated", b"deleted"), b""])
def test_it_refuses_another_body(receiver: Receiver, body: bytes) -> None:
    assert receiver.post(receiver.sign(), body) == 401


FORGERIES: dict[str, Callable[[Receiver], dict[str, str]]] = {
    "another id": lambda it: it.sign() | {"webhook-id": "evt_2"},
    "another time": lambda it: it.sign(age=600) | {"webhook-timestamp": str(int(time.time()))},
    "another key": lambda it: it.sign(type(it.key).make()),
    "no headers": lambda it: {},
    "no id": lambda it: it.sign() | {"webhook-id": ""},
    "no timestamp": lambda it: it.sign() | {"webhook-timestamp": ""},
    "a timestamp that is none": lambda it: it.sign() | {"webhook-timestamp": "NaN"},
    "no signature": lambda it: it.sign() | {"webhook-signature": ""},
    "an empty signature": lambda it: it.sign() | {"webhook-signature": f"{it.key.kind},"},
    "a kind alone": lambda it: it.sign() | {"webhook-signature": it.key.kind},
    "no base64": lambda it: it.sign() | {"webhook-signature": f"{it.key.kind},!!!!"},
    "half a signature": lambda it: it.sign() | {"webhook-signature": it.sign()["webhook-signature"][:30]},
    "another kind": lambda it: it.sign() | {"webhook-signature": "v2," + it.sign()["webhook-signature"].split(",")[1]},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_it_refuses_a_forgery(receiver: Receiver, forgery: str) -> None:
    assert receiver.post(FORGERIES[forgery](receiver)) == 401


def test_it_outlives_a_request_that_breaks_off(receiver: Receiver) -> None:
    port = int(receiver.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    assert receiver.post(receiver.sign()) == 204
