"""Exports from a real streaming replica: what was written before is in them, whatever the replica does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from common.tests.waiting import wait_until
from odata import backup
from odata.embedded import binaries
from odata.embedded.places import Places
from odata.embedded.postgres import Postgres
from odata.tests.running import fresh_folder, manage

PORTS = {"main": "5432", "replica": "5433"}
"""In the names of their sockets."""
OPTIONS = {"listen_addresses": "", "wal_level": "replica", "max_wal_senders": "3", "fsync": "off"}


class Servers:
    """PostgreSQL's own programs on folders of their own, as the user that may run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Postgres.at(Places(settings.ODATA_HOME))
        self.bin, self.account = programs.bin, programs.account
        os.chown(folder, self.account.uid, self.account.gid)

    def make(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd="/",
            env={"LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            **binaries.run_as(self.account),
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        places = {"unix_socket_directories": str(self.folder), "port": PORTS[name]}
        options = [f"--{key}={value}" for key, value in (OPTIONS | places).items()]
        process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.folder / name, *options],
            cwd="/",
            stderr=subprocess.DEVNULL,
            **binaries.run_as(self.account),
        )
        try:
            wait_until(lambda: self.answers(name), f"{name} answers", 20)
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def answers(self, name: str) -> bool:
        try:
            psycopg.connect(self.url(name, "postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, name: str, database: str = "odata") -> str:
        return f"postgresql://odata@/{database}?host={self.folder}&port={PORTS[name]}"


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Room for a server and its replica."""
    with fresh_folder() as folder:
        yield Servers(folder)


EXPORTS = """
import io, os, signal, sys, time
import django, psycopg
django.setup()
from django.conf import settings
from common import replica
from products.catalogue import create_product
from products.exporting import Export, write_csv

def exported():
    file, began = io.BytesIO(), time.monotonic()
    write_csv(Export.parse({"columns": "sku"}), file)
    return ",".join(file.getvalue().decode("utf-8-sig").split()[1:]), time.monotonic() - began < 5

def from_replica():
    session = replica.caught_up()
    if session is None:
        return False
    session.close()
    return True

control = psycopg.connect(sys.argv[1], autocommit=True)
create_product({"sku": "A", "name": "Lamp"}, actor=None)
print("running", *exported(), from_replica())
control.execute("SELECT pg_wal_replay_pause()")
patience, replica.CATCH_UP_SECONDS = replica.CATCH_UP_SECONDS, 0.5
create_product({"sku": "B", "name": "Lamp"}, actor=None)
print("paused", *exported(), from_replica())
control.execute("SELECT pg_wal_replay_resume()")
replica.CATCH_UP_SECONDS = patience
print("resumed", *exported(), from_replica())
control.close()
os.kill(int(sys.argv[2]), signal.SIGINT)
create_product({"sku": "C", "name": "Lamp"}, actor=None)
print("away", *exported(), from_replica())
"""


@pytest.mark.django_db
def test_an_export_is_read_from_the_replica_as_far_as_it_has_what_was_written(servers: Servers) -> None:
    with pair(servers) as replica:
        env = os.environ | {
            "DATABASE_URL": servers.url("main"),
            "DATABASE_REPLICA_URL": servers.url("replica"),
            "LOG_LEVEL": "ERROR",
        }
        done = subprocess.run(
            [sys.executable, "-c", EXPORTS, servers.url("replica"), str(replica.pid)],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.stdout.splitlines() == [
        "running A True True",
        "paused A,B True False",
        "resumed A,B True True",
        "away A,B,C True False",
    ], done.stderr


@pytest.mark.django_db
def test_a_restore_finds_the_server_that_can_be_written_to_among_those_of_the_url(
    servers: Servers, tmp_path: Path
) -> None:
    both = {"host": f"{servers.folder},{servers.folder}", "port": f"{PORTS['replica']},{PORTS['main']}"}
    url = f"postgresql://odata@/odata?host={both['host']}&port={both['port']}&target_session_attrs=read-write"
    with pair(servers):
        env = {**os.environ, "DATABASE_URL": url, "ODATA_HOME": str(tmp_path)}
        manage("migrate", "--fake", env=env)  # the tables are those of the tests
        saved = manage("backup", str(tmp_path / "saved"), env=env)
        restored = manage("restore", str(tmp_path / "saved"), "--replace", env=env)

    assert (saved.returncode, restored.returncode) == (0, 0), saved.stderr + restored.stderr


@contextmanager
def pair(servers: Servers) -> Iterator[subprocess.Popen[bytes]]:
    """A server with our tables and its replica; gives the replica."""
    servers.make("initdb", "-D", str(servers.folder / "main"), "-U", "odata", "--auth=trust", "--no-sync", "-E", "UTF8")
    with servers.running("main"):
        copy_tables(servers)
        backup_folder = str(servers.folder / "replica")
        server = str(servers.folder)
        servers.make("pg_basebackup", "-h", server, "-U", "odata", "-D", backup_folder, "-R", "-c", "fast", "--no-sync")
        with servers.running("replica") as replica:
            yield replica


def copy_tables(servers: Servers) -> None:
    """The tables of this test's database, without their rows."""
    servers.make("createdb", "-h", str(servers.folder), "-U", "odata", "odata")
    params: dict[str, Any] = connection.get_connection_params()
    source = [f"--{name}={params[name]}" for name in ("host", "port") if params.get(name)]
    login = [f"--username={params['user']}", f"--dbname={params['dbname']}"]
    env = os.environ | ({"PGPASSWORD": params["password"]} if params.get("password") else {})
    dump = subprocess.run(
        [backup._program("pg_dump"), "--schema-only", "--no-owner", *source, *login],
        env=env,
        capture_output=True,
        check=True,
    )
    with psycopg.connect(servers.url("main"), autocommit=True) as target:
        sql = "\n".join(line for line in dump.stdout.decode().splitlines() if not line.startswith("\\"))
        target.execute(sql)
