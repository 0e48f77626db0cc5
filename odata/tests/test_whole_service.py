"""The whole service as `manage.py up` starts it, seen from outside: headers, a revoked token, and canaries.

Canaries are secrets and rows that are sent through all of it, and must not turn up in what it logs. PostgreSQL's and
Valkey's lines are looked at too, and each process says as much as it can (LOG_LEVEL=DEBUG).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from django_otp.oath import totp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from common.tests.waiting import wait_until
from odata.tests.running import Up, fresh_folder
from tests.test_headers import is_strict, lacks

PASSWORD = "canary-password-of-ada"
METRICS = "canary-metrics-token"
TOKEN = r"odata_[0-9a-f]{16}_[\w-]{43}"
ENDS = ("SUCCESS", "FAILURE", "CANCELLED")

SECRET = re.compile("password|token|code|secret|key|ticket|link|session|basic|nearly")
"""In the names of canaries: these must not be in the answers to wrong requests either. What a row held may be."""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with fresh_folder() as folder:
        settings = {"ADMIN_USERNAME": "ada", "ADMIN_PASSWORD": PASSWORD, "METRICS_TOKEN": METRICS}
        settings |= {"WEBHOOK_ALLOWED_CIDRS": "127.0.0.0/8", "WEBHOOK_ALLOWED_PORTS": "9"}
        service = Up(folder / "home", LOG_LEVEL="DEBUG", LOG_FORMAT="json", API_RATE_LIMIT="10000", **settings)
        service.await_line("OData Backend is running at")
        try:
            yield service
        finally:
            service.stop()


class Browser(requests.Session):
    """A person's browser, which notes as canaries what nobody else may learn."""

    def __init__(self, up: Up) -> None:
        super().__init__()
        self.up = up
        self.canaries: dict[str, str] = {"password": PASSWORD, "metrics token": METRICS}
        self.bodies: list[str] = []
        """Of errors."""

    def canary(self, what: str) -> str:
        """A word that occurs nowhere else."""
        return self.canaries.setdefault(what, f"canary-{len(self.canaries)}-{what.replace(' ', '-')}")

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs = {"allow_redirects": False, "timeout": 20, **kwargs}
        answer = super().request(method, self.up.address + str(url), *args, **kwargs)
        if answer.status_code >= 400:
            self.bodies.append(answer.text)
        return answer

    def form(self, path: str, **fields: Any) -> requests.Response:
        page = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        fields |= {"csrfmiddlewaretoken": token[1] if token else ""}
        return self.post(path, data=fields)

    def forget(self) -> None:
        self.cookies.clear()

    def log_in(self, **more: str) -> requests.Response:
        answer = self.form("/login/", username="ada", password=PASSWORD, **more)
        if session := self.cookies.get("sessionid"):
            self.canaries[f"session {len(self.canaries)}"] = session
        return answer


def sign_in_and_out(browser: Browser) -> None:
    browser.form("/login/", username=browser.canary("name typed"), password=browser.canary("wrong password"))
    browser.form("/login/", username="ada", password=browser.canary("nearly right"), code=browser.canary("code")[:16])
    browser.get(f"/setup/{browser.canary('set-up link')}/")
    browser.get(f"/login/?next=/imports/%3Ftoken%3D{browser.canary('next')}")
    browser.post("/login/", data={"username": "ada", "password": browser.canary("without csrf")})
    assert browser.log_in().status_code == 302


def set_a_second_factor_up(browser: Browser) -> None:
    page = "/account/second-factor/"
    shown = browser.form(page, act="begin")
    secret = re.search(r'<code class="breakable">([A-Z2-7]+)', shown.text)
    assert secret
    key = base64.b32decode(secret[1])
    code = f"{totp(key):06d}"
    done = browser.form(page, act="confirm", code=code)
    recovery = re.findall(r"<li><code>([\w-]+)</code>", done.text)
    assert len(recovery) == 10
    browser.canaries |= {"totp secret": secret[1], "totp key": key.hex(), "totp code": code}
    browser.canaries |= {f"recovery code {each}": each for each in recovery}
    browser.forget()
    assert browser.log_in(code=browser.canary("wrong code")[:16]).status_code == 200
    wait_until(lambda: browser.log_in(code=recovery[0]).status_code == 302, "a wrong code is forgiven", 10)


def make_a_token(browser: Browser) -> str:
    made = browser.form("/account/tokens/", name="shop", scopes=["read", "write", "import", "webhooks"])
    token = re.search(TOKEN, made.text)
    assert token
    browser.canaries["token"] = token[0].split("_", 2)[2]
    browser.get("/api/v1/products/", headers={"Authorization": f"Bearer odata_{browser.canary('bad token')}"})
    browser.get("/api/v1/products/", headers={"Authorization": f"Basic {browser.canary('basic')}"})
    browser.get("/metrics", headers={"Authorization": f"Bearer {METRICS}"})
    browser.get("/metrics", headers={"Authorization": f"Bearer {browser.canary('bad metrics token')}"})
    return token[0]


