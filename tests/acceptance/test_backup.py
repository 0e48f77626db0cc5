"""Backup and restore: from the embedded database to a server named by DATABASE_URL, and back."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row

from common.tests.addresses import free_port
from common.tests.waiting import wait_until
from odata.embedded.servers import start_servers
from odata.tests.running import fresh_folder, manage
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import changes, first_file
from tests.acceptance.service import Service


class RealServer(Service):
    """A machine whose PostgreSQL is one of the operator's: it is reached by TCP, with a password."""

    password = "p/ss w@rd"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.database_port = free_port()
        self.env["DATABASE_URL"] = f"postgresql://odata:{quote(self.password, safe='')}@{self.address}/odata"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.database_port}"

    def start_servers(self) -> None:
        start_servers(self.supervisor, self.places, durable=False)
        with super().connect() as connection:
            connection.execute(f"ALTER ROLE odata PASSWORD '{self.password}'")
        program = self.supervisor.children["postgres"].program
        self.supervisor.stop("postgres")
        with (self.places.postgres_data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 127.0.0.1/32 scram-sha-256\n")
        more = ("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.database_port}")
        self.supervisor.start(replace(program, command=(*program.command, *more)))
        wait_until(self.answers, "the server answers", 20)

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.connect().close()
            return True
        return False

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(self.env["DATABASE_URL"], autocommit=autocommit, row_factory=dict_row)


@pytest.fixture
def other() -> Iterator[Service]:
    """Another machine, with servers of its own and an empty database."""
    with fresh_folder() as folder:
        service = RealServer(folder / "home")
        try:
            service.start_servers()
            (service.places.home / "tmp").mkdir(mode=0o700)
            yield service
        finally:
            service.stop_all()


def run(service: Service, *arguments: str) -> str:
    """A command on this service's machine; its words."""
    done = manage(*arguments, env=environment(service))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(service: Service, *arguments: str) -> str:
    done = manage(*arguments, env=environment(service))
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def environment(service: Service) -> dict[str, str]:
    embedded = {} if isinstance(service, RealServer) else {"DATABASE_URL": "", "REDIS_URL": ""}
    return {**os.environ, **service.env, **embedded}


def test_a_backup_is_restored_elsewhere_and_back_and_its_import_can_be_undone(
    service: Service, other: Service, tmp_path: Path
) -> None:
    service.import_(first_file())
    done = service.import_(changes("red"))
    products = "SELECT * FROM products_product ORDER BY id"
    before, files = service.query(products), service.stored_files()
    there, back = str(tmp_path / "there.odata"), str(tmp_path / "back.odata")

    run(service, "backup", there)
    run(other, "restore", there)
    assert other.query(products) == before
    assert other.stored_files() == files
    run(other, "backup", back)
    service.stop_processes()
    try:
        assert "is not empty" in refusal(service, "restore", back)
        run(service, "restore", "--replace", back)
    finally:
        service.make_whole()

    assert service.query(products) == before
    assert service.stored_files() == files
    assert_whole(service)
    undo = service.undo(done)
    assert service.await_end(undo)["state"] == "SUCCESS"
    assert_whole(service)


def test_a_service_that_runs_is_not_restored_over(service: Service, tmp_path: Path) -> None:
    file = str(tmp_path / "backup.odata")
    run(service, "backup", file)

    assert "The service is running" in refusal(service, "restore", "--replace", file)
    assert "is there already" in refusal(service, "backup", file)


def test_a_damaged_or_newer_backup_is_refused_and_nothing_is_changed(
    service: Service, other: Service, tmp_path: Path
) -> None:
    service.import_(first_file())
    good = tmp_path / "good.odata"
    run(service, "backup", str(good))
    cut = tmp_path / "cut.odata"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    flipped = tmp_path / "flipped.odata"
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    no_backup = tmp_path / "products.csv"
    no_backup.write_text("sku,name\nA,B\n" * 1000)

    assert "nothing to back up" in refusal(other, "backup", str(tmp_path / "nothing.odata"))
    assert "is cut off" in refusal(other, "restore", str(cut)) or "is damaged" in refusal(other, "restore", str(cut))
    assert "is damaged" in refusal(other, "restore", str(flipped))
    assert "is no backup" in refusal(other, "restore", str(no_backup))
    newer = rewritten(good, tmp_path / "newer.odata", migrations=[["products", "9999_from_the_future"]])
    assert "newer version of this service" in refusal(other, "restore", str(newer))
    major = rewritten(good, tmp_path / "major.odata", postgres_major=99)
    assert "is of PostgreSQL 99" in refusal(other, "restore", str(major))
    assert other.query("SELECT to_regclass('products_product') AS it") == [{"it": None}]


def rewritten(source: Path, target: Path, **changes: object) -> Path:
    """The backup with another manifest, whose checksum is right."""
    import hashlib
    import io

    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        content = {member.name: old.extractfile(member).read() for member in old}  # type: ignore[union-attr]
        content["manifest.json"] = json.dumps(json.loads(content["manifest.json"]) | changes).encode()
        sums = json.loads(content["checksums.json"])
        sums["manifest.json"] = hashlib.sha256(content["manifest.json"]).hexdigest()
        content["checksums.json"] = json.dumps(sums).encode()
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    return target
