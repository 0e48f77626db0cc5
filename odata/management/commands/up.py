"""`manage.py up`: the whole service on one machine, from nothing to a catalogue with products."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import requests
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, OperationalError, connection

from accounts.setup import ensure_admin, setup_link
from common.errors import InvalidInputError
from odata import preflight, sample
from odata.addresses import local_address, local_headers, local_host, public_address
from odata.embedded.errors import StartError
from odata.embedded.servers import start_servers
from odata.embedded.supervisor import Supervisor, await_ready
from odata.processes import processes
from odata.terminal import Terminal
from products.models import Import, Product

READY_SECONDS = 90
OTHERS_SECONDS = 60
"""How long a database or queue that is not ours may take to answer."""

MIGRATION_LOCK = 0x6F6D6967


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; no Exception, so that nothing takes it for an error."""


class Command(BaseCommand):
    help = "Run the whole service on this machine: database, queue, web, live, workers and beat."
    requires_system_checks = ()  # `check_settings` words the same checks as sentences

    def handle(self, **options: Any) -> None:
        self.terminal = Terminal()
        self.supervisor = Supervisor(self.terminal.write)
        self.sample_token: sample.SampleToken | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        self.stopping = False
        try:
            self.run()
        except StopRequested:
            pass
        except (StartError, InvalidInputError) as error:
            self.stderr.write(str(error))
            sys.exit(1)
        except OSError as error:
            self.stderr.write(f"{error.strerror or error}: {error.filename or settings.ODATA_HOME}.")
            sys.exit(1)

    def on_signal(self, number: int, frame: object) -> None:
        """The first asks for an orderly stop; the next ones for a quick one."""
        if self.stopping:
            self.supervisor.in_a_hurry = True
            return
        self.stopping = True
        raise StopRequested

    def run(self) -> None:
        """The whole story. Raises StartError for what the person at the terminal can put right."""
        check_settings()
        os.umask(0o077)
        with preflight.claim(settings.PLACES) as claim:
            self.look_around(claim)
            try:
                self.start_stores()
                migrate()
                self.make_administrator()
                self.start_processes()
                self.welcome()
                self.supervisor.run()
            finally:
                self.stop()

    def look_around(self, claim: preflight.Claim) -> None:
        env = settings.ENV
        preflight.check_port(env["HOST"], env["PORT"], "PORT", patient=claim.after_crash)
        preflight.check_port(env["HOST"], env["LIVE_PORT"], "LIVE_PORT", patient=claim.after_crash)
        preflight.check_disk(settings.ODATA_HOME)
        preflight.check_reachable(settings.PLACES)
        preflight.allow_many_files()

    def start_stores(self) -> None:
        """PostgreSQL and Valkey: our own, or wait for the ones that the settings name."""
        places = settings.PLACES
        ours = settings.EMBEDDED_POSTGRES or settings.EMBEDDED_VALKEY
        if ours and places.servers != places.home:
            self.terminal.write(
                f"{places.home} is closed to other users, so database and queue are kept in {places.servers}."
            )
        if ours:
            start_servers(self.supervisor, places, postgres=settings.EMBEDDED_POSTGRES, valkey=settings.EMBEDDED_VALKEY)
        if not settings.EMBEDDED_POSTGRES:
            await_other("DATABASE_URL", ask_database, self.terminal.write)
        if not settings.EMBEDDED_VALKEY:
            await_other("REDIS_URL", ask_queue, self.terminal.write)

    def make_administrator(self) -> None:
        """From the settings, if they name one and there is none yet."""
        username, password = settings.ENV["ADMIN_USERNAME"], settings.ENV["ADMIN_PASSWORD"]
        if username and password:
            if ensure_admin(username, password):
                self.terminal.write(f"Administrator {username} made.")
        elif username:
            raise StartError("ADMIN_USERNAME is set without a password: set ADMIN_PASSWORD or ADMIN_PASSWORD_FILE too.")

    def start_processes(self) -> None:
        env = settings.ENV
        coloured = env["LOG_FORMAT"] == "auto" and self.terminal.console.is_terminal
        common = {"LOG_FORMAT": "console"} if coloured else {}
        connection.close()
        for process in processes(
            host=env["HOST"],
            port=env["PORT"],
            live_port=settings.LIVE_PORT,
            web_workers=env["WEB_WORKERS"],
            web_threads=env["WEB_THREADS"],
            drain_seconds=env["DRAIN_SECONDS"],
        ):
            self.supervisor.start(process.program(settings.BASE_DIR, common))
        await_ready(self.supervisor.children["web"], web_answers, seconds=READY_SECONDS)
        await_ready(self.supervisor.children["live"], live_answers, seconds=READY_SECONDS)

    def welcome(self) -> None:
        address = public_address()
        write = self.terminal.write
        write("")
        write(f"OData Backend is running at {address}/")
        if link := setup_link(address):
            write(f"Make the first administrator here (works once, for 24 hours): {link}")
        write("Stop it with Ctrl-C.")
        write("")
        rows = settings.ENV["SAMPLE"]
        if rows and not Product.objects.exists() and not Import.objects.exists():
            self.sample_token = sample.SampleToken.issue()
            threading.Thread(target=self.import_sample, args=(self.sample_token, rows), daemon=True).start()
        connection.close()

    def import_sample(self, token: sample.SampleToken, rows: int) -> None:
        """In a thread beside the supervisor: whatever goes wrong here, the service stays up."""
        client = sample.Client(local_address(), token.secret, local_headers())
        self.terminal.write(f"The catalogue is empty: importing a sample of {rows:,} rows (SAMPLE=0 for none) ...")
        try:
            with self.terminal.import_bar() as show:
                document, seconds = sample.import_sample(client, settings.ODATA_HOME, rows, show)
            self.report(document, seconds)
        except sample.SampleError as error:
            if not self.stopping:
                self.terminal.write(f"The sample was not imported: {error}")
        finally:
            if not self.stopping:
                self.revoke_sample_token()
                connection.close()

    def report(self, document: dict[str, Any], seconds: float) -> None:
        page = f"{public_address()}/imports/{document['id']}/"
        if document["state"] != "SUCCESS":
            self.terminal.write(f"The sample import ended as {document['state']}: {document['error']}. See {page}")
            return
        rows = document["rows_read"]
        self.terminal.write(f"{rows:,} rows imported in {seconds:.1f} s ({rows / seconds:,.0f} rows/s): {page}")

    def revoke_sample_token(self) -> None:
        """It ends by itself within the hour; where the database still answers, now."""
        token, self.sample_token = self.sample_token, None
        if token:
            with contextlib.suppress(DatabaseError):
                token.revoke()

    def stop(self) -> None:
        self.stopping = True
        if self.supervisor.children:
            self.terminal.write("Stopping ...")
        self.revoke_sample_token()
        connection.close()
        self.supervisor.stop_all()


