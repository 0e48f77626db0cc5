"""A browser in front of the real web and live servers, with nothing tolerated that a page should not do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from django.db import connection
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
START_SECONDS = 30


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Debian's Chromium rather than a download of playwright's own."""
    if not CHROMIUM:
        pytest.skip("No Chromium here, so no page was opened: install it, or name its program in CHROMIUM.")
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-sync", *quiet]}


class Server:
    """A server process on a free port of this machine."""

    def __init__(self, *command: str, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self.port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._command],
            cwd=ROOT,
            env={**os.environ, **self._environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.port):
            assert self._process.poll() is None, f"{self._command} ended at once"
            assert time.monotonic() < deadline, f"{self._command} does not listen after {START_SECONDS} s"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def close(self) -> None:
        self.stop()
        self._log.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Service:
    """The web and the live server on the database of the tests."""

    def __init__(self, logs: Path) -> None:
        environment = {"DATABASE_URL": database_url()}
        self.live = Server(
            *("daphne", "-b", "127.0.0.1", "-p", "{port}", "odata.asgi:application"),
            environment=environment,
            log=logs / "live.log",
        )
        self.web = Server(
            *("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "odata.wsgi:application"),
            environment={**environment, "LIVE_PORT": str(self.live.port)},
            log=logs / "web.log",
        )
        self.url = f"http://127.0.0.1:{self.web.port}"
        self.live_url = f"ws://127.0.0.1:{self.live.port}"

    def start(self) -> None:
        self.live.start()
        self.web.start()

    def stop(self) -> None:
        self.web.close()
        self.live.close()


def database_url() -> str:
    """The tests' database, for other processes."""
    told = connection.get_connection_params()
    person = quote(told.get("user", ""), safe="")
    if told.get("password"):
        person += ":" + quote(told["password"], safe="")
    where = {name: told[name] for name in ("host", "port", "sslmode") if told.get(name)}
    return f"postgresql://{person}@/{told['dbname']}?{urlencode(where)}"


@pytest.fixture(scope="session")
def service(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("servers"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session", autouse=True)
def _allow_the_database_beside_playwright() -> None:
    """Playwright's synchronous face keeps an event loop in this thread, which Django takes for async code."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


class Complaints(list[str]):
    """What a page did that it should not: errors in the console, refusals of its policy, foreign hosts."""

    def __init__(self, own: set[str]) -> None:
        super().__init__()
        self._own = own
        self.tolerated: tuple[str, ...] = ()

    def watch(self, page: Page) -> Page:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.append(f"script failed: {error}"))
        page.on("request", self._request)
        page.on("websocket", lambda opened: self._host(opened.url))
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in self.tolerated):
            self.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        self._host(request.url)

    def _host(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc not in self._own:
            self.append(f"foreign request: {url}")


@pytest.fixture
def complaints(service: Service) -> Iterator[Complaints]:
    """Empty at the end of each story; a refusal by the Content-Security-Policy is an error in the console."""
    found = Complaints({urlsplit(service.url).netloc, urlsplit(service.live_url).netloc})
    yield found
    assert found == []


@pytest.fixture(scope="session")
def base_url(service: Service) -> str:
    return service.url


@pytest.fixture
def tab(context: BrowserContext, complaints: Complaints) -> Page:
    """A page of the service, watched."""
    return complaints.watch(context.new_page())
