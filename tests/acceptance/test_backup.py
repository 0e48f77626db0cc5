"""Backup and restore: from the embedded database to a server named by DATABASE_URL, and back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from odata.tests.running import fresh_folder, manage
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import changes, first_file
from tests.acceptance.service import Service


@pytest.fixture
def other() -> Iterator[Service]:
    """Another machine, with servers of its own and an empty database."""
    from odata.embedded.servers import start_servers

    with fresh_folder() as folder:
        service = Service(folder / "home")
        start_servers(service.supervisor, service.places, durable=False)
        (service.places.home / "tmp").mkdir(mode=0o700)
        try:
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
    import os

    return {**os.environ, **service.env}


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