def check_settings() -> None:
    """Raise StartError with the first of the errors that `manage.py check` lists."""
    # Django runs its checks in no fixed order. Ours know the settings by the names that people set.
    for message in sorted(run_checks(), key=lambda message: not (message.id or "").startswith("odata.")):
        if message.is_serious():
            raise StartError(f"{message.msg} {message.hint or ''}".strip())


def migrate() -> None:
    """Bring the tables up to date; of several that start at once, one does and the others wait."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            cursor.execute("RESET lock_timeout")
            call_command("migrate", verbosity=0, interactive=False)
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
    except DatabaseError as error:
        raise StartError(f"The tables could not be brought up to date: {first_line(error)}") from error


def await_other(setting: str, ask: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Wait for a server that somebody else runs. Raises StartError with what it, or the network, says."""
    deadline = time.monotonic() + OTHERS_SECONDS
    told = False
    while True:
        try:
            ask()
            return
        except (OperationalError, redis.RedisError) as error:
            if time.monotonic() > deadline:
                raise StartError(f"The server of {setting} does not answer: {first_line(error)}") from None
            if not told:
                tell(f"Waiting for the server of {setting}, {OTHERS_SECONDS} s at most: {first_line(error)}")
                told = True
            time.sleep(0.5)


def ask_database() -> None:
    connection.ensure_connection()


def ask_queue() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, **settings.REDIS_TIMEOUTS) as client:
        client.ping()


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def web_answers() -> bool:
    session = requests.Session()
    session.trust_env = False
    try:
        return session.get(f"{local_address()}/livez", headers=local_headers(), timeout=5).ok
    except requests.RequestException:
        return False


def live_answers() -> bool:
    try:
        socket.create_connection((local_host().strip("[]"), settings.LIVE_PORT), timeout=2).close()
    except OSError:
        return False
    return True