async def open_sockets(browser: Browser, tickets: list[str], import_id: str) -> None:
    address = f"ws://127.0.0.1:{browser.up.live_port}/ws/imports/{import_id}/"
    for ticket in tickets:
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"{address}?ticket={ticket}") as socket:
                await socket.recv()
    with contextlib.suppress(ConnectionClosed):
        headers = {"Authorization": f"Bearer {browser.canary('socket token')}"}
        async with connect(address, additional_headers=headers) as socket:
            await socket.send(browser.canary("frame"))
            await socket.recv()


def ask_in_every_way(browser: Browser) -> None:
    for path in ("/api/v1/products/", "/imports/", "/no/such/", "/files/", "/admin/products/product/", "/readyz"):
        browser.get(path, params={"search": browser.canary("search"), "token": browser.canary("query")})
    products = "/api/v1/products/"
    row = {"sku": "A-1", "name": browser.canary("name of a product"), "attributes": {"a": browser.canary("attribute")}}
    for body in (row, row, {**row, "sku": browser.canary("sku") * 9}, {**row, "price": browser.canary("surplus")}):
        browser.post(products, json=body)
    browser.post(products, json={"sku": "A-2", "name": [browser.canary("list")], "status": browser.canary("status")})
    browser.post(products, json={"sku": "A-3", "name": f"{browser.canary('nul')}\0"})
    browser.post(products, json={"sku": "A-3", "name": f"{browser.canary('surrogate')}\ud800"})
    json = {"Content-Type": "application/json", "Idempotency-Key": browser.canary("idempotency key")}
    browser.post(products, data=f'{{"sku": "{browser.canary("broken json")}', headers=json)
    browser.post(products, data=f'{{"sku": "{browser.canary("too large")}{"x" * 5_300_000}"}}', headers=json)
    browser.post("/products/new", json={"sku": browser.canary("original"), "name": ""})


FILES = {
    "good.csv": "sku,name\nB-1,{0} one\nB-2,{0} two\n",
    "rejected.csv": "sku,name,status\nC-1,,{0}\n,{0} two,active\nC-3,{0},perhaps\nC-4,{0},active,surplus {0}\n",
    "columns.csv": "{0},{0} too\n1,2\n",
    "twice.csv": "sku,name\nD-1,{0}\nd-1,{0} again\n",
    "broken.csv": 'sku,name\nE-1,"{0}\n',
    "binary.csv": "sku,name\nF-1,{0}\0\0\1\2\n",
    "book.xlsx": "PK\3\4{0} is no workbook",
    "notes.pdf": "%PDF-1.7 {0}",
}


def import_files(browser: Browser) -> list[str]:
    """The ids of the imports."""
    ids = []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{browser.canary('name in an archive')}.csv", f"sku,name\nG-1,{browser.canary('archive')}\n")
    files = {name: text.format(browser.canary(f"row of {name}")).encode("latin-1") for name, text in FILES.items()}
    for name, data in [*files.items(), ("packed.zip", packed.getvalue())]:
        for more in ({}, {"dry_run": "true"}):
            answer = browser.post("/api/v1/imports/", files={"file": (name, data)}, data=more)
            ids += [answer.json()["id"]] if answer.status_code == 202 else []
        browser.post("/api/v1/imports/mapping/", files={"file": (name, data)})
    name = base64.b64encode(b"uploaded.csv").decode()
    data = f"sku,name\nH-1,{browser.canary('uploaded row')}\n".encode()
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), "Upload-Metadata": f"filename {name}"}
    upload = browser.post("/files/", headers=tus).headers["Location"].removeprefix(browser.up.address)
    body = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    browser.patch(upload, data=data, headers={**body, "Upload-Offset": "5"})
    browser.patch(upload, data=data, headers=body)
    ids.append(browser.post("/api/v1/imports/", json={"upload": upload}).json()["id"])
    for each in ids:
        look_at(browser, f"/api/v1/imports/{each}/")
    return ids


def look_at(browser: Browser, import_: str) -> None:
    wait_until(lambda: settled(browser.get(import_).json()), f"the end of {import_}")
    for path in ("rejects/", "rejects.csv", "rejects/summary/", "changes/", "file/"):
        browser.get(import_ + path)
    browser.post(f"{import_}apply/")
    browser.post(f"{import_}undo/")


def settled(document: dict[str, Any]) -> bool:
    return document["state"] in ENDS or document["phase"] == "checked"


