"""A browser in front of the real web and live servers, with nothing tolerated that a page should not do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

from common.tests.addresses import database_url, free_port, listens
from common.tests.waiting import wait_until

if TYPE_CHECKING:
    from accounts.models import User
    from products.models import Import

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
START_SECONDS = 30
PASSWORD = "a long password"
"""Everybody's."""

expect.set_options(timeout=20_000)  # ms: several browsers share the processors


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Debian's Chromium rather than a download of playwright's own."""
    if not CHROMIUM:
        pytest.skip("No Chromium here, so no page was opened: install it, or name its program in CHROMIUM.")
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-sync", *quiet]}


class Program:
    """A process of the service, with a group of its own so that all of it can be killed."""

    def __init__(self, *command: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._out = log.open("ab")
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        self._before = self.log.stat().st_size
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._command],
            cwd=ROOT,
            env={**os.environ, **self._environment},
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def await_ready(self) -> None:
        process = self._process
        assert process
        wait_until(lambda: self.ready() or process.poll() is not None, f"{self._command} is ready", START_SECONDS)
        assert process.poll() is None, f"{self._command} ended at once"

    def ready(self) -> bool:
        """Whether it has said so since it was started."""
        return b" ready." in self.log.read_bytes()[self._before :]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def kill(self) -> None:
        """At once, with its children, and nothing said."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        self.stop()
        self._out.close()


class Server(Program):
    """One that listens on a free port of this machine."""

    def __init__(self, *command: str, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        super().__init__(*(part.format(port=self.port) for part in command), environment=environment, log=log)

    def ready(self) -> bool:
        return listens(self.port)


class Service:
    """The web and the live server and the worker of imports, on the database and the files of the tests. Nothing
    sweeps but the tests themselves."""

    def __init__(self, logs: Path) -> None:
        environment = {"DATABASE_URL": database_url(), "IMPORT_LEASE_SECONDS": "2", "LOG_LEVEL": "INFO"}
        self.receiver_port = free_port()
        environment |= {"WEBHOOK_ALLOWED_CIDRS": "127.0.0.0/8", "WEBHOOK_ALLOWED_PORTS": str(self.receiver_port)}
        self.live = Server(
            *("daphne", "-b", "127.0.0.1", "-p", "{port}", "odata.asgi:application"),
            environment={**environment, "ODATA_PROCESS": "live"},
            log=logs / "live.log",
        )
        self.web = Server(
            *("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "odata.wsgi:application"),
            environment={**environment, "ODATA_PROCESS": "web", "LIVE_PORT": str(self.live.port)},
            log=logs / "web.log",
        )
        self.worker = Program(
            *("celery", "-A", "odata", "worker", "--without-gossip", "--without-mingle", "-Q", "imports", "-c", "1"),
            *("-n", "browser@%h"),
            environment={**environment, "ODATA_PROCESS": "worker-imports"},
            log=logs / "worker.log",
        )
        self.url = f"http://127.0.0.1:{self.web.port}"
        self.live_url = f"ws://127.0.0.1:{self.live.port}"

    @property
    def programs(self) -> tuple[Program, ...]:
        return self.live, self.web, self.worker

    def start(self) -> None:
        for program in self.programs:
            program.launch()
        for program in self.programs:
            program.await_ready()

    def stop(self) -> None:
        for program in self.programs:
            program.close()


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


@pytest.fixture(scope="session", autouse=True)
def _empty_the_database_patiently(django_db_setup: None) -> Iterator[None]:
    """The servers go on using the database while it is emptied after each story. Where the two wait for each other
    PostgreSQL ends one of them, and an import that still runs holds the tables until its commit: if it is the emptying
    that has to give way, it is done again."""
    from django.core.management import CommandError
    from django.db import OperationalError
    from django.test import TransactionTestCase

    name = "_fixture_teardown"
    empty = getattr(TransactionTestCase, name)

    def patiently(case: Any) -> None:
        for last_try in [False] * 9 + [True]:
            try:
                empty(case)
                return
            except (OperationalError, CommandError) as error:
                why = f"{error} {error.__cause__}"
                if last_try or not any(words in why for words in ("deadlock", "lock timeout")):
                    raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, name, patiently)
        yield


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


# --- people (Django is not set up yet when this file is read) -----------------------------------


@pytest.fixture
def alice(db: None) -> User:
    """Somebody who may import."""
    from django.contrib.auth.models import Permission

    from accounts.models import User

    user = User.objects.create_user("alice", password=PASSWORD)
    user.user_permissions.set(Permission.objects.filter(codename="add_import"))
    return user


def log_in(tab: Page, user: User, then: str) -> None:
    """By the page for it, as people do; then they are where they wanted to go."""
    tab.goto(f"/login/?next={then}")
    tab.get_by_label("Username").fill(user.get_username())
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name=re.compile("log in|sign in", re.IGNORECASE)).click()
    tab.wait_for_url(f"**{then}")


def sign_in(context: BrowserContext, service: Service, user: User) -> None:
    """As if they had logged in a moment ago."""
    from django.test import Client

    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": service.url}])


def log_in_elsewhere(tab: Page, user: User) -> None:
    """The session of this tab ends, and the same person logs in in another one."""
    end_session(tab)
    other = tab.context.new_page()
    log_in(other, user, "/imports/")
    other.close()


def end_session(tab: Page) -> None:
    tab.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)


# --- what the worker makes of it ------------------------------------------------------------------


def ended(import_: Import, state: str = "SUCCESS") -> Import:
    """The import when the service's worker is through with it."""

    def is_over() -> bool:
        import_.refresh_from_db()
        return import_.finished

    wait_until(is_over, f"the end of {import_.file_name}", 20)
    assert import_.state == state, (import_.state, import_.error_message)
    return import_


# --- accessibility -----------------------------------------------------------------------------

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")


def no_serious_findings(page: Page) -> None:
    """Have axe-core look at the page as it is: WCAG 2.2 A and AA, and its best practices."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))  # by the debugger, which no policy of the page hinders
    # Without preload: what axe makes of imported style sheets our policy would refuse, and count against the page.
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations'], preload: false})")
    told = [
        f"{rule['id']}: {rule['help']} at {node['target']}: {node.get('failureSummary', '')}"
        for rule in found["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
    assert told == [], f"{page.url}\n" + "\n".join(told)


def no_sideways_scrolling(page: Page) -> None:
    """The page fits its window; what is wider scrolls in a box of its own."""
    too_wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, f"{page.url} is {too_wide} px too wide"


def heading_in_sight(page: Page) -> None:
    """Nothing lies over the page's heading."""
    over = page.evaluate("""() => {
        const heading = document.querySelector("h1");
        const { left, bottom } = heading.getBoundingClientRect();
        const found = document.elementFromPoint(left + 4, bottom - 3);
        return heading.contains(found) ? null : found?.outerHTML.slice(0, 200);
    }""")
    assert over is None, f"{page.url}: over its heading lies {over}"
