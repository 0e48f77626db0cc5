"""Web servers behind a real PgBouncer in transaction mode, with the file that docs/operations.md gives."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.conf import settings
from django.db import connection
from psycopg.rows import dict_row

from accounts.models import User
from accounts.tests.people import token_of
from common.tests.addresses import free_port
from common.tests.waiting import wait_until
from odata.tests.running import fresh_folder
from products.importing import stager
from products.models import Import
from products.tests.importing.imports import numbered, run
from products.tests.web_server import WebServer, running

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
SESSIONS = 2
"""So few that requests at the same time get each other's."""

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not PROGRAM, reason="pgbouncer is not installed here (Debian: apt install pgbouncer)"),
]


@dataclass
class Pooled:
    web: WebServer
    pooler: str
    """Its address, for psycopg."""

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.web.token}", **options.pop("headers", {})}
        return requests.request(
            method, f"http://127.0.0.1:{self.web.port}{path}", headers=headers, timeout=30, **options
        )


@pytest.fixture
def pooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pooled]:
    """A web server of four threads whose requests share two sessions of PostgreSQL."""
    port = free_port()
    with fresh_folder() as folder:
        process = start(folder, port)
        try:
            url = f"postgresql://{connection.settings_dict['USER']}@127.0.0.1:{port}/odata"
            wait_until(lambda: accepts(url), "PgBouncer accepts connections", 10)
            monkeypatch.setenv("DATABASE_POOLER_URL", url)
            with running(tmp_path) as web:
                yield Pooled(web, url)
        finally:
            process.terminate()
            process.wait(10)
    Import.objects.update(staged_attempt=None, state=Import.State.CANCELLED)
    stager.drop_abandoned()


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """PgBouncer with our file: only where things are, who may come in and how many there are differ."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(settings.BASE_DIR / "deploy" / "pgbouncer.ini")
    connection.ensure_connection()
    server = connection.connection.info
    guards = config["databases"]["odata"].partition("connect_query=")[2]
    login = f" password={server.password}" if server.password else ""
    config["databases"]["odata"] = (
        f"host={server.host} port={server.port} dbname={server.dbname} user={server.user}{login} connect_query={guards}"
    )
    config["pgbouncer"].update(
        {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "admin_users": server.user,
            "default_pool_size": str(SESSIONS),
        }
    )
    del config["pgbouncer"]["auth_file"]
    path = folder / "pgbouncer.ini"
    with path.open("w") as file:
        config.write(file)
    path.chmod(0o644)
    as_whom = ["--user", "nobody"] if os.geteuid() == 0 else []
    assert PROGRAM
    return subprocess.Popen([PROGRAM, *as_whom, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


def test_its_sessions_have_the_guards_that_a_web_server_would_give_them(pooled: Pooled) -> None:
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    with psycopg.connect(pooled.pooler, autocommit=True) as through:
        found = [through.execute(f"SHOW {name}").fetchone() for name in names]

    assert found == [("15s",), ("5s",), ("1min",)]
    assert settings.ENV["WEB_STATEMENT_TIMEOUT"] == 15


def test_imports_reads_writes_and_exports_go_through_it(pooled: Pooled) -> None:
    _, pooled.web.token = token_of(User.objects.get(username="ada"), "read", "write", "import")
    bad = "".join(f"B-{number},\n" for number in range(1_200))

    answer = pooled.call(
        "POST", "/api/v1/imports/?max_rejects=100%25", data=numbered(500) + bad, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text
    done = run(Import.objects.get(pk=answer.json()["id"]))  # as a worker, without the pooler
    assert (done.rows_created, done.rows_rejected) == (500, 1_200)

    assert pooled.call("GET", "/readyz").json()["checks"]["database"]["state"] == "ok"
    rejects = pooled.call("GET", f"/api/v1/imports/{done.pk}/rejects.csv")
    assert len(rejects.text.splitlines()) == 1_201
    exported = pooled.call("GET", "/api/v1/products/export.csv")
    assert exported.status_code == 200 and len(exported.text.splitlines()) == 501, exported.text[:300]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: work(pooled, number), range(60)))
    assert set(answers) <= {200, 201}, answers
    assert transactions(pooled) > 100


def transactions(pooled: Pooled) -> int:
    """How many PgBouncer has passed on to the database."""
    console = pooled.pooler.removesuffix("/odata") + "/pgbouncer"
    with psycopg.connect(console, autocommit=True, row_factory=dict_row) as through:
        rows: list[dict[str, Any]] = through.execute("SHOW STATS").fetchall()
    return sum(int(row["total_xact_count"]) for row in rows if row["database"] == "odata")


def work(pooled: Pooled, number: int) -> int:
    """One of several kinds of requests, some with transactions of their own."""
    if number % 3 == 0:
        return pooled.call("POST", "/api/v1/products/", json={"sku": f"NEW-{number}", "name": "New"}).status_code
    if number % 3 == 1:
        return pooled.call("GET", f"/api/v1/products/?search=Lamp&page_size={number}").status_code
    return pooled.call("GET", f"/api/v1/products/SKU-{number:06d}/").status_code