def set_webhooks_up(browser: Browser) -> None:
    hooks = "/api/v1/webhooks/"
    secret = "whsec_" + base64.b64encode(browser.canary("secret of a webhook").encode().ljust(32, b".")).decode()
    browser.canaries["secret as sent"] = secret
    receiver = f"http://127.0.0.1:9/hook?key={browser.canary('key in a URL')}"
    body: dict[str, Any] = {"url": receiver, "event_types": ["ping", "product.created"], "secret": secret}
    body["headers"] = {"x-key": browser.canary("header of a webhook")}
    made = browser.post(hooks, json=body)
    assert made.status_code == 201, made.text
    endpoint = f"{hooks}{made.json()['id']}/"
    browser.post(hooks, json={**body, "secret": browser.canary("weak secret")})
    browser.post(hooks, json={**body, "url": f"http://10.0.0.1/?key={browser.canary('key in a refused URL')}"})
    browser.post(hooks, json={**body, "url": f"ftp://me:{browser.canary('password in a URL')}@host/"})
    rotated = browser.post(f"{endpoint}rotate/", json={})
    browser.canaries["rotated secret"] = str(rotated.json().get("secret") or rotated.json())
    browser.post(f"{endpoint}test/", json={})
    browser.post("/api/v1/products/", json={"sku": "K-1", "name": browser.canary("told by webhook")})
    wait_until(lambda: browser.get("/api/v1/webhooks/attempts/").json()["results"], "an attempt")
    original = f"http://127.0.0.1:9/{browser.canary('original URL')}"
    browser.post("/webhooks/create", json={"url": original, "event_type": "product.created"})
    browser.put(f"/webhooks/update_by_id/{quote(original, safe='')}/inactive")
    browser.delete(f"/webhooks/del_by_url/{quote(original, safe='')}")


def use_the_admin(browser: Browser) -> None:
    new = browser.canary("password of bob")
    browser.form("/admin/accounts/user/add/", username="bob", password1=new, password2=new, usable_password="true")
    browser.form("/admin/password_change/", old_password=PASSWORD, new_password1=new, new_password2=f"{new}x")
    browser.form("/admin/products/product/add/", sku=browser.canary("sku in a form"), name="", attributes="{")
    browser.get("/admin/palette.json", params={"q": browser.canary("palette")})


def secrets_of(home: Path) -> dict[str, str]:
    """What the service keeps in files of its own: keys and passwords."""
    found = {
        path.name: path.read_text().strip() for path in home.glob("*") if path.is_file() and path.stat().st_size < 500
    }
    return {name: text for name, text in found.items() if "key" in name or "password" in name}


@pytest.mark.parametrize("path", ["/livez", "/static/favicon.svg", "/no/such/", "/api/v1/products/"])
def test_the_web_server_adds_nothing_that_helps_a_stranger(up: Up, path: str) -> None:
    answer = requests.get(up.address + path, timeout=20)

    assert {"X-Powered-By", "Access-Control-Allow-Origin", "Via"}.isdisjoint(answer.headers)
    assert answer.headers["Server"] == "granian"  # and no version
    assert is_strict(answer.headers["Content-Security-Policy"])


def test_the_live_server_gives_its_sentences_the_same_headers(up: Up) -> None:
    answers = [requests.get(f"http://127.0.0.1:{up.live_port}{path}", timeout=20) for path in ("/livez", "/admin/")]

    assert [answer.status_code for answer in answers] == [200, 404]
    assert [lacks(answer) for answer in answers] == [[], []]


def test_its_processes_write_below_its_home_alone(up: Up) -> None:
    """So that all else may be read-only: its code above all."""
    opened = {file.path for process in up.children() for file in process.open_files() if file.mode != "r"}

    assert opened
    assert [path for path in opened if not path.startswith((f"{up.home}/", "/dev/", "/memfd:"))] == []


def test_a_revoked_token_opens_nothing_from_then_on(up: Up) -> None:
    browser = Browser(up)
    assert browser.log_in().status_code == 302
    made = browser.form("/account/tokens/", name="shop", scopes=["read"]).text
    token, revoke = re.search(TOKEN, made), re.search(r'action="(/account/tokens/\d+/revoke/)"', made)
    assert token
    assert revoke
    program = {"Authorization": f"Bearer {token[0]}"}
    before = [requests.get(f"{up.address}/api/v1/products/", headers=program, timeout=20) for _ in range(5)]

    browser.post(revoke[1], data={"csrfmiddlewaretoken": browser.cookies["csrftoken"]})
    began = time.monotonic()
    after = requests.get(f"{up.address}/api/v1/products/", headers=program, timeout=20)

    assert {answer.status_code for answer in before} == {200}
    assert after.status_code == 401
    assert time.monotonic() - began < 1


def test_no_log_holds_a_secret_or_a_row(up: Up) -> None:
    browser = Browser(up)
    sign_in_and_out(browser)
    set_a_second_factor_up(browser)
    token = make_a_token(browser)
    use_the_admin(browser)
    browser.forget()
    browser.headers["Authorization"] = f"Bearer {token}"
    ask_in_every_way(browser)
    tickets = [browser.post("/api/v1/sockets/tickets/").json()["ticket"] for _ in range(2)]
    ids = import_files(browser)
    asyncio.run(open_sockets(browser, [*tickets, *tickets, browser.canary("bad ticket")], ids[0]))
    set_webhooks_up(browser)
    browser.get("/api/v1/products/control-of-this-test/")
    wait_until(lambda: "control-of-this-test" in up.output, "the log of the last request")
    canaries = browser.canaries | {f"ticket {each}": each for each in tickets} | secrets_of(up.home)

    leaks = {what: [line for line in up.lines if text in line][:2] for what, text in canaries.items()}

    assert len(ids) > 8
    assert {what: lines for what, lines in leaks.items() if lines} == {}
    told = {what for what, text in canaries.items() for body in browser.bodies if text in body}
    assert {what for what in told if SECRET.search(what)} == set()
