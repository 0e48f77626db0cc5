"""Taking a file in: all of it, and all that is known of it, or nothing."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from pytest_django import Settings

from accounts.models import User
from common.errors import NoSpaceError, TooLargeError
from products.importing import receiver
from products.importing.options import ImportOptions
from products.models import Import
from products.tests.importing.imports import Counts, counts, imported, numbered, received, run, stored_text


class ObjectStore(FileSystemStorage):
    """A store like S3: it has no paths, and reads what it is to keep."""

    def path(self, name: str) -> str:
        raise NotImplementedError

    def _save(self, name: str, content: object) -> str:
        target = self._place(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while piece := content.read(7):  # type: ignore[attr-defined]
                file.write(piece)
        return name

    def _open(self, name: str, mode: str = "rb") -> object:
        return File(self._place(name).open(mode))

    def exists(self, name: str) -> bool:
        return self._place(name).exists()

    def delete(self, name: str) -> None:
        self._place(name).unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return Path(self.location) / name


pytestmark = pytest.mark.django_db


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def receive(chunks: Iterator[bytes], max_bytes: int | None = None) -> Import:
    return receiver.receive(chunks, file_name="a.csv", options=ImportOptions(), user=None, max_bytes=max_bytes)


def test_it_keeps_the_file_and_all_that_is_known_of_it(file_store: Path) -> None:
    ada = User.objects.create_user("ada")
    options = ImportOptions(mode="update", on_error="abort", max_rejects="5%")

    import_ = receiver.receive(iter([b"sku,", b"", b"name\n"]), file_name="my lamps.csv", options=options, user=ada)

    import_.refresh_from_db()
    assert (import_.state, import_.phase, import_.attempt) == ("PENDING", "queued", 0)
    assert stored_text(import_) == b"sku,name\n"
    assert import_.bytes_total == 9
    assert import_.sha256 == hashlib.sha256(b"sku,name\n").hexdigest()
    assert (import_.file_name, import_.created_by) == ("my lamps.csv", ada)
    assert (import_.mode, import_.on_error, import_.max_rejects) == ("update", "abort", "5%")
    assert files_in(file_store) == [file_store / "imports" / f"{import_.pk}.csv"]


def test_nobody_else_can_read_the_file(file_store: Path) -> None:
    import_ = received("sku\n")

    file = file_store / import_.stored_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_file_of_no_bytes_is_taken_in_and_judged_later() -> None:
    assert received(b"").bytes_total == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\lamps\\autumn.csv", "autumn.csv"),
        ("a\r\nSet-Cookie: b\x00.csv", "aSet-Cookie: b.csv"),
        ("Größe – 灯.csv", "Größe – 灯.csv"),
        ("<img src=x>.csv", "<img src=x>.csv"),
        ("broken\udcff.csv", "broken.csv"),
        ("x" * 300, "x" * 255),
        ("folder/", "unnamed.csv"),
        ("", "unnamed.csv"),
    ],
)
def test_the_name_of_a_file_is_data_and_never_a_path(file_store: Path, given: str, kept: str) -> None:
    import_ = receiver.receive([b"sku\n"], file_name=given, options=ImportOptions(), user=None)

    import_.refresh_from_db()
    assert import_.file_name == kept
    assert files_in(file_store) == [file_store / "imports" / f"{import_.pk}.csv"]


def test_a_file_that_is_too_large_is_not_kept(file_store: Path) -> None:
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(10)
            yield b"x" * 10

    with pytest.raises(TooLargeError, match="The file is larger than 1,000 bytes") as caught:
        receive(endless(), max_bytes=1_000)

    assert caught.value.status == 413
    assert sum(taken) == 1_010
    assert files_in(file_store) == []
    assert not Import.objects.exists()


def test_a_file_of_the_largest_size_is_taken() -> None:
    assert receive(iter([b"x" * 999, b"x"]), max_bytes=1_000).bytes_total == 1_000


def test_a_sender_that_breaks_off_leaves_nothing(file_store: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"sku,name\n"
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        receive(broken())

    assert files_in(file_store) == []
    assert not Import.objects.exists()


@pytest.fixture
def small_disk(file_store: Path) -> Iterator[Path]:
    """A file store of one megabyte."""
    file_store.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(file_store)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be made by root")
    yield file_store
    subprocess.run(["umount", str(file_store)], check=True)


def test_a_full_disk_is_said_so_and_nothing_is_kept(small_disk: Path) -> None:
    with pytest.raises(NoSpaceError, match="There is no room for the file on this server") as caught:
        receive(iter([b"x" * 300_000] * 10))

    assert caught.value.status == 507
    assert files_in(small_disk) == []
    assert not Import.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_store_without_paths_will_do(settings: Settings, tmp_path: Path) -> None:
    backend = f"{__name__}.{ObjectStore.__name__}"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": {"location": tmp_path}}}

    good = received(numbered(3))
    assert stored_text(good) == numbered(3).encode()
    assert counts(run(good)) == Counts(read=3, created=3)

    bad = imported("name\nLamp\n")
    assert (bad.state, bad.stored_file) == ("FAILURE", f"errors/{bad.pk}.csv")
    assert stored_text(bad) == b"name\nLamp\n"
    assert files_in(tmp_path / "imports") == [tmp_path / good.stored_file]


# --- files that nobody knows of ----------------------------------------------------------------


def test_old_files_without_an_import_are_removed_and_no_others(file_store: Path) -> None:
    known, failed = received(numbered(1)), received(numbered(2))
    receiver.set_failed_file_aside(failed)
    orphan, arriving = file_store / "imports" / "orphan.csv", file_store / "imports" / "arriving.csv"
    orphan.touch()
    for path in files_in(file_store):
        os.utime(path, (0, 0))
    arriving.touch()

    receiver.remove_orphans()

    aside = file_store / "errors" / f"{failed.pk}.csv"
    assert set(files_in(file_store)) == {file_store / known.stored_file, aside, arriving}


def test_a_file_that_goes_while_the_folder_is_looked_through_keeps_no_other_there(file_store: Path) -> None:
    received(numbered(1))
    folder = file_store / "imports"
    orphans = [folder / f"{number}.csv" for number in range(9)]
    for orphan in orphans:
        orphan.touch()
        os.utime(orphan, (0, 0))
    (folder / "gone.csv").symlink_to(folder / "nowhere")  # listed, and not there when it is asked for its age

    receiver.remove_orphans()

    assert not any(orphan.exists() for orphan in orphans)


def test_there_need_be_no_files_at_all() -> None:
    receiver.remove_orphans()
